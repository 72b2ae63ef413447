package group

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
)

// apacheRecords are those of a partition of __consumer_offsets that Apache Kafka 4.3.1 wrote.
func apacheRecords(t testing.TB) []machine.Record {
	b, err := os.ReadFile("../testdata/apache-4.3.1-consumer-offsets-29.log")
	if err != nil {
		t.Fatal(err)
	}
	return logRecords(t, b)
}

// logRecords reads the records of a log; there may be zeros behind them.
func logRecords(t testing.TB, b []byte) []machine.Record {
	var all []machine.Record
	codecs := record.NewCodecs()
	for len(b) > 0 && b[len(b)-1]|b[16] != 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if b = rest; batch.Control() {
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
			all = append(all, machine.Record{Key: bytes.Clone(rec.Key), Value: bytes.Clone(rec.Value)})
		}
		r.Close()
	}
	return all
}

// TestRecordsAsApache writes what Apache wrote, from what it means, and compares the bytes.
func TestRecordsAsApache(t *testing.T) {
	m := New(Config{})
	seen := map[int16]int{}
	for i, want := range apacheRecords(t) {
		if err := m.Apply(want, machine.Position{Offset: int64(i)}); err != nil {
			t.Fatal(err)
		}
		kind, _ := recordKind(want)
		seen[kind]++
		var got machine.Record
		switch kind {
		case keyOffsetCommit:
			k, _, _, err := decodeOffset(want)
			if err != nil {
				t.Fatal(err)
			}
			key := partitionKey{k.Group, k.Topic, k.Partition}
			o, _ := m.offsets.get(key)
			got = offsetRecord(key, o)
		case keyGroupMetadata:
			g := m.groups["cli-gk"].(*classic)
			if got = metadataRecord(g, currentAssignment); g.protocolType == "" {
				got = emptyGroupRecord(g)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("record %d of kind %d: -Apache +ours:\n%s", i, kind, diff)
		}
	}
	if seen[keyOffsetCommit] == 0 || seen[keyGroupMetadata] == 0 {
		t.Fatalf("kinds seen: %v", seen)
	}
}

// TestOldRecords reads what older Kafkas wrote.
func TestOldRecords(t *testing.T) {
	m := New(Config{})
	for version := int16(0); version <= 4; version++ {
		k := kmsg.OffsetCommitKey{Version: version % 2, Group: "old", Topic: "t", Partition: int32(version)}
		v := kmsg.OffsetCommitValue{Version: version, Offset: 10 + int64(version), LeaderEpoch: 3, Metadata: "m", CommitTimestamp: 5, ExpireTimestamp: 6}
		if err := m.Apply(machine.Record{Key: k.AppendTo(nil), Value: v.AppendTo(nil)}, machine.Position{}); err != nil {
			t.Fatal(err)
		}
		want := offset{offset: 10 + int64(version), leaderEpoch: -1, metadata: "m", committed: 5, expires: -1}
		if version >= 3 {
			want.leaderEpoch = 3
		}
		if version == 1 {
			want.expires = 6
		}
		if got, _ := m.offsets.get(partitionKey{"old", "t", int32(version)}); got != want {
			t.Fatalf("offset version %d: %+v, want %+v", version, got, want)
		}
	}
	for version := int16(0); version <= 4; version++ {
		leader, protocol := "m1", "range"
		gk := kmsg.GroupMetadataKey{Version: 2, Group: "old"}
		gv := kmsg.GroupMetadataValue{
			Version: version, ProtocolType: "consumer", Generation: 3, Protocol: &protocol, Leader: &leader, CurrentStateTimestamp: 7,
			Members: []kmsg.GroupMetadataValueMember{{MemberID: "m1", ClientID: "c", ClientHost: "/h", RebalanceTimeoutMillis: 9, SessionTimeoutMillis: 8, Assignment: []byte("a")}},
		}
		if err := m.Apply(machine.Record{Key: gk.AppendTo(nil), Value: gv.AppendTo(nil)}, machine.Position{}); err != nil {
			t.Fatal(err)
		}
		g := m.groups["old"].(*classic)
		timeout, since := int32(9), int64(7)
		if version < 1 {
			timeout = 8 // the session timeout is what there is
		}
		if version < 2 {
			since = -1
		}
		if g.state != stable || g.since != since || g.members[0].rebalanceTimeout != timeout || g.leader != "m1" {
			t.Fatalf("group version %d: %+v %+v", version, g, g.members[0])
		}
	}
}

// FuzzApply takes in records that nobody wrote.
func FuzzApply(f *testing.F) {
	for _, r := range apacheRecords(f) {
		f.Add(r.Key, r.Value, int64(-1))
		f.Add(r.Key, []byte{}, int64(1))
	}
	for _, r := range consumerGroupRecords(f) {
		f.Add(r.Key, r.Value, int64(-1))
	}
	f.Add([]byte{0, 3, 0, 0}, []byte{0, 0}, int64(-1))
	f.Fuzz(func(t *testing.T, key, value []byte, producer int64) {
		m := New(Config{})
		pos := machine.Position{Producer: machine.Producer{ID: producer, Transactional: producer >= 0}}
		r := machine.Record{Key: key, Value: value}
		if err := m.Apply(r, pos); err != nil {
			return
		}
		r.Value = nil
		m.Handle(machine.Input{Image: metadata.Empty()}, machine.Command{Body: machine.Marker{Producer: pos.Producer, Commit: true}})
		m.Handle(machine.Input{Image: metadata.Empty()}, machine.Command{Body: &kmsg.ListGroupsRequest{Version: 5}})
		for id, g := range m.groups {
			if _, ok := g.(*consumer); ok {
				m.Handle(machine.Input{Image: metadata.Empty()}, machine.Command{Body: &kmsg.ConsumerGroupDescribeRequest{Version: 1, Groups: []string{id}}})
			}
		}
		if err := m.Apply(r, pos); err != nil {
			t.Fatalf("removing what was taken: %v", err)
		}
		if len(m.offsets.groups) > 0 {
			t.Fatalf("offsets are left: %+v", m.offsets)
		}
	})
}
