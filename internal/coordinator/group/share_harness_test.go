package group

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

func (a args) shareRequest(group string) kmsg.Request {
	switch a.d.Cmd {
	case "share":
		r := kmsg.NewPtrShareGroupHeartbeatRequest()
		r.Version, r.GroupID, r.MemberID, r.MemberEpoch, r.RackID = 1, group, a.member(), int32(a.num("epoch", 0)), a.opt("rack")
		if a.has("topics") {
			r.SubscribedTopicNames = append([]string{}, a.list("topics")...)
		}
		return r
	case "share-describe":
		r := kmsg.NewPtrShareGroupDescribeRequest()
		r.Version, r.GroupIDs = 1, strings.Split(group, ",")
		return r
	case "share-alter": // offsets=(t-0:5,t-1:7)
		r := kmsg.NewPtrAlterShareGroupOffsetsRequest()
		r.GroupID = group
		for _, o := range a.list("offsets") {
			tp, offset, _ := strings.Cut(o, ":")
			name, partition := a.partition(tp)
			n, _ := strconv.ParseInt(offset, 10, 64)
			p := kmsg.AlterShareGroupOffsetsRequestTopicPartition{Partition: partition, StartOffset: n}
			if last := len(r.Topics) - 1; last >= 0 && r.Topics[last].Topic == name {
				r.Topics[last].Partitions = append(r.Topics[last].Partitions, p)
				continue
			}
			r.Topics = append(r.Topics, kmsg.AlterShareGroupOffsetsRequestTopic{Topic: name, Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{p}})
		}
		return r
	case "share-forget":
		r := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
		r.GroupID = group
		for _, name := range a.list("topics") {
			r.Topics = append(r.Topics, kmsg.DeleteShareGroupOffsetsRequestTopic{Topic: name})
		}
		return r
	}
	return nil
}

// answerShare is what the share coordinators say to the oldest question: fail names the share partitions that they fail for, as
// "t-0", with COORDINATOR_NOT_AVAILABLE. False says that nothing was asked.
func (h *harness) answerShare(fail func(group, topic string, partition int32) int16) bool {
	for i, e := range h.effects {
		ask, ok := e.(AskShare)
		if !ok {
			continue
		}
		h.effects = append(h.effects[:i:i], h.effects[i+1:]...)
		answered := ShareAnswered{Ask: ask}
		for _, req := range ask.Requests {
			r := shareResultOf(req, nil)
			answered.Answers = append(answered.Answers, shareAnswer(req, fail(r.group, topicName(r.topic), r.partition)))
		}
		h.do(machine.Command{Body: answered})
		return true
	}
	return false
}

func shareAnswer(req kmsg.Request, code int16) kmsg.Response {
	r := shareResultOf(req, nil)
	switch req.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		return &kmsg.InitializeShareGroupStateResponse{Topics: []kmsg.InitializeShareGroupStateResponseTopic{{TopicID: r.topic,
			Partitions: []kmsg.InitializeShareGroupStateResponseTopicPartition{{Partition: r.partition, ErrorCode: code}}}}}
	case *kmsg.DeleteShareGroupStateRequest:
		return &kmsg.DeleteShareGroupStateResponse{Topics: []kmsg.DeleteShareGroupStateResponseTopic{{TopicID: r.topic,
			Partitions: []kmsg.DeleteShareGroupStateResponseTopicPartition{{Partition: r.partition, ErrorCode: code}}}}}
	}
	return nil
}

// failing reads "fail=(t-0,t-1)".
func (a args) failing() func(group, topic string, partition int32) int16 {
	return func(_, topic string, partition int32) int16 {
		for _, tp := range a.list("fail") {
			if name, p := a.partition(tp); name == topic && p == partition {
				if a.has("fenced") {
					return kerr.FencedStateEpoch.Code
				}
				return kerr.CoordinatorNotAvailable.Code
			}
		}
		return 0
	}
}

func askText(e AskShare) string {
	var s strings.Builder
	s.WriteString("ask share coordinators:")
	for _, req := range e.Requests {
		switch r := req.(type) {
		case *kmsg.InitializeShareGroupStateRequest:
			p := r.Topics[0].Partitions[0]
			fmt.Fprintf(&s, " initialize %s/%s-%d state=%d start=%d", r.GroupID, topicName(r.Topics[0].TopicID), p.Partition, p.StateEpoch, p.StartOffset)
		case *kmsg.DeleteShareGroupStateRequest:
			fmt.Fprintf(&s, " delete %s/%s-%d", r.GroupID, topicName(r.Topics[0].TopicID), r.Topics[0].Partitions[0].Partition)
		}
	}
	return s.String()
}

// shareText is the answer to a request of a share group; "" for others.
func (h *harness) shareText(value any) string {
	var s strings.Builder
	message := func(m *string) {
		if m != nil {
			fmt.Fprintf(&s, " %q", *m)
		}
	}
	switch r := value.(type) {
	case *kmsg.ShareGroupHeartbeatResponse:
		fmt.Fprintf(&s, "share %s", codeText(r.ErrorCode))
		message(r.ErrorMessage)
		if r.MemberID != nil {
			fmt.Fprintf(&s, " member=%s epoch=%d", *r.MemberID, r.MemberEpoch)
		}
		if r.HeartbeatIntervalMillis != 0 {
			fmt.Fprintf(&s, " every=%dms", r.HeartbeatIntervalMillis)
		}
		if r.Assignment != nil {
			s.WriteString(" assigned:")
			for _, t := range r.Assignment.TopicPartitions {
				fmt.Fprintf(&s, " %s%v", topicName(t.TopicID), t.Partitions)
			}
		}
	case *kmsg.ShareGroupDescribeResponse:
		s.WriteString("describe")
		for _, g := range r.Groups {
			fmt.Fprintf(&s, " {%s %s", g.GroupID, codeText(g.ErrorCode))
			message(g.ErrorMessage)
			if g.ErrorCode == 0 {
				fmt.Fprintf(&s, " %s epoch=%d target=%d %s", g.GroupState, g.GroupEpoch, g.AssignmentEpoch, g.Assignor)
			}
			for _, m := range g.Members {
				fmt.Fprintf(&s, "\n  %s epoch=%d client=%s host=%s%s topics=%v has=", m.MemberID, m.MemberEpoch, m.ClientID, m.ClientHost, ifSet(" rack=", text(m.RackID), ""), m.SubscribedTopicNames)
				for _, t := range m.Assignment.TopicPartitions {
					fmt.Fprintf(&s, "%s%v", t.Topic, t.Partitions)
				}
			}
			s.WriteString("}")
		}
	case *kmsg.AlterShareGroupOffsetsResponse:
		fmt.Fprintf(&s, "alter %s", codeText(r.ErrorCode))
		message(r.ErrorMessage)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
			}
		}
	case *kmsg.DeleteShareGroupOffsetsResponse:
		fmt.Fprintf(&s, "forget %s", codeText(r.ErrorCode))
		message(r.ErrorMessage)
		for _, t := range r.Topics {
			fmt.Fprintf(&s, " %s:%s", t.Topic, codeText(t.ErrorCode))
		}
	case SharePartitionsAnswer:
		fmt.Fprintf(&s, "partitions %s", codeText(r.Code))
		for _, t := range r.Topics {
			fmt.Fprintf(&s, " %s%v", t.TopicName, t.Partitions)
		}
	}
	return s.String()
}

func (h *harness) shareRecordText(r machine.Record) string {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err.Error()
	}
	who := shareGroupOf(key)
	switch k := key.(type) {
	case *schema.ShareGroupMemberMetadataKey:
		who += "/" + k.MemberID
	case *schema.ShareGroupTargetAssignmentMemberKey:
		who += "/" + k.MemberID
	case *schema.ShareGroupCurrentMemberAssignmentKey:
		who += "/" + k.MemberID
	}
	kind := map[int16]string{10: "member", 11: "epoch", 12: "target-epoch", 13: "target", 14: "current", 15: "state"}[key.Type()]
	if value == nil {
		return fmt.Sprintf("share-%s %s removed", kind, who)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "share-%s %s", kind, who)
	partitions := func(list []schema.TopicPartitions) {
		for _, tp := range list {
			fmt.Fprintf(&s, " %s%v", topicName(tp.TopicID), tp.Partitions)
		}
	}
	named := func(name string, list []schema.ShareTopicPartitions) {
		if len(list) > 0 {
			s.WriteString(" " + name + ":")
		}
		for _, tp := range list {
			fmt.Fprintf(&s, " %s%v", tp.TopicName, tp.Partitions)
		}
	}
	switch v := value.(type) {
	case *schema.ShareGroupMetadataValue:
		fmt.Fprintf(&s, " %d", v.Epoch)
	case *schema.ShareGroupMemberMetadataValue:
		fmt.Fprintf(&s, " client=%s topics=%v%s", v.ClientID, v.SubscribedTopicNames, ifSet(" rack=", text(v.RackID), ""))
	case *schema.ShareGroupTargetAssignmentMetadataValue:
		fmt.Fprintf(&s, " %d", v.AssignmentEpoch)
	case *schema.ShareGroupTargetAssignmentMemberValue:
		partitions(v.TopicPartitions)
	case *schema.ShareGroupCurrentMemberAssignmentValue:
		fmt.Fprintf(&s, " epoch=%d<-%d", v.MemberEpoch, v.PreviousMemberEpoch)
		partitions(v.AssignedPartitions)
	case *schema.ShareGroupStatePartitionMetadataValue:
		named("initializing", v.InitializingTopics)
		named("initialized", v.InitializedTopics)
		if len(v.DeletingTopics) > 0 {
			s.WriteString(" deleting:")
		}
		for _, t := range v.DeletingTopics {
			s.WriteString(" " + t.TopicName)
		}
	}
	return s.String()
}
