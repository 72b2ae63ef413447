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
	"sync/atomic"
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
	id      schema.UUID
	log     *storage.Log
	dir     schema.UUID // where the controller knows it
	blocked bool        // another topic's log has the name
	acked   []string    // from offset 0 on
	durable int         // so many of them were flushed
	power   bool        // it was lost since settle looked
}

// TestSimRecovery ends a node at random operations while logs are recovered, deleted and created, while the disk is full or too many
// files are open: in the end every log is served, with all its records. Goroutines race, so a seed does not say all.
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
		c.c.OnRecovered = func(schema.UUID, int32) { c.createAll() }
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
	if c.rng.IntN(3) == 0 {
		n, from := 0, c.rng.IntN(40)
		to := from + c.rng.IntN(40)
		c.faults.Set(func(op vfs.Op) error {
			if n++; n > from && n < to && op.Kind == vfs.OpOpen && strings.Contains(op.Path, "-0/") {
				return syscall.EMFILE
			}
			return nil
		})
	}
	if err := c.opened(c.rng.Int64N(4000)); err != nil {
		c.t.Fatalf("seed %d: %v", seed, err)
	}
	c.faults.Set(nil)
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
		return x != nil && (x.id == id || id == schema.ZeroUUID)
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
	var err error
	if x.log, err = c.d.Create(name, x.id, 0, x.dir); x.log != nil {
		x.dir = c.d.DirID(x.log)
	}
	var other *storage.InconsistentTopicID
	x.blocked = errors.As(err, &other)
	if x.blocked && other.Have == x.id {
		c.t.Errorf("a log that is there: %v", err)
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
		if x.log.Flush(x.log.View().LogEnd) == nil {
			x.durable = len(x.acked)
		}
	default:
		value := fmt.Sprint(name, c.made, len(x.acked), strings.Repeat(".", c.rng.IntN(2000)))
		if a, err := x.log.Append([]record.Batch{oneBatch(value, int32(len(x.acked)))}, storage.AppendOptions{Now: time.Now()}); err == nil {
			x.log.SetHighWatermark(a.LastOffset + 1)
			x.acked = append(x.acked, value)
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
		x.log, x.power = nil, x.power || power
	}
}

// settle waits until all logs are there and looks at them.
func (c *crashes) settle(seed int) {
	c.t.Helper()
	c.createAll()
	c.d.Start()
	c.sweep(seed)
	c.changing.Lock()
	for name, x := range c.topics { // each for itself
		if x.blocked { // by what was a stray
			c.create(name, x)
		}
	}
	c.changing.Unlock()
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
		got := values(c.t, x.log)
		both := min(len(got), len(x.acked))
		least := len(x.acked)
		if x.power {
			least = x.durable
		}
		if len(got) < least || len(got) > len(x.acked)+1 || !slices.Equal(got[:both], x.acked[:both]) || x.log.TopicID() != x.id || c.d.Log(x.id, 0) != x.log {
			c.t.Fatalf("seed %d: log %s has %d records; %d were acknowledged, %d are durable, power lost: %v\n%s", seed, name, len(got), len(x.acked), x.durable, x.power, c.said.String())
		}
		x.acked, x.durable, x.power, x.log = got, len(got), false, nil // Close flushes
	}
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

// Logs of which there are two, and those of which nobody knows whose they are, are read at the start, however much there is.
func TestComparedAtTheStart(t *testing.T) {
	r := dirty(t, map[string]int{"t": 300, "u": 300}, "/a", "/b")
	if err := r.mem.Remove("/b/u-0/partition.metadata"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]schema.UUID{}
	for _, dir := range []string{"/a", "/b"} {
		m, err := ReadMeta(r.mem, dir)
		if err != nil {
			t.Fatal(err)
		}
		ids[dir] = m.DirectoryID
	}
	copyAll(t, r.mem, "/a/t-0", "/b/t-0")
	r.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return ids["/b"], true }
	r.open()
	l := r.d.Log(topic("t"), 0)
	if l == nil {
		t.Fatalf("the log is not served\n%s", r.said.String())
	}
	r.want("the log", []any{l.Dir(), l.View().LogEnd, r.exists("/a/t-0")}, []any{"/b/t-0", int64(300), false})
	_, err := r.d.Create("u", topic("u"), 0, schema.ZeroUUID)
	wantError(t, err, errUnnamed, "/b/u-0")
	r.close(1)
}

// copyAll copies a directory.
func copyAll(t testing.TB, m *vfs.Mem, from, to string) {
	t.Helper()
	names, err := m.List(from)
	if err = errors.Join(err, m.MkdirAll(to, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := vfs.ReadWhole(m, from+"/"+name, 1<<24)
		if err == nil {
			err = vfs.Replace(m, to+"/"+name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
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

// Where too many files are open from the first one of a log on, nobody knows at the start whose it is. It is recovered when Create asks.
func TestRecoveredAfterTooManyFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 1000}, "/a")
		r.faults.Set(func(op vfs.Op) error {
			if strings.Contains(op.Path, "/t-0/") && op.Kind == vfs.OpOpen {
				return syscall.EMFILE
			}
			return nil
		})
		r.open()
		r.d.Start()
		r.faults.Set(nil)
		_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
		wantError(t, err, ErrRecovering)
		synctest.Wait()
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(1000))
		r.close(1)
	})
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

// A log that was moving when the node was killed is served without a look at the copy, which is made anew.
func TestMovesAgain(t *testing.T) {
	for _, records := range []int{10, 1000} {
		r := newRig(t, "/a", "/b").open()
		l := r.create("t")
		r.append(l, records)
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		r.d.moveAll(func(int) bool { return false }) // a part of it
		r.kill()
		r.faults.Set(func(op vfs.Op) error { // its disk fails while it is read, or before
			if op.Kind == vfs.OpRead && strings.HasPrefix(op.Path, "/a/t-0/") && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		})
		r.open()
		r.recoverAll()
		r.want("without its log", []any{len(r.d.Logs()), len(r.list("/b"))}, []any{0, 1}) // the copy
		r.kill()
		r.ops.Reset()
		r.open()
		for _, op := range r.ops.Ops(vfs.OpRead) {
			if strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, "-future/") {
				t.Fatalf("the copy is read: %v", op)
			}
		}
		r.recoverAll()
		to := r.d.MovesTo(topic("t"), 0)
		r.want("moves", []any{r.d.DirID(r.d.Log(topic("t"), 0)), to}, []any{r.d.IDs()[0], r.d.IDs()[1]})
		for len(r.d.movesOf(nil)) > 0 {
			r.d.moveAll(func(int) bool { return true })
		}
		l = r.d.Log(topic("t"), 0)
		r.want("moved", []any{l.Dir(), l.View().LogEnd}, []any{"/b/t-0", int64(records)})
		r.close(1)
	}
}

// Create that comes while recovery ends gives the log, or is told that it is being recovered: it never makes another one.
func TestCreateWhileRecoveryEnds(t *testing.T) {
	for range 200 {
		r := dirty(t, map[string]int{"t": 5}, "/a", "/b")
		if err := r.opened(0); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					l, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
					if l != nil {
						if end := l.View().LogEnd; end != 5 {
							t.Errorf("a log that ends at %d", end)
						}
						return
					}
					if !errors.Is(err, ErrRecovering) {
						t.Error(err)
						return
					}
				}
			})
		}
		r.d.Start()
		wg.Wait()
		r.close(1)
	}
}

// A log that is flushed and idle when the node is killed is served at once, however much its last segment has.
func TestFlushedLogsAreServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		r.d.Start()
		l := r.create("t")
		for range 100 {
			if _, err := l.Append([]record.Batch{oneBatch(strings.Repeat(".", 16_000), -1)}, storage.AppendOptions{Now: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.kill()
		r.open()
		r.want("waiting", len(r.d.dirs[0].pending), 0)
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(100))
		r.close(1)
	})
}

// While a log may be opened another time, its copy in the directory where the metadata has it does not take its place.
func TestCopyDoesNotTakeThePlace(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	l := r.create("t")
	r.append(l, 10)
	if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
		t.Fatal(err)
	}
	r.d.moveAll(func(int) bool { return false })
	r.append(l, 10)
	there := r.d.IDs()[1]
	r.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return there, true }
	r.kill()
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpOpen && strings.HasPrefix(op.Path, "/a/t-0/") {
			return syscall.EMFILE
		}
		return nil
	})
	r.open()
	r.want("log", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
	r.faults.Set(nil)
	l, err := r.d.Create("t", topic("t"), 0, there)
	if err != nil {
		t.Fatal(err)
	}
	r.want("the log", []any{l.Dir(), l.View().LogEnd}, []any{"/a/t-0", int64(20)})
	r.close(1)
}

// A checkpoint that is written while logs are loaded has the lines of all: of those that are loaded, of those that are not, and of those
// of which there are two.
func TestCheckpointWhileLoading(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	for _, name := range []string{"t", "u", "v"} {
		l, err := r.d.Create(name, topic(name), 0, r.d.IDs()[0])
		if err != nil {
			t.Fatal(err)
		}
		r.append(l, 10)
		if err := l.Flush(10); err != nil {
			t.Fatal(err)
		}
	}
	r.d.checkpointAll(recoveryPoints)
	r.kill()
	copyAll(t, r.mem, "/a/t-0", "/b/t-0")
	r.write("0\n1\nt 0 10\n", "/b", checkpointFiles[recoveryPoints])
	torn := "/a/u-0/00000000000000000000.log"
	if b, err := vfs.ReadWhole(r.mem, torn, 1<<20); err != nil {
		t.Fatal(err)
	} else if err := vfs.Replace(r.mem, torn, b[:len(b)-1]); err != nil {
		t.Fatal(err)
	}
	r.c.RecoveryThreads = 1
	var said []string
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpRename && strings.HasSuffix(op.To, checkpointFiles[recoveryPoints]) {
			said = append(said, strings.ReplaceAll(r.file(op.Path), "\n", " "))
		}
		return nil
	})
	r.open()
	if len(said) == 0 || said[0] != "0 3 t 0 10 u 0 9 v 0 10 " {
		t.Fatalf("%q", said)
	}
}
