package txn

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// firstBumping is the version of EndTxn from which on each end of a transaction bumps the epoch (KIP-890).
const firstBumping = 5

// end answers EndTxn (key 26, versions 0 to 5).
//
//   - The outcome is durable when the answer goes; the markers follow, and until they are written the transactional id
//     answers CONCURRENT_TRANSACTIONS.
//   - Before version 5 the epoch must be the current one. An end that is repeated succeeds while nothing new has begun,
//     and is not told from a late one.
//   - From version 5 on the epoch is bumped and told. One below the current epoch is a repetition, which gets the answer
//     again; the current one is the next end, which may abort also where nothing was added.
//   - Before version 2 clients are told INVALID_PRODUCER_EPOCH where later ones are told PRODUCER_FENCED.
//
// With version 5, "again" the answer that the first got and "bump" a new end:
//
//	                abort               commit
//	                repeated  current   repeated  current
//	Empty           FENCED    bump      FENCED    INVALID_TXN_STATE
//	CompleteAbort   again     bump      INVALID   INVALID_TXN_STATE
//	CompleteCommit  INVALID   bump      again     INVALID_TXN_STATE
func (m *Machine) end(t *turn, r *kmsg.EndTxnRequest) {
	e := m.ids[r.TransactionalID]
	p := producer{r.ProducerID, r.ProducerEpoch}
	var answer producer
	var err *kerr.Error
	switch {
	case r.TransactionalID == "":
		err = kerr.InvalidRequest
	case e == nil:
		err = kerr.InvalidProducerIDMapping
	case r.Version < firstBumping:
		answer, err = producer{noProducerID, noProducerEpoch}, m.endSame(t, e, p, r.Commit)
	default:
		answer, err = m.endBumping(t, e, p, r.Commit)
	}
	if err != nil {
		t.answer(endError(r.Version, err.Code))
		return
	}
	t.answer(&kmsg.EndTxnResponse{Version: r.Version, ProducerID: answer.id, ProducerEpoch: answer.epoch})
}

func endError(version, code int16) *kmsg.EndTxnResponse {
	if version < 2 {
		code = beforeFenced(code)
	}
	return &kmsg.EndTxnResponse{Version: version, ErrorCode: code, ProducerID: noProducerID, ProducerEpoch: noProducerEpoch}
}

// endSame ends a transaction in the epoch that it has.
func (m *Machine) endSame(t *turn, e *entry, p producer, commit bool) *kerr.Error {
	prepare, complete := outcome(commit)
	switch {
	case e.producerID != p.id:
		return kerr.InvalidProducerIDMapping
	case e.epoch != p.epoch:
		return kerr.ProducerFenced
	case e.state.preparing():
		return kerr.ConcurrentTransactions
	case e.state == complete:
		return nil // once more
	case e.state != Ongoing:
		return kerr.InvalidTxnState
	}
	m.prepare(t, e.prepared(prepare, t.now))
	return nil
}

// endBumping ends a transaction and bumps the epoch. The producer is the one to go on with.
func (m *Machine) endBumping(t *turn, e *entry, p producer, commit bool) (producer, *kerr.Error) {
	prepare, complete := outcome(commit)
	overflowed := e.state.resting() && e.epoch == 0 && e.previousID != e.producerID &&
		p == producer{e.previousID, lastClientEpoch}
	repeated := overflowed || e.state.resting() && e.state != Empty && p.epoch+1 == e.epoch
	switch {
	case e.state.preparing():
		return producer{}, kerr.ConcurrentTransactions
	case e.producerID != p.id && !overflowed:
		return producer{}, kerr.InvalidProducerIDMapping
	case e.epoch != p.epoch && (!repeated || e.state == Empty):
		return producer{}, kerr.ProducerFenced
	case repeated && e.state == complete:
		return producer{e.producerID, e.epoch}, nil
	case repeated:
		return producer{}, kerr.InvalidTxnState
	case e.state != Ongoing && commit:
		return producer{}, kerr.InvalidTxnState
	case t.feature < 1:
		return producer{}, kerr.UnsupportedVersion // records could not say it
	}
	next, err := m.bump(t, e, prepare)
	if err != nil {
		return producer{}, err
	}
	m.prepare(t, next)
	after := next.completed(t.now)
	return producer{after.producerID, after.epoch}, nil
}

func outcome(commit bool) (prepare, complete State) {
	if commit {
		return PrepareCommit, CompleteCommit
	}
	return PrepareAbort, CompleteAbort
}

// bump is the transition of an end that bumps the epoch, with a new producer id where it must.
func (m *Machine) bump(t *turn, e *entry, prepare State) (transaction, *kerr.Error) {
	nextID := noProducerID
	if e.exhausted() {
		id, ok := m.takeFresh(t)
		if !ok {
			return transaction{}, kerr.CoordinatorLoadInProgress
		}
		nextID = id
	}
	next := e.preparedBumped(prepare, nextID, t.now)
	if next.exhausted() && nextID == noProducerID && len(m.fresh) == 0 {
		t.effect(NeedProducerID{}) // the next end takes one
	}
	return next, nil
}

// fence aborts an open transaction whose producer must not go on: another one has come, or time is up.
func (m *Machine) fence(t *turn, e *entry) *kerr.Error {
	if t.feature < 2 {
		m.prepare(t, e.fenced(t.now))
		return nil
	}
	next, err := m.bump(t, e, PrepareAbort)
	if err != nil {
		return err
	}
	m.prepare(t, next)
	return nil
}

// prepare writes the outcome and asks for the markers. Without partitions there is nothing to wait for.
func (m *Machine) prepare(t *turn, next transaction) {
	if len(next.partitions) == 0 {
		m.write(t, next, next.completed(t.now))
		return
	}
	m.write(t, next)
	t.effect(writeMarkers(next, t.Epoch, next.partitions))
	t.event(false, "txn.end", machine.Attr{Key: "id", Value: next.id}, machine.Attr{Key: "state", Value: next.state.String()})
}
