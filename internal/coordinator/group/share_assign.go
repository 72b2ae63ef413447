package group

import (
	"slices"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// shareTarget is the member's target and its epoch, after a new one is worked out where it is due.
func (m *Machine) shareTarget(t *turn, g *shareGroup, epoch int32, updated *shareMember) (int32, assignment) {
	interval := m.shareAssignmentInterval(t, g.id)
	if g.targetEpoch >= epoch || g.targetAt != 0 && interval > 0 && t.now < g.targetAt+interval {
		return g.targetEpoch, g.targets[updated.id]
	}
	ids := g.memberIDs()
	if g.members[updated.id] == nil {
		ids = append(ids, updated.id)
		slices.Sort(ids)
	}
	list := make([]sharer, len(ids))
	for i, id := range ids {
		member := updated
		if id != updated.id {
			member = g.members[id]
		}
		list[i] = sharer{subscribed: topicIDs(t.Image, member.topics), current: g.targets[id]}
	}
	var own assignment
	for i, target := range assignShares(list, g.assignable(t.Image)) {
		if ids[i] == updated.id {
			own = target
		}
		if had, ok := g.targets[ids[i]]; !ok || !had.equal(target) {
			t.write(shareTargetRecord(g.id, ids[i], target))
		}
	}
	t.write(shareTargetEpochRecord(g.id, epoch, t.now))
	return epoch, own
}

// assignable are the share partitions that are initialized. Topics that were deleted may be among those for a while.
func (g *shareGroup) assignable(image *metadata.Image) assignment {
	if g.state == nil {
		return nil
	}
	var a assignment
	for _, id := range g.state.initialized.ids() {
		topic, ok := image.TopicByID(id)
		if !ok {
			continue
		}
		n, _ := slices.BinarySearch(g.state.initialized[id].partitions, int32(len(topic.Partitions)))
		if n > 0 {
			a = append(a, topicPartitions{topic: id, partitions: g.state.initialized[id].partitions[:n]})
		}
	}
	return a
}

// unassigned says that of a topic that is subscribed to the target does not have just what is assignable.
func (g *shareGroup) unassigned(image *metadata.Image) bool {
	now := assignedFor{g.state, image, g.epoch, g.targetEpoch}
	if g.assigned == now {
		return false
	}
	if g.findUnassigned(image) {
		return true
	}
	g.assigned = now
	return false
}

func (g *shareGroup) findUnassigned(image *metadata.Image) bool {
	assignable := g.assignable(image)
	if len(assignable) == 0 || len(g.byName) == 0 {
		return false
	}
	has := assignmentBuilder{}
	for _, target := range g.targets { // order does not matter: it is a set
		for _, tp := range target {
			for _, p := range tp.partitions {
				has.add(tp.topic, p, 0)
			}
		}
	}
	for _, tp := range assignable {
		if topic, ok := image.TopicByID(tp.topic); !ok || g.byName[topic.Name] == 0 {
			continue
		}
		if len(has[tp.topic]) != len(tp.partitions) {
			return true
		}
		for _, p := range tp.partitions {
			if _, ok := has[tp.topic][p]; !ok {
				return true
			}
		}
	}
	return false
}

// sharer is a member as the assignor sees it.
type sharer struct {
	subscribed map[schema.UUID]struct{}
	current    assignment
}

// sharePartition is one partition to be shared.
type sharePartition struct {
	topic     schema.UUID
	partition int32
}

// assignShares is the assignor "simple": each partition goes to about as many members as each other, each member gets about
// as many as each other, and as much as that allows stays where it is. Where the members' subscriptions differ, this
// holds topic by topic among those subscribed. The order of the members decides what is otherwise equal.
func assignShares(members []sharer, assignable assignment) []assignment {
	out := make([]assignmentBuilder, len(members))
	for i := range out {
		out[i] = assignmentBuilder{}
	}
	homogeneous := true
	for i := range members {
		homogeneous = homogeneous && len(members[i].subscribed) == len(members[0].subscribed)
		for _, tp := range assignable {
			_, a := members[0].subscribed[tp.topic]
			_, b := members[i].subscribed[tp.topic]
			homogeneous = homogeneous && a == b
		}
	}
	if homogeneous && len(members) > 0 {
		s := spreadOf(members, assignable, members[0].subscribed)
		s.spread(out)
	} else {
		for _, tp := range assignable {
			one := assignment{tp}
			s := spreadOf(members, one, map[schema.UUID]struct{}{tp.topic: {}})
			s.spread(out)
		}
	}
	targets := make([]assignment, len(members))
	for i, b := range out {
		targets[i] = b.target()
	}
	return targets
}

// spread is how some partitions are shared among some members, both by their place in a list.
type spread struct {
	partitions []sharePartition
	members    []int   // places in the whole list
	wanted     []int   // how many partitions each member is to have
	sharing    int     // how many members each partition is to have
	has        [][]int // by member: partitions
	sharers    [][]int // by partition: members
}

// spreadOf begins with what the members have already.
func spreadOf(members []sharer, assignable assignment, topics map[schema.UUID]struct{}) *spread {
	s := &spread{}
	place := map[sharePartition]int{}
	for _, tp := range assignable {
		if _, ok := topics[tp.topic]; !ok {
			continue
		}
		for _, p := range tp.partitions {
			key := sharePartition{tp.topic, p}
			place[key] = len(s.partitions)
			s.partitions = append(s.partitions, key)
		}
	}
	for i := range members {
		subscribed := true
		for topic := range topics { // order does not matter: all of them are asked
			_, ok := members[i].subscribed[topic]
			subscribed = subscribed && ok
		}
		if !subscribed {
			continue
		}
		var has []int
		for _, tp := range members[i].current {
			for _, p := range tp.partitions {
				if at, ok := place[sharePartition{tp.topic, p}]; ok {
					has = append(has, at)
				}
			}
		}
		s.members, s.has = append(s.members, i), append(s.has, has)
	}
	n := len(s.partitions)
	if n == 0 || len(s.members) == 0 {
		return s
	}
	s.sharing = (len(s.members) + n - 1) / n
	s.wanted = make([]int, len(s.members))
	for i := range s.wanted {
		s.wanted[i] = upTo(s.sharing*n*(i+1), len(s.members)) - upTo(s.sharing*n*i, len(s.members))
	}
	return s
}

func upTo(a, b int) int { return (a + b - 1) / b }

// spread moves as little as is needed, and puts the outcome into out.
func (s *spread) spread(out []assignmentBuilder) {
	s.sharers = make([][]int, len(s.partitions))
	for m, has := range s.has {
		if len(s.wanted) == 0 {
			return
		}
		if len(has) > s.wanted[m] { // more than its part
			has = has[:s.wanted[m]]
		}
		s.has[m] = nil
		for _, p := range has {
			if len(s.sharers[p]) < s.sharing { // else others have it already
				s.give(m, p)
			}
		}
	}
	s.fill()
	for m, has := range s.has {
		for _, p := range has {
			out[s.members[m]].add(s.partitions[p].topic, s.partitions[p].partition, 0)
		}
	}
}

func (s *spread) give(m, p int) {
	s.has[m] = append(s.has[m], p)
	s.sharers[p] = append(s.sharers[p], m)
}

// fill hands out what is left, in turn to the members that have less than their part. Where all of those have a partition
// already, it stays with fewer members than others: that is not worth moving more.
func (s *spread) fill() {
	var open []int
	for m := range s.members {
		if len(s.has[m]) < s.wanted[m] {
			open = append(open, m)
		}
	}
	turn := 0
	for p := range s.partitions {
		for tried := 0; len(s.sharers[p]) < s.sharing && tried < len(open); {
			turn %= len(open)
			m := open[turn]
			if slices.Contains(s.sharers[p], m) {
				turn++
				tried++
				continue
			}
			s.give(m, p)
			tried = 0
			if len(s.has[m]) >= s.wanted[m] {
				open = slices.Delete(open, turn, turn+1)
			} else {
				turn++
			}
		}
	}
}
