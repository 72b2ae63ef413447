package group

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// consumerGroupRecords are those of consumer groups among the records that Apache Kafka 4.3.1 wrote.
func consumerGroupRecords(t testing.TB) []machine.Record {
	b, err := os.ReadFile("../../schema/testdata/apache-4.3.1/group.log")
	if err != nil {
		t.Fatal(err)
	}
	var all []machine.Record
	for _, r := range logRecords(t, b) {
		kind, err := recordKind(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind >= keyConsumerGroup && kind <= keyConsumerCurrent || kind == keyConsumerExpression {
			all = append(all, r)
		}
	}
	return all
}

// apacheImage is the metadata that the group's hashes were taken of.
func apacheImage(t *testing.T) *metadata.Image {
	b, err := os.ReadFile("../../schema/testdata/apache-4.3.1/metadata.log")
	if err != nil {
		t.Fatal(err)
	}
	delta := metadata.NewDelta(metadata.Empty())
	codecs := record.NewCodecs()
	for len(b) > 0 {
		var batch record.Batch
		if batch, b, err = record.Next(b); err != nil {
			break // the log is preallocated
		}
		if batch.Control() {
			continue
		}
		r, err := codecs.Records(batch)
		if err != nil {
			t.Fatal(err)
		}
		var rec record.Record
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			m, _, err := schema.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := m.(*schema.RemoveTopic); ok {
				continue // what was deleted later was there when the group had it
			}
			if err := delta.Apply(m); err != nil {
				t.Logf("left out: %v", err) // a topic made again under its name
			}
		}
		r.Close()
	}
	return delta.Image(1, 1)
}

// TestConsumerRecordsAsApache writes what Apache wrote, from what it means, and compares the bytes; and the hash of the
// metadata with that of Apache.
func TestConsumerRecordsAsApache(t *testing.T) {
	image := apacheImage(t)
	m := New(Config{})
	seen, hashes := map[int16]int{}, 0
	for i, want := range consumerGroupRecords(t) {
		key, value, err := decodeConsumer(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Apply(want, machine.Position{Offset: int64(i)}); err != nil {
			t.Fatal(err)
		}
		g, _ := m.groups[consumerGroupOf(key)].(*consumer)
		if value == nil {
			continue
		}
		seen[key.Type()]++
		var got machine.Record
		switch k := key.(type) {
		case *schema.ConsumerGroupMetadataKey:
			got = epochRecord(g.id, g.epoch, g.hash)
			topics := (&subscriptions{byName: g.byName, byRegex: g.byRegex}).topics()
			if hash := m.groupHash(image, topics); g.hash != 0 && hash == g.hash {
				hashes++
			} else {
				t.Logf("record %d: group %s over %v has hash %d, ours is %d", i, g.id, topics, g.hash, hash)
			}
		case *schema.ConsumerGroupMemberMetadataKey:
			got = memberRecord(g.id, g.members[k.MemberID])
		case *schema.ConsumerGroupTargetAssignmentMetadataKey:
			got = targetEpochRecord(g.id, g.targetEpoch, g.targetAt)
		case *schema.ConsumerGroupTargetAssignmentMemberKey:
			got = targetRecord(g.id, k.MemberID, g.targets[k.MemberID])
		case *schema.ConsumerGroupCurrentMemberAssignmentKey:
			got = currentRecord(g.id, g.members[k.MemberID])
		case *schema.ConsumerGroupRegularExpressionKey:
			got = expressionRecord(g.id, k.RegularExpression, g.resolved[k.RegularExpression])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("record %d, %s: -Apache +ours:\n%s", i, key.RecordName(), diff)
		}
	}
	t.Logf("%v, %d hashes", seen, hashes)
	if hashes == 0 {
		t.Fatal("no hash was compared")
	}
}
