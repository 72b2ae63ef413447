package txn

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// eachRecord walks the records of a log.
func eachRecord(t *testing.T, file string, each func(machine.Record)) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	codecs := record.NewCodecs()
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		b = rest
		r, err := codecs.Records(batch)
		if err != nil {
			t.Fatal(err)
		}
		for {
			var rec record.Record
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			each(machine.Record{Key: bytes.Clone(rec.Key), Value: bytes.Clone(rec.Value)})
		}
		r.Close()
	}
}

// TestApacheLog loads what Apache Kafka 4.3.1 wrote. Each record is what this package would have written.
func TestApacheLog(t *testing.T) {
	h := newHarness(t, Config{})
	h.m = New(Config{})
	var states []string
	eachRecord(t, "../../schema/testdata/apache-4.3.1/transaction.log", func(r machine.Record) {
		id, x, known, err := decode(r)
		if err != nil || !known || x == nil {
			t.Fatalf("%q: %v", r.Key, err)
		}
		states = append(states, id+" "+x.state.String())
		if again := encode(*x, 1); !bytes.Equal(again.Key, r.Key) || !bytes.Equal(again.Value, r.Value) {
			t.Fatalf("%s:\nread    %x\nwritten %x", id, r.Value, again.Value)
		}
		if err := h.m.Apply(r, machine.Position{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Log(states)
	if len(states) < 4 || len(h.m.ids) == 0 {
		t.Fatalf("records %v, ids %d", states, len(h.m.ids))
	}
}

// TestValueVersions says which version is written for which transaction.version.
func TestValueVersions(t *testing.T) {
	for feature, want := range []int16{0, 1, 1} {
		h := newHarness(t, Config{})
		h.feature(int16(feature))
		x := transaction{id: "a", producerID: 5, previousID: 4, nextID: 6, epoch: 7, timeout: 8, state: PrepareCommit,
			partitions: []TopicPartition{{"t", 1}, {"t", 2}, {"u", 0}}, start: 9, updated: 10, version: 2}
		turn := &turn{feature: int16(feature)}
		h.m.write(turn, x)
		v, version, err := schema.DecodeValue(schema.TransactionLog, 0, turn.out.Records[0].Value)
		if err != nil || version != want {
			t.Fatalf("feature %d: version %d, %v", feature, version, err)
		}
		full := &schema.TransactionLogValue{ProducerID: 5, PreviousProducerID: 4, NextProducerID: 6, ProducerEpoch: 7, NextProducerEpoch: -1,
			TransactionTimeoutMillis: 8, TransactionStatus: 2, TransactionPartitions: []schema.TransactionPartitions{{Topic: "t", PartitionIDs: []int32{1, 2}},
				{Topic: "u", PartitionIDs: []int32{0}}}, TransactionStartTimestampMillis: 9, TransactionLastUpdateTimestampMillis: 10, ClientTransactionVersion: 2}
		if version == 0 {
			full.PreviousProducerID, full.NextProducerID, full.ClientTransactionVersion = -1, -1, 0
		}
		if diff := cmp.Diff(full, v); diff != "" {
			t.Fatalf("feature %d: %s", feature, diff)
		}
	}
}

func FuzzApply(f *testing.F) {
	good := encode(transaction{id: "a", producerID: 1, previousID: 1, nextID: 2, epoch: 3, timeout: 1, state: Ongoing, partitions: []TopicPartition{{"t", 1}}, version: 2}, 1)
	f.Add(good.Key, good.Value)
	f.Add(tombstone("b").Key, []byte(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m := New(Config{})
		if m.Apply(machine.Record{Key: key, Value: value}, machine.Position{}) != nil {
			return
		}
		// What was taken can be worked with, and written again.
		h := newHarness(t, Config{})
		h.m = m
		for id, e := range m.ids {
			again := New(Config{})
			if err := again.Apply(encode(e.transaction, 1), machine.Position{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.transaction, again.ids[id].transaction, cmp.AllowUnexported(transaction{})); diff != "" {
				t.Fatal(diff)
			}
		}
		h.advance(time.Minute)
	})
}
