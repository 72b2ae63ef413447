package group

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// codeOf is the code of the Kafka error in err's chain.
func codeOf(err error) int16 {
	var k *kerr.Error
	if errors.As(err, &k) {
		return k.Code
	}
	return kerr.UnknownServerError.Code
}

// refusal maps an error of the log or the host to what clients of the group coordinator understand.
func refusal(err error) int16 {
	switch code := codeOf(err); code {
	case kerr.NetworkException.Code:
		return kerr.CoordinatorLoadInProgress.Code
	case kerr.UnknownTopicOrPartition.Code, kerr.NotEnoughReplicas.Code, kerr.NotEnoughReplicasAfterAppend.Code, kerr.RequestTimedOut.Code:
		return kerr.CoordinatorNotAvailable.Code
	case kerr.NotLeaderForPartition.Code, kerr.KafkaStorageError.Code, kerr.FencedLeaderEpoch.Code:
		return kerr.NotCoordinator.Code
	case kerr.MessageTooLarge.Code, kerr.RecordListTooLarge.Code, kerr.InvalidFetchSize.Code:
		return kerr.UnknownServerError.Code
	default:
		return code
	}
}

// Refuse builds the answer to a command that was not decided or not written. It looks at nothing but its arguments, so
// it may run while another goroutine drives the machine.
func (m *Machine) Refuse(cmd machine.Command, err error) any { return Refuse(cmd, err) }

// Refuse is Machine.Refuse for partitions that have no machine here.
func Refuse(cmd machine.Command, err error) any {
	code := refusal(err)
	switch r := cmd.Body.(type) {
	case *kmsg.JoinGroupRequest:
		return joinError(r.Version, r.MemberID, code)
	case *kmsg.SyncGroupRequest:
		return &kmsg.SyncGroupResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.HeartbeatRequest:
		if code == kerr.CoordinatorLoadInProgress.Code {
			code = 0 // sessions begin when the group is loaded: the member is fine
		}
		return &kmsg.HeartbeatResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.LeaveGroupRequest:
		return &kmsg.LeaveGroupResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.OffsetCommitRequest:
		return commitError(r, code)
	case *kmsg.TxnOffsetCommitRequest:
		return txnCommitError(r, code)
	case *kmsg.OffsetFetchRequest:
		return fetchError(r, err)
	case *kmsg.OffsetDeleteRequest:
		return &kmsg.OffsetDeleteResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return &kmsg.ConsumerGroupHeartbeatResponse{Version: r.Version, ErrorCode: code, ErrorMessage: messageOf(err)}
	case *kmsg.ConsumerGroupDescribeRequest:
		answer := &kmsg.ConsumerGroupDescribeResponse{Version: r.Version}
		for _, id := range r.Groups {
			d := kmsg.NewConsumerGroupDescribeResponseGroup()
			d.Group, d.ErrorCode = id, code
			answer.Groups = append(answer.Groups, d)
		}
		return answer
	case *kmsg.StreamsGroupHeartbeatRequest:
		return streamsError(r, code, messageOf(err))
	case *kmsg.StreamsGroupDescribeRequest:
		answer := &kmsg.StreamsGroupDescribeResponse{Version: r.Version}
		for _, id := range r.Groups {
			d := kmsg.NewStreamsGroupDescribeResponseGroup()
			d.Group, d.ErrorCode = id, code
			answer.Groups = append(answer.Groups, d)
		}
		return answer
	case *kmsg.ShareGroupHeartbeatRequest:
		return &kmsg.ShareGroupHeartbeatResponse{Version: r.Version, ErrorCode: code, ErrorMessage: messageOf(err)}
	case *kmsg.ShareGroupDescribeRequest:
		answer := &kmsg.ShareGroupDescribeResponse{Version: r.Version}
		for _, id := range r.GroupIDs {
			d := kmsg.NewShareGroupDescribeResponseGroup()
			d.GroupID, d.ErrorCode = id, code
			answer.Groups = append(answer.Groups, d)
		}
		return answer
	case *kmsg.AlterShareGroupOffsetsRequest:
		return &kmsg.AlterShareGroupOffsetsResponse{Version: r.Version, ErrorCode: code, ErrorMessage: messageOf(err)}
	case *kmsg.DeleteShareGroupOffsetsRequest:
		return &kmsg.DeleteShareGroupOffsetsResponse{Version: r.Version, ErrorCode: code, ErrorMessage: messageOf(err)}
	case SharePartitions:
		return SharePartitionsAnswer{Code: code}
	case *kmsg.DescribeGroupsRequest:
		answer := &kmsg.DescribeGroupsResponse{Version: r.Version}
		for _, id := range r.Groups {
			d := kmsg.NewDescribeGroupsResponseGroup()
			d.Group, d.ErrorCode = id, code
			answer.Groups = append(answer.Groups, d)
		}
		return answer
	case *kmsg.ListGroupsRequest:
		return &kmsg.ListGroupsResponse{Version: r.Version, ErrorCode: code}
	case *kmsg.DeleteGroupsRequest:
		answer := &kmsg.DeleteGroupsResponse{Version: r.Version}
		for _, id := range r.Groups {
			answer.Groups = append(answer.Groups, kmsg.DeleteGroupsResponseGroup{Group: id, ErrorCode: code})
		}
		return answer
	}
	return err
}

func commitError(r *kmsg.OffsetCommitRequest, code int16) *kmsg.OffsetCommitResponse {
	answer := &kmsg.OffsetCommitResponse{Version: r.Version}
	for _, topic := range r.Topics {
		out := kmsg.OffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
		for _, p := range topic.Partitions {
			out.Partitions = append(out.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		answer.Topics = append(answer.Topics, out)
	}
	return answer
}

func txnCommitError(r *kmsg.TxnOffsetCommitRequest, code int16) *kmsg.TxnOffsetCommitResponse {
	answer := &kmsg.TxnOffsetCommitResponse{Version: r.Version}
	for _, topic := range r.Topics {
		out := kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
		for _, p := range topic.Partitions {
			out.Partitions = append(out.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		answer.Topics = append(answer.Topics, out)
	}
	return answer
}

// fetchError refuses each group; before version 2 each partition, since nothing else has an error. Where others are
// told COORDINATOR_NOT_AVAILABLE, consumers before Kafka 3.9 only understand NOT_COORDINATOR here.
func fetchError(r *kmsg.OffsetFetchRequest, err error) *kmsg.OffsetFetchResponse {
	code := refusal(err)
	if code == kerr.CoordinatorNotAvailable.Code && codeOf(err) != code {
		code = kerr.NotCoordinator.Code
	}
	answer := &kmsg.OffsetFetchResponse{Version: r.Version}
	for _, g := range fetchGroups(r) {
		out := kmsg.OffsetFetchResponseGroup{Group: g.Group, ErrorCode: code}
		for _, topic := range g.Topics {
			if r.Version >= 2 {
				break
			}
			ot := kmsg.OffsetFetchResponseGroupTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				ot.Partitions = append(ot.Partitions, noOffset(p, code))
			}
			out.Topics = append(out.Topics, ot)
		}
		answer.Groups = append(answer.Groups, out)
	}
	return fetchResponse(answer)
}
