package group

import (
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// assignSpec is what a target is worked out from.
type assignSpec struct {
	members []assignMember // by id
	topics  []assignTopic  // by id
	// homogeneous says that all members are subscribed to the same topics.
	homogeneous bool
}

type assignMember struct {
	id         string
	instanceID *string
	topics     []int      // places in the spec's topics, ascending
	current    assignment // the last target
}

type assignTopic struct {
	id         schema.UUID
	partitions int32
}

// assignor gives each member of the spec its new target, in the order of the members.
type assignor func(*assignSpec) []assignment

// The assignors by the names that clients and operators know.
const (
	uniformName = "uniform"
	rangeName   = "range"
)

func assignorNamed(name string) assignor {
	if name == rangeName {
		return assignRange
	}
	return assignUniform
}

// topic finds a topic by its id, -1 if nobody is subscribed to it.
func (s *assignSpec) topic(id schema.UUID) int {
	i, ok := slices.BinarySearchFunc(s.topics, id, func(t assignTopic, id schema.UUID) int { return compareUUID(t.id, id) })
	if !ok {
		return -1
	}
	return i
}

// subscribed says that the member is subscribed to the topic at that place.
func (m *assignMember) subscribed(topic int) bool {
	_, ok := slices.BinarySearch(m.topics, topic)
	return ok
}

// ownership is who has each partition while a target is worked out: owner[topic][partition] is a member's place, or
// nobody.
type ownership [][]int32

const nobody = -1

// current gives the owners by the last targets, of what members are still subscribed to, and how much each has.
func (s *assignSpec) current() (ownership, []int) {
	owners := make(ownership, len(s.topics))
	for i, t := range s.topics {
		owners[i] = make([]int32, t.partitions)
		for p := range owners[i] {
			owners[i][p] = nobody
		}
	}
	sizes := make([]int, len(s.members))
	for i := range s.members {
		for _, tp := range s.members[i].current {
			topic := s.topic(tp.topic)
			if topic < 0 || !s.members[i].subscribed(topic) {
				continue
			}
			for _, p := range tp.partitions {
				// A target that was taken over from a classic group's leader may give a partition twice.
				if p >= 0 && int(p) < len(owners[topic]) && owners[topic][p] == nobody {
					owners[topic][p] = int32(i)
					sizes[i]++
				}
			}
		}
	}
	return owners, sizes
}

// targets turns owners into assignments. A member whose partitions did not change keeps the assignment it had.
func (s *assignSpec) targets(owners ownership) []assignment {
	counts := make([]int, len(s.members))
	out := make([]assignment, len(s.members))
	for topic, partitions := range owners {
		clear(counts)
		for _, owner := range partitions {
			if owner != nobody {
				counts[owner]++
			}
		}
		for p, owner := range partitions {
			if owner == nobody {
				continue
			}
			if n := counts[owner]; n > 0 {
				out[owner] = append(out[owner], topicPartitions{topic: s.topics[topic].id, partitions: make([]int32, 0, n)})
				counts[owner] = 0
			}
			last := &out[owner][len(out[owner])-1]
			last.partitions = append(last.partitions, int32(p))
		}
	}
	for i := range out {
		if out[i].equal(s.members[i].current) {
			out[i] = s.members[i].current
		}
	}
	return out
}
