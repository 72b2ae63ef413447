package group

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// shareHeartbeat is ShareGroupHeartbeat (key 76, version 1; KIP-932).
//
//   - Epoch 0 joins, -1 leaves, others are the member's, or the one before if it missed an answer.
//   - What changes the member's subscription raises the group's epoch, and so does a share partition that was initialized
//     and that nobody has yet; the target follows the group's epoch, not more often than the assignment interval allows;
//     the member is at its target at once.
//   - The answer has the member's partitions when it joins, names its topics, or has others than before.
//   - Share partitions of subscribed topics that have no state yet are initialized beside it.
func (m *Machine) shareHeartbeat(t *turn, r *kmsg.ShareGroupHeartbeatRequest) {
	answer := &kmsg.ShareGroupHeartbeatResponse{Version: r.Version}
	err := m.checkShareHeartbeat(r)
	switch {
	case err != nil:
	case r.MemberEpoch == leaveEpoch:
		err = m.shareLeave(t, r, answer)
	default:
		err = m.shareBeat(t, r, answer)
	}
	if err != nil {
		t.out = machine.Result[machine.Record]{}
		t.answer(&kmsg.ShareGroupHeartbeatResponse{Version: r.Version, ErrorCode: codeOf(err), ErrorMessage: messageOf(err)})
		return
	}
	t.answer(answer)
}

// shareMemberIDMax is the longest id of a member; clients make UUIDs.
const shareMemberIDMax = 36

// checkShareHeartbeat refuses what no group could accept.
func (m *Machine) checkShareHeartbeat(r *kmsg.ShareGroupHeartbeatRequest) error {
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	switch {
	case r.MemberID == "" || utf16Len(r.MemberID) > shareMemberIDMax:
		return kerr.InvalidRequest
	case blank(r.MemberID):
		return refuse(kerr.InvalidRequest, "MemberId can't be empty.")
	case blank(r.GroupID):
		return refuse(kerr.InvalidRequest, "GroupId can't be empty.")
	case r.RackID != nil && blank(*r.RackID):
		return refuse(kerr.InvalidRequest, "RackId can't be empty.")
	case r.MemberEpoch == 0 && len(r.SubscribedTopicNames) == 0:
		return refuse(kerr.InvalidRequest, "SubscribedTopicNames must be set in first request.")
	case r.MemberEpoch < leaveEpoch:
		return refuse(kerr.InvalidRequest, "MemberEpoch is invalid.")
	}
	for _, s := range append(slices.Clone(r.SubscribedTopicNames), r.GroupID, orEmpty(r.RackID)) {
		if len(s) > schema.MaxString {
			return refuse(kerr.InvalidRequest, "A string of %d bytes is longer than %d.", len(s), schema.MaxString)
		}
	}
	return nil
}

// shareFor finds the group, or the one that is to be: it is made when its records are applied.
func (m *Machine) shareFor(id string, join bool) (*shareGroup, error) {
	switch g := m.groups[id].(type) {
	case *shareGroup:
		return g, nil
	case nil:
		if join {
			return newShareGroup(id), nil
		}
		return nil, refuse(kerr.GroupIDNotFound, "Share group %s not found.", id)
	}
	return nil, refuse(kerr.GroupIDNotFound, "Group %s is not a share group.", id)
}

func (m *Machine) shareBeat(t *turn, r *kmsg.ShareGroupHeartbeatRequest, answer *kmsg.ShareGroupHeartbeatResponse) error {
	join := r.MemberEpoch == 0
	g, err := m.shareFor(r.GroupID, join)
	if err != nil {
		return err
	}
	if len(g.members) >= m.config.Share.MaxSize && g.members[r.MemberID] == nil {
		return refuse(kerr.GroupMaxSizeReached, "The share group has reached its maximum capacity of %d members.", m.config.Share.MaxSize)
	}
	member, err := g.comer(r.MemberID, r.MemberEpoch)
	if err != nil {
		return err
	}
	updated := *member
	updated.clientID, updated.clientHost = t.cmd.Client.ID, t.cmd.Client.Host
	if r.RackID != nil {
		updated.rackID = r.RackID
	}
	if r.SubscribedTopicNames != nil {
		updated.topics = distinctSorted(r.SubscribedTopicNames)
	}

	bump := false
	if !updated.sameMetadata(member) {
		t.write(shareMemberRecord(g.id, &updated))
		bump = !slices.Equal(updated.topics, member.topics)
	}
	if g.targetEpoch >= g.epoch && g.unassigned(t.Image) {
		bump = true
	}
	epoch, subscribed, bumped := m.refreshShare(t, g, bump, member, &updated)
	targetEpoch, target := m.shareTarget(t, g, epoch, &updated)
	final := &updated
	if targetEpoch != updated.epoch || bumped {
		final = updated.reconciled(targetEpoch, target, topicIDs(t.Image, updated.topics))
	}
	if final.epoch != updated.epoch || final.previous != updated.previous || !final.assigned.equal(updated.assigned) {
		t.write(shareCurrentRecord(g.id, final))
	}
	m.setClock(shareSessionEnds, g.id, r.MemberID, t.now+m.shareSession(t, g.id))

	answer.MemberID, answer.MemberEpoch = &final.id, final.epoch
	answer.HeartbeatIntervalMillis = int32(min(m.shareInterval(t, g.id), math.MaxInt32))
	if join || r.SubscribedTopicNames != nil || !final.assigned.equal(member.assigned) {
		answer.Assignment = &kmsg.ShareGroupHeartbeatResponseAssignment{}
		for _, tp := range final.assigned {
			answer.Assignment.TopicPartitions = append(answer.Assignment.TopicPartitions,
				kmsg.ShareGroupHeartbeatResponseAssignmentTopicPartition{TopicID: tp.topic, Partitions: tp.partitions})
		}
	}
	m.initializeShare(t, g, epoch, subscribed)
	return nil
}

// comer finds the member, or makes one for who joins.
func (g *shareGroup) comer(id string, epoch int32) (*shareMember, error) {
	m := g.members[id]
	switch {
	case m == nil && epoch == 0:
		return newShareMember(id), nil
	case m == nil:
		return g.member(id)
	case epoch == 0 || epoch == m.epoch || epoch < m.epoch && epoch == m.previous:
		return m, nil
	case epoch > m.epoch:
		return nil, refuse(kerr.FencedMemberEpoch, "The share group member has a greater member epoch (%d) than the one known by "+
			"the group coordinator (%d). The member must abandon all its partitions and rejoin.", epoch, m.epoch)
	}
	return nil, refuse(kerr.FencedMemberEpoch, "The share group member has a smaller member epoch (%d) than the one known by the group "+
		"coordinator (%d), and it does not match the previous member epoch (%d). The member must abandon all its partitions and rejoin.",
		epoch, m.epoch, m.previous)
}

// refreshShare raises the group's epoch if bump says so, or if the metadata of the topics are not those that the target was
// worked out with. It gives the epoch and the topics subscribed to as they will be, and whether the epoch was raised.
func (m *Machine) refreshShare(t *turn, g *shareGroup, bump bool, member, updated *shareMember) (int32, []string, bool) {
	if !bump && g.checked && g.epoch >= g.checkedAt {
		return g.epoch, slices.Sorted(maps.Keys(g.byName)), false
	}
	byName := maps.Clone(g.byName)
	if g.members[member.id] != nil {
		for _, topic := range member.topics {
			tally(byName, topic, -1)
		}
	}
	for _, topic := range updated.topics {
		tally(byName, topic, 1)
	}
	topics, epoch := slices.Sorted(maps.Keys(byName)), g.epoch
	if hash := m.groupHash(t.Image, topics); bump || hash != g.hash {
		epoch, bump = epoch+1, true
		t.write(shareEpochRecord(g.id, epoch, hash))
		t.event("group.rebalance", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "epoch", Value: epoch})
	}
	g.checked, g.checkedAt = true, epoch
	return epoch, topics, bump
}

// reconciled is the member at its target. What it is not subscribed to any more it does not get, even where the target is
// older than that.
func (m *shareMember) reconciled(epoch int32, target assignment, subscribed map[schema.UUID]struct{}) *shareMember {
	n := *m
	n.assigned = nil
	for _, tp := range target {
		if _, ok := subscribed[tp.topic]; ok {
			n.assigned = append(n.assigned, tp)
		}
	}
	if epoch != m.epoch {
		n.previous, n.epoch = m.epoch, epoch
	}
	return &n
}

func (m *Machine) shareLeave(t *turn, r *kmsg.ShareGroupHeartbeatRequest, answer *kmsg.ShareGroupHeartbeatResponse) error {
	g, err := m.shareGroupNamed(r.GroupID)
	if err != nil {
		return err
	}
	if _, err := g.member(r.MemberID); err != nil {
		return err
	}
	id := r.MemberID
	answer.MemberID, answer.MemberEpoch = &id, r.MemberEpoch
	m.fenceShare(t, g, []string{id}, "member left")
	return nil
}

// fenceShare removes members.
func (m *Machine) fenceShare(t *turn, g *shareGroup, members []string, reason string) {
	t.event("group.members.removed", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "members", Value: len(members)},
		machine.Attr{Key: "reason", Value: reason})
	byName := maps.Clone(g.byName)
	for _, id := range members {
		t.write(shareMemberTombstones(g.id, id)...)
		for _, topic := range g.members[id].topics {
			tally(byName, topic, -1)
		}
	}
	t.write(shareEpochRecord(g.id, g.epoch+1, m.groupHash(t.Image, slices.Sorted(maps.Keys(byName)))))
}

// shareSessionEnded notes a member that was not heard of, to be fenced with others of its group.
func (m *Machine) shareSessionEnded(t *turn, c *timer) {
	g, _ := m.groups[c.groupID].(*shareGroup)
	if g == nil || g.members[c.member] == nil {
		delete(m.clocks, clockKey{c.kind, c.groupID, c.member})
		return
	}
	m.timers.set(c, t.now+clockRetry)
	if t.fencedShares == nil {
		t.fencedShares = map[string][]string{}
	}
	t.fencedShares[c.groupID] = append(t.fencedShares[c.groupID], c.member)
}

// fenceShares fences the members whose sessions have ended.
func (m *Machine) fenceShares(t *turn) {
	for _, id := range slices.Sorted(maps.Keys(t.fencedShares)) {
		if g, ok := m.groups[id].(*shareGroup); ok {
			slices.Sort(t.fencedShares[id])
			m.fenceShare(t, g, t.fencedShares[id], "session ended")
		}
	}
}

func (m *Machine) shareSession(t *turn, group string) int64 {
	c := &m.config.Share
	return m.groupDuration(t, group, "share.session.timeout.ms", c.SessionTimeout, c.MinSessionTimeout, c.MaxSessionTimeout)
}

func (m *Machine) shareInterval(t *turn, group string) int64 {
	c := &m.config.Share
	return m.groupDuration(t, group, "share.heartbeat.interval.ms", c.HeartbeatInterval, c.MinHeartbeatInterval, c.MaxHeartbeatInterval)
}

func (m *Machine) shareAssignmentInterval(t *turn, group string) int64 {
	c := &m.config.Share
	return m.groupDuration(t, group, "share.assignment.interval.ms", c.AssignmentInterval, c.MinAssignmentInterval, c.MaxAssignmentInterval)
}
