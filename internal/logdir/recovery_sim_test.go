package logdir

import (
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
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

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
