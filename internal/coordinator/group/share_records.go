package group

import (
	"maps"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Kinds of records of share groups.
const (
	keyShareMember   = 10
	keyShareGroup    = 11
	keyShareTarget   = 12
	keyShareTargetOf = 13
	keyShareCurrent  = 14
	keyShareState    = 15
)

func shareMemberRecord(group string, m *shareMember) machine.Record {
	return consumerRecord(&schema.ShareGroupMemberMetadataKey{GroupID: group, MemberID: m.id}, &schema.ShareGroupMemberMetadataValue{
		RackID: m.rackID, ClientID: m.clientID, ClientHost: m.clientHost, SubscribedTopicNames: m.topics,
	})
}

func shareEpochRecord(group string, epoch int32, hash int64) machine.Record {
	return consumerRecord(&schema.ShareGroupMetadataKey{GroupID: group}, &schema.ShareGroupMetadataValue{Epoch: epoch, MetadataHash: hash})
}

func shareTargetRecord(group, member string, a assignment) machine.Record {
	return consumerRecord(&schema.ShareGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member},
		&schema.ShareGroupTargetAssignmentMemberValue{TopicPartitions: sharedValue(a)})
}

func shareTargetEpochRecord(group string, epoch int32, timestamp int64) machine.Record {
	return consumerRecord(&schema.ShareGroupTargetAssignmentMetadataKey{GroupID: group},
		&schema.ShareGroupTargetAssignmentMetadataValue{AssignmentEpoch: epoch, AssignmentTimestamp: timestamp})
}

// shareCurrentRecord is where a member stands. Its state is always stable.
func shareCurrentRecord(group string, m *shareMember) machine.Record {
	return consumerRecord(&schema.ShareGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: m.id},
		&schema.ShareGroupCurrentMemberAssignmentValue{
			MemberEpoch: m.epoch, PreviousMemberEpoch: m.previous, State: int8(memberStable), AssignedPartitions: sharedValue(m.assigned),
		})
}

func sharedValue(a assignment) []schema.TopicPartitions {
	var out []schema.TopicPartitions
	for _, tp := range a {
		out = append(out, schema.TopicPartitions{TopicID: tp.topic, Partitions: tp.partitions})
	}
	return out
}

func sharedOf(list []schema.TopicPartitions) assignment {
	b := assignmentBuilder{}
	for _, tp := range list {
		for _, p := range tp.Partitions {
			b.add(tp.TopicID, p, 0)
		}
	}
	return b.target()
}

func shareStateRecord(group string, s *shareState) machine.Record {
	v := &schema.ShareGroupStatePartitionMetadataValue{InitializingTopics: s.initializing.value(), InitializedTopics: s.initialized.value()}
	for _, id := range slices.SortedFunc(maps.Keys(s.deleting), compareUUID) {
		v.DeletingTopics = append(v.DeletingTopics, schema.ShareTopic{TopicID: id, TopicName: s.deleting[id]})
	}
	return consumerRecord(&schema.ShareGroupStatePartitionMetadataKey{GroupID: group}, v)
}

func (a shareTopics) value() []schema.ShareTopicPartitions {
	var out []schema.ShareTopicPartitions
	for _, id := range a.ids() {
		out = append(out, schema.ShareTopicPartitions{TopicID: id, TopicName: a[id].name, Partitions: a[id].partitions})
	}
	return out
}

func shareTopicsOf(list []schema.ShareTopicPartitions) shareTopics {
	out := shareTopics{}
	for _, t := range list {
		out.add(t.TopicID, t.TopicName, t.Partitions...)
	}
	return out
}

// shareMemberTombstones remove a member.
func shareMemberTombstones(group, member string) []machine.Record {
	return []machine.Record{
		consumerRecord(&schema.ShareGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.ShareGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.ShareGroupMemberMetadataKey{GroupID: group, MemberID: member}, nil),
	}
}

// shareTombstones remove a whole group with these members.
func shareTombstones(group string, members []string) []machine.Record {
	var out []machine.Record
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ShareGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: id}, nil))
	}
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ShareGroupTargetAssignmentMemberKey{GroupID: group, MemberID: id}, nil))
	}
	out = append(out, consumerRecord(&schema.ShareGroupTargetAssignmentMetadataKey{GroupID: group}, nil))
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ShareGroupMemberMetadataKey{GroupID: group, MemberID: id}, nil))
	}
	return append(out, consumerRecord(&schema.ShareGroupStatePartitionMetadataKey{GroupID: group}, nil),
		consumerRecord(&schema.ShareGroupMetadataKey{GroupID: group}, nil))
}
