package group

import (
	"maps"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Kinds of records of streams groups.
const (
	keyStreamsGroup    = 17
	keyStreamsMember   = 19
	keyStreamsTarget   = 20
	keyStreamsTargetOf = 21
	keyStreamsCurrent  = 22
	keyStreamsTopology = 23
)

// streamsStateBase is what the records' numbers of members' states are above those of consumer groups.
const streamsStateBase = 1

func streamsMemberRecord(group string, m *streamsMember) machine.Record {
	return consumerRecord(&schema.StreamsGroupMemberMetadataKey{GroupID: group, MemberID: m.id}, &schema.StreamsGroupMemberMetadataValue{
		InstanceID: m.instanceID, RackID: m.rackID, ClientID: m.clientID, ClientHost: m.clientHost, RebalanceTimeoutMillis: m.rebalanceTimeout,
		TopologyEpoch: m.topologyEpoch, ProcessID: m.processID, UserEndpoint: m.endpoint, ClientTags: m.tags,
	})
}

func streamsEpochRecord(group string, epoch int32, hash int64, validated int32, settings map[string]string) machine.Record {
	return consumerRecord(&schema.StreamsGroupMetadataKey{GroupID: group}, &schema.StreamsGroupMetadataValue{
		Epoch: epoch, MetadataHash: hash, ValidatedTopologyEpoch: validated, LastAssignmentConfigs: keyValues(settings),
	})
}

func keyValues(m map[string]string) []schema.KeyValue {
	var out []schema.KeyValue
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, schema.KeyValue{Key: k, Value: m[k]})
	}
	return out
}

func streamsTopologyRecord(group string, t *topology) machine.Record {
	return consumerRecord(&schema.StreamsGroupTopologyKey{GroupID: group}, t.value())
}

func streamsTargetRecord(group, member string, t tasks) machine.Record {
	ids := func(s taskSet) []schema.TaskIDs {
		var out []schema.TaskIDs
		for _, t := range s {
			out = append(out, schema.TaskIDs{SubtopologyID: t.subtopology, Partitions: t.partitions})
		}
		return out
	}
	return consumerRecord(&schema.StreamsGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member},
		&schema.StreamsGroupTargetAssignmentMemberValue{ActiveTasks: ids(t.active), StandbyTasks: ids(t.standby), WarmupTasks: ids(t.warmup)})
}

func streamsTargetEpochRecord(group string, epoch int32, timestamp int64) machine.Record {
	return consumerRecord(&schema.StreamsGroupTargetAssignmentMetadataKey{GroupID: group},
		&schema.StreamsGroupTargetAssignmentMetadataValue{AssignmentEpoch: epoch, AssignmentTimestamp: timestamp})
}

func streamsCurrentRecord(group string, m *streamsMember) machine.Record {
	assigned := func(s taskSet) []schema.AssignedTasks {
		var out []schema.AssignedTasks
		for _, t := range s {
			epochs := t.epochs
			if epochs == nil {
				epochs = []int32{} // none, which is not null
			}
			out = append(out, schema.AssignedTasks{SubtopologyID: t.subtopology, Partitions: t.partitions, AssignmentEpochs: epochs})
		}
		return out
	}
	return consumerRecord(&schema.StreamsGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: m.id},
		&schema.StreamsGroupCurrentMemberAssignmentValue{
			MemberEpoch: m.epoch, PreviousMemberEpoch: m.previous, State: int8(m.state) + streamsStateBase,
			ActiveTasks: assigned(m.assigned.active), StandbyTasks: assigned(m.assigned.standby), WarmupTasks: assigned(m.assigned.warmup),
			ActiveTasksPendingRevocation: assigned(m.revoking.active), StandbyTasksPendingRevocation: assigned(m.revoking.standby),
			WarmupTasksPendingRevocation: assigned(m.revoking.warmup),
		})
}

// streamsMemberTombstones remove a member.
func streamsMemberTombstones(group, member string) []machine.Record {
	return []machine.Record{
		consumerRecord(&schema.StreamsGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.StreamsGroupTargetAssignmentMemberKey{GroupID: group, MemberID: member}, nil),
		consumerRecord(&schema.StreamsGroupMemberMetadataKey{GroupID: group, MemberID: member}, nil),
	}
}

// streamsTombstones remove a whole group with these members.
func streamsTombstones(group string, members []string) []machine.Record {
	var out []machine.Record
	for _, id := range members {
		out = append(out, consumerRecord(&schema.StreamsGroupCurrentMemberAssignmentKey{GroupID: group, MemberID: id}, nil))
	}
	for _, id := range members {
		out = append(out, consumerRecord(&schema.StreamsGroupTargetAssignmentMemberKey{GroupID: group, MemberID: id}, nil))
	}
	out = append(out, consumerRecord(&schema.StreamsGroupTargetAssignmentMetadataKey{GroupID: group}, nil))
	for _, id := range members {
		out = append(out, consumerRecord(&schema.StreamsGroupMemberMetadataKey{GroupID: group, MemberID: id}, nil))
	}
	return append(out, consumerRecord(&schema.StreamsGroupMetadataKey{GroupID: group}, nil),
		consumerRecord(&schema.StreamsGroupTopologyKey{GroupID: group}, nil))
}

// streamsMemberOf is the member that a record describes; epochs and tasks are those that it had.
func streamsMemberOf(old *streamsMember, v *schema.StreamsGroupMemberMetadataValue) *streamsMember {
	n := *old
	n.instanceID, n.rackID, n.clientID, n.clientHost = v.InstanceID, v.RackID, v.ClientID, v.ClientHost
	n.rebalanceTimeout, n.topologyEpoch, n.processID, n.endpoint = v.RebalanceTimeoutMillis, v.TopologyEpoch, v.ProcessID, v.UserEndpoint
	n.tags = v.ClientTags
	return &n
}

func streamsCurrentOf(old *streamsMember, v *schema.StreamsGroupCurrentMemberAssignmentValue) *streamsMember {
	n := *old
	n.epoch, n.previous, n.state = v.MemberEpoch, v.PreviousMemberEpoch, memberState(v.State-streamsStateBase)
	if n.state < memberStable || n.state > memberUnreleased {
		n.state = memberUnknown
	}
	plain := func(list []schema.AssignedTasks) taskSet {
		return taskSetOf(list, func(t *schema.AssignedTasks) (string, []int32) { return t.SubtopologyID, t.Partitions })
	}
	n.assigned = tasks{activeOf(v.ActiveTasks, v.MemberEpoch), plain(v.StandbyTasks), plain(v.WarmupTasks)}
	n.revoking = tasks{activeOf(v.ActiveTasksPendingRevocation, v.MemberEpoch), plain(v.StandbyTasksPendingRevocation), plain(v.WarmupTasksPendingRevocation)}
	return &n
}

// activeOf reads active tasks. Versions before KIP-1251 wrote no epochs: the member's stands for them.
func activeOf(list []schema.AssignedTasks, epoch int32) taskSet {
	b := taskBuilder{}
	for _, t := range list {
		for i, p := range t.Partitions {
			e := epoch
			if len(t.AssignmentEpochs) == len(t.Partitions) {
				e = t.AssignmentEpochs[i]
			}
			b.add(taskID{t.SubtopologyID, p}, e)
		}
	}
	return b.set(true)
}

func streamsTargetOf(v *schema.StreamsGroupTargetAssignmentMemberValue) tasks {
	set := func(list []schema.TaskIDs) taskSet {
		return taskSetOf(list, func(t *schema.TaskIDs) (string, []int32) { return t.SubtopologyID, t.Partitions })
	}
	return tasks{set(v.ActiveTasks), set(v.StandbyTasks), set(v.WarmupTasks)}
}
