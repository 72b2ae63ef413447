package api

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/server"
)

// toGroup gives a request of one group to its coordinator.
func (c *call) toGroup(group string, req kmsg.Request) server.Outcome {
	g := c.h.Groups
	g.Submit(g.Partition(group), machine.Command{Body: req, Client: c.client()}, func(v any) { c.reply(v.(kmsg.Response)) })
	return server.Parked
}

// scatter sends one request to each coordinator partition of several keys (groups, transactional ids) and joins the answers:
// make builds the request for the keys at the given positions, take puts its answer in place. done runs once all are there.
func (c *call) scatter(g *coordinator.Host, keys []string, make func(at []int) kmsg.Request, take func(at []int, resp kmsg.Response), done func()) server.Outcome {
	var order []int32
	byPartition := map[int32][]int{}
	for i, key := range keys {
		p := g.Partition(key)
		if byPartition[p] == nil {
			order = append(order, p)
		}
		byPartition[p] = append(byPartition[p], i)
	}
	if len(order) == 0 {
		done()
		return server.Done
	}
	var mu sync.Mutex // guards what take changes
	var left atomic.Int32
	left.Store(int32(len(order)))
	client := c.client()
	for _, p := range order {
		at := byPartition[p]
		g.Submit(p, machine.Command{Body: make(at), Client: client}, func(v any) {
			mu.Lock()
			take(at, v.(kmsg.Response))
			mu.Unlock()
			if left.Add(-1) == 0 {
				done()
			}
		})
	}
	return server.Parked
}
