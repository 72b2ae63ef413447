package group

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// refusedError is a Kafka error with the text that the client is to read.
type refusedError struct {
	code *kerr.Error
	text string
}

func refuse(code *kerr.Error, format string, args ...any) error {
	return &refusedError{code, fmt.Sprintf(format, args...)}
}

func (e *refusedError) Error() string { return e.text }
func (e *refusedError) Unwrap() error { return e.code }

// messageOf is the text of an error for clients; nil if it says no more than its code.
func messageOf(err error) *string {
	if r, ok := err.(*refusedError); ok {
		return &r.text
	}
	return nil
}

// consumerHeartbeat is ConsumerGroupHeartbeat (key 68, versions 0 and 1; KIP-848).
//
//   - Epoch 0 joins, -1 leaves, -2 leaves for a while (static members), others are the member's.
//   - What changes the member's subscription raises the group's epoch; the target follows the group's epoch, not more
//     often than the assignment interval allows; the member is then taken a step towards its target.
//   - The answer has the member's partitions when it joins, says all about itself, or has others than before.
//   - A member whose epoch or partitions cannot be right is fenced: it gives everything up and joins again. One with
//     the epoch before its own, and partitions that it may have, has missed an answer and goes on.
//   - Version 0 lets the coordinator choose the member's id. Version 1 has regular expressions.
func (m *Machine) consumerHeartbeat(t *turn, r *kmsg.ConsumerGroupHeartbeatRequest) {
	answer := &kmsg.ConsumerGroupHeartbeatResponse{Version: r.Version}
	err := m.checkConsumerHeartbeat(r)
	switch {
	case err != nil:
	case r.MemberEpoch == leaveEpoch || r.MemberEpoch == leaveStaticEpoch:
		err = m.consumerLeave(t, r, answer)
	default:
		err = m.consumerBeat(t, r, answer)
	}
	if err != nil {
		if len(t.out.Jobs) > 0 {
			delete(m.resolving, r.Group)
		}
		t.out = machine.Result[machine.Record]{}
		t.answer(&kmsg.ConsumerGroupHeartbeatResponse{Version: r.Version, ErrorCode: codeOf(err), ErrorMessage: messageOf(err)})
		return
	}
	t.answer(answer)
}

// checkConsumerHeartbeat refuses what no group could accept.
func (m *Machine) checkConsumerHeartbeat(r *kmsg.ConsumerGroupHeartbeatRequest) error {
	blank := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	switch {
	case (r.Version >= 1 || r.MemberEpoch > 0 || r.MemberEpoch == leaveEpoch) && blank(&r.MemberID):
		return refuse(kerr.InvalidRequest, "MemberId can't be empty.")
	case blank(&r.Group):
		return refuse(kerr.InvalidRequest, "GroupId can't be empty.")
	case blank(r.InstanceID):
		return refuse(kerr.InvalidRequest, "InstanceId can't be empty.")
	case blank(r.RackID):
		return refuse(kerr.InvalidRequest, "RackId can't be empty.")
	case r.MemberEpoch == 0 && r.RebalanceTimeoutMillis == -1:
		return refuse(kerr.InvalidRequest, "RebalanceTimeoutMs must be provided in first request.")
	case r.MemberEpoch == 0 && (r.Topics == nil || len(r.Topics) > 0):
		return refuse(kerr.InvalidRequest, "TopicPartitions must be empty when (re-)joining.")
	case r.MemberEpoch == 0 && r.SubscribedTopicNames == nil && r.SubscribedTopicRegex == nil:
		return refuse(kerr.InvalidRequest, "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case r.MemberEpoch == leaveStaticEpoch && r.InstanceID == nil:
		return refuse(kerr.InvalidRequest, "InstanceId can't be null.")
	case r.MemberEpoch < leaveStaticEpoch:
		return refuse(kerr.InvalidRequest, "MemberEpoch is invalid.")
	case r.ServerAssignor != nil && !slices.Contains(m.config.Assignors, *r.ServerAssignor):
		return refuse(kerr.UnsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.",
			*r.ServerAssignor, strings.Join(m.config.Assignors, ", "))
	}
	for _, s := range append(slices.Clone(r.SubscribedTopicNames), r.Group, r.MemberID, orEmpty(r.InstanceID), orEmpty(r.RackID), orEmpty(r.SubscribedTopicRegex)) {
		if len(s) > schema.MaxString {
			return refuse(kerr.InvalidRequest, "A string of %d bytes is longer than %d.", len(s), schema.MaxString)
		}
	}
	return nil
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// consumerFor finds the group, or the one that is to be: it is made when its records are applied.
func (m *Machine) consumerFor(t *turn, id string, join bool) (*consumer, error) {
	switch g := m.groups[id].(type) {
	case *consumer:
		return g, nil
	case nil:
		if !join {
			return nil, refuse(kerr.GroupIDNotFound, "Consumer group %s not found.", id)
		}
		return newConsumer(id), nil
	case *classic:
		switch {
		case !join:
		case g.state == empty:
			t.write(g.tombstones()...)
			return newConsumer(id), nil
		default:
			return m.upgraded(t, g)
		}
	}
	return nil, refuse(kerr.GroupIDNotFound, "Group %s is not a consumer group.", id)
}

func (m *Machine) consumerBeat(t *turn, r *kmsg.ConsumerGroupHeartbeatRequest, answer *kmsg.ConsumerGroupHeartbeatResponse) error {
	join := r.MemberEpoch == 0
	g, err := m.consumerFor(t, r.Group, join)
	if err != nil {
		return err
	}
	if err := m.checkSize(g, r.MemberID, r.InstanceID); err != nil {
		return err
	}
	id := r.MemberID
	if id == "" {
		id = t.uuid()
	}
	member, err := m.consumerMember(t, g, comer{id: id, instanceID: r.InstanceID, epoch: r.MemberEpoch, reported: r.Topics, join: join})
	if err != nil {
		return err
	}
	updated := *member
	updateFrom(&updated, r)
	updated.clientID, updated.clientHost, updated.classic = t.cmd.Client.ID, t.cmd.Client.Host, nil

	change := m.changeMember(t, g, member, &updated)
	if change.err != nil {
		return change.err
	}
	// A target that was taken over from a classic group is its leader's last, which may be older than its members or its
	// topics. Kafka takes it as it is if the member that comes brings no topics (a regular expression, an instance id).
	from, _ := m.groups[r.Group].(*classic)
	bump := change.names || change.regex == regexReplaced || from != nil && len(g.members) > 0
	epoch, subs := m.refresh(t, g, bump, member, &updated)
	targetEpoch, target := m.targetOfMember(t, g, epoch, member, &updated, subs)
	final, err := m.reconcile(t, g, &updated, targetEpoch, target, change.names || change.regex != regexSame, r.Topics)
	if err != nil {
		return err
	}
	m.setClock(memberSessionEnds, g.id, id, t.now+m.sessionTimeout(t, g.id))

	if from != nil {
		m.release(t, from)
	}
	answer.MemberID, answer.MemberEpoch = &final.id, final.epoch
	answer.HeartbeatIntervalMillis = int32(min(m.intervalFor(t, g, final, epoch, targetEpoch), math.MaxInt32))
	full := r.RebalanceTimeoutMillis != -1 && (r.SubscribedTopicNames != nil || r.SubscribedTopicRegex != nil) && r.Topics != nil
	if join || full || !final.assigned.equal(member.assigned) {
		answer.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{}
		for _, tp := range final.assigned {
			answer.Assignment.Topics = append(answer.Assignment.Topics,
				kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{TopicID: tp.topic, Partitions: tp.partitions})
		}
	}
	return nil
}

func updateFrom(m *consumerMember, r *kmsg.ConsumerGroupHeartbeatRequest) {
	if r.InstanceID != nil {
		m.instanceID = r.InstanceID
	}
	if r.RackID != nil {
		m.rackID = r.RackID
	}
	if r.RebalanceTimeoutMillis != -1 {
		m.rebalanceTimeout = r.RebalanceTimeoutMillis
	}
	if r.ServerAssignor != nil {
		m.assignor = r.ServerAssignor
	}
	if r.SubscribedTopicNames != nil {
		m.topics = distinctSorted(r.SubscribedTopicNames)
	}
	if r.SubscribedTopicRegex != nil {
		m.regex = *r.SubscribedTopicRegex
	}
}

// soonerMembers is for how many members the shorter interval is meant: for twice as many it is twice as long, so that the
// heartbeats of a group are no more than so many in it.
const soonerMembers = 1000

// intervalFor is when the member shall come again. A member that waits for others, or that others wait for, is asked to
// come sooner (Config.ReconcilingHeartbeat). So are all for an interval after a change: members seldom come alone, and what one
// has to give up for the next it hears at a heartbeat.
func (m *Machine) intervalFor(t *turn, g *consumer, member *consumerMember, epoch, targetEpoch int32) int64 {
	interval := m.heartbeatInterval(t, g.id)
	sooner := m.config.ReconcilingHeartbeat.Milliseconds() * int64(1+len(g.members)/soonerMembers)
	if sooner <= 0 || sooner >= interval {
		return interval
	}
	if epoch > g.epoch || t.now-g.movedAt < interval {
		return sooner
	}
	others, settled := len(g.members)-g.away, g.settled[targetEpoch]
	if old := g.members[member.id]; old != nil {
		if others--; old.reconciledTo(targetEpoch) {
			settled--
		}
	}
	if epoch > targetEpoch || !member.reconciledTo(targetEpoch) || settled < others {
		return sooner
	}
	return interval
}

// checkSize refuses members beyond group.consumer.max.size. A static member that is there does not change the size.
func (m *Machine) checkSize(g *consumer, memberID string, instanceID *string) error {
	if instanceID != nil && g.staticMember(*instanceID) != nil {
		return nil
	}
	if len(g.members) >= m.config.ConsumerMaxSize && (memberID == "" || g.members[memberID] == nil) {
		return refuse(kerr.GroupMaxSizeReached, "The consumer group has reached its maximum capacity of %d members.", m.config.ConsumerMaxSize)
	}
	return nil
}

// comer is who sent a request to a group.
type comer struct {
	id         string
	instanceID *string
	epoch      int32
	reported   []kmsg.ConsumerGroupHeartbeatRequestTopic
	join       bool // it may be new
	classic    bool // it speaks the classic protocol
}

// consumerMember finds the member, or makes one for who joins.
func (m *Machine) consumerMember(t *turn, g *consumer, c comer) (*consumerMember, error) {
	if c.instanceID != nil {
		return m.consumerStatic(t, g, c)
	}
	member := g.members[c.id]
	if member == nil {
		if !c.join {
			return g.member(c.id)
		}
		member = newConsumerMember(c.id)
	}
	return member, c.checkEpoch(member)
}

// consumerStatic lets a static member take the place of an earlier one under its instance id. Where both speak the
// consumer protocol, that one has to have left (KIP-848).
func (m *Machine) consumerStatic(t *turn, g *consumer, c comer) (*consumerMember, error) {
	old := g.staticMember(*c.instanceID)
	switch {
	case c.join && old == nil:
		if member := g.members[c.id]; member != nil {
			return member, nil
		}
		return newConsumerMember(c.id), nil
	case c.join:
		if !c.classic && old.classic == nil && old.epoch != leaveStaticEpoch {
			return nil, refuse(kerr.UnreleasedInstanceID, "Static member %s with instance id %s cannot join the group because the instance id is owned by %s member.",
				c.id, *c.instanceID, old.id)
		}
		member := *old
		member.id, member.epoch, member.previous = c.id, 0, 0
		t.write(memberTombstones(g.id, old.id)...)
		t.write(memberRecord(g.id, &member), targetRecord(g.id, c.id, g.targets[old.id]), currentRecord(g.id, &member))
		return &member, nil
	}
	if err := checkStatic(old, c.id, *c.instanceID); err != nil {
		return nil, err
	}
	return old, c.checkEpoch(old)
}

// checkStatic fences who uses the id of a static member that was replaced.
func checkStatic(member *consumerMember, id, instanceID string) error {
	if member == nil {
		return refuse(kerr.UnknownMemberID, "Instance id %s is unknown.", instanceID)
	}
	if member.id != id {
		return refuse(kerr.FencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", id, instanceID, member.id)
	}
	return nil
}

func (c comer) checkEpoch(m *consumerMember) error {
	switch {
	case c.classic || c.epoch == 0 || c.epoch == m.epoch:
		return nil
	case c.epoch > m.epoch:
		return refuse(kerr.FencedMemberEpoch, "The consumer group member has a greater member epoch (%d) than the one known by "+
			"the group coordinator (%d). The member must abandon all its partitions and rejoin.", c.epoch, m.epoch)
	case c.epoch != m.previous || !m.assigned.contains(c.reported):
		return refuse(kerr.FencedMemberEpoch, "The consumer group member has a smaller member epoch (%d) than the one known by "+
			"the group coordinator (%d). The member must abandon all its partitions and rejoin.", c.epoch, m.epoch)
	}
	return nil
}

// change is what an update of a member means to the group.
type change struct {
	names bool // other topics by name
	regex regexChange
	err   error
}

// changeMember writes the member if it changed.
func (m *Machine) changeMember(t *turn, g *consumer, member, updated *consumerMember) change {
	var c change
	if !updated.sameMetadata(member) {
		t.write(memberRecord(g.id, updated))
		c.names = !slices.Equal(updated.topics, member.topics)
	}
	c.regex, c.err = m.changeRegex(t, g, member, updated)
	return c
}

// refresh raises the group's epoch if bump says so, or if the metadata of the topics are not those that the target was
// worked out with. It gives the epoch and the subscriptions as they will be.
func (m *Machine) refresh(t *turn, g *consumer, bump bool, member, updated *consumerMember) (int32, subscriptions) {
	epoch := g.epoch
	if !bump && g.checked && g.epoch >= g.checkedAt {
		return epoch, subscriptions{}
	}
	subs := g.with(member, updated)
	hash := m.groupHash(t.Image, subs.topics())
	if bump || hash != g.hash {
		epoch++
		t.write(epochRecord(g.id, epoch, hash))
		t.event("group.rebalance", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "epoch", Value: epoch})
	}
	g.checked, g.checkedAt = true, epoch
	if g.oldSubscription {
		t.write(oldSubscriptionTombstone(g.id))
	}
	return epoch, subs
}

// targetOfMember is the member's target and its epoch, after a new one is worked out where it is due.
func (m *Machine) targetOfMember(t *turn, g *consumer, epoch int32, member, updated *consumerMember, subs subscriptions) (int32, assignment) {
	if g.targetEpoch >= epoch || !m.canAssign(t, g) {
		return g.targetEpoch, g.targetFor(updated)
	}
	if subs.byName == nil {
		subs = g.with(member, updated)
	}
	return epoch, m.assignTarget(t, g, epoch, member, updated, subs)
}

// reconcile takes the member a step towards its target, writes it, and watches that it gives partitions up in time.
func (m *Machine) reconcile(t *turn, g *consumer, member *consumerMember, targetEpoch int32, target assignment, changed bool,
	reported []kmsg.ConsumerGroupHeartbeatRequestTopic) (*consumerMember, error) {
	if !changed && member.reconciledTo(targetEpoch) {
		return member, nil
	}
	r := reconciliation{targetEpoch: targetEpoch, target: target, subscribed: g.subscribedIDs(t.Image, member),
		changed: changed, owner: g.owner, reported: reported}
	next, err := r.step(member)
	if err != nil {
		return nil, err
	}
	if next.sameCurrent(member) {
		return next, nil
	}
	t.write(currentRecord(g.id, next))
	if next.classic == nil {
		if next.state == memberUnrevoked {
			m.setRebalanceClock(t, g.id, next)
		} else {
			m.stopClock(memberRevokesTooLong, g.id, next.id)
		}
	}
	return next, nil
}

// subscribedIDs are the ids of the topics that a member is subscribed to. An expression that is not resolved has none.
func (g *consumer) subscribedIDs(image imageTopics, m *consumerMember) map[schema.UUID]struct{} {
	if r := g.resolved[m.regex]; r != nil && m.regex != "" {
		return topicIDs(image, m.topics, r.topics)
	}
	return topicIDs(image, m.topics)
}

func topicIDs(image imageTopics, lists ...[]string) map[schema.UUID]struct{} {
	ids := map[schema.UUID]struct{}{}
	for _, names := range lists {
		for _, name := range names {
			if t, ok := image.Topic(name); ok {
				ids[t.ID] = struct{}{}
			}
		}
	}
	return ids
}
