package group

import (
	"maps"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// applyConsumer takes in a record of a consumer group.
func (m *Machine) applyConsumer(r machine.Record, pos machine.Position) error {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err
	}
	id := consumerGroupOf(key)
	g := m.consumerToApply(id, value != nil)
	if g == nil {
		return nil // the removal of what is not there
	}
	before := g.memberIDsIfRemoved(key, value)
	g.apply(key, value)
	for _, member := range before {
		m.stopClocks(id, member)
	}
	if _, ok := key.(*schema.ConsumerGroupMetadataKey); ok {
		g.movedAt = pos.Timestamp
		if value == nil {
			delete(m.groups, id)
		}
	}
	return nil
}

// memberIDsIfRemoved are the members whose end the record is.
func (g *consumer) memberIDsIfRemoved(key, value schema.Record) []string {
	if value != nil {
		return nil
	}
	switch k := key.(type) {
	case *schema.ConsumerGroupMemberMetadataKey:
		return []string{k.MemberID}
	case *schema.ConsumerGroupMetadataKey:
		return g.memberIDs()
	}
	return nil
}

// consumerToApply finds or makes the group that a record is for. The kind of the latest record is the kind of the
// group: a simple group, which exists for its offsets only, gives way, and so does a classic one whose removal
// compaction has dropped.
func (m *Machine) consumerToApply(id string, make bool) *consumer {
	old := m.groups[id]
	if g, ok := old.(*consumer); ok {
		return g
	}
	c, _ := old.(*classic)
	if !make {
		if c != nil {
			c.replaced = nil
		}
		return nil
	}
	if c != nil {
		m.stopTimers(c)
	}
	g := newConsumer(id)
	m.groups[id] = g
	return g
}

func consumerGroupOf(key schema.Record) string {
	switch k := key.(type) {
	case *schema.ConsumerGroupMetadataKey:
		return k.GroupID
	case *schema.ConsumerGroupPartitionMetadataKey:
		return k.GroupID
	case *schema.ConsumerGroupMemberMetadataKey:
		return k.GroupID
	case *schema.ConsumerGroupTargetAssignmentMetadataKey:
		return k.GroupID
	case *schema.ConsumerGroupTargetAssignmentMemberKey:
		return k.GroupID
	case *schema.ConsumerGroupCurrentMemberAssignmentKey:
		return k.GroupID
	case *schema.ConsumerGroupRegularExpressionKey:
		return k.GroupID
	}
	return ""
}

// apply changes the group as one record says. It also serves groups that are only thought of (see upgraded).
func (g *consumer) apply(key, value schema.Record) {
	switch k := key.(type) {
	case *schema.ConsumerGroupMetadataKey:
		if v, ok := value.(*schema.ConsumerGroupMetadataValue); ok {
			g.epoch, g.hash = v.Epoch, v.MetadataHash
		}
	case *schema.ConsumerGroupPartitionMetadataKey:
		g.oldSubscription = value != nil
	case *schema.ConsumerGroupMemberMetadataKey:
		if v, ok := value.(*schema.ConsumerGroupMemberMetadataValue); ok {
			g.put(memberOf(g.memberOrNew(k.MemberID), v))
		} else {
			g.removeMember(k.MemberID)
		}
	case *schema.ConsumerGroupTargetAssignmentMetadataKey:
		g.targetEpoch, g.targetAt = -1, 0
		if v, ok := value.(*schema.ConsumerGroupTargetAssignmentMetadataValue); ok {
			g.targetEpoch, g.targetAt = v.AssignmentEpoch, v.AssignmentTimestamp
		}
	case *schema.ConsumerGroupTargetAssignmentMemberKey:
		if v, ok := value.(*schema.ConsumerGroupTargetAssignmentMemberValue); ok {
			g.targets[k.MemberID] = targetOf(v)
		} else {
			delete(g.targets, k.MemberID)
		}
	case *schema.ConsumerGroupCurrentMemberAssignmentKey:
		g.applyCurrent(k.MemberID, value)
	case *schema.ConsumerGroupRegularExpressionKey:
		if v, ok := value.(*schema.ConsumerGroupRegularExpressionValue); ok {
			g.resolve(k.RegularExpression, &resolvedRegex{topics: distinctSorted(v.Topics), image: v.Version, at: v.Timestamp})
		} else {
			g.resolve(k.RegularExpression, nil)
		}
	}
}

func (g *consumer) memberOrNew(id string) *consumerMember {
	if m := g.members[id]; m != nil {
		return m
	}
	return newConsumerMember(id)
}

// applyCurrent: a removed record is followed by those that remove the member.
func (g *consumer) applyCurrent(id string, value schema.Record) {
	if v, ok := value.(*schema.ConsumerGroupCurrentMemberAssignmentValue); ok {
		g.put(currentOf(g.memberOrNew(id), v))
		return
	}
	if m := g.members[id]; m != nil {
		n := *m
		n.epoch, n.previous, n.assigned, n.revoking = leaveEpoch, leaveEpoch, nil, nil
		g.put(&n)
	}
}

// clockKey names a deadline of a member of a consumer group. Members are replaced by records, and may be thought of
// before they are written, so their clocks stand beside them; one whose member is not there does nothing.
type clockKey struct {
	kind          timerKind
	group, member string
}

func (m *Machine) setClock(kind timerKind, group, member string, due int64) *timer {
	k := clockKey{kind, group, member}
	c := m.clocks[k]
	if c == nil {
		c = &timer{kind: kind, groupID: group, member: member}
		m.clocks[k] = c
	}
	m.timers.set(c, due)
	return c
}

// setClockIfStopped leaves a clock alone that runs.
func (m *Machine) setClockIfStopped(kind timerKind, group, member string, due int64) {
	if c := m.clocks[clockKey{kind, group, member}]; c == nil || c.due == 0 {
		m.setClock(kind, group, member, due)
	}
}

func (m *Machine) stopClock(kind timerKind, group, member string) {
	k := clockKey{kind, group, member}
	if c := m.clocks[k]; c != nil {
		m.timers.stop(c)
		delete(m.clocks, k)
	}
}

func (m *Machine) stopClocks(group, member string) {
	for _, kind := range memberClocks {
		m.stopClock(kind, group, member)
	}
}

// stopConsumer stops the clocks of a group that is replaced.
func (m *Machine) stopConsumer(g *consumer) {
	for _, id := range g.memberIDs() {
		m.stopClocks(g.id, id)
	}
}

// consumerStarts begins the sessions of a group that was found in the log.
func (m *Machine) consumerStarts(t *turn, g *consumer) {
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		member := g.members[id]
		m.setClock(memberSessionEnds, g.id, id, t.now+m.sessionTimeout(t, g.id))
		if member.state == memberUnrevoked {
			m.setRebalanceClock(t, g.id, member)
		}
	}
}
