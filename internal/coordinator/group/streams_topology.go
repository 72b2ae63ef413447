package group

import (
	"bytes"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// Limits of a topology. Kafka has none but the size of a record, which is the same as topologyBytesMax.
const (
	topologyBytesMax = 1 << 20
	subtopologiesMax = 5000
	tasksMax         = 100_000
)

// topology is what an application does with topics, as the first member told it: sub-topologies that are joined by
// repartition topics only. It never changes; members that come with another one of the same epoch are refused.
type topology struct {
	epoch         int32
	subtopologies []*schema.Subtopology // in the order of the record
	sources       map[string]string     // source topic, repartition topics included -> sub-topology
	required      []string              // all topics but sinks, sorted
}

func newTopology(v *schema.StreamsGroupTopologyValue) *topology {
	t := &topology{epoch: v.Epoch, sources: map[string]string{}}
	for i := range v.Subtopologies {
		s := &v.Subtopologies[i]
		t.subtopologies = append(t.subtopologies, s)
		for _, topic := range s.SourceTopics {
			t.sources[topic] = s.SubtopologyID
		}
		for j := range s.RepartitionSourceTopics {
			t.sources[s.RepartitionSourceTopics[j].Name] = s.SubtopologyID
		}
		for j := range s.StateChangelogTopics {
			t.required = append(t.required, s.StateChangelogTopics[j].Name)
		}
	}
	t.required = slices.AppendSeq(t.required, maps.Keys(t.sources))
	slices.Sort(t.required)
	t.required = slices.Compact(t.required)
	return t
}

// value is the topology as its record has it.
func (t *topology) value() *schema.StreamsGroupTopologyValue {
	v := &schema.StreamsGroupTopologyValue{Epoch: t.epoch}
	for _, s := range t.subtopologies {
		v.Subtopologies = append(v.Subtopologies, *s)
	}
	return v
}

// equal ignores the order of the sub-topologies; within them order counts, since copartition groups name topics by
// their places.
func (t *topology) equal(o *topology) bool {
	if t.epoch != o.epoch || len(t.subtopologies) != len(o.subtopologies) {
		return false
	}
	encoded := func(t *topology) map[string][]byte {
		m := map[string][]byte{}
		for _, s := range t.subtopologies {
			one := schema.StreamsGroupTopologyValue{Subtopologies: []schema.Subtopology{*s}}
			m[s.SubtopologyID] = one.AppendTo(nil, 0)
		}
		return m
	}
	return maps.EqualFunc(encoded(t), encoded(o), bytes.Equal)
}

// topologyOf reads the topology of a request.
func topologyOf(r *kmsg.StreamsGroupHeartbeatRequestTopology) (*topology, error) {
	v := &schema.StreamsGroupTopologyValue{Epoch: r.Epoch, Subtopologies: make([]schema.Subtopology, len(r.Subtopologies))}
	for i := range r.Subtopologies {
		s := &r.Subtopologies[i]
		out := schema.Subtopology{
			SubtopologyID: s.SubtopologyID, SourceTopics: s.SourceTopics, SourceTopicRegex: s.SourceTopicRegex,
			RepartitionSinkTopics: s.RepartitionSinkTopics,
			StateChangelogTopics:  topicInfos(s.StateChangelogTopics), RepartitionSourceTopics: topicInfos(s.RepartitionSourceTopics),
		}
		for _, c := range s.CopartitionGroups {
			out.CopartitionGroups = append(out.CopartitionGroups, schema.CopartitionGroup{
				SourceTopics: c.SourceTopics, SourceTopicRegex: c.SourceTopicRegex, RepartitionSourceTopics: c.RepartitionSourceTopics,
			})
		}
		v.Subtopologies[i] = out
	}
	if n := len(v.AppendTo(nil, 0)); n > topologyBytesMax {
		return nil, refuse(kerr.StreamsInvalidTopology, "The topology has %d bytes, allowed are %d.", n, topologyBytesMax)
	}
	return newTopology(v), nil
}

func topicInfos(list []kmsg.TopicInfo) []schema.StreamsTopicInfo {
	out := make([]schema.StreamsTopicInfo, len(list))
	for i, t := range list {
		out[i] = schema.StreamsTopicInfo{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
		for _, c := range t.Configs {
			out[i].TopicConfigs = append(out[i].TopicConfigs, schema.KeyValue{Key: c.Key, Value: c.Value})
		}
	}
	return out
}

// checkTopology refuses what no topics could make right. Apache's coordinator answers UNKNOWN_SERVER_ERROR to what is
// not in its own checks (twice the same id, copartition groups of topics that are not there, a negative number): the
// code here says whose mistake it is.
func checkTopology(r *kmsg.StreamsGroupHeartbeatRequestTopology) error {
	bad := func(format string, args ...any) error { return refuse(kerr.StreamsInvalidTopology, format, args...) }
	if r.Epoch < 0 {
		return refuse(kerr.StreamsInvalidTopologyEpoch, "Topology epoch must be non-negative.")
	}
	if len(r.Subtopologies) > subtopologiesMax {
		return bad("The topology has %d subtopologies, allowed are %d.", len(r.Subtopologies), subtopologiesMax)
	}
	ids := map[string]bool{}
	for i := range r.Subtopologies {
		s := &r.Subtopologies[i]
		if ids[s.SubtopologyID] {
			return bad("Subtopology %s is there twice.", s.SubtopologyID)
		}
		ids[s.SubtopologyID] = true
		if err := checkInternalTopics(s); err != nil {
			return err
		}
		for _, c := range s.CopartitionGroups {
			out := func(n int) func(int16) bool { return func(i int16) bool { return i < 0 || int(i) >= n } }
			if slices.ContainsFunc(c.SourceTopics, out(len(s.SourceTopics))) ||
				slices.ContainsFunc(c.RepartitionSourceTopics, out(len(s.RepartitionSourceTopics))) {
				return noSuchTopic(s.SubtopologyID)
			}
		}
	}
	return nil
}

func checkInternalTopics(s *kmsg.StreamsGroupHeartbeatRequestTopologySubtopology) error {
	bad := func(format string, args ...any) error { return refuse(kerr.StreamsInvalidTopology, format, args...) }
	for _, list := range [][]kmsg.TopicInfo{s.RepartitionSourceTopics, s.StateChangelogTopics} {
		names := map[string]bool{}
		for _, t := range list {
			keys := map[string]bool{}
			for _, c := range t.Configs {
				if keys[c.Key] {
					return bad("Topic %s has the configuration %s twice.", t.Topic, c.Key)
				}
				keys[c.Key] = true
			}
			switch {
			case names[t.Topic]:
				return bad("Topic %s is twice in subtopology %s.", t.Topic, s.SubtopologyID)
			case t.NumPartitions < 0:
				return bad("Topic %s has %d partitions.", t.Topic, t.NumPartitions)
			}
			names[t.Topic] = true
		}
	}
	return nil
}
