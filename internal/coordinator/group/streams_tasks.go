package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// taskID names a task: a sub-topology of the application over one partition number of its source topics.
type taskID struct {
	subtopology string
	partition   int32
}

// subtopologyTasks are tasks of one sub-topology, sorted. What a member owns has with each active task the epoch that
// brought it (KIP-1251); standbys and targets have no epochs.
type subtopologyTasks struct {
	subtopology string
	partitions  []int32
	epochs      []int32
}

// taskSet is sorted by sub-topology, and has neither empty ones nor duplicates. It is never changed once it is made.
type taskSet []subtopologyTasks

// tasks are what a member has or is to have. Warm-up tasks are read and kept; nobody assigns them yet (as in Kafka 4.3).
type tasks struct {
	active, standby, warmup taskSet
}

func (s taskSet) find(subtopology string) subtopologyTasks {
	i, ok := slices.BinarySearchFunc(s, subtopology, func(t subtopologyTasks, id string) int { return compareStrings(t.subtopology, id) })
	if !ok {
		return subtopologyTasks{}
	}
	return s[i]
}

// index is where the task stands, -1 if it is not there.
func (t subtopologyTasks) index(partition int32) int {
	if i, ok := slices.BinarySearch(t.partitions, partition); ok {
		return i
	}
	return -1
}

func (s taskSet) has(id taskID) bool { return s.find(id.subtopology).index(id.partition) >= 0 }

// epoch is the epoch that brought the task.
func (s taskSet) epoch(id taskID) (int32, bool) {
	t := s.find(id.subtopology)
	if i := t.index(id.partition); i >= 0 && t.epochs != nil {
		return t.epochs[i], true
	}
	return 0, false
}

func (s taskSet) equal(o taskSet) bool {
	return slices.EqualFunc(s, o, func(x, y subtopologyTasks) bool {
		return x.subtopology == y.subtopology && slices.Equal(x.partitions, y.partitions) && slices.Equal(x.epochs, y.epochs)
	})
}

// each calls f for every task, in order.
func (s taskSet) each(f func(taskID)) {
	for _, t := range s {
		for _, p := range t.partitions {
			f(taskID{t.subtopology, p})
		}
	}
}

// meets says that the sets have a task in common.
func (s taskSet) meets(o taskSet) bool {
	for _, t := range s {
		other := o.find(t.subtopology)
		if slices.ContainsFunc(t.partitions, func(p int32) bool { return other.index(p) >= 0 }) {
			return true
		}
	}
	return false
}

// contains says that all tasks of o are in s.
func (s taskSet) contains(o taskSet) bool {
	for _, t := range o {
		have := s.find(t.subtopology)
		if slices.ContainsFunc(t.partitions, func(p int32) bool { return have.index(p) < 0 }) {
			return false
		}
	}
	return true
}

func (t tasks) empty() bool { return len(t.active) == 0 && len(t.standby) == 0 && len(t.warmup) == 0 }

func (t tasks) equal(o tasks) bool {
	return t.active.equal(o.active) && t.standby.equal(o.standby) && t.warmup.equal(o.warmup)
}

// meets says that there is a task that both have in the same role.
func (t tasks) meets(o tasks) bool {
	return t.active.meets(o.active) || t.standby.meets(o.standby) || t.warmup.meets(o.warmup)
}

// same is equal without a look at epochs.
func (t tasks) same(o tasks) bool { return t.contains(o) && o.contains(t) }

func (t tasks) contains(o tasks) bool {
	return t.active.contains(o.active) && t.standby.contains(o.standby) && t.warmup.contains(o.warmup)
}

// taskBuilder collects tasks, each once, with the epochs that brought them.
type taskBuilder map[string]map[int32]int32

func (b taskBuilder) add(id taskID, epoch int32) {
	if b[id.subtopology] == nil {
		b[id.subtopology] = map[int32]int32{}
	}
	b[id.subtopology][id.partition] = epoch
}

// set gives what was collected, with or without the epochs.
func (b taskBuilder) set(epochs bool) taskSet {
	if len(b) == 0 {
		return nil
	}
	s := make(taskSet, 0, len(b))
	for _, id := range slices.Sorted(maps.Keys(b)) {
		t := subtopologyTasks{subtopology: id, partitions: slices.Sorted(maps.Keys(b[id]))}
		if epochs {
			t.epochs = make([]int32, len(t.partitions))
			for i, p := range t.partitions {
				t.epochs[i] = b[id][p]
			}
		}
		s = append(s, t)
	}
	return s
}

// taskSetOf reads tasks that somebody else wrote: in any order, perhaps twice.
func taskSetOf[T any](list []T, read func(*T) (subtopology string, partitions []int32)) taskSet {
	b := taskBuilder{}
	for i := range list {
		id, partitions := read(&list[i])
		for _, p := range partitions {
			b.add(taskID{id, p}, 0)
		}
	}
	return b.set(false)
}

func reportedTasks(list []kmsg.TaskIDs) taskSet {
	return taskSetOf(list, func(t *kmsg.TaskIDs) (string, []int32) { return t.SubtopologyID, t.Partitions })
}

// wire is the set as answers have it; never nil, which would mean that nothing has changed.
func (s taskSet) wire() []kmsg.TaskIDs {
	out := make([]kmsg.TaskIDs, 0, len(s))
	for _, t := range s {
		out = append(out, kmsg.TaskIDs{SubtopologyID: t.subtopology, Partitions: t.partitions})
	}
	return out
}
