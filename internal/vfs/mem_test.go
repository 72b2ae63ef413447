package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"
)

// What was synced survives every crash; what was not may be there or not, and both happens.
func TestCrashNames(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		m := NewMem(nil)
		must(t, m.MkdirAll("/d", 0o755))
		must(t, m.SyncDir("/"))
		f := create(t, m, "/d/synced", "old")
		must(t, f.Sync())
		must(t, m.SyncDir("/d"))
		create(t, m, "/d/loose", "x")
		must(t, m.Rename("/d/synced", "/d/renamed"))
		m.Crash(rand.New(rand.NewPCG(seed, 1)))
		names, err := m.List("/d")
		must(t, err)
		seen[fmt.Sprint(names)]++
		// A rename is never half done.
		if slices.Contains(names, "synced") == slices.Contains(names, "renamed") {
			t.Fatalf("seed %d: %v", seed, names)
		}
		for _, n := range []string{"synced", "renamed"} {
			if slices.Contains(names, n) && read(t, m, "/d/"+n) != "old" {
				t.Fatalf("seed %d: %s holds %q", seed, n, read(t, m, "/d/"+n))
			}
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("a file of the crashed process still reads: %v", err)
		}
	}
	for _, names := range []string{"[synced]", "[renamed]", "[loose synced]", "[loose renamed]"} {
		if seen[names] == 0 {
			t.Errorf("never saw %s: %v", names, seen)
		}
	}
}

// The way checkpoints are written: temporary file, sync, rename, sync of the directory. A crash at any point
// leaves the old or the new content, whole.
func TestCrashReplace(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := NewMem(nil)
		f := create(t, m, "/c", "old")
		must(t, f.Sync())
		must(t, m.SyncDir("/"))
		stop := rng.IntN(4)
		tmp := create(t, m, "/c.tmp", "new")
		must(t, tmp.Sync())
		if stop >= 1 {
			must(t, m.Rename("/c.tmp", "/c"))
		}
		if stop >= 2 {
			must(t, m.SyncDir("/"))
		}
		if stop >= 3 {
			m.Crash(rng)
		}
		m.Crash(rng)
		switch got := read(t, m, "/c"); {
		case got != "old" && got != "new", stop == 0 && got != "old", stop >= 2 && got != "new":
			t.Fatalf("seed %d, stopped after step %d: %q", seed, stop, got)
		}
	}
}

// Random writes, truncations and syncs: each block after a crash is one that was there at the sync or after it.
func TestCrashContent(t *testing.T) {
	torn, kept, lost := 0, 0, 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := NewMem(nil)
		f := create(t, m, "/f", "")
		must(t, m.SyncDir("/"))
		var live, durable []byte
		for step := range 30 {
			switch rng.IntN(6) {
			case 0:
				must(t, f.Sync())
				durable = bytes.Clone(live)
			case 1:
				n := rng.IntN(len(live) + 100)
				must(t, f.Truncate(int64(n)))
				live = append(live[:min(n, len(live)):min(n, len(live))], make([]byte, max(0, n-len(live)))...)
			default:
				p := bytes.Repeat([]byte{byte('A' + step)}, rng.IntN(20_000))
				off := rng.IntN(len(live) + 1)
				_, err := f.WriteAt(p, int64(off))
				must(t, err)
				live = append(live, make([]byte, max(0, off+len(p)-len(live)))...)
				copy(live[off:], p)
			}
		}
		if seed%2 == 0 {
			must(t, f.Sync())
			durable = bytes.Clone(live)
		}
		if got := read(t, m, "/f"); got != string(live) {
			t.Fatalf("seed %d: live content differs", seed)
		}
		if seed%5 == 0 {
			m.Crash(nil)
			if got := read(t, m, "/f"); got != string(durable) {
				t.Fatalf("seed %d: %d bytes after losing everything, %d were synced", seed, len(got), len(durable))
			}
			continue
		}
		m.Crash(rng)
		got := []byte(read(t, m, "/f"))
		if seed%2 == 0 && !bytes.Equal(got, durable) {
			t.Fatalf("seed %d: synced content was lost", seed)
		}
		switch {
		case bytes.Equal(live, durable):
		case bytes.Equal(got, live):
			kept++
		case bytes.Equal(got, durable):
			lost++
		default:
			torn++
		}
		if lo, hi := min(len(live), len(durable)), max(len(live), len(durable)); len(got) < lo || len(got) > hi {
			t.Fatalf("seed %d: %d bytes, want %d to %d", seed, len(got), lo, hi)
		}
		for i, c := range got {
			if !(i < len(live) && c == live[i] || i < len(durable) && c == durable[i] || i >= len(durable) && c == 0) {
				t.Fatalf("seed %d: byte %d is %q, neither old nor new", seed, i, c)
			}
		}
	}
	if torn == 0 || kept == 0 || lost == 0 {
		t.Fatalf("torn %d, kept %d, lost %d: each should happen", torn, kept, lost)
	}
}

func TestMemCapacity(t *testing.T) {
	m := NewMem(nil)
	m.SetCapacity(100_000)
	f := create(t, m, "/f", "")
	n, err := f.WriteAt(make([]byte, 150_000), 0)
	wantErr(t, "write beyond the capacity", err, syscall.ENOSPC)
	if size, _ := f.Size(); n > 100_000 || int64(n) != size {
		t.Fatalf("wrote %d, size %d", n, size)
	}
	must(t, f.Truncate(0))
	if u, _ := m.Usage("/"); u != (Usage{Total: 100_000, Free: 100_000}) {
		t.Fatalf("usage after truncation: %+v", u)
	}
	_, err = f.WriteAt(make([]byte, 90_000), 0)
	must(t, err)
}

func TestMemClock(t *testing.T) {
	now := time.Unix(1000, 0)
	m := NewMem(func() time.Time { return now })
	f := create(t, m, "/f", "x")
	now = now.Add(time.Hour)
	must(t, f.Sync())
	modified := func() time.Time {
		info, err := m.Stat("/f")
		must(t, err)
		return info.ModTime()
	}
	if got := modified(); !got.Equal(time.Unix(1000, 0)) {
		t.Fatalf("modified %v", got)
	}
	must(t, f.Truncate(0))
	if got := modified(); !got.Equal(now) {
		t.Fatalf("modified %v", got)
	}
}

// Crash gives the locks back, and what a removed file held.
func TestCrashReleases(t *testing.T) {
	m := NewMem(nil)
	l, err := m.Lock("/.lock")
	must(t, err)
	must(t, m.SyncDir("/"))
	create(t, m, "/gone", "12345")
	m.Crash(nil)
	l2, err := m.Lock("/.lock")
	must(t, err)
	must(t, l.Close()) // of the dead process: must not free the new lock
	_, err = m.Lock("/.lock")
	wantErr(t, "lock", err, ErrLocked)
	must(t, l2.Close())
	if u, _ := m.Usage("/"); u.Free != u.Total {
		t.Fatalf("a lost file still takes space: %+v", u)
	}
}

func BenchmarkMemAppend(b *testing.B) {
	m := NewMem(time.Now)
	f, err := m.OpenFile("/f", ReadWrite|Create, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 1024)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%65536 == 0 {
			f.Truncate(0)
		}
		if _, err := f.WriteAt(p, int64(i%65536)*1024); err != nil {
			b.Fatal(err)
		}
		if i%16 == 0 {
			f.Sync()
		}
	}
}
