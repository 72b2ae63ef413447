package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
)

// fixture is a host of stores with partition 0 elected in epoch 1.
type fixture struct {
	t   *testing.T
	h   *Host
	log *memLog
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	f := &fixture{t: t, log: newMemLog()}
	image := metadata.Empty()
	c := Config{
		Topic: "topic", Log: f.log, Image: func() *metadata.Image { return image }, Seed: 1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		NewMachine: func(int32) machine.Machine[machine.Record] { return newStore() },
	}
	if change != nil {
		change(&c)
	}
	f.h = New(c)
	return f
}

// elect makes the shard and waits until it is loaded.
func (f *fixture) elect(partition, epoch int32) {
	f.log.lead(partition, epoch)
	f.h.Elected(partition, epoch)
	synctest.Wait()
}

func (f *fixture) close() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.h.Close(ctx); err != nil {
		f.t.Fatalf("close: %v", err)
	}
}

// answer is what came back for one command.
type answer struct {
	mu    sync.Mutex
	value any
	n     int
}

func (f *fixture) submit(body any) *answer {
	a := &answer{}
	f.h.Submit(0, machine.Command{Body: body}, func(v any) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.value, a.n = v, a.n+1
	})
	return a
}

// want checks the answer, nil for none yet.
func (f *fixture) want(a *answer, want any) {
	f.t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n > 1 {
		f.t.Fatalf("answered %d times", a.n)
	}
	if err, ok := want.(error); ok {
		got, _ := a.value.(error)
		if !errors.Is(got, err) {
			f.t.Fatalf("answer %v, want error %v", a.value, err)
		}
		return
	}
	if want == nil && a.n == 0 {
		return
	}
	if a.n == 0 || !cmp.Equal(a.value, want) {
		f.t.Fatalf("answer %v (%d), want %v", a.value, a.n, want)
	}
}

func (f *fixture) wantCounts(want ...int) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.log.counts(0)); diff != "" {
		f.t.Fatalf("records per batch: -want +got:\n%s", diff)
	}
}

func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.BatchBytesMax = 400 })
		defer f.close()
		f.elect(0, 1)
		gate := make(chan struct{})
		f.log.set(func(l *memLog) { l.gate = gate })
		first := f.submit(put{"x", "1"})
		synctest.Wait() // the shard stands in Append
		var all []*answer
		for i := range 5 {
			all = append(all, f.submit(put{fmt.Sprint(i), "v"}))
		}
		all = append(all, f.submit(await{"later"})) // no records
		again := f.submit(put{"0", "w"})            // meets the first of the batch
		read := f.submit(get{"0"})
		everything := f.submit(getAll{})
		last := f.submit(put{"long", strings.Repeat("l", 250)})
		longer := f.submit(put{"longer", strings.Repeat("l", 250)}) // does not fit beside it
		close(gate)
		f.want(first, "")
		for _, a := range all[:5] {
			f.want(a, "")
		}
		f.want(all[5], nil)
		f.want(again, "v")
		f.want(read, "w")
		f.want(everything, "map[0:w 1:v 2:v 3:v 4:v x:1]")
		f.want(last, "")
		f.want(longer, "")
		f.wantCounts(1, 5, 1, 1, 1)

		f.want(f.submit(put{"huge", strings.Repeat("h", 400)}), ErrTooLarge)
		f.want(f.submit(putAll{[]put{{"p", "1"}, {"q", "2"}}}), "ok")
		f.want(f.submit(put{"later", "now"}), "")
		f.want(all[5], "now")
		f.wantCounts(1, 5, 1, 1, 1, 2, 1)
	})
}

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Linger = 5 * time.Millisecond })
		defer f.close()
		f.elect(0, 1)
		a := f.submit(put{"a", "1"})
		time.Sleep(3 * time.Millisecond)
		b := f.submit(put{"b", "1"})
		f.want(a, nil)
		time.Sleep(2 * time.Millisecond)
		f.want(a, "")
		f.want(b, "")
		f.wantCounts(2)
	})
}

func TestHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.CommitTimeout = time.Second })
		defer f.close()
		f.elect(0, 1)
		f.log.set(func(l *memLog) { l.manualHW = true })
		early := f.submit(get{"a"})
		f.want(early, "")
		a := f.submit(put{"a", "1"})
		f.want(a, nil)
		read := f.submit(get{"b"})
		f.want(read, nil) // it might follow what vanishes
		f.log.commit(0)
		f.want(a, "")
		f.want(read, "")

		late := f.submit(put{"b", "1"})
		time.Sleep(999 * time.Millisecond)
		later := f.submit(put{"c", "1"})
		time.Sleep(time.Millisecond)
		f.want(late, ErrTimeout)
		f.want(later, nil)
		f.log.commit(0)
		f.want(later, "")
	})
}

func TestFailedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) {
			c.KafkaError = func(err error) error { return errors.Join(err, kerr.NotEnoughReplicas) }
		})
		defer f.close()
		f.elect(0, 1)
		f.want(f.submit(put{"a", "1"}), "")
		waits := f.submit(await{"a"})
		other := f.submit(await{"b"})
		f.log.set(func(l *memLog) { l.failWith = errors.New("disk") })
		f.want(f.submit(put{"a", "2"}), kerr.NotEnoughReplicas)
		f.want(waits, kerr.NotEnoughReplicas) // it was to be answered by what failed
		f.want(other, nil)
		f.want(f.submit(get{"a"}), "1")
		f.log.set(func(l *memLog) { l.failWith = nil })
		f.want(f.submit(put{"a", "2"}), "1")
		f.want(f.submit(put{"b", "2"}), "")
		f.want(other, "2")
	})
}

func TestLeadershipLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.want(f.submit(get{"a"}), ErrNotCoordinator)
		f.elect(0, 3)
		f.log.set(func(l *memLog) { l.manualHW = true })
		parked, waits := f.submit(put{"a", "1"}), f.submit(await{"a"})
		f.want(parked, nil)
		f.h.Resigned(0, 2) // old news
		f.want(parked, nil)
		f.h.Resigned(0, 4)
		f.want(parked, ErrNotCoordinator)
		f.want(waits, ErrNotCoordinator)
		f.want(f.submit(get{"a"}), ErrNotCoordinator)
		f.h.Elected(0, 3) // old news, too
		f.want(f.submit(get{"a"}), ErrNotCoordinator)

		// Back again: what was written and not answered is there.
		f.log.set(func(l *memLog) { l.manualHW = false })
		f.log.commit(0)
		f.elect(0, 5)
		f.want(f.submit(get{"a"}), "1")
		// A new epoch without an end in between loads again; another leader may have written.
		waits = f.submit(await{"a"})
		f.elect(0, 6)
		f.want(waits, ErrNotCoordinator)
		f.want(f.submit(get{"a"}), "1")
		if diff := cmp.Diff([]int32{0}, f.h.Active()); diff != "" {
			t.Fatalf("active: %s", diff)
		}
		// The log moved on without us being told: appends are refused.
		f.log.lead(0, 7)
		f.want(f.submit(put{"a", "2"}), kerr.NotLeaderForPartition)
		f.h.Resigned(0, -1)
		if got := f.h.Active(); len(got) > 0 {
			t.Fatalf("active: %v", got)
		}
	})
}

func TestLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.LoadBuffer = 1; c.Codec = record.Zstd })
		defer f.close()
		f.elect(0, 1)
		for i := range 10 {
			f.want(f.submit(putAll{[]put{{fmt.Sprint(i), "v"}, {"last", fmt.Sprint(i)}}}), "ok")
		}
		f.want(f.submit(putTxn{"committed", "c"}), "ok")
		f.want(f.submit(machine.Marker{Producer: machine.Producer{ID: 7, Epoch: 1}, Commit: true}), nil)
		f.want(f.submit(putTxn{"aborted", "c"}), "ok")
		f.want(f.submit(machine.Marker{Producer: machine.Producer{ID: 7, Epoch: 1}}), nil)
		f.want(f.submit(putTxn{"open", "c"}), "ok")
		state := f.submit(getAll{})
		synctest.Wait()
		f.h.Resigned(0, 2)

		gate := make(chan struct{})
		f.log.set(func(l *memLog) { l.readGate, l.readFail = gate, errors.New("disk") })
		f.elect(0, 3)
		f.want(f.submit(getAll{}), ErrLoading)
		note := machine.Command{Body: put{"note", "n"}}
		f.h.Submit(0, note, nil) // the node's own word is kept
		gate <- struct{}{}       // fails, and is tried again
		synctest.Wait()
		f.log.set(func(l *memLog) { l.readFail = nil })
		time.Sleep(time.Second)
		f.want(f.submit(getAll{}), ErrLoading)
		close(gate)
		synctest.Wait()
		want := strings.Replace(state.value.(string), "last:9", "last:9 note:n", 1)
		f.want(f.submit(getAll{}), want)
		f.want(f.submit(machine.Marker{Producer: machine.Producer{ID: 7, Epoch: 1}, Commit: true}), nil)
		f.want(f.submit(get{"open"}), "c")
	})
}

// A log that could not be read is read when somebody says that it can be, or when a pause is over that grows.
func TestReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.elect(0, 1)
		f.want(f.submit(putAll{[]put{{"a", "1"}}}), "ok")
		f.log.set(func(l *memLog) { l.readFail = errors.New("being recovered") })
		f.elect(0, 2)
		f.h.Readable(0) // it is not
		f.h.Readable(1) // nobody's
		synctest.Wait()
		f.want(f.submit(getAll{}), ErrLoading)
		time.Sleep(1500 * time.Millisecond) // the next try is 500 ms away, the one after that more than 2 s
		f.log.set(func(l *memLog) { l.readFail = nil })
		f.want(f.submit(getAll{}), ErrLoading)
		f.h.Readable(0)
		synctest.Wait()
		f.want(f.submit(getAll{}), "map[a:1]")
		f.h.Readable(0) // does no harm
		f.want(f.submit(getAll{}), "map[a:1]")
	})
}

// TestLoadFrom starts in the middle of a batch, as after DeleteRecords.
func TestLoadFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.elect(0, 1)
		f.want(f.submit(putAll{[]put{{"a", "1"}, {"b", "1"}, {"c", "1"}}}), "ok")
		f.log.set(func(l *memLog) { l.part(0).start = 2 })
		f.elect(0, 2)
		f.want(f.submit(getAll{}), "map[c:1]")
	})
}

func TestCorruptLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.elect(0, 1)
		f.want(f.submit(put{"a", "1"}), "")
		f.log.set(func(l *memLog) { l.part(0).batches[0][69] ^= 1 })
		f.elect(0, 2)
		f.want(f.submit(get{"a"}), ErrNotCoordinator)
		f.log.set(func(l *memLog) { l.part(0).batches[0][69] ^= 1 })
		f.elect(0, 3)
		f.want(f.submit(get{"a"}), "1")
	})
}

// TestApplyFails shows a machine that refuses a record that is in the log: the shard ends rather than go on beside it.
func TestApplyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.elect(0, 1)
		waits := f.submit(await{"x"})
		f.want(f.submit(poison{"bad"}), "ok")
		f.want(f.submit(put{"bad", "1"}), ErrNotCoordinator)
		f.want(waits, ErrNotCoordinator)
		f.want(f.submit(get{"bad"}), ErrNotCoordinator)
		f.elect(0, 2)
		f.want(f.submit(get{"bad"}), "1")
	})
}

func TestTimersAndJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		f.elect(0, 1)
		began := time.Now()
		a := f.submit(wake{time.Minute})
		time.Sleep(time.Minute - 1)
		f.want(a, nil)
		time.Sleep(time.Nanosecond)
		f.want(a, began.Add(time.Minute))
		f.want(f.submit(job{"done"}), "done!")
	})
}

func TestMailboxFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.MailboxMax = 2 })
		defer f.close()
		f.elect(0, 1)
		gate := make(chan struct{})
		f.log.set(func(l *memLog) { l.gate = gate })
		a := f.submit(put{"a", "1"})
		synctest.Wait()
		b, c, d := f.submit(get{"a"}), f.submit(get{"a"}), f.submit(get{"a"})
		f.want(d, ErrBusy)
		f.want(b, nil)
		close(gate)
		f.want(a, "")
		f.want(b, "1")
		f.want(c, "1")
	})
}

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		defer f.close()
		var got []any
		f.h.Broadcast(machine.Command{Body: getAll{}}, func(values []any) { got = append(got, values) })
		for p := range int32(3) {
			f.elect(p, 1)
			f.h.Submit(p, machine.Command{Body: put{"p", fmt.Sprint(p)}}, func(any) {})
		}
		f.h.Broadcast(machine.Command{Body: getAll{}}, func(values []any) { got = append(got, values) })
		f.h.Broadcast(machine.Command{Body: put{"all", "1"}}, nil)
		synctest.Wait()
		f.h.Broadcast(machine.Command{Body: get{"all"}}, func(values []any) { got = append(got, values) })
		synctest.Wait()
		want := []any{[]any(nil), []any{"map[p:0]", "map[p:1]", "map[p:2]"}, []any{"1", "1", "1"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.elect(0, 1)
		waits := f.submit(await{"a"})
		f.close()
		f.want(waits, ErrClosed)
		f.want(f.submit(get{"a"}), ErrClosed)
		f.h.Elected(1, 1)
		f.close()
	})
}

// DETAILS 30: the absolute value of Java's String.hashCode over UTF-16, modulo the number of partitions. The first
// lines are where Apache Kafka put these groups.
func TestPartitionFor(t *testing.T) {
	for _, c := range []struct {
		key  string
		n    int32
		want int32
	}{
		{"cli-gk", 50, 29}, {"cli-g1", 50, 37}, {"cli-fresh", 50, 35}, {"cli-fresh2", 50, 41},
		{"", 50, 0}, {"a", 50, 47}, {"😀", 50, 1772899 % 50}, {"ü", 50, 252 % 50},
		{"polygenelubricants", 50, 0}, // its hash is the smallest number, which has no absolute value
	} {
		if got := PartitionFor(c.key, c.n); got != c.want {
			t.Fatalf("partition of %q: %d, want %d", c.key, got, c.want)
		}
	}
}
