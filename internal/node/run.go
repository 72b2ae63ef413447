package node

import "sync"

// tasks runs functions in the background, a few at a time: what coordinators want done and must not wait for. Nothing runs
// before begin, so that whoever is asked is there.
type tasks struct {
	mu      sync.Mutex
	queue   []func() // guarded by mu
	workers int      // guarded by mu
	open    bool     // guarded by mu
	closed  bool     // guarded by mu
	wg      sync.WaitGroup
}

const maxWorkers = 4

func (t *tasks) do(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.queue = append(t.queue, f)
	t.hire()
}

// begin lets the tasks run.
func (t *tasks) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = true
	for range t.queue {
		t.hire()
	}
}

// hire starts a worker if there is room for one more. mu is held.
func (t *tasks) hire() {
	if !t.open || t.closed || t.workers == maxWorkers {
		return
	}
	t.workers++
	t.wg.Add(1)
	go t.work()
}

func (t *tasks) work() {
	defer t.wg.Done()
	for {
		t.mu.Lock()
		if len(t.queue) == 0 || t.closed {
			t.workers--
			t.mu.Unlock()
			return
		}
		f := t.queue[0]
		t.queue[0] = nil
		t.queue = t.queue[1:]
		t.mu.Unlock()
		f()
	}
}

// close drops what waits, and waits for what runs.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed, t.queue = true, nil
	t.mu.Unlock()
	t.wg.Wait()
}
