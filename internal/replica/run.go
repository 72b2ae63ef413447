package replica

import (
	"sync"
	"sync/atomic"
	"time"
)

// runner counts what a Set lets run beside its callers: fetches that were woken, and time limits. It is no WaitGroup,
// because a fetch that is woken while Close waits may begin one more.
type runner struct {
	tasks sync.Mutex // guards alive
	ended *sync.Cond
	alive int
}

func (r *runner) init() { r.ended = sync.NewCond(&r.tasks) }

func (r *runner) begin() {
	r.tasks.Lock()
	r.alive++
	r.tasks.Unlock()
}

func (r *runner) end() {
	r.tasks.Lock()
	if r.alive--; r.alive == 0 {
		r.ended.Broadcast()
	}
	r.tasks.Unlock()
}

func (r *runner) wait() {
	r.tasks.Lock()
	for r.alive > 0 {
		r.ended.Wait()
	}
	r.tasks.Unlock()
}

// spawn runs f on a goroutine that Close waits for.
func (r *runner) spawn(f func()) {
	r.begin()
	go func() {
		defer r.end()
		f()
	}()
}

// after calls f on a goroutine of its own once d has passed, unless stop comes first; stop says whether it did.
func (r *runner) after(d time.Duration, f func()) (stop func() bool) {
	r.begin()
	t := time.AfterFunc(d, func() {
		defer r.end()
		f()
	})
	return func() bool {
		if !t.Stop() {
			return false
		}
		r.end()
		return true
	}
}

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
	s.wait()
}
