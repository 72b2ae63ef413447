package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// InitializeShareGroupState: v0
//
// Behaviour of this and the following, which nodes of the cluster ask for (KIP-932):
//   - Each share partition is decided by its own coordinator; the answers are joined.
//   - A request without a group, without topics, or with a topic without partitions is answered with nothing. (This one alone
//     passes such a topic over and does the rest, as in Kafka.)
//   - Epochs smaller than those seen: FENCED_STATE_EPOCH, FENCED_LEADER_EPOCH. What is not initialized: INVALID_REQUEST.
func (h *Handler) initializeShareGroupState(c *call, req *kmsg.InitializeShareGroupStateRequest) server.Outcome {
	topics := slices.DeleteFunc(req.Topics, func(t kmsg.InitializeShareGroupStateRequestTopic) bool { return len(t.Partitions) == 0 })
	resp := req.ResponseKind().(*kmsg.InitializeShareGroupStateResponse)
	parts := split(topics,
		func(t *kmsg.InitializeShareGroupStateRequestTopic) *[]kmsg.InitializeShareGroupStateRequestTopicPartition {
			return &t.Partitions
		},
		func(one []kmsg.InitializeShareGroupStateRequestTopic) kmsg.Request {
			return &kmsg.InitializeShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: one}
		})
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		resp.Topics = join(resp.Topics, r.(*kmsg.InitializeShareGroupStateResponse).Topics[0],
			func(t *kmsg.InitializeShareGroupStateResponseTopic) (schema.UUID, *[]kmsg.InitializeShareGroupStateResponseTopicPartition) {
				return t.TopicID, &t.Partitions
			})
	})
}

// ReadShareGroupState: v0. A leader epoch that is new fences older leaders from then on.
func (h *Handler) readShareGroupState(c *call, req *kmsg.ReadShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ReadShareGroupStateResponse)
	parts := split(req.Topics,
		func(t *kmsg.ReadShareGroupStateRequestTopic) *[]kmsg.ReadShareGroupStateRequestTopicPartition {
			return &t.Partitions
		},
		func(one []kmsg.ReadShareGroupStateRequestTopic) kmsg.Request {
			return &kmsg.ReadShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: one}
		})
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		resp.Topics = join(resp.Topics, r.(*kmsg.ReadShareGroupStateResponse).Topics[0],
			func(t *kmsg.ReadShareGroupStateResponseTopic) (schema.UUID, *[]kmsg.ReadShareGroupStateResponseTopicPartition) {
				return t.TopicID, &t.Partitions
			})
	})
}

// WriteShareGroupState: v0-1. v1: with the number of completed deliveries.
func (h *Handler) writeShareGroupState(c *call, req *kmsg.WriteShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.WriteShareGroupStateResponse)
	parts := split(req.Topics,
		func(t *kmsg.WriteShareGroupStateRequestTopic) *[]kmsg.WriteShareGroupStateRequestTopicPartition {
			return &t.Partitions
		},
		func(one []kmsg.WriteShareGroupStateRequestTopic) kmsg.Request {
			return &kmsg.WriteShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: one}
		})
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		resp.Topics = join(resp.Topics, r.(*kmsg.WriteShareGroupStateResponse).Topics[0],
			func(t *kmsg.WriteShareGroupStateResponseTopic) (schema.UUID, *[]kmsg.WriteShareGroupStateResponseTopicPartition) {
				return t.TopicID, &t.Partitions
			})
	})
}

// DeleteShareGroupState: v0. What is not there is deleted already.
func (h *Handler) deleteShareGroupState(c *call, req *kmsg.DeleteShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DeleteShareGroupStateResponse)
	parts := split(req.Topics,
		func(t *kmsg.DeleteShareGroupStateRequestTopic) *[]kmsg.DeleteShareGroupStateRequestTopicPartition {
			return &t.Partitions
		},
		func(one []kmsg.DeleteShareGroupStateRequestTopic) kmsg.Request {
			return &kmsg.DeleteShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: one}
		})
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		resp.Topics = join(resp.Topics, r.(*kmsg.DeleteShareGroupStateResponse).Topics[0],
			func(t *kmsg.DeleteShareGroupStateResponseTopic) (schema.UUID, *[]kmsg.DeleteShareGroupStateResponseTopicPartition) {
				return t.TopicID, &t.Partitions
			})
	})
}

// ReadShareGroupStateSummary: v0-1. What is not initialized has a start offset of -1. v1: with the number of completed
// deliveries.
func (h *Handler) readShareGroupStateSummary(c *call, req *kmsg.ReadShareGroupStateSummaryRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ReadShareGroupStateSummaryResponse)
	parts := split(req.Topics,
		func(t *kmsg.ReadShareGroupStateSummaryRequestTopic) *[]kmsg.ReadShareGroupStateSummaryRequestTopicPartition {
			return &t.Partitions
		},
		func(one []kmsg.ReadShareGroupStateSummaryRequestTopic) kmsg.Request {
			return &kmsg.ReadShareGroupStateSummaryRequest{Version: req.Version, GroupID: req.GroupID, Topics: one}
		})
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		resp.Topics = join(resp.Topics, r.(*kmsg.ReadShareGroupStateSummaryResponse).Topics[0],
			func(t *kmsg.ReadShareGroupStateSummaryResponseTopic) (schema.UUID, *[]kmsg.ReadShareGroupStateSummaryResponseTopicPartition) {
				return t.TopicID, &t.Partitions
			})
	})
}

// split makes a request of each share partition, in order; none if a topic has no partitions.
func split[T, P any](topics []T, partitions func(*T) *[]P, request func(one []T) kmsg.Request) (parts []kmsg.Request) {
	for _, t := range topics {
		of := *partitions(&t)
		if len(of) == 0 {
			return nil
		}
		for _, p := range of {
			one := []T{t}
			*partitions(&one[0]) = []P{p}
			parts = append(parts, request(one))
		}
	}
	return parts
}

// join adds the answer for one share partition: to the last topic, if it is of the same.
func join[T, P any](topics []T, t T, look func(*T) (schema.UUID, *[]P)) []T {
	id, partitions := look(&t)
	if n := len(topics); n > 0 {
		if last, before := look(&topics[n-1]); last == id {
			*before = append(*before, *partitions...)
			return topics
		}
	}
	return append(topics, t)
}

// scatterShare gives the parts of a request, each of one share partition, to their coordinators, and answers with resp when
// take has had all of their answers, in the order of the parts.
func (c *call) scatterShare(group string, parts []kmsg.Request, resp kmsg.Response, take func(kmsg.Response)) server.Outcome {
	if group == "" || len(parts) == 0 {
		return c.reply(resp)
	}
	answers := make([]kmsg.Response, len(parts))
	all := newCountdown(len(parts), func() {
		for _, a := range answers {
			take(a)
		}
		c.reply(resp)
	})
	client := c.client()
	for i, part := range parts {
		c.h.askShare(part, client, func(a kmsg.Response) {
			answers[i] = a
			all.done()
		})
	}
	return server.Parked
}
