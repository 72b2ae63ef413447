package share

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/share/delivery"
	"github.com/klamm-io/klamm/internal/storage"
)

// FetchOptions belong to a ShareFetch.
type FetchOptions struct {
	Group, Member      string
	MinBytes, MaxBytes int
	Wait               time.Duration
	MaxRecords         int
	BatchSize          int
	RecordLimit        bool
	Config             Group

	linger bool // there is nothing to fetch, and the wait counts
}

// Fetched is the news of one partition. Whoever gets it releases Slice after sending it.
type Fetched struct {
	TopicPartition
	Err      error
	Slice    storage.Slice
	Acquired []delivery.AcquiredRecords
}

// maxWait is how long a fetch may wait. Kafka has no limit; consumers wait for half a second.
const maxWait = 30 * time.Second

// Fetch acquires records of partitions for a member and calls done, once, with what there is to tell: before it returns if
// there is enough, else when there is or when the wait is over. It says whether done has been called by this call.
//
// It waits until MinBytes can be read of share partitions that have room for more held records, and ends early when a
// partition cannot be read, is no longer led here, when all have errors, and when the session ends or fetches again.
func (s *Set) Fetch(session *Session, o FetchOptions, parts []TopicPartition, done func([]Fetched)) bool {
	o.Wait = min(o.Wait, maxWait)
	f := &waitingFetch{set: s, session: session, o: o, done: done}
	if o.MaxRecords > 0 && o.MaxBytes > 0 {
		for _, tp := range parts {
			f.parts = append(f.parts, fetchPart{tp: tp})
		}
	}
	session.enter(f)
	return f.run()
}

// Acknowledge takes in what a member says of records of a partition. done hears the outcome once it is persisted.
func (s *Set) Acknowledge(group, member string, tp TopicPartition, acks []delivery.Acknowledgement, done func(error)) {
	p := s.find(group, tp)
	if p == nil { // nothing is held of what nobody fetched
		done(&failure{kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition.Description})
		return
	}
	p.acknowledge(member, acks, done)
}

// waitingFetch is one fetch under way. One goroutine owns all of it but what mu guards: the caller of Fetch until it
// parks, then whoever wakes it. News that come while it runs let it look once more:
//
//	run: looks, finds nothing | an append: wake() notes news | run: park() refuses
type waitingFetch struct {
	set     *Set
	session *Session
	o       FetchOptions
	done    func([]Fetched)
	parts   []fetchPart

	watching bool
	stop     func() bool // of the timer
	results  []Fetched
	expired  atomic.Bool

	mu     sync.Mutex // guards:
	parked bool
	news   bool
}

// fetchPart is one partition of a fetch.
type fetchPart struct {
	tp      TopicPartition
	p       *partition // nil until it is led, and when it was retired
	watched *partition // where the fetch waits
	err     error      // that it failed with: it is not tried again by this fetch, which might load it without end

	// While the fetch reads.
	offset, most int64
	read         reading
}

// run owns the fetch. It says whether the fetch is over.
func (f *waitingFetch) run() bool {
	for {
		if f.look(f.o.Wait <= 0 || f.expired.Load()) {
			f.finish()
			return true
		}
		if !f.watching {
			f.watching = true // before the next look: what changes after it is heard of
			continue
		}
		if f.stop == nil {
			f.stop = f.set.tasks.After(f.o.Wait, f.expire)
		}
		if f.park() {
			return false
		}
	}
}

// park lets the fetch wait unless there are news since it was last taken. When it waits, it belongs to whoever wakes it.
func (f *waitingFetch) park() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.news {
		f.news = false
		return false
	}
	f.parked = true
	return true
}

// wake lets the fetch look again, on a goroutine of its own if it waits.
func (f *waitingFetch) wake() {
	f.mu.Lock()
	was := f.parked
	f.parked, f.news = false, !was
	f.mu.Unlock()
	if was {
		f.set.tasks.Go(func() { f.run() })
	}
}

func (f *waitingFetch) expire() {
	f.expired.Store(true)
	f.wake()
}

// finish answers.
func (f *waitingFetch) finish() {
	if f.stop != nil {
		f.stop()
	}
	for i := range f.parts {
		if p := f.parts[i].watched; p != nil {
			p.leave(f)
		}
	}
	f.session.leave(f)
	if f.session.ended.Load() && !f.set.populated(f.o.Group) { // what this fetch began after the session's end
		for _, p := range f.set.of(f.o.Group) {
			p.retire()
		}
	}
	f.done(f.results)
}

// look acquires what there is. It says whether the fetch may be answered now.
func (f *waitingFetch) look(last bool) (enough bool) {
	for {
		f.results = f.results[:0]
		if f.session.ended.Load() || len(f.parts) == 0 && !f.o.linger {
			return true
		}
		ready, urgent := f.begin()
		if len(ready) == 0 {
			return last || urgent || len(f.parts) > 0 && len(f.results) == len(f.parts)
		}
		bytes, late, failed := f.read(ready)
		if !last && !urgent && !failed && !late && bytes < f.o.MinBytes {
			f.drop(ready)
			return false
		}
		acquired, more := f.acquire(ready)
		switch {
		case acquired > 0 && f.session.ended.Load():
			f.giveBack()
			return true
		case acquired > 0, last, urgent, failed, f.o.MinBytes <= 0:
			return true
		case !more:
			return false
		}
		// What was read belongs to aborted transactions or to others: there may be more behind it.
	}
}

// begin finds the share partitions that may be read now, and lists the errors of others. urgent: the client should hear
// of one now, because it must go elsewhere.
func (f *waitingFetch) begin() (ready []*fetchPart, urgent bool) {
	for i := range f.parts {
		x := &f.parts[i]
		var ok bool
		if x.err == nil {
			ok, x.err = f.beginPart(x)
		}
		switch {
		case x.err != nil:
			var away *replica.NotLeader
			urgent = urgent || errors.As(x.err, &away)
			f.results = append(f.results, Fetched{TopicPartition: x.tp, Err: x.err})
		case ok:
			ready = append(ready, x)
		}
	}
	return ready, urgent
}

func (f *waitingFetch) beginPart(x *fetchPart) (ok bool, err error) {
	for range 3 { // one that is given up while we look is begun anew
		if x.p == nil {
			if x.p, err = f.set.lead(f.o.Group, x.tp); err != nil {
				return false, err
			}
		}
		if f.watching && x.watched != x.p {
			if x.watched != nil {
				x.watched.leave(f)
			}
			x.p.watch(f)
			x.watched = x.p
		}
		x.offset, x.most, ok, err = x.p.begin(f)
		if !errors.Is(err, errRetired) {
			return ok, err
		}
		x.p = nil
	}
	return false, settled(err)
}

// drop ends readings without acquiring anything.
func (f *waitingFetch) drop(ready []*fetchPart) {
	for _, x := range ready {
		x.read.release()
		x.p.end(x.read.end())
	}
}

// read reads the log for each share partition, with an equal part of MaxBytes. late: what was read ends with its segment, so
// waiting would not add to it.
func (f *waitingFetch) read(ready []*fetchPart) (bytes int, late, failed bool) {
	each := f.o.MaxBytes / len(ready)
	for _, x := range ready {
		x.read = x.p.read(x.offset, each, bytes == 0, f.o.Config.Committed)
		if start, ok := isOutOfRange(x.read.err, x.offset); ok { // the log's start has moved
			x.offset, x.most = x.p.moved(f, start)
			x.read = x.p.read(x.offset, each, bytes == 0, f.o.Config.Committed)
		}
		var out *storage.OffsetOutOfRange
		if errors.As(x.read.err, &out) { // beyond the end, as after a loss of data: wait for the log to get there
			x.read = reading{}
		}
		bytes += x.read.slice.Size
		failed = failed || x.read.err != nil
		late = late || x.read.late
	}
	return bytes, late, failed
}

// acquire takes records of what was read, up to MaxRecords in all. more: something in the state moved on without giving any.
func (f *waitingFetch) acquire(ready []*fetchPart) (acquired int, more bool) {
	left := int64(f.o.MaxRecords)
	for _, x := range ready {
		got, moved, err := f.acquirePart(x, int(max(left, 0)))
		x.p.end(x.read.end())
		more = more || moved
		if err != nil {
			f.results = append(f.results, Fetched{TopicPartition: x.tp, Err: err})
			continue
		}
		for _, a := range got {
			left -= a.Last - a.First + 1
		}
		acquired += len(got)
		f.results = append(f.results, Fetched{TopicPartition: x.tp, Slice: x.read.slice, Acquired: got})
	}
	return acquired, more
}

func (f *waitingFetch) acquirePart(x *fetchPart, records int) (got []delivery.AcquiredRecords, moved bool, err error) {
	err = x.read.err
	if err == nil && x.read.slice.Size > 0 && records > 0 {
		err = x.p.replica.Settled(x.read.divide(x.most))
	}
	if err == nil && len(x.read.batches) > 0 {
		got, moved = x.p.acquire(f, x.offset, records, x.read.batches)
	}
	if err != nil || len(got) == 0 {
		x.read.release()
		return nil, moved, err
	}
	x.read.cut(got[0].First, got[len(got)-1].Last)
	return got, moved, nil
}

// giveBack releases what was acquired for a session that ended meanwhile: whoever ended it has released what there was then.
func (f *waitingFetch) giveBack() {
	for i := range f.results {
		r := &f.results[i]
		r.Slice.Release()
		p := f.set.find(f.o.Group, r.TopicPartition)
		if p == nil || len(r.Acquired) == 0 {
			continue
		}
		var acks []delivery.Acknowledgement
		for _, a := range r.Acquired {
			acks = append(acks, delivery.Acknowledgement{First: a.First, Last: a.Last, Types: []int8{delivery.Release}})
		}
		p.acknowledge(f.o.Member, acks, func(error) {})
	}
	f.results = f.results[:0]
}
