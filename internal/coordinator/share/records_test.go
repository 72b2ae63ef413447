package share

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/klamm-io/klamm/internal/machine"
)

func TestRecordsAreReadBack(t *testing.T) {
	k := Key{Group: "g:1", Topic: topicID("t"), Partition: 3}
	s := state{snapshotEpoch: 1, stateEpoch: 2, leaderEpoch: 3, start: 4, complete: 5, created: 6, written: 7,
		batches: []batch{{FirstOffset: 4, LastOffset: 9, DeliveryState: 2, DeliveryCount: 1}}}
	u := update{snapshotEpoch: 1, leaderEpoch: 3, start: -1, complete: -1}
	for _, c := range []struct {
		record machine.Record
		want   decoded
	}{
		{k.snapshot(s), decoded{key: k, snapshot: &s}},
		{k.update(u), decoded{key: k, update: &u}},
		{k.tombstone(), decoded{key: k}},
	} {
		got, known, err := decode(c.record)
		if err != nil || !known {
			t.Fatalf("known %v: %v", known, err)
		}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(decoded{}, state{}, update{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	}
}

func TestRecordsOfOthers(t *testing.T) {
	good := Key{Group: "g"}.snapshot(state{complete: -1}) // it ends with the number of batches and that of tagged fields
	for name, c := range map[string]struct {
		record machine.Record
		bad    bool
	}{
		"no key":             {machine.Record{}, true},
		"a key of one byte":  {machine.Record{Key: []byte{0}}, true},
		"another kind":       {machine.Record{Key: []byte{0, 2}}, false},
		"a torn key":         {machine.Record{Key: good.Key[:4]}, true},
		"a newer version":    {machine.Record{Key: good.Key, Value: []byte{0, 1, 0}}, false},
		"no version":         {machine.Record{Key: good.Key, Value: []byte{0}}, true},
		"a torn value":       {machine.Record{Key: good.Key, Value: good.Value[:9]}, true},
		"a removed update":   {machine.Record{Key: Key{Group: "g"}.update(update{}).Key}, false},
		"many batches, torn": {machine.Record{Key: good.Key, Value: append(good.Value[:len(good.Value)-2:len(good.Value)-2], 0xff, 0xff, 0xff, 0xff, 0x07)}, true},
	} {
		if _, known, err := decode(c.record); known || (err != nil) != c.bad {
			t.Errorf("%s: known %v, error %v", name, known, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	k := Key{Group: "a:b", Topic: topicID("t"), Partition: 7}
	if got, ok := ParseKey(k.String()); !ok || got != k {
		t.Fatalf("%q is %+v, %v", k, got, ok)
	}
	for _, s := range []string{"", "a", "a:b", ":" + k.Topic.String() + ":0", " :" + k.Topic.String() + ":0", "g:x:0", "g:" + k.Topic.String() + ":x",
		"g:" + k.Topic.String() + ":2147483648", "g:" + k.Topic.String() + ":"} {
		if got, ok := ParseKey(s); ok {
			t.Errorf("%q is %+v", s, got)
		}
	}
}

// FuzzApply gives a machine anything for a record. It may refuse it, and else has to be able to tell what it knows.
func FuzzApply(f *testing.F) {
	k := Key{Group: "g", Topic: topicID("t")}
	for _, r := range []machine.Record{k.snapshot(state{batches: []batch{{LastOffset: 3}}}), k.update(update{start: 2}), k.tombstone()} {
		f.Add(r.Key, r.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m := New(Config{})
		if m.Apply(k.snapshot(state{start: 1, batches: []batch{{FirstOffset: 1, LastOffset: 5, DeliveryCount: 1}}}), machine.Position{}) != nil {
			t.Fatal("a good record is refused")
		}
		_ = m.Apply(machine.Record{Key: key, Value: value}, machine.Position{Offset: 1})
		for k, e := range m.states {
			if err := m.Apply(k.snapshot(e.state), machine.Position{Offset: 2}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
