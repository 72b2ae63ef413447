package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/server"
)

// OffsetDelete: v0
//
// Behaviour:
//   - Partitions that are not there are UNKNOWN_TOPIC_OR_PARTITION; the group's coordinator answers for the others. A topic that
//     was deleted took its offsets with it.
//   - What is wrong with the whole group (GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, ...) is said alone.
//
// See KIP-496.
func (h *Handler) offsetDelete(c *call, req *kmsg.OffsetDeleteRequest) server.Outcome {
	image := h.Image()
	var refused []kmsg.OffsetDeleteResponseTopic
	kept := req.Topics[:0:0]
	for _, t := range req.Topics {
		topic, _ := image.Topic(t.Topic)
		out := kmsg.OffsetDeleteResponseTopic{Topic: t.Topic}
		known := existing(topic, t.Partitions, func(p kmsg.OffsetDeleteRequestTopicPartition) int32 { return p.Partition }, func(i int32) {
			out.Partitions = append(out.Partitions, kmsg.OffsetDeleteResponseTopicPartition{Partition: i, ErrorCode: kerr.UnknownTopicOrPartition.Code})
		})
		if len(out.Partitions) > 0 {
			refused = append(refused, out)
		}
		if t.Partitions = known; len(known) > 0 {
			kept = append(kept, t)
		}
	}
	req.Topics = kept
	h.Groups.Submit(h.Groups.Partition(req.Group), machine.Command{Body: req, Client: c.client()}, func(v any) {
		resp := v.(*kmsg.OffsetDeleteResponse)
		if resp.ErrorCode == 0 {
			resp.Topics = merge(refused, resp.Topics, func(t *kmsg.OffsetDeleteResponseTopic) (string, *[]kmsg.OffsetDeleteResponseTopicPartition) {
				return t.Topic, &t.Partitions
			})
		}
		c.reply(resp)
	})
	return server.Parked
}
