package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/share"
	"github.com/klamm-io/klamm/internal/share/delivery"
)

// ShareAcknowledge: v1-2
//
// Behaviour:
//   - Accepts, releases, rejects or (v2) renews records that the member holds; 0 says that an offset had no record.
//   - Answered when it is persisted. What is malformed in itself is INVALID_REQUEST for its partition.
//   - Epoch 0 is INVALID_SHARE_SESSION_EPOCH; -1 also releases what the member still holds and closes its session.
//
// Version notes: v2: renewal (KIP-1222), and the hold's duration in the answer.
// See KIP-932.
func (h *Handler) shareAcknowledge(c *call, req *kmsg.ShareAcknowledgeRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ShareAcknowledgeResponse)
	var session *share.Session
	err := h.shareMember(req.GroupID, req.MemberID)
	if err == nil {
		session, err = h.SharePartitions.Acknowledging(*req.GroupID, *req.MemberID, req.ShareSessionEpoch)
	}
	if err != nil {
		resp.ErrorCode = Code(err)
		return c.reply(resp)
	}
	parts := &sharePartitions{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			x := parts.of(share.TopicPartition{ID: t.TopicID, Index: p.Partition})
			for _, b := range p.AcknowledgementBatches {
				x.acks = append(x.acks, delivery.Acknowledgement{First: b.FirstOffset, Last: b.LastOffset, Types: b.AcknowledgeTypes})
			}
		}
	}
	h.acknowledge(*req.GroupID, *req.MemberID, parts, req.Version >= 2, req.IsRenewAck, func() {
		if req.ShareSessionEpoch == share.FinalEpoch {
			session.End()
		}
		h.acknowledged(c, req, resp, parts)
	})
	return server.Parked
}

func (h *Handler) acknowledged(c *call, req *kmsg.ShareAcknowledgeRequest, resp *kmsg.ShareAcknowledgeResponse, parts *sharePartitions) {
	resp.AcquisitionLockTimeoutMillis = int32(h.SharePartitions.Group(*req.GroupID).Lock.Milliseconds())
	leaders := shareLeaders{h: h}
	for _, id := range parts.topics {
		t := kmsg.NewShareAcknowledgeResponseTopic()
		t.TopicID = id
		for _, x := range parts.by[id] {
			p := kmsg.NewShareAcknowledgeResponseTopicPartition()
			p.Partition, p.ErrorCode = x.Index, Code(x.ackErr)
			if !malformed(x.ackErr) {
				p.ErrorMessage = message(x.ackErr)
			}
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = leaders.hint(x.TopicPartition, x.ackErr)
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	for _, b := range leaders.brokers {
		n := kmsg.NewShareAcknowledgeResponseNodeEndpoint()
		n.NodeID, n.Host, n.Port, n.Rack = b.ID, b.Endpoints[0].Host, int32(b.Endpoints[0].Port), b.Rack
		resp.NodeEndpoints = append(resp.NodeEndpoints, n)
	}
	c.reply(resp)
}

// acknowledge takes in what a member says of its records. The errors stand in parts when done is called.
func (h *Handler) acknowledge(group, member string, parts *sharePartitions, canRenew, renews bool, done func()) {
	image, asked := h.Image(), 0
	parts.each(func(x *sharePartition) {
		x.ackErr = sharePartitionIn(image, x.TopicPartition)
		if x.ackErr != kerr.UnknownTopicID && !wellFormed(x.acks, canRenew, renews) {
			x.ackErr = kerr.InvalidRequest
		}
		if x.ackErr == nil && len(x.acks) > 0 {
			asked++
		}
	})
	if asked == 0 { // as Kafka: what says nothing is answered only beside what says something
		parts.keep(func(x *sharePartition) bool { return x.ackErr != nil })
		done()
		return
	}
	all := newCountdown(asked+1, done)
	parts.each(func(x *sharePartition) {
		if x.ackErr != nil || len(x.acks) == 0 {
			return
		}
		h.SharePartitions.Acknowledge(group, member, x.TopicPartition, x.acks, func(err error) {
			x.ackErr = err
			all.done()
		})
	})
	all.done()
}

// malformed says that an error was found without asking: Kafka gives it no text.
func malformed(err error) bool {
	_, plain := err.(*kerr.Error)
	return plain
}

// wellFormed checks what can be checked without any state: order, types, and their number.
func wellFormed(acks []delivery.Acknowledgement, canRenew, renews bool) bool {
	end := int64(-1)
	most := delivery.Reject
	if canRenew {
		most = delivery.Renew
	}
	for _, k := range acks {
		if k.First > k.Last || k.First < end || len(k.Types) == 0 || len(k.Types) > 1 && k.Last-k.First != int64(len(k.Types)-1) {
			return false
		}
		for _, t := range k.Types {
			if t < delivery.Gap || t > most || t == delivery.Renew && !renews {
				return false
			}
		}
		end = k.Last
	}
	return true
}
