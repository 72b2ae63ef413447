package group

import "slices"

// assignRange gives each member the same range of every topic, as far as the numbers of partitions allow: members are
// ordered by instance id (static ones first), then by member id, and the first get one partition more where they do not
// divide evenly. So topics with the same number of partitions and subscribers are co-partitioned. It is sticky in so
// far as the order is.
func assignRange(s *assignSpec) []assignment {
	order := make([]int, len(s.members))
	subscribers := make([]int32, len(s.topics))
	for i := range s.members {
		order[i] = i
		for _, topic := range s.members[i].topics {
			subscribers[topic]++
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := s.members[a].instanceID, s.members[b].instanceID
		switch {
		case x != nil && y != nil:
			return compareStrings(*x, *y)
		case x != nil:
			return -1
		case y != nil:
			return 1
		}
		return compareStrings(s.members[a].id, s.members[b].id)
	})
	next := make([]int32, len(s.topics))   // first partition that is not given yet
	served := make([]int32, len(s.topics)) // members that had their turn
	out := make([]assignment, len(s.members))
	for _, i := range order {
		for _, topic := range s.members[i].topics {
			t := s.topics[topic]
			n := t.partitions / subscribers[topic]
			if served[topic] < t.partitions%subscribers[topic] {
				n++
			}
			served[topic]++
			if n == 0 {
				continue
			}
			tp := topicPartitions{topic: t.id, partitions: make([]int32, n)}
			for j := range tp.partitions {
				tp.partitions[j] = next[topic] + int32(j)
			}
			next[topic] += n
			out[i] = append(out[i], tp)
		}
	}
	return out
}
