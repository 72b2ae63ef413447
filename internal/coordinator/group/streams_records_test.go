package group

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// streamsGroupRecords are what Apache Kafka 4.3.1 wrote for a word count with standbys, two instances, one of them killed,
// and the removal of the group.
func streamsGroupRecords(t testing.TB) []machine.Record {
	b, err := os.ReadFile("../testdata/apache-4.3.1-streams-group.log")
	if err != nil {
		t.Fatal(err)
	}
	return logRecords(t, b)
}

// rewritten is the record that the group would write of what it took from r; ok is false for records of other kinds.
func (g *streams) rewritten(key schema.Record) (machine.Record, bool) {
	switch k := key.(type) {
	case *schema.StreamsGroupMetadataKey:
		return streamsEpochRecord(g.id, g.epoch, g.hash, g.validated, g.settings), true
	case *schema.StreamsGroupMemberMetadataKey:
		return streamsMemberRecord(g.id, g.members[k.MemberID]), true
	case *schema.StreamsGroupTargetAssignmentMetadataKey:
		return streamsTargetEpochRecord(g.id, g.targetEpoch, g.targetAt), true
	case *schema.StreamsGroupTargetAssignmentMemberKey:
		return streamsTargetRecord(g.id, k.MemberID, g.targets[k.MemberID]), true
	case *schema.StreamsGroupCurrentMemberAssignmentKey:
		return streamsCurrentRecord(g.id, g.members[k.MemberID]), true
	case *schema.StreamsGroupTopologyKey:
		return streamsTopologyRecord(g.id, g.topology), true
	}
	return machine.Record{}, false
}

// Apache's records are taken in and written again to the byte. In the end the group is gone.
func TestApacheStreamsRecords(t *testing.T) {
	m := New(Config{})
	kinds := map[int16]int{}
	for i, r := range streamsGroupRecords(t) {
		if err := m.Apply(r, machine.Position{Offset: int64(i), Producer: machine.Producer{ID: -1}}); err != nil {
			t.Fatal(err)
		}
		kind, err := recordKind(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind < keyStreamsGroup || kind > keyStreamsTopology || r.Value == nil {
			continue
		}
		key, _, err := decodeConsumer(r)
		if err != nil {
			t.Fatal(err)
		}
		g, ok := m.groups["streams-wordcount"].(*streams)
		if !ok {
			t.Fatalf("after record %d there is no group", i)
		}
		again, ok := g.rewritten(key)
		if !ok {
			t.Fatalf("record %d has kind %d", i, kind)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("record %d of kind %d (-Apache's +ours):\n%s", i, kind, diff)
		}
		kinds[kind]++
	}
	for _, kind := range []int16{keyStreamsGroup, keyStreamsMember, keyStreamsTarget, keyStreamsTargetOf, keyStreamsCurrent, keyStreamsTopology} {
		if kinds[kind] == 0 {
			t.Errorf("no record has kind %d", kind)
		}
	}
	if m.groups["streams-wordcount"] != nil || m.left > 0 {
		t.Errorf("left are %v and %d records", m.groups, m.left)
	}
}

// Whatever stands in the log: the group is described, and its member comes.
func FuzzStreamsRecords(f *testing.F) {
	for _, r := range streamsGroupRecords(f) {
		if kind, err := recordKind(r); err == nil && kind >= keyStreamsGroup && kind <= keyStreamsTopology {
			f.Add(r.Key, r.Value, r.Key, r.Value)
		}
	}
	hostile := topologySpec(0, []string{"0:t+u+~t&u", "0:t+>r", "1:*r/2+!c"})
	hostile.Subtopologies[0].CopartitionGroups[0].SourceTopics = []int16{7, -1}
	hostile.Subtopologies[0].CopartitionGroups[0].RepartitionSourceTopics = []int16{9}
	t, err := topologyOf(hostile)
	if err != nil {
		f.Fatal(err)
	}
	member := newStreamsMember("m")
	member.assigned.active = taskSet{{subtopology: "9", partitions: []int32{-1, 5}, epochs: []int32{1, 2}}}
	topology, current := streamsTopologyRecord("g", t), streamsCurrentRecord("g", member)
	f.Add(topology.Key, topology.Value, current.Key, current.Value)
	h := newHarness(f, Config{})
	delta := metadata.NewDelta(h.image)
	for _, topic := range []string{"t", "u", "streams-plaintext-input"} {
		h.setTopic(delta, topic, 2)
	}
	image := delta.Image(10, 1)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 []byte) {
		m := New(Config{})
		for i, r := range []machine.Record{{Key: key1, Value: value1}, {Key: key2, Value: value2}} {
			if err := m.Apply(r, machine.Position{Offset: int64(i), Producer: machine.Producer{ID: -1}}); err != nil {
				return
			}
		}
		in := machine.Input{Image: image, Now: h.now, Rand: h.rand}
		for _, id := range m.ids() {
			g, ok := m.groups[id].(*streams)
			if !ok {
				continue
			}
			m.Handle(in, machine.Command{Body: &kmsg.StreamsGroupDescribeRequest{Groups: []string{id}}})
			for _, member := range g.memberIDs() {
				r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
				r.Group, r.MemberID, r.MemberEpoch = id, member, max(g.members[member].epoch, 1)
				m.Handle(in, machine.Command{Body: r})
				r.MemberEpoch = leaveEpoch
				m.Handle(in, machine.Command{Body: r})
			}
		}
	})
}
