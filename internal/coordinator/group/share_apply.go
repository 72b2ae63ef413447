package group

import (
	"maps"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// applyShare takes in a record of a share group.
func (m *Machine) applyShare(r machine.Record, pos machine.Position) error {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err
	}
	id := shareGroupOf(key)
	g, ok := m.groups[id].(*shareGroup)
	if !ok {
		if value == nil {
			return nil // the removal of what is not there
		}
		// The kind of the latest record is the kind of the group: a simple group, which exists for its offsets only, gives
		// way, and so does another whose removal compaction has dropped.
		m.stopGroup(id)
		g = newShareGroup(id)
		m.groups[id] = g
	}
	switch k := key.(type) {
	case *schema.ShareGroupMetadataKey:
		if v, ok := value.(*schema.ShareGroupMetadataValue); ok {
			g.epoch, g.hash = v.Epoch, v.MetadataHash
			break
		}
		m.stopGroup(id)
		delete(m.groups, id)
		delete(m.attempts, id)
	case *schema.ShareGroupMemberMetadataKey:
		if v, ok := value.(*schema.ShareGroupMemberMetadataValue); ok {
			n := *g.memberOrNew(k.MemberID)
			n.rackID, n.clientID, n.clientHost, n.topics = v.RackID, v.ClientID, v.ClientHost, distinctSorted(v.SubscribedTopicNames)
			g.put(&n)
			break
		}
		g.removeMember(k.MemberID)
		m.stopClock(shareSessionEnds, id, k.MemberID)
	case *schema.ShareGroupTargetAssignmentMetadataKey:
		g.targetEpoch, g.targetAt = -1, 0
		if v, ok := value.(*schema.ShareGroupTargetAssignmentMetadataValue); ok {
			g.targetEpoch, g.targetAt = v.AssignmentEpoch, v.AssignmentTimestamp
		}
	case *schema.ShareGroupTargetAssignmentMemberKey:
		if v, ok := value.(*schema.ShareGroupTargetAssignmentMemberValue); ok {
			g.targets[k.MemberID] = sharedOf(v.TopicPartitions)
		} else {
			delete(g.targets, k.MemberID)
		}
	case *schema.ShareGroupCurrentMemberAssignmentKey:
		g.applyCurrent(k.MemberID, value)
	case *schema.ShareGroupStatePartitionMetadataKey:
		g.applyState(value, pos.Timestamp)
	}
	return nil
}

func shareGroupOf(key schema.Record) string {
	switch k := key.(type) {
	case *schema.ShareGroupMetadataKey:
		return k.GroupID
	case *schema.ShareGroupMemberMetadataKey:
		return k.GroupID
	case *schema.ShareGroupTargetAssignmentMetadataKey:
		return k.GroupID
	case *schema.ShareGroupTargetAssignmentMemberKey:
		return k.GroupID
	case *schema.ShareGroupCurrentMemberAssignmentKey:
		return k.GroupID
	case *schema.ShareGroupStatePartitionMetadataKey:
		return k.GroupID
	}
	return ""
}

// applyCurrent: a removed record is followed by those that remove the member.
func (g *shareGroup) applyCurrent(id string, value schema.Record) {
	if v, ok := value.(*schema.ShareGroupCurrentMemberAssignmentValue); ok {
		n := *g.memberOrNew(id)
		n.epoch, n.previous, n.assigned = v.MemberEpoch, v.PreviousMemberEpoch, sharedOf(v.AssignedPartitions)
		g.put(&n)
		return
	}
	if m := g.members[id]; m != nil {
		n := *m
		n.epoch, n.previous, n.assigned = leaveEpoch, leaveEpoch, nil
		g.put(&n)
	}
}

func (g *shareGroup) applyState(value schema.Record, at int64) {
	v, ok := value.(*schema.ShareGroupStatePartitionMetadataValue)
	if !ok {
		g.state = nil
		return
	}
	g.state = &shareState{
		initializing: shareTopicsOf(v.InitializingTopics), initialized: shareTopicsOf(v.InitializedTopics),
		deleting: map[schema.UUID]string{}, at: at,
	}
	for _, t := range v.DeletingTopics {
		g.state.deleting[t.TopicID] = t.TopicName
	}
}

// stopGroup stops the clocks of a group that is removed or replaced.
func (m *Machine) stopGroup(id string) {
	switch g := m.groups[id].(type) {
	case *classic:
		m.stopTimers(g)
	case *consumer:
		m.stopConsumer(g)
	case *streams:
		m.stopStreams(g)
	case *shareGroup:
		for _, member := range g.memberIDs() {
			m.stopClock(shareSessionEnds, id, member)
		}
	}
}

// shareStarts begins the sessions of a group that was found in the log.
func (m *Machine) shareStarts(t *turn, g *shareGroup) {
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		m.setClock(shareSessionEnds, g.id, id, t.now+m.shareSession(t, g.id))
	}
}
