package group

import (
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// applyStreams takes in a record of a streams group.
func (m *Machine) applyStreams(r machine.Record) error {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err
	}
	id := streamsGroupOf(key)
	g := m.streamsToApply(id, value != nil)
	if g == nil {
		return nil // the removal of what is not there
	}
	g.apply(key, value)
	if value != nil {
		return nil
	}
	switch k := key.(type) {
	case *schema.StreamsGroupMemberMetadataKey:
		m.stopStreamsClocks(id, k.MemberID)
	case *schema.StreamsGroupMetadataKey:
		m.stopStreams(g)
		delete(m.groups, id)
	}
	return nil
}

// streamsToApply finds or makes the group that a record is for: see consumerToApply.
func (m *Machine) streamsToApply(id string, make bool) *streams {
	old := m.groups[id]
	if g, ok := old.(*streams); ok {
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
	if k, ok := old.(*consumer); ok {
		m.stopConsumer(k)
	}
	g := newStreams(id)
	m.groups[id] = g
	return g
}

func streamsGroupOf(key schema.Record) string {
	switch k := key.(type) {
	case *schema.StreamsGroupMetadataKey:
		return k.GroupID
	case *schema.StreamsGroupMemberMetadataKey:
		return k.GroupID
	case *schema.StreamsGroupTargetAssignmentMetadataKey:
		return k.GroupID
	case *schema.StreamsGroupTargetAssignmentMemberKey:
		return k.GroupID
	case *schema.StreamsGroupCurrentMemberAssignmentKey:
		return k.GroupID
	case *schema.StreamsGroupTopologyKey:
		return k.GroupID
	}
	return ""
}

// apply changes the group as one record says.
func (g *streams) apply(key, value schema.Record) {
	switch k := key.(type) {
	case *schema.StreamsGroupMetadataKey:
		if v, ok := value.(*schema.StreamsGroupMetadataValue); ok {
			g.epoch, g.hash, g.validated, g.settings = v.Epoch, v.MetadataHash, v.ValidatedTopologyEpoch, map[string]string{}
			for _, kv := range v.LastAssignmentConfigs {
				g.settings[kv.Key] = kv.Value
			}
		}
	case *schema.StreamsGroupTopologyKey:
		g.topology = nil
		if v, ok := value.(*schema.StreamsGroupTopologyValue); ok {
			g.topology = newTopology(v)
		}
	case *schema.StreamsGroupMemberMetadataKey:
		if v, ok := value.(*schema.StreamsGroupMemberMetadataValue); ok {
			g.put(streamsMemberOf(g.memberOrNew(k.MemberID), v))
		} else {
			g.removeMember(k.MemberID)
		}
	case *schema.StreamsGroupTargetAssignmentMetadataKey:
		g.targetEpoch, g.targetAt = -1, 0
		if v, ok := value.(*schema.StreamsGroupTargetAssignmentMetadataValue); ok {
			g.targetEpoch, g.targetAt = v.AssignmentEpoch, v.AssignmentTimestamp
		}
	case *schema.StreamsGroupTargetAssignmentMemberKey:
		if v, ok := value.(*schema.StreamsGroupTargetAssignmentMemberValue); ok {
			g.targets[k.MemberID] = streamsTargetOf(v)
		} else {
			delete(g.targets, k.MemberID)
		}
	case *schema.StreamsGroupCurrentMemberAssignmentKey:
		g.applyCurrent(k.MemberID, value)
	}
}

func (g *streams) memberOrNew(id string) *streamsMember {
	if m := g.members[id]; m != nil {
		return m
	}
	return newStreamsMember(id)
}

// applyCurrent: a removed record is followed by those that remove the member.
func (g *streams) applyCurrent(id string, value schema.Record) {
	if v, ok := value.(*schema.StreamsGroupCurrentMemberAssignmentValue); ok {
		g.put(streamsCurrentOf(g.memberOrNew(id), v))
		return
	}
	if m := g.members[id]; m != nil {
		n := *m
		n.epoch, n.previous, n.assigned, n.revoking = leaveEpoch, leaveEpoch, tasks{}, tasks{}
		g.put(&n)
	}
}

func (m *Machine) stopStreamsClocks(group, member string) {
	m.stopClock(streamsSessionEnds, group, member)
	m.stopClock(streamsRevokesTooLong, group, member)
}

// stopStreams stops the clocks of a group that is gone.
func (m *Machine) stopStreams(g *streams) {
	m.stopClock(streamsInitialEnds, g.id, "")
	for _, id := range g.memberIDs() {
		m.stopStreamsClocks(g.id, id)
	}
}

// streamsStarts begins the sessions of a group that was found in the log.
func (m *Machine) streamsStarts(t *turn, g *streams) {
	for _, id := range g.memberIDs() {
		m.setClock(streamsSessionEnds, g.id, id, t.now+m.streamsSessionTimeout(t, g.id))
		if member := g.members[id]; member.state == memberUnrevoked {
			m.setStreamsRebalanceClock(t, g.id, member)
		}
	}
}

// setStreamsRebalanceClock gives a member its rebalance timeout to give tasks up.
func (m *Machine) setStreamsRebalanceClock(t *turn, group string, member *streamsMember) {
	m.setClock(streamsRevokesTooLong, group, member.id, t.now+int64(member.rebalanceTimeout)).epoch = member.epoch
}
