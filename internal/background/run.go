// Package background counts what a component lets run beside its callers, functions on goroutines of their own and time
// limits, so that its Close can wait until nothing of it runs any more.
//
// A Group is no sync.WaitGroup: what runs may begin more while Wait waits, and so may callers that did not hear of the end in
// time, even from nothing. Wait returns at a moment at which nothing ran. That nothing begins afterwards is the owner's to
// see to: it refuses its callers, and what runs, before it waits.
package background

import (
	"sync"
	"time"
)

// Group is what runs. The zero Group is ready; a Group must not be copied. Its methods may be called from every goroutine,
// Wait not from one that the Group counts.
type Group struct {
	mu    sync.Mutex // a leaf; guards:
	alive int
	ended sync.Cond
}

// Go runs f on a goroutine of its own.
func (g *Group) Go(f func()) {
	g.begin()
	go func() {
		defer g.end()
		f()
	}()
}

// After runs f on a goroutine of its own once d has passed, unless stop comes first: stop says whether it did, the first time
// it is called. What neither came to pass nor was stopped counts as running, so an owner stops its time limits before it waits.
func (g *Group) After(d time.Duration, f func()) (stop func() bool) {
	g.begin()
	t := time.AfterFunc(d, func() {
		defer g.end()
		f()
	})
	return func() bool {
		stopped := t.Stop()
		if stopped {
			g.end()
		}
		return stopped
	}
}

// Wait waits until nothing runs.
func (g *Group) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended.L == nil {
		g.ended.L = &g.mu
	}
	for g.alive > 0 {
		g.ended.Wait()
	}
}

func (g *Group) begin() {
	g.mu.Lock()
	g.alive++
	g.mu.Unlock()
}

func (g *Group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.alive--; g.alive == 0 {
		g.ended.Broadcast()
	}
}
