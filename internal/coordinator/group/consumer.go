package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// The states of a consumer group, beside empty and stable.
const (
	assigning   state = "Assigning"   // the target is older than the group
	reconciling state = "Reconciling" // members are on their way to the target
)

// consumer is a group of the consumer protocol (KIP-848). All fields but the last change in Apply only.
//
// There are three epochs. The group's epoch rises when something changes that the assignment depends on; the target's
// epoch is the group's epoch that it was worked out for; each member's epoch is that of the target that it follows.
type consumer struct {
	id    string
	epoch int32
	hash  int64 // of the metadata of the topics subscribed to, see topicHash
	// movedAt is when the epoch was raised, in ms.
	movedAt int64

	members map[string]*consumerMember
	static  map[string]string // instance id -> member id

	targetEpoch int32
	targetAt    int64 // ms, 0 if not known
	targets     map[string]assignment

	// owners holds who has a partition, or has still to give it up.
	owners map[schema.UUID]map[int32]string

	// What follows is counted from the members.
	byName  map[string]int // topic -> members that name it
	byRegex map[string]int // topic -> resolved regular expressions that match it
	regexes map[string]int // regular expression -> members
	// resolved are the topics that regular expressions match; a new one has none until its job is done.
	resolved  map[string]*resolvedRegex
	assignors map[string]int // named by members
	protocols map[string]int // classic protocol -> members of the classic protocol that support it
	classics  int            // members of the classic protocol
	settled   map[int32]int  // epoch -> members in it that are stable
	away      int            // static members that left and may come back

	oldSubscription bool // there is a record of kind 4 in the log

	// checked says that hash was compared with the image when the group had the epoch checkedAt. It is soft: a change
	// of a topic's metadata resets it. If the append of what was found failed, the epoch is behind checkedAt.
	checked   bool
	checkedAt int32
}

// resolvedRegex is what a regular expression matched in an image.
type resolvedRegex struct {
	topics []string // sorted
	image  int64    // offset of the image
	at     int64    // ms
}

func newConsumer(id string) *consumer {
	return &consumer{
		id: id, epoch: 1, targetEpoch: 1,
		members: map[string]*consumerMember{}, static: map[string]string{}, targets: map[string]assignment{},
		owners: map[schema.UUID]map[int32]string{}, byName: map[string]int{}, byRegex: map[string]int{},
		regexes: map[string]int{}, resolved: map[string]*resolvedRegex{}, assignors: map[string]int{},
		protocols: map[string]int{}, settled: map[int32]int{},
	}
}

// put takes a member in, in place of what it was.
func (g *consumer) put(m *consumerMember) {
	g.uncount(g.members[m.id])
	g.members[m.id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = m.id
	}
	g.count(m, 1)
	for _, tp := range slices.Concat(m.assigned, m.revoking) {
		if g.owners[tp.topic] == nil {
			g.owners[tp.topic] = map[int32]string{}
		}
		for _, p := range tp.partitions {
			g.owners[tp.topic][p] = m.id
		}
	}
}

func (g *consumer) removeMember(id string) {
	m := g.members[id]
	if m == nil {
		return
	}
	g.uncount(m)
	delete(g.members, id)
	if m.instanceID != nil && g.static[*m.instanceID] == id {
		delete(g.static, *m.instanceID)
	}
}

func (g *consumer) uncount(m *consumerMember) {
	if m == nil {
		return
	}
	g.count(m, -1)
	for _, tp := range slices.Concat(m.assigned, m.revoking) {
		partitions := g.owners[tp.topic]
		for _, p := range tp.partitions {
			if partitions[p] == m.id {
				delete(partitions, p)
			}
		}
		if len(partitions) == 0 {
			delete(g.owners, tp.topic)
		}
	}
}

func (g *consumer) count(m *consumerMember, n int) {
	for _, topic := range m.topics {
		tally(g.byName, topic, n)
	}
	if m.regex != "" {
		tally(g.regexes, m.regex, n)
	}
	if m.assignor != nil {
		tally(g.assignors, *m.assignor, n)
	}
	if m.classic != nil {
		g.classics += n
		for _, p := range m.classic.SupportedProtocols {
			tally(g.protocols, p.Name, n)
		}
	}
	if m.state == memberStable {
		tally(g.settled, m.epoch, n)
	}
	if m.away() {
		g.away += n
	}
}

func tally[K comparable](counts map[K]int, key K, n int) {
	if counts[key] += n; counts[key] <= 0 {
		delete(counts, key)
	}
}

// resolve replaces what a regular expression matches; nil removes it.
func (g *consumer) resolve(regex string, r *resolvedRegex) {
	if old := g.resolved[regex]; old != nil {
		for _, topic := range old.topics {
			tally(g.byRegex, topic, -1)
		}
		delete(g.resolved, regex)
	}
	if r != nil {
		g.resolved[regex] = r
		for _, topic := range r.topics {
			tally(g.byRegex, topic, 1)
		}
	}
}

func (g *consumer) owner(topic schema.UUID, partition int32) string {
	return g.owners[topic][partition]
}

// targetFor is the target of a member; a static member that comes back has that of the one it replaces.
func (g *consumer) targetFor(m *consumerMember) assignment {
	if m.instanceID == nil {
		return g.targets[m.id]
	}
	if id, ok := g.static[*m.instanceID]; ok {
		return g.targets[id]
	}
	return nil
}

func (g *consumer) staticMember(instanceID string) *consumerMember {
	if id, ok := g.static[instanceID]; ok {
		return g.members[id]
	}
	return nil
}

func (g *consumer) memberIDs() []string { return slices.Sorted(maps.Keys(g.members)) }

// member finds a member by its id.
func (g *consumer) member(id string) (*consumerMember, error) { return findMember(g.id, g.members, id) }

// findMember finds a member of a group of the newer kinds.
func findMember[M any](group string, members map[string]*M, id string) (*M, error) {
	if m := members[id]; m != nil {
		return m, nil
	}
	return nil, refuse(kerr.UnknownMemberID, "Member %s is not a member of group %s.", id, group)
}

func (g *consumer) state() state {
	switch {
	case len(g.members) == 0:
		return empty
	case g.epoch > g.targetEpoch:
		return assigning
	case g.settled[g.targetEpoch] < len(g.members):
		return reconciling
	}
	return stable
}

func (g *consumer) listed() kmsg.ListGroupsResponseGroup {
	return kmsg.ListGroupsResponseGroup{Group: g.id, ProtocolType: consumerProtocol, GroupState: string(g.state()), GroupType: "consumer"}
}

func (g *consumer) subscribes(topic string) bool { return g.byName[topic] > 0 || g.byRegex[topic] > 0 }

func (g *consumer) expiry() (func(offset) int64, bool) {
	return func(o offset) int64 { return o.committed }, true
}

func (g *consumer) tombstones() []machine.Record {
	return consumerTombstones(g.id, g.memberIDs(), slices.Sorted(maps.Keys(g.resolved)))
}

func (g *consumer) check(a access) error {
	switch a.verb {
	case commitOffsets, commitTransaction:
		return g.checkCommit(a)
	case fetchOffsets:
		if a.noMember && a.generation < 0 {
			return nil
		}
		m, err := g.member(a.memberID)
		if err != nil {
			return err
		}
		if a.generation != m.epoch {
			return m.stale()
		}
	case deleteGroup:
		if len(g.members) > 0 {
			return kerr.NonEmptyGroup
		}
	}
	return nil
}

// stale is what a member is told whose epoch is not the one expected.
func (m *consumerMember) stale() error {
	if m.classic != nil {
		return kerr.IllegalGeneration
	}
	return kerr.StaleMemberEpoch
}

// checkCommit lets members commit with their epoch. An older one may do for partitions that it had then (KIP-1251).
func (g *consumer) checkCommit(a access) error {
	transactional := a.verb == commitTransaction
	if a.generation < 0 && len(g.members) == 0 {
		return nil
	}
	if transactional && a.generation == -1 && a.memberID == "" && a.instanceID == nil {
		return nil
	}
	m, err := g.member(a.memberID)
	switch {
	case err != nil:
		return err
	case !transactional && m.classic == nil && a.version < 9:
		return kerr.UnsupportedVersion
	case a.generation == m.epoch:
		return nil
	case a.generation < m.epoch && m.hadAll(a):
		return nil
	case transactional:
		return kerr.IllegalGeneration
	}
	return m.stale()
}

// hadAll says that the member had the partitions that it commits for when it was in the epoch.
func (m *consumerMember) hadAll(a access) bool {
	if a.partitions == nil {
		return false
	}
	for topic, partition := range a.partitions {
		epoch, ok := m.assigned.epoch(topic, partition)
		if !ok {
			epoch, ok = m.revoking.epoch(topic, partition)
		}
		if !ok || a.generation < epoch {
			return false
		}
	}
	return true
}
