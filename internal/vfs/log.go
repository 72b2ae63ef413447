package vfs

import (
	"math"
	"slices"
	"sync"
)

// Log is an FS that records what is done, so that a test can say what was read and what was synced. Reads and
// writes have the length that was done.
type Log struct {
	intercepted
	mu  sync.Mutex // guards ops
	ops []Op
}

// NewLog wraps a file system.
func NewLog(fs FS) *Log {
	l := &Log{}
	l.intercepted = intercepted{fs, l}
	return l
}

func (l *Log) do(op Op, call func(int64) (int64, error)) error {
	op.Length, op.Err = call(math.MaxInt64)
	l.mu.Lock()
	l.ops = append(l.ops, op)
	l.mu.Unlock()
	return op.Err
}

// Ops gives the operations so far, of the given kinds only if there are any.
func (l *Log) Ops(kinds ...OpKind) []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Op
	for _, op := range l.ops {
		if len(kinds) == 0 || slices.Contains(kinds, op.Kind) {
			out = append(out, op)
		}
	}
	return out
}

// Reset forgets the operations so far.
func (l *Log) Reset() {
	l.mu.Lock()
	l.ops = nil
	l.mu.Unlock()
}
