//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is where the clients' tests find one.
func broker(t *testing.T) string {
	addr := os.Getenv("KLAMM_E2E_BOOTSTRAP")
	if addr == "" {
		t.Skip("KLAMM_E2E_BOOTSTRAP is not set")
	}
	return addr
}

func unique(word string) string { return fmt.Sprintf("%s-%08x", word, rand.Uint32()) }

func createTopic(t *testing.T, partitions int32, configs map[string]string) string {
	t.Helper()
	adm := kadm.NewClient(newClient(t, broker(t)))
	c := map[string]*string{}
	for k, v := range configs {
		c[k] = &v
	}
	topic := unique("fg")
	must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), partitions, 1, c, topic))
	awaitTopic(t, adm, topic, int(partitions))
	return topic
}

// awaitTopic waits until the broker has heard from the controller of so many partitions.
func awaitTopic(t *testing.T, adm *kadm.Client, topic string, partitions int) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(10 * time.Millisecond) {
		topics, err := adm.ListTopics(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		d := topics[topic]
		if d.Err == nil && len(d.Partitions) == partitions && !slices.ContainsFunc(d.Partitions.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader < 0 }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("topic %s: %v", topic, d)
		}
	}
}

// numbers produces n records "0", "1", ... to partitions in turn.
func numbers(t *testing.T, topic string, n, partitions int) {
	t.Helper()
	c := newClient(t, broker(t), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: fmt.Append(nil, i)})
	}
	if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestClientCodecs(t *testing.T) {
	topic := createTopic(t, 1, map[string]string{"max.message.bytes": "3000000"})
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	type record struct {
		Key, Value []byte
		Headers    []kgo.RecordHeader
		Millis     int64
	}
	var want []record
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for _, name := range slices.Sorted(maps.Keys(codecs)) {
		c := newClient(t, broker(t), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[name]), kgo.ProducerBatchMaxBytes(2<<20))
		for _, r := range []record{
			{Key: []byte("k"), Value: bytes.Repeat([]byte(name), 1000), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}, {Key: "", Value: []byte{}}}},
			{Key: nil, Value: []byte("no key")}, {Key: []byte("tombstone"), Value: nil}, {Key: []byte{}, Value: []byte{}}, {Key: []byte("big"), Value: big},
		} {
			r.Millis = 1700000000000 + int64(len(want))
			want = append(want, r)
			if err := c.ProduceSync(t.Context(), &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: time.UnixMilli(r.Millis)}).FirstErr(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	var got []record
	for _, r := range readAll(t, broker(t), topic) {
		got = append(got, record{r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli()})
	}
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	if d := cmp.Diff(want, got, cmp.Comparer(same)); d != "" {
		t.Fatal(d)
	}
}

// TestClientGroups lets three members join one after the other and two leave, with each of the assignors, cooperative
// ones among them; every record is consumed, and no partition has two owners.
func TestClientGroups(t *testing.T) {
	for _, b := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.RoundRobinBalancer(), kgo.StickyBalancer(), kgo.CooperativeStickyBalancer()} {
		t.Run(b.ProtocolName(), func(t *testing.T) {
			t.Parallel()
			const partitions, records = 6, 300
			topic, group := createTopic(t, partitions, nil), unique("g")
			numbers(t, topic, records, partitions)
			ctx, cancel := context.WithTimeout(t.Context(), waitMax)
			defer cancel()
			owned := newOwners()
			var members []*kgo.Client
			for i := range 3 {
				members = append(members, newClient(t, broker(t), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(b),
					kgo.HeartbeatInterval(200*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
					kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { owned.add(i, p[topic]) }),
					kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { owned.remove(i, p[topic]) }),
					kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { owned.remove(i, p[topic]) })))
				go func() {
					for {
						f := members[i].PollFetches(ctx)
						if f.IsClientClosed() || ctx.Err() != nil {
							return
						}
						f.EachRecord(func(r *kgo.Record) { owned.saw(string(r.Value)) })
						members[i].AllowRebalance()
					}
				}()
				owned.await(t, ctx, slices.Repeat([]int{partitions / (i + 1)}, i+1))
			}
			for i := range 2 {
				members[i].Close()
				owned.await(t, ctx, slices.Repeat([]int{partitions / (2 - i)}, 2-i))
			}
			if len(owned.seen) != records {
				t.Errorf("%d of %d records were seen", len(owned.seen), records)
			}
			if owned.twice != "" {
				t.Error(owned.twice)
			}
		})
	}
}

func TestClientAdmin(t *testing.T) {
	ctx := t.Context()
	adm := kadm.NewClient(newClient(t, broker(t)))
	topic := createTopic(t, 2, map[string]string{"segment.bytes": "1048576"})
	must[kadm.CreatePartitionsResponses](t)(adm.CreatePartitions(ctx, 1, topic))
	awaitTopic(t, adm, topic, 3)
	numbers(t, topic, 30, 3)
	if ends := must[kadm.ListedOffsets](t)(adm.ListEndOffsets(ctx, topic)); len(ends[topic]) != 3 || ends[topic][2].Offset != 10 {
		t.Errorf("end offsets: %v", ends)
	}
	logs := must[kadm.DescribedAllLogDirs](t)(adm.DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}}}))
	found := false
	logs.Each(func(d kadm.DescribedLogDir) {
		if p, ok := d.Topics.Lookup(topic, 0); ok && p.Size > 0 {
			found = true
		}
	})
	if !found {
		t.Errorf("log directories: %v", logs)
	}
	deleted := must[kadm.DeleteRecordsResponses](t)(adm.DeleteRecords(ctx, kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: -1}}}))
	if low := deleted[topic][0].LowWatermark; low != 10 {
		t.Errorf("low watermark %d", low)
	}
	must[kadm.DeleteTopicResponses](t)(adm.DeleteTopics(ctx, topic))
}

func TestClientGroupAdmin(t *testing.T) {
	ctx := t.Context()
	adm := kadm.NewClient(newClient(t, broker(t)))
	topic, group := createTopic(t, 3, nil), unique("g")
	offsets := kadm.Offsets{}
	for p := range int32(3) {
		offsets.Add(kadm.Offset{Topic: topic, Partition: p, At: int64(p) * 10, LeaderEpoch: -1})
	}
	must[kadm.OffsetResponses](t)(adm.CommitOffsets(ctx, group, offsets))
	if got := must[kadm.OffsetResponses](t)(adm.FetchOffsets(ctx, group)); got[topic][2].At != 20 {
		t.Errorf("offsets: %v", got)
	}
	must[kadm.DeleteOffsetsResponses](t)(adm.DeleteOffsets(ctx, group, kadm.TopicsSet{topic: {1: {}}}))
	if _, still := must[kadm.OffsetResponses](t)(adm.FetchOffsets(ctx, group))[topic][1]; still {
		t.Error("a deleted offset is there")
	}
	if g := must[kadm.ListedGroups](t)(adm.ListGroups(ctx, "Empty"))[group]; g.State != "Empty" {
		t.Errorf("listed: %+v", g)
	}
	must[kadm.DeleteGroupResponses](t)(adm.DeleteGroups(ctx, group))
	if _, err := adm.DeleteGroup(ctx, group); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("second deletion: %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	ctx := t.Context()
	c := newClient(t, broker(t), kgo.ProducerBatchCompression(kgo.NoCompression()))
	adm := kadm.NewClient(c)
	topic := createTopic(t, 1, map[string]string{"max.message.bytes": "2000"})
	soon := "soon"
	for _, test := range []struct {
		name string
		want *kerr.Error
		do   func() error
	}{
		{"duplicate topic", kerr.TopicAlreadyExists, func() error { _, err := adm.CreateTopic(ctx, 1, 1, nil, topic); return err }},
		{"invalid name", kerr.InvalidTopicException, func() error { _, err := adm.CreateTopic(ctx, 1, 1, nil, "no blanks"); return err }},
		{"two replicas", kerr.InvalidReplicationFactor, func() error { _, err := adm.CreateTopic(ctx, 1, 2, nil, unique("t")); return err }},
		{"wrong config", kerr.InvalidConfig, func() error {
			_, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &soon}, unique("t"))
			return err
		}},
		{"unknown topic", kerr.UnknownTopicOrPartition, func() error { _, err := adm.DeleteTopic(ctx, unique("t")); return err }},
		{"fewer partitions", kerr.InvalidPartitions, func() error {
			r, err := adm.UpdatePartitions(ctx, 1, topic)
			return errors.Join(err, r[topic].Err)
		}},
		{"too large", kerr.MessageTooLarge, func() error {
			return c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: make([]byte, 5000)}).FirstErr()
		}},
		{"produce to nowhere", kerr.UnknownTopicOrPartition, func() error {
			return newClient(t, broker(t), kgo.UnknownTopicRetries(1)).ProduceSync(ctx, &kgo.Record{Topic: unique("t"), Value: []byte("x")}).FirstErr()
		}},
	} {
		if err := test.do(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
