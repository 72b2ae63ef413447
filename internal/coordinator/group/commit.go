package group

import (
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// commit is OffsetCommit (key 8, versions 0 to 10).
//
//   - Members commit with their generation; a request without member and generation is taken only while the group is
//     empty or does not exist (a simple consumer, an admin client).
//   - A commit keeps the member's session, except while it waits for its assignment.
//   - Versions 2 to 4 may set a retention time. Before version 9 an unknown group is ILLEGAL_GENERATION, then
//     GROUP_ID_NOT_FOUND. Version 10 names topics by id, Topic is filled in already.
func (m *Machine) commit(t *turn, r *kmsg.OffsetCommitRequest) {
	if r.Version == 0 {
		r.Generation = -1
	}
	if err := m.mayCommit(t, r); err != nil {
		t.answer(commitError(r, codeOf(err)))
		return
	}
	expires := int64(-1)
	if r.RetentionTimeMillis != -1 && r.Version >= 2 && r.Version <= 4 {
		expires = t.now + r.RetentionTimeMillis
	}
	answer := &kmsg.OffsetCommitResponse{Version: r.Version, Topics: make([]kmsg.OffsetCommitResponseTopic, len(r.Topics))}
	for i := range r.Topics {
		topic := &r.Topics[i]
		partitions := make([]kmsg.OffsetCommitResponseTopicPartition, len(topic.Partitions))
		for j, p := range topic.Partitions {
			partitions[j].Partition = p.Partition
			o := offset{offset: p.Offset, leaderEpoch: p.LeaderEpoch, committed: t.now, expires: expires, topicID: topic.TopicID}
			if !m.setMetadata(&o, p.Metadata) {
				partitions[j].ErrorCode = kerr.OffsetMetadataTooLarge.Code
				continue
			}
			t.out.Records = append(t.out.Records, offsetRecord(partitionKey{r.Group, topic.Topic, p.Partition}, o))
		}
		answer.Topics[i] = kmsg.OffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID, Partitions: partitions}
	}
	t.answer(answer)
}

func (m *Machine) mayCommit(t *turn, r *kmsg.OffsetCommitRequest) error {
	g := m.groups[r.Group]
	if g == nil {
		switch {
		case r.Generation < 0:
			return nil // applying the records makes the group
		case r.Version >= 9:
			return kerr.GroupIDNotFound
		}
		return kerr.IllegalGeneration
	}
	err := g.check(access{verb: commitOffsets, memberID: r.MemberID, instanceID: r.InstanceID, generation: r.Generation, version: r.Version,
		partitions: func(yield func(schema.UUID, int32) bool) {
			for i := range r.Topics {
				for _, p := range r.Topics[i].Partitions {
					if !yield(r.Topics[i].TopicID, p.Partition) {
						return
					}
				}
			}
		},
		topics: func(yield func(string, int32) bool) {
			for i := range r.Topics {
				for _, p := range r.Topics[i].Partitions {
					if !yield(r.Topics[i].Topic, p.Partition) {
						return
					}
				}
			}
		}})
	if err != nil {
		return err
	}
	if g, ok := g.(*classic); ok && (g.state == stable || g.state == preparingRebalance) {
		if member := g.byID[r.MemberID]; member != nil {
			m.timers.set(&member.session, t.now+int64(member.sessionTimeout))
		}
	}
	return nil
}

// setMetadata says whether the metadata is short enough. Its length is counted as Java does, in UTF-16 units.
func (m *Machine) setMetadata(o *offset, metadata *string) bool {
	if metadata == nil {
		return true
	}
	o.metadata = *metadata
	return len(*metadata) <= m.config.MetadataMax || utf16Len(*metadata) <= m.config.MetadataMax
}

func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		if n++; r > 0xffff && r <= utf8.MaxRune {
			n++
		}
	}
	return n
}

// commitInTransaction is TxnOffsetCommit (key 28, versions 0 to 5). The offsets count once the transaction's marker has
// come; version 3 and later name the member and generation (KIP-447), which are checked if given. Whether the producer
// takes part in a transaction is checked before the request comes here, and by the log.
func (m *Machine) commitInTransaction(t *turn, r *kmsg.TxnOffsetCommitRequest) {
	if r.Group == "" {
		t.answer(txnCommitError(r, kerr.InvalidGroupID.Code))
		return
	}
	generation := r.Generation
	if r.Version < 3 {
		generation = -1
	}
	if g := m.groups[r.Group]; g != nil {
		err := g.check(access{verb: commitTransaction, memberID: r.MemberID, instanceID: r.InstanceID, generation: generation, version: r.Version,
			partitions: func(yield func(schema.UUID, int32) bool) {
				for i := range r.Topics {
					var id schema.UUID // none for a topic that is not there
					if topic, ok := t.Image.Topic(r.Topics[i].Topic); ok {
						id = topic.ID
					}
					for _, p := range r.Topics[i].Partitions {
						if !yield(id, p.Partition) {
							return
						}
					}
				}
			},
			topics: func(yield func(string, int32) bool) {
				for i := range r.Topics {
					for _, p := range r.Topics[i].Partitions {
						if !yield(r.Topics[i].Topic, p.Partition) {
							return
						}
					}
				}
			}})
		if err != nil {
			t.answer(txnCommitError(r, codeOf(err)))
			return
		}
	} else if generation >= 0 {
		t.answer(txnCommitError(r, kerr.IllegalGeneration.Code))
		return
	}
	answer := &kmsg.TxnOffsetCommitResponse{Version: r.Version, Topics: make([]kmsg.TxnOffsetCommitResponseTopic, len(r.Topics))}
	for i := range r.Topics {
		topic := &r.Topics[i]
		partitions := make([]kmsg.TxnOffsetCommitResponseTopicPartition, len(topic.Partitions))
		for j, p := range topic.Partitions {
			partitions[j].Partition = p.Partition
			o := offset{offset: p.Offset, leaderEpoch: p.LeaderEpoch, committed: t.now, expires: -1}
			if !m.setMetadata(&o, p.Metadata) {
				partitions[j].ErrorCode = kerr.OffsetMetadataTooLarge.Code
				continue
			}
			t.out.Records = append(t.out.Records, offsetRecord(partitionKey{r.Group, topic.Topic, p.Partition}, o))
		}
		answer.Topics[i] = kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID, Partitions: partitions}
	}
	t.answer(answer)
	if len(t.out.Records) > 0 {
		t.out.Producer = &machine.Producer{ID: r.ProducerID, Epoch: r.ProducerEpoch, Transactional: true}
	}
}

// deleteOffsets is OffsetDelete (key 47, version 0). Topics that members consume keep theirs.
func (m *Machine) deleteOffsets(t *turn, r *kmsg.OffsetDeleteRequest) {
	answer := &kmsg.OffsetDeleteResponse{Version: r.Version}
	g := m.groups[r.Group]
	var err error
	switch {
	case r.Group == "":
		err = kerr.InvalidGroupID
	case g == nil:
		err = kerr.GroupIDNotFound
	default:
		err = g.check(access{verb: deleteOffsets})
	}
	if err != nil {
		answer.ErrorCode = codeOf(err)
		t.answer(answer)
		return
	}
	for _, topic := range r.Topics {
		subscribed := g.subscribes(topic.Topic)
		partitions := make([]kmsg.OffsetDeleteResponseTopicPartition, len(topic.Partitions))
		for j, p := range topic.Partitions {
			partitions[j].Partition = p.Partition
			k := partitionKey{r.Group, topic.Topic, p.Partition}
			if subscribed {
				partitions[j].ErrorCode = kerr.GroupSubscribedToTopic.Code
			} else if _, ok := m.offsets.get(k); ok || m.offsets.unstable(k) {
				t.out.Records = append(t.out.Records, offsetTombstone(k))
			}
		}
		answer.Topics = append(answer.Topics, kmsg.OffsetDeleteResponseTopic{Topic: topic.Topic, Partitions: partitions})
	}
	t.answer(answer)
}
