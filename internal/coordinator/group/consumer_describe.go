package group

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
)

// consumerDescribe is ConsumerGroupDescribe (key 69, versions 0 and 1). Groups of other kinds are not found. Version 1
// has the members' protocol.
func (m *Machine) consumerDescribe(t *turn, r *kmsg.ConsumerGroupDescribeRequest) {
	answer := &kmsg.ConsumerGroupDescribeResponse{Version: r.Version}
	for _, id := range r.Groups {
		answer.Groups = append(answer.Groups, m.describeConsumer(id, t.Image))
	}
	t.answer(answer)
}

func (m *Machine) describeConsumer(id string, image *metadata.Image) kmsg.ConsumerGroupDescribeResponseGroup {
	d := kmsg.NewConsumerGroupDescribeResponseGroup()
	d.Group = id
	g, ok := m.groups[id].(*consumer)
	if !ok {
		text := "Group " + id + " not found."
		switch {
		case id == "":
			d.ErrorCode = kerr.InvalidGroupID.Code
			return d
		case m.groups[id] != nil:
			text = "Group " + id + " is not a consumer group."
		}
		d.ErrorCode, d.ErrorMessage = kerr.GroupIDNotFound.Code, &text
		return d
	}
	d.State, d.Epoch, d.AssignmentEpoch, d.AssignorName = string(g.state()), g.epoch, g.targetEpoch, m.preferred(g.assignors)
	for _, id := range g.memberIDs() {
		o := g.members[id]
		regex := o.regex
		dm := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		dm.MemberID, dm.InstanceID, dm.RackID, dm.MemberEpoch = o.id, o.instanceID, o.rackID, o.epoch
		dm.ClientID, dm.ClientHost, dm.SubscribedTopics, dm.SubscribedTopicRegex = o.clientID, o.clientHost, o.topics, &regex
		// What it has to give up it still answers for.
		held := assignmentBuilder{}
		held.addAll(o.assigned)
		held.addAll(o.revoking)
		dm.Assignment, dm.TargetAssignment = held.owned().described(image), g.targets[id].described(image)
		if dm.MemberType = 1; o.classic != nil {
			dm.MemberType = 0
		}
		d.Members = append(d.Members, dm)
	}
	return d
}

func (a assignment) described(image *metadata.Image) kmsg.Assignment {
	var out kmsg.Assignment
	for _, tp := range a {
		if t, ok := image.TopicByID(tp.topic); ok {
			out.TopicPartitions = append(out.TopicPartitions,
				kmsg.AssignmentTopicPartition{TopicID: tp.topic, Topic: t.Name, Partitions: tp.partitions})
		}
	}
	return out
}
