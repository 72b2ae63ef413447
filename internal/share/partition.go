package share

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/share/delivery"
	"github.com/klamm-io/klamm/internal/storage"
)

// partition is one share partition: the delivery state, who waits for it, and its writes.
//
// Of many fetches that wait, news wake one: most news are a few records, which one fetch takes. What it leaves, another one is
// woken for, until everybody has looked (invite). The sequence is
//
//	an append: invites A | A acquires a part, end: invites B | B finds nothing worth its MinBytes, end: invites C | ...
//
// and whoever goes without having looked passes the invitation on (leave).
type partition struct {
	TopicPartition
	set     *Set
	group   string
	replica *replica.Partition
	epoch   int32 // in which this node leads

	waiters atomic.Int32 // len(waiting), for a look without the lock

	mu       sync.Mutex // a leaf; guards:
	phase    phase
	why      error // it was dropped
	state    delivery.Partition
	fetching *waitingFetch // reads the log for an acquisition
	refused  []*waitingFetch
	waiting  map[*waitingFetch]uint64 // by the news of which the fetch knows
	news     uint64                   // counts appends, releases, and what else makes it worth while to look
	full     bool                     // a fetch found no room for more holds
	leaving  bool                     // to be dropped when idle
	writing  bool
	unwatch  func()
	alarm    func() bool // stops the timer
	alarmAt  time.Time   // zero: no timer runs
	backoff  func() bool // stops the pause before the persister is asked once more
}

type phase int8

const (
	loading phase = iota
	active
	dropped
)

// answer is the tag of a transition that somebody waits for.
type answer func(error)

// Changed implements replica.Watcher: the partition has more records, or another leader, or is gone.
func (p *partition) Changed() replica.Waiter {
	if err := p.led(); err != nil {
		p.set.tasks.Go(func() { p.drop(err) }) // metadata is being published: the answers do not belong there
		return nil
	}
	if p.waiters.Load() > 0 {
		p.mu.Lock()
		p.news++
		woken := p.invite()
		p.mu.Unlock()
		wakeAll(woken)
	}
	return nil // its own fetches it wakes itself
}

// led says why this node does not lead in the epoch any more.
func (p *partition) led() error {
	if _, err := p.replica.View(); err != nil {
		return err
	}
	if leader, epoch := p.replica.LeaderAndEpoch(); epoch != p.epoch {
		return &replica.NotLeader{Leader: leader, Epoch: epoch}
	}
	return nil
}

// drop gives the share partition up. Acknowledgements that are not persisted hear why.
func (p *partition) drop(why error) {
	p.mu.Lock()
	if p.phase == dropped {
		p.mu.Unlock()
		return
	}
	p.phase, p.why = dropped, why
	undone := p.state.Abandon()
	woken := p.everybody()
	alarm, backoff, unwatch := p.alarm, p.backoff, p.unwatch
	p.alarm, p.alarmAt, p.backoff, p.unwatch = nil, time.Time{}, nil, nil
	p.mu.Unlock()
	if alarm != nil {
		alarm()
	}
	if backoff != nil {
		backoff()
	}
	if unwatch != nil {
		unwatch()
	}
	p.set.forget(p)
	wakeAll(woken)
	tell(undone, why)
}

// retire drops the share partition unless it is in use; if it is held or written, once that is over.
func (p *partition) retire() {
	p.mu.Lock()
	p.leaving = true
	idle := p.idle()
	p.mu.Unlock()
	if idle {
		p.drop(errRetired)
	}
}

// idle says that the share partition may go. mu is held.
func (p *partition) idle() bool {
	return p.leaving && p.phase == active && p.state.Idle() && p.fetching == nil && len(p.waiting) == 0 && !p.state.Held()
}

// everybody are the fetches to wake. mu is held.
func (p *partition) everybody() []*waitingFetch {
	woken := append([]*waitingFetch(nil), p.refused...)
	p.refused = nil
	for f := range p.waiting { // order does not matter: they race anyway
		woken = append(woken, f)
	}
	return woken
}

// invite is the next fetch to wake for the news, if one has not looked since. mu is held.
func (p *partition) invite() []*waitingFetch {
	for f, known := range p.waiting { // order does not matter: they race anyway
		if known < p.news {
			p.waiting[f] = p.news
			return []*waitingFetch{f}
		}
	}
	return nil
}

// watch lets a fetch be woken by what happens here.
func (p *partition) watch(f *waitingFetch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[f] = p.news // it is about to look
	p.waiters.Store(int32(len(p.waiting)))
}

func (p *partition) leave(f *waitingFetch) {
	p.mu.Lock()
	delete(p.waiting, f)
	p.waiters.Store(int32(len(p.waiting)))
	woken := p.invite()
	idle := p.idle()
	p.mu.Unlock()
	wakeAll(woken)
	if idle {
		p.drop(errRetired)
	}
}

// begin lets a fetch read the log for an acquisition, one fetch at a time: two would read, and send, the same. Who is
// refused is woken when the other is done. most bounds the offsets that could be acquired.
func (p *partition) begin(f *waitingFetch) (offset, most int64, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = false
	switch {
	case p.phase == dropped:
		return 0, 0, false, p.why
	case p.phase == loading:
		return 0, 0, false, nil
	case p.fetching != nil:
		if !slices.Contains(p.refused, f) {
			p.refused = append(p.refused, f)
		}
		return 0, 0, false, nil
	case !p.state.CanAcquire(f.o.Config.Config):
		p.full = true
		return 0, 0, false, nil
	}
	if _, ok := p.waiting[f]; ok {
		p.waiting[f] = p.news
	}
	p.fetching = f
	return p.state.NextOffset(), p.bound(f), true, nil
}

func (p *partition) bound(f *waitingFetch) int64 {
	return p.state.StartOffset() + p.state.InFlight() + int64(f.o.MaxRecords)
}

// moved takes in that the log begins later, and gives the next offset to read.
func (p *partition) moved(f *waitingFetch, logStart int64) (offset, most int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.LogStartMoved(logStart)
	return p.state.NextOffset(), p.bound(f)
}

// end is the counterpart of begin. What is left below an offset, another fetch may want.
func (p *partition) end(below int64) {
	p.mu.Lock()
	woken := p.refused
	if p.state.NextOffset() < below {
		woken = append(woken, p.invite()...)
	}
	p.refused, p.fetching = nil, nil
	idle := p.idle()
	p.mu.Unlock()
	wakeAll(woken)
	if idle {
		p.drop(errRetired)
	}
}

// acquire gives records of what was read to the fetch's member. moved says that there may be more behind them.
func (p *partition) acquire(f *waitingFetch, offset int64, records int, log []delivery.LogBatch) (got []delivery.AcquiredRecords, moved bool) {
	d := delivery.Fetch{Member: f.o.Member, Offset: offset, MaxRecords: records, BatchSize: f.o.BatchSize, RecordLimit: f.o.RecordLimit}
	now := p.set.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != active {
		return nil, false
	}
	got = p.state.Acquire(now, d, log, f.o.Config.Config)
	p.setAlarm(now)
	return got, p.state.NextOffset() != offset
}

// acknowledge takes in what a member says; done hears the outcome.
func (p *partition) acknowledge(member string, acks []delivery.Acknowledgement, done answer) {
	c, now := p.set.Group(p.group), p.set.Now()
	p.mu.Lock()
	if p.phase == dropped {
		why := p.why
		p.mu.Unlock()
		done(settled(why))
		return
	}
	t, err := p.state.Acknowledge(now, member, acks, c.Config)
	if t != nil {
		t.Tag = done
	}
	p.setAlarm(now)
	p.mu.Unlock()
	if t == nil {
		done(err)
		return
	}
	p.pump()
}

// release makes available what a member holds.
func (p *partition) release(member string) {
	c, now := p.set.Group(p.group), p.set.Now()
	p.mu.Lock()
	t := p.state.Release(now, member, c.Config)
	p.mu.Unlock()
	if t != nil {
		p.pump()
	}
}

// setAlarm has the holds end in time. mu is held.
func (p *partition) setAlarm(now time.Time) {
	at, ok := p.state.NextDeadline()
	if !ok || p.phase != active || !p.alarmAt.IsZero() && !at.Before(p.alarmAt) {
		return
	}
	if p.alarm != nil {
		p.alarm()
	}
	p.alarmAt = at
	p.alarm = p.set.tasks.After(at.Sub(now), p.ring)
}

// ring ends the holds that are due.
func (p *partition) ring() {
	c, now := p.set.Group(p.group), p.set.Now()
	p.mu.Lock()
	if p.phase != active {
		p.mu.Unlock()
		return
	}
	p.alarm, p.alarmAt = nil, time.Time{}
	t := p.state.Expire(now, c.Config)
	p.setAlarm(now)
	var woken []*waitingFetch
	if t != nil {
		p.news++
		woken = p.invite()
	}
	p.mu.Unlock()
	wakeAll(woken)
	if t != nil {
		p.pump()
	}
}

// tell answers those who wait for transitions.
func tell(ts []*delivery.Transition, err error) {
	for _, t := range ts {
		if done, ok := t.Tag.(answer); ok {
			done(settled(err))
		}
	}
}

// settled is what clients hear of a share partition that was dropped: errRetired is ours.
func settled(err error) error {
	if errors.Is(err, errRetired) {
		return kerr.NotLeaderForPartition
	}
	return err
}

// began is where a group without state begins to read.
func (p *partition) began(g Group) (int64, error) {
	timestamp := int64(replica.LatestTimestamp)
	switch g.Reset {
	case Earliest:
		timestamp = replica.EarliestTimestamp
	case ByDuration:
		timestamp = p.set.Now().Add(-g.Ago).UnixMilli()
	}
	o, found, err := p.replica.OffsetFor(timestamp, replica.Uncommitted, p.epoch)
	if err != nil {
		return 0, err
	}
	if !found {
		return p.latest()
	}
	return o.Offset, nil
}

// latest is the log's end where no record is as young as asked.
func (p *partition) latest() (int64, error) {
	o, found, err := p.replica.OffsetFor(replica.LatestTimestamp, replica.Uncommitted, p.epoch)
	if err == nil && !found {
		err = kerr.OffsetNotAvailable
	}
	return o.Offset, err
}

// isOutOfRange gives the log's start if a read began below it.
func isOutOfRange(err error, offset int64) (logStart int64, ok bool) {
	var out *storage.OffsetOutOfRange
	if errors.As(err, &out) && offset < out.LogStart {
		return out.LogStart, true
	}
	return 0, false
}
