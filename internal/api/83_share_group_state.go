package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// InitializeShareGroupState: v0
//
// Behaviour of this and the following, which nodes of the cluster ask for (KIP-932):
//   - Each share partition is decided by its own coordinator; the answers are joined.
//   - A request without a group, without topics, or with a topic without partitions is answered with nothing.
//   - Epochs smaller than those seen: FENCED_STATE_EPOCH, FENCED_LEADER_EPOCH. What is not initialized: INVALID_REQUEST.
func (h *Handler) initializeShareGroupState(c *call, req *kmsg.InitializeShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.InitializeShareGroupStateResponse)
	var parts []kmsg.Request
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			one := t
			one.Partitions = []kmsg.InitializeShareGroupStateRequestTopicPartition{p}
			parts = append(parts, &kmsg.InitializeShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: []kmsg.InitializeShareGroupStateRequestTopic{one}})
		}
	}
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		t := r.(*kmsg.InitializeShareGroupStateResponse).Topics[0]
		if n := len(resp.Topics); n > 0 && resp.Topics[n-1].TopicID == t.TopicID {
			resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, t.Partitions...)
			return
		}
		resp.Topics = append(resp.Topics, t)
	})
}

// ReadShareGroupState: v0. A leader epoch that is new fences older leaders from then on.
func (h *Handler) readShareGroupState(c *call, req *kmsg.ReadShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ReadShareGroupStateResponse)
	var parts []kmsg.Request
	for _, t := range req.Topics {
		if len(t.Partitions) == 0 {
			return c.reply(resp)
		}
		for _, p := range t.Partitions {
			one := t
			one.Partitions = []kmsg.ReadShareGroupStateRequestTopicPartition{p}
			parts = append(parts, &kmsg.ReadShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: []kmsg.ReadShareGroupStateRequestTopic{one}})
		}
	}
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		t := r.(*kmsg.ReadShareGroupStateResponse).Topics[0]
		if n := len(resp.Topics); n > 0 && resp.Topics[n-1].TopicID == t.TopicID {
			resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, t.Partitions...)
			return
		}
		resp.Topics = append(resp.Topics, t)
	})
}

// WriteShareGroupState: v0-1. v1: with the number of completed deliveries.
func (h *Handler) writeShareGroupState(c *call, req *kmsg.WriteShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.WriteShareGroupStateResponse)
	var parts []kmsg.Request
	for _, t := range req.Topics {
		if len(t.Partitions) == 0 {
			return c.reply(resp)
		}
		for _, p := range t.Partitions {
			one := t
			one.Partitions = []kmsg.WriteShareGroupStateRequestTopicPartition{p}
			parts = append(parts, &kmsg.WriteShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: []kmsg.WriteShareGroupStateRequestTopic{one}})
		}
	}
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		t := r.(*kmsg.WriteShareGroupStateResponse).Topics[0]
		if n := len(resp.Topics); n > 0 && resp.Topics[n-1].TopicID == t.TopicID {
			resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, t.Partitions...)
			return
		}
		resp.Topics = append(resp.Topics, t)
	})
}

// DeleteShareGroupState: v0. What is not there is deleted already.
func (h *Handler) deleteShareGroupState(c *call, req *kmsg.DeleteShareGroupStateRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DeleteShareGroupStateResponse)
	var parts []kmsg.Request
	for _, t := range req.Topics {
		if len(t.Partitions) == 0 {
			return c.reply(resp)
		}
		for _, p := range t.Partitions {
			one := t
			one.Partitions = []kmsg.DeleteShareGroupStateRequestTopicPartition{p}
			parts = append(parts, &kmsg.DeleteShareGroupStateRequest{Version: req.Version, GroupID: req.GroupID, Topics: []kmsg.DeleteShareGroupStateRequestTopic{one}})
		}
	}
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		t := r.(*kmsg.DeleteShareGroupStateResponse).Topics[0]
		if n := len(resp.Topics); n > 0 && resp.Topics[n-1].TopicID == t.TopicID {
			resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, t.Partitions...)
			return
		}
		resp.Topics = append(resp.Topics, t)
	})
}

// ReadShareGroupStateSummary: v0-1. What is not initialized has a start offset of -1. v1: with the number of completed
// deliveries.
func (h *Handler) readShareGroupStateSummary(c *call, req *kmsg.ReadShareGroupStateSummaryRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ReadShareGroupStateSummaryResponse)
	var parts []kmsg.Request
	for _, t := range req.Topics {
		if len(t.Partitions) == 0 {
			return c.reply(resp)
		}
		for _, p := range t.Partitions {
			one := t
			one.Partitions = []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{p}
			parts = append(parts, &kmsg.ReadShareGroupStateSummaryRequest{Version: req.Version, GroupID: req.GroupID, Topics: []kmsg.ReadShareGroupStateSummaryRequestTopic{one}})
		}
	}
	return c.scatterShare(req.GroupID, parts, resp, func(r kmsg.Response) {
		t := r.(*kmsg.ReadShareGroupStateSummaryResponse).Topics[0]
		if n := len(resp.Topics); n > 0 && resp.Topics[n-1].TopicID == t.TopicID {
			resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, t.Partitions...)
			return
		}
		resp.Topics = append(resp.Topics, t)
	})
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
