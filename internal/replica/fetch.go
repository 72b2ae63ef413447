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
	View       *storage.View // nil with errors
	Slice      storage.Slice
	Aborted    []schema.AbortedTxn // nil without Committed
	Diverging  bool                // KIP-595: the client's log parted from ours where DivergeEpoch ends
	DivergeEnd int64
	DivergeAt  int32

	bound storage.Bound
	more  bool // there is something to read that Slice has no room for
}

// Fetch reads what the session asks for and calls done, once, with the partitions that have news: before it returns if
// there is enough, else when there is or when the wait is over. It says whether done has been called by this call. done ends
// the fetch with Session.Done.
//
// A fetch that waits ends early (DETAILS 22) when a partition of it is no longer led here, is deleted, goes offline, moves
// to another epoch or parts from the client's log, which all are errors or divergence when looked at again; when the end of
// its segment is all that one read can give; and when its session ends.
func (s *Set) Fetch(session *fetch.Session, o FetchOptions, done func([]Fetched)) bool {
	f := &waitingFetch{set: s, session: session, o: o, done: done, watching: session.ID != 0}
	return f.run(o.Wait <= 0)
}

// waitingFetch is one fetch under way. One goroutine owns all of it: the caller of Fetch until it parks, then whoever takes
// it out of the session (Session.Park). expired is the exception. A timer that fires while the fetch runs finds nothing to
// take out; so it says so first, and whoever parks the fetch looks afterwards:
//
//	run: parks, reads expired | timer: expired = true, tries to take the fetch out
//
// Whichever comes second sees the other.
type waitingFetch struct {
	set      *Set
	session  *fetch.Session
	o        FetchOptions
	done     func([]Fetched)
	watching bool // without a session nobody watches before the fetch has to wait

	expired atomic.Bool
	stop    func() bool

	parts   []*fetch.Part
	results []Fetched
	keep    []*fetch.Part // looked at, and still with news
	starved []*fetch.Part // not served, or not looked at, because the answer was full
}

// run looks until the fetch is answered or waits. It says whether it is answered.
func (f *waitingFetch) run(last bool) bool {
	for {
		if end := f.step(last); end != again {
			return end == answered
		}
	}
}

// outcome is what a look led to.
type outcome uint8

const (
	again    outcome = iota // there may be news already: it must look once more
	answered                // the fetch is over
	parked                  // it waits, and belongs to whoever takes it out of the session
)

// step looks once.
func (f *waitingFetch) step(last bool) outcome {
	enough := f.look()
	if enough || last || f.expired.Load() || f.session.Ended() {
		f.finish()
		return answered
	}
	for i := range f.results {
		f.results[i].Slice.Release()
	}
	if !f.watching {
		f.watching = true
		f.session.Hold(f.parts)
		return again
	}
	if f.stop == nil {
		f.stop = f.set.tasks.After(f.o.Wait, f.expire)
	}
	if !f.session.Park(f.keep, f) || f.expired.Load() && f.session.Unpark(f) {
		return again
	}
	return parked
}

// Wake implements fetch.Waiter.
func (f *waitingFetch) Wake() { f.set.tasks.Go(func() { f.run(false) }) }

// resumeMax bounds the parts of a fetch that looks on somebody else's goroutine: each look at 10,000 takes milliseconds.
const resumeMax = 64

// Resume implements fetch.Waiter. News that come ever anew shall not keep the caller.
func (f *waitingFetch) Resume() {
	if f.session.Len() > resumeMax || f.step(false) == again {
		f.Wake()
	}
}

func (f *waitingFetch) expire() {
	f.expired.Store(true)
	if f.session.Unpark(f) {
		f.run(true)
	}
}

// finish answers. What the answer had no room for comes first in the next one, what it served comes last.
func (f *waitingFetch) finish() {
	if f.stop != nil {
		f.stop()
	}
	f.session.Hold(f.starved)
	for i := range f.results {
		if r := &f.results[i]; r.Err != nil || r.Slice.Size > 0 || r.Diverging {
			f.session.Again(r.Part)
		}
	}
	f.done(f.results)
}

// look reads every part that may have news. It says whether the fetch may be answered now. A partition whose log is being recovered is
// one that has nothing yet: its error can wait, or its client would ask again and again.
func (f *waitingFetch) look() (enough bool) {
	f.parts = f.session.Take(f.parts[:0])
	f.results, f.keep, f.starved = f.results[:0], f.keep[:0], f.starved[:0]
	left, total := f.o.MaxBytes, 0
	for _, part := range f.parts {
		if left <= 0 && total > 0 && !f.o.Full {
			f.starved = append(f.starved, part)
			continue
		}
		r := f.read(part, min(left, int(part.MaxBytes)), total == 0)
		total += r.Slice.Size
		left = max(left-r.Slice.Size, 0)
		if r.more {
			f.starved = append(f.starved, part)
		}
		enough = enough || r.Err != nil && !errors.Is(r.Err, ErrRecovering) || r.Diverging || r.more && total > 0
		if hw, start := part.Told(); r.Err != nil || r.Diverging || r.Slice.Size > 0 || f.o.Full ||
			r.View != nil && (r.View.HighWatermark != hw || r.View.LogStart != start) {
			f.results = append(f.results, r)
			f.keep = append(f.keep, part)
		}
	}
	enough = enough || total >= f.o.MinBytes || left == 0 && total > 0 || f.session.Len() == 0
	for i := 0; i < len(f.results) && !enough; i++ {
		enough = f.results[i].olderSegment()
	}
	return enough
}

// read looks at one partition.
func (w *waitingFetch) read(part *fetch.Part, maxBytes int, minOne bool) Fetched {
	f := Fetched{Part: part, Leader: -1, Epoch: -1}
	p, err := w.find(part.Key)
	if w.watching && part.Watched != nil && (p == nil || part.Watched != any(p)) {
		part.Watched.Unwatch(part)
		part.Watched = nil
	}
	if p == nil {
		f.Err = err
		return f
	}
	if w.watching && part.Watched == nil { // before the look: what changes after it is heard of
		p.watch(part)
	}
	r, log, err := p.leadsIn(part.LeaderEpoch)
	f.Leader, f.Epoch = r.Leader, r.Epoch
	if err == nil && w.o.Follower { // no replica of ours: Kafka answers NOT_LEADER_OR_FOLLOWER
		err = &NotLeader{Leader: r.Leader, Epoch: r.Epoch}
	}
	if err == nil {
		err = f.readFrom(log.View(), w.o, maxBytes, minOne)
	}
	if err != nil {
		f.Slice.Release()
		f.Slice, f.View, f.Err = storage.Slice{}, nil, p.settled(err)
	}
	return f
}

// find gives the partition that a key names: by id where the session uses ids, by name otherwise.
func (w *waitingFetch) find(k fetch.Key) (*Partition, error) {
	if w.session.UsesIDs {
		return w.set.Identified(k.ID, k.Partition)
	}
	return w.set.Named(k.Topic, k.Partition)
}

// readFrom reads what a view of the log has for the part.
func (f *Fetched) readFrom(v *storage.View, o FetchOptions, maxBytes int, minOne bool) (err error) {
	part := f.Part
	if part.LastEpoch >= 0 {
		epoch, end := v.EpochEndOffset(part.LastEpoch)
		if epoch == storage.NoEpoch || end == storage.NoOffset || part.Offset < v.LogStart {
			return &storage.OffsetOutOfRange{Offset: part.Offset, LogStart: v.LogStart, LogEnd: v.LogEnd}
		}
		if epoch < part.LastEpoch || end < part.Offset {
			f.View, f.Diverging, f.DivergeAt, f.DivergeEnd = v, true, epoch, end
			return nil
		}
	}
	f.View, f.bound = v, storage.HighWatermark
	end := v.HighWatermark
	if o.Committed {
		f.bound, end = storage.LastStable, v.LastStable
	}
	if f.Slice, err = v.Read(part.Offset, maxBytes, f.bound, minOne); err != nil {
		return err
	}
	f.more = f.Slice.Size == 0 && part.Offset < end && !minOne
	if !o.Committed || f.Slice.Size == 0 {
		return nil
	}
	to, err := nextOffset(f.Slice)
	if err == nil {
		f.Aborted, err = v.Aborted(part.Offset, to)
	}
	return err
}

// olderSegment says whether Slice ends with its segment and not with what may be read: waiting would not add to it.
func (f *Fetched) olderSegment() bool {
	if f.Slice.Size == 0 {
		return false
	}
	end := f.View.HighWatermark
	if f.bound == storage.LastStable {
		end = f.View.LastStable
	}
	last, err := f.View.Read(end-1, 0, f.bound, true)
	if err != nil {
		return true // the next look tells
	}
	defer last.Release()
	return last.Size > 0 && last.Ranges[0].File != f.Slice.Ranges[0].File
}
