package controller

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Placement of new partitions' replicas, by the rules of Kafka's striped placer:
//
//   - The first replica, which becomes the leader, goes to an unfenced broker. Fenced brokers take replicas only when
//     the unfenced ones of their rack are used up.
//   - Replicas spread over racks first, then over the brokers of a rack. Brokers without a rack form one rack.
//   - Each next partition starts one rack further, and one broker further inside each rack, so leaders spread evenly.
//     After as many partitions as there are unfenced brokers the orders are shuffled, so that followers of one broker's
//     partitions do not all fall on the same next broker.

// usableBroker is a broker that may hold new replicas: registered, not shutting down, not wholly cordoned.
type usableBroker struct {
	id     int32
	rack   string // "" without one
	fenced bool
}

// brokerRing deals out brokers, each at most once in a round, starting one further in each next round.
type brokerRing struct {
	ids           []int32
	offset, index int
	round         int
}

func (r *brokerRing) start(rnd *rand.Rand) {
	if len(r.ids) > 0 {
		slices.Sort(r.ids)
		r.offset = rnd.IntN(len(r.ids))
	}
}

// next gives a broker that this round has not used yet, or -1.
func (r *brokerRing) next(round int) int32 {
	if len(r.ids) == 0 {
		return -1
	}
	if r.round != round {
		r.round, r.index = round, 0
		r.offset = (r.offset + 1) % len(r.ids)
	}
	if r.index >= len(r.ids) {
		return -1
	}
	id := r.ids[(r.index+r.offset)%len(r.ids)]
	r.index++
	return id
}

type rack struct {
	name             string
	unfenced, fenced brokerRing
}

func (k *rack) next(round int) int32 {
	if id := k.unfenced.next(round); id >= 0 {
		return id
	}
	return k.fenced.next(round)
}

type placer struct {
	rnd      *rand.Rand
	racks    []*rack
	total    int
	unfenced int
	round    int // never starts again, so that a ring always knows a new round
	dealt    int // rounds since the last shuffle
	offset   int
}

func newPlacer(rnd *rand.Rand, brokers []usableBroker) *placer {
	p := &placer{rnd: rnd, total: len(brokers)}
	for _, b := range brokers {
		i := slices.IndexFunc(p.racks, func(k *rack) bool { return k.name == b.rack })
		if i < 0 {
			i = len(p.racks)
			p.racks = append(p.racks, &rack{name: b.rack})
		}
		if b.fenced {
			p.racks[i].fenced.ids = append(p.racks[i].fenced.ids, b.id)
		} else {
			p.unfenced++
			p.racks[i].unfenced.ids = append(p.racks[i].unfenced.ids, b.id)
		}
	}
	slices.SortFunc(p.racks, func(a, b *rack) int { return cmp.Compare(a.name, b.name) })
	for _, k := range p.racks {
		k.fenced.start(rnd)
		k.unfenced.start(rnd)
	}
	if len(p.racks) > 0 {
		p.offset = rnd.IntN(len(p.racks))
	}
	return p
}

// place chooses the replicas of that many partitions.
func place(rnd *rand.Rand, brokers []usableBroker, partitions int, replicas int16) ([][]int32, error) {
	p := newPlacer(rnd, brokers)
	switch {
	case replicas <= 0:
		return nil, refuse(kerr.InvalidReplicationFactor, "Invalid replication factor %d: the replication factor must be positive.", replicas)
	case p.unfenced == 0:
		return nil, refuse(kerr.InvalidReplicationFactor, "All brokers are currently fenced, or have all their log directories cordoned.")
	case int(replicas) > p.total:
		return nil, refuse(kerr.InvalidReplicationFactor, "The target replication factor of %d cannot be reached because only "+
			"%d broker(s) are registered or some brokers have all their log directories cordoned.", replicas, p.total)
	}
	placements := make([][]int32, partitions)
	for i := range placements {
		placements[i] = p.one(int(replicas))
	}
	return placements, nil
}

// one chooses the replicas of one partition. There are at least that many brokers, and an unfenced one among them.
func (p *placer) one(replicas int) []int32 {
	if p.dealt == p.unfenced && p.unfenced > 1 {
		p.shuffle()
		p.dealt = 0
	}
	if p.offset == len(p.racks) {
		p.offset = 0
	}
	chosen := make([]int32, 0, replicas)
	first := p.offset
	for {
		if id := p.racks[first].unfenced.next(p.round); id >= 0 {
			chosen = append(chosen, id)
			break
		}
		first = (first + 1) % len(p.racks)
	}
	at := p.offset
	for len(chosen) < replicas {
		id := int32(-1)
		for id < 0 {
			if at == first {
				first = -1 // the leader's rack has had its turn in the first lap
			} else {
				id = p.racks[at].next(p.round)
			}
			at = (at + 1) % len(p.racks)
		}
		chosen = append(chosen, id)
	}
	p.round++
	p.dealt++
	p.offset++
	return chosen
}

func (p *placer) shuffle() {
	p.rnd.Shuffle(len(p.racks), func(i, j int) { p.racks[i], p.racks[j] = p.racks[j], p.racks[i] })
	for _, k := range p.racks {
		for _, ids := range [][]int32{k.fenced.ids, k.unfenced.ids} {
			p.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		}
	}
}
