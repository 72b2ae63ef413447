package delivery

import (
	"slices"
	"time"
)

// run is consecutive records of one fate.
type run struct {
	first, last int64
	state       State
	deliveries  int16
	member      string    // who holds it, "" if nobody
	deadline    time.Time // when the hold ends; kept while pending, zero otherwise

	// With pending, the transition that is being written: what the run was before it.
	pending uint64
	before  State
	owner   string
}

func (r *run) size() int64 { return r.last - r.first + 1 }
func (r *run) free() bool  { return r.state == Available && r.pending == 0 }
func (r *run) held() bool  { return r.state == Acquired && r.pending == 0 }

// joins says whether o goes on where r ends, in everything.
func (r *run) joins(o *run) bool {
	x := *o
	x.first, x.last = r.first, r.last
	return x == *r && r.last+1 == o.first
}

// batch is what was fetched as a unit.
type batch struct {
	runs    []run // in order, without gaps
	records int64 // how many it had when it was made: what is done leaves at the front
	unread  bool  // one run: available, never delivered, and perhaps without any record
}

func newBatch(r run) *batch { return &batch{runs: []run{r}, records: r.size()} }

func (b *batch) first() int64 { return b.runs[0].first }
func (b *batch) last() int64  { return b.runs[len(b.runs)-1].last }
func (b *batch) size() int64  { return b.last() - b.first() + 1 }

// cut makes the offsets from first to last, which lie in the batch, runs of their own: runs[i:j].
func (b *batch) cut(first, last int64) (i, j int) {
	i = b.split(first)
	if last == b.last() {
		return i, len(b.runs)
	}
	return i, b.split(last + 1)
}

// split makes a run begin at an offset of the batch, and gives its number.
func (b *batch) split(at int64) int {
	i := slices.IndexFunc(b.runs, func(r run) bool { return r.last >= at })
	if b.runs[i].first == at {
		return i
	}
	right := b.runs[i]
	b.runs[i].last, right.first = at-1, at
	b.runs = slices.Insert(b.runs, i+1, right)
	return i + 1
}

// join undoes cuts that made no difference.
func (b *batch) join() {
	out := b.runs[:1]
	for i := 1; i < len(b.runs); i++ {
		if l := &out[len(out)-1]; l.joins(&b.runs[i]) {
			l.last = b.runs[i].last
		} else {
			out = append(out, b.runs[i])
		}
	}
	clear(b.runs[len(out):])
	b.runs = out
}

// deliveries is the largest count among the records between two offsets that are free, -1 if none is.
func (b *batch) deliveries(first, last int64) int {
	most := -1
	for i := range b.runs {
		if r := &b.runs[i]; r.free() && r.last >= first && r.first <= last {
			most = max(most, int(r.deliveries))
		}
	}
	return most
}

// shrink takes offsets out of an unread batch that turned out to have no records. Those in its middle stay.
func (b *batch) shrink(first, last int64) {
	switch r := &b.runs[0]; {
	case first <= r.first && last >= r.last:
		r.state, b.unread = Archived, false
	case first <= r.first:
		r.first = last + 1
	case last >= r.last:
		r.last = first - 1
	}
}
