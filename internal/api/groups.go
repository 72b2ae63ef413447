package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// toGroup gives a request of one group to its coordinator.
func (c *call) toGroup(group string, req kmsg.Request) server.Outcome {
	g := c.h.Groups
	g.Submit(g.Partition(group), machine.Command{Body: req, Client: c.client()}, func(v any) { c.reply(v.(kmsg.Response)) })
	return server.Parked
}

// scatter gives items (groups, transactions) to their coordinators and joins what these answer: ask builds the request for those
// of one partition, answers finds what its response says of each, in their order. then runs once all are there, in the
// order of the items, on the goroutine of whichever was last.
func scatter[T, A any, R kmsg.Response](c *call, g *coordinator.Host, items []T, key func(T) string, ask func([]T) kmsg.Request, answers func(R) []A, then func([]A)) server.Outcome {
	var order []int32
	byPartition := map[int32][]int{}
	for i, x := range items {
		p := g.Partition(key(x))
		if byPartition[p] == nil {
			order = append(order, p)
		}
		byPartition[p] = append(byPartition[p], i)
	}
	joined := make([]A, len(items))
	if len(order) == 0 {
		then(joined)
		return server.Done
	}
	all := newCountdown(len(order), func() { then(joined) })
	client := c.client()
	for _, p := range order {
		at := byPartition[p]
		those := make([]T, len(at))
		for n, i := range at {
			those[n] = items[i]
		}
		g.Submit(p, machine.Command{Body: ask(those), Client: client}, func(v any) {
			for n, a := range answers(v.(R)) {
				joined[at[n]] = a
			}
			all.done()
		})
	}
	return server.Parked
}

// itself is the key of items that are names.
func itself(name string) string { return name }

// merge puts what a coordinator answered behind what was refused before it was asked, each topic once, as Kafka does.
func merge[K comparable, T, P any](refused, answered []T, look func(*T) (K, *[]P)) []T {
	if len(refused) == 0 {
		return answered
	}
	at := make(map[K]int, len(refused))
	for i := range refused {
		k, _ := look(&refused[i])
		at[k] = i
	}
	for i := range answered {
		k, partitions := look(&answered[i])
		if n, ok := at[k]; ok {
			_, all := look(&refused[n])
			*all = append(*all, *partitions...)
		} else {
			refused = append(refused, answered[i])
		}
	}
	return refused
}

// existing gives those of a request's partitions that its topic has, and refuses the others. A nil topic has none.
func existing[P any](topic *metadata.Topic, partitions []P, index func(P) int32, refuse func(int32)) []P {
	there := partitions[:0:0]
	for _, p := range partitions {
		if topic != nil {
			if _, ok := topic.Partition(index(p)); ok {
				there = append(there, p)
				continue
			}
		}
		refuse(index(p))
	}
	return there
}
