package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

func (m *Machine) streamsLeave(t *turn, r *kmsg.StreamsGroupHeartbeatRequest, answer *kmsg.StreamsGroupHeartbeatResponse) error {
	g, ok := m.groups[r.Group].(*streams)
	if !ok {
		if m.groups[r.Group] == nil {
			return refuse(kerr.GroupIDNotFound, "Group %s not found.", r.Group)
		}
		return refuse(kerr.GroupIDNotFound, "Group %s is not a streams group.", r.Group)
	}
	member, err := g.member(r.MemberID)
	if err != nil {
		return err
	}
	if r.ShutdownApplication && g.shutdownBy == "" {
		g.shutdownBy = member.id
		t.event("group.streams.shutdown", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "member", Value: member.id})
	}
	answer.MemberID, answer.MemberEpoch = r.MemberID, r.MemberEpoch
	m.fenceStreams(t, g, []*streamsMember{member}, "member left")
	return nil
}

// fenceStreams removes members. Their tasks are free with that; the others get them with the next target.
func (m *Machine) fenceStreams(t *turn, g *streams, members []*streamsMember, reason string) {
	t.event("group.members.removed", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "members", Value: len(members)},
		machine.Attr{Key: "reason", Value: reason})
	for _, member := range members {
		t.write(streamsMemberTombstones(g.id, member.id)...)
	}
	t.write(streamsEpochRecord(g.id, g.epoch+1, g.hash, g.validated, g.settings))
}

// streamsClockEnded is the end of a clock of a streams group or of its member, who is fenced at the end of the tick.
func (m *Machine) streamsClockEnded(t *turn, c *timer) {
	key := clockKey{c.kind, c.groupID, c.member}
	g, _ := m.groups[c.groupID].(*streams)
	if c.kind == streamsInitialEnds {
		delete(m.clocks, key)
		m.initialStreamsTarget(t, g)
		return
	}
	if g == nil || g.members[c.member] == nil {
		delete(m.clocks, key)
		return
	}
	member := g.members[c.member]
	if c.kind == streamsRevokesTooLong && member.epoch != c.epoch {
		delete(m.clocks, key) // it has gone on
		return
	}
	m.timers.set(c, t.now+clockRetry)
	if t.fencedStreams == nil {
		t.fencedStreams = map[string][]*streamsMember{}
	}
	if list := t.fencedStreams[g.id]; !slices.Contains(list, member) {
		t.fencedStreams[g.id] = append(list, member)
	}
}

// fenceStreamsMembers removes those whose clocks ended in this tick.
func (m *Machine) fenceStreamsMembers(t *turn) {
	for _, id := range slices.Sorted(maps.Keys(t.fencedStreams)) {
		m.fenceStreams(t, m.groups[id].(*streams), t.fencedStreams[id], "a deadline has passed")
	}
}

// initialStreamsTarget works out the first target of a group whose initial delay is over, with all that have come.
// Where that cannot be, the next heartbeat does it.
func (m *Machine) initialStreamsTarget(t *turn, g *streams) {
	if g == nil || len(g.members) == 0 || g.topology == nil || g.epoch <= g.targetEpoch || g.configured == nil || g.configured.epoch != g.topology.epoch ||
		g.configured.hash != g.hash {
		return
	}
	m.assignStreams(t, g, g.epoch, g.configured, g.settings, nil)
}
