package delivery

import (
	"cmp"
	"slices"
	"time"
)

// Transition is the change of some records by one step, until it is written.
type Transition struct {
	// Tag is the caller's own.
	Tag any

	token         uint64
	maxDeliveries int
	atOnce        bool // nothing is pending: the records have their state already
	changes       []StateBatch
}

func (p *Partition) begin(c Config) *Transition {
	p.token++
	return &Transition{token: p.token, maxDeliveries: c.MaxDeliveries}
}

// enqueue lets a transition be written; one without changes is none.
func (p *Partition) enqueue(t *Transition) *Transition {
	if len(t.changes) == 0 {
		return nil
	}
	p.queue = append(p.queue, t)
	return t
}

// bounded is the state that a record goes to: one that was delivered often enough is given up.
func (t *Transition) bounded(r *run, to State) State {
	if to == Available && int(r.deliveries) >= t.maxDeliveries {
		return Archived
	}
	return to
}

// turn lets a run wait for the persister.
func (t *Transition) turn(r *run, to State) {
	r.before, r.owner, r.pending = r.state, r.member, t.token
	r.state, r.member = t.bounded(r, to), ""
	t.note(r)
}

func (t *Transition) note(r *run) {
	c := StateBatch{r.first, r.last, r.state, r.deliveries}
	if n := len(t.changes); n > 0 {
		if l := &t.changes[n-1]; l.Last+1 == c.First && l.State == c.State && l.Deliveries == c.Deliveries {
			l.Last = c.Last
			return
		}
	}
	t.changes = append(t.changes, c)
}

// Write is what to persist.
type Write struct {
	StateEpoch       int32
	StartOffset      int64
	DeliveryComplete int64 // records from StartOffset on that are done
	Batches          []StateBatch
}

// Take gives the next write; false while one is under way or there is none. Written must follow.
//
// A write carries every transition that waits, because their records differ: a record that is pending takes part in nothing else.
// Those of an ended hold are not pending and may change once more, so they end a write.
func (p *Partition) Take() (Write, bool) {
	if len(p.flight) > 0 || len(p.queue) == 0 {
		return Write{}, false
	}
	n := slices.IndexFunc(p.queue, func(t *Transition) bool { return t.atOnce }) + 1
	if n == 0 {
		n = len(p.queue)
	}
	p.flight = slices.Clone(p.queue[:n])
	p.queue = slices.Delete(p.queue, 0, n)
	w := Write{StateEpoch: p.epoch, StartOffset: p.start, DeliveryComplete: p.complete()}
	for _, t := range p.flight {
		for _, c := range t.changes {
			if c.First = max(c.First, p.start); c.First <= c.Last { // else the log has deleted it since
				w.Batches = append(w.Batches, c)
			}
		}
	}
	slices.SortFunc(w.Batches, func(a, b StateBatch) int { return cmp.Compare(a.First, b.First) })
	return w, true
}

// Written ends the write that is under way: its transitions are kept if it was persisted, and undone if not. It gives
// them back.
func (p *Partition) Written(persisted bool, now time.Time) []*Transition {
	done := p.flight
	p.flight = nil
	for _, t := range done {
		p.end(t, persisted, now)
	}
	p.advance()
	return done
}

// Abandon gives every transition that was not persisted, when there is nobody any more to persist for.
func (p *Partition) Abandon() []*Transition {
	all := append(p.flight, p.queue...)
	p.flight, p.queue = nil, nil
	return all
}

// end keeps or undoes a transition. What the log has deleted meanwhile is not there any more.
func (p *Partition) end(t *Transition, keep bool, now time.Time) {
	if t.atOnce {
		return
	}
	for _, c := range t.changes {
		for _, b := range p.over(c.First, c.Last) {
			for i := range b.runs {
				if r := &b.runs[i]; r.pending == t.token {
					p.settle(t, r, keep, now)
				}
			}
			b.join()
		}
	}
}

func (p *Partition) settle(t *Transition, r *run, keep bool, now time.Time) {
	switch {
	case keep:
		r.deadline = time.Time{}
	case now.Before(r.deadline):
		r.state, r.member = r.before, r.owner
		p.lockedUntil(r.deadline)
	default: // the hold ended while it was written
		r.state, r.deadline = t.bounded(r, Available), time.Time{}
	}
	r.pending, r.before, r.owner = 0, 0, ""
	p.free = p.free || r.state == Available
}
