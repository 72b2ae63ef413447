package group

import "container/heap"

// timerKind says what a timer's end means.
type timerKind int8

const (
	sessionEnds  timerKind = iota // a member or pending member was not heard of
	joinEnds                      // the join phase is over
	initialEnds                   // the initial rebalance delay, or one more of it, is over
	syncEnds                      // members that joined have not synced
	sweepIsDue                    // look for expired offsets
	cleanupIsDue                  // go on removing offsets of deleted topics

	memberSessionEnds    // a member of a consumer group was not heard of
	memberRevokesTooLong // a member of a consumer group has not given its partitions up
	memberJoinsTooLate   // a classic member of a consumer group was told to join again and has not
	memberSyncsTooLate   // a classic member of a consumer group has joined and not synced

	shareSessionEnds // a member of a share group was not heard of

	groupDowngraded // a consumer group has become a classic one

	streamsSessionEnds    // a member of a streams group was not heard of
	streamsRevokesTooLong // a member of a streams group has not given its tasks up
	streamsInitialEnds    // the initial delay of a streams group is over
)

// memberClocks are the kinds of clocks that a member of a consumer group may have.
var memberClocks = [...]timerKind{memberSessionEnds, memberRevokesTooLong, memberJoinsTooLate, memberSyncsTooLate}

// timer is a deadline. Its owner embeds it, and moves it by timers.set.
type timer struct {
	kind   timerKind
	group  *classic
	member string

	groupID string // the group, for kinds that are not of classic groups
	epoch   int32  // the member epoch that memberRevokesTooLong is about

	due   int64 // ms; 0 while it is not running
	at    int64 // ms: place in the heap, at or before due
	index int   // place in the heap plus one; 0 outside
}

// timers is a heap of deadlines. Moving a deadline later, which is what each heartbeat does, only changes due: the
// heap finds out when the old time comes. So idle members cost nothing between their deadlines.
type timers struct{ h timerHeap }

func (ts *timers) set(t *timer, due int64) {
	t.due = due
	switch {
	case t.index == 0:
		t.at = due
		heap.Push(&ts.h, t)
	case due < t.at:
		t.at = due
		heap.Fix(&ts.h, t.index-1)
	}
}

func (ts *timers) stop(t *timer) {
	t.due = 0
	if t.index > 0 {
		heap.Remove(&ts.h, t.index-1)
	}
}

// next is the earliest time at which pop may have something.
func (ts *timers) next() (int64, bool) {
	if len(ts.h) == 0 {
		return 0, false
	}
	return ts.h[0].at, true
}

// pop takes out one timer that has ended by now.
func (ts *timers) pop(now int64) *timer {
	for len(ts.h) > 0 && ts.h[0].at <= now {
		t := ts.h[0]
		if t.due > now {
			t.at = t.due
			heap.Fix(&ts.h, 0)
			continue
		}
		heap.Pop(&ts.h)
		return t
	}
	return nil
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
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
