package api

import (
	"sync/atomic"
	"time"
)

// pause lets a request that its connection waits for wait.
func pause(d time.Duration) { time.Sleep(d) }

// later runs f on a goroutine of its own when d has passed.
func later(d time.Duration, f func()) { time.AfterFunc(d, f) }

// countdown calls a function when so many parts of a request are done, on whichever goroutine the last one was.
type countdown struct {
	left atomic.Int32
	then func()
}

func newCountdown(n int, then func()) *countdown {
	c := &countdown{then: then}
	c.left.Store(int32(n))
	return c
}

func (c *countdown) done() {
	if c.left.Add(-1) == 0 {
		c.then()
	}
}
