package group

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

func alterError(version int16, err error) *kmsg.AlterShareGroupOffsetsResponse {
	return &kmsg.AlterShareGroupOffsetsResponse{Version: version, ErrorCode: codeOf(err), ErrorMessage: messageOf(err)}
}

// unknownPartition is what an answer says of a partition that is not there.
func unknownPartition() (int16, *string) {
	text := "This server does not host this topic-partition."
	return kerr.UnknownTopicOrPartition.Code, &text
}

// alterShareOffsets is AlterShareGroupOffsets (key 91, version 0): the share partitions of an empty group begin anew at the
// given offsets. The group is made if it is not there. The answer waits for the share coordinators.
func (m *Machine) alterShareOffsets(t *turn, r *kmsg.AlterShareGroupOffsetsRequest) {
	g, err := m.shareFor(r.GroupID, true)
	switch {
	case r.GroupID == "" || len(r.GroupID) > schema.MaxString:
		err = kerr.InvalidGroupID
	case err == nil && len(g.members) > 0:
		err = refuse(kerr.NonEmptyGroup, "The group is not empty.")
	}
	if err != nil {
		t.answer(alterError(r.Version, err))
		return
	}
	answer := &kmsg.AlterShareGroupOffsetsResponse{Version: r.Version}
	next := g.state.changed()
	try := &attempt{t.now}
	var asks []kmsg.Request
	for i := range r.Topics {
		in := &r.Topics[i]
		out := kmsg.AlterShareGroupOffsetsResponseTopic{Topic: in.Topic}
		topic, ok := t.Image.Topic(in.Topic)
		if ok {
			out.TopicID = topic.ID
		}
		var begun []int32
		for _, p := range in.Partitions {
			po := kmsg.AlterShareGroupOffsetsResponseTopicPartition{Partition: p.Partition}
			if !ok || p.Partition < 0 || int(p.Partition) >= len(topic.Partitions) {
				po.ErrorCode, po.ErrorMessage = unknownPartition()
			} else {
				begun = append(begun, p.Partition)
				m.attempts.begin(g.id, try, sharePartition{topic.ID, p.Partition})
				asks = append(asks, initializeRequest(g.id, g.epoch, topic.ID, p.Partition, p.StartOffset))
			}
			out.Partitions = append(out.Partitions, po)
		}
		if len(begun) > 0 {
			next.initializing.add(topic.ID, topic.Name, begun...)
			delete(next.deleting, topic.ID)
		}
		answer.Topics = append(answer.Topics, out)
	}
	if len(asks) == 0 {
		t.answer(answer)
		return
	}
	t.write(shareStateRecord(g.id, next))
	t.ask(asks, altering{g.id, try, t.cmd.Token, answer})
}

func (m *Machine) altered(t *turn, p altering, results []shareResult) {
	failed := map[sharePartition]shareResult{}
	for _, r := range results {
		if r.code != 0 {
			failed[sharePartition{r.topic, r.partition}] = r
		}
	}
	for i := range p.answer.Topics {
		topic := &p.answer.Topics[i]
		for j := range topic.Partitions {
			out := &topic.Partitions[j]
			if r, ok := failed[sharePartition{topic.TopicID, out.Partition}]; ok && out.ErrorCode == 0 {
				out.ErrorCode, out.ErrorMessage = r.code, r.message
			}
		}
	}
	m.shareInitialized(t, p.group, p.attempt, results)
	t.reply(p.token, p.answer)
}

func deleteOffsetsError(version int16, err error) *kmsg.DeleteShareGroupOffsetsResponse {
	return &kmsg.DeleteShareGroupOffsetsResponse{Version: version, ErrorCode: codeOf(err), ErrorMessage: messageOf(err)}
}

// deleteShareOffsets is DeleteShareGroupOffsets (key 92, version 0): an empty group forgets topics. The answer waits for the
// share coordinators; where they fail, the topic stays marked and the deletion can be asked for again.
func (m *Machine) deleteShareOffsets(t *turn, r *kmsg.DeleteShareGroupOffsetsRequest) {
	if r.GroupID == "" {
		t.answer(deleteOffsetsError(r.Version, kerr.InvalidGroupID))
		return
	}
	g, err := m.shareGroupNamed(r.GroupID)
	if err == nil && len(g.members) > 0 {
		err = refuse(kerr.NonEmptyGroup, "The group is not empty.")
	}
	if err != nil {
		t.answer(deleteOffsetsError(r.Version, err))
		return
	}
	answer := &kmsg.DeleteShareGroupOffsetsResponse{Version: r.Version}
	if g.state == nil {
		t.answer(answer)
		return
	}
	next := g.state.changed()
	var asks []kmsg.Request
	for i := range r.Topics {
		name := r.Topics[i].Topic
		topic, ok := t.Image.Topic(name)
		if !ok {
			out := kmsg.DeleteShareGroupOffsetsResponseTopic{Topic: name}
			out.ErrorCode, out.ErrorMessage = unknownPartition()
			answer.Topics = append(answer.Topics, out)
			continue
		}
		partitions := next.initialized[topic.ID].partitions
		if _, again := next.deleting[topic.ID]; again && len(partitions) == 0 {
			partitions = allPartitions(len(topic.Partitions))
		}
		if len(partitions) == 0 {
			text := "There is no offset information to delete."
			answer.Topics = append(answer.Topics, kmsg.DeleteShareGroupOffsetsResponseTopic{
				Topic: name, ErrorCode: kerr.UnknownTopicOrPartition.Code, ErrorMessage: &text,
			})
			continue
		}
		// What is being begun right now was asked for before, so it is deleted with the rest.
		next.initialized.add(topic.ID, topic.Name, partitions...)
		next.initialized.add(topic.ID, topic.Name, next.initializing[topic.ID].partitions...)
		partitions = next.initialized[topic.ID].partitions
		delete(next.initialized, topic.ID)
		delete(next.initializing, topic.ID)
		next.deleting[topic.ID] = topic.Name
		asks = append(asks, deleteRequests(g.id, topic.ID, partitions)...)
	}
	if len(asks) == 0 {
		t.answer(answer)
		return
	}
	t.write(shareStateRecord(g.id, next))
	t.ask(asks, deletingOffsets{g.id, t.cmd.Token, answer})
}

func allPartitions(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

func (m *Machine) deletedShareOffsets(t *turn, p deletingOffsets, results []shareResult) {
	g, _ := m.groups[p.group].(*shareGroup)
	var next *shareState
	if g != nil && g.state != nil {
		next = g.state.changed()
	}
	var done []kmsg.DeleteShareGroupOffsetsResponseTopic
	for _, r := range byTopic(t, results) {
		out := kmsg.DeleteShareGroupOffsetsResponseTopic{TopicID: r.topic, ErrorCode: r.code, ErrorMessage: r.message}
		if topic, ok := t.Image.TopicByID(r.topic); ok {
			out.Topic = topic.Name
		}
		if r.code == 0 && next != nil {
			delete(next.deleting, r.topic)
		}
		done = append(done, out)
	}
	if next != nil {
		t.write(shareStateRecord(p.group, next))
	}
	p.answer.Topics = append(done, p.answer.Topics...)
	t.reply(p.token, p.answer)
}

// byTopic is one result for each group and topic: the first that failed, if one did. What a deleted topic had is deleted.
func byTopic(t *turn, results []shareResult) []shareResult {
	var out []shareResult
	for _, r := range results {
		if _, there := t.Image.TopicByID(r.topic); !there {
			r.code, r.message = 0, nil
		}
		at := slices.IndexFunc(out, func(o shareResult) bool { return o.group == r.group && o.topic == r.topic })
		if at < 0 {
			out = append(out, r)
		} else if out[at].code == 0 {
			out[at].code, out[at].message = r.code, r.message
		}
	}
	return out
}

// deleteShares begins DeleteGroups where share groups are among the groups: their state at the share coordinators goes
// first. False says that there is none, and that the groups can be deleted at once.
func (m *Machine) deleteShares(t *turn, r *kmsg.DeleteGroupsRequest) bool {
	var asks []kmsg.Request
	seen := map[string]bool{}
	for _, id := range r.Groups {
		g, ok := m.groups[id].(*shareGroup)
		if !ok || seen[id] || g.state == nil || len(g.members) > 0 {
			continue
		}
		seen[id] = true
		next := &shareState{deleting: map[schema.UUID]string{}}
		before := len(asks)
		all := g.state.changed().initialized
		for _, topic := range g.state.initializing.ids() {
			all.add(topic, g.state.initializing[topic].name, g.state.initializing[topic].partitions...)
		}
		for topic, name := range g.state.deleting { // each on its own
			// What an earlier deletion has left is deleted again; of a topic that is gone there is nothing left.
			if now, ok := t.Image.TopicByID(topic); ok {
				all.add(topic, cmp.Or(now.Name, name), allPartitions(len(now.Partitions))...)
			}
		}
		for _, topic := range all.ids() {
			next.deleting[topic] = all[topic].name
			asks = append(asks, deleteRequests(id, topic, all[topic].partitions)...)
		}
		if len(asks) > before {
			t.write(shareStateRecord(id, next))
		}
	}
	if len(asks) > 0 {
		t.ask(asks, deletingGroups{t.cmd.Token, r})
	}
	return len(asks) > 0
}

// deletedShares deletes the groups, but for those whose state could not be deleted. Where more state was begun meanwhile,
// that has to go first, so the client is asked to come again: it would be left behind, and fence a later group of the same
// name by its epoch.
func (m *Machine) deletedShares(t *turn, p deletingGroups, results []shareResult) {
	failed := map[string]int16{}
	for _, r := range byTopic(t, results) {
		if r.code != 0 {
			failed[r.group] = r.code
		}
	}
	for _, id := range p.request.Groups {
		g, ok := m.groups[id].(*shareGroup)
		if ok && failed[id] == 0 && len(g.members) == 0 && g.state != nil && len(g.state.initializing)+len(g.state.initialized) > 0 {
			failed[id] = kerr.CoordinatorLoadInProgress.Code
		}
	}
	t.reply(p.token, m.deleteAll(t, p.request, failed))
}

// SharePartitions is the command that asks which share partitions of a group have state; its answer is a
// SharePartitionsAnswer.
type SharePartitions struct{ Group string }

// SharePartitionsAnswer has topics in the order of their ids, and a Kafka error code.
type SharePartitionsAnswer struct {
	Topics []schema.ShareTopicPartitions
	Code   int16
}

func (m *Machine) sharePartitions(t *turn, r SharePartitions) {
	var answer SharePartitionsAnswer
	if g, ok := m.groups[r.Group].(*shareGroup); ok && g.state != nil {
		for _, topic := range g.state.initialized.value() {
			if now, ok := t.Image.TopicByID(topic.TopicID); ok {
				topic.TopicName = now.Name
				answer.Topics = append(answer.Topics, topic)
			}
		}
	}
	t.answer(answer)
}

// shareDescribe is ShareGroupDescribe (key 77, version 1). Groups of other kinds are not found.
func (m *Machine) shareDescribe(t *turn, r *kmsg.ShareGroupDescribeRequest) {
	answer := &kmsg.ShareGroupDescribeResponse{Version: r.Version}
	for _, id := range r.GroupIDs {
		d := kmsg.NewShareGroupDescribeResponseGroup()
		d.GroupID = id
		g, err := m.shareGroupNamed(id)
		if id == "" {
			err = kerr.InvalidGroupID
		}
		if err != nil {
			d.ErrorCode, d.ErrorMessage = codeOf(err), messageOf(err)
			answer.Groups = append(answer.Groups, d)
			continue
		}
		d.GroupState, d.GroupEpoch, d.AssignmentEpoch, d.Assignor = string(g.stateName()), g.epoch, g.targetEpoch, shareAssignor
		for _, member := range g.memberIDs() {
			o := g.members[member]
			dm := kmsg.ShareGroupDescribeResponseGroupMember{
				MemberID: o.id, RackID: o.rackID, MemberEpoch: o.epoch, ClientID: o.clientID, ClientHost: o.clientHost, SubscribedTopicNames: o.topics,
			}
			for _, tp := range o.assigned.described(t.Image).TopicPartitions {
				dm.Assignment.TopicPartitions = append(dm.Assignment.TopicPartitions,
					kmsg.ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition{TopicID: tp.TopicID, Topic: tp.Topic, Partitions: tp.Partitions})
			}
			d.Members = append(d.Members, dm)
		}
		answer.Groups = append(answer.Groups, d)
	}
	t.answer(answer)
}

// shareAssignor is the one assignor of share groups.
const shareAssignor = "simple"
