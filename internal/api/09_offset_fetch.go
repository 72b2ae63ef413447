package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// OffsetFetch: v1-10
//
// Behaviour:
//   - Groups go to their coordinators, split by partition, and the answers are joined in the request's order.
//   - A group or partition without an offset gives -1 and no error (DETAILS 32).
//
// Version notes:
//   - v2: null topics are all; a top-level error. v7: require_stable (KIP-447). v8: several groups (KIP-709). v9: member
//     epochs. v10: topic ids; one that is not known is UNKNOWN_TOPIC_ID.
func (h *Handler) offsetFetch(c *call, req *kmsg.OffsetFetchRequest) server.Outcome {
	if req.Version < 8 {
		return c.toGroup(req.Group, req)
	}
	image := h.Image()
	unknown := make([][]kmsg.OffsetFetchResponseGroupTopic, len(req.Groups))
	for i := range req.Groups {
		g := &req.Groups[i]
		if req.Version < 10 || g.Topics == nil {
			continue
		}
		known := g.Topics[:0:0]
		for _, t := range g.Topics {
			if topic, ok := image.TopicByID(t.TopicID); ok {
				t.Topic = topic.Name
				known = append(known, t)
				continue
			}
			u := kmsg.NewOffsetFetchResponseGroupTopic()
			u.TopicID = t.TopicID
			for _, p := range t.Partitions {
				r := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				r.Partition, r.Offset, r.LeaderEpoch, r.ErrorCode = p, -1, -1, kerr.UnknownTopicID.Code
				u.Partitions = append(u.Partitions, r)
			}
			unknown[i] = append(unknown[i], u)
		}
		if known == nil {
			known = []kmsg.OffsetFetchRequestGroupTopic{}
		}
		g.Topics = known
	}
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	return scatter(c, h.Groups, req.Groups, func(g kmsg.OffsetFetchRequestGroup) string { return g.Group },
		func(some []kmsg.OffsetFetchRequestGroup) kmsg.Request {
			part := *req
			part.Groups = some
			return &part
		},
		func(r *kmsg.OffsetFetchResponse) []kmsg.OffsetFetchResponseGroup { return r.Groups },
		func(answers []kmsg.OffsetFetchResponseGroup) {
			resp.Groups = answers
			for i := range resp.Groups {
				g := &resp.Groups[i]
				if req.Version >= 10 {
					g.Topics = h.identified(g.Topics)
				}
				if g.ErrorCode == 0 {
					g.Topics = append(g.Topics, unknown[i]...)
				}
			}
			c.reply(resp)
		})
}

// identified fills in the ids of topics that the coordinator knows by name only; topics that are gone are left out,
// for a version with ids cannot name them.
func (h *Handler) identified(topics []kmsg.OffsetFetchResponseGroupTopic) []kmsg.OffsetFetchResponseGroupTopic {
	image := h.Image()
	kept := topics[:0]
	for _, t := range topics {
		if t.TopicID == schema.ZeroUUID {
			topic, ok := image.Topic(t.Topic)
			if !ok {
				continue
			}
			t.TopicID = topic.ID
		}
		kept = append(kept, t)
	}
	return kept
}
