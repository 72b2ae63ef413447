package main

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// schedule says when each of many things is due.
type schedule struct {
	start     time.Time
	perSecond float64
}

// wait sleeps until the i-th is due, and says when that was. The thread sleeps in the system: Go's own timers are up to a millisecond
// late in a process with nothing else to do, which is more than what is measured. The caller has locked its thread.
func (s schedule) wait(i int) time.Time {
	due := s.start.Add(time.Duration(float64(i) / s.perSecond * 1e9))
	if early := time.Until(due); early > 0 {
		t := syscall.NsecToTimespec(int64(early))
		_ = syscall.Nanosleep(&t, nil) // a signal that ends it early does no harm
	}
	return due
}

// paced writes n requests on one connection, or until stop is closed, each when it is due, and gives how many milliseconds after
// that each was acknowledged.
func (p producing) paced(ctx context.Context, address string, rs requests, perSecond float64, n int, stop <-chan struct{}) ([]float64, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	due := make(chan time.Time, n)
	took := make([]float64, 0, n)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		for at := range due {
			if failed = c.acknowledged(); failed != nil {
				_ = c.Close()
				return
			}
			took = append(took, time.Since(at).Seconds()*1000)
		}
	})
	err = func() error {
		defer close(due)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s := schedule{time.Now(), perSecond}
		for i := range n {
			select {
			case <-stop:
				return nil
			default:
			}
			at := s.wait(i)
			if _, err := c.Write(rs.frames[i%len(rs.frames)]); err != nil {
				return err
			}
			due <- at
		}
		return nil
	}()
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	slices.Sort(took)
	return took, err
}
