package logdir

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// kill ends the process; what was written stays.
func (r *rig) kill() {
	r.t.Helper()
	r.faults.Set(func(vfs.Op) error { return errKilled })
	r.d.Close(-1)
	r.faults.Set(nil)
}

// slowly makes every read of a log take so long.
func (r *rig) slowly(log string, each time.Duration) {
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.Contains(op.Path, log) && strings.HasSuffix(op.Path, ".log") {
			return &vfs.Slow{Wait: func() { time.Sleep(each) }}
		}
		return nil
	})
}

// dirty is a rig with logs that a kill left with so many records of a kilobyte, none of which was flushed, and at Load.
func dirty(t testing.TB, records map[string]int, dirs ...string) *rig {
	t.Helper()
	r := newRig(t, dirs...).open()
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r.append(r.create(name), records[name])
	}
	for k := range checkpointKinds {
		r.d.checkpointAll(k)
	}
	r.kill()
	return r
}

// Load leaves a log with much to read to be recovered behind, and the others are served. Its place is kept until then.
func TestRecoversBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 2000, "u": 3, "v": 0}, "/a")
		var served []schema.UUID
		r.c.OnRecovered = func(id schema.UUID, _ int32) { served = append(served, id) }
		r.slowly("t-0", 300*time.Millisecond) // 256 KiB
		r.open()
		begun := time.Now()
		r.want("logs", []any{r.d.Log(topic("t"), 0), r.d.Log(topic("u"), 0).View().LogEnd, r.d.Log(topic("v"), 0).View().LogEnd},
			[]any{(*storage.Log)(nil), int64(3), int64(0)})
		r.append(r.d.Log(topic("u"), 0), 1)
		for range 2 {
			_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
			wantError(t, err, ErrRecovering, "t-0")
			_, err = r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
			wantError(t, err, nil, "belongs to")
			wantError(t, r.d.Info()[0].Logs[0].Err, ErrRecovering)
			for k := range checkpointKinds {
				r.d.checkpointAll(k)
			}
			r.want("lines", r.file("/a", checkpointFiles[highWatermarks]), "0\n3\nt 0 2000\nu 0 4\nv 0 0\n")
			r.d.Start()
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		l := r.d.Log(topic("t"), 0)
		if l == nil || !slices.Equal(served, []schema.UUID{topic("t")}) {
			t.Fatalf("after %v: %v, served %v\n%s", time.Since(begun), l, served, r.said.String())
		}
		v := l.View()
		r.want("log", []any{v.LogStart, v.HighWatermark, v.LogEnd, r.d.wanting.Load(), len(r.d.dirs[0].broken)}, []any{int64(0), int64(2000), int64(2000), false, 0})
		for _, line := range []string{"1 logs are offline until 2.0 MiB of them are recovered", "recovered 0 of 1 logs: 1.2 MiB of 2.0 MiB are read",
			"recovered 1 of 1 logs, the last one now: 2.0 MiB were read in 2."} {
			if !strings.Contains(r.said.String(), line) {
				t.Fatalf("nothing says %q\n%s", line, r.said.String())
			}
		}
		r.append(l, 1)
		r.close(5)
		r.open()
		r.want("after a clean end", []any{r.d.CleanShutdownEpoch(), r.d.Log(topic("t"), 0).View().LogEnd}, []any{int64(5), int64(2001)})
		r.close(5)
	})
}

// The logs with the least to read come first, in each directory as many at once as there are threads.
func TestOrderOfRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 1200, "u": 1200, "v": 300, "w": 300, "x": 600, "y": 600}, "/a", "/b")
		r.c.RecoveryThreads = 1
		var mu sync.Mutex // guards served
		var served []string
		begun := time.Now()
		r.c.OnRecovered = func(id schema.UUID, index int32) {
			mu.Lock()
			defer mu.Unlock()
			served = append(served, fmt.Sprint(r.d.Log(id, index).Topic(), time.Since(begun).Round(100*time.Millisecond)))
		}
		r.slowly("-0", 100*time.Millisecond)
		r.open()
		r.d.Start()
		time.Sleep(time.Minute)
		synctest.Wait()
		slices.Sort(served)
		r.want("served", served, []string{"t1s", "u1s", "v200ms", "w200ms", "x500ms", "y500ms"})
		r.close(1)
	})
}

// A log that is deleted, or set aside, while it is recovered or waits for that is not served and its recovery ends at once.
func TestRetiredWhileRecovering(t *testing.T) {
	for _, stray := range []bool{false, true} {
		for _, after := range []time.Duration{-1, 0, 500 * time.Millisecond, 10 * time.Second} { // negative: before Start
			synctest.Test(t, func(t *testing.T) {
				r := dirty(t, map[string]int{"t": 1000, "u": 1100}, "/a")
				r.c.RecoveryThreads = 1
				served := map[string]bool{}
				r.c.OnRecovered = func(id schema.UUID, _ int32) { served[string(id[:1])] = true }
				r.slowly("t-0", 300*time.Millisecond)
				r.open()
				if after >= 0 {
					r.d.Start()
					time.Sleep(after)
					synctest.Wait()
				}
				begun := time.Now()
				if stray {
					moved, err := r.d.Strays(func(topic string, _ schema.UUID, _ int32) bool { return topic == "u" })
					r.want("strays", []any{len(moved), err}, []any{1, nil})
				} else if err := r.d.Delete(topic("t"), 0); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took > 300*time.Millisecond {
					t.Fatalf("it took %v", took)
				}
				r.want("names", []any{r.exists("/a/t-0"), r.d.Log(topic("t"), 0)}, []any{false, (*storage.Log)(nil)})
				l, err := r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
				if err != nil {
					t.Fatal(err)
				}
				r.append(l, 1)
				r.d.Start()
				time.Sleep(20 * time.Second)
				synctest.Wait()
				want := map[string]bool{"u": true}
				if after == 10*time.Second { // it was served before
					want["t"] = true
				}
				r.want("served", served, want)
				r.close(1)
			})
		}
	}
}

// Close ends recovery. The directory does not count as shut down cleanly, and the next start does it all.
func TestCloseWhileRecovering(t *testing.T) {
	for _, started := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := dirty(t, map[string]int{"t": 1000, "u": 1000, "v": 1}, "/a", "/b")
			r.slowly("t-0", time.Second)
			r.open()
			if started {
				r.d.Start()
				time.Sleep(2500 * time.Millisecond)
			}
			begun := time.Now()
			r.close(3)
			if took := time.Since(begun); took > time.Second {
				t.Fatalf("Close took %v", took)
			}
			r.faults.Set(nil)
			r.open()
			r.want("clean", []any{r.d.dirs[0].clean, r.d.dirs[1].clean, r.d.Log(topic("u"), 0) != nil}, []any{false, started, started})
			r.d.Start()
			time.Sleep(time.Second)
			synctest.Wait()
			r.want("log", r.d.Log(topic("t"), 0).View().LogEnd, int64(1000))
			r.close(4)
			r.open()
			r.want("epoch", r.d.CleanShutdownEpoch(), int64(4))
			r.close(4)
		})
	}
}

// A log whose recovery ends for want of room or of open files is recovered when Create is called again. One whose disk fails is offline.
func TestRecoveryFails(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.EMFILE, syscall.ENOSPC, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			r := dirty(t, map[string]int{"t": 1000, "u": 1}, "/a", "/b")
			r.faults.Set(func(op vfs.Op) error {
				if strings.Contains(op.Path, "t-0/") && (op.Kind == vfs.OpTruncate || op.Kind == vfs.OpCreate) {
					return number
				}
				return nil
			})
			var served, offline int
			r.c.OnRecovered = func(id schema.UUID, index int32) {
				if r.d.Log(id, index) != nil {
					served++
				}
			}
			r.c.OnOffline = func(schema.UUID, error) { offline++ }
			r.c.OnRetry = func() {
				if _, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID); !errors.Is(err, ErrRecovering) {
					t.Errorf("%v: %v", number, err)
				}
			}
			r.open()
			r.d.Start()
			time.Sleep(time.Minute)
			synctest.Wait()
			r.want("in vain", []any{served, offline, r.d.Log(topic("t"), 0) == nil}, []any{0, map[bool]int{true: 1}[number == syscall.EIO], true})
			r.faults.Set(nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if number == syscall.EIO {
				_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
				wantError(t, err, syscall.EIO, "offline")
				wantError(t, r.d.Delete(topic("t"), 0), ErrOffline)
				r.d.Close(-1)
				return
			}
			r.want("later", []any{served, r.d.Log(topic("t"), 0).View().LogEnd}, []any{1, int64(1000)})
			r.close(1)
		})
	}
}

// recoverAll recovers what Load has left, on this goroutine.
func (r *rig) recoverAll() {
	for _, dir := range r.d.dirs {
		dir.readers++
		for b, x := r.d.nextRecovery(dir); b != nil; b, x = r.d.nextRecovery(dir) {
			r.d.recoverLog(b, x)
		}
	}
}

// opened opens and loads with little that Load reads of a log.
func (r *rig) opened(atLoad int64) error {
	var err error
	if r.d, err = Open(r.c); err != nil {
		return err
	}
	r.d.atLoad = atLoad
	return r.d.Load(context.Background())
}

// num.recovery.threads.per.data.dir acts at once on what is being recovered.
func TestRecoveryThreadsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 1000, "u": 1000, "v": 1000, "w": 1000}, "/a")
		r.c.RecoveryThreads = 1
		r.slowly("-0", time.Second)
		r.open()
		r.d.Start()
		readers := func() int {
			synctest.Wait()
			r.d.mu.Lock()
			defer r.d.mu.Unlock()
			return r.d.dirs[0].readers
		}
		time.Sleep(1500 * time.Millisecond)
		r.want("readers", readers(), 1)
		r.d.SetRecoveryThreads(3)
		r.want("readers when there may be three", readers(), 3)
		r.d.SetRecoveryThreads(2)
		time.Sleep(4 * time.Second)
		r.want("readers when there may be two", readers(), 2)
		time.Sleep(time.Minute)
		r.want("readers in the end", readers(), 0)
		r.want("logs", len(r.d.Logs()), 4)
		r.close(1)
	})
}

// A log that the metadata has in a directory which is not here is not recovered, nor is one whose directory fails: none is served, and
// nothing more is read of a disk that failed.
func TestNotRecovered(t *testing.T) {
	for _, after := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} { // t is being read, for the last time; w waits
		synctest.Test(t, func(t *testing.T) {
			r := dirty(t, map[string]int{"t": 300, "u": 300, "v": 300, "w": 300, "x": 300}, "/a", "/b", "/c")
			elsewhere := schema.UUID{1, 2, 3}
			r.c.Assigned = func(id schema.UUID, _ int32) (schema.UUID, bool) { return elsewhere, id == topic("u") }
			var gone atomic.Bool
			var used []string // of a directory that failed
			r.c.RecoveryThreads = 1
			r.faults.Set(func(op vfs.Op) error {
				switch {
				case strings.HasPrefix(op.Path, "/c") && op.Kind != vfs.OpClose:
					return syscall.EIO
				case gone.Load() && strings.HasPrefix(op.Path, "/a/w"):
					used = append(used, op.Path)
				case op.Kind != vfs.OpRead || !strings.HasPrefix(op.Path, "/a") || !strings.HasSuffix(op.Path, ".log"):
					return nil
				}
				return &vfs.Slow{Wait: func() { time.Sleep(time.Second) }}
			})
			r.open()
			r.d.Start()
			time.Sleep(after)
			gone.Store(true)
			r.d.diskFailed(r.d.dirs[0], syscall.EIO)
			r.d.Abandon(r.d.dirs[0].meta.DirectoryID)
			time.Sleep(time.Minute)
			synctest.Wait()
			r.want("used of a disk that failed, logs", []any{len(used), len(r.d.Logs())}, []any{0, 1}) // x in /b
			for _, name := range []string{"t", "u", "w"} {
				_, err := r.d.Create(name, topic(name), 0, r.d.dirs[0].meta.DirectoryID)
				wantError(t, err, ErrOffline)
			}
			r.want("said", strings.Count(r.said.String(), "level=ERROR"), 3) // two disks, and u at the start
			r.d.Close(-1)
		})
	}
}

// A log of which a full disk lets no more than its reading come to its end is read more and more seldom.
func TestRecoveryPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 1000}, "/a")
		var read int64
		r.faults.Set(func(op vfs.Op) error {
			switch {
			case op.Kind == vfs.OpRead && strings.HasSuffix(op.Path, "/t-0/00000000000000000000.log"):
				read += op.Length
			case op.Kind == vfs.OpTruncate && strings.Contains(op.Path, "/t-0/"):
				return syscall.ENOSPC
			}
			return nil
		})
		r.c.OnRetry = func() { _, _ = r.d.Create("t", topic("t"), 0, schema.ZeroUUID) }
		r.open()
		r.d.Start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if times := read >> 20; times < 3 || times > 10 {
			t.Fatalf("a MiB was read %d times in ten minutes", times)
		}
		r.faults.Set(nil)
		time.Sleep(recoveryPauseMax + time.Minute)
		synctest.Wait()
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(1000))
		if !strings.Contains(r.said.String(), "recovered 1 of 1 logs") {
			t.Fatal(r.said.String())
		}
		r.close(1)
	})
}

// A directory that was shut down cleanly, and of which a log whose index is gone is being read, does not count as shut down cleanly.
func TestCloseWhileAnIndexIsRebuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 1000)
		if err := l.Roll(time.Now()); err != nil {
			t.Fatal(err)
		}
		r.close(1)
		if err := r.mem.Remove("/a/t-0/00000000000000000000.index"); err != nil {
			t.Fatal(err)
		}
		r.slowly("t-0", time.Second)
		r.open()
		r.want("clean", []any{r.d.dirs[0].clean, r.d.Log(topic("t"), 0)}, []any{true, (*storage.Log)(nil)})
		r.d.Start()
		time.Sleep(1500 * time.Millisecond)
		r.close(2)
		r.faults.Set(nil)
		r.open()
		r.want("clean after that", r.d.dirs[0].clean, false)
		r.recoverAll()
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(1000))
		r.close(3)
	})
}
