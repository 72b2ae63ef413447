package group

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// topicPartitions are partitions of one topic, sorted. What a member owns has with each the epoch that brought it
// (KIP-1251: offsets of that epoch and later may be committed); a target has no epochs.
type topicPartitions struct {
	topic      schema.UUID
	partitions []int32
	epochs     []int32
}

// assignment is sorted by topic, and has neither empty topics nor duplicates. It is never changed once it is made.
type assignment []topicPartitions

func compareUUID(a, b schema.UUID) int { return slices.Compare(a[:], b[:]) }

func (a assignment) find(topic schema.UUID) topicPartitions {
	i, ok := slices.BinarySearchFunc(a, topic, func(tp topicPartitions, id schema.UUID) int { return compareUUID(tp.topic, id) })
	if !ok {
		return topicPartitions{}
	}
	return a[i]
}

// index is where the partition stands, -1 if it is not there.
func (tp topicPartitions) index(partition int32) int {
	if i, ok := slices.BinarySearch(tp.partitions, partition); ok {
		return i
	}
	return -1
}

func (a assignment) has(topic schema.UUID, partition int32) bool {
	return a.find(topic).index(partition) >= 0
}

// epoch is the epoch that brought the partition.
func (a assignment) epoch(topic schema.UUID, partition int32) (int32, bool) {
	tp := a.find(topic)
	if i := tp.index(partition); i >= 0 && tp.epochs != nil {
		return tp.epochs[i], true
	}
	return 0, false
}

func (a assignment) equal(b assignment) bool {
	return slices.EqualFunc(a, b, func(x, y topicPartitions) bool {
		return x.topic == y.topic && slices.Equal(x.partitions, y.partitions) && slices.Equal(x.epochs, y.epochs)
	})
}

func (a assignment) size() int {
	n := 0
	for _, tp := range a {
		n += len(tp.partitions)
	}
	return n
}

// assignmentBuilder collects partitions, each once.
type assignmentBuilder map[schema.UUID]map[int32]int32

func (b assignmentBuilder) add(topic schema.UUID, partition, epoch int32) {
	if b[topic] == nil {
		b[topic] = map[int32]int32{}
	}
	b[topic][partition] = epoch
}

// addAll adds an assignment with its epochs.
func (b assignmentBuilder) addAll(a assignment) {
	for _, tp := range a {
		for i, p := range tp.partitions {
			b.add(tp.topic, p, tp.epochs[i])
		}
	}
}

func (b assignmentBuilder) owned() assignment {
	a := make(assignment, 0, len(b))
	for topic, partitions := range b { // sorted below
		tp := topicPartitions{topic: topic, partitions: make([]int32, 0, len(partitions))}
		for p := range partitions { // sorted below
			tp.partitions = append(tp.partitions, p)
		}
		slices.Sort(tp.partitions)
		tp.epochs = make([]int32, len(tp.partitions))
		for i, p := range tp.partitions {
			tp.epochs[i] = partitions[p]
		}
		a = append(a, tp)
	}
	a.sort()
	return a
}

func (b assignmentBuilder) target() assignment {
	a := b.owned()
	for i := range a {
		a[i].epochs = nil
	}
	return a
}

func (a assignment) sort() {
	slices.SortFunc(a, func(x, y topicPartitions) int { return cmp.Compare(compareUUID(x.topic, y.topic), 0) })
}

// withEpoch is the target as owned partitions that all came with an epoch.
func (a assignment) withEpoch(epoch int32) assignment {
	out := make(assignment, len(a))
	for i, tp := range a {
		out[i] = topicPartitions{topic: tp.topic, partitions: tp.partitions, epochs: make([]int32, len(tp.partitions))}
		for j := range tp.partitions {
			out[i].epochs[j] = epoch
		}
	}
	return out
}

// withoutEpochs is what is owned as a target.
func (a assignment) withoutEpochs() assignment {
	out := make(assignment, len(a))
	for i, tp := range a {
		out[i] = topicPartitions{topic: tp.topic, partitions: tp.partitions}
	}
	return out
}

// contains says that the member reported its partitions and that a has them all.
func (a assignment) contains(reported []kmsg.ConsumerGroupHeartbeatRequestTopic) bool {
	if reported == nil {
		return false
	}
	for _, r := range reported {
		tp := a.find(r.TopicID)
		for _, p := range r.Partitions {
			if tp.index(p) < 0 {
				return false
			}
		}
	}
	return true
}

// meets says that one of the reported partitions is in a, or that nothing was reported: then nothing is known.
func (a assignment) meets(reported []kmsg.ConsumerGroupHeartbeatRequestTopic) bool {
	if reported == nil {
		return true
	}
	for _, r := range reported {
		tp := a.find(r.TopicID)
		for _, p := range r.Partitions {
			if tp.index(p) >= 0 {
				return true
			}
		}
	}
	return false
}

// named resolves ids to names; topics that are gone are left out.
func (a assignment) named(image *metadata.Image) []kmsg.ConsumerMemberAssignmentTopic {
	var out []kmsg.ConsumerMemberAssignmentTopic
	for _, tp := range a {
		if t, ok := image.TopicByID(tp.topic); ok {
			out = append(out, kmsg.ConsumerMemberAssignmentTopic{Topic: t.Name, Partitions: tp.partitions})
		}
	}
	return out
}
