package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// reconciliation takes one member a step towards its target (KIP-848). A partition goes from one member to another
// only through nobody: the old owner stays in its epoch until it reports that it has given the partition up, and the
// new one waits in the new epoch until then.
type reconciliation struct {
	targetEpoch int32
	target      assignment
	// subscribed holds the topics that the member is subscribed to now. A target may be older than the subscription.
	subscribed map[schema.UUID]struct{}
	changed    bool // the subscription changed: what the member has must follow
	// owner is who has a partition, "" if nobody.
	owner    func(topic schema.UUID, partition int32) string
	reported []kmsg.ConsumerGroupHeartbeatRequestTopic // what the member says it has; nil if it does not say
}

// step gives the member as it is after the step, or the same if there is nothing to do.
func (r *reconciliation) step(m *consumerMember) (*consumerMember, error) {
	switch m.state {
	case memberStable:
		if m.epoch != r.targetEpoch {
			return r.next(m, m.epoch), nil
		}
		if r.changed {
			return r.shrink(m), nil
		}
		return m, nil
	case memberUnrevoked:
		if m.revoking.meets(r.reported) {
			if r.changed {
				return r.shrink(m), nil
			}
			return m, nil
		}
		return r.next(m, m.epoch), nil
	case memberUnreleased:
		return r.next(m, m.epoch), nil
	}
	// A later version wrote a state that is not known here: the member has to begin anew.
	if len(r.reported) > 0 || r.reported == nil {
		return nil, refuse(kerr.FencedMemberEpoch, "The consumer group member is in a unknown state. "+
			"The member must abandon all its partitions and rejoin.")
	}
	return r.next(m, r.targetEpoch), nil
}

// shrink takes away topics that the member is no longer subscribed to, and gives nothing.
func (r *reconciliation) shrink(m *consumerMember) *consumerMember {
	kept, revoking := assignment{}, assignmentBuilder{}
	revoking.addAll(m.revoking)
	for _, tp := range m.assigned {
		if _, ok := r.subscribed[tp.topic]; ok {
			kept = append(kept, tp)
			continue
		}
		revoking.addAll(assignment{tp})
	}
	if len(kept) == len(m.assigned) {
		return m
	}
	if pending := revoking.owned(); len(pending) > 0 && pending.meets(r.reported) {
		return m.moved(memberUnrevoked, m.epoch, kept, pending)
	}
	return m.moved(m.state, m.epoch, kept, m.revoking)
}

// next works out what the member keeps, gives up and gets.
func (r *reconciliation) next(m *consumerMember, epoch int32) *consumerMember {
	kept, revoking, gained := assignmentBuilder{}, assignmentBuilder{}, assignmentBuilder{}
	unreleased := false
	for _, topic := range r.topics(m) {
		current := m.assigned.find(topic)
		target := r.target.find(topic)
		if _, ok := r.subscribed[topic]; !ok {
			target = topicPartitions{}
		}
		for i, p := range current.partitions {
			if target.index(p) >= 0 {
				kept.add(topic, p, current.epochs[i])
			} else {
				revoking.add(topic, p, current.epochs[i])
			}
		}
		for _, p := range target.partitions {
			if current.index(p) >= 0 {
				continue
			}
			// What the member itself has just given up is free.
			if owner := r.owner(topic, p); owner != "" && !m.revoking.has(topic, p) {
				unreleased = true
				continue
			}
			gained.add(topic, p, r.targetEpoch)
		}
	}
	if len(revoking) > 0 {
		if pending := revoking.owned(); pending.meets(r.reported) {
			return m.moved(memberUnrevoked, epoch, kept.owned(), pending)
		}
	}
	state := memberStable
	if unreleased {
		state = memberUnreleased
	}
	for topic, partitions := range gained { // each on its own
		for p := range partitions {
			kept.add(topic, p, r.targetEpoch)
		}
	}
	return m.moved(state, r.targetEpoch, kept.owned(), nil)
}

// topics are those of the target and of the member, in order.
func (r *reconciliation) topics(m *consumerMember) []schema.UUID {
	all := map[schema.UUID]struct{}{}
	for _, tp := range r.target {
		all[tp.topic] = struct{}{}
	}
	for _, tp := range m.assigned {
		all[tp.topic] = struct{}{}
	}
	return slices.SortedFunc(maps.Keys(all), compareUUID)
}
