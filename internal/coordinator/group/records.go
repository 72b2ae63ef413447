package group

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// Kinds of records, the first int16 of a key.
const (
	keyOldOffsetCommit = 0
	keyOffsetCommit    = 1
	keyGroupMetadata   = 2
)

// Versions of the values that are written: what Apache Kafka 4.3 writes.
const (
	groupMetadataVersion   = 3
	offsetVersion          = 4
	offsetVersionRetention = 1 // the one version that has an expiry of its own
)

// partitionKey names what an offset is committed for.
type partitionKey struct {
	group, topic string
	partition    int32
}

func offsetRecord(k partitionKey, o offset) machine.Record {
	v := kmsg.OffsetCommitValue{
		Version: offsetVersion, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata,
		CommitTimestamp: o.committed, ExpireTimestamp: o.expires, TopicID: o.topicID,
	}
	if o.expires != -1 {
		v.Version = offsetVersionRetention
	}
	size := 10 + len(k.group) + len(k.topic)
	buf := make([]byte, 0, size+48+len(o.metadata))
	buf = appendOffsetKey(buf, k)
	n := len(buf)
	buf = v.AppendTo(buf)
	return machine.Record{Key: buf[:n:n], Value: buf[n:]}
}

func offsetTombstone(k partitionKey) machine.Record {
	return machine.Record{Key: appendOffsetKey(make([]byte, 0, 10+len(k.group)+len(k.topic)), k)}
}

func appendOffsetKey(buf []byte, k partitionKey) []byte {
	key := kmsg.OffsetCommitKey{Version: keyOffsetCommit, Group: k.group, Topic: k.topic, Partition: k.partition}
	return key.AppendTo(buf)
}

func groupTombstone(id string) machine.Record {
	key := kmsg.GroupMetadataKey{Version: keyGroupMetadata, Group: id}
	return machine.Record{Key: key.AppendTo(nil)}
}

// emptyGroupRecord makes a new group durable before it has a generation.
func emptyGroupRecord(g *classic) machine.Record {
	return groupRecord(g.id, kmsg.GroupMetadataValue{CurrentStateTimestamp: g.since})
}

func groupRecord(id string, v kmsg.GroupMetadataValue) machine.Record {
	v.Version = groupMetadataVersion
	key := kmsg.GroupMetadataKey{Version: keyGroupMetadata, Group: id}
	return machine.Record{Key: key.AppendTo(nil), Value: v.AppendTo(nil)}
}

// metadataRecord is the group's generation with the given assignments; a member that has none gets an empty one.
func metadataRecord(g *classic, assignment func(*member) []byte) machine.Record {
	v := kmsg.GroupMetadataValue{
		ProtocolType:          g.protocolType,
		Generation:            g.generation,
		Protocol:              g.protocol,
		CurrentStateTimestamp: g.since,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.members {
		a := assignment(m)
		if a == nil {
			a = []byte{}
		}
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID:               m.id,
			InstanceID:             m.instanceID,
			ClientID:               m.clientID,
			ClientHost:             m.clientHost,
			RebalanceTimeoutMillis: m.rebalanceTimeout,
			SessionTimeoutMillis:   m.sessionTimeout,
			Subscription:           m.metadata(g.protocolName()),
			Assignment:             a,
		})
	}
	return groupRecord(g.id, v)
}

// recordKind is what a record's key says that it is.
func recordKind(r machine.Record) (int16, error) {
	if len(r.Key) < 2 {
		return 0, fmt.Errorf("group: record key of %d bytes has no kind", len(r.Key))
	}
	return int16(binary.BigEndian.Uint16(r.Key)), nil
}

// decodeOffset reads an offset's record; there is no value if it is a tombstone. The names in the key refer to the record's bytes,
// which do not outlive it: who keeps them copies them, and who knows them already need not.
func decodeOffset(r machine.Record) (k kmsg.OffsetCommitKey, v kmsg.OffsetCommitValue, there bool, err error) {
	if err := k.UnsafeReadFrom(r.Key); err != nil {
		return k, v, false, fmt.Errorf("group: key of an offset commit: %w", err)
	}
	if r.Value == nil {
		return k, v, false, nil
	}
	err = checkVersion(r.Value, offsetVersion)
	if err == nil {
		err = v.ReadFrom(r.Value)
	}
	if err != nil {
		return k, v, false, fmt.Errorf("group: offset commit of %q for %s-%d: %w", k.Group, k.Topic, k.Partition, err)
	}
	if v.Version < 3 {
		v.LeaderEpoch = -1
	}
	if v.Version != offsetVersionRetention {
		v.ExpireTimestamp = -1
	}
	return k, v, true, nil
}

func decodeGroup(r machine.Record) (string, *kmsg.GroupMetadataValue, error) {
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(r.Key); err != nil {
		return "", nil, fmt.Errorf("group: key of group metadata: %w", err)
	}
	if r.Value == nil {
		return k.Group, nil, nil
	}
	if err := checkVersion(r.Value, 4); err != nil {
		return k.Group, nil, fmt.Errorf("group: metadata of %q: %w", k.Group, err)
	}
	v := kmsg.NewGroupMetadataValue()
	if err := v.ReadFrom(r.Value); err != nil {
		return k.Group, nil, fmt.Errorf("group: metadata of %q: %w", k.Group, err)
	}
	for i := range v.Members {
		if v.Version < 1 {
			v.Members[i].RebalanceTimeoutMillis = -1
		}
	}
	if v.Version < 2 {
		v.CurrentStateTimestamp = -1
	}
	return k.Group, &v, nil
}

func checkVersion(value []byte, newest int16) error {
	if len(value) < 2 {
		return fmt.Errorf("value of %d bytes has no version", len(value))
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 || v > newest {
		return fmt.Errorf("value has version %d, known are 0 to %d", v, newest)
	}
	return nil
}
