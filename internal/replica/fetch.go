package replica

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// FetchOptions belong to a Fetch request.
type FetchOptions struct {
	MinBytes, MaxBytes int
	Wait               time.Duration
	Committed          bool // isolation.level read_committed
	Full               bool // the answer names every partition
	Follower           bool // a broker asks; this node has no followers yet, so it is refused
}

// Fetched is the news of one partition. Whoever gets it releases Slice after sending it.
type Fetched struct {
	Part       *fetch.Part
	Err        error
	Leader     int32 // hints for NotLeader and the epoch errors; -1 if unknown
	Epoch      int32
	View       *storage.View // nil with most errors
	Slice      storage.Slice
	Aborted    []schema.AbortedTxn // nil without Committed
	Diverging  bool                // KIP-595: the client's log parted from ours where DivergeEpoch ends
	DivergeEnd int64
	DivergeAt  int32
}

// Fetch reads what the session asks for and calls done with the partitions that have news: before it returns if there
// is enough, else when there is or when the wait is over. It says whether done has been called.
//
// A fetch that waits ends early when a partition of it is no longer led here, is deleted, goes offline, moves to
// another epoch or parts from the client's log: all of these are errors or divergence when looked at again.
func (s *Set) Fetch(session *fetch.Session, o FetchOptions, done func([]Fetched)) bool {
	f := &waitingFetch{set: s, session: session, o: o, done: done, watching: session.ID != 0}
	f.state.Store(running)
	return f.run(o.Wait <= 0)
}

// waitingFetch is one fetch under way. state is the claim to run it: the goroutine that moves it from parked to
// running owns every other field until it parks again. expired is set before the timer tries its claim, and read
// after parking, so that a timer that fires while the fetch runs is not lost:
//
//	run: parks, state = parked, reads expired | timer: expired = true, claims state
//
// whichever comes second sees the other.
type waitingFetch struct {
	set      *Set
	session  *fetch.Session
	o        FetchOptions
	done     func([]Fetched)
	watching bool

	state   atomic.Int32
	expired atomic.Bool
	stop    func() bool

	parts   []*fetch.Part
	results []Fetched
	skipped []*fetch.Part // not looked at: the answer was full
	keep    []*fetch.Part // looked at, and still with news
}

const (
	parked = iota
	running
)

func (f *waitingFetch) run(last bool) bool {
	for {
		enough := f.look()
		if enough || last || f.expired.Load() || f.session.Ended() {
			f.finish()
			return true
		}
		for i := range f.results {
			f.results[i].Slice.Release()
		}
		if !f.watching {
			f.watching = true
			f.session.Requeue(f.keep, true)
			f.session.Requeue(f.skipped, false)
			continue
		}
		if f.stop == nil {
			f.stop = f.set.after(f.o.Wait, f.expire)
		}
		f.state.Store(parked)
		if !f.session.Park(f.keep, f.wake) {
			if !f.state.CompareAndSwap(parked, running) {
				return false // the timer has it
			}
			continue
		}
		if f.expired.Load() && f.state.CompareAndSwap(parked, running) {
			last = true
			continue
		}
		return false
	}
}

// wake runs on the goroutine that made the news; the fetch goes on beside it.
func (f *waitingFetch) wake() {
	if f.state.CompareAndSwap(parked, running) {
		f.set.spawn(func() { f.run(false) })
	}
}

func (f *waitingFetch) expire() {
	f.expired.Store(true)
	if f.state.CompareAndSwap(parked, running) {
		f.session.Unpark()
		f.run(true)
	}
}

func (f *waitingFetch) finish() {
	if f.stop != nil {
		f.stop()
	}
	f.session.Requeue(f.skipped, true)
	var again []*fetch.Part
	for i := range f.results {
		if r := &f.results[i]; r.Err != nil || r.Slice.Size > 0 || r.Diverging {
			again = append(again, r.Part)
		}
	}
	f.session.Requeue(again, false)
	f.done(f.results)
}

// look reads every part that may have news. It says whether the fetch may be answered now.
func (f *waitingFetch) look() (enough bool) {
	f.parts = f.session.Take(f.parts[:0])
	f.results, f.keep, f.skipped = f.results[:0], f.keep[:0], f.skipped[:0]
	left, total, now := f.o.MaxBytes, 0, false
	for _, part := range f.parts {
		if left <= 0 && total > 0 && !f.o.Full {
			f.skipped = append(f.skipped, part)
			continue
		}
		r := f.set.read(part, f.o, min(left, int(part.MaxBytes)), total == 0, f.watching)
		total += r.Slice.Size
		left -= r.Slice.Size
		hw, start := part.Told()
		news := r.Err != nil || r.Diverging || r.Slice.Size > 0 || f.o.Full
		if !news && r.View != nil {
			news = r.View.HighWatermark != hw || r.View.LogStart != start
		}
		if r.Err != nil || r.Diverging {
			now = true
		}
		if news {
			f.results = append(f.results, r)
			f.keep = append(f.keep, part)
		}
	}
	return now || total >= f.o.MinBytes || f.session.Len() == 0
}

// read looks at one partition.
func (s *Set) read(part *fetch.Part, o FetchOptions, maxBytes int, minOne, watch bool) Fetched {
	f := Fetched{Part: part, Leader: -1, Epoch: -1}
	var p *Partition
	if part.Topic != "" || part.ID == (schema.UUID{}) {
		p, f.Err = s.Named(part.Topic, part.Partition)
	} else {
		p, f.Err = s.Identified(part.ID, part.Partition)
	}
	if watch && part.Watched != nil && (p == nil || part.Watched != any(p)) {
		part.Watched.Unwatch(part)
		part.Watched = nil
	}
	if p == nil {
		return f
	}
	if watch && part.Watched == nil {
		p.watch(part)
	}
	r, log, err := p.leads()
	f.Leader, f.Epoch = r.Leader, r.Epoch
	if err == nil {
		err = r.checkEpoch(part.LeaderEpoch)
	}
	if err != nil {
		f.Err = err
		return f
	}
	if o.Follower { // no replica of ours: Kafka answers NOT_LEADER_OR_FOLLOWER
		f.Err = &NotLeader{Leader: r.Leader, Epoch: r.Epoch}
		return f
	}
	v := log.View()
	f.View = v
	if part.LastEpoch >= 0 {
		epoch, end := v.EpochEndOffset(part.LastEpoch)
		if epoch < part.LastEpoch || end < part.Offset {
			f.Diverging, f.DivergeAt, f.DivergeEnd = true, epoch, end
			return f
		}
	}
	bound := storage.HighWatermark
	if o.Committed {
		bound = storage.LastStable
	}
	f.Slice, f.Err = v.Read(part.Offset, maxBytes, bound, minOne)
	if f.Err != nil {
		var out *storage.OffsetOutOfRange
		if !errors.As(f.Err, &out) {
			f.View = nil
		}
		return f
	}
	if o.Committed {
		f.Aborted, f.Err = v.Aborted(part.Offset, v.LastStable)
	}
	return f
}
