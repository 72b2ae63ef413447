package txn

import "container/heap"

// timer is the one deadline that an entry has.
type timer struct {
	owner *entry
	at    int64 // ms
	index int   // place in the heap plus one; 0 while it is not running
}

// timers is a heap of deadlines. Those of the same time are in the order of their transactional ids, so that a machine
// does the same each time it is given the same.
type timers struct{ h timerHeap }

func (ts *timers) set(t *timer, at int64) {
	t.at = at
	if t.index == 0 {
		heap.Push(&ts.h, t)
		return
	}
	heap.Fix(&ts.h, t.index-1)
}

func (ts *timers) stop(t *timer) {
	if t.index > 0 {
		heap.Remove(&ts.h, t.index-1)
	}
}

func (ts *timers) next() (int64, bool) {
	if len(ts.h) == 0 {
		return 0, false
	}
	return ts.h[0].at, true
}

// pop takes out one timer that has ended by now.
func (ts *timers) pop(now int64) *timer {
	if len(ts.h) == 0 || ts.h[0].at > now {
		return nil
	}
	return heap.Pop(&ts.h).(*timer)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].owner.id < h[j].owner.id
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h) + 1
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}
