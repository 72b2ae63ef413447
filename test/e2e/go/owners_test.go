//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// owners watches who owns which partition, as the members' callbacks tell.
type owners struct {
	mu    sync.Mutex // guards all below
	of    map[int32]int
	seen  map[string]bool
	twice string // the first partition that got a second owner before the first one had given it up
}

func newOwners() *owners { return &owners{of: map[int32]int{}, seen: map[string]bool{}} }

func (o *owners) add(member int, partitions []int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range partitions {
		if other, ok := o.of[p]; ok && o.twice == "" {
			o.twice = fmt.Sprintf("partition %d: given to member %d while member %d has it", p, member, other)
		}
		o.of[p] = member
	}
}

func (o *owners) remove(member int, partitions []int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range partitions {
		if o.of[p] == member {
			delete(o.of, p)
		}
	}
}

func (o *owners) saw(value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[value] = true
}

// await returns when the owners have so many partitions each.
func (o *owners) await(t *testing.T, ctx context.Context, want []int) {
	t.Helper()
	for {
		counts := map[int]int{}
		o.mu.Lock()
		for _, member := range o.of {
			counts[member]++
		}
		o.mu.Unlock()
		var got []int
		for _, n := range counts {
			got = append(got, n)
		}
		if slices.Equal(got, want) { // all of one size
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("partitions per member: %v, want %v", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
