package storage

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/klamm-io/klamm/internal/vfs"
)

var exhaustive = flag.Bool("exhaustive", false, "let TestCompactionCrash interrupt every operation of more compactions")

// TestCompactionCrash lets a compaction fail at each of its operations on the disk: by a loss of power, by the end of the
// process, and by that operation alone, after which the log must go on. What Open finds, or the running log has, must
// hold every record that was not superseded, and the next compaction must complete the work.
func TestCompactionCrash(t *testing.T) {
	seeds, stride := uint64(2), 4
	if *exhaustive {
		seeds, stride = 20, 1
	}
	for _, mode := range []string{"power", "kill", "fault"} {
		t.Run(mode, func(t *testing.T) {
			total := 0
			for seed := range seeds {
				for at := 1 + int(seed)%stride; ; at += stride {
					c := crashing{t: t, seed: seed + 1, mode: mode, at: at}
					if !c.run() {
						break
					}
					total++
				}
			}
			t.Logf("%d operations", total)
			if total < 50 {
				t.Fatalf("only %d operations were interrupted", total)
			}
		})
	}
}

type crashing struct {
	t    *testing.T
	seed uint64
	mode string
	at   int // number of the operation
}

func (c crashing) Helper()                    { c.t.Helper() }
func (c crashing) Logf(f string, args ...any) { c.t.Helper(); c.t.Logf(f, args...) }
func (c crashing) Fatalf(f string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s: %s", c, fmt.Sprintf(f, args...))
}
func (c crashing) String() string { return fmt.Sprintf("seed %d, %s at %d", c.seed, c.mode, c.at) }

// run gives false if the compaction has fewer operations.
func (c crashing) run() bool {
	m := newCompactor(c, seeded(c.seed))
	m.c = NewCleaner(CleanerOptions{BufferBytes: 700})
	faults := vfs.NewFaults(m.mem, nil)
	m.o.FS = faults
	m.o.Config.SegmentBytes = 1500
	m.must(m.l.Close(true))
	m.reopen(true)
	fill := func() {
		for range 30 {
			m.append()
		}
		for pid := range int64(4) {
			if m.open[pid] {
				m.end(pid)
			}
		}
		m.must(m.l.Roll(m.now))
		m.l.SetHighWatermark(m.l.View().LogEnd)
		m.must(m.l.Flush(m.l.View().LogEnd))
	}
	fill()
	if c.seed%2 == 0 { // the second compaction meets what the first one left
		_, err := m.clean()
		m.must(err)
		fill()
	}
	d, err := m.l.CleanableOffsets(m.now)
	m.must(err)
	if d.DirtyBytes == 0 || len(m.l.View().segments) < 3 {
		m.t.Fatalf("nothing to do: %+v", d)
	}
	n, reached, last := 0, false, vfs.Op{}
	faults.Set(func(op vfs.Op) error {
		n++
		if n == c.at || n > c.at && c.mode != "fault" {
			if !reached {
				last = op
			}
			reached = true
			return syscall.EIO
		}
		return nil
	})
	_, err = m.l.Clean(m.c, CleanOptions{Cleanable: d, Now: m.now})
	faults.Set(nil)
	if !reached {
		m.must(err)
		return false
	}
	if err == nil && c.mode != "fault" { // closing a file may fail without consequence, also that of the last one
		if last.Kind != vfs.OpClose {
			m.t.Fatalf("compaction succeeded though %v failed", last)
		}
	}
	if err != nil && !errors.Is(err, syscall.EIO) {
		m.t.Fatalf("after %v: %v", last, err)
	}
	m.o.HighWatermark, m.o.RecoveryPoint = m.l.View().HighWatermark, m.l.RecoveryPoint()
	switch c.mode {
	case "power":
		m.mem.Crash(rand.New(rand.NewPCG(c.seed, uint64(c.at))))
		m.reopen(false)
	case "kill":
		if c.at%2 == 0 {
			m.o.RecoveryPoint = 0
		}
		m.reopen(false)
	case "fault":
		m.check(d.FirstUncleanable, false)
		if m.l.failedNow() != nil {
			m.l.Close(false)
			m.reopen(false)
		}
	}
	m.check(d.FirstUncleanable, false)
	// And the work can be completed.
	m.o.Cleaned = 0
	fill()
	m.must(m.l.Roll(m.now))
	m.l.SetHighWatermark(m.l.View().LogEnd)
	if _, err := m.clean(); err != nil {
		m.t.Fatalf("compaction after %v: %v", last, err)
	}
	m.must(m.l.Close(true))
	names, err := m.mem.List(m.o.Dir)
	m.must(err)
	for _, name := range names {
		if _, suffix, ok := parseName(name); ok && (hasSuffix(suffix, suffixCleaned) || hasSuffix(suffix, suffixSwap)) {
			m.t.Fatalf("%s is left after %v", name, last)
		}
	}
	return true
}

func (l *Log) failedNow() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func hasSuffix(s, suffix string) bool {
	return len(s) >= len(suffix) && s[len(s)-len(suffix):] == suffix
}
