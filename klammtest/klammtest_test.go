package klammtest_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/klammtest"
)

func client(t testing.TB, c *klammtest.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Bootstrap()...), kgo.Dialer(c.Dial)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func create(t testing.TB, c *klammtest.Cluster, topic string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, c)).CreateTopic(within(t, 10*time.Second), partitions, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

// read consumes n records of a topic from its start.
func read(t testing.TB, c *klammtest.Cluster, topic string, n int) []*kgo.Record {
	t.Helper()
	cl := client(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx := within(t, 20*time.Second)
	var out []*kgo.Record
	for len(out) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, fs.Records()...)
	}
	return out
}

func TestProduceAndConsume(t *testing.T) {
	c := klammtest.Start(t)
	create(t, c, "orders", 3)
	cl := client(t, c)
	ctx := within(t, 10*time.Second)
	for i := range 100 {
		r := &kgo.Record{Topic: "orders", Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, "v%d", i)}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for _, r := range read(t, c, "orders", 100) {
		got[string(r.Value)] = true
	}
	if len(got) != 100 {
		t.Fatalf("%d different values of 100", len(got))
	}
}

func TestGroupSurvivesARestart(t *testing.T) {
	for _, where := range []string{"memory", "disk"} {
		t.Run(where, func(t *testing.T) {
			var opts []klammtest.Option
			if where == "disk" {
				opts = append(opts, klammtest.InDir(t.TempDir()))
			}
			c := klammtest.Start(t, opts...)
			create(t, c, "t", 1)
			ctx := within(t, 30*time.Second)
			cl := client(t, c)
			for i := range 10 {
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			consume := func(n int) {
				t.Helper()
				g, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap()...), kgo.Dialer(c.Dial), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"),
					kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				var rs []*kgo.Record
				for len(rs) < n {
					fs := g.PollRecords(ctx, n-len(rs))
					if err := fs.Err(); err != nil {
						t.Fatal(err)
					}
					rs = append(rs, fs.Records()...)
				}
				if err := g.CommitRecords(ctx, rs...); err != nil {
					t.Fatal(err)
				}
			}
			consume(6)
			c.Restart()
			offsets, err := kadm.NewClient(client(t, c)).FetchOffsets(ctx, "g")
			if err != nil {
				t.Fatal(err)
			}
			if o, ok := offsets.Lookup("t", 0); !ok || o.At != 6 {
				t.Fatalf("committed offset after the restart: %+v", o)
			}
			consume(4)
		})
	}
}

func TestOnLoopback(t *testing.T) {
	c := klammtest.Start(t, klammtest.OnLoopback())
	if err := client(t, c).Ping(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// A hundred nodes in one process leave nothing behind, and 95 of them are ready within 50 ms.
func TestAHundredNodesLeakNothing(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 10
	}
	before := goleak.IgnoreCurrent()
	var took []time.Duration
	var heap runtime.MemStats
	for i := range n {
		t.Run("", func(t *testing.T) {
			began := time.Now()
			c := klammtest.Start(t)
			took = append(took, time.Since(began))
			if i%10 == 0 {
				create(t, c, "t", 1)
			}
		})
		if i == n/10 {
			runtime.GC()
			runtime.ReadMemStats(&heap)
		}
	}
	goleak.VerifyNone(t, before)
	first := heap.HeapAlloc
	runtime.GC()
	runtime.ReadMemStats(&heap)
	if heap.HeapAlloc > first+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", first, heap.HeapAlloc)
	}
	slices.Sort(took)
	t.Logf("start: median %v, p95 %v", took[n/2], took[n*95/100])
}
