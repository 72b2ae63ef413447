package vfs

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFaults(t *testing.T) {
	m := NewMem(nil)
	faults := NewFaults(m, Schedule(
		Rule{Kind: OpWrite, Match: "*.log", Nth: 2, Err: &Short{N: 3, Err: syscall.ENOSPC}},
		Rule{Kind: OpSync, Times: 2, Err: syscall.EIO},
		Rule{Kind: OpRename, Err: syscall.EIO},
		Rule{Kind: OpClose, Match: "c", Err: syscall.EIO},
	))
	f := create(t, faults, "/a.log", "first")
	other := create(t, faults, "/c", "second")
	n, err := f.WriteAt([]byte("123456"), 5)
	wantErr(t, "second write of a log", err, syscall.ENOSPC)
	if n != 3 || read(t, m, "/a.log") != "first123" {
		t.Fatalf("wrote %d: %q", n, read(t, m, "/a.log"))
	}
	_, err = f.WriteAt([]byte("456"), 8)
	must(t, err)
	wantErr(t, "sync", f.Sync(), syscall.EIO)
	wantErr(t, "sync again", f.Sync(), syscall.EIO)
	must(t, f.Sync())
	wantErr(t, "rename", faults.Rename("/a.log", "/b.log"), syscall.EIO)
	if _, err := m.Stat("/b.log"); err == nil {
		t.Fatal("a failed rename was done")
	}
	wantErr(t, "close", other.Close(), syscall.EIO)
	_, err = other.Size()
	wantErr(t, "use after a failed close", err, fs.ErrClosed)
	faults.Set(nil)
	must(t, faults.Rename("/a.log", "/b.log"))
}

// A failed sync has not synced: what was written may be lost.
func TestFaultsSyncIsNotDone(t *testing.T) {
	m := NewMem(nil)
	faults := NewFaults(m, Schedule(Rule{Kind: OpSync, Err: syscall.EIO}))
	f := create(t, faults, "/f", "x")
	must(t, faults.SyncDir("/"))
	wantErr(t, "sync", f.Sync(), syscall.EIO)
	m.Crash(nil)
	if got := read(t, m, "/f"); got != "" {
		t.Fatalf("got %q", got)
	}
}

func TestLog(t *testing.T) {
	l := NewLog(NewMem(nil))
	must(t, l.MkdirAll("/d", 0o755))
	f := create(t, l, "/d/f", "hello")
	must(t, f.Sync())
	f.ReadAt(make([]byte, 10), 2)
	must(t, f.Truncate(1))
	must(t, l.Rename("/d/f", "/d/g"))
	must(t, l.SyncDir("/d"))
	if err := l.Remove("/no"); err == nil {
		t.Fatal("removed nothing")
	}
	must(t, f.Close())
	var got []string
	for _, op := range l.Ops() {
		got = append(got, op.String())
	}
	want := []string{
		"mkdirall /d", "create /d/f", "write /d/f 0+5", "sync /d/f", "read /d/f 2+3: EOF", "truncate /d/f 1",
		"rename /d/f -> /d/g", "syncdir /d", "remove /no: remove /no: no such file or directory", "close /d/f",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if ops := l.Ops(OpSync, OpSyncDir); len(ops) != 2 {
		t.Fatalf("filtered: %v", ops)
	}
	l.Reset()
	if len(l.Ops()) != 0 {
		t.Fatal("not forgotten")
	}
}
