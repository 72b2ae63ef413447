package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetch is OffsetFetch (key 9, versions 0 to 10).
//
//   - Versions 0 to 7 name one group, later ones several.
//   - No topics (null) means all that the group has offsets for.
//   - What is not there is offset -1 without an error, also for a group that is not there.
//   - With require_stable (version 7 and later, KIP-447), partitions that an open transaction committed for are
//     UNSTABLE_OFFSET_COMMIT.
//   - Version 10 names topics by id; an offset of another topic of that name is none.
func (m *Machine) fetch(t *turn, r *kmsg.OffsetFetchRequest) {
	answer := &kmsg.OffsetFetchResponse{Version: r.Version}
	for _, g := range fetchGroups(r) {
		answer.Groups = append(answer.Groups, m.fetchGroup(g, r.RequireStable))
	}
	t.answer(fetchResponse(answer))
}

// fetchGroups gives the request's groups in the form of version 8 and later.
func fetchGroups(r *kmsg.OffsetFetchRequest) []kmsg.OffsetFetchRequestGroup {
	if r.Version >= 8 {
		return r.Groups
	}
	g := kmsg.OffsetFetchRequestGroup{Group: r.Group, MemberEpoch: -1}
	if r.Topics != nil {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(r.Topics))
	}
	for i, topic := range r.Topics {
		g.Topics[i] = kmsg.OffsetFetchRequestGroupTopic{Topic: topic.Topic, Partitions: topic.Partitions}
	}
	return []kmsg.OffsetFetchRequestGroup{g}
}

// fetchResponse moves the one group of versions 0 to 7 to where those have it.
func fetchResponse(r *kmsg.OffsetFetchResponse) *kmsg.OffsetFetchResponse {
	if r.Version >= 8 {
		return r
	}
	g := r.Groups[0]
	r.Groups, r.ErrorCode = nil, g.ErrorCode
	for _, topic := range g.Topics {
		old := kmsg.OffsetFetchResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			old.Partitions = append(old.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		r.Topics = append(r.Topics, old)
	}
	return r
}

func (m *Machine) fetchGroup(r kmsg.OffsetFetchRequestGroup, requireStable bool) kmsg.OffsetFetchResponseGroup {
	answer := kmsg.OffsetFetchResponseGroup{Group: r.Group, Topics: []kmsg.OffsetFetchResponseGroupTopic{}}
	g := m.groups[r.Group]
	if g != nil {
		a := access{verb: fetchOffsets, generation: r.MemberEpoch, noMember: r.MemberID == nil}
		if r.MemberID != nil {
			a.memberID = *r.MemberID
		}
		if err := g.check(a); err != nil {
			answer.ErrorCode = codeOf(err)
			return answer
		}
	}
	topics := r.Topics
	if topics == nil {
		topics = m.committedTopics(r.Group)
	}
	for _, topic := range topics {
		out := kmsg.OffsetFetchResponseGroupTopic{
			Topic: topic.Topic, TopicID: topic.TopicID,
			Partitions: make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(topic.Partitions)),
		}
		for i, partition := range topic.Partitions {
			out.Partitions[i] = m.fetchPartition(partitionKey{r.Group, topic.Topic, partition}, topic.TopicID, requireStable)
		}
		answer.Topics = append(answer.Topics, out)
	}
	return answer
}

func (m *Machine) committedTopics(group string) []kmsg.OffsetFetchRequestGroupTopic {
	var all []kmsg.OffsetFetchRequestGroupTopic
	topics := m.offsets.groups[group]
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		all = append(all, kmsg.OffsetFetchRequestGroupTopic{Topic: topic, Partitions: slices.Sorted(maps.Keys(topics[topic]))})
	}
	return all
}

func (m *Machine) fetchPartition(k partitionKey, topicID [16]byte, requireStable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	none := noOffset(k.partition, 0)
	if requireStable && m.offsets.unstable(k) {
		none.ErrorCode = kerr.UnstableOffsetCommit.Code
		return none
	}
	o, ok := m.offsets.get(k)
	if !ok || otherTopic(o.topicID, topicID) {
		return none
	}
	return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: k.partition, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: &o.metadata}
}

func noOffset(partition int32, code int16) kmsg.OffsetFetchResponseGroupTopicPartition {
	none := ""
	return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: partition, Offset: -1, LeaderEpoch: -1, Metadata: &none, ErrorCode: code}
}

// otherTopic says that both ids are known and differ: the topic was deleted and made again under its name.
func otherTopic(a, b [16]byte) bool { return a != b && a != [16]byte{} && b != [16]byte{} }
