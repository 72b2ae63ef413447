package storage

import (
	"fmt"
	"math"

	"github.com/klamm-io/klamm/internal/record"
)

// Origin says who appends. It decides what is checked.
type Origin int8

// The origins.
const (
	Client      Origin = iota // a producer: epoch, sequence, duplicates, transaction
	Coordinator               // a group or transaction coordinator: epochs and transaction, no sequences
	Replication               // a leader, which has checked: nothing
	RaftLeader                // the metadata log's leader: nothing
)

// pending is a producer whose state an append is about to change.
type pending struct {
	work    producer
	current producer // before the append
	known   bool
	started [1]position // transaction that the append begins; a run of batches may begin more, then more holds the rest
	more    []position
	starts  int
}

func (u *pending) start(at position) {
	if u.starts == 0 {
		u.started[0] = at
	} else {
		u.more = append(u.more, at)
	}
	u.starts++
}

// staged collects what an append of several batches does to the producers, until its bytes are written. It is reused,
// so that an append allocates nothing.
type staged struct {
	producers []pending
	ended     []ended
	cleared   []int64 // producer ids whose verification is used up
}

func (s *staged) reset() {
	s.producers, s.ended, s.cleared = s.producers[:0], s.ended[:0], s.cleared[:0]
}

func (s *staged) of(p *producers, id int64) *pending {
	for i := range s.producers {
		if s.producers[i].work.id == id {
			return &s.producers[i]
		}
	}
	work, known := p.get(id)
	s.producers = append(s.producers, pending{work: work, current: work, known: known})
	return &s.producers[len(s.producers)-1]
}

// apply makes the staged changes real, once the bytes are written. For an aborted transaction it calls aborted with the
// last stable offset, for the transaction index.
func (s *staged) apply(p *producers, aborted func(e ended, stable int64)) {
	for i := range s.producers {
		u := &s.producers[i]
		p.put(&u.work)
		if u.starts > 0 {
			p.begin(u.work.id, u.started[0])
			for _, at := range u.more {
				p.begin(u.work.id, at)
			}
		}
	}
	for _, e := range s.ended {
		if e.aborted {
			aborted(e, p.stableBefore(e))
		}
		p.complete(e)
	}
	for _, id := range s.cleared {
		delete(p.verifications, id)
	}
}

// check is one batch on its way to the producers' state.
type check struct {
	batch  record.Batch
	at     position // where it will stand
	origin Origin
	// version is the transaction version of a marker's request: from 2 on its epoch must be above the producer's.
	// DETAILS 35.
	version int16
}

// stage checks a batch that has a producer id, and notes what it changes. Nothing is changed if it fails.
func (s *staged) stage(p *producers, codecs *record.Codecs, c check) error {
	b := c.batch
	u := s.of(p, b.ProducerID())
	if b.Control() {
		if b.Count() == 0 {
			// What compaction left of a marker ends nothing any more, but tells the producer's epoch: older ones stay fenced.
			if w := &u.work; b.ProducerEpoch() > w.epoch {
				w.setEpoch(b.ProducerEpoch())
				w.lastTimestamp = b.MaxTimestamp()
			}
			return nil
		}
		m, is, err := codecs.EndTxnOf(b)
		if err != nil || !is {
			return err
		}
		if err := s.marker(u, m, c); err != nil {
			return err
		}
	} else if err := u.data(p, c); err != nil {
		return err
	}
	if b.Transactional() {
		// The guard has done its work, unless this is the marker of a transaction before the one that is being verified:
		// from version 2 on that one has the marker's epoch.
		v := p.verifications[b.ProducerID()]
		if v != nil && !(v.bumps && b.Control() && b.ProducerEpoch() == v.epoch) {
			s.cleared = append(s.cleared, b.ProducerID())
		}
	}
	return nil
}

// data takes a batch of records.
func (u *pending) data(p *producers, c check) error {
	b, w := c.batch, &u.work
	epoch, seq := b.ProducerEpoch(), b.BaseSequence()
	if c.origin != Replication && c.origin != RaftLeader && epoch < w.epoch { // DETAILS 7
		return &InvalidProducerEpoch{w.id, epoch, w.epoch, c.at.offset}
	}
	if c.origin == Client {
		if err := u.sequence(p, epoch, seq, c.at.offset); err != nil {
			return err
		}
	}
	if w.txnFirst >= 0 && !b.Transactional() {
		if c.origin == Client || c.origin == Coordinator {
			return &InvalidTxnState{w.id, c.at.offset, "a transactional write is expected: a transaction is open"}
		}
	}
	w.add(epoch, sent{b.LastSequence(), b.LastOffsetDelta(), c.at.offset + int64(b.LastOffsetDelta()), b.MaxTimestamp()})
	if w.txnFirst < 0 && b.Transactional() {
		w.txnFirst = c.at.offset
		u.start(c.at)
	}
	return nil
}

// sequence is the check of DETAILS 6: a new epoch begins at 0, a producer of which nothing is known may begin anywhere
// (its records may have been deleted) unless it uses transaction version 2, otherwise the sequence goes on and wraps.
func (u *pending) sequence(p *producers, epoch int16, seq int32, offset int64) error {
	w := &u.work
	bad := func(last int32, reason string) error {
		return &OutOfOrderSequence{ProducerID: w.id, Epoch: epoch, Sequence: seq, Last: last, Offset: offset, Reason: reason}
	}
	if v := p.verifications[w.id]; v != nil {
		if v.bumps && seq != 0 && u.current.n == 0 {
			return bad(record.NoSequence, "sequence 0 is expected of a producer without state (transaction version 2)")
		}
		if seq > v.lowest {
			return bad(v.lowest, "a lower sequence number waits for the verification of its transaction")
		}
	}
	if epoch != w.epoch {
		if seq != 0 && w.epoch != record.NoProducerEpoch {
			return bad(w.lastSequence(), fmt.Sprintf("sequence 0 is expected in a new epoch; the current one is %d", w.epoch))
		}
		return nil
	}
	last := w.lastSequence()
	follows := int64(seq) == int64(last)+1 || seq == 0 && last == math.MaxInt32
	if u.current.epoch != record.NoProducerEpoch && !follows {
		return bad(last, "the sequence has a gap or goes back")
	}
	return nil
}

// marker takes the end of a transaction.
func (s *staged) marker(u *pending, m record.EndTxnMarker, c check) error {
	w, epoch := &u.work, c.batch.ProducerEpoch()
	if c.origin != Replication && c.origin != RaftLeader {
		stale := epoch < w.epoch
		if c.version >= 2 && epoch == w.epoch {
			// The epoch must have been raised; only the repetition of a marker that is already here may come again.
			stale = w.txnFirst >= 0 && epoch != math.MaxInt16
		}
		if stale {
			return &InvalidProducerEpoch{w.id, epoch, w.epoch, c.at.offset}
		}
		if m.CoordinatorEpoch < w.coordinatorEpoch {
			return fmt.Errorf("marker of producer %d at offset %d has coordinator epoch %d, the log has seen %d: %w",
				w.id, c.at.offset, m.CoordinatorEpoch, w.coordinatorEpoch, ErrCoordinatorFenced)
		}
	}
	if w.txnFirst >= 0 { // a marker without a transaction changes no offset's stability
		s.ended = append(s.ended, ended{w.id, w.txnFirst, c.at.offset, m.Type == record.Abort})
	}
	w.setEpoch(epoch)
	w.coordinatorEpoch, w.lastTimestamp, w.txnFirst = m.CoordinatorEpoch, c.batch.MaxTimestamp(), -1
	return nil
}
