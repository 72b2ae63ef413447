package replica

import (
	"container/heap"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/isr"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// Partition is one replica on this node.
//
// role is what the metadata says, replaced as a whole by the holder of Set.changing; everybody else reads it without a
// lock. The log
// itself refuses appends of an older leader epoch, so an append that read the old role loses that race cleanly:
//
//	producer reads role (leader, epoch 5) | Apply: log follows epoch 6, role replaced | append with epoch 5 -> fenced
//
// mu guards the ISR state and the waiters. It is a leaf: never held over the log, a callback or a wake-up.
type Partition struct {
	Topic string
	ID    schema.UUID
	Index int32

	name string // topic-partition, for messages
	set  *Set
	log  *storage.Log // nil where it could not be opened or created
	role atomic.Pointer[role]
	// failed says that the log's directory failed: the replica is offline until the next start. Guarded by Set.changing.
	failed bool
	// wanting is why there is no log yet, if it may come: the disk was full, too many files were open, another topic's log has its
	// name, or it is being recovered. Guarded by Set.changing.
	wanting error

	watchers atomic.Pointer[[]Watcher]     // replaced under mu, read without
	onHW     atomic.Pointer[[]*hwListener] // replaced under mu, read without
	mu       sync.Mutex
	leader   *isr.Leader // nil while another broker leads
	waiting  acks
}

// role is one node's part in a partition, immutable.
type role struct {
	Leader         int32
	Epoch          int32
	PartitionEpoch int32
	Leads          bool
	Deleted        bool
	Offline        bool
	Recovering     bool // offline until the log is recovered
	EnoughInSync   bool
}

type hwListener struct{ f func(int64) }

// ack waits until the high watermark reaches offset. done is called once, without any lock.
type ack struct {
	offset int64
	done   func(error)
	index  int // in the heap; -1 when it has left
}

type acks []*ack

func (a acks) Len() int           { return len(a) }
func (a acks) Less(i, j int) bool { return a[i].offset < a[j].offset }
func (a acks) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}
func (a *acks) Push(x any) {
	w := x.(*ack)
	w.index = len(*a)
	*a = append(*a, w)
}
func (a *acks) Pop() any {
	old := *a
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	w.index = -1
	return w
}

// leads gives the log if this node leads the partition.
func (p *Partition) leads() (*role, *storage.Log, error) { return p.leadsIn(-1) }

// leadsIn gives the log if this node leads the partition in the epoch that the client knows, -1 for any. What is wrong
// with the epoch counts before who leads (DETAILS 21).
func (p *Partition) leadsIn(epoch int32) (*role, *storage.Log, error) {
	r := p.role.Load()
	switch {
	case r.Deleted:
		return r, nil, ErrUnknownPartition
	case r.Recovering:
		return r, nil, ErrRecovering
	case r.Offline:
		return r, nil, ErrOffline
	}
	if err := r.checkEpoch(epoch); err != nil {
		return r, nil, err
	}
	if !r.Leads {
		return r, nil, &NotLeader{Leader: r.Leader, Epoch: r.Epoch}
	}
	return r, p.log, nil
}

// settled makes of a log that was closed under its user what the user shall hear: the partition went, or moves.
//
// A disk's error takes the log's directory offline, behind this call.
func (p *Partition) settled(err error) error {
	if !errors.Is(err, storage.ErrClosed) {
		p.set.dirs.Check(p.log, err)
		return err
	}
	r, _, gone := p.leads()
	if gone == nil {
		gone = &NotLeader{Leader: r.Leader, Epoch: r.Epoch}
	}
	return gone
}

// Settled is for who reads the log himself (View) and meets an error: it is noted if it is the disk's or tells of damage, and is
// given as a client shall hear it.
func (p *Partition) Settled(err error) error {
	if err == nil {
		return nil
	}
	return p.settled(err)
}

// checkEpoch compares the leader epoch that a client knows with ours (KIP-320). -1 asks for no check.
func (r *role) checkEpoch(current int32) error {
	switch {
	case current < 0 || current == r.Epoch:
		return nil
	case current < r.Epoch:
		return ErrFencedEpoch
	}
	return ErrUnknownEpoch
}

// LeaderAndEpoch is what the metadata says of the leader, for the hints of KIP-951.
func (p *Partition) LeaderAndEpoch() (leader, epoch int32) {
	r := p.role.Load()
	return r.Leader, r.Epoch
}

// View gives the log as readers see it, if this node leads the partition.
func (p *Partition) View() (*storage.View, error) {
	_, log, err := p.leads()
	if err != nil {
		return nil, err
	}
	return log.View(), nil
}

// Log gives the log whoever leads; nil while it is offline.
func (p *Partition) Log() *storage.Log {
	if p.role.Load().Offline {
		return nil
	}
	return p.log
}

// become takes in the metadata. Apply calls it, one call at a time for each partition.
func (p *Partition) become(m *metadata.Partition, minISR int, now time.Time) error {
	old := p.role.Load()
	r := &role{Leader: m.Leader, Epoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch, Leads: m.Leader == p.set.self, Offline: p.log == nil || p.failed,
		Recovering: errors.Is(p.wanting, logdir.ErrRecovering)}
	a := isr.Assignment{Replicas: m.Replicas, ISR: m.ISR, LeaderEpoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch}
	if r.Leads && !r.Offline {
		if old == nil || !old.Leads || old.Epoch != r.Epoch {
			// The log is fenced before the role is seen: nobody appends with the new epoch before, nobody with
			// the old one after.
			if err := p.log.BecomeLeader(r.Epoch); err != nil {
				r.Leads, r.Offline = false, true
				p.role.Store(r)
				p.resign(ErrOffline)
				p.set.dirs.Check(p.log, err)
				return err
			}
			v := p.log.View()
			p.mu.Lock()
			p.leader = isr.New(p.set.self, a, minISR, v.LogEnd, v.HighWatermark, now)
			hw, _ := p.leader.Appended(v.LogEnd)
			r.EnoughInSync = p.leader.EnoughInSync()
			p.mu.Unlock()
			p.role.Store(r)
			p.raise(r.Epoch, hw)
			p.changed()
			return nil
		}
		p.mu.Lock()
		hw, _ := p.leader.Committed(a, now)
		r.EnoughInSync = p.leader.EnoughInSync()
		p.mu.Unlock()
		p.role.Store(r)
		p.raise(r.Epoch, hw)
		p.changed()
		return nil
	}
	p.role.Store(r)
	if r.Offline {
		p.resign(ErrOffline)
		return nil
	}
	p.resign(&NotLeader{Leader: r.Leader, Epoch: r.Epoch})
	return nil
}

// offline ends the use of a log whose directory failed. Set.changing is held.
func (p *Partition) offline() {
	p.failed = true
	r := *p.role.Load()
	r.Leads, r.Offline = false, true
	p.role.Store(&r)
	p.resign(ErrOffline)
}

// resign ends what only a leader has: waiting producers are told why.
func (p *Partition) resign(why error) {
	p.mu.Lock()
	p.leader = nil
	waiting := p.waiting
	p.waiting = nil
	for _, w := range waiting {
		w.index = -1
	}
	p.mu.Unlock()
	for _, w := range waiting {
		w.done(why)
	}
	p.changed()
}

// setMinISR takes in a live change of min.insync.replicas.
func (p *Partition) setMinISR(n int) {
	p.mu.Lock()
	if p.leader == nil {
		p.mu.Unlock()
		return
	}
	hw, _ := p.leader.SetMinISR(n)
	enough := p.leader.EnoughInSync()
	p.mu.Unlock()
	r := *p.role.Load()
	r.EnoughInSync = enough
	p.role.Store(&r)
	if p.raise(r.Epoch, hw) {
		p.changed()
	}
}

// appended takes in the new log end after an append of the epoch.
func (p *Partition) appended(epoch int32, logEnd int64, news *News) {
	p.mu.Lock()
	if p.leader == nil || p.leader.Assignment().LeaderEpoch != epoch {
		p.mu.Unlock()
		return
	}
	hw, rose := p.leader.Appended(logEnd)
	p.mu.Unlock()
	if !rose || !p.raise(epoch, hw) {
		return
	}
	if news == nil {
		p.changed()
	} else if w := p.watchers.Load(); w != nil && len(*w) > 0 { // who comes later looks for itself
		news.of = append(news.of, p)
	}
}

// raise moves the log's high watermark and tells everybody who waits for it; that it has moved, the caller tells those who watch.
// The log keeps it monotonic, so calls may come out of order.
func (p *Partition) raise(epoch int32, hw int64) (moved bool) {
	if old, now := p.log.AdvanceHighWatermark(epoch, hw); now == old {
		return false
	}
	p.mu.Lock()
	var done []*ack
	for len(p.waiting) > 0 && p.waiting[0].offset <= hw {
		done = append(done, heap.Pop(&p.waiting).(*ack))
	}
	why := p.promise()
	p.mu.Unlock()
	for _, w := range done {
		w.done(why)
	}
	if fs := p.onHW.Load(); fs != nil {
		for _, l := range *fs {
			l.f(hw)
		}
	}
	return true
}

// promise says what a producer with acks=all hears when its offset is reached: the ISR may have become too small since the
// append (DETAILS 15). mu is held.
func (p *Partition) promise() error {
	if p.leader != nil && !p.leader.EnoughInSync() {
		return ErrNotEnoughAfter
	}
	return nil
}

// await calls done once the high watermark has reached offset: at once, without a lock, if it has. The returned
// function takes the wait back; it says whether it came before done.
func (p *Partition) await(offset int64, done func(error)) (cancel func() bool) {
	p.mu.Lock()
	if p.leader == nil {
		p.mu.Unlock()
		_, _, err := p.leads()
		if err == nil {
			err = &NotLeader{Leader: -1, Epoch: -1}
		}
		done(err)
		return nil
	}
	if p.log.View().HighWatermark >= offset {
		why := p.promise()
		p.mu.Unlock()
		done(why)
		return nil
	}
	w := &ack{offset: offset, done: done}
	heap.Push(&p.waiting, w)
	p.mu.Unlock()
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.index < 0 {
			return false
		}
		heap.Remove(&p.waiting, w.index)
		return true
	}
}

// Watcher is told that something of a partition has changed: its ends, its leader, its being there. Changed comes after the
// change can be seen, on the goroutine that made it, without a lock but Set.changing, and must not block. It gives the fetch that
// shall look again, if any; the caller lets it.
type Watcher interface{ Changed() Waiter }

// Waiter is a fetch that waits for news.
type Waiter = fetch.Waiter

// Watch tells w of changes until stop is called. One that is under way may still come after that.
func (p *Partition) Watch(w Watcher) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next []Watcher
	if old := p.watchers.Load(); old != nil {
		next = append(next, *old...)
	}
	next = append(next, w)
	p.watchers.Store(&next)
	return func() { p.unwatch(w) }
}

// watch marks the part dirty whenever something changes that its client would want to know.
func (p *Partition) watch(part *fetch.Part) {
	p.Watch(part)
	part.Watched = p
}

// Unwatch ends a watch. Package fetch calls it.
func (p *Partition) Unwatch(part *fetch.Part) { p.unwatch(part) }

func (p *Partition) unwatch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.watchers.Load()
	if old == nil {
		return
	}
	next := slices.Clone(*old)
	if i := slices.Index(next, w); i >= 0 {
		next = slices.Delete(next, i, i+1)
	}
	p.watchers.Store(&next)
}

// changed tells those who watch; the fetches among them look at once, each on a goroutine of its own.
func (p *Partition) changed() {
	if w := p.watchers.Load(); w != nil {
		for _, x := range *w {
			if f := x.Changed(); f != nil {
				f.Wake()
			}
		}
	}
}

// News are the partitions to which one request has appended, and of which nobody has heard yet. Whoever passes one must Tell, whatever
// becomes of the request: until then nobody looks who waits for these partitions.
//
// It holds partitions and not the fetches that wait for them: those stay where their timers, other news and the end of their
// session find them, however long the request takes.
type News struct{ of []*Partition }

// Any says whether there is something to tell.
func (n *News) Any() bool { return len(n.of) > 0 }

// Tell lets those look who wait, now that all is there. One fetch does so here, which saves a thread from being woken and the record
// that time; the others do beside it.
func (n *News) Tell() {
	var here Waiter
	for _, p := range n.of {
		for _, x := range *p.watchers.Load() {
			if f := x.Changed(); here == nil {
				here = f
			} else if f != nil {
				f.Wake()
			}
		}
	}
	n.of = nil
	if here != nil {
		here.Resume()
	}
}

// OnHighWatermark calls f, which must not block, after each rise of the high watermark. Calls may overtake each other.
func (p *Partition) OnHighWatermark(f func(hw int64)) (stop func()) {
	l := &hwListener{f: f}
	p.mu.Lock()
	defer p.mu.Unlock()
	var next []*hwListener
	if old := p.onHW.Load(); old != nil {
		next = append(next, *old...)
	}
	next = append(next, l)
	p.onHW.Store(&next)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(*p.onHW.Load()), func(o *hwListener) bool { return o == l })
		p.onHW.Store(&rest)
	}
}
