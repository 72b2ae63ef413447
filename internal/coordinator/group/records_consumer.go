package group

import (
	"fmt"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Kinds of records of consumer groups.
const (
	keyConsumerGroup      = 3
	keyOldSubscription    = 4 // written before Kafka 4.1; only removed today
	keyConsumerMember     = 5
	keyConsumerTarget     = 6
	keyConsumerTargetOf   = 7
	keyConsumerCurrent    = 8
	keyConsumerExpression = 16
)

// consumerRecord puts key and value together; a nil value removes.
func consumerRecord(key schema.Record, value schema.Message) machine.Record {
	r := machine.Record{Key: schema.AppendKey(nil, key)}
	if value != nil {
		r.Value = schema.AppendValue(nil, value, 0)
	}
	return r
}

func memberRecord(group string, m *consumerMember) machine.Record {
	regex := m.regex
	return consumerRecord(&schema.ConsumerGroupMemberMetadataKey{GroupID: group, MemberID: m.id}, &schema.ConsumerGroupMemberMetadataValue{
		InstanceID: m.instanceID, RackID: m.rackID, ClientID: m.clientID, ClientHost: m.clientHost,
		SubscribedTopicNames: m.topics, SubscribedTopicRegex: &regex, RebalanceTimeoutMillis: m.rebalanceTimeout,
		ServerAssignor: m.assignor, ClassicMemberMetadata: m.classic,
	})
}

func epochRecord(group string, epoch int32, hash int64) machine.Record {
	return consumerRecord(&schema.ConsumerGroupMetadataKey{GroupID: group}, &schema.ConsumerGroupMetadataValue{Epoch: epoch, MetadataHash: hash})
}

func targetRecord(group, member string, a assignment) machine.Record {
	v := &schema.ConsumerGroupTargetAssignmentMemberValue{}
	for _, tp := range a {
		v.TopicPartitions = append(v.TopicPartitions, schema.TopicPartitions{TopicID: tp.topic, Partitions: tp.partitions})
	}
	return consumerRecord(&schema.ConsumerGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member}, v)
}

func targetEpochRecord(group string, epoch int32, timestamp int64) machine.Record {
	return consumerRecord(&schema.ConsumerGroupTargetAssignmentMetadataKey{GroupID: group},
		&schema.ConsumerGroupTargetAssignmentMetadataValue{AssignmentEpoch: epoch, AssignmentTimestamp: timestamp})
}

func currentRecord(group string, m *consumerMember) machine.Record {
	return consumerRecord(&schema.ConsumerGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: m.id},
		&schema.ConsumerGroupCurrentMemberAssignmentValue{
			MemberEpoch: m.epoch, PreviousMemberEpoch: m.previous, State: int8(m.state),
			AssignedPartitions: ownedValue(m.assigned), PartitionsPendingRevocation: ownedValue(m.revoking),
		})
}

func ownedValue(a assignment) []schema.AssignedPartitions {
	var out []schema.AssignedPartitions
	for _, tp := range a {
		out = append(out, schema.AssignedPartitions{TopicID: tp.topic, Partitions: tp.partitions, AssignmentEpochs: tp.epochs})
	}
	return out
}

func expressionRecord(group, regex string, r *resolvedRegex) machine.Record {
	return consumerRecord(&schema.ConsumerGroupRegularExpressionKey{GroupID: group, RegularExpression: regex},
		&schema.ConsumerGroupRegularExpressionValue{Topics: r.topics, Version: r.image, Timestamp: r.at})
}

func expressionTombstone(group, regex string) machine.Record {
	return consumerRecord(&schema.ConsumerGroupRegularExpressionKey{GroupID: group, RegularExpression: regex}, nil)
}

// memberTombstones remove a member.
func memberTombstones(group, member string) []machine.Record {
	return []machine.Record{
		consumerRecord(&schema.ConsumerGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.ConsumerGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.ConsumerGroupMemberMetadataKey{GroupID: group, MemberID: member}, nil),
	}
}

// consumerTombstones remove a whole group with these members.
func consumerTombstones(group string, members, regexes []string) []machine.Record {
	var out []machine.Record
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ConsumerGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: id}, nil))
	}
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ConsumerGroupTargetAssignmentMemberKey{GroupID: group, MemberID: id}, nil))
	}
	out = append(out, consumerRecord(&schema.ConsumerGroupTargetAssignmentMetadataKey{GroupID: group}, nil))
	for _, id := range members {
		out = append(out, consumerRecord(&schema.ConsumerGroupMemberMetadataKey{GroupID: group, MemberID: id}, nil))
	}
	for _, regex := range regexes {
		out = append(out, expressionTombstone(group, regex))
	}
	return append(out, oldSubscriptionTombstone(group),
		consumerRecord(&schema.ConsumerGroupMetadataKey{GroupID: group}, nil))
}

func oldSubscriptionTombstone(group string) machine.Record {
	return consumerRecord(&schema.ConsumerGroupPartitionMetadataKey{GroupID: group}, nil)
}

// decodeConsumer reads a record of a consumer group; value is nil if it removes.
func decodeConsumer(r machine.Record) (key, value schema.Record, err error) {
	if key, err = schema.DecodeKey(schema.GroupLog, r.Key); err != nil {
		return nil, nil, fmt.Errorf("group: key of a consumer group's record: %w", err)
	}
	if r.Value == nil {
		return key, nil, nil
	}
	if value, _, err = schema.DecodeValue(schema.GroupLog, key.Type(), r.Value); err != nil {
		return nil, nil, fmt.Errorf("group: value of %s: %w", key.RecordName(), err)
	}
	return key, value, nil
}

// memberOf is the member that a record describes; epochs and partitions are those that it had.
func memberOf(old *consumerMember, v *schema.ConsumerGroupMemberMetadataValue) *consumerMember {
	n := *old
	n.instanceID, n.rackID, n.assignor = v.InstanceID, v.RackID, v.ServerAssignor
	n.clientID, n.clientHost, n.rebalanceTimeout = v.ClientID, v.ClientHost, v.RebalanceTimeoutMillis
	n.topics, n.classic = distinctSorted(v.SubscribedTopicNames), v.ClassicMemberMetadata
	if n.regex = ""; v.SubscribedTopicRegex != nil {
		n.regex = *v.SubscribedTopicRegex
	}
	return &n
}

func currentOf(old *consumerMember, v *schema.ConsumerGroupCurrentMemberAssignmentValue) *consumerMember {
	n := *old
	n.epoch, n.previous, n.state = v.MemberEpoch, v.PreviousMemberEpoch, memberState(v.State)
	if n.state < memberStable || n.state > memberUnreleased {
		n.state = memberUnknown
	}
	n.assigned = ownedOf(v.AssignedPartitions, v.MemberEpoch)
	n.revoking = ownedOf(v.PartitionsPendingRevocation, v.MemberEpoch)
	return &n
}

// ownedOf reads partitions. Versions before KIP-1251 wrote no epochs: the member's stands for them.
func ownedOf(list []schema.AssignedPartitions, epoch int32) assignment {
	b := assignmentBuilder{}
	for _, tp := range list {
		for i, p := range tp.Partitions {
			e := max(epoch, 0)
			if len(tp.AssignmentEpochs) == len(tp.Partitions) {
				e = tp.AssignmentEpochs[i]
			}
			b.add(tp.TopicID, p, e)
		}
	}
	return b.owned()
}

func targetOf(v *schema.ConsumerGroupTargetAssignmentMemberValue) assignment {
	var a assignment
	for _, tp := range v.TopicPartitions {
		if len(tp.Partitions) == 0 {
			continue
		}
		partitions := slices.Clone(tp.Partitions)
		slices.Sort(partitions)
		a = append(a, topicPartitions{topic: tp.TopicID, partitions: slices.Compact(partitions)})
	}
	a.sort()
	return slices.CompactFunc(a, func(x, y topicPartitions) bool { return x.topic == y.topic })
}
