package replica

import (
	"sync"
	"sync/atomic"
)

// placersMax is how many partitions are placed at once: what that costs is waiting for the disk.
const placersMax = 16

// each runs f for 0 to n-1, some of them at once, and returns when all have ended.
func each(n int, f func(int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	for range min(n, placersMax) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// Close ends the waits of every partition and waits for what runs: producers get ErrClosed, fetches NotLeader. Apply and
// Configure do nothing from then on. The logs stay open: they are logdir's.
func (s *Set) Close() {
	s.changing.Lock()
	s.closed = true
	for _, p := range s.Partitions() {
		r := *p.role.Load()
		r.Leads = false
		p.role.Store(&r)
		p.resign(ErrClosed)
	}
	s.changing.Unlock()
	s.tasks.Wait()
}
