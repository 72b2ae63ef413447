package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
)

// Faults is an FS that fails on purpose. An operation that is to fail is not done, but for what Short allows.
type Faults struct {
	intercepted
	mu     sync.Mutex // guards decide and what it keeps
	decide func(Op) error
}

// Short is an error for a read or write that moves the first N bytes and then fails with Err, as a full disk
// or a torn write does.
type Short struct {
	N   int64
	Err error
}

func (s *Short) Error() string { return fmt.Sprintf("after %d bytes: %v", s.N, s.Err) }

// Unwrap gives the error that the caller of the file system sees.
func (s *Short) Unwrap() error { return s.Err }

// Slow is for an operation that is done, or fails with Err, when Wait has returned. Others go on beside it.
type Slow struct {
	Wait func()
	Err  error
}

func (s *Slow) Error() string { return fmt.Sprintf("later: %v", s.Err) }

// NewFaults wraps a file system. The function decides every operation: nil lets it pass. It is called by one
// goroutine at a time and must not use the file system.
func NewFaults(fs FS, decide func(Op) error) *Faults {
	f := &Faults{decide: decide}
	f.intercepted = intercepted{fs, f}
	return f
}

// Set replaces the function; nil lets everything pass.
func (f *Faults) Set(decide func(Op) error) {
	f.mu.Lock()
	f.decide = decide
	f.mu.Unlock()
}

func (f *Faults) do(op Op, call func(int64) (int64, error)) error {
	var fault error
	f.mu.Lock()
	if f.decide != nil {
		fault = f.decide(op)
	}
	f.mu.Unlock()
	var slow *Slow
	if errors.As(fault, &slow) {
		slow.Wait()
		fault = slow.Err
	}
	if fault == nil {
		_, err := call(math.MaxInt64)
		return err
	}
	var short *Short
	if errors.As(fault, &short) {
		if op.Kind == OpRead || op.Kind == OpWrite {
			if _, err := call(short.N); err != nil {
				return err
			}
		}
		fault = short.Err
	}
	if op.Kind == OpClose {
		_, _ = call(0) // the descriptor is gone even if close reports an error
	}
	if op.Kind == OpRename {
		return &os.LinkError{Op: string(op.Kind), Old: op.Path, New: op.To, Err: fault}
	}
	return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: fault}
}

// Rule is an entry of a Schedule: an error for some operations.
type Rule struct {
	Kind  OpKind // which operations; "" is every one
	Match string // a filepath.Match pattern for the base name; "" is every name
	Nth   int    // the first matching operation that fails, counted from 1; 0 is the first
	Times int    // how many fail from there on; 0 is one, negative all
	Err   error  // syscall.EIO, syscall.ENOSPC, *Short, ...
}

// Schedule makes a function for NewFaults out of rules. The first rule that fires decides, but every rule counts
// every operation that it matches.
func Schedule(rules ...Rule) func(Op) error {
	seen := make([]int, len(rules))
	return func(op Op) error {
		var err error
		for i, r := range rules {
			if r.Kind != "" && r.Kind != op.Kind {
				continue
			}
			if r.Match != "" {
				if ok, _ := filepath.Match(r.Match, filepath.Base(op.Path)); !ok {
					continue
				}
			}
			seen[i]++
			first, times := max(r.Nth, 1), r.Times
			if times == 0 {
				times = 1
			}
			if err == nil && seen[i] >= first && (times < 0 || seen[i] < first+times) {
				err = r.Err
			}
		}
		return err
	}
}
