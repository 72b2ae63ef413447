package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// checkStreamsHeartbeat refuses what no group could accept. Static members, regular expressions, warm-up tasks and task
// offsets are in the protocol and not in Kafka 4.3.
func checkStreamsHeartbeat(r *kmsg.StreamsGroupHeartbeatRequest) error {
	for _, check := range []func(*kmsg.StreamsGroupHeartbeatRequest) error{
		checkStreamsTopics, checkStreamsFeatures, checkStreamsFields, checkStreamsTasks, checkStreamsStrings,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

// checkStreamsTopics refuses Kafka's own topics and names that no topic can have.
func checkStreamsTopics(r *kmsg.StreamsGroupHeartbeatRequest) error {
	if r.Topology == nil {
		return nil
	}
	var topics []string
	for i := range r.Topology.Subtopologies {
		s := &r.Topology.Subtopologies[i]
		topics = append(append(topics, s.SourceTopics...), s.RepartitionSinkTopics...)
		for _, list := range [][]kmsg.TopicInfo{s.RepartitionSourceTopics, s.StateChangelogTopics} {
			for _, t := range list {
				topics = append(topics, t.Topic)
			}
		}
	}
	topics = distinctSorted(topics)
	keep := func(bad func(string) bool) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(topics), func(name string) bool { return !bad(name) }), ",")
	}
	if s := keep(kafkasOwn); s != "" {
		return refuse(kerr.StreamsInvalidTopology, "Use of Kafka internal topics %s in a Kafka Streams topology is prohibited.", s)
	}
	if slices.ContainsFunc(topics, invalidTopic) {
		return refuse(kerr.StreamsInvalidTopology, "Topic names %s are not valid topic names.", keep(invalidTopic))
	}
	return nil
}

func kafkasOwn(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state" || topic == "__share_group_state"
}

// invalidTopic says what Kafka forbids in a topic's name.
func invalidTopic(name string) bool {
	return name == "" || name == "." || name == ".." || len(name) > 249 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

func checkStreamsFeatures(r *kmsg.StreamsGroupHeartbeatRequest) error {
	switch {
	case r.InstanceID != nil:
		return refuse(kerr.InvalidRequest, "Static membership is not yet supported.")
	case r.TaskOffsets != nil:
		return refuse(kerr.InvalidRequest, "TaskOffsets are not supported yet.")
	case r.TaskEndOffsets != nil:
		return refuse(kerr.InvalidRequest, "TaskEndOffsets are not supported yet.")
	case len(r.WarmupTasks) > 0:
		return refuse(kerr.InvalidRequest, "WarmupTasks are not supported yet.")
	case r.Topology != nil && slices.ContainsFunc(r.Topology.Subtopologies, func(s kmsg.StreamsGroupHeartbeatRequestTopologySubtopology) bool {
		return len(s.SourceTopicRegex) > 0
	}):
		return refuse(kerr.InvalidRequest, "Regular expressions for source topics are not supported yet.")
	}
	return nil
}

func checkStreamsFields(r *kmsg.StreamsGroupHeartbeatRequest) error {
	blank := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	switch {
	case blank(&r.MemberID):
		return refuse(kerr.InvalidRequest, "MemberId can't be empty.")
	case blank(&r.Group):
		return refuse(kerr.InvalidRequest, "GroupId can't be empty.")
	case blank(r.RackID):
		return refuse(kerr.InvalidRequest, "RackId can't be empty.")
	case r.MemberEpoch == leaveStaticEpoch:
		return refuse(kerr.InvalidRequest, "InstanceId can't be null.")
	case r.MemberEpoch < leaveStaticEpoch:
		return refuse(kerr.InvalidRequest, "MemberEpoch is %d, but must be greater than or equal to -2.", r.MemberEpoch)
	case r.MemberEpoch == 0:
		return checkStreamsJoin(r)
	case r.Topology != nil:
		if err := checkStreamsTasks(r); err != nil {
			return err
		}
		return refuse(kerr.InvalidRequest, "Topology can only be provided when (re-)joining.")
	}
	return nil
}

func checkStreamsJoin(r *kmsg.StreamsGroupHeartbeatRequest) error {
	switch {
	case r.RebalanceTimeoutMillis == -1:
		return refuse(kerr.InvalidRequest, "RebalanceTimeoutMs must be provided in first request.")
	case r.ActiveTasks == nil || len(r.ActiveTasks) > 0:
		return refuse(kerr.InvalidRequest, "ActiveTasks must be empty when (re-)joining.")
	case r.StandbyTasks == nil || len(r.StandbyTasks) > 0:
		return refuse(kerr.InvalidRequest, "StandbyTasks must be empty when (re-)joining.")
	case r.WarmupTasks == nil || len(r.WarmupTasks) > 0:
		return refuse(kerr.InvalidRequest, "WarmupTasks must be empty when (re-)joining.")
	case r.Topology == nil:
		return refuse(kerr.InvalidRequest, "Topology must be non-null when (re-)joining.")
	}
	for i := range r.Topology.Subtopologies {
		for _, t := range r.Topology.Subtopologies[i].StateChangelogTopics {
			if t.NumPartitions != 0 {
				return refuse(kerr.StreamsInvalidTopology, "Changelog topic %s must have an undefined partition count, but it is set to %d.", t.Topic, t.NumPartitions)
			}
		}
	}
	return checkTopology(r.Topology)
}

func checkStreamsTasks(r *kmsg.StreamsGroupHeartbeatRequest) error {
	given := 0
	for _, list := range [][]kmsg.TaskIDs{r.ActiveTasks, r.StandbyTasks, r.WarmupTasks} {
		if list != nil {
			given++
		}
	}
	if given != 0 && given != 3 {
		return refuse(kerr.InvalidRequest, "If one task-type is non-null, all must be non-null.")
	}
	keys := map[string]bool{}
	for _, tag := range r.ClientTags {
		if keys[tag.Key] {
			return refuse(kerr.InvalidRequest, "Client tag %s is there twice.", tag.Key)
		}
		keys[tag.Key] = true
	}
	return nil
}

// checkStreamsStrings refuses strings that records cannot hold.
func checkStreamsStrings(r *kmsg.StreamsGroupHeartbeatRequest) error {
	all := []string{r.Group, r.MemberID, orEmpty(r.RackID), orEmpty(r.ProcessID)}
	if r.UserEndpoint != nil {
		all = append(all, r.UserEndpoint.Host)
	}
	for _, tag := range r.ClientTags {
		all = append(all, tag.Key, tag.Value)
	}
	if r.Topology != nil {
		for i := range r.Topology.Subtopologies {
			s := &r.Topology.Subtopologies[i]
			all = append(all, s.SubtopologyID)
			for _, list := range [][]kmsg.TopicInfo{s.RepartitionSourceTopics, s.StateChangelogTopics} {
				for _, t := range list {
					for _, c := range t.Configs {
						all = append(all, c.Key, c.Value)
					}
				}
			}
		}
	}
	for _, s := range all {
		if len(s) > schema.MaxString {
			return refuse(kerr.InvalidRequest, "A string of %d bytes is longer than %d.", len(s), schema.MaxString)
		}
	}
	return nil
}
