package coordinator

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
)

// item is a command with its caller.
type item struct {
	cmd   machine.Command
	reply func(any) // nil if nobody waits
}

// phase is where a shard is in its life.
type phase int8

const (
	loading phase = iota
	active
	failed  // its log cannot be understood
	stopped // it is to end
)

// shard is one partition that this node leads.
type shard struct {
	h         *Host
	partition int32
	epoch     int32
	again     chan struct{} // has room for one: the log may be readable now
	wake      chan struct{} // has room for one: there is something in the mailbox, or the high watermark moved
	stopping  chan struct{} // closed by stop
	done      chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	box    []item // guarded by mu
	phase  phase  // guarded by mu
	reason error  // guarded by mu: what callers are refused with after the end

	hw atomic.Int64 // high watermark as the log told it last

	// What follows belongs to the shard's goroutine.

	m       machine.Machine[machine.Record]
	rand    *rand.Rand
	taken   []item // the mailbox's other half
	waiting map[machine.Token]item
	token   machine.Token
	batch   openBatch
	end     int64 // offset after the last applied record
	parked  []parked
	effects []effect
	broken  error // Apply refused a record that was written
}

// openBatch is what was decided and is not yet appended.
type openBatch struct {
	builder *record.Builder
	records []machine.Record
	keys    map[string]struct{}
	entries []entry
	since   time.Time
	guard   uint64 // of the one command whose records are of a transaction
}

// entry is one command's part of a batch.
type entry struct {
	token   machine.Token // the command's own
	replies []machine.Reply
	effects []any
}

// parked is an answer that waits for the high watermark.
type parked struct {
	item
	value  any
	offset int64 // it may go when the high watermark is here
	until  time.Time
}

// effect waits for the high watermark like a parked answer, but without a time limit: nobody would do it in its place.
type effect struct {
	value  any
	offset int64
}

func newShard(h *Host, partition, epoch int32) *shard {
	s := &shard{
		h: h, partition: partition, epoch: epoch,
		wake: make(chan struct{}, 1), again: make(chan struct{}, 1), stopping: make(chan struct{}), done: make(chan struct{}),
		waiting: map[machine.Token]item{},
		rand:    rand.New(rand.NewPCG(h.c.Seed, uint64(partition)<<32|uint64(uint32(epoch)))),
	}
	s.batch.keys = map[string]struct{}{}
	s.batch.builder = h.c.Codecs.NewBuilder()
	return s
}

func (s *shard) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == active
}

// submit puts a command into the mailbox, or says why not.
func (s *shard) submit(it item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == stopped:
		return s.reason
	case s.phase == failed:
		return ErrNotCoordinator
	case it.reply == nil:
	case s.phase == loading:
		return ErrLoading
	case len(s.box) >= s.h.c.MailboxMax:
		return ErrBusy
	}
	s.box = append(s.box, it)
	s.poke()
	return nil
}

// What a shard keeps of its buffers when they are empty: many shards are idle most of the time.
const (
	keepItems = 512
	keepBytes = 64 << 10
)

// take empties the mailbox.
func (s *shard) take() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	box := s.box
	s.box, s.taken = s.taken[:0], box
	if cap(box) > keepItems {
		s.taken = nil
	}
	return box
}

// refuse is an answer that the machine did not give.
func (s *shard) refuse(it item, err error) {
	if it.reply != nil {
		it.reply(s.h.refuser.Refuse(it.cmd, err))
	}
}

// step does all that can be done now.
func (s *shard) step(now time.Time) {
	items := s.take()
	for i := range items {
		if s.broken != nil {
			s.refuse(items[i], ErrNotCoordinator)
		} else {
			s.handle(now, items[i])
		}
		items[i] = item{}
	}
	s.tick(now)
	if s.h.c.Linger <= 0 || !now.Before(s.batch.since.Add(s.h.c.Linger)) {
		s.flush(now)
	}
	s.release(now)
}

// ticksMax bounds the Ticks of one step, so that a machine that always wants another does not keep callers waiting.
const ticksMax = 64

func (s *shard) tick(now time.Time) {
	for range ticksMax {
		at, ok := s.m.NextDeadline()
		if !ok || at.After(now) || s.broken != nil {
			return
		}
		s.handle(now, item{cmd: machine.Command{Body: machine.Tick{}}})
	}
}

// next is when step has to run again although nothing comes in.
func (s *shard) next() (time.Time, bool) {
	at, ok := s.m.NextDeadline()
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if len(s.batch.entries) > 0 {
		sooner(s.batch.since.Add(s.h.c.Linger))
	}
	if len(s.parked) > 0 {
		sooner(s.parked[0].until)
	}
	return at, ok
}

func (s *shard) input(now time.Time) machine.Input {
	return machine.Input{Now: now, Rand: s.rand, Image: s.h.c.Image(), Epoch: s.epoch}
}

// handle lets the machine decide a command and adds its records to the open batch.
func (s *shard) handle(now time.Time, it item) {
	if it.reply != nil {
		s.token++
		it.cmd.Token = s.token
		s.waiting[s.token] = it
	}
	if marker, ok := it.cmd.Body.(machine.Marker); ok {
		s.mark(now, it, marker)
		return
	}
	keys := s.m.Keys(it.cmd)
	if s.conflicts(keys) {
		s.flush(now)
		if s.broken != nil {
			return // flush has refused everybody
		}
	}
	res := s.m.Handle(s.input(now), it.cmd)
	s.tell(res.Events)
	s.launch(res.Jobs)
	if len(res.Records) == 0 {
		s.park(now, s.end, res.Replies, res.Effects)
		return
	}
	s.add(now, it, keys, res)
}

// conflicts says that the command touches something that the open batch changes.
func (s *shard) conflicts(keys []string) bool {
	if len(s.batch.entries) == 0 {
		return false
	}
	for _, key := range keys {
		if _, ok := s.batch.keys[key]; ok {
			return true
		}
	}
	return keys == nil
}

// add puts a result's records into the open batch.
func (s *shard) add(now time.Time, it item, keys []string, res machine.Result[machine.Record]) {
	e := entry{token: it.cmd.Token, replies: res.Replies, effects: res.Effects}
	size := 0
	for _, r := range res.Records {
		size += len(r.Key) + len(r.Value) + recordOverhead
	}
	if size > s.h.c.BatchBytesMax-record.HeaderLen {
		s.fail(e, ErrTooLarge)
		return
	}
	b := &s.batch
	if len(b.entries) > 0 && (res.Producer != nil || b.builder.Size()+size > s.h.c.BatchBytesMax) {
		s.flush(now)
		if s.broken != nil {
			return
		}
	}
	if len(b.entries) == 0 {
		s.open(now, res.Producer)
		if res.Producer != nil {
			b.guard = it.cmd.Guard
		}
	}
	for _, r := range res.Records {
		b.builder.Add(b.since.UnixMilli(), r.Key, r.Value, nil)
	}
	b.records = append(b.records, res.Records...)
	b.entries = append(b.entries, e)
	for _, key := range keys {
		b.keys[key] = struct{}{}
	}
	if res.Producer != nil || keys == nil {
		s.flush(now)
	}
}

// recordOverhead is more than a record of a batch has around its key and value: length, attributes, timestamp and
// offset deltas, lengths, header count.
const recordOverhead = 5 + 1 + 2 + 5 + 5 + 5 + 1

func (s *shard) open(now time.Time, p *machine.Producer) {
	b := &s.batch
	b.builder.Reset()
	b.builder.Codec, b.builder.LeaderEpoch = s.h.c.Codec, s.epoch
	b.since, b.guard = now, 0
	if p != nil {
		b.builder.ProducerID, b.builder.ProducerEpoch, b.builder.Transactional = p.ID, p.Epoch, p.Transactional
		b.builder.BaseSequence = 0 // nobody checks it, Kafka's coordinators write the same
	}
}

// flush appends the open batch and applies its records.
func (s *shard) flush(now time.Time) {
	b := &s.batch
	if len(b.entries) == 0 {
		return
	}
	entries, records := b.entries, b.records
	defer func() {
		clear(entries)
		clear(records)
		b.entries, b.records = entries[:0], records[:0]
		clear(b.keys)
		if b.builder.Size() > keepBytes {
			b.builder = s.h.c.Codecs.NewBuilder()
		}
	}()
	base, next, err := s.h.c.Log.Append(s.h.c.Topic, s.partition, s.epoch, b.builder.Bytes(), b.guard, 0)
	if err != nil {
		s.h.c.Logger.Warn("coordinator: append failed", "topic", s.h.c.Topic, "partition", s.partition, "epoch", s.epoch,
			"records", len(records), "err", err)
		err = s.h.c.KafkaError(err)
		for _, e := range entries {
			s.fail(e, err)
		}
		return
	}
	pos := machine.Position{
		Timestamp: b.since.UnixMilli(), Epoch: s.epoch,
		Producer: machine.Producer{ID: b.builder.ProducerID, Epoch: b.builder.ProducerEpoch, Transactional: b.builder.Transactional},
	}
	for i, r := range records {
		pos.Offset = base + int64(i)
		if err := s.m.Apply(r, pos); err != nil {
			s.breakDown(pos.Offset, err)
			for _, e := range entries {
				s.fail(e, ErrNotCoordinator)
			}
			return
		}
	}
	s.end = next
	for _, e := range entries {
		s.park(now, next, e.replies, e.effects)
	}
}

// fail refuses a command whose records were not written, and all whom it was to answer.
func (s *shard) fail(e entry, err error) {
	refuse := func(token machine.Token) {
		if it, ok := s.waiting[token]; ok {
			delete(s.waiting, token)
			s.refuse(it, err)
		}
	}
	refuse(e.token)
	for _, r := range e.replies {
		refuse(r.Token)
	}
}

// mark ends a transaction: the marker is written, then the machine hears of it.
func (s *shard) mark(now time.Time, it item, marker machine.Marker) {
	s.flush(now)
	if s.broken != nil {
		return
	}
	end := record.EndTxnMarker{Type: record.Abort, CoordinatorEpoch: marker.CoordinatorEpoch}
	if marker.Commit {
		end.Type = record.Commit
	}
	batch := s.h.c.Codecs.EndTxn(end, now.UnixMilli(), marker.Producer.ID, marker.Producer.Epoch)
	_, next, err := s.h.c.Log.Append(s.h.c.Topic, s.partition, s.epoch, batch, 0, marker.TransactionVersion)
	if err != nil {
		s.fail(entry{token: it.cmd.Token}, s.h.c.KafkaError(err))
		return
	}
	res := s.m.Handle(s.input(now), it.cmd)
	s.end = next
	s.tell(res.Events)
	s.park(now, next, res.Replies, res.Effects)
}

// breakDown stops the shard's work: its machine did not take a record that is in the log, so the two have parted.
func (s *shard) breakDown(offset int64, err error) {
	s.broken = err
	s.h.c.Logger.Error("coordinator: shard failed: a written record was not applied; it is loaded again after the next election",
		"topic", s.h.c.Topic, "partition", s.partition, "offset", offset, "err", err)
	s.setPhase(failed)
	s.refuseAll(ErrNotCoordinator)
}

// refuseAll refuses every caller but those in the mailbox.
func (s *shard) refuseAll(err error) {
	for _, p := range s.parked {
		s.refuse(p.item, err)
	}
	s.parked, s.effects = nil, nil
	for token, it := range s.waiting {
		delete(s.waiting, token)
		s.refuse(it, err)
	}
}

// park keeps replies and effects until the high watermark reaches the offset. Offsets come in rising order.
func (s *shard) park(now time.Time, offset int64, replies []machine.Reply, effects []any) {
	for _, r := range replies {
		it, ok := s.waiting[r.Token]
		if !ok {
			continue // refused before
		}
		delete(s.waiting, r.Token)
		if len(s.parked) == 0 && offset <= s.hw.Load() {
			it.reply(r.Value)
			continue
		}
		s.parked = append(s.parked, parked{item: it, value: r.Value, offset: offset, until: now.Add(s.h.c.CommitTimeout)})
	}
	for _, e := range effects {
		s.effects = append(s.effects, effect{e, offset})
	}
}

// release sends the replies that the high watermark has passed, and refuses those that waited too long.
func (s *shard) release(now time.Time) {
	hw, n := s.hw.Load(), 0
	for n < len(s.parked) {
		p := &s.parked[n]
		if p.offset <= hw {
			p.reply(p.value)
		} else if !now.Before(p.until) {
			s.refuse(p.item, ErrTimeout)
		} else {
			break
		}
		n++
	}
	s.parked = dropFirst(s.parked, n)
	for n = 0; n < len(s.effects) && s.effects[n].offset <= hw; n++ {
		if s.h.c.OnEffect != nil {
			s.h.c.OnEffect(s.partition, s.effects[n].value)
		}
	}
	s.effects = dropFirst(s.effects, n)
}

// dropFirst removes the first n elements in place.
func dropFirst[T any](list []T, n int) []T {
	if n == 0 {
		return list
	}
	left := copy(list, list[n:])
	clear(list[left:])
	return list[:left]
}

func (s *shard) tell(events []machine.Event) {
	for _, e := range events {
		if s.h.c.OnEvent != nil {
			s.h.c.OnEvent(s.partition, e)
		}
		args := []any{"topic", s.h.c.Topic, "partition", s.partition}
		for _, a := range e.Attrs {
			args = append(args, a.Key, a.Value)
		}
		if e.Warn {
			s.h.c.Logger.Warn(e.Name, args...)
		} else {
			s.h.c.Logger.Debug(e.Name, args...)
		}
	}
}

func (s *shard) setPhase(p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != stopped {
		s.phase = p
	}
}
