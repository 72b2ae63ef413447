package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// ListOffsets: v1-11
//
// Behaviour:
//   - A timestamp gives the first record at or after it, found inside its batch; -1, -1 if there is none.
//   - -1 latest (last stable for read_committed), -2 earliest, -3 the record with the largest timestamp (v7, KIP-734),
//     -4 earliest local (v8), -5 latest tiered (v9), -6 earliest pending upload (v11): nothing is tiered, so -1.
//   - OFFSET_NOT_AVAILABLE while a new leader's high watermark is behind the start of its epoch (v5, KIP-207);
//     LEADER_NOT_AVAILABLE before v5.
//   - A partition named twice is INVALID_REQUEST.
func (h *Handler) listOffsets(c *call, req *kmsg.ListOffsetsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	iso := replica.Uncommitted
	switch {
	case req.ReplicaID >= 0 || req.ReplicaID == -2:
		iso = replica.Replica
	case req.IsolationLevel == 1:
		iso = replica.Committed
	}
	type key struct {
		topic string
		index int32
	}
	times := map[key]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			times[key{t.Topic, p.Partition}]++
		}
	}
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			answer := kmsg.NewListOffsetsResponseTopicPartition()
			answer.Partition, answer.Timestamp, answer.Offset, answer.LeaderEpoch = in.Partition, -1, -1, -1
			if times[key{t.Topic, in.Partition}] > 1 {
				answer.ErrorCode = kerr.InvalidRequest.Code
			} else if err := h.listOffset(&answer, t.Topic, in, iso, req.Version); err != nil {
				answer.ErrorCode = Code(err)
				if answer.ErrorCode == kerr.OffsetNotAvailable.Code && req.Version < 5 {
					answer.ErrorCode = kerr.LeaderNotAvailable.Code
				}
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return c.reply(resp)
}

func (h *Handler) listOffset(answer *kmsg.ListOffsetsResponseTopicPartition, topic string, in kmsg.ListOffsetsRequestTopicPartition, iso replica.Isolation, version int16) error {
	least := map[int64]int16{replica.MaxTimestamp: 7, replica.EarliestLocalTimestamp: 8, replica.LatestTieredTimestamp: 9, replica.EarliestPendingUpload: 11}
	if v, special := least[in.Timestamp]; special && version < v {
		return kerr.UnsupportedVersion
	}
	p, err := h.partition(topic, schema.ZeroUUID, in.Partition)
	if err != nil {
		return err
	}
	o, found, err := p.OffsetFor(in.Timestamp, iso, in.CurrentLeaderEpoch)
	if err != nil || !found {
		return err
	}
	answer.Timestamp, answer.Offset, answer.LeaderEpoch = o.Timestamp, o.Offset, o.LeaderEpoch
	return nil
}
