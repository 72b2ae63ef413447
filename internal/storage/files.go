package storage

import (
	"sync"
	"sync/atomic"

	"github.com/klamm-io/klamm/internal/vfs"
)

// Files bounds the files that logs hold open together. One that nobody uses at the moment is closed for another, those
// first that were not used for long (the clock algorithm); files in use count, and may exceed the bound. It is shared by
// logs and safe for concurrent use. Nil has no bound.
type Files struct {
	max int

	mu   sync.Mutex
	ring []*handle // guarded by mu: those that are open, or were, in the order of the clock's hand
}

// NewFiles makes a bound of max open files.
func NewFiles(max int) *Files { return &Files{max: max} }

// Open is how many files are open, at most.
func (f *Files) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ring)
}

// disk is a file system with the bound on its open files.
type disk struct {
	vfs.FS
	files *Files
}

// clock is what Files knows of a handle.
type clock struct {
	used    atomic.Bool // since the hand came by
	tracked bool        // it is in the ring; guarded by Files.mu
}

// opened takes a file that was just opened into the ring. No lock of a handle is held.
func (f *Files) opened(h *handle) {
	if f == nil {
		return
	}
	f.mu.Lock()
	if !h.clock.tracked {
		h.clock.tracked = true
		f.ring = append(f.ring, h)
	}
	over := len(f.ring) - f.max
	f.mu.Unlock()
	// Twice round at most: the first time clears the marks.
	for n := 2 * f.max; over > 0 && n > 0; n-- {
		if f.turn() {
			over--
		}
	}
}

// turn moves the hand by one file, and says whether that left the ring.
func (f *Files) turn() bool {
	f.mu.Lock()
	if len(f.ring) == 0 {
		f.mu.Unlock()
		return false
	}
	h := f.ring[0]
	f.ring[0] = nil
	f.ring = f.ring[1:]
	if h.clock.used.Swap(false) {
		f.ring = append(f.ring, h)
		f.mu.Unlock()
		return false
	}
	h.clock.tracked = false
	f.mu.Unlock()
	h.idle()
	if !h.open() {
		return true
	}
	f.mu.Lock() // somebody uses it
	defer f.mu.Unlock()
	if h.clock.tracked { // opened again meanwhile
		return true
	}
	h.clock.tracked = true
	f.ring = append(f.ring, h)
	return false
}
