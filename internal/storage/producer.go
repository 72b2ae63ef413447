package storage

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// batchesKept of a producer are remembered, so that a repeated one is recognised. DETAILS 5.
const batchesKept = 5

// lateTransactionBuffer is how much longer than the largest transaction timeout a transaction may be open before it is
// taken for hanging (KIP-664).
const lateTransactionBuffer = 5 * time.Minute

// sent is one batch that a producer wrote.
type sent struct {
	lastSequence int32
	offsetDelta  int32
	lastOffset   int64
	timestamp    int64
}

func (s *sent) firstSequence() int32 { return record.DecrementSequence(s.lastSequence, s.offsetDelta) }
func (s *sent) firstOffset() int64   { return s.lastOffset - int64(s.offsetDelta) }

// producer is what the log knows of one producer id. It is copied by value: an append works on a copy, which takes the
// original's place when the bytes are written.
type producer struct {
	id               int64
	epoch            int16 // NoProducerEpoch: nothing known
	n                int8  // batches that are filled
	coordinatorEpoch int32
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, -1 if there is none
	batches          [batchesKept]sent
}

func newProducer(id int64) producer {
	return producer{id: id, epoch: record.NoProducerEpoch, coordinatorEpoch: -1, lastTimestamp: record.NoTimestamp, txnFirst: -1}
}

func (p *producer) lastSequence() int32 {
	if p.n == 0 {
		return record.NoSequence
	}
	return p.batches[p.n-1].lastSequence
}

func (p *producer) setEpoch(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.n = epoch, 0
	}
}

func (p *producer) add(epoch int16, s sent) {
	p.setEpoch(epoch)
	if p.n == batchesKept {
		copy(p.batches[:], p.batches[1:])
		p.n--
	}
	p.batches[p.n] = s
	p.n++
	p.lastTimestamp = s.timestamp
}

// duplicate finds a batch of the same epoch with exactly these sequences among the last ones.
func (p *producer) duplicate(b record.Batch) *sent {
	if p.epoch != b.ProducerEpoch() {
		return nil
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for i := range p.batches[:p.n] {
		if s := &p.batches[i]; s.lastSequence == last && s.firstSequence() == first {
			return s
		}
	}
	return nil
}

// position is a place in the log; segment and pos are -1 where only the offset is known.
type position struct {
	offset  int64
	segment int64 // base of the segment
	pos     int64
}

func offsetOnly(offset int64) position { return position{offset, -1, -1} }

// transaction is an open one, or an ended one whose marker is not below the high watermark yet.
type transaction struct {
	producerID int64
	first      position
	last       int64 // offset of the marker, -1 while it is open
}

// ended is a transaction that a marker just closed.
type ended struct {
	producerID  int64
	first, last int64
	aborted     bool
}

// producers is the state of all producers of a log. It is guarded as Log says.
type producers struct {
	byID map[int64]*producer
	// ongoing and unreplicated are sorted by first offset. The last stable offset is the first of both: also a transaction
	// that has ended is unstable until its marker is below the high watermark. DETAILS 16.
	ongoing, unreplicated []transaction

	verifications map[int64]*verification
	guards        uint64 // last guard that was given out

	end       int64   // the state holds what the log has below this offset
	snapshots []int64 // offsets of the snapshot files, ascending
	lastSnap  int64   // offset of the newest snapshot, or of a start that needs none

	expiry time.Duration
}

func newProducers(expiry time.Duration) producers {
	if expiry <= 0 {
		expiry = 24 * time.Hour
	}
	return producers{byID: map[int64]*producer{}, verifications: map[int64]*verification{}, expiry: expiry}
}

// clear forgets everything but snapshots.
func (p *producers) clear(end int64) {
	clear(p.byID)
	p.ongoing, p.unreplicated = nil, nil
	p.end = end
}

// get gives a copy of a producer's state to work on; known is false if there is none.
func (p *producers) get(id int64) (work producer, known bool) {
	if e := p.byID[id]; e != nil {
		return *e, true
	}
	return newProducer(id), false
}

func (p *producers) put(work *producer) {
	if e := p.byID[work.id]; e != nil {
		*e = *work
		return
	}
	e := *work
	p.byID[work.id] = &e
}

func byFirst(t transaction, offset int64) int { return cmp.Compare(t.first.offset, offset) }

// begin notes a transaction.
func (p *producers) begin(producerID int64, first position) {
	i, there := slices.BinarySearchFunc(p.ongoing, first.offset, byFirst)
	if !there {
		p.ongoing = slices.Insert(p.ongoing, i, transaction{producerID, first, -1})
	}
}

// stableBefore is the last stable offset at the end of a transaction, as the transaction index records it: where the
// next open transaction of another producer begins.
func (p *producers) stableBefore(e ended) int64 {
	for i := range p.ongoing {
		if p.ongoing[i].producerID != e.producerID {
			return p.ongoing[i].first.offset
		}
	}
	return e.last + 1
}

// complete moves an ended transaction to those that wait for the high watermark.
func (p *producers) complete(e ended) {
	i, there := slices.BinarySearchFunc(p.ongoing, e.first, byFirst)
	if !there {
		return
	}
	t := p.ongoing[i]
	t.last = e.last
	p.ongoing = slices.Delete(p.ongoing, i, i+1)
	j, _ := slices.BinarySearchFunc(p.unreplicated, t.first.offset, byFirst)
	p.unreplicated = slices.Insert(p.unreplicated, j, t)
}

// replicated forgets the ended transactions whose markers are below an offset.
func (p *producers) replicated(offset int64) {
	if len(p.unreplicated) > 0 {
		p.unreplicated = slices.DeleteFunc(p.unreplicated, func(t transaction) bool { return t.last < offset })
	}
}

// firstUnstable is where the first transaction begins that is open or whose end is not replicated.
func (p *producers) firstUnstable() (position, bool) {
	switch {
	case len(p.ongoing) == 0 && len(p.unreplicated) == 0:
		return position{}, false
	case len(p.ongoing) == 0:
		return p.unreplicated[0].first, true
	case len(p.unreplicated) == 0 || p.ongoing[0].first.offset < p.unreplicated[0].first.offset:
		return p.ongoing[0].first, true
	}
	return p.unreplicated[0].first, true
}

func (p *producers) expired(e *producer, now int64) bool {
	return e.txnFirst < 0 && now-e.lastTimestamp >= p.expiry.Milliseconds()
}

// expire forgets the producers that wrote nothing for too long and have no open transaction, and verifications that
// came to nothing.
func (p *producers) expire(now int64) (n int) {
	for id, e := range p.byID {
		if p.expired(e, now) {
			delete(p.byID, id)
			n++
		}
	}
	for id, v := range p.verifications {
		if now-v.created >= p.expiry.Milliseconds() {
			delete(p.verifications, id)
		}
	}
	return n
}

// entries are the producers as a snapshot has them, by id.
func (p *producers) entries() []schema.ProducerEntry {
	out := make([]schema.ProducerEntry, 0, len(p.byID))
	for _, e := range p.byID {
		x := schema.ProducerEntry{
			ProducerID: e.id, Epoch: e.epoch, LastSequence: e.lastSequence(), LastOffset: -1, Timestamp: e.lastTimestamp,
			CoordinatorEpoch: e.coordinatorEpoch, CurrentTxnFirstOffset: e.txnFirst,
		}
		if e.n > 0 {
			x.LastOffset, x.OffsetDelta = e.batches[e.n-1].lastOffset, e.batches[e.n-1].offsetDelta
		}
		out = append(out, x)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ProducerID < out[j].ProducerID })
	return out
}

// restore takes a snapshot's producer; of its batches a snapshot has the last one.
func (p *producers) restore(x *schema.ProducerEntry) {
	e := newProducer(x.ProducerID)
	e.epoch, e.coordinatorEpoch = x.Epoch, x.CoordinatorEpoch
	if x.LastOffset >= 0 {
		e.add(x.Epoch, sent{x.LastSequence, x.OffsetDelta, x.LastOffset, x.Timestamp})
	}
	e.lastTimestamp = x.Timestamp
	if x.CurrentTxnFirstOffset >= 0 {
		e.txnFirst = x.CurrentTxnFirstOffset
		p.begin(e.id, offsetOnly(e.txnFirst))
	}
	p.put(&e)
}
