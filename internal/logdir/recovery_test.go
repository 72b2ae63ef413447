package logdir

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
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
		var served []*storage.Log
		r.c.OnRecovered = func(l *storage.Log) { served = append(served, l) }
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
		if l == nil || !slices.Equal(served, []*storage.Log{l}) {
			t.Fatalf("after %v: %v, served %v\n%s", time.Since(begun), l, served, r.said.String())
		}
		v := l.View()
		r.want("log", []any{v.LogStart, v.HighWatermark, v.LogEnd, r.d.wanting.Load(), len(r.d.dirs[0].broken)}, []any{int64(0), int64(2000), int64(2000), false, 0})
		for _, line := range []string{"1 logs are offline until 2.0 MiB of them are recovered", "recovered 0 of 1 logs: 1.2 MiB of 2.0 MiB are read",
			"recovered the last of 1 logs: 2.0 MiB were read in 2."} {
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
		r.c.OnRecovered = func(l *storage.Log) {
			mu.Lock()
			defer mu.Unlock()
			served = append(served, fmt.Sprint(l.Topic(), time.Since(begun).Round(100*time.Millisecond)))
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
				r.c.OnRecovered = func(l *storage.Log) { served[l.Topic()] = true }
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
			r.c.OnRecovered = func(*storage.Log) { served++ }
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

// crashes is a node that is killed or loses power again and again, also while it recovers what the time before left. It does what
// package replica does: it creates the logs of the topics that exist until they are there.
type crashes struct {
	*rig
	rng *rand.Rand

	changing sync.Mutex // as replica.Set.changing; guards:
	topics   map[string]*crashed
	made     int // topics
}

// crashed is a topic of one partition.
type crashed struct {
	id                    schema.UUID
	log                   *storage.Log
	dir                   schema.UUID // where the controller knows it
	asked, acked, flushed int64       // offsets behind the last records of each kind
}

// TestSimRecovery ends a node at random operations while logs are recovered, deleted and created, while the disk is full or too many
// files are open: in the end every log is served, with all its records.
func TestSimRecovery(t *testing.T) {
	seeds := 60
	if text := os.Getenv("KLAMM_SIM_SEEDS"); text != "" {
		var err error
		if seeds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	recovered := 0
	for seed := range seeds {
		c := &crashes{rig: newRig(t, "/a", "/b"), rng: rand.New(rand.NewPCG(uint64(seed), 12)), topics: map[string]*crashed{}}
		c.c.Intervals = Intervals{RecoveryCheckpoint: 2 * time.Millisecond, HighWatermark: time.Millisecond, InitialDelay: time.Millisecond}
		c.c.Defaults.SegmentBytes = 20_000
		c.c.OnRetry = c.createAll
		c.c.Assigned = c.assigned
		c.c.OnRecovered = func(*storage.Log) { c.createAll() }
		for range 4 {
			c.begin(seed)
			c.live()
			c.die()
			c.begin(seed)
			if c.rng.IntN(2) == 0 { // dies once more while it recovers
				c.failAt(c.rng.IntN(300))
				c.d.Start()
				c.createAll()
				c.die()
				c.begin(seed)
			}
			recovered += c.d.recoveries.logs
			c.settle(seed)
			c.close(1)
		}
	}
	if recovered < seeds {
		t.Fatalf("only %d logs were recovered behind: the test shows nothing", recovered)
	}
}

// begin is a start.
func (c *crashes) begin(seed int) {
	c.t.Helper()
	c.c.RecoveryThreads = 1 + c.rng.IntN(3)
	if err := c.opened(c.rng.Int64N(4000)); err != nil {
		c.t.Fatalf("seed %d: %v", seed, err)
	}
	if c.rng.IntN(2) == 0 { // settle does so in any case
		c.sweep(seed)
	}
}

// sweep sets the logs of deleted topics aside.
func (c *crashes) sweep(seed int) {
	c.t.Helper()
	c.changing.Lock()
	defer c.changing.Unlock()
	if _, err := c.d.Strays(func(name string, id schema.UUID, _ int32) bool {
		x := c.topics[name]
		return x != nil && x.id == id
	}); err != nil {
		c.t.Fatalf("seed %d: %v", seed, err)
	}
}

// createAll is what the set of replicas does when it hears that logs may be there.
func (c *crashes) createAll() {
	c.changing.Lock()
	defer c.changing.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		c.create(name, c.topics[name])
	}
}

func (c *crashes) create(name string, x *crashed) {
	if x.log != nil {
		return
	}
	if x.log, _ = c.d.Create(name, x.id, 0, x.dir); x.log != nil {
		x.dir = c.d.DirID(x.log)
	}
}

// assigned is asked by Load, when nobody else is there, and by Create.
func (c *crashes) assigned(id schema.UUID, _ int32) (schema.UUID, bool) {
	for _, x := range c.topics { // at most one
		if x.id == id {
			return x.dir, x.dir != schema.ZeroUUID
		}
	}
	return schema.ZeroUUID, false
}

// failAt has every operation fail from the one of that number on.
func (c *crashes) failAt(at int) {
	var n int
	c.faults.Set(func(op vfs.Op) error {
		if n++; n > at && op.Kind != vfs.OpClose {
			return errKilled
		}
		return nil
	})
}

// live uses the logs while some are recovered. There is trouble for a while.
func (c *crashes) live() {
	n, from, number := 0, c.rng.IntN(400), []error{syscall.EMFILE, syscall.ENOSPC}[c.rng.IntN(2)]
	to := from + c.rng.IntN(200)
	c.faults.Set(func(op vfs.Op) error {
		n++
		if n > from && n < to && (op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate || op.Kind == vfs.OpWrite || op.Kind == vfs.OpTruncate) {
			return number
		}
		return nil
	})
	c.createAll()
	c.d.Start()
	for range 120 {
		c.changing.Lock()
		c.act(fmt.Sprint("t", c.rng.IntN(5)))
		c.changing.Unlock()
	}
	c.failAt(c.rng.IntN(30))
}

func (c *crashes) act(name string) {
	x := c.topics[name]
	switch act := c.rng.IntN(30); {
	case x == nil:
		c.made++
		x = &crashed{id: schema.UUID{byte(c.made), byte(c.made >> 8), 1}}
		c.topics[name] = x
		c.create(name, x)
	case act == 0:
		delete(c.topics, name) // whatever becomes of the log: the next start sweeps it
		_ = c.d.Delete(x.id, 0)
	case x.log == nil:
		runtime.Gosched()
	case act == 1:
		if end := x.log.View().LogEnd; x.log.Flush(end) == nil {
			x.flushed = end
		}
	default:
		b := codecs.NewBuilder()
		for range 1 + c.rng.IntN(8) {
			b.Add(time.Now().UnixMilli(), nil, make([]byte, 300), nil)
			x.asked++
		}
		if a, err := x.log.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()}); err == nil {
			x.log.SetHighWatermark(a.LastOffset + 1)
			x.acked = a.LastOffset + 1
		}
	}
}

// die ends a life by a kill or by a loss of power.
func (c *crashes) die() {
	c.faults.Set(func(vfs.Op) error { return errKilled })
	_ = c.d.Close(-1)
	c.faults.Set(nil)
	power := c.rng.IntN(3) == 0
	if power {
		c.mem.Crash(c.rng)
	}
	for _, x := range c.topics { // each for itself
		if x.log = nil; power {
			x.acked = x.flushed
		}
	}
}

// settle waits until all logs are there and looks at them.
func (c *crashes) settle(seed int) {
	c.t.Helper()
	c.createAll()
	c.d.Start()
	c.sweep(seed)
	c.createAll() // what had a stray's name
	deadline := time.Now().Add(20 * time.Second)
	for there := false; !there; runtime.Gosched() {
		c.changing.Lock()
		there = true
		for _, x := range c.topics { // each for itself
			there = there && x.log != nil
		}
		c.changing.Unlock()
		if !there && time.Now().After(deadline) {
			c.t.Fatalf("seed %d: not all logs are there\n%+v\n%s", seed, c.d.Info(), c.said.String())
		}
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	for name, x := range c.topics { // each for itself
		v := x.log.View()
		if v.LogEnd < x.acked || v.LogEnd > x.asked || x.log.TopicID() != x.id || c.d.Log(x.id, 0) != x.log {
			c.t.Fatalf("seed %d: log %s ends at %d; %d records were acknowledged, %d asked for\n%s", seed, name, v.LogEnd, x.acked, x.asked, c.said.String())
		}
		x.asked, x.acked, x.flushed, x.log = v.LogEnd, v.LogEnd, v.LogEnd, nil // Close flushes
	}
}
