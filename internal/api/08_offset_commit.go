package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/server"
)

// OffsetCommit: v2-10
//
// Behaviour:
//   - Offsets of topics and partitions that are not there are refused here, UNKNOWN_TOPIC_OR_PARTITION (by id:
//     UNKNOWN_TOPIC_ID); the rest goes to the group's coordinator.
//   - What is refused here stands first in the answer, each topic once.
//
// Version notes: v6: leader epoch. v7: instance id. v9: member epochs of KIP-848. v10: topic ids.
func (h *Handler) offsetCommit(c *call, req *kmsg.OffsetCommitRequest) server.Outcome {
	image := h.Image()
	var refused []kmsg.OffsetCommitResponseTopic
	kept := req.Topics[:0:0]
	refuse := func(t *kmsg.OffsetCommitRequestTopic, p int32, code int16) {
		if n := len(refused); n == 0 || refused[n-1].Topic != t.Topic || refused[n-1].TopicID != t.TopicID {
			r := kmsg.NewOffsetCommitResponseTopic()
			r.Topic, r.TopicID = t.Topic, t.TopicID
			refused = append(refused, r)
		}
		r := &refused[len(refused)-1]
		r.Partitions = append(r.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p, ErrorCode: code})
	}
	for i := range req.Topics {
		t := req.Topics[i]
		code := kerr.UnknownTopicOrPartition.Code
		topic, ok := image.Topic(t.Topic)
		if req.Version >= 10 {
			topic, ok = image.TopicByID(t.TopicID)
		}
		if ok {
			t.Topic, t.TopicID = topic.Name, topic.ID
		} else if req.Version >= 10 {
			code = kerr.UnknownTopicID.Code
		}
		there := existing(topic, t.Partitions, func(p kmsg.OffsetCommitRequestTopicPartition) int32 { return p.Partition },
			func(i int32) { refuse(&t, i, code) })
		if t.Partitions = there; len(there) > 0 {
			kept = append(kept, t)
		}
	}
	if len(kept) == 0 && len(refused) > 0 {
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		resp.Topics = refused
		return c.reply(resp)
	}
	req.Topics = kept
	h.Groups.Submit(h.Groups.Partition(req.Group), machine.Command{Body: req, Client: c.client()}, func(v any) {
		resp := v.(*kmsg.OffsetCommitResponse)
		resp.Topics = merge(refused, resp.Topics, func(t *kmsg.OffsetCommitResponseTopic) (string, *[]kmsg.OffsetCommitResponseTopicPartition) {
			if req.Version >= 10 {
				return string(t.TopicID[:]), &t.Partitions
			}
			return t.Topic, &t.Partitions
		})
		c.reply(resp)
	})
	return server.Parked
}
