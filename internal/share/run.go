package share

import (
	"sync"
	"time"
)

// runner counts what a Set lets run beside its callers: fetches that were woken, and time limits. It is no WaitGroup,
// because what ends while Close waits may begin something more.
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

// Close gives up every share partition and ends every session: what waits is answered. What the persister answers from
// then on is not heard.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	var all []*partition
	for _, g := range s.groups { // order does not matter: all go
		for _, p := range g {
			all = append(all, p)
		}
	}
	s.mu.Unlock()
	s.sessions.close()
	for _, p := range all {
		p.drop(errClosed)
	}
	s.wait()
}
