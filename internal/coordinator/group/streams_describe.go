package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// streamsDescribe is StreamsGroupDescribe (key 89, version 0). Groups of other kinds are not found.
func (m *Machine) streamsDescribe(t *turn, r *kmsg.StreamsGroupDescribeRequest) {
	answer := &kmsg.StreamsGroupDescribeResponse{Version: r.Version}
	for _, id := range r.Groups {
		answer.Groups = append(answer.Groups, m.describeStreams(t, id))
	}
	t.answer(answer)
}

func (m *Machine) describeStreams(t *turn, id string) kmsg.StreamsGroupDescribeResponseGroup {
	d := kmsg.NewStreamsGroupDescribeResponseGroup()
	d.Group = id
	g, ok := m.groups[id].(*streams)
	if !ok {
		text := "Group " + id + " not found."
		switch {
		case id == "":
			d.ErrorCode = kerr.InvalidGroupID.Code
			return d
		case m.groups[id] != nil:
			text = "Group " + id + " is not a streams group."
		}
		d.ErrorCode, d.ErrorMessage = kerr.GroupIDNotFound.Code, &text
		return d
	}
	d.State, d.Epoch, d.AssignmentEpoch, d.Topology = string(g.state()), g.epoch, g.targetEpoch, m.describeTopology(t, g)
	for _, id := range g.memberIDs() {
		d.Members = append(d.Members, g.describeMember(g.members[id]))
	}
	return d
}

// describeTopology has the numbers of partitions where they are known.
func (m *Machine) describeTopology(t *turn, g *streams) *kmsg.StreamsGroupDescribeResponseGroupTopology {
	if g.topology == nil {
		return nil
	}
	out := &kmsg.StreamsGroupDescribeResponseGroupTopology{Epoch: g.topology.epoch, Subtopologies: []kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology{}}
	c := g.configured
	if c == nil || c.epoch != g.topology.epoch {
		c, _ = configure(t.Image, g.topology, 0) // one that cannot be is shown as it came
	}
	for _, s := range g.topology.subtopologies {
		repartition, changelogs := s.RepartitionSourceTopics, s.StateChangelogTopics
		if c.ready() {
			s := c.find(s.SubtopologyID)
			repartition, changelogs = s.repartition, s.changelogs
		}
		out.Subtopologies = append(out.Subtopologies, kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology{
			SubtopologyID: s.SubtopologyID, SourceTopics: sorted(s.SourceTopics), RepartitionSinkTopics: sorted(s.RepartitionSinkTopics),
			StateChangelogTopics: describedTopics(changelogs), RepartitionSourceTopics: describedTopics(repartition),
		})
	}
	slices.SortFunc(out.Subtopologies, func(a, b kmsg.StreamsGroupDescribeResponseGroupTopologySubtopology) int {
		return compareStrings(a.SubtopologyID, b.SubtopologyID)
	})
	return out
}

func sorted(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return out
}

func describedTopics(list []schema.StreamsTopicInfo) []kmsg.TopicInfo {
	out := make([]kmsg.TopicInfo, len(list))
	for i, t := range list {
		out[i] = kmsg.TopicInfo{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.ReplicationFactor}
		for _, kv := range t.TopicConfigs {
			out[i].Configs = append(out[i].Configs, kmsg.TopicInfoConfig{Key: kv.Key, Value: kv.Value})
		}
	}
	slices.SortFunc(out, func(a, b kmsg.TopicInfo) int { return compareStrings(a.Topic, b.Topic) })
	return out
}

func (g *streams) describeMember(o *streamsMember) kmsg.StreamsGroupDescribeResponseGroupMember {
	d := kmsg.NewStreamsGroupDescribeResponseGroupMember()
	d.MemberID, d.MemberEpoch, d.InstanceID, d.RackID = o.id, o.epoch, o.instanceID, o.rackID
	d.ClientID, d.ClientHost, d.TopologyEpoch, d.ProcessID = o.clientID, o.clientHost, o.topologyEpoch, o.processID
	if o.endpoint != nil {
		d.UserEndpoint = &kmsg.StreamsGroupDescribeResponseGroupMemberUserEndpoint{Host: o.endpoint.Host, Port: o.endpoint.Port}
	}
	for _, kv := range o.tags {
		d.ClientTags = append(d.ClientTags, kmsg.StreamsGroupDescribeResponseGroupMemberClientTag{Key: kv.Key, Value: kv.Value})
	}
	d.Assignment, d.TargetAssignment = o.assigned.described(), g.targets[o.id].described()
	return d
}

func (t tasks) described() kmsg.StreamsAssignment {
	return kmsg.StreamsAssignment{ActiveTasks: t.active.wire(), StandbyTasks: t.standby.wire(), WarmupTasks: t.warmup.wire()}
}

// byEndpoint tells where partitions of source topics are processed, or kept as standbys, by processes that answer
// interactive queries. updated stands for the member as it will be.
func (g *streams) byEndpoint(image *metadata.Image, c *configuredTopology, updated *streamsMember) []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint {
	out := []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint{}
	members := []*streamsMember{}
	for _, id := range g.memberIDs() {
		if id != updated.id {
			members = append(members, g.members[id])
		}
	}
	for _, member := range append(members, updated) {
		if member.endpoint == nil {
			continue
		}
		e := kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint{UserEndpoint: kmsg.Endpoint{Host: member.endpoint.Host, Port: member.endpoint.Port}}
		for topic, partitions := range c.sources(image, member.assigned.active) {
			e.ActivePartitions = append(e.ActivePartitions,
				kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition{Topic: topic, Partitions: partitions})
		}
		for topic, partitions := range c.sources(image, member.assigned.standby) {
			e.StandbyPartitions = append(e.StandbyPartitions,
				kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition{Topic: topic, Partitions: partitions})
		}
		out = append(out, e)
	}
	return out
}

// sources yields the partitions of source topics that tasks read. A topic with fewer partitions than its sub-topology
// has tasks has none for the last of them.
func (c *configuredTopology) sources(image *metadata.Image, set taskSet) func(yield func(string, []int32) bool) {
	return func(yield func(string, []int32) bool) {
		for _, t := range set {
			s := c.find(t.subtopology)
			if s == nil {
				continue // the topology does not fit any more
			}
			topics := slices.Clone(s.SourceTopics)
			for _, topic := range s.repartition {
				topics = append(topics, topic.Name)
			}
			for _, topic := range distinctSorted(topics) {
				n := 0
				if it, ok := image.Topic(topic); ok {
					n, _ = slices.BinarySearch(t.partitions, int32(len(it.Partitions)))
				}
				if n > 0 && !yield(topic, t.partitions[:n]) {
					return
				}
			}
		}
	}
}
