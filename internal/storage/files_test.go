package storage

import (
	"errors"
	"fmt"
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
			if op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate || op.Kind == vfs.OpSyncDir { // which opens the directory
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
