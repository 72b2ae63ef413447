package replica

import (
	"sync"
	"time"
)

// runner starts what a Set lets run beside its callers: fetches that were woken, and time limits.
type runner struct {
	wg     sync.WaitGroup
	timers sync.WaitGroup
}

// spawn runs f on a goroutine that Close waits for.
func (r *runner) spawn(f func()) {
	r.wg.Go(f)
}

// after calls f on a goroutine of its own once d has passed, unless stop comes first; stop says whether it did.
func (r *runner) after(d time.Duration, f func()) (stop func() bool) {
	r.timers.Add(1)
	t := time.AfterFunc(d, func() {
		defer r.timers.Done()
		f()
	})
	return func() bool {
		if !t.Stop() {
			return false
		}
		r.timers.Done()
		return true
	}
}

// Close ends the waits of every partition with ErrClosed and waits for what runs. The logs stay open: they are logdir's.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, p := range s.Partitions() {
		r := *p.role.Load()
		r.Leads = false
		p.role.Store(&r)
		p.resign(ErrClosed)
	}
	s.wg.Wait()
	s.timers.Wait()
}
