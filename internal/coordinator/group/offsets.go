package group

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// offset is what a group committed for a partition.
type offset struct {
	offset      int64
	leaderEpoch int32 // -1 unknown
	metadata    string
	committed   int64 // ms
	expires     int64 // ms, -1 if the retention decides
	topicID     [16]byte
	record      int64 // where the commit stands in the log
}

// offsets are all committed offsets of a partition of __consumer_offsets, and those of open transactions.
type offsets struct {
	groups map[string]map[string]map[int32]offset
	// pending holds, by producer, what open transactions committed. A marker moves it to groups or drops it.
	pending map[int64]map[partitionKey]offset
	// open holds the producers with a pending offset for a partition; openGroups counts the group's entries in open.
	open       map[partitionKey]map[int64]struct{}
	openGroups map[string]int

	last partitionKey // whose names were copied last
}

func newOffsets() offsets {
	return offsets{
		groups: map[string]map[string]map[int32]offset{}, pending: map[int64]map[partitionKey]offset{},
		open: map[partitionKey]map[int64]struct{}{}, openGroups: map[string]int{},
	}
}

func (s *offsets) get(k partitionKey) (offset, bool) {
	o, ok := s.groups[k.group][k.topic][k.partition]
	return o, ok
}

func (s *offsets) put(k partitionKey, o offset) {
	topics := s.groups[k.group]
	if topics == nil {
		topics = map[string]map[int32]offset{}
		s.groups[k.group] = topics
	}
	partitions := topics[k.topic]
	if partitions == nil {
		partitions = map[int32]offset{}
		topics[k.topic] = partitions
	}
	partitions[k.partition] = o
}

func (s *offsets) delete(k partitionKey) {
	topics := s.groups[k.group]
	partitions := topics[k.topic]
	delete(partitions, k.partition)
	if partitions != nil && len(partitions) == 0 {
		delete(topics, k.topic)
	}
	if topics != nil && len(topics) == 0 {
		delete(s.groups, k.group)
	}
}

func (s *offsets) putPending(producer int64, k partitionKey, o offset) {
	if s.pending[producer] == nil {
		s.pending[producer] = map[partitionKey]offset{}
	}
	s.pending[producer][k] = o
	if s.open[k] == nil {
		s.open[k] = map[int64]struct{}{}
		s.openGroups[k.group]++
	}
	s.open[k][producer] = struct{}{}
}

// unstable says that an open transaction committed an offset for the partition.
func (s *offsets) unstable(k partitionKey) bool {
	return len(s.open) > 0 && s.open[k] != nil
}

func (s *offsets) close(k partitionKey, producer int64) {
	producers := s.open[k]
	delete(producers, producer)
	if producers != nil && len(producers) == 0 {
		s.closeAll(k)
	}
}

func (s *offsets) closeAll(k partitionKey) {
	if s.open[k] == nil {
		return
	}
	delete(s.open, k)
	if s.openGroups[k.group]--; s.openGroups[k.group] == 0 {
		delete(s.openGroups, k.group)
	}
}

// endTransaction moves a transaction's offsets to the committed ones, or drops them. Where a later commit outside the
// transaction stands in the log, that one stays: compaction may have removed what was before it.
func (s *offsets) endTransaction(producer int64, commit bool) {
	ended := s.pending[producer]
	delete(s.pending, producer)
	// Each key is taken on its own, so the order does not matter.
	for k, o := range ended {
		s.close(k, producer)
		if old, ok := s.get(k); commit && (!ok || o.record > old.record) {
			s.put(k, o)
		}
	}
}

// partitions gives a group's partitions with committed offsets, in order.
func (s *offsets) partitions(group string) []partitionKey {
	var keys []partitionKey
	topics := s.groups[group]
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		for _, p := range slices.Sorted(maps.Keys(topics[topic])) {
			keys = append(keys, partitionKey{group, topic, p})
		}
	}
	return keys
}

// openPartitions gives the partitions that match and have an offset in an open transaction, in order.
func (s *offsets) openPartitions(match func(partitionKey) bool) []partitionKey {
	var keys []partitionKey
	for k := range s.open {
		if match(k) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, comparePartitions)
	return keys
}

func comparePartitions(a, b partitionKey) int {
	return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

// keyOf copies the names of a record's key. Offsets mostly stand in the log beside others of their group and topic, so those of
// the last one are used again.
func (s *offsets) keyOf(k *kmsg.OffsetCommitKey) partitionKey {
	if s.last.group != k.Group {
		s.last.group = strings.Clone(k.Group)
	}
	if s.last.topic != k.Topic {
		s.last.topic = strings.Clone(k.Topic)
	}
	return partitionKey{s.last.group, s.last.topic, k.Partition}
}

// remove takes in that an offset is gone, also those of open transactions.
func (s *offsets) remove(k partitionKey) {
	s.delete(k)
	// Order does not matter: one key is removed from each.
	for producer := range s.open[k] {
		delete(s.pending[producer], k)
	}
	s.closeAll(k)
}

// applyOffset takes in a commit. Offsets without a group belong to a simple one, which has no record of its own.
func (m *Machine) applyOffset(k partitionKey, v *kmsg.OffsetCommitValue, pos machine.Position) {
	s := &m.offsets
	if _, ok := m.groups[k.group]; !ok {
		g := newClassic(k.group, pos.Timestamp)
		g.durable = true
		m.groups[k.group] = g
	}
	o := offset{
		offset: v.Offset, leaderEpoch: v.LeaderEpoch, metadata: v.Metadata, committed: v.CommitTimestamp,
		expires: v.ExpireTimestamp, topicID: v.TopicID, record: pos.Offset,
	}
	if pos.Producer.ID >= 0 && pos.Producer.Transactional {
		s.putPending(pos.Producer.ID, k, o)
		return
	}
	s.put(k, o)
}
