package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/coordinator/share"
	"github.com/klamm-io/klamm/internal/server"
)

// FindCoordinator: v0-6
//
// Behaviour:
//   - The coordinator of a group is the leader of its partition of __consumer_offsets (DETAILS 30), that of a transactional
//     id (type 1) of its partition of __transaction_state.
//   - The topic is created when it is asked for first; the answer waits for that, where Kafka lets the client come again.
//   - That of a share partition (type 2, key "group:topicId:partition") is the leader of its partition of
//     __share_group_state; a key of another form: INVALID_REQUEST.
//
// Version notes:
//   - v1: types. v6: type 2. v4: several keys (KIP-699); before, the answer stands at the top.
func (h *Handler) findCoordinator(c *call, req *kmsg.FindCoordinatorRequest) server.Outcome {
	if req.Version < 4 {
		req.CoordinatorKeys = []string{req.CoordinatorKey}
	}
	topic, _ := h.coordinating(req.CoordinatorType)
	_, there := h.Image().Topic(topic)
	if topic == "" || there || len(req.CoordinatorKeys) == 0 || req.CoordinatorType == shareKeys && req.Version < firstShareKeys {
		return h.coordinators(c, req)
	}
	h.createTopic(c.client(), topic, func() { h.coordinators(c, req) })
	return server.Hold
}

// shareKeys is the type of share partitions' keys, known from version firstShareKeys on.
const (
	shareKeys      = 2
	firstShareKeys = 6
)

const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// coordinating gives the topic of a type of coordinators and their host; none for a type that is not there.
func (h *Handler) coordinating(kind int8) (topic string, host *coordinator.Host) {
	switch kind {
	case 0:
		return offsetsTopic, h.Groups
	case 1:
		return transactionsTopic, h.Transactions
	case shareKeys:
		return shareStateTopic, h.Shares
	}
	return "", nil
}

func (h *Handler) coordinators(c *call, req *kmsg.FindCoordinatorRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	for _, key := range req.CoordinatorKeys {
		r := kmsg.NewFindCoordinatorResponseCoordinator()
		r.Key, r.NodeID, r.Port = key, -1, -1
		h.coordinatorOf(c, req, &r)
		resp.Coordinators = append(resp.Coordinators, r)
	}
	if req.Version < 4 {
		r := &resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = r.ErrorCode, r.ErrorMessage, r.NodeID, r.Host, r.Port
		resp.Coordinators = nil
	}
	return c.reply(resp)
}

func (h *Handler) coordinatorOf(c *call, req *kmsg.FindCoordinatorRequest, r *kmsg.FindCoordinatorResponseCoordinator) {
	fail := func(err *kerr.Error, message string) {
		r.ErrorCode, r.ErrorMessage = err.Code, &message
	}
	topic, coordinators := h.coordinating(req.CoordinatorType)
	switch {
	case req.CoordinatorType == shareKeys && req.Version < firstShareKeys:
		fail(kerr.InvalidRequest, "Share coordinators are found from version 6 on.")
		return
	case topic == "":
		fail(kerr.InvalidRequest, "Unknown coordinator type.")
		return
	}
	if req.CoordinatorType == shareKeys {
		if _, ok := share.ParseKey(r.Key); !ok {
			fail(kerr.InvalidRequest, "The key of a share partition is group:topicId:partition.")
			return
		}
	}
	image := h.Image()
	t, ok := image.Topic(topic)
	if !ok {
		fail(kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable.Description)
		return
	}
	p, ok := t.Partition(coordinators.Partition(r.Key))
	if !ok {
		fail(kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable.Description)
		return
	}
	e, code := leaderEndpoint(image, p.Leader, c.Conn.Listener())
	if code != 0 {
		fail(kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable.Description)
		return
	}
	r.NodeID, r.Host, r.Port = p.Leader, e.Host, int32(e.Port)
}
