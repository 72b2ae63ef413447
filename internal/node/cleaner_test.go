package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-io/klamm/klammtest"
)

// A compacted topic of a running node loses what is superseded, by itself, and its live configuration counts. DETAILS 26
func TestCompaction(t *testing.T) {
	cluster := klammtest.Start(t, klammtest.WithConfig("log.cleaner.backoff.ms", "20"), klammtest.WithConfig("log.segment.bytes", "1048576"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Bootstrap()...), kgo.Dialer(cluster.Dial), kgo.DefaultProduceTopic("t"),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	value := func(s string) *string { return &s }
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{
		"cleanup.policy": value("compact"), "internal.segment.bytes": value("5000"), "min.cleanable.dirty.ratio": value("1"),
	}, "t"); err != nil {
		t.Fatal(err)
	}
	const keys, rounds = 50, 40
	for round := range rounds {
		for key := range keys {
			client.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "k%d", key), Value: fmt.Appendf(nil, "v%d", round)}, nil)
		}
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(readTopic(ctx, t, cluster)); n != keys*rounds {
		t.Fatalf("%d records before anything is due", n)
	}
	if _, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "min.cleanable.dirty.ratio", Value: value("0.01")}}, "t"); err != nil {
		t.Fatal(err)
	}
	for {
		left := readTopic(ctx, t, cluster)
		last := map[string]string{}
		for _, r := range left {
			last[string(r.Key)] = string(r.Value)
		}
		for key := range keys {
			if got := last[fmt.Sprintf("k%d", key)]; got != fmt.Sprintf("v%d", rounds-1) {
				t.Fatalf("key %d has %q", key, got)
			}
		}
		if len(left) < keys*rounds/2 { // what is in the last segment stays
			t.Logf("%d of %d records are left", len(left), keys*rounds)
			return
		}
	}
}

// readTopic reads a topic from beginning to end.
func readTopic(ctx context.Context, t *testing.T, cluster *klammtest.Cluster) (out []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Bootstrap()...), kgo.Dialer(cluster.Dial), kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("t", 0)
	for len(out) == 0 || out[len(out)-1].Offset < end.Offset-1 {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		out = append(out, f.Records()...)
	}
	return out
}
