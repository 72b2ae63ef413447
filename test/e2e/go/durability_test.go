//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ack is one record that the broker acknowledged: the n-th of a producer, and where it was told to stand.
type ack struct {
	n         uint64
	partition int32
	offset    int64
}

// load sends numbered records with an idempotent producer (acks=all) until it is stopped, some hundred at a time, and
// keeps what was acknowledged. A record whose delivery failed for good ends the test: with unlimited retries none may.
type load struct {
	t      *testing.T
	client *kgo.Client
	topic  string
	id     byte
	stop   chan struct{}
	done   sync.WaitGroup

	mu   sync.Mutex // guards acks
	acks []ack
	sent uint64
}

func startLoad(t *testing.T, addr, topic string, id byte, partitions int) *load {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	l := &load{t: t, topic: topic, id: id, stop: make(chan struct{}), client: newClient(t, addr,
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codecs[int(id)%len(codecs)]),
		kgo.ProducerBatchMaxBytes(8<<10), kgo.ProducerLinger(0), kgo.RetryTimeout(5*time.Minute), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))}
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		room := make(chan struct{}, 400)
		for n := uint64(0); ; n++ {
			select {
			case <-l.stop:
				if err := l.client.Flush(context.Background()); err != nil {
					t.Error(err)
				}
				return
			case room <- struct{}{}:
			}
			l.sent = n + 1
			value := make([]byte, 9+rand.IntN(300))
			value[0] = id
			binary.BigEndian.PutUint64(value[1:], n)
			l.client.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(n % uint64(partitions)), Value: value}, func(r *kgo.Record, err error) {
				<-room
				if err != nil {
					t.Errorf("record %d of producer %d was given up: %v", n, id, err)
					return
				}
				l.mu.Lock()
				l.acks = append(l.acks, ack{n, r.Partition, r.Offset})
				l.mu.Unlock()
			})
		}
	}()
	return l
}

func (l *load) acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks)
}

// TestKillUnderLoad kills the node ten times (or KLAMM_E2E_KILLS) at random instants while three idempotent producers write with
// acks=all, and every other time once more on its way up: while it formats its directory, recovers, takes its checkpoints. Small
// segments are rolled and flushed, a compacted topic is cleaned all the time. In the end every acknowledged record stands once at the
// offset that was acknowledged, each producer's records stand in the order in which it sent them, without a gap, and of each
// key of the compacted topic the last acknowledged value, or one that was sent after it.
func TestKillUnderLoad(t *testing.T) {
	const partitions, producers = 4, 3
	kills := 10
	if s := os.Getenv("KLAMM_E2E_KILLS"); s != "" {
		kills, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("KLAMM_E2E_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("KLAMM_E2E_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	n := newNode(t, "log.cleaner.backoff.ms=100", "log.flush.offset.checkpoint.interval.ms=300", "log.initial.task.delay.ms=100")
	// The first one is killed before it has anything.
	n.kill()
	early := func() {
		for range 1 + random.IntN(2) {
			n.launch()
			time.Sleep(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
			n.kill()
		}
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "data")); err != nil {
		t.Fatal(err)
	}
	early()
	n.start()
	adm := kadm.NewClient(newClient(t, n.addr))
	topic := "durable"
	// Small segments and a flush now and then, so that kills meet rolls, indexes and recovery points.
	segment, flush := "1048576", "500"
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, map[string]*string{"segment.bytes": &segment, "flush.messages": &flush}, topic); err != nil {
		t.Fatal(err)
	}
	compact, eager, cleaned := "compact", "0.01", "cleaned"
	if _, err := adm.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &compact, "segment.bytes": &segment, "min.cleanable.dirty.ratio": &eager}, cleaned); err != nil {
		t.Fatal(err)
	}
	keys := startKeys(t, n.addr, cleaned)
	var loads []*load
	for id := range producers {
		loads = append(loads, startLoad(t, n.addr, topic, byte(id), partitions))
	}
	for i := range kills {
		// Every producer must get something through before the next kill, or ten kills would meet an idle node.
		for _, l := range loads {
			before := l.acked()
			for deadline := time.Now().Add(waitMax); l.acked() < before+50; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("before kill %d: producer %d gets nothing through\n%s", i, l.id, n.log.Bytes())
				}
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
		n.kill()
		if i%2 == 0 {
			early()
		}
		n.start()
	}
	for _, l := range loads {
		close(l.stop)
	}
	keys.end()
	total := 0
	for _, l := range loads {
		l.done.Wait()
		total += len(l.acks)
		if uint64(len(l.acks)) != l.sent {
			t.Errorf("producer %d: %d records sent, %d acknowledged", l.id, l.sent, len(l.acks))
		}
	}
	t.Logf("%d records acknowledged over %d kills", total, kills)
	compare(t, readAll(t, n.addr, topic), loads)
	n.stop()
	n.start()
	compare(t, readAll(t, n.addr, topic), loads)
	keys.check()
}

// keyLoad writes ever higher numbers to two hundred keys of a topic.
type keyLoad struct {
	t      *testing.T
	addr   string
	topic  string
	stop   chan struct{}
	done   chan struct{}
	sent   [200]int // the last number of each key
	acked  [200]int // the last acknowledged one
	client *kgo.Client
}

func startKeys(t *testing.T, addr, topic string) *keyLoad {
	l := &keyLoad{t: t, addr: addr, topic: topic, stop: make(chan struct{}), done: make(chan struct{}), client: newClient(t, addr,
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.RetryTimeout(5*time.Minute), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			var batch []*kgo.Record
			for key := range l.sent {
				l.sent[key]++
				batch = append(batch, &kgo.Record{Key: strconv.AppendInt(nil, int64(key), 10), Value: strconv.AppendInt(make([]byte, 0, 100), int64(l.sent[key]), 10)})
			}
			if err := l.client.ProduceSync(context.Background(), batch...).FirstErr(); err != nil {
				t.Errorf("compacted topic: %v", err)
				return
			}
			l.acked = l.sent
		}
	}()
	return l
}

func (l *keyLoad) end() {
	close(l.stop)
	<-l.done
}

// check finds the acknowledged number of each key as its last one. The topic is read without its gaps.
func (l *keyLoad) check() {
	l.t.Helper()
	var last [200]int
	n, first := 0, int64(-1)
	ctx, cancel := context.WithTimeout(l.t.Context(), waitMax)
	defer cancel()
	c := newClient(l.t, l.addr, kgo.ConsumeTopics(l.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, l.topic)
	if err != nil {
		l.t.Fatal(err)
	}
	end, _ := ends.Lookup(l.topic, 0)
	for at := int64(0); at < end.Offset; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			l.t.Fatalf("compacted topic, at %d of %d: %v", at, end.Offset, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			key, _ := strconv.Atoi(string(r.Key))
			last[key], _ = strconv.Atoi(string(r.Value))
			at, n = r.Offset+1, n+1
			if first < 0 {
				first = r.Offset
			}
		})
	}
	for key, want := range l.acked {
		if last[key] < want {
			l.t.Errorf("compacted topic, key %d: the last value is %d, %d was acknowledged", key, last[key], want)
		}
	}
	l.t.Logf("%d of %d records of the compacted topic are left, from %d on", n, end.Offset, first)
	if int64(n) == end.Offset {
		l.t.Error("nothing was compacted")
	}
}

// readAll reads the topic from end to end.
func readAll(t *testing.T, addr, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	c := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var records []*kgo.Record
	for int64(len(records)) < want {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), want, err)
		}
		records = append(records, f.Records()...)
	}
	c.Close()
	return records
}

func compare(t *testing.T, records []*kgo.Record, loads []*load) {
	t.Helper()
	type where struct {
		partition int32
		offset    int64
	}
	type number struct {
		id byte
		n  uint64
	}
	at := map[where]number{}
	next := map[int32]int64{}
	last := map[struct {
		id        byte
		partition int32
	}]uint64{}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for _, r := range records {
		v := number{r.Value[0], binary.BigEndian.Uint64(r.Value[1:])}
		at[where{r.Partition, r.Offset}] = v
		if r.Offset != next[r.Partition] {
			t.Fatalf("partition %d: offset %d follows %d", r.Partition, r.Offset, next[r.Partition]-1)
		}
		next[r.Partition]++
		k := struct {
			id        byte
			partition int32
		}{v.id, r.Partition}
		if before, ok := last[k]; ok && v.n <= before {
			t.Fatalf("partition %d offset %d: record %d of producer %d after its record %d: twice or out of order", r.Partition, r.Offset, v.n, v.id, before)
		}
		last[k] = v.n
	}
	acked := 0
	for _, l := range loads {
		for _, a := range l.acks {
			acked++
			if got, ok := at[where{a.partition, a.offset}]; !ok || got != (number{l.id, a.n}) {
				t.Fatalf("record %d of producer %d was acknowledged at %d-%d; there stands %v (%v)", a.n, l.id, a.partition, a.offset, got, ok)
			}
		}
	}
	if len(records) != acked {
		t.Fatalf("%d records in the topic, %d were acknowledged", len(records), acked)
	}
}

// TestRestart looks at everything else that must outlive the process: topics and their ids, dynamic configs, groups, their
// offsets, a static member, producer ids. Once after a clean stop, once after kill -9.
func TestRestart(t *testing.T) {
	for _, way := range []string{"stop", "kill"} {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			pid := populate(t, n.addr)
			before := observe(t, n.addr, way == "stop")
			if way == "stop" {
				n.stop()
			} else {
				n.kill()
			}
			n.start()
			after := observe(t, n.addr, way == "stop")
			if before != after {
				t.Fatalf("before:\n%s\nafter:\n%s", before, after)
			}
			again := newClient(t, n.addr)
			if id, _, err := again.ProducerID(t.Context()); err != nil || id == pid {
				t.Fatalf("a new producer got id %d (%v), which an older one has", id, err)
			}
		})
	}
}
