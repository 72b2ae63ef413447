package api

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/txn"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/server"
)

// InitProducerId: v0-5
//
// Behaviour:
//   - Without a transactional id: the next id of the block that this broker holds, epoch 0. Blocks come from the
//     controller, 1000 at a time, so an id is never given twice, whatever crashes.
//   - With a transactional id: its coordinator answers. A fresh id is drawn before, in case that it needs one.
//   - A producer id with a transactional id or without an epoch is INVALID_REQUEST (v3).
func (h *Handler) initProducerID(c *call, req *kmsg.InitProducerIDRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return c.reply(resp)
	}
	answered := h.ProducerIDs.Next(c.client(), func(id int64, err *kerr.Error) {
		if req.TransactionalID != nil {
			if err != nil {
				id = -1
			}
			c.toTransaction(*req.TransactionalID, txn.Init{Request: req, FreshID: id})
			return
		}
		if err != nil {
			resp.ErrorCode = err.Code
		} else {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		}
		c.reply(resp)
	})
	switch {
	case !answered:
		return server.Hold
	case req.TransactionalID != nil:
		return server.Parked
	}
	return server.Done
}

// ProducerIDs hands out producer ids from blocks that the controller gives this broker.
type ProducerIDs struct {
	Controller Controller
	Broker     func() (id int32, epoch int64)

	mu      sync.Mutex // guards what follows
	at, end int64
	asking  bool
	waiting []func(int64, *kerr.Error)
}

// Next calls f with an id that nobody has had: before it returns, if the block has one, and then says so.
func (p *ProducerIDs) Next(client machine.Client, f func(int64, *kerr.Error)) bool {
	p.mu.Lock()
	if p.at < p.end {
		id := p.at
		p.at++
		p.mu.Unlock()
		f(id, nil)
		return true
	}
	p.waiting = append(p.waiting, f)
	ask := !p.asking
	p.asking = true
	p.mu.Unlock()
	if ask {
		p.ask(client)
	}
	return false
}

func (p *ProducerIDs) ask(client machine.Client) {
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = p.Broker()
	p.Controller.Request(client, req, func(r kmsg.Response) {
		resp := r.(*kmsg.AllocateProducerIDsResponse)
		p.mu.Lock()
		p.asking = false
		waiting := p.waiting
		p.waiting = nil
		if resp.ErrorCode != 0 {
			p.mu.Unlock()
			for _, f := range waiting { // Kafka: the client is to come again
				f(-1, kerr.CoordinatorLoadInProgress)
			}
			return
		}
		p.at, p.end = resp.ProducerIDStart, resp.ProducerIDStart+int64(resp.ProducerIDLen)
		ids := min(int64(len(waiting)), p.end-p.at)
		first := p.at
		p.at += ids
		rest := waiting[ids:]
		again := len(rest) > 0
		if again {
			p.waiting = append(rest, p.waiting...)
			p.asking = true
		}
		p.mu.Unlock()
		for i, f := range waiting[:ids] {
			f(first+int64(i), nil)
		}
		if again {
			p.ask(client)
		}
	})
}
