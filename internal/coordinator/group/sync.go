package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sync is SyncGroup (key 14, versions 0 to 5).
//
//   - Followers wait for the leader's assignments. The leader's request writes the generation; when that is committed,
//     it and all that wait are answered.
//   - A group or member that does not exist: UNKNOWN_MEMBER_ID.
//   - Version 5 names protocol and type, which must be the group's.
func (m *Machine) sync(t *turn, r *kmsg.SyncGroupRequest) {
	refuse := func(code int16) { t.answer(&kmsg.SyncGroupResponse{Version: r.Version, ErrorCode: code}) }
	if r.Version >= 5 && (r.ProtocolType == nil || r.Protocol == nil) {
		refuse(kerr.InconsistentGroupProtocol.Code)
		return
	}
	if r.Group == "" {
		refuse(kerr.InvalidGroupID.Code)
		return
	}
	if c, ok := m.groups[r.Group].(*consumer); ok && len(c.members) > 0 {
		m.syncConsumer(t, c, r)
		return
	}
	g, _ := m.groups[r.Group].(*classic)
	if g == nil || g.state == empty {
		refuse(kerr.UnknownMemberID.Code)
		return
	}
	if err := g.checkSync(r); err != nil {
		refuse(err.Code)
		return
	}
	member := g.byID[r.MemberID]
	switch g.state {
	case preparingRebalance:
		refuse(kerr.RebalanceInProgress.Code)
	case completingRebalance:
		// A request that still waits was sent again: the older one has nobody to go to.
		g.answerSync(t, member, kmsg.SyncGroupResponse{ErrorCode: kerr.RebalanceInProgress.Code})
		member.sync = waiting(t, r.Version)
		m.synced(g, member)
		if g.leader == member.id {
			m.assign(t, g, r)
		}
	case stable:
		m.synced(g, member)
		t.answer(g.assignmentFor(r.Version, member.assignment))
	}
}

func (g *classic) checkSync(r *kmsg.SyncGroupRequest) *kerr.Error {
	if err := g.validate(r.MemberID, r.InstanceID); err != nil {
		return err
	}
	if r.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	if r.ProtocolType != nil && g.protocolType != "" && *r.ProtocolType != g.protocolType ||
		r.Protocol != nil && g.protocol != nil && *r.Protocol != *g.protocol {
		return kerr.InconsistentGroupProtocol
	}
	return nil
}

func (g *classic) assignmentFor(version int16, assignment []byte) *kmsg.SyncGroupResponse {
	r := &kmsg.SyncGroupResponse{Version: version, Protocol: g.protocol, MemberAssignment: assignment}
	r.ProtocolType = g.nullableType()
	return r
}

// synced notes that the member has sent SyncGroup for this generation.
func (m *Machine) synced(g *classic, member *member) {
	if member.owesSync = false; !g.owesSync() {
		m.timers.stop(&g.syncTimer)
	}
}

// assign writes what the leader decided, and answers all that wait for it. The members have it, and the group is
// stable, only when it is applied (becomeStable).
func (m *Machine) assign(t *turn, g *classic, r *kmsg.SyncGroupRequest) {
	assignments := make(map[string][]byte, len(r.GroupAssignment))
	for _, a := range r.GroupAssignment {
		assignments[a.MemberID] = a.MemberAssignment
	}
	assignment := func(member *member) []byte { return assignments[member.id] }
	g.staged = stagedStable
	t.writeClassic(g, metadataRecord(g, assignment))
	for _, member := range g.members {
		m.endSync(t, g, member, *g.assignmentFor(r.Version, assignment(member)))
	}
}

// syncEnded removes the members that joined this generation and never asked for their assignment.
func (m *Machine) syncEnded(t *turn, g *classic) {
	if g.state != completingRebalance && g.state != stable || !g.owesSync() {
		return
	}
	for _, member := range slices.Clone(g.members) {
		if member.owesSync {
			m.remove(t, g, member.id)
		}
	}
	m.prepareRebalance(t, g, "members did not sync in time")
}

// heartbeat is Heartbeat (key 12, versions 0 to 4). It keeps the session, and tells of a rebalance.
func (m *Machine) heartbeat(t *turn, r *kmsg.HeartbeatRequest) {
	answer := func(code int16) { t.answer(&kmsg.HeartbeatResponse{Version: r.Version, ErrorCode: code}) }
	if r.Group == "" {
		answer(kerr.InvalidGroupID.Code)
		return
	}
	if c, ok := m.groups[r.Group].(*consumer); ok {
		m.heartbeatConsumer(t, c, r)
		return
	}
	g, _ := m.groups[r.Group].(*classic)
	if g == nil {
		answer(kerr.UnknownMemberID.Code)
		return
	}
	if err := g.validate(r.MemberID, r.InstanceID); err != nil {
		answer(err.Code)
		return
	}
	if r.Generation != g.generation {
		answer(kerr.IllegalGeneration.Code)
		return
	}
	member := g.byID[r.MemberID]
	m.timers.set(&member.session, t.now+int64(member.sessionTimeout))
	if g.state == preparingRebalance {
		answer(kerr.RebalanceInProgress.Code)
		return
	}
	answer(0)
}

// leave is LeaveGroup (key 13, versions 0 to 5).
//
//   - Versions 0 to 2 name one member, whose error is the answer's; later ones several (KIP-345).
//   - An instance id without a member id removes a static member, whoever it is; that is what admin clients send.
func (m *Machine) leave(t *turn, r *kmsg.LeaveGroupRequest) {
	if r.Group == "" {
		t.answer(&kmsg.LeaveGroupResponse{Version: r.Version, ErrorCode: kerr.InvalidGroupID.Code})
		return
	}
	if c, ok := m.groups[r.Group].(*consumer); ok {
		m.leaveConsumer(t, c, r)
		return
	}
	leaving := leavers(r)
	g, _ := m.groups[r.Group].(*classic)
	answers := make([]kmsg.LeaveGroupResponseMember, len(leaving))
	left := false
	for i, l := range leaving {
		answers[i] = kmsg.LeaveGroupResponseMember{MemberID: l.MemberID, InstanceID: l.InstanceID}
		if g == nil {
			answers[i].ErrorCode = kerr.UnknownMemberID.Code
			continue
		}
		if err := m.leaveOne(t, g, l); err != nil {
			answers[i].ErrorCode = err.Code
			continue
		}
		left = true
	}
	if left {
		m.afterLeave(t, g)
	}
	t.answer(leaveResponse(r.Version, answers))
}

// afterLeave starts or completes a rebalance. Kafka rebalances a stable group also when a pending member left.
func (m *Machine) afterLeave(t *turn, g *classic) {
	switch g.state {
	case stable, completingRebalance:
		m.prepareRebalance(t, g, "member left")
	case preparingRebalance:
		m.tryCompleteJoin(t, g)
	}
}

func leavers(r *kmsg.LeaveGroupRequest) []kmsg.LeaveGroupRequestMember {
	if r.Version < 3 {
		return []kmsg.LeaveGroupRequestMember{{MemberID: r.MemberID}}
	}
	return r.Members
}

func leaveResponse(version int16, members []kmsg.LeaveGroupResponseMember) *kmsg.LeaveGroupResponse {
	if version < 3 {
		return &kmsg.LeaveGroupResponse{Version: version, ErrorCode: members[0].ErrorCode}
	}
	return &kmsg.LeaveGroupResponse{Version: version, Members: members}
}

func (m *Machine) leaveOne(t *turn, g *classic, l kmsg.LeaveGroupRequestMember) *kerr.Error {
	id := l.MemberID
	if id == "" {
		current, ok := "", false
		if l.InstanceID != nil {
			current, ok = g.static[*l.InstanceID]
		}
		if !ok {
			return kerr.UnknownMemberID
		}
		id = current
	} else if g.pending[id] != nil {
		m.remove(t, g, id)
		return nil
	} else if err := g.validate(id, l.InstanceID); err != nil {
		return err
	}
	m.remove(t, g, id)
	return nil
}
