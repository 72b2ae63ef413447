package group

import (
	"cmp"
	"container/heap"
	"slices"
)

// taskSpec is what a target of a streams group is worked out from.
type taskSpec struct {
	members       []taskMember      // by id
	subtopologies []taskSubtopology // by id
	standbys      int               // replicas of each stateful task
}

type taskMember struct {
	id, process string
	current     tasks // the last target
}

type taskSubtopology struct {
	id       string
	tasks    int32
	stateful bool
}

// assignSticky is Apache's assignor "sticky": it gives each member of the spec its new target, in the order of the
// members.
//
//   - Each task is active at one member; members have about as many active tasks, and about as many tasks. Processes
//     count by the number of their members.
//   - A task stays where it is active, else goes to where it is a standby, as long as that member has not its share.
//   - The standbys of a stateful task are in other processes than its active one, each in its own. They go first to
//     where the task was active or a standby, then to who has least; where there are too few processes, there are
//     fewer standbys.
//
// Members and processes that are equal are taken in the order of their ids.
func assignSticky(s *taskSpec) []tasks {
	if len(s.members) == 0 {
		return nil
	}
	a := newStickyAssignment(s)
	a.assignActive()
	if s.standbys > 0 {
		a.assignStandbys()
	}
	out := make([]tasks, len(s.members))
	for i := range out {
		out[i] = tasks{active: a.members[i].active.set(false), standby: a.members[i].standby.set(false)}
	}
	return out
}

// stickyAssignment is the work of assignSticky.
type stickyAssignment struct {
	spec      *taskSpec
	members   []stickyMember
	processes []*stickyProcess // by id

	wasActive  map[taskID]int
	wasStandby map[taskID][]int

	// What a member may have before others get more: it shrinks as members get their share.
	activeQuota, taskQuota quota
}

type stickyMember struct {
	process         *stickyProcess
	tasks           int
	active, standby taskBuilder
}

// stickyProcess is an instance of the application; its members are threads that share state.
type stickyProcess struct {
	members []int // places, by id
	tasks   int
	has     map[taskID]struct{}
	place   int // among the processes
	index   int // in a heap
}

// less loaded means less tasks for each member.
func (p *stickyProcess) less(o *stickyProcess) bool {
	if c := cmp.Compare(p.tasks*len(o.members), o.tasks*len(p.members)); c != 0 {
		return c < 0
	}
	return p.place < o.place
}

// quota is the fair share of tasks that are left for the members that have not theirs.
type quota struct{ tasks, members, each int }

func newQuota(tasks, members int) quota {
	q := quota{tasks: tasks, members: members}
	q.share()
	return q
}

func (q *quota) share() {
	if q.each = 0; q.members > 0 {
		q.each = (q.tasks + q.members - 1) / q.members
	}
}

// took tells that a member has so many tasks now.
func (q *quota) took(n int) {
	if n == q.each {
		q.members--
		q.tasks -= n
		q.share()
	}
}

func newStickyAssignment(s *taskSpec) *stickyAssignment {
	a := &stickyAssignment{spec: s, members: make([]stickyMember, len(s.members)), wasActive: map[taskID]int{}, wasStandby: map[taskID][]int{}}
	active, all := 0, 0
	for _, t := range s.subtopologies {
		active += int(t.tasks)
		if all += int(t.tasks); t.stateful {
			all += int(t.tasks) * s.standbys
		}
	}
	a.activeQuota, a.taskQuota = newQuota(active, len(s.members)), newQuota(all, len(s.members))
	byID := map[string]*stickyProcess{}
	for i := range s.members {
		m := &s.members[i]
		p := byID[m.process]
		if p == nil {
			p = &stickyProcess{has: map[taskID]struct{}{}}
			byID[m.process] = p
			a.processes = append(a.processes, p)
		}
		p.members = append(p.members, i)
		a.members[i] = stickyMember{process: p, active: taskBuilder{}, standby: taskBuilder{}}
		m.current.active.each(func(id taskID) { a.wasActive[id] = i })
		m.current.standby.each(func(id taskID) { a.wasStandby[id] = append(a.wasStandby[id], i) })
	}
	slices.SortFunc(a.processes, func(x, y *stickyProcess) int {
		return compareStrings(s.members[x.members[0]].process, s.members[y.members[0]].process)
	})
	for i, p := range a.processes {
		p.place = i
	}
	return a
}

// give puts a task to a member and says how many it has then.
func (a *stickyAssignment) give(member int, id taskID, active bool) int {
	m := &a.members[member]
	m.process.tasks++
	m.process.has[id] = struct{}{}
	if active {
		m.active.add(id, 0)
	} else {
		m.standby.add(id, 0)
	}
	m.tasks++
	return m.tasks
}

func (a *stickyAssignment) giveActive(member int, id taskID) {
	n := a.give(member, id, true)
	a.activeQuota.took(n)
	a.taskQuota.took(n)
}

func (a *stickyAssignment) giveStandby(member int, id taskID) {
	a.taskQuota.took(a.give(member, id, false))
}

// leastLoaded is the member of a process that has least.
func (a *stickyAssignment) leastLoaded(p *stickyProcess) int {
	return slices.MinFunc(p.members, func(x, y int) int { return cmp.Compare(a.members[x].tasks, a.members[y].tasks) })
}

// previousStandby is the member to which a standby task returns or becomes active at; -1 if there is none. For a
// standby, processes that have the task already do not count.
func (a *stickyAssignment) previousStandby(id taskID, standby bool) int {
	best := -1
	for _, i := range a.wasStandby[id] {
		p := a.members[i].process
		if _, has := p.has[id]; has && standby {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		q := a.members[best].process
		if p.tasks*len(q.members) < q.tasks*len(p.members) && a.members[i].tasks < a.members[best].tasks {
			best = i
		}
	}
	return best
}

// tasks are all tasks, or those that have state, by partition: so tasks of a partition come one after another, as in
// the assignment that was made by ranges.
func (a *stickyAssignment) tasks(stateful bool) []taskID {
	var all []taskID
	for _, s := range a.spec.subtopologies {
		if stateful && !s.stateful {
			continue
		}
		for p := range s.tasks {
			all = append(all, taskID{s.id, p})
		}
	}
	slices.SortFunc(all, byPartition)
	return all
}

func byPartition(x, y taskID) int {
	return cmp.Or(cmp.Compare(x.partition, y.partition), compareStrings(x.subtopology, y.subtopology))
}

func bySubtopology(x, y taskID) int {
	return cmp.Or(compareStrings(x.subtopology, y.subtopology), cmp.Compare(x.partition, y.partition))
}

func (a *stickyAssignment) assignActive() {
	left := slices.DeleteFunc(a.tasks(false), func(id taskID) bool {
		i, ok := a.wasActive[id]
		if !ok || a.members[i].tasks >= a.activeQuota.each {
			return false
		}
		a.giveActive(i, id)
		return true
	})
	left = slices.DeleteFunc(left, func(id taskID) bool {
		i := a.previousStandby(id, false)
		if i < 0 || a.members[i].tasks >= a.activeQuota.each {
			return false
		}
		a.giveActive(i, id)
		return true
	})
	slices.SortFunc(left, bySubtopology)
	queue := newProcessQueue(a.processes)
	for _, id := range left {
		p := queue[0]
		a.giveActive(a.leastLoaded(p), id)
		heap.Fix(&queue, p.index)
	}
}

func (a *stickyAssignment) assignStandbys() {
	type wanting struct {
		id taskID
		n  int
	}
	var left []wanting
	stateful := a.tasks(true)
	slices.Reverse(stateful)
	for _, id := range stateful {
		for n := a.spec.standbys; n > 0; n-- {
			if !a.keepStandby(id) {
				left = append(left, wanting{id, n})
				break
			}
		}
	}
	slices.SortFunc(left, func(x, y wanting) int { return bySubtopology(y.id, x.id) })
	queue := newProcessQueue(a.processes)
	for _, w := range left {
		for range w.n {
			if !a.placeStandby(&queue, w.id) {
				break
			}
		}
	}
}

// keepStandby gives a standby to whoever had the task, if its share allows.
func (a *stickyAssignment) keepStandby(id taskID) bool {
	if i, ok := a.wasActive[id]; ok {
		if _, has := a.members[i].process.has[id]; !has && a.members[i].tasks < a.taskQuota.each {
			a.giveStandby(i, id)
			return true
		}
	}
	if i := a.previousStandby(id, true); i >= 0 && a.members[i].tasks < a.taskQuota.each {
		a.giveStandby(i, id)
		return true
	}
	return false
}

// placeStandby gives a standby to the process that has least and has not the task; false if all have it.
func (a *stickyAssignment) placeStandby(queue *processQueue, id taskID) bool {
	var passed []*stickyProcess
	placed := false
	for len(*queue) > 0 && !placed {
		p := heap.Pop(queue).(*stickyProcess)
		passed = append(passed, p)
		if _, has := p.has[id]; !has {
			a.giveStandby(a.leastLoaded(p), id)
			placed = true
		}
	}
	for _, p := range passed {
		heap.Push(queue, p)
	}
	return placed
}

// processQueue is a heap of processes by their load.
type processQueue []*stickyProcess

func newProcessQueue(processes []*stickyProcess) processQueue {
	q := slices.Clone(processQueue(processes))
	for i, p := range q {
		p.index = i
	}
	heap.Init(&q)
	return q
}

func (q processQueue) Len() int           { return len(q) }
func (q processQueue) Less(i, j int) bool { return q[i].less(q[j]) }
func (q processQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *processQueue) Push(x any) {
	p := x.(*stickyProcess)
	p.index = len(*q)
	*q = append(*q, p)
}

func (q *processQueue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return p
}
