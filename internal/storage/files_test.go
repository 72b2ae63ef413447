package storage

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"syscall"
	"testing"

	"github.com/klamm-io/klamm/internal/vfs"
)

// Many logs share a few open files: what is not in use is closed, and opened again when it is needed.
func TestFiles(t *testing.T) {
	_, o := memory(t)
	o.Files = NewFiles(10)
	var logs []*Log
	for i := range 50 {
		o.Dir = fmt.Sprintf("/d/t-%d", i)
		l, _ := open(t, o)
		logs = append(logs, l)
	}
	bounded := func(when string) {
		t.Helper()
		open := 0
		for _, l := range logs {
			open += l.OpenFiles()
		}
		if open > 10 || o.Files.Open() > 10 {
			t.Fatalf("%s: %d files are open, %d known", when, open, o.Files.Open())
		}
	}
	bounded("opened")
	for range 3 {
		for _, l := range logs {
			mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{})
		}
	}
	bounded("appended")
	for _, l := range logs {
		checkDense(t, readAll(t, l, LogEnd), 0, 3)
	}
	bounded("read")
	held, err := logs[0].View().Read(0, 1, LogEnd, true) // somebody reads on while the others need files
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs[1:] {
		mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{})
	}
	if _, err := held.Bytes(); err != nil {
		t.Fatal(err)
	}
	held.Release()
	for _, l := range logs {
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	bounded("closed")
}

// Segments' files that cannot be opened for their number leave the log as it is, whatever wants them: an append, a roll, a truncation, a
// flush with its snapshots. It works on when there are fewer, and what a flush says is durable then is.
func TestTooManyOpenFiles(t *testing.T) {
	for at := 1; ; at++ {
		mem, o := memory(t)
		faults := vfs.NewFaults(mem, nil)
		o.FS, o.Config.IndexInterval = faults, 1
		l, _ := open(t, o)
		sequence := int32(0)
		fill := func() error {
			sequence++
			_, err := tryAppend(l, idempotent(1, 0, sequence-1, 1, false), AppendOptions{})
			if err != nil {
				sequence--
			}
			return err
		}
		idle := func() {
			for _, s := range l.View().segments {
				for _, f := range s.files() {
					f.h.idle()
				}
			}
		}
		if err := errors.Join(fill(), fill(), l.Roll(t0), fill(), fill(), fill()); err != nil {
			t.Fatal(err)
		}
		idle()
		n, hit := 0, false
		faults.Set(func(op vfs.Op) error {
			if opens(op) {
				if n++; n == at {
					hit = true
					return syscall.EMFILE
				}
			}
			return nil
		})
		want := int64(5)
		if err := l.Truncate(4, t0); err == nil {
			want, sequence = 4, 4
		} else if !errors.Is(err, syscall.EMFILE) {
			t.Fatal(err)
		}
		idle()
		if err := l.Roll(t0); err != nil && !errors.Is(err, syscall.EMFILE) {
			t.Fatal(err)
		}
		idle()
		for range 2 {
			if err := fill(); err == nil {
				want++
			} else if !errors.Is(err, syscall.EMFILE) {
				t.Fatal(err)
			}
			idle()
		}
		err := l.Flush(want)
		faults.Set(nil)
		if err != nil && !errors.Is(err, syscall.EMFILE) {
			t.Fatal(err)
		}
		if err := errors.Join(fill(), l.Flush(want+1)); err != nil {
			t.Fatalf("file %d: the log does not work on: %v", at, err)
		}
		mem.Crash(nil)
		l.Close(false)
		l, rec := open(t, o)
		if end := l.View().LogEnd; end != want+1 {
			t.Fatalf("file %d: %d records of %d are left: %+v", at, end, want+1, rec)
		}
		l.Close(true)
		if !hit {
			if at < 15 {
				t.Fatalf("only %d files were opened", at-1)
			}
			return
		}
	}
}

// opens says whether an operation needs another file to be open for it.
func opens(op vfs.Op) bool {
	switch op.Kind {
	case vfs.OpOpen, vfs.OpCreate, vfs.OpOpenDir, vfs.OpSyncDir, vfs.OpList:
		return true
	}
	return false
}

// Each file that an operation opens cannot be for their number, and those behind it, or only that one: the log is not doomed, the operation
// can be done afterwards, and a crash then finds all records.
func TestTooManyOpenFilesInOperations(t *testing.T) {
	operations := maps.Clone(hotOperations)
	delete(operations, "close")
	// Where a segment began, or may have, and behind all of them.
	operations["start over"] = func(l *Log) error { return l.TruncateFully(20, t0) }
	operations["start further on"] = func(l *Log) error { return l.TruncateFully(50, t0) }
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			for _, last := range []int{1, math.MaxInt} {
				at := 1
				for ; tooManyAt(t, name, operation, at, last); at++ {
				}
				if at < map[string]int{"retention": 2, "clean": 4, "start over": 4}[name] {
					t.Fatalf("it opens only %d files", at-1)
				}
			}
		})
	}
}

// tooManyAt fails so many calls that open files from one on. False: there are not so many.
func tooManyAt(t *testing.T, name string, operation func(*Log) error, at, count int) bool {
	t.Helper()
	mem, o := memory(t)
	faults := vfs.NewFaults(mem, nil)
	o.FS, o.Config = faults, Config{SegmentBytes: 2000, IndexInterval: 300}
	l, _ := open(t, o)
	if err := errors.Join(l.BecomeLeader(1), mem.MkdirAll("/e", 0o755), mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		mustAppend(t, l, records(1, t0.UnixMilli()+int64(i), 100), AppendOptions{LeaderEpoch: 1})
	}
	l.SetHighWatermark(40)
	if err := l.Flush(40); err != nil {
		t.Fatal(err)
	}
	for _, s := range l.View().segments {
		for _, f := range s.files() {
			f.h.idle()
		}
	}
	n := 0
	faults.Set(func(op vfs.Op) error {
		if opens(op) {
			if n++; n >= at && n-at < count {
				return syscall.EMFILE
			}
		}
		return nil
	})
	err := operation(l)
	faults.Set(nil)
	where := fmt.Sprintf("call %d, %d of them", at, count)
	if n < at {
		if err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		l.Close(false)
		return false
	}
	if err != nil && !errors.Is(err, syscall.EMFILE) {
		t.Fatalf("%s: %v", where, err)
	}
	if _, err := tryAppend(l, records(1, t0.UnixMilli(), 100), AppendOptions{LeaderEpoch: l.View().LeaderEpoch}); err != nil {
		t.Fatalf("%s: the log does not work on: %v", where, err)
	}
	l.SetHighWatermark(l.View().LogEnd)
	if name != "move" { // what there is of the copy is its caller's
		if err := operation(l); err != nil {
			t.Fatalf("%s: once more: %v", where, err)
		}
	}
	mustAppend(t, l, records(1, t0.UnixMilli(), 100), AppendOptions{LeaderEpoch: l.View().LeaderEpoch})
	if err := l.Flush(l.View().LogEnd); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	v := l.View()
	mem.Crash(nil)
	o.Dir, o.LogStartOffset, o.RecoveryPoint = l.Dir(), v.LogStart, l.RecoveryPoint()
	l.Close(false)
	again, rec := open(t, o)
	defer again.Close(false)
	if w := again.View(); w.LogStart != v.LogStart || w.LogEnd != v.LogEnd {
		t.Fatalf("%s: [%d, %d) is left of [%d, %d): %+v", where, w.LogStart, w.LogEnd, v.LogStart, v.LogEnd, rec)
	}
	if name != "clean" {
		checkDense(t, readAll(t, again, LogEnd), v.LogStart, v.LogEnd)
	}
	return true
}
