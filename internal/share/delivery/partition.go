package delivery

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// Partition is the state of one share partition. The zero value knows of nothing; Load makes it ready.
type Partition struct {
	start, next int64
	epoch       int32 // of the persisted state: an admin's change of offsets makes a new one
	batches     []*batch
	free        bool      // a run may be free; false is certain
	earliest    time.Time // no hold ends before; zero: nothing is held

	token  uint64 // of the last transition
	queue  []*Transition
	flight []*Transition // in the write that is under way
}

// Load takes in what the persister has. A start of -1 must have been resolved before.
func (p *Partition) Load(start int64, epoch int32, states []StateBatch) error {
	next := start
	var batches []*batch
	for _, s := range states {
		switch {
		case s.First < next || s.Last < s.First:
			return fmt.Errorf("%w: offsets %d to %d at %d, start offset %d", ErrState, s.First, s.Last, next, start)
		case s.State != Available && !s.State.terminal():
			return fmt.Errorf("%w: delivery state %d of offsets %d to %d", ErrState, s.State, s.First, s.Last)
		}
		if s.First > next {
			hole := newBatch(run{first: next, last: s.First - 1})
			hole.unread = true
			batches = append(batches, hole)
		}
		batches = append(batches, newBatch(run{first: s.First, last: s.Last, state: s.State, deliveries: s.Deliveries}))
		next = s.Last + 1
	}
	*p = Partition{start: start, next: next, epoch: epoch, batches: batches, free: len(batches) > 0}
	p.advance()
	return nil
}

// StartOffset is the first offset that is not done.
func (p *Partition) StartOffset() int64 { return p.start }

// NextOffset is where to fetch: the first record that is free, else the first that was never fetched.
func (p *Partition) NextOffset() int64 {
	if p.free {
		for _, b := range p.batches {
			for i := range b.runs {
				if b.runs[i].free() {
					return b.runs[i].first
				}
			}
		}
		p.free = false
	}
	return p.next
}

// Free says that something that was fetched before can be acquired.
func (p *Partition) Free() bool { return p.NextOffset() != p.next }

// InFlight is the number of offsets between start and next.
func (p *Partition) InFlight() int64 { return p.next - p.start }

// CanAcquire says whether a fetch may find something to acquire.
func (p *Partition) CanAcquire(c Config) bool {
	return p.InFlight() < int64(c.MaxLocks) || p.Free()
}

// Idle says that nothing is written or waits to be.
func (p *Partition) Idle() bool { return len(p.queue) == 0 && len(p.flight) == 0 }

// Held says that a member holds something.
func (p *Partition) Held() bool {
	for _, b := range p.batches {
		for i := range b.runs {
			if b.runs[i].state == Acquired {
				return true
			}
		}
	}
	return false
}

// LogStartMoved forgets what the log has deleted. It is not written: the next write carries the new start.
func (p *Partition) LogStartMoved(offset int64) {
	if offset <= p.start {
		return
	}
	p.start, p.next = offset, max(p.next, offset)
	n := p.at(offset)
	p.drop(n)
	if len(p.batches) > 0 {
		if b := p.batches[0]; b.first() < offset {
			b.runs = b.runs[b.split(offset):]
		}
	}
	p.advance()
}

// advance moves start over what is done. It says whether start moved.
func (p *Partition) advance() bool {
	before, n := p.start, 0
	for _, b := range p.batches {
		k := 0
		for k < len(b.runs) && b.runs[k].state.terminal() && b.runs[k].pending == 0 {
			k++
		}
		if k < len(b.runs) {
			b.runs = b.runs[k:]
			break
		}
		n++
	}
	p.drop(n)
	p.start = p.next
	if len(p.batches) > 0 {
		p.start = p.batches[0].first()
	}
	return p.start != before
}

// drop forgets the first n batches.
func (p *Partition) drop(n int) {
	clear(p.batches[:n])
	p.batches = p.batches[n:]
}

// at is the number of the first batch that does not end below an offset.
func (p *Partition) at(offset int64) int {
	return sort.Search(len(p.batches), func(i int) bool { return p.batches[i].last() >= offset })
}

// over are the batches with offsets between two.
func (p *Partition) over(first, last int64) []*batch {
	i := p.at(first)
	j := i
	for j < len(p.batches) && p.batches[j].first() <= last {
		j++
	}
	return p.batches[i:j]
}

// complete counts the records from start on that are done, or will be with what is pending (KIP-1226).
func (p *Partition) complete() int64 {
	var n int64
	for _, b := range p.batches {
		for i := range b.runs {
			if b.runs[i].state.terminal() {
				n += b.runs[i].size()
			}
		}
	}
	return n
}

// NextDeadline is a time before which no hold ends; false if nothing is held.
func (p *Partition) NextDeadline() (time.Time, bool) { return p.earliest, !p.earliest.IsZero() }

func (p *Partition) lockedUntil(t time.Time) {
	if p.earliest.IsZero() || t.Before(p.earliest) {
		p.earliest = t
	}
}

// String shows the state, for tests and logs: offsets, state, deliveries, and who holds it; * is pending.
func (p *Partition) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "start %d next %d", p.start, p.next)
	for _, b := range p.batches {
		s.WriteString("\n ")
		for i := range b.runs {
			r := &b.runs[i]
			fmt.Fprintf(&s, " %d-%d %s", r.first, r.last, r.state)
			if r.pending != 0 {
				s.WriteString("*")
			}
			if b.unread {
				s.WriteString(" unread")
			} else {
				fmt.Fprintf(&s, " x%d", r.deliveries)
			}
			if r.member != "" {
				fmt.Fprintf(&s, " %s", r.member)
			}
			if i < len(b.runs)-1 {
				s.WriteString(" |")
			}
		}
	}
	return s.String()
}

func (s State) String() string {
	switch s {
	case Available:
		return "available"
	case Acquired:
		return "acquired"
	case Acknowledged:
		return "acknowledged"
	case Archived:
		return "archived"
	}
	return fmt.Sprintf("state %d", int8(s))
}
