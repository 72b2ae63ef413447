package group

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// join is JoinGroup (key 11, versions 0 to 9).
//
//   - A dynamic member without an id gets one and MEMBER_ID_REQUIRED, and joins with it (version 4 and later, KIP-394).
//   - The answer waits until all members have joined, or the rebalance timeout or initial delay is over.
//   - A static member that comes back replaces itself; in a stable group without a rebalance (KIP-345, KIP-814).
//   - Version 0 has no rebalance timeout: the session timeout is used. Version 7 has nullable protocols.
func (m *Machine) join(t *turn, r *kmsg.JoinGroupRequest) {
	if r.Version == 0 {
		r.RebalanceTimeoutMillis = r.SessionTimeoutMillis
	}
	r.Protocols = distinct(r.Protocols)
	refuse := func(memberID string, err *kerr.Error) { t.answer(joinError(r.Version, memberID, err.Code)) }
	if r.Group == "" {
		refuse(r.MemberID, kerr.InvalidGroupID)
		return
	}
	if s := int64(r.SessionTimeoutMillis); s < m.config.MinSessionTimeout.Milliseconds() || s > m.config.MaxSessionTimeout.Milliseconds() {
		refuse(r.MemberID, kerr.InvalidSessionTimeout)
		return
	}
	existing, found := m.groups[r.Group]
	g, _ := existing.(*classic)
	c, _ := existing.(*consumer)
	s, _ := existing.(*streams)
	if s != nil && len(s.members) > 0 {
		s = nil // that is refused
	}
	switch {
	case c != nil && len(c.members) > 0:
		m.joinConsumer(t, c, r)
		return
	case found && g == nil && c == nil && s == nil:
		refuse("", kerr.InconsistentGroupProtocol)
		return
	case g == nil && r.MemberID != "":
		refuse(r.MemberID, kerr.UnknownMemberID)
		return
	case g == nil:
		g = newClassic(r.Group, t.now)
		if c != nil {
			g.replaced = c.tombstones()
		} else if s != nil {
			g.replaced = s.tombstones()
			m.stopStreams(s)
		}
		m.groups[r.Group] = g
	}

	switch {
	case !m.accepts(g, r.MemberID):
		m.remove(t, g, r.MemberID)
		refuse("", kerr.GroupMaxSizeReached)
	case !g.supports(r.ProtocolType, r.Protocols):
		refuse(r.MemberID, kerr.InconsistentGroupProtocol)
	case r.MemberID == "":
		m.joinNew(t, g, r)
	default:
		m.joinKnown(t, g, r)
	}
	if !g.durable && len(t.out.Records) == 0 {
		// A new group is durable before anybody learns of it.
		g.staged = stagedSoft
		t.writeClassic(g, emptyGroupRecord(g))
	}
}

// joinError is the answer to a JoinGroup that failed.
func joinError(version int16, memberID string, code int16) *kmsg.JoinGroupResponse {
	return joinResponse(version, kmsg.JoinGroupResponse{ErrorCode: code, Generation: -1, MemberID: memberID})
}

// distinct drops protocols named twice: they are counted by name.
func distinct(protocols []kmsg.JoinGroupRequestProtocol) []kmsg.JoinGroupRequestProtocol {
	seen := make(map[string]struct{}, len(protocols))
	return slices.DeleteFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		_, twice := seen[p.Name]
		seen[p.Name] = struct{}{}
		return twice
	})
}

// accepts says that the member fits into the group's maximal size. While a group is preparing, those that already
// joined count, so that a group over a lowered limit sheds the last that rejoin.
func (m *Machine) accepts(g *classic, memberID string) bool {
	member := g.byID[memberID]
	switch g.state {
	case preparingRebalance:
		return member != nil && member.join.waits || g.joining < m.config.MaxSize
	case completingRebalance, stable:
		return member != nil || len(g.members) < m.config.MaxSize
	}
	return true
}

// memberID makes an id as Kafka's look: the client's or instance's id, and a random UUID.
func (t *turn) memberID(instanceID *string) string {
	prefix := t.cmd.Client.ID
	if instanceID != nil {
		prefix = *instanceID
	}
	hi, lo := t.randomUUID()
	return fmt.Sprintf("%s-%08x-%04x-%04x-%04x-%012x", prefix, hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff)
}

func (t *turn) randomUUID() (hi, lo uint64) {
	return t.Rand.Uint64()&^0xf000 | 0x4000, t.Rand.Uint64()&^(3<<62) | 2<<62
}

// uuid makes an id as Kafka's for members of consumer groups.
func (t *turn) uuid() string {
	for {
		hi, lo := t.randomUUID()
		id := schema.UUID(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, hi), lo)).String()
		if id[0] != '-' { // tools would take it for an option
			return id
		}
	}
}

// joinNew is a member that does not know an id of its own.
func (m *Machine) joinNew(t *turn, g *classic, r *kmsg.JoinGroupRequest) {
	id := t.memberID(r.InstanceID)
	switch {
	case r.InstanceID != nil:
		if old, ok := g.static[*r.InstanceID]; ok {
			m.replaceStatic(t, g, old, id, r)
			return
		}
		m.admit(t, g, id, r)
	case r.Version >= 4:
		session := &timer{kind: sessionEnds, group: g, member: id}
		g.pending[id] = session
		m.timers.set(session, t.now+int64(r.SessionTimeoutMillis))
		t.answer(joinError(r.Version, id, kerr.MemberIDRequired.Code))
	default:
		m.admit(t, g, id, r)
	}
}

// joinKnown is a member that names its id.
func (m *Machine) joinKnown(t *turn, g *classic, r *kmsg.JoinGroupRequest) {
	if session := g.pending[r.MemberID]; session != nil {
		if r.InstanceID != nil {
			// A pending member is dynamic, whoever else uses its id is not it.
			t.answer(joinError(r.Version, r.MemberID, kerr.UnknownMemberID.Code))
			return
		}
		m.timers.stop(session)
		delete(g.pending, r.MemberID)
		m.admit(t, g, r.MemberID, r)
		return
	}
	if err := g.validate(r.MemberID, r.InstanceID); err != nil {
		t.answer(joinError(r.Version, r.MemberID, err.Code))
		return
	}
	member := g.byID[r.MemberID]
	same := member.sameProtocols(r.Protocols)
	switch {
	case g.state == preparingRebalance:
		m.rejoin(t, g, member, r, "member joins again")
	case g.state == completingRebalance && same:
		// The answer was lost: the member gets this generation again.
		t.answer(joinResponse(r.Version, g.generationFor(member, g.leader == member.id)))
	case g.state == completingRebalance:
		m.rejoin(t, g, member, r, "member changed its protocols")
	case g.state == stable && g.leader == member.id:
		// Leaders join again to have the partitions assigned anew.
		m.rejoin(t, g, member, r, "leader joins again")
	case g.state == stable && !same:
		m.rejoin(t, g, member, r, "member changed its protocols")
	case g.state == stable:
		t.answer(joinResponse(r.Version, g.generationFor(member, false)))
	default:
		t.answer(joinError(r.Version, r.MemberID, kerr.UnknownMemberID.Code))
	}
}

// generationFor is what a member is told about the current generation; the leader hears of all members.
func (g *classic) generationFor(member *member, withMembers bool) kmsg.JoinGroupResponse {
	r := kmsg.JoinGroupResponse{
		Generation: g.generation, ProtocolType: g.nullableType(), Protocol: g.protocol, LeaderID: g.leader, MemberID: member.id,
	}
	if withMembers {
		r.Members = make([]kmsg.JoinGroupResponseMember, len(g.members))
		for i, o := range g.members {
			r.Members[i] = kmsg.JoinGroupResponseMember{
				MemberID: o.id, InstanceID: o.instanceID, ProtocolMetadata: o.metadata(g.protocolName()),
			}
		}
	}
	return r
}

// admit adds a member and waits with it for the others.
func (m *Machine) admit(t *turn, g *classic, id string, r *kmsg.JoinGroupRequest) {
	if len(g.members) == 0 {
		g.protocolType = r.ProtocolType
	}
	if g.state == preparingRebalance && g.previous == empty {
		g.another = true
	}
	member := &member{
		id: id, instanceID: r.InstanceID, clientID: t.cmd.Client.ID, clientHost: t.cmd.Client.Host,
		rebalanceTimeout: r.RebalanceTimeoutMillis, sessionTimeout: r.SessionTimeoutMillis,
		protocols: r.Protocols, isNew: true, join: waiting(t, r.Version),
	}
	g.add(member)
	m.timers.set(&member.session, t.now+newMemberJoinTimeout.Milliseconds())
	m.rebalance(t, g, "new member")
}

// rejoin takes what the member says now and waits with it for the others.
func (m *Machine) rejoin(t *turn, g *classic, member *member, r *kmsg.JoinGroupRequest, reason string) {
	g.update(t, member, r, waiting(t, r.Version))
	m.rebalance(t, g, reason)
}

// update takes the member's protocols and timeouts from a request. A JoinGroup that still waited is answered: its
// client has sent another, or the answer could go nowhere.
func (g *classic) update(t *turn, member *member, r *kmsg.JoinGroupRequest, w waiter) {
	g.answerJoin(t, member, kmsg.JoinGroupResponse{ErrorCode: kerr.RebalanceInProgress.Code, Generation: -1, MemberID: member.id})
	g.countProtocols(member, -1)
	member.protocols = r.Protocols
	g.countProtocols(member, 1)
	member.rebalanceTimeout, member.sessionTimeout = r.RebalanceTimeoutMillis, r.SessionTimeoutMillis
	if member.join = w; w.waits {
		g.joining++
	}
}

// replaceStatic puts a static member that was started again in its own place, under a new id. Whoever uses the old id
// is fenced from now on.
func (m *Machine) replaceStatic(t *turn, g *classic, oldID, newID string, r *kmsg.JoinGroupRequest) {
	member := g.byID[oldID]
	leader := g.leader
	g.answerJoin(t, member, kmsg.JoinGroupResponse{ErrorCode: kerr.FencedInstanceID.Code, Generation: -1, MemberID: oldID})
	g.answerSync(t, member, kmsg.SyncGroupResponse{ErrorCode: kerr.FencedInstanceID.Code})
	m.timers.stop(&member.session)
	delete(g.byID, oldID)
	member.id, member.session.member, member.isNew = newID, newID, false
	g.byID[newID], g.static[*member.instanceID] = member, newID
	if leader == oldID {
		g.leader = newID
	}
	m.timers.set(&member.session, t.now+int64(member.sessionTimeout))

	if g.state != stable {
		g.update(t, member, r, waiting(t, r.Version))
		if g.state == completingRebalance {
			// The leader may already assign to the old id.
			m.prepareRebalance(t, g, "static member was replaced")
		} else {
			m.tryCompleteJoin(t, g)
		}
		return
	}
	g.update(t, member, r, waiter{})
	if g.vote() != g.protocolName() {
		member.join = waiting(t, r.Version)
		g.joining++
		m.rebalance(t, g, "static member changes the protocol")
		return
	}
	// Nothing changes for the others. The new id is written, since it is what fences the old one.
	g.staged = stagedSoft
	t.writeClassic(g, metadataRecord(g, currentAssignment))
	answer := g.generationFor(member, false)
	if isLeader := g.leader == newID; r.Version >= 9 {
		answer = g.generationFor(member, isLeader)
		answer.SkipAssignment = isLeader
	} else {
		// A client that cannot skip the assignment must not believe that it leads.
		answer.LeaderID = leader
	}
	t.answer(joinResponse(r.Version, answer))
}

func currentAssignment(m *member) []byte { return m.assignment }

// rebalance starts a rebalance, or goes on with the one that runs.
func (m *Machine) rebalance(t *turn, g *classic, reason string) {
	if g.state == preparingRebalance {
		m.tryCompleteJoin(t, g)
	} else {
		m.prepareRebalance(t, g, reason)
	}
}

// prepareRebalance asks all members to join again.
func (m *Machine) prepareRebalance(t *turn, g *classic, reason string) {
	if g.state == completingRebalance {
		for _, member := range g.members {
			member.assignment = nil
			m.endSync(t, g, member, kmsg.SyncGroupResponse{ErrorCode: kerr.RebalanceInProgress.Code})
		}
	}
	for _, member := range g.members {
		member.owesSync = false
	}
	m.timers.stop(&g.syncTimer)
	t.event("group.rebalance", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "generation", Value: g.generation},
		machine.Attr{Key: "reason", Value: reason})

	initial := g.state == empty
	g.moveTo(preparingRebalance, t.now)
	if initial {
		g.another = false
		g.delay = m.config.InitialRebalanceDelay.Milliseconds()
		g.remaining = max(g.rebalanceTimeout()-g.delay, 0)
		m.setJoinTimer(t, g, initialEnds, g.delay)
		return
	}
	if g.allJoined() {
		m.completeJoin(t, g)
		return
	}
	m.setJoinTimer(t, g, joinEnds, g.rebalanceTimeout())
}

func (m *Machine) setJoinTimer(t *turn, g *classic, kind timerKind, after int64) {
	g.joinTimer.kind = kind
	m.timers.set(&g.joinTimer, t.now+after)
}

// endSync answers a waiting SyncGroup. The session starts again: if it ended while the member waited, nobody watches
// the member any more.
func (m *Machine) endSync(t *turn, g *classic, member *member, r kmsg.SyncGroupResponse) {
	if member.sync.waits {
		g.answerSync(t, member, r)
		m.timers.set(&member.session, t.now+int64(member.sessionTimeout))
	}
}

// initialDelayEnded waits on while members keep coming, for as long as the rebalance timeout allows.
func (m *Machine) initialDelayEnded(t *turn, g *classic) {
	if !g.another || g.remaining == 0 {
		m.completeJoin(t, g)
		return
	}
	g.another = false
	delay := min(m.config.InitialRebalanceDelay.Milliseconds(), g.remaining)
	g.remaining = max(g.remaining-g.delay, 0)
	g.delay = delay
	m.setJoinTimer(t, g, initialEnds, delay)
}

// tryCompleteJoin ends the join phase if all have come. The first rebalance always waits for its delay.
func (m *Machine) tryCompleteJoin(t *turn, g *classic) {
	if g.state == preparingRebalance && g.previous != empty && g.allJoined() {
		m.completeJoin(t, g)
	}
}

// completeJoin begins the next generation with those who have joined, and static members who may still come.
func (m *Machine) completeJoin(t *turn, g *classic) {
	m.timers.stop(&g.joinTimer)
	for _, member := range slices.Clone(g.members) {
		if !member.join.waits && member.instanceID == nil {
			m.remove(t, g, member.id)
		}
	}
	if !g.electJoined() && len(g.members) > 0 {
		// Static members only, and none has come: wait for their sessions to end. The timeout may be 0.
		m.setJoinTimer(t, g, joinEnds, max(g.rebalanceTimeout(), time.Second.Milliseconds()))
		return
	}
	g.generation++
	if len(g.members) == 0 {
		g.protocol, g.leader = nil, ""
		g.topics = g.subscribedTopics()
		g.moveTo(empty, t.now)
		g.staged = stagedSoft
		t.writeClassic(g, metadataRecord(g, currentAssignment))
		return
	}
	chosen := g.vote()
	g.protocol = &chosen
	g.topics = g.subscribedTopics()
	g.moveTo(completingRebalance, t.now)
	for _, member := range g.members {
		g.answerJoin(t, member, g.generationFor(member, g.leader == member.id))
		m.timers.set(&member.session, t.now+int64(member.sessionTimeout))
		member.isNew = false
		member.owesSync = true
	}
	m.timers.set(&g.syncTimer, t.now+g.rebalanceTimeout())
}

// electJoined sees to it that the leader is a member that has joined; false if there is none.
func (g *classic) electJoined() bool {
	if l := g.byID[g.leader]; l != nil && l.join.waits {
		return true
	}
	for _, member := range g.members {
		if member.join.waits {
			g.leader = member.id
			return true
		}
	}
	return false
}

// sessionEnded removes a member that was not heard of.
func (m *Machine) sessionEnded(t *turn, g *classic, id string) {
	member := g.byID[id]
	if member != nil && member.alive() {
		return
	}
	if member != nil {
		t.event("group.session.expired", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "member", Value: id})
	}
	m.remove(t, g, id)
	m.removed(t, g, member != nil, "session of a member ended")
}

// removed lets the group go on without a member, or without a pending one.
func (m *Machine) removed(t *turn, g *classic, wasMember bool, reason string) {
	switch {
	case (g.state == stable || g.state == completingRebalance) && wasMember:
		m.prepareRebalance(t, g, reason)
	case g.state == preparingRebalance && g.allJoined():
		m.completeJoin(t, g)
	}
}
