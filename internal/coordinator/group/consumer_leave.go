package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

func (m *Machine) consumerLeave(t *turn, r *kmsg.ConsumerGroupHeartbeatRequest, answer *kmsg.ConsumerGroupHeartbeatResponse) error {
	g, ok := m.groups[r.Group].(*consumer)
	if !ok {
		if m.groups[r.Group] == nil {
			return refuse(kerr.GroupIDNotFound, "Group %s not found.", r.Group)
		}
		return refuse(kerr.GroupIDNotFound, "Group %s is not a consumer group.", r.Group)
	}
	id := r.MemberID
	answer.MemberID, answer.MemberEpoch = &id, r.MemberEpoch
	if r.InstanceID == nil {
		member, err := g.member(id)
		if err != nil {
			return err
		}
		return m.fence(t, g, []*consumerMember{member}, "member left")
	}
	member := g.staticMember(*r.InstanceID)
	if err := checkStatic(member, id, *r.InstanceID); err != nil {
		return err
	}
	if r.MemberEpoch == leaveEpoch {
		return m.fence(t, g, []*consumerMember{member}, "static member left")
	}
	// It keeps its partitions until its session ends, for whoever comes with its instance id. To that one they
	// count as assigned from the beginning.
	left := *member
	left.epoch, left.revoking, left.assigned = leaveStaticEpoch, nil, member.assigned.withEpoch(0)
	t.write(currentRecord(g.id, &left))
	return nil
}

// fence removes members. If those that stay all speak the classic protocol, the group becomes a classic one.
func (m *Machine) fence(t *turn, g *consumer, members []*consumerMember, reason string) error {
	if len(members) == 0 {
		return nil
	}
	t.event("group.members.removed", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "members", Value: len(members)},
		machine.Attr{Key: "reason", Value: reason})
	if m.mayDowngrade(g, members) {
		return m.downgrade(t, g, members, nil, true)
	}
	for _, member := range members {
		t.write(memberTombstones(g.id, member.id)...)
	}
	subs := g.without(members)
	for _, regex := range removedRegexes(g, subs, members) {
		t.write(expressionTombstone(g.id, regex))
	}
	t.write(epochRecord(g.id, g.epoch+1, m.groupHash(t.Image, subs.topics())))
	return nil
}

// removedRegexes are those whose last members go.
func removedRegexes(g *consumer, after subscriptions, members []*consumerMember) []string {
	var gone []string
	for _, member := range members {
		if member.regex != "" && after.regexes[member.regex] == 0 && g.regexes[member.regex] > 0 {
			gone = append(gone, member.regex)
		}
	}
	slices.Sort(gone)
	return slices.Compact(gone)
}

// clockRetry is when an ended clock tries again. Normally the member is gone by then; if the append failed, it is not.
const clockRetry = 1000

// memberClockEnded says whether the member is to be fenced.
func (m *Machine) memberClockEnded(t *turn, c *timer) *consumerMember {
	key := clockKey{c.kind, c.groupID, c.member}
	g, _ := m.groups[c.groupID].(*consumer)
	if g == nil || g.members[c.member] == nil {
		delete(m.clocks, key)
		return nil
	}
	member := g.members[c.member]
	if c.kind == memberRevokesTooLong && member.epoch != c.epoch {
		delete(m.clocks, key) // it has gone on
		return nil
	}
	m.timers.set(c, t.now+clockRetry)
	return member
}

// setRebalanceClock gives a member its rebalance timeout to give partitions up.
func (m *Machine) setRebalanceClock(t *turn, group string, member *consumerMember) {
	m.setClock(memberRevokesTooLong, group, member.id, t.now+int64(member.rebalanceTimeout)).epoch = member.epoch
}
