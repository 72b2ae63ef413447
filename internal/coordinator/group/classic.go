package group

import (
	"bytes"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// state is where a classic group is; the names are those of the protocol.
type state string

// The states. Dead is only ever told about groups that do not exist.
const (
	empty               state = "Empty"
	preparingRebalance  state = "PreparingRebalance"
	completingRebalance state = "CompletingRebalance"
	stable              state = "Stable"
	dead                state = "Dead"
)

// consumerProtocol is the protocol type of Kafka's consumers, whose subscriptions can be read.
const consumerProtocol = "consumer"

// staged says what Apply finds in memory when the group's record comes back from the log.
type staged int8

const (
	stagedNothing staged = iota // the record is news: it is being loaded
	stagedSoft                  // the group is already what the record says
	stagedStable                // the record ends the rebalance: its assignments are the group's
)

// classic is a group of the classic protocol. All fields change in Handle, but for what the leader's SyncGroup brings
// (see becomeStable).
type classic struct {
	id       string
	state    state
	previous state
	since    int64 // ms of the last change of state, -1 if an old record did not say

	protocolType string  // "" for a simple group
	protocol     *string // the one chosen for this generation
	generation   int32
	leader       string // member id, "" for none

	members []*member // in the order in which they joined
	byID    map[string]*member
	static  map[string]string // instance id -> member id
	pending map[string]*timer // member ids given out and not seen yet, with their sessions (KIP-394)
	support map[string]int    // protocol -> members that know it
	joining int               // members that wait in a JoinGroup

	topics map[string]struct{} // what the members consume; nil if that is not known

	joinTimer, syncTimer timer
	// The initial rebalance: the delay that runs, what is left of the rebalance timeout after it, and whether another
	// member came meanwhile, which makes it wait again.
	delay, remaining int64
	another          bool

	// durable says that something in the log makes the group exist.
	durable bool
	// replaced removes the empty consumer group that the log may still hold under the id.
	replaced []machine.Record
	staged   staged
	// stale says that the group was a consumer group, whose members have not what they shall have: it has to rebalance.
	// In the log such a group has members and no leader, so that a new coordinator knows.
	stale bool
}

func newClassic(id string, now int64) *classic {
	g := &classic{
		id: id, state: empty, previous: dead, since: now,
		byID: map[string]*member{}, static: map[string]string{}, pending: map[string]*timer{}, support: map[string]int{},
	}
	g.joinTimer.group, g.syncTimer.group, g.syncTimer.kind = g, g, syncEnds
	return g
}

// loadedGroup makes the group that a record describes.
func loadedGroup(id string, v *kmsg.GroupMetadataValue) *classic {
	g := newClassic(id, v.CurrentStateTimestamp)
	g.durable = true
	g.protocolType, g.protocol, g.generation = v.ProtocolType, v.Protocol, v.Generation
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	if len(v.Members) > 0 {
		g.state = stable
		g.stale = v.Leader == nil
	}
	for _, r := range v.Members {
		if g.byID[r.MemberID] != nil {
			continue
		}
		m := &member{
			id: r.MemberID, instanceID: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			rebalanceTimeout: r.RebalanceTimeoutMillis, sessionTimeout: r.SessionTimeoutMillis, assignment: bytes.Clone(r.Assignment),
			protocols: []kmsg.JoinGroupRequestProtocol{{Name: g.protocolName(), Metadata: bytes.Clone(r.Subscription)}},
		}
		if m.rebalanceTimeout == -1 {
			m.rebalanceTimeout = m.sessionTimeout
		}
		g.add(m)
	}
	g.topics = g.subscribedTopics()
	return g
}

// becomeStable ends the rebalance with what the leader assigned, now that it is in the log.
func (g *classic) becomeStable(v *kmsg.GroupMetadataValue) {
	for _, r := range v.Members {
		if m := g.byID[r.MemberID]; m != nil {
			m.assignment = bytes.Clone(r.Assignment)
		}
	}
	g.durable = true
	g.moveTo(stable, v.CurrentStateTimestamp)
}

func (g *classic) moveTo(s state, now int64) {
	g.previous, g.state, g.since = g.state, s, now
}

// nullableType is the protocol type as responses have it. It is a copy: responses outlive the turn.
func (g *classic) nullableType() *string {
	if g.protocolType == "" {
		return nil
	}
	protocolType := g.protocolType
	return &protocolType
}

func (g *classic) protocolName() string {
	if g.protocol == nil {
		return ""
	}
	return *g.protocol
}

// add takes a member in. The caller has checked that its protocols fit.
func (g *classic) add(m *member) {
	if m.instanceID != nil {
		g.static[*m.instanceID] = m.id
	}
	if g.leader == "" {
		g.leader = m.id
	}
	m.session.kind, m.session.group, m.session.member = sessionEnds, g, m.id
	g.members = append(g.members, m)
	g.byID[m.id] = m
	g.countProtocols(m, 1)
	if m.join.waits {
		g.joining++
	}
}

func (g *classic) countProtocols(m *member, n int) {
	for _, p := range m.protocols {
		if g.support[p.Name] += n; g.support[p.Name] == 0 {
			delete(g.support, p.Name)
		}
	}
}

// remove takes a member out, or a pending member id. Whoever still waits for the member is told that it is unknown.
func (m *Machine) remove(t *turn, g *classic, id string) {
	if p := g.pending[id]; p != nil {
		m.timers.stop(p)
		delete(g.pending, id)
	}
	mem := g.byID[id]
	if mem == nil {
		return
	}
	g.answerJoin(t, mem, kmsg.JoinGroupResponse{ErrorCode: kerr.UnknownMemberID.Code, Generation: -1})
	g.answerSync(t, mem, kmsg.SyncGroupResponse{ErrorCode: kerr.UnknownMemberID.Code})
	m.timers.stop(&mem.session)
	g.countProtocols(mem, -1)
	delete(g.byID, id)
	if mem.instanceID != nil && g.static[*mem.instanceID] == id {
		delete(g.static, *mem.instanceID)
	}
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == mem })
	if g.leader == id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// supports says that a member with these protocols can be in the group.
func (g *classic) supports(protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == empty {
		return protocolType != "" && len(protocols) > 0
	}
	return g.protocolType == protocolType && g.protocolType != "" &&
		slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return g.support[p.Name] == len(g.members) })
}

// vote chooses the protocol: each member votes for the first of its own that all know, most votes win. Between equals
// the current one wins, so that nobody rebalances without need, then the one that the longer member voted for.
func (g *classic) vote() string {
	votes := map[string]int{}
	var order []string
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.support[p.Name] == len(g.members) {
				if votes[p.Name]++; votes[p.Name] == 1 {
					order = append(order, p.Name)
				}
				break
			}
		}
	}
	best := g.protocolName()
	for _, name := range order {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// allJoined says that nobody is missing who may still come.
func (g *classic) allJoined() bool { return g.joining == len(g.members) && len(g.pending) == 0 }

// owesSync says that a member that joined this generation has not synced.
func (g *classic) owesSync() bool {
	return slices.ContainsFunc(g.members, func(m *member) bool { return m.owesSync })
}

func (g *classic) rebalanceTimeout() int64 {
	var longest int32
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return int64(longest)
}

// subscribedTopics reads the members' subscriptions; nil if they cannot be read.
func (g *classic) subscribedTopics() map[string]struct{} {
	if g.protocolType != consumerProtocol {
		return nil
	}
	topics := map[string]struct{}{}
	if len(g.members) > 0 && g.protocol == nil {
		return nil
	}
	for _, m := range g.members {
		names, err := subscription(m.metadata(g.protocolName()))
		if err != nil {
			return nil
		}
		for _, name := range names {
			topics[name] = struct{}{}
		}
	}
	return topics
}

// validate checks that a member is who it says (KIP-345: a static member is fenced by the one that took its place).
func (g *classic) validate(memberID string, instanceID *string) *kerr.Error {
	if instanceID != nil {
		current, ok := g.static[*instanceID]
		if !ok {
			return kerr.UnknownMemberID
		}
		if current != memberID {
			return kerr.FencedInstanceID
		}
	}
	if g.byID[memberID] == nil {
		return kerr.UnknownMemberID
	}
	return nil
}

func (g *classic) check(a access) error {
	switch a.verb {
	case commitOffsets, commitTransaction:
		return g.checkCommit(a)
	case deleteOffsets:
		if g.state != empty && g.protocolType != consumerProtocol {
			return kerr.NonEmptyGroup
		}
	case deleteGroup:
		if g.state != empty {
			return kerr.NonEmptyGroup
		}
	}
	return nil
}

func (g *classic) checkCommit(a access) error {
	transactional := a.verb == commitTransaction
	switch {
	case a.generation < 0 && g.state == empty:
		// An admin client, or a consumer that assigns partitions itself.
		return nil
	case a.generation >= 0 || a.memberID != "" || a.instanceID != nil:
		if err := g.validate(a.memberID, a.instanceID); err != nil {
			return err
		}
		if a.generation != g.generation {
			return kerr.IllegalGeneration
		}
	case !transactional && g.state != empty:
		return kerr.UnknownMemberID
	}
	if !transactional && g.state == completingRebalance {
		// The member knows the new generation but not yet its assignment.
		return kerr.RebalanceInProgress
	}
	return nil
}

func (g *classic) subscribes(topic string) bool {
	if g.topics == nil {
		return g.protocolType == consumerProtocol
	}
	_, ok := g.topics[topic]
	return ok
}

func (g *classic) expiry() (func(offset) int64, bool) {
	byCommit := func(o offset) int64 { return o.committed }
	switch {
	case g.protocolType == "":
		return byCommit, true
	case g.state == empty:
		if g.since == -1 {
			return byCommit, true
		}
		return func(offset) int64 { return g.since }, true
	case g.protocolType == consumerProtocol && g.topics != nil && g.state == stable:
		return byCommit, true
	}
	return nil, false
}

func (g *classic) listed() kmsg.ListGroupsResponseGroup {
	return kmsg.ListGroupsResponseGroup{Group: g.id, ProtocolType: g.protocolType, GroupState: string(g.state), GroupType: "classic"}
}

func (g *classic) tombstones() []machine.Record {
	return append(slices.Clip(g.replaced), groupTombstone(g.id))
}

// writeClassic writes the group's metadata, behind what removes the consumer group that it took the place of.
func (t *turn) writeClassic(g *classic, r machine.Record) {
	t.write(g.replaced...)
	t.write(r)
}
