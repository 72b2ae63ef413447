package server

import "sync"

// budget counts bytes of the whole node. Waiters are served in order, so a large request is not starved by small ones.
type budget struct {
	max int64

	mu      sync.Mutex
	used    int64     // guarded by mu
	waiters []*waiter // guarded by mu
	waits   int64     // how often somebody had to wait; guarded by mu
}

type waiter struct {
	n       int64
	granted chan struct{}
}

// try takes n bytes or queues for them. A request beyond the whole budget gets through when nothing else is charged.
func (b *budget) try(n int64) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiters) == 0 && b.fits(n) {
		b.used += n
		return nil
	}
	w := &waiter{n: n, granted: make(chan struct{})}
	b.waiters = append(b.waiters, w)
	b.waits++
	return w
}

func (b *budget) fits(n int64) bool { return b.used == 0 || b.used+n <= b.max }

func (b *budget) release(n int64) {
	b.mu.Lock()
	b.used -= n
	b.grant()
	b.mu.Unlock()
}

// grant is called with mu held.
func (b *budget) grant() {
	for len(b.waiters) > 0 && b.fits(b.waiters[0].n) {
		b.used += b.waiters[0].n
		close(b.waiters[0].granted)
		b.waiters = b.waiters[1:]
	}
}

// abandon takes a waiter out of the queue, or gives back what it was granted meanwhile.
func (b *budget) abandon(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.waiters {
		if x == w {
			b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
			b.grant()
			return
		}
	}
	b.used -= w.n
	b.grant()
}

func (b *budget) load() (used, waits int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, b.waits
}
