package group

import (
	"maps"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/metadata"
)

// subscriptions is what a group's members are subscribed to, counted. It is the group's own, or what it would be.
type subscriptions struct {
	byName, byRegex, regexes map[string]int
	members                  int
}

// with gives the subscriptions once records are applied that put updated in the place of old.
func (g *consumer) with(old, updated *consumerMember) subscriptions {
	s := subscriptions{maps.Clone(g.byName), maps.Clone(g.byRegex), maps.Clone(g.regexes), len(g.members)}
	for _, topic := range old.topics {
		tally(s.byName, topic, -1)
	}
	for _, topic := range updated.topics {
		tally(s.byName, topic, 1)
	}
	if old.regex != updated.regex {
		if old.regex != "" {
			s.dropRegex(g, old.regex, 1)
		}
		if updated.regex != "" {
			tally(s.regexes, updated.regex, 1)
		}
	}
	if g.members[updated.id] == nil && (updated.instanceID == nil || g.static[*updated.instanceID] == "") {
		s.members++
	}
	return s
}

// without gives the subscriptions once the members are removed.
func (g *consumer) without(removed []*consumerMember) subscriptions {
	s := subscriptions{maps.Clone(g.byName), maps.Clone(g.byRegex), maps.Clone(g.regexes), len(g.members) - len(removed)}
	for _, m := range removed {
		for _, topic := range m.topics {
			tally(s.byName, topic, -1)
		}
		if m.regex != "" {
			s.dropRegex(g, m.regex, 1)
		}
	}
	return s
}

// dropRegex takes a member's regular expression away; its topics go with the last.
func (s *subscriptions) dropRegex(g *consumer, regex string, n int) {
	tally(s.regexes, regex, -n)
	if s.regexes[regex] > 0 || g.resolved[regex] == nil {
		return
	}
	for _, topic := range g.resolved[regex].topics {
		tally(s.byRegex, topic, -1)
	}
}

// topics are the names of all topics subscribed to, sorted.
func (s *subscriptions) topics() []string {
	all := slices.AppendSeq(make([]string, 0, len(s.byName)+len(s.byRegex)), maps.Keys(s.byName))
	all = slices.AppendSeq(all, maps.Keys(s.byRegex))
	slices.Sort(all)
	return slices.Compact(all)
}

// homogeneous says that all members are subscribed to the same: the same names, or one regular expression.
func (s *subscriptions) homogeneous() bool {
	if len(s.regexes) == 0 {
		for _, n := range s.byName { // all are looked at, or one that differs is found: order cannot matter
			if n != s.members {
				return false
			}
		}
		return true
	}
	if len(s.regexes) > 1 || len(s.byName) > 0 {
		return false
	}
	for _, n := range s.regexes { // there is one
		return n == s.members
	}
	return false
}

// canAssign says that the last target is old enough to make another (group.consumer.assignment.interval.ms).
func (m *Machine) canAssign(t *turn, g *consumer) bool {
	interval := m.assignmentInterval(t, g.id)
	return g.targetAt == 0 || interval <= 0 || t.now >= g.targetAt+interval
}

// assignTarget works out the target for a group epoch, writes what changes, and gives the target of one member.
// replaced is the member whose place updated takes; "" for none.
func (m *Machine) assignTarget(t *turn, g *consumer, epoch int32, old, updated *consumerMember, s subscriptions) assignment {
	replaced := ""
	if updated.instanceID != nil {
		if id := g.static[*updated.instanceID]; id != updated.id {
			replaced = id
		}
	}
	members := make([]*consumerMember, 0, len(g.members)+1)
	for _, member := range g.members { // sorted below
		if member.id != updated.id && member.id != replaced {
			members = append(members, member)
		}
	}
	members = append(members, updated)
	slices.SortFunc(members, func(a, b *consumerMember) int { return compareStrings(a.id, b.id) })

	spec := g.spec(t.Image, members)
	spec.homogeneous = s.homogeneous()
	for i, member := range members {
		spec.members[i].current = g.targets[member.id]
		if member == updated && replaced != "" {
			spec.members[i].current = g.targets[replaced]
		}
	}
	targets := m.assignor(g, old, updated)(spec)

	var own assignment
	for i, member := range members {
		if member == updated {
			own = targets[i]
		}
		if had, ok := g.targets[member.id]; !ok || !had.equal(targets[i]) {
			t.write(targetRecord(g.id, member.id, targets[i]))
		}
	}
	t.write(targetEpochRecord(g.id, epoch, t.now))
	return own
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// spec says what assignors need: the members' subscriptions to topics that exist.
func (g *consumer) spec(image *metadata.Image, members []*consumerMember) *assignSpec {
	s := &assignSpec{members: make([]assignMember, len(members))}
	index := map[string]int{} // topic -> place in s.topics, -1 if it does not exist
	var order []*metadata.Topic
	place := func(name string) int {
		at, ok := index[name]
		if !ok {
			at = -1
			if topic, exists := image.Topic(name); exists {
				at = len(order)
				order = append(order, topic)
			}
			index[name] = at
		}
		return at
	}
	resolve := func(topics []int, names []string) []int {
		for _, name := range names {
			if at := place(name); at >= 0 {
				topics = append(topics, at)
			}
		}
		return topics
	}
	byRegex := map[string][]int{}
	for i, m := range members {
		topics := resolve(make([]int, 0, len(m.topics)), m.topics)
		if r := g.resolved[m.regex]; r != nil && m.regex != "" {
			if _, ok := byRegex[m.regex]; !ok {
				byRegex[m.regex] = resolve(nil, r.topics)
			}
			if topics = append(topics, byRegex[m.regex]...); len(m.topics) > 0 {
				slices.Sort(topics)
				topics = slices.Compact(topics)
			}
		}
		s.members[i] = assignMember{id: m.id, instanceID: m.instanceID, topics: topics}
	}
	s.setTopics(order)
	return s
}

// setTopics orders the topics by their ids, and the members' subscriptions with them.
func (s *assignSpec) setTopics(order []*metadata.Topic) {
	byID := make([]int, len(order))
	for i := range byID {
		byID[i] = i
	}
	slices.SortFunc(byID, func(a, b int) int { return compareUUID(order[a].ID, order[b].ID) })
	moved := make([]int, len(order))
	s.topics = make([]assignTopic, len(order))
	for to, from := range byID {
		moved[from] = to
		s.topics[to] = assignTopic{id: order[from].ID, partitions: int32(len(order[from].Partitions))}
	}
	for i := range s.members {
		topics := s.members[i].topics
		for j := range topics {
			topics[j] = moved[topics[j]]
		}
		slices.Sort(topics)
	}
}

// assignor is the one that most members ask for, the first configured if none does.
func (m *Machine) assignor(g *consumer, old, updated *consumerMember) assignor {
	counts := maps.Clone(g.assignors)
	if old != nil && old.assignor != nil {
		tally(counts, *old.assignor, -1)
	}
	if updated != nil && updated.assignor != nil {
		tally(counts, *updated.assignor, 1)
	}
	return assignorNamed(m.preferred(counts))
}

func (m *Machine) preferred(counts map[string]int) string {
	best := m.config.Assignors[0]
	for _, name := range m.config.Assignors {
		if counts[name] > counts[best] {
			best = name
		}
	}
	return best
}

// Group configurations override the coordinator's, within its bounds.

const groupResource = 32

func (m *Machine) groupDuration(t *turn, group, name string, def, low, high time.Duration) int64 {
	d := def
	if v, ok := t.Image.Config(groupResource, group)[name]; ok {
		if ms, ok := parseMillis(v); ok {
			d = min(max(ms, low), high)
		}
	}
	return d.Milliseconds()
}

func (m *Machine) sessionTimeout(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "consumer.session.timeout.ms", c.ConsumerSessionTimeout, c.MinConsumerSessionTimeout, c.MaxConsumerSessionTimeout)
}

func (m *Machine) heartbeatInterval(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "consumer.heartbeat.interval.ms", c.HeartbeatInterval, c.MinHeartbeatInterval, c.MaxHeartbeatInterval)
}

func (m *Machine) assignmentInterval(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "consumer.assignment.interval.ms", c.AssignmentInterval, c.MinAssignmentInterval, c.MaxAssignmentInterval)
}
