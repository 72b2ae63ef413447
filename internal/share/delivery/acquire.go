package delivery

import (
	"math"
	"slices"
	"time"
)

// Fetch is what a member asks of one share partition.
type Fetch struct {
	Member      string
	Offset      int64 // where the log was read: NextOffset of that moment
	MaxRecords  int   // goal: the last batch is taken whole, unless RecordLimit
	BatchSize   int   // into how many records what is new is divided, at the log's batches
	RecordLimit bool  // share.acquire.mode=record_limit: MaxRecords is strict (KIP-1206)
}

// LogBatch is a batch that was read from the log.
type LogBatch struct {
	First, Last int64
	Aborted     bool // its transaction was aborted and the group reads committed records only
}

// AcquiredRecords are records that a member holds now.
type AcquiredRecords struct {
	First, Last int64
	Deliveries  int16
}

// Acquire gives a member the records of what was read from the log that are free. Batches must be in order.
//
// What compaction has taken from the log since it was available, and what belongs to aborted transactions, is archived on
// the way: nobody will acknowledge it.
func (p *Partition) Acquire(now time.Time, f Fetch, log []LogBatch, c Config) []AcquiredRecords {
	if len(log) == 0 || f.MaxRecords <= 0 || log[len(log)-1].Last < p.start {
		return nil
	}
	most, last := p.room(f, log[len(log)-1].Last, c)
	if most <= 0 {
		return nil
	}
	p.archive(f.Offset, log[0].First-1, (*run).free)
	a := acquisition{p: p, f: f, c: c, log: log, first: max(log[0].First, p.start), last: last, left: most, deadline: now.Add(c.Lock)}
	a.acquire()
	a.skipAborted()
	p.advance()
	return a.got
}

// room bounds an acquisition by share.partition.max.record.locks. At the bound, what is in flight and free may still be
// delivered once more, but nothing new.
func (p *Partition) room(f Fetch, last int64, c Config) (most, to int64) {
	if most = min(int64(f.MaxRecords), int64(c.MaxLocks)-p.InFlight()); most > 0 {
		return most, last
	}
	if f.Offset >= p.next {
		return 0, last
	}
	return min(int64(f.MaxRecords), p.next-f.Offset), min(last, p.next-1)
}

// archive gives up the runs between two offsets that are as told.
func (p *Partition) archive(first, last int64, which func(*run) bool) {
	if first > last {
		return
	}
	for _, b := range p.over(first, last) {
		if b.unread {
			b.shrink(first, last)
			continue
		}
		i, j := b.cut(max(first, b.first()), min(last, b.last()))
		for ; i < j; i++ {
			if r := &b.runs[i]; which(r) {
				r.state, r.member, r.deadline = Archived, "", time.Time{}
			}
		}
		b.join()
	}
}

// acquisition is one Acquire under way.
type acquisition struct {
	p           *Partition
	f           Fetch
	c           Config
	log         []LogBatch
	first, last int64 // of what was read and may be acquired
	left        int64 // how many records more
	taken       int64
	deadline    time.Time
	got         []AcquiredRecords
}

// acquire goes through what is in flight, then beyond.
func (a *acquisition) acquire() {
	p := a.p
	for i := p.at(a.first); i < len(p.batches) && p.batches[i].first() <= a.last; i++ {
		if a.left <= 0 {
			return
		}
		if p.batches[i].unread {
			i += a.hole(i)
		} else if a.again(p.batches[i]) {
			return
		}
	}
	if first := max(a.first, p.next); a.left > 0 && first <= a.last {
		fresh, end := a.fresh(first, a.last)
		p.batches = append(p.batches, fresh...)
		p.next = end + 1
	}
}

// hole acquires what of an unread batch was read now. It says how many batches there are more.
func (a *acquisition) hole(i int) (more int) {
	b := a.p.batches[i]
	first, last := max(b.first(), a.first), min(b.last(), a.last)
	fresh, end := a.fresh(first, last)
	if b.first() < first {
		left := newBatch(run{first: b.first(), last: first - 1})
		left.unread = true
		fresh = slices.Insert(fresh, 0, left)
	}
	if end < b.last() {
		right := newBatch(run{first: end + 1, last: b.last()})
		right.unread = true
		fresh = append(fresh, right)
	}
	a.p.batches = slices.Replace(a.p.batches, i, i+1, fresh...)
	return len(fresh) - 1
}

// fresh makes batches of records that are delivered for the first time, from first up to end at most. It takes no
// more than is left, but whole batches of the log; with RecordLimit what is too much stays available.
func (a *acquisition) fresh(first, to int64) (made []*batch, end int64) {
	end = to
	if a.left < to-first+1 {
		end = min(a.batchEnd(first+a.left-1), to)
	}
	if !a.f.RecordLimit {
		for _, l := range a.log { // divided before it is BatchSize long
			if l.First > end {
				break
			}
			if l.First > first && l.First-first >= int64(a.f.BatchSize) {
				made = append(made, a.take(first, l.First-1))
				first = l.First
			}
		}
		return append(made, a.take(first, end)), end
	}
	n := min(a.left, end-first+1)
	b := a.take(first, first+n-1)
	if rest := first + n; rest <= end {
		b.runs = append(b.runs, run{first: rest, last: end})
		b.records = b.size()
		a.p.free = true
	}
	return []*batch{b}, end
}

// batchEnd is the end of the log's batch that holds an offset, the offset itself between batches.
func (a *acquisition) batchEnd(offset int64) int64 {
	for _, l := range a.log {
		if l.First <= offset && offset <= l.Last {
			return l.Last
		}
	}
	return offset
}

func (a *acquisition) take(first, last int64) *batch {
	r := run{first: first, last: last}
	a.hold(&r)
	a.got = append(a.got, AcquiredRecords{first, last, r.deliveries})
	return newBatch(r)
}

// hold gives a run to the member.
func (a *acquisition) hold(r *run) {
	r.state, r.member, r.deadline = Acquired, a.f.Member, a.deadline
	if r.deliveries < math.MaxInt16 {
		r.deliveries++
	}
	a.p.lockedUntil(a.deadline)
	a.left -= r.size()
	a.taken += r.size()
}

// again acquires what is free in a batch that was delivered before. It says that the answer shall have no more.
//
// A record that is delivered again and again may be one that its consumers die of, together with all that came along
// with it. From half of the allowed deliveries on, a batch is therefore delivered apart from others and in ever smaller
// parts, and before its last chance each record alone.
func (a *acquisition) again(b *batch) (enough bool) {
	throttled := b.deliveries(a.first, a.last) >= a.throttleFrom()
	if throttled && a.taken > 0 {
		return true
	}
	whole := len(b.runs) == 1 && b.first() >= a.first && b.last() <= a.last
	if !whole || throttled || a.f.RecordLimit && b.size() > a.left {
		before := a.taken
		a.some(b)
		return throttled && a.taken > before
	}
	if r := &b.runs[0]; r.free() {
		a.hold(r)
		a.got = append(a.got, AcquiredRecords{r.first, r.last, r.deliveries})
	}
	return false
}

// throttleFrom is the number of deliveries from which a batch is made smaller: half of those allowed, but 2.
func (a *acquisition) throttleFrom() int { return max(2, (a.c.MaxDeliveries+1)/2) }

// some acquires parts of a batch.
func (a *acquisition) some(b *batch) {
	var taken int64
	limit := int64(math.MaxInt64)
	if a.f.RecordLimit {
		limit = a.left
	}
	slowed := false
	from := len(a.got)
	for k := 0; k < len(b.runs) && taken < limit; k++ {
		r := &b.runs[k]
		first, last := max(r.first, a.first), min(r.last, a.last)
		if first > last || !r.free() {
			continue
		}
		alone := a.c.MaxDeliveries > 2 && int(r.deliveries) == a.c.MaxDeliveries-1
		if alone && taken > 0 {
			break
		}
		if over := int(r.deliveries) - a.throttleFrom(); over >= 0 && !slowed {
			slowed = true
			limit = min(limit, max(1, b.records>>min(over+1, 62)))
		}
		n := min(last-first+1, limit-taken)
		if n < 1 {
			break
		}
		if alone {
			n = 1
		}
		k, _ = b.cut(first, first+n-1)
		a.hold(&b.runs[k])
		a.add(from, AcquiredRecords{first, first + n - 1, b.runs[k].deliveries})
		if taken += n; alone {
			break
		}
	}
	b.join()
}

// add lists what was acquired of one batch; what goes on with the same count is one entry.
func (a *acquisition) add(from int, g AcquiredRecords) {
	if n := len(a.got); n > from && a.got[n-1].Last+1 == g.First && a.got[n-1].Deliveries == g.Deliveries {
		a.got[n-1].Last = g.Last
		return
	}
	a.got = append(a.got, g)
}

// skipAborted gives up what was acquired of aborted transactions.
func (a *acquisition) skipAborted() {
	for _, l := range a.log {
		if !l.Aborted {
			continue
		}
		var rest []AcquiredRecords
		for _, g := range a.got {
			first, last := max(g.First, l.First), min(g.Last, l.Last)
			if first > last {
				rest = append(rest, g)
				continue
			}
			a.p.archive(first, last, (*run).held)
			if g.First < first {
				rest = append(rest, AcquiredRecords{g.First, first - 1, g.Deliveries})
			}
			if g.Last > last {
				rest = append(rest, AcquiredRecords{last + 1, g.Last, g.Deliveries})
			}
		}
		a.got = rest
	}
}
