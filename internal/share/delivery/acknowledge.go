package delivery

import (
	"sort"
	"time"
)

// Acknowledgement tells the fate of the records from First to Last: one type for all, or one for each.
type Acknowledgement struct {
	First, Last int64
	Types       []int8
}

// check refuses what has no meaning whatever the state. Package api has looked before; a partition does not rely on it.
func (k Acknowledgement) check() error {
	if k.First > k.Last || len(k.Types) == 0 || len(k.Types) > 1 && int64(len(k.Types)-1) != k.Last-k.First {
		return badRequest("The acknowledgement batch is malformed.")
	}
	for _, t := range k.Types {
		if t < Gap || t > Renew {
			return badRequest("Invalid acknowledge type")
		}
	}
	return nil
}

// typeAt is the type of an offset, and the last offset of those behind it that have the same.
func (k Acknowledgement) typeAt(offset int64) (t int8, last int64) {
	if len(k.Types) == 1 {
		return k.Types[0], k.Last
	}
	i := offset - k.First
	t, last = k.Types[i], offset
	for last < k.Last && k.Types[last+1-k.First] == t {
		last++
	}
	return t, last
}

// Acknowledge takes in what a member says of records that it holds. Nothing is done if one of the acknowledgements is
// refused, but for holds that were renewed before it. The transition is nil if there is nothing to write.
func (p *Partition) Acknowledge(now time.Time, member string, acks []Acknowledgement, c Config) (*Transition, error) {
	t := p.begin(c)
	for _, k := range acks {
		err := k.check()
		if err == nil && k.Last >= p.start { // else its records are done
			err = p.acknowledge(t, now, member, k, c)
		}
		if err != nil {
			p.end(t, false, now)
			return nil, err
		}
	}
	return p.enqueue(t), nil
}

func (p *Partition) acknowledge(t *Transition, now time.Time, member string, k Acknowledgement, c Config) error {
	first := max(k.First, p.start)
	reached := p.known(k.Last)
	switch {
	case p.known(first) == nil:
		return badState("Batch record not found. The request batch offsets are not found in the cache.")
	case reached.last() < k.First:
		return badRequest("Batch record not found. The first offset in request is past acquired records.")
	case reached.last() < k.Last:
		return badRequest("Batch record not found. The last offset in request is past acquired records.")
	}
	for _, b := range p.over(first, k.Last) {
		if b.unread {
			continue
		}
		err := p.acknowledgeBatch(t, now, member, b, k, c)
		b.join()
		if err != nil {
			return err
		}
	}
	return nil
}

// known is the last batch that begins at an offset or below and was delivered. What this leader has not delivered, its
// members cannot know.
func (p *Partition) known(offset int64) *batch {
	i := sort.Search(len(p.batches), func(i int) bool { return p.batches[i].first() > offset }) - 1
	for i >= 0 && p.batches[i].unread {
		i--
	}
	if i < 0 {
		return nil
	}
	return p.batches[i]
}

func (p *Partition) acknowledgeBatch(t *Transition, now time.Time, member string, b *batch, k Acknowledgement, c Config) error {
	if len(b.runs) == 1 {
		switch r := &b.runs[0]; r.member {
		case member:
		case "":
			return badState("The batch cannot be acknowledged. The batch is not in the acquired state.")
		default:
			return badState("Member is not the owner of batch record")
		}
	}
	last := min(k.Last, b.last())
	for at := max(k.First, b.first()); at <= last; {
		kind, to := k.typeAt(at)
		to = min(to, last)
		i, j := b.cut(at, to)
		for ; i < j; i++ {
			if err := p.acknowledgeRun(t, now, member, &b.runs[i], kind, c); err != nil {
				return err
			}
		}
		at = to + 1
	}
	return nil
}

func (p *Partition) acknowledgeRun(t *Transition, now time.Time, member string, r *run, kind int8, c Config) error {
	switch {
	case r.state != Acquired: // pending ones among them
		return badState("The offset cannot be acknowledged. The offset is not acquired.")
	case r.member != member:
		return badState("Member is not the owner of offset")
	}
	switch kind {
	case Renew:
		if !c.Renew {
			return badState("Renewing acquisition locks is not enabled for the group.")
		}
		r.deadline = now.Add(c.Lock)
		p.lockedUntil(r.deadline)
	case Accept:
		t.turn(r, Acknowledged)
	case Release:
		t.turn(r, Available)
	default: // reject, gap
		t.turn(r, Archived)
	}
	return nil
}

// Release makes everything available that a member holds: its session has ended. The transition is nil if that is nothing.
func (p *Partition) Release(now time.Time, member string, c Config) *Transition {
	t := p.begin(c)
	for _, b := range p.batches {
		for i := range b.runs {
			if r := &b.runs[i]; r.held() && r.member == member {
				t.turn(r, Available)
			}
		}
	}
	return p.enqueue(t)
}

// Expire ends the holds that have lasted long enough, at once. The transition is nil if there are none.
func (p *Partition) Expire(now time.Time, c Config) *Transition {
	if p.earliest.IsZero() || now.Before(p.earliest) {
		return nil
	}
	t := p.begin(c)
	t.atOnce = true
	p.earliest = time.Time{}
	for _, b := range p.batches {
		for i := range b.runs {
			r := &b.runs[i]
			if !r.held() {
				continue
			}
			if now.Before(r.deadline) {
				p.lockedUntil(r.deadline)
				continue
			}
			r.state, r.member, r.deadline = t.bounded(r, Available), "", time.Time{}
			p.free = p.free || r.state == Available
			t.note(r)
		}
		b.join()
	}
	p.enqueue(t)
	p.advance() // over what was delivered often enough
	if len(t.changes) == 0 {
		return nil
	}
	return t
}
