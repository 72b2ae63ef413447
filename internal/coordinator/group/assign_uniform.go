package group

import (
	"cmp"
	"slices"
)

// assignUniform spreads partitions evenly over the members, whatever their topics, and moves as few as that needs.
func assignUniform(s *assignSpec) []assignment {
	owners, sizes := s.current()
	switch {
	case len(s.members) == 0 || len(s.topics) == 0:
	case s.homogeneous:
		s.spread(owners, sizes)
	default:
		b := balance{s: s, owners: owners, sizes: sizes}
		b.run()
	}
	return s.targets(owners)
}

// spread is for members with one subscription. Each gets the same number, some one more; who has more gives up what is
// over, and members that already have one more keep it as long as there are such places.
func (s *assignSpec) spread(owners ownership, sizes []int) {
	total := 0
	for _, t := range s.topics {
		total += int(t.partitions)
	}
	n := len(s.members)
	quota, extra := total/n, total%n
	room := make([]int, n) // what the member may still get; negative: has to give up
	for i := range s.members {
		room[i] = quota - sizes[i]
		switch {
		case extra == 0:
		case sizes[i] > quota, n-i <= extra:
			// It has one more, or all that are left have to take one.
			room[i]++
			extra--
		}
	}
	s.giveUp(owners, room)
	next := 0
	for topic := range owners {
		for p, owner := range owners[topic] {
			if owner != nobody {
				continue
			}
			for room[next] <= 0 {
				next++
			}
			owners[topic][p] = int32(next)
			room[next]--
		}
	}
}

// giveUp takes partitions from members that have too many: the last of their last topics.
func (s *assignSpec) giveUp(owners ownership, room []int) {
	for topic := len(owners) - 1; topic >= 0; topic-- {
		for p := len(owners[topic]) - 1; p >= 0; p-- {
			if owner := owners[topic][p]; owner != nobody && room[owner] < 0 {
				owners[topic][p] = nobody
				room[owner]++
			}
		}
	}
}

// balanceRounds bounds the search where subscriptions overlap without being the same; each round about halves what is
// uneven. Where a topic's subscribers have the same subscription, one round does it.
const balanceRounds = 16

// balance is for members with different subscriptions.
type balance struct {
	s      *assignSpec
	owners ownership
	sizes  []int

	subscribers [][]int // topic -> members, ascending
	loads       loads
}

// run gives what nobody has to the least loaded subscribers, and then moves partitions from the most to the least
// loaded subscribers of each topic until no move makes it more even. Topics with the most partitions a subscriber, and
// then with the fewest subscribers, come first: they leave the least choice.
func (b *balance) run() {
	b.subscribers = make([][]int, len(b.s.topics))
	for i := range b.s.members {
		for _, topic := range b.s.members[i].topics {
			b.subscribers[topic] = append(b.subscribers[topic], i)
		}
	}
	order := make([]int, len(b.s.topics))
	for i := range order {
		order[i] = i
	}
	order = slices.DeleteFunc(order, func(topic int) bool { return len(b.subscribers[topic]) == 0 })
	slices.SortStableFunc(order, func(x, y int) int {
		nx, ny := len(b.subscribers[x]), len(b.subscribers[y])
		return cmp.Or(cmp.Compare(int64(b.s.topics[y].partitions)*int64(nx), int64(b.s.topics[x].partitions)*int64(ny)), cmp.Compare(nx, ny))
	})
	for _, topic := range order {
		b.fill(topic)
	}
	order = slices.DeleteFunc(order, func(topic int) bool { return len(b.subscribers[topic]) < 2 })
	last := -1 // the topic of the last move
	for range balanceRounds {
		for _, topic := range order {
			if topic == last {
				return
			}
			if b.level(topic) > 0 || last == -1 {
				last = topic
			}
		}
	}
}

// fill gives a topic's partitions that nobody has to its least loaded subscribers.
func (b *balance) fill(topic int) {
	if !slices.Contains(b.owners[topic], nobody) {
		return
	}
	b.loads.begin(b.subscribers[topic], b.sizes)
	for p, owner := range b.owners[topic] {
		if owner == nobody {
			b.give(topic, p, b.loads.least())
		}
	}
}

func (b *balance) give(topic, partition, member int) {
	if owner := b.owners[topic][partition]; owner != nobody {
		b.sizes[owner]--
	}
	b.owners[topic][partition] = int32(member)
	b.sizes[member]++
}

// level moves a topic's partitions from its most to its least loaded subscribers; it tells how many.
func (b *balance) level(topic int) int {
	l := &b.loads
	if l.begin(b.subscribers[topic], b.sizes) <= 1 {
		return 0
	}
	had := map[int][]int{} // member -> its partitions of the topic
	for p, owner := range b.owners[topic] {
		had[int(owner)] = append(had[int(owner)], p)
	}
	moved := 0
	for !l.even() {
		from := l.most()
		for from >= 0 && len(had[from]) == 0 {
			l.skip()
			from = l.most()
		}
		if from < 0 {
			break
		}
		n := len(had[from]) - 1
		partition := had[from][n]
		had[from] = had[from][:n]
		to := l.least()
		if l.even() {
			break
		}
		b.give(topic, partition, to)
		moved++
	}
	return moved
}

// loads hands out members by how much they have, without sorting again after each move. Sorted by load, the least
// loaded are a range at the left that grows to the right as it fills up, the most loaded one at the right that grows to
// the left as it is emptied:
//
//	      least        most                members ordered by load
//	[0 ······ leastEnd) … [mostStart ······ mostEnd) have nothing to give
type loads struct {
	sizes   []int
	members []int

	leastEnd, leastLoad, leastNext          int
	mostStart, mostEnd, mostLoad, mostsNext int
}

// begin sorts the members and tells the difference between the most and the least loaded.
func (l *loads) begin(members, sizes []int) int {
	l.sizes = sizes
	l.members = append(l.members[:0], members...)
	slices.SortStableFunc(l.members, func(a, b int) int { return cmp.Or(cmp.Compare(sizes[a], sizes[b]), cmp.Compare(a, b)) })
	first, last := sizes[l.members[0]], sizes[l.members[len(l.members)-1]]
	l.leastEnd, l.leastLoad, l.leastNext = 0, first-1, 0
	l.mostStart, l.mostEnd, l.mostLoad, l.mostsNext = len(members), len(members), last+1, len(members)-1
	return last - first
}

// least is the member to get the next partition.
func (l *loads) least() int {
	if l.leastNext >= l.leastEnd {
		l.leastLoad++
		for l.leastEnd < len(l.members) && l.sizes[l.members[l.leastEnd]] == l.leastLoad {
			l.leastEnd++
		}
		l.leastNext = 0
	}
	l.leastNext++
	return l.members[l.leastNext-1]
}

// most is the member to give the next partition up; -1 if none has any.
func (l *loads) most() int {
	if l.mostsNext < l.mostStart {
		if l.mostEnd <= l.mostStart && l.mostStart > 0 {
			l.mostLoad = l.sizes[l.members[l.mostStart-1]] // all in the range had nothing
		} else {
			l.mostLoad--
		}
		for l.mostStart > 0 && l.sizes[l.members[l.mostStart-1]] == l.mostLoad {
			l.mostStart--
		}
		l.mostsNext = l.mostEnd - 1
	}
	if l.mostsNext < 0 {
		return -1
	}
	l.mostsNext--
	return l.members[l.mostsNext+1]
}

// skip takes the member that most gave last out of its range: it has nothing to give.
func (l *loads) skip() {
	at := l.mostsNext + 1
	l.members[at], l.members[l.mostEnd-1] = l.members[l.mostEnd-1], l.members[at]
	l.mostEnd--
}

// even says that no move between the two ranges would help.
func (l *loads) even() bool { return l.mostLoad-l.leastLoad <= 1 }
