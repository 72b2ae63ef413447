package txn

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// producer is who a client says it is.
type producer struct {
	id    int64
	epoch int16
}

// init answers InitProducerID (key 22, versions 0 to 5).
//
//   - A transactional id that is new gets the fresh producer id with epoch 0, whatever the request expects.
//   - One at rest gets its epoch bumped, or a new producer id where epochs are exhausted.
//   - One with an open transaction is fenced and aborted; the answer is CONCURRENT_TRANSACTIONS, and the client comes
//     again when the abort is complete.
//   - From version 3 on a producer may say who it was (KIP-360), to go on after an error. It is fenced if another one
//     has taken over, and gets the same answer again if it did not hear the last one.
//
// Before version 4 clients do not know PRODUCER_FENCED and are told INVALID_PRODUCER_EPOCH.
func (m *Machine) init(t *turn, cmd Init) {
	next, err := m.initialize(t, cmd)
	if err != nil {
		t.answer(initError(cmd.Request.Version, err.Code))
		return
	}
	m.write(t, next)
	t.event(false, "txn.init", machine.Attr{Key: "id", Value: next.id}, machine.Attr{Key: "producer", Value: next.producerID},
		machine.Attr{Key: "epoch", Value: next.epoch})
	answer := kmsg.NewPtrInitProducerIDResponse()
	answer.Version, answer.ProducerID, answer.ProducerEpoch = cmd.Request.Version, next.producerID, next.epoch
	t.answer(answer)
}

func initError(version, code int16) *kmsg.InitProducerIDResponse {
	if version < 4 {
		code = beforeFenced(code)
	}
	answer := kmsg.NewPtrInitProducerIDResponse()
	answer.Version, answer.ErrorCode = version, code
	answer.ProducerID, answer.ProducerEpoch = noProducerID, noProducerEpoch
	return answer
}

// beforeFenced is the code for clients that do not know PRODUCER_FENCED.
func beforeFenced(code int16) int16 {
	if code == kerr.ProducerFenced.Code {
		return kerr.InvalidProducerEpoch.Code
	}
	return code
}

// initialize decides the transition. It may write another one, the fencing of an open transaction, with an error.
func (m *Machine) initialize(t *turn, cmd Init) (transaction, *kerr.Error) {
	used := false
	defer func() {
		if !used {
			m.keepFresh(cmd.FreshID, freshUnused)
		}
	}()
	r, none := cmd.Request, transaction{}
	var expected *producer
	switch {
	case (r.ProducerID == noProducerID) != (r.ProducerEpoch == noProducerEpoch):
		return none, kerr.InvalidRequest
	case r.TransactionalID == nil || *r.TransactionalID == "":
		return none, kerr.InvalidRequest
	case r.TransactionTimeoutMillis <= 0 || time.Duration(r.TransactionTimeoutMillis)*time.Millisecond > m.config.MaxTimeout:
		return none, kerr.InvalidTransactionTimeout
	case r.ProducerID != noProducerID:
		expected = &producer{r.ProducerID, r.ProducerEpoch}
	}
	fresh := func() (int64, *kerr.Error) {
		if cmd.FreshID < 0 {
			return noProducerID, kerr.CoordinatorLoadInProgress // no block of ids yet
		}
		used = true
		return cmd.FreshID, nil
	}
	e := m.ids[*r.TransactionalID]
	if e == nil {
		id, err := fresh()
		x := transaction{id: *r.TransactionalID, producerID: id, nextID: noProducerID, lastEpoch: noProducerEpoch}
		return x.initialized(r.TransactionTimeoutMillis, t.now), err
	}
	switch {
	case e.state.preparing():
		return none, kerr.ConcurrentTransactions
	case expected != nil && !e.mayBe(*expected):
		return none, kerr.ProducerFenced
	case e.state == Ongoing:
		used = true
		m.keepFresh(cmd.FreshID, freshUnused) // the abort may need it
		if err := m.fence(t, e); err != nil {
			return none, err
		}
		return none, kerr.ConcurrentTransactions
	}
	next := e.initialized(r.TransactionTimeoutMillis, t.now)
	switch {
	case e.exhausted() && (expected == nil || expected.epoch == e.epoch):
		id, err := fresh()
		if err != nil {
			return none, err
		}
		next.producerID, next.epoch, next.lastEpoch = id, 0, noProducerEpoch
		if expected != nil {
			next.lastEpoch = e.epoch
		}
	case expected == nil:
		next.epoch, next.lastEpoch = e.epoch+1, noProducerEpoch
	case expected.epoch == e.epoch || e.epoch == noProducerEpoch:
		next.epoch, next.lastEpoch = e.epoch+1, e.epoch
	case expected.epoch == e.lastEpoch:
		// It did not hear of the last bump. A producer that took over would have set lastEpoch to none.
	default:
		return none, kerr.ProducerFenced
	}
	return next, nil
}

// mayBe says that the producer id is the transaction's, or was before its epochs were exhausted.
func (x transaction) mayBe(p producer) bool {
	return x.epoch == noProducerEpoch || p.id == x.producerID || p.id == x.previousID && p.epoch >= lastClientEpoch
}
