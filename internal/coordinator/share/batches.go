package share

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// batch is a run of offsets that are in the same state.
type batch = schema.ShareStateBatch

// none is the start offset that is not known, or not to be changed.
const none = -1

// combine makes one list of batches, in order and without overlaps, of two that may overlap each other and themselves.
// Of several claims to an offset the one with more deliveries holds, and among those the greater state: a record's
// state only goes that way. What is below start is left out, unless start is none. Neighbours that say the same are one.
//
// The lists are not changed, and the result shares nothing with them.
func combine(a, b []batch, start int64) []batch {
	if len(a)+len(b) == 0 {
		return nil
	}
	claims := make([]batch, 0, len(a)+len(b))
	for _, list := range [...][]batch{a, b} {
		for _, x := range list {
			if start != none {
				x.FirstOffset = max(x.FirstOffset, start)
			}
			if x.FirstOffset <= x.LastOffset {
				claims = append(claims, x)
			}
		}
	}
	switch len(claims) {
	case 0:
		return nil
	case 1:
		return claims
	}
	slices.SortFunc(claims, func(x, y batch) int { return cmp.Compare(x.FirstOffset, y.FirstOffset) })
	return sweep(claims)
}

// sweep goes over the offsets from left to right; open holds the claims that have begun, the strongest first.
func sweep(claims []batch) []batch {
	out := make([]batch, 0, len(claims))
	var open strongest
	next, at := 0, int64(0)
	for next < len(claims) || len(open) > 0 {
		if len(open) == 0 {
			at = claims[next].FirstOffset
		}
		for ; next < len(claims) && claims[next].FirstOffset <= at; next++ {
			heap.Push(&open, claims[next])
		}
		top := open[0]
		if top.LastOffset < at {
			heap.Pop(&open)
			continue
		}
		end := top.LastOffset
		if next < len(claims) {
			end = min(end, claims[next].FirstOffset-1) // there a stronger one may begin
		}
		out = extend(out, batch{FirstOffset: at, LastOffset: end, DeliveryState: top.DeliveryState, DeliveryCount: top.DeliveryCount})
		if end == math.MaxInt64 {
			break
		}
		at = end + 1
	}
	return out
}

func extend(out []batch, x batch) []batch {
	if n := len(out); n > 0 {
		if last := &out[n-1]; last.LastOffset+1 == x.FirstOffset && strength(*last, x) == 0 {
			last.LastOffset = x.LastOffset
			return out
		}
	}
	return append(out, x)
}

func strength(x, y batch) int {
	return cmp.Or(cmp.Compare(x.DeliveryCount, y.DeliveryCount), cmp.Compare(x.DeliveryState, y.DeliveryState))
}

// strongest is a heap of claims.
type strongest []batch

func (h strongest) Len() int           { return len(h) }
func (h strongest) Less(i, j int) bool { return strength(h[i], h[j]) > 0 }
func (h strongest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *strongest) Push(x any)        { *h = append(*h, x.(batch)) }
func (h *strongest) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
