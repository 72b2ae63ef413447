package share

import (
	"encoding/binary"
	"fmt"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Types of keys, and the one version of values.
const (
	snapshotKey  = 0
	updateKey    = 1
	valueVersion = 0
)

// state is what a snapshot holds.
type state struct {
	snapshotEpoch int32 // counts the snapshots
	stateEpoch    int32
	leaderEpoch   int32
	start         int64 // -1 until the leader knows it
	complete      int32 // offsets from start on that are done; -1 if not known
	created       int64 // ms; when the state was snapshotted last because it had changed
	written       int64 // ms; when it was snapshotted last
	batches       []batch
}

// update is what a ShareUpdate holds: start is none where it did not change, batches are those that did.
type update struct {
	snapshotEpoch int32
	leaderEpoch   int32
	start         int64
	complete      int32
	batches       []batch
}

// updated is the state after an update.
func (s state) updated(u update) state {
	if u.start != none {
		s.start = u.start
	}
	if u.leaderEpoch != none {
		s.leaderEpoch = u.leaderEpoch
	}
	s.complete = u.complete
	s.batches = combine(s.batches, u.batches, s.start)
	return s
}

func (k Key) snapshot(s state) machine.Record {
	return machine.Record{
		Key: schema.AppendKey(nil, &schema.ShareSnapshotKey{GroupID: k.Group, TopicID: k.Topic, Partition: k.Partition}),
		Value: schema.AppendValue(nil, &schema.ShareSnapshotValue{
			SnapshotEpoch: s.snapshotEpoch, StateEpoch: s.stateEpoch, LeaderEpoch: s.leaderEpoch, StartOffset: s.start,
			DeliveryCompleteCount: s.complete, CreateTimestamp: s.created, WriteTimestamp: s.written, StateBatches: s.batches,
		}, valueVersion),
	}
}

func (k Key) update(u update) machine.Record {
	return machine.Record{
		Key: schema.AppendKey(nil, &schema.ShareUpdateKey{GroupID: k.Group, TopicID: k.Topic, Partition: k.Partition}),
		Value: schema.AppendValue(nil, &schema.ShareUpdateValue{
			SnapshotEpoch: u.snapshotEpoch, LeaderEpoch: u.leaderEpoch, StartOffset: u.start,
			DeliveryCompleteCount: u.complete, StateBatches: u.batches,
		}, valueVersion),
	}
}

func (k Key) tombstone() machine.Record {
	return machine.Record{Key: schema.AppendKey(nil, &schema.ShareSnapshotKey{GroupID: k.Group, TopicID: k.Topic, Partition: k.Partition})}
}

// decoded is a record as it was read. Of snapshot and update at most one is there; neither is with a tombstone.
type decoded struct {
	key      Key
	snapshot *state
	update   *update
}

// decode reads a record. known is false for keys and values of versions that are not known: they come from a newer
// release that was taken back.
func decode(r machine.Record) (d decoded, known bool, err error) {
	if len(r.Key) < 2 {
		return d, false, fmt.Errorf("share: record key of %d bytes has no type", len(r.Key))
	}
	kind := int16(binary.BigEndian.Uint16(r.Key))
	if kind != snapshotKey && kind != updateKey {
		return d, false, nil
	}
	k, err := schema.DecodeKey(schema.ShareLog, r.Key)
	if err != nil {
		return d, false, fmt.Errorf("share: record key: %w", err)
	}
	switch k := k.(type) {
	case *schema.ShareSnapshotKey:
		d.key = Key{k.GroupID, k.TopicID, k.Partition}
	case *schema.ShareUpdateKey:
		d.key = Key{k.GroupID, k.TopicID, k.Partition}
	}
	if r.Value == nil {
		return d, kind == snapshotKey, nil
	}
	if len(r.Value) < 2 {
		return d, false, fmt.Errorf("share: value of %s: %d bytes have no version", d.key, len(r.Value))
	}
	if int16(binary.BigEndian.Uint16(r.Value)) != valueVersion {
		return d, false, nil
	}
	v, _, err := schema.DecodeValue(schema.ShareLog, kind, r.Value)
	if err != nil {
		return d, false, fmt.Errorf("share: value of %s: %w", d.key, err)
	}
	switch v := v.(type) {
	case *schema.ShareSnapshotValue:
		d.snapshot = &state{
			snapshotEpoch: v.SnapshotEpoch, stateEpoch: v.StateEpoch, leaderEpoch: v.LeaderEpoch, start: v.StartOffset,
			complete: v.DeliveryCompleteCount, created: v.CreateTimestamp, written: v.WriteTimestamp, batches: v.StateBatches,
		}
	case *schema.ShareUpdateValue:
		d.update = &update{
			snapshotEpoch: v.SnapshotEpoch, leaderEpoch: v.LeaderEpoch, start: v.StartOffset,
			complete: v.DeliveryCompleteCount, batches: v.StateBatches,
		}
	}
	return d, true, nil
}
