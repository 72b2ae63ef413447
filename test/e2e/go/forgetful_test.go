//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestForgetfulDisk cuts the power four times (or KLAMM_E2E_FORGETS) at random instants: the node is killed, and its disk forgets
// what was not synced. With flush.messages=1 that changes nothing of what TestKillUnderLoad holds: every acknowledged record
// stands once, where it was acknowledged, in order; of each key of a compacted topic the last acknowledged value; and topics that were created
// or deleted, configurations and committed offsets are as they were acknowledged. After a clean stop a disk may forget
// everything that was not synced.
func TestForgetfulDisk(t *testing.T) {
	klammOnly(t)
	const partitions, producers = 4, 3
	cuts := 4
	if s := os.Getenv("KLAMM_E2E_FORGETS"); s != "" {
		cuts, _ = strconv.Atoi(s)
	}
	random := seeded(t)
	disk := newForgetful(t)
	n := newNodeIn(t, disk.dir, "log.flush.interval.messages=1", "log.cleaner.backoff.ms=100", "log.flush.offset.checkpoint.interval.ms=300",
		"log.initial.task.delay.ms=100", "log.segment.delete.delay.ms=500", "offsets.topic.num.partitions=3")
	cut := func(within time.Duration) {
		time.Sleep(time.Duration(random.Int64N(int64(within))))
		n.kill()
		disk.forget(random)
	}
	early := func() {
		for range 1 + random.IntN(2) {
			n.launch()
			cut(100 * time.Millisecond)
		}
	}
	early() // while there is nothing yet
	n.start()
	segment, compact, eager := "65536", "compact", "0.01"
	adm := kadm.NewClient(newClient(t, n.addr))
	must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), partitions, 1, map[string]*string{"internal.segment.bytes": &segment}, "durable"))
	must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &compact, "internal.segment.bytes": &segment,
		"min.cleanable.dirty.ratio": &eager}, "cleaned"))
	keys := startKeys(t, n.addr, "cleaned")
	acts := startActs(t, n.addr, "durable")
	var loads []*load
	for id := range producers {
		loads = append(loads, startLoad(t, n.addr, "durable", byte(id), partitions))
	}
	for i := range cuts {
		for _, l := range loads {
			before := l.acked()
			for deadline := time.Now().Add(waitMax); l.acked() < before+50; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) || t.Failed() {
					t.Fatalf("before cut %d: producer %d gets nothing through\n%s", i, l.id, n.log.Bytes())
				}
			}
		}
		cut(400 * time.Millisecond)
		if i%2 == 0 {
			early()
		}
		n.start()
	}
	for _, l := range loads {
		close(l.stop)
	}
	keys.end()
	acts.end()
	total := 0
	for _, l := range loads {
		l.done.Wait()
		total += len(l.acks)
	}
	t.Logf("%d records and %d administrative acts acknowledged over %d power cuts, %d syncs", total, acts.n, cuts, disk.syncs.Load())
	compare(t, readAll(t, n.addr, "durable"), loads)
	acts.check()
	n.stop()
	disk.forget(nil)
	n.start()
	compare(t, readAll(t, n.addr, "durable"), loads)
	keys.check()
	acts.check()
}

// TestForgetfulDiskForgets shows that the disk does forget: without flush.messages Kafka acknowledges what is not synced, and a
// power cut takes it. With it the same cut takes nothing, and so does one after a clean stop.
func TestForgetfulDiskForgets(t *testing.T) {
	klammOnly(t)
	const records = 300
	for _, tc := range []struct {
		name     string
		messages string // flush.messages; "" leaves it out
		stop     bool   // cleanly, before the power goes
		lost     bool
	}{
		{name: "not flushed", lost: true},
		{name: "flushed", messages: "1"},
		{name: "stopped", stop: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			disk := newForgetful(t)
			n := newNodeIn(t, disk.dir)
			n.start()
			c := newClient(t, n.addr, kgo.DefaultProduceTopic("a"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			configs := map[string]*string{}
			if tc.messages != "" {
				configs["flush.messages"] = &tc.messages
			}
			must[kadm.CreateTopicResponse](t)(kadm.NewClient(c).CreateTopic(t.Context(), 1, 1, configs, "a"))
			for i := range records {
				if err := c.ProduceSync(t.Context(), kgo.StringRecord(strconv.Itoa(i))).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if tc.stop {
				n.stop()
			} else {
				n.kill()
			}
			disk.forget(nil)
			n.start()
			got := readAll(t, n.addr, "a")
			t.Logf("%d of %d acknowledged records are left", len(got), records)
			for i, r := range got {
				if string(r.Value) != strconv.Itoa(i) {
					t.Fatalf("offset %d has record %s", i, r.Value)
				}
			}
			if lost := len(got) < records; lost != tc.lost {
				t.Fatalf("lost: %v, want %v", lost, tc.lost)
			}
		})
	}
}

// seeded gives the random numbers of a run; KLAMM_E2E_SEED repeats them.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("KLAMM_E2E_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("KLAMM_E2E_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// acts create and delete topics, change a configuration and commit offsets, one after the other and each until it is acknowledged.
type acts struct {
	t     *testing.T
	adm   *kadm.Client
	topic string // of the configuration and the offsets
	stop  chan struct{}
	done  chan struct{}

	n      int
	topics map[string]kadm.TopicID // that exist
	gone   []string
	last   int // the number in the configuration and the offset
}

// actsKept topics are left; older ones are deleted.
const actsKept = 10

func startActs(t *testing.T, addr, topic string) *acts {
	a := &acts{t: t, topic: topic, adm: kadm.NewClient(newClient(t, addr)), stop: make(chan struct{}), done: make(chan struct{}), topics: map[string]kadm.TopicID{}}
	go func() {
		defer close(a.done)
		for i := 1; ; i++ {
			select {
			case <-a.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if err := a.act(i); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	return a
}

func (a *acts) act(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	// until repeats an act that was answered with an error, or not at all. What it finds done was done before the answer was lost.
	until := func(what string, act func() error, done error) error {
		for {
			err := act()
			if err == nil || done != nil && errors.Is(err, done) {
				a.n++
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	name, value := fmt.Sprintf("act-%d", i), strconv.Itoa(1_000_000_000+i)
	err := until("create "+name, func() error {
		r, err := a.adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &value}, name)
		if err == nil {
			a.topics[name] = r.ID
		}
		return err
	}, kerr.TopicAlreadyExists)
	if err != nil {
		return err
	}
	if _, ok := a.topics[name]; !ok { // its id was in the answer that was lost
		a.topics[name] = kadm.TopicID{}
	}
	if err := until("configure", func() error {
		r, err := a.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, a.topic)
		if err == nil {
			_, err = r.On(a.topic, nil)
		}
		return err
	}, nil); err != nil {
		return err
	}
	if err := until("commit", func() error {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: a.topic, At: int64(i), LeaderEpoch: -1})
		r, err := a.adm.CommitOffsets(ctx, "positions", offsets)
		return errors.Join(err, r.Error())
	}, nil); err != nil {
		return err
	}
	a.last = i
	if old := fmt.Sprintf("act-%d", i-actsKept); i > actsKept {
		delete(a.topics, old)
		a.gone = append(a.gone, old)
		return until("delete "+old, func() error {
			_, err := a.adm.DeleteTopic(ctx, old)
			return err
		}, kerr.UnknownTopicOrPartition)
	}
	return nil
}

func (a *acts) end() {
	close(a.stop)
	<-a.done
}

func (a *acts) check() {
	a.t.Helper()
	if a.last <= actsKept {
		a.t.Errorf("only %d rounds of administrative acts: too few to show anything", a.last)
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), waitMax)
	defer cancel()
	m := must[kadm.Metadata](a.t)(a.adm.Metadata(ctx))
	for name, id := range a.topics {
		at, ok := m.Topics[name]
		if !ok || id != (kadm.TopicID{}) && id != at.ID {
			a.t.Errorf("topic %s, which was created with id %s, has %s (%v)", name, id, at.ID, ok)
			continue
		}
		a.configured(ctx, name, name[len("act-"):])
	}
	for _, name := range a.gone {
		if _, ok := m.Topics[name]; ok {
			a.t.Errorf("topic %s was deleted and is there", name)
		}
	}
	a.configured(ctx, a.topic, strconv.Itoa(a.last))
	o, ok := must[kadm.OffsetResponses](a.t)(a.adm.FetchOffsets(ctx, "positions")).Lookup(a.topic, 0)
	if !ok || o.At != int64(a.last) {
		a.t.Errorf("the committed offset is %d (%v), %d was acknowledged", o.At, ok, a.last)
	}
}

func (a *acts) configured(ctx context.Context, topic, number string) {
	a.t.Helper()
	n, _ := strconv.Atoi(number)
	r, err := must[kadm.ResourceConfigs](a.t)(a.adm.DescribeTopicConfigs(ctx, topic)).On(topic, nil)
	if err != nil {
		a.t.Error(err)
		return
	}
	for _, c := range r.Configs {
		if c.Key == "retention.ms" && c.MaybeValue() != strconv.Itoa(1_000_000_000+n) {
			a.t.Errorf("retention.ms of %s is %s, the last acknowledged one ends with %s", topic, c.MaybeValue(), number)
		}
	}
}
