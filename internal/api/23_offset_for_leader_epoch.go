package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// OffsetForLeaderEpoch: v2-4
//
// Behaviour: the largest epoch up to the one asked for, and the offset at which it ends; -1, -1 if there is none. The
// client's current epoch is checked as in Fetch (KIP-320).
func (h *Handler) offsetForLeaderEpoch(c *call, req *kmsg.OffsetForLeaderEpochRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			r := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			r.Partition, r.LeaderEpoch, r.EndOffset = in.Partition, -1, -1
			p, err := h.partition(t.Topic, schema.ZeroUUID, in.Partition)
			if err == nil {
				r.LeaderEpoch, r.EndOffset, err = p.EpochEnd(in.LeaderEpoch, in.CurrentLeaderEpoch)
			}
			r.ErrorCode = Code(err)
			out.Partitions = append(out.Partitions, r)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return c.reply(resp)
}
