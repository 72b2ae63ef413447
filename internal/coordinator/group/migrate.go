package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// A group changes its kind while its members work (group.consumer.migration.policy). The first member that comes with
// the consumer protocol makes a classic group a consumer group, in which the others go on with the classic protocol
// (see classic_member.go) until they are restarted one by one. When the last member of the consumer protocol is gone,
// the group is a classic one again. Empty groups change their kind always.

// MigrationPolicy says which way groups with members may change their kind.
type MigrationPolicy int8

// The policies; the zero value is Kafka's default.
const (
	MigrateBoth MigrationPolicy = iota
	MigrateNone
	MigrateUp   // classic to consumer
	MigrateDown // consumer to classic
)

func (p MigrationPolicy) up() bool   { return p == MigrateBoth || p == MigrateUp }
func (p MigrationPolicy) down() bool { return p == MigrateBoth || p == MigrateDown }

// upgraded writes a classic group as a consumer group, and gives it as it will be when that is applied. Its members
// keep their generation as epoch and their assignment as target; the one that comes then changes both.
func (m *Machine) upgraded(t *turn, c *classic) (*consumer, error) {
	refused := func(why string) (*consumer, error) {
		return nil, refuse(kerr.GroupIDNotFound, "Cannot upgrade classic group %s to consumer group because %s", c.id, why)
	}
	switch {
	case !m.config.MigrationPolicy.up():
		return refused("online upgrade is disabled.")
	case c.protocolType != consumerProtocol:
		return refused("the group does not use the consumer embedded protocol.")
	case len(c.members) > m.config.ConsumerMaxSize:
		return refused("the group size exceeds the consumer group maximum size.")
	}
	protocol := c.protocolName()
	if protocol == "" {
		protocol = c.vote() // the first generation has not begun yet
	}
	members := make([]*consumerMember, 0, len(c.members))
	owned := make([][]kmsg.ConsumerMemberAssignmentTopic, 0, len(c.members))
	for _, o := range c.members {
		sub, err := parseSubscription(o.metadata(protocol))
		if err != nil {
			return refused("the embedded consumer protocol is malformed.")
		}
		assigned, custom, err := parseAssignment(o.assignment, t.Image)
		switch {
		case err != nil:
			return refused("the embedded consumer protocol is malformed.")
		case custom:
			return refused("an unsupported custom assignor is in use. " +
				"Please refer to the documentation or switch to a default assignor before re-attempting the upgrade.")
		}
		owned = append(owned, sub.owned)
		members = append(members, &consumerMember{
			id: o.id, epoch: c.generation, previous: c.generation, state: memberStable, instanceID: o.instanceID, rackID: sub.rack,
			rebalanceTimeout: o.rebalanceTimeout, clientID: o.clientID, clientHost: o.clientHost, topics: distinctSorted(sub.topics),
			assigned: assigned.withEpoch(c.generation), classic: classicMetadata(o.sessionTimeout, o.protocols),
		})
	}
	keepOwned(members, owned, t.Image)
	targets := map[string]assignment{}
	for _, o := range members {
		targets[o.id] = o.assigned.withoutEpochs()
	}
	slices.SortFunc(members, func(a, b *consumerMember) int { return compareStrings(a.id, b.id) })
	t.write(c.tombstones()...)
	return m.writeUpgraded(t, c, members, targets)
}

// keepOwned gives members what they said at their last JoinGroup that they own, where it is nobody's. While a classic
// group rebalances, members that rebalance cooperatively go on with partitions that no assignment tells of:
//
//	a owns p and joins (owned: p); the generation is not synced, for b joins, and its assignments are forgotten;
//	c comes with the consumer protocol: p seems free and becomes c's, and a has it, too.
//
// Counted as a's, it is free when a joins again without it. Apache's coordinator looks at assignments only.
func keepOwned(members []*consumerMember, owned [][]kmsg.ConsumerMemberAssignmentTopic, image *metadata.Image) {
	claimed := assignmentBuilder{}
	for _, o := range members {
		claimed.addAll(o.assigned)
	}
	for i, o := range members {
		had := assignmentBuilder{}
		had.addAll(o.assigned)
		for _, tp := range owned[i] {
			topic, ok := image.Topic(tp.Topic)
			if !ok {
				continue
			}
			for _, p := range tp.Partitions {
				if _, taken := claimed[topic.ID][p]; !taken {
					claimed.add(topic.ID, p, o.epoch)
					had.add(topic.ID, p, o.epoch)
				}
			}
		}
		o.assigned = had.owned()
	}
}

func (m *Machine) writeUpgraded(t *turn, c *classic, members []*consumerMember, targets map[string]assignment) (*consumer, error) {
	var topics []string
	for _, o := range members {
		topics = append(topics, o.topics...)
		m.setClock(memberSessionEnds, c.id, o.id, t.now+int64(o.classic.SessionTimeoutMillis))
	}
	from := len(t.out.Records)
	for _, o := range members {
		t.write(memberRecord(c.id, o))
	}
	t.write(epochRecord(c.id, c.generation, m.groupHash(t.Image, distinctSorted(topics))))
	for _, o := range members {
		t.write(targetRecord(c.id, o.id, targets[o.id]))
	}
	t.write(targetEpochRecord(c.id, c.generation, 0))
	for _, o := range members {
		t.write(currentRecord(c.id, o))
	}
	g := newConsumer(c.id)
	for _, r := range t.out.Records[from:] {
		key, value, err := decodeConsumer(r)
		if err != nil {
			return nil, err
		}
		g.apply(key, value)
	}
	return g, nil
}

// release answers those that wait in a classic group that becomes a consumer group: they join again, in that.
func (m *Machine) release(t *turn, c *classic) {
	for _, o := range c.members {
		c.answerJoin(t, o, kmsg.JoinGroupResponse{ErrorCode: kerr.RebalanceInProgress.Code, Generation: -1, MemberID: o.id})
		m.endSync(t, c, o, kmsg.SyncGroupResponse{ErrorCode: kerr.RebalanceInProgress.Code})
	}
}

func classicMetadata(session int32, protocols []kmsg.JoinGroupRequestProtocol) *schema.ClassicMemberMetadata {
	c := &schema.ClassicMemberMetadata{SessionTimeoutMillis: session}
	for _, p := range protocols {
		c.SupportedProtocols = append(c.SupportedProtocols, schema.ClassicProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	return c
}

// mayDowngrade says that the group becomes a classic one when the members are gone.
func (m *Machine) mayDowngrade(g *consumer, leaving []*consumerMember) bool {
	stay, classics := len(g.members)-len(leaving), g.classics
	for _, o := range leaving {
		if o.classic != nil {
			classics--
		}
	}
	return stay > 0 && classics == stay && m.config.MigrationPolicy.down() && stay <= m.config.MaxSize
}

// mayDowngradeBy says that the group becomes a classic one when the static member is replaced by a classic one.
func (m *Machine) mayDowngradeBy(g *consumer, replaced *consumerMember) bool {
	return replaced != nil && replaced.classic == nil && g.classics == len(g.members)-1 &&
		m.config.MigrationPolicy.down() && len(g.members) <= m.config.MaxSize
}

// downgrade writes the group as a classic one, without those that leave. joining takes the place of a static member;
// its own records are written already. The group lives on when the records are applied (see downgraded).
//
// Each member's assignment is what it has or has still to give up. Apache's coordinator writes the targets. But the group
// may become a consumer group again before its members have joined:
//
//	a has p, its target has not; the last member of the consumer protocol leaves, and the group is a classic one;
//	b comes with the consumer protocol: going by a's target p is free and becomes b's, and a has it, too.
//
// So it rebalances, too, if somebody is not where its target is.
func (m *Machine) downgrade(t *turn, g *consumer, leaving []*consumerMember, joining *consumerMember, rebalance bool) error {
	replaced := ""
	if joining != nil {
		replaced = g.static[*joining.instanceID]
	}
	ids := g.memberIDs()
	c := newClassic(g.id, t.now)
	c.protocolType, c.generation = consumerProtocol, g.epoch
	has := map[string]assignment{}
	add := func(o *consumerMember) {
		has[o.id] = o.owned()
		rebalance = rebalance || !o.reconciledTo(g.targetEpoch)
		c.add(&member{
			id: o.id, instanceID: o.instanceID, clientID: o.clientID, clientHost: o.clientHost, rebalanceTimeout: o.rebalanceTimeout,
			sessionTimeout: o.classic.SessionTimeoutMillis, protocols: joinProtocols(o.classic),
		})
	}
	for i, id := range ids {
		switch {
		case id == replaced:
			ids[i] = joining.id
		case !slices.Contains(leaving, g.members[id]):
			add(g.members[id])
		}
	}
	if joining != nil {
		add(joining)
	}
	t.write(consumerTombstones(g.id, ids, slices.Sorted(maps.Keys(g.resolved)))...)

	chosen := c.vote()
	c.protocol = &chosen
	if rebalance {
		c.leader = "" // see classic.stale
	}
	t.write(metadataRecord(c, func(o *member) []byte {
		version, _ := subscriptionVersion(o.metadata(chosen))
		return assignmentBytes(version, has[o.id], t.Image)
	}))
	m.setClock(groupDowngraded, g.id, "", t.now)
	t.event("group.downgraded", machine.Attr{Key: "group", Value: g.id})
	return nil
}

// downgraded gives a group that has become a classic one what has no place in the log, once it has been applied.
func (m *Machine) downgraded(t *turn, id string) {
	c, _ := m.groups[id].(*classic)
	if c == nil || c.state != stable {
		return
	}
	m.startClassic(t, c)
}

// startClassic begins the sessions of a group that a record brought, and its rebalance if it wants one.
func (m *Machine) startClassic(t *turn, c *classic) {
	for _, o := range c.members {
		m.timers.set(&o.session, t.now+int64(o.sessionTimeout))
	}
	switch {
	case c.stale:
		c.stale = false
		m.prepareRebalance(t, c, "the last member of the consumer protocol is gone")
	case len(c.members) > m.config.MaxSize:
		// The limit was lowered. Members rejoin, those over the limit are turned away, all can commit before.
		m.prepareRebalance(t, c, "loaded group is over group.max.size")
	}
}

func joinProtocols(c *schema.ClassicMemberMetadata) []kmsg.JoinGroupRequestProtocol {
	var out []kmsg.JoinGroupRequestProtocol
	for _, p := range c.SupportedProtocols {
		out = append(out, kmsg.JoinGroupRequestProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	return out
}

// assignmentBytes is what the classic protocol's members read their partitions from.
func assignmentBytes(version int16, a assignment, image *metadata.Image) []byte {
	v := kmsg.ConsumerMemberAssignment{Version: version, Topics: a.named(image)}
	return v.AppendTo(nil)
}
