package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/schema"
)

// What the coordinator tells members beside their tasks (the status codes of KIP-1071).
const (
	statusStaleTopology          int8 = 0
	statusMissingSourceTopics    int8 = 1
	statusIncorrectlyPartitioned int8 = 2
	statusMissingInternalTopics  int8 = 3
	statusShutdownApplication    int8 = 4
	statusAssignmentDelayed      int8 = 5
)

// configuredTopology is a topology with the numbers of partitions that the topics of an image give it.
type configuredTopology struct {
	epoch         int32
	hash          int64                   // of the topics that it was worked out with
	subtopologies []configuredSubtopology // by id; none where the topics do not fit
	missing       []schema.StreamsTopicInfo
	problem       *topologyProblem // nil if all is there
}

type configuredSubtopology struct {
	*schema.Subtopology
	tasks       int32                     // as many as its largest source topic has partitions
	repartition []schema.StreamsTopicInfo // source topics, with their partitions
	changelogs  []schema.StreamsTopicInfo
}

// topologyProblem is why there is nothing to assign yet. The members are told, and go on asking.
type topologyProblem struct {
	status int8
	text   string
}

func (p *topologyProblem) Error() string { return p.text }

func (c *configuredTopology) ready() bool { return c != nil && c.problem == nil }

func (c *configuredTopology) find(id string) *configuredSubtopology {
	i, ok := slices.BinarySearchFunc(c.subtopologies, id, func(s configuredSubtopology, id string) int { return compareStrings(s.SubtopologyID, id) })
	if !ok {
		return nil
	}
	return &c.subtopologies[i]
}

// configuration works out how many partitions internal topics need:
//
//   - a repartition topic for which the application has no number: as many as the largest source of the sub-topology
//     that writes it, which may be another repartition topic;
//   - copartitioned topics: all the same number; where only repartition topics are, the largest;
//   - changelogs: as many as the sub-topology has tasks.
//
// The rules are Apache's to the last detail, since the internal topics of an application outlive its coordinator: other
// numbers would not fit to those that are there.
type configuration struct {
	image    imageTopics
	topology *topology
	ordered  []*schema.Subtopology
	decided  map[string]int32
}

// configure gives the topology with its numbers. An error says that no topics could make it right.
func configure(image imageTopics, t *topology, hash int64) (*configuredTopology, error) {
	c := configuration{image: image, topology: t, ordered: javaHashOrder(t.subtopologies), decided: map[string]int32{}}
	out := &configuredTopology{epoch: t.epoch, hash: hash}
	err := c.decide()
	if err == nil {
		out.subtopologies = c.configured()
		out.missing, err = c.missing(out.subtopologies)
	}
	if n := out.tasks(); n > tasksMax {
		return nil, refuse(kerr.StreamsInvalidTopology, "The topology has %d tasks, allowed are %d.", n, tasksMax)
	}
	if problem, ok := err.(*topologyProblem); ok {
		if out.problem = problem; problem.status != statusMissingInternalTopics {
			out.subtopologies, out.missing = nil, nil
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *configuredTopology) tasks() int {
	n := 0
	for _, s := range c.subtopologies {
		n += int(s.tasks)
	}
	return n
}

func (c *configuration) decide() error {
	for _, step := range []func() error{c.checkSources, c.repartition, c.copartition, c.changelogs} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// partitions is the number that a topic has, or else that was decided for it.
func (c *configuration) partitions(topic string) (int32, bool) {
	if t, ok := c.image.Topic(topic); ok {
		return int32(len(t.Partitions)), true
	}
	n, ok := c.decided[topic]
	return n, ok
}

func (c *configuration) checkSources() error {
	var missing []string
	for _, s := range c.ordered {
		for _, topic := range s.SourceTopics {
			if _, ok := c.image.Topic(topic); !ok {
				missing = append(missing, topic)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &topologyProblem{statusMissingSourceTopics, fmt.Sprintf("Source topics %s are missing.", topicSummary(distinctSorted(missing)))}
}

func (c *configuration) repartition() error {
	counts := map[string]int32{}
	for _, s := range c.ordered {
		for _, topic := range s.RepartitionSourceTopics {
			if topic.Partitions != 0 {
				counts[topic.Name] = topic.Partitions
			}
		}
	}
	for again := true; again; {
		again = false
		progress := false
		for _, s := range c.ordered {
			for _, sink := range s.RepartitionSinkTopics {
				if _, ok := counts[sink]; ok {
					continue
				}
				if n, ok := c.largestSource(s, counts); ok {
					counts[sink], progress = n, true
				} else {
					again = true
				}
			}
		}
		if again && !progress {
			return refuse(kerr.StreamsInvalidTopology, "Failed to compute number of partitions for all repartition topics. "+
				"There may be loops in the topology that cannot be resolved.")
		}
	}
	for _, s := range c.ordered {
		for _, topic := range s.RepartitionSourceTopics {
			if _, ok := counts[topic.Name]; !ok {
				return refuse(kerr.StreamsInvalidTopology, "Failed to compute number of partitions for all repartition topics, "+
					"because a repartition source topic is never used as a sink topic.")
			}
		}
	}
	maps.Copy(c.decided, counts)
	return nil
}

// largestSource is over the sources whose number is known by now.
func (c *configuration) largestSource(s *schema.Subtopology, counts map[string]int32) (int32, bool) {
	largest, found := int32(0), false
	take := func(n int32, ok bool) {
		if ok && (!found || n > largest) {
			largest, found = n, true
		}
	}
	for _, topic := range s.RepartitionSourceTopics {
		n, ok := counts[topic.Name]
		take(n, ok)
	}
	for _, topic := range s.SourceTopics {
		take(c.partitions(topic))
	}
	return largest, found
}

func (c *configuration) copartition() error {
	fixed, flexible := map[string]bool{}, map[string]bool{}
	for _, s := range c.ordered {
		for _, topic := range s.RepartitionSourceTopics {
			if topic.Partitions != 0 {
				fixed[topic.Name] = true
			} else {
				flexible[topic.Name] = true
			}
		}
	}
	for _, s := range c.ordered {
		for _, g := range s.CopartitionGroups {
			var topics []string
			for _, i := range g.SourceTopics {
				if i < 0 || int(i) >= len(s.SourceTopics) {
					return noSuchTopic(s.SubtopologyID)
				}
				topics = append(topics, s.SourceTopics[i])
			}
			for _, i := range g.RepartitionSourceTopics {
				if i < 0 || int(i) >= len(s.RepartitionSourceTopics) {
					return noSuchTopic(s.SubtopologyID)
				}
				topics = append(topics, s.RepartitionSourceTopics[i].Name)
			}
			if err := c.enforce(distinctSorted(topics), fixed, flexible); err != nil {
				return err
			}
		}
	}
	return nil
}

func noSuchTopic(subtopology string) error {
	return refuse(kerr.StreamsInvalidTopology, "A copartition group of subtopology %s has a topic that is not there.", subtopology)
}

// enforce gives the repartition topics of a copartition group one number of partitions. Where there are none but
// repartition topics, those that are fixed anywhere in the topology must agree, as Apache has it.
func (c *configuration) enforce(group []string, fixed, flexible map[string]bool) error {
	repartition, outer := map[string]int32{}, map[string]int32{}
	for _, topic := range group {
		n, _ := c.partitions(topic)
		if fixed[topic] || flexible[topic] {
			repartition[topic] = n
		} else {
			outer[topic] = n
		}
	}
	var n int32
	var same bool
	switch {
	case len(group) == 0:
		return nil
	case len(outer) > 0:
		if n, same = allTheSame(outer); !same {
			return differing(outer)
		}
	case len(fixed) > 0:
		counts := map[string]int32{}
		for topic := range fixed { // each on its own
			counts[topic], _ = c.partitions(topic)
		}
		if n, same = allTheSame(counts); !same {
			return differing(repartition)
		}
	default:
		n = slices.Max(slices.Collect(maps.Values(repartition)))
	}
	for _, topic := range slices.Sorted(maps.Keys(repartition)) {
		if c.decided[topic] = n; fixed[topic] && repartition[topic] != n {
			return &topologyProblem{statusIncorrectlyPartitioned, fmt.Sprintf("Number of partitions [%d] of repartition topic [%s] "+
				"doesn't match number of partitions [%d] of the source topic.", repartition[topic], topic, n)}
		}
	}
	return nil
}

func allTheSame(counts map[string]int32) (int32, bool) {
	values := slices.Collect(maps.Values(counts))
	return slices.Max(values), slices.Max(values) == slices.Min(values)
}

func differing(counts map[string]int32) error {
	var each []string
	for _, topic := range slices.Sorted(maps.Keys(counts)) {
		each = append(each, fmt.Sprintf("%s=%d", topic, counts[topic]))
	}
	return &topologyProblem{statusIncorrectlyPartitioned,
		fmt.Sprintf("Following topics do not have the same number of partitions: [{%s}]", strings.Join(each, ", "))}
}

func (c *configuration) changelogs() error {
	for _, s := range c.ordered {
		n := c.tasks(s)
		if n == 0 {
			return refuse(kerr.StreamsInvalidTopology, "No source topics found for subtopology %s", s.SubtopologyID)
		}
		for _, topic := range s.StateChangelogTopics {
			c.decided[topic.Name] = n
		}
	}
	return nil
}

// tasks is the number of tasks of a sub-topology, zero if it reads nothing.
func (c *configuration) tasks(s *schema.Subtopology) int32 {
	n := int32(0)
	for _, topic := range s.SourceTopics {
		k, _ := c.partitions(topic)
		n = max(n, k)
	}
	for _, topic := range s.RepartitionSourceTopics {
		k, _ := c.partitions(topic.Name)
		n = max(n, k)
	}
	return n
}

func (c *configuration) configured() []configuredSubtopology {
	counted := func(list []schema.StreamsTopicInfo) []schema.StreamsTopicInfo {
		out := slices.Clone(list)
		for i := range out {
			if out[i].Partitions == 0 {
				out[i].Partitions = c.decided[out[i].Name]
			}
		}
		return out
	}
	out := make([]configuredSubtopology, 0, len(c.topology.subtopologies))
	for _, s := range c.topology.subtopologies {
		out = append(out, configuredSubtopology{s, c.tasks(s), counted(s.RepartitionSourceTopics), counted(s.StateChangelogTopics)})
	}
	slices.SortFunc(out, func(a, b configuredSubtopology) int { return compareStrings(a.SubtopologyID, b.SubtopologyID) })
	return out
}

// missing are the internal topics that are not there, sorted. Those that are there must have the right number of
// partitions.
func (c *configuration) missing(subtopologies []configuredSubtopology) ([]schema.StreamsTopicInfo, error) {
	internal := map[string]schema.StreamsTopicInfo{}
	for _, s := range subtopologies {
		for _, topic := range slices.Concat(s.repartition, s.changelogs) {
			internal[topic.Name] = topic
		}
	}
	var missing []schema.StreamsTopicInfo
	var names []string
	for _, name := range slices.Sorted(maps.Keys(internal)) {
		t, ok := c.image.Topic(name)
		switch want := internal[name]; {
		case !ok:
			missing, names = append(missing, want), append(names, name)
		case int(want.Partitions) != len(t.Partitions):
			return nil, &topologyProblem{statusIncorrectlyPartitioned, fmt.Sprintf("Existing topic %s has different number of partitions: "+
				"expected %d, found %d", name, want.Partitions, len(t.Partitions))}
		}
	}
	if len(missing) > 0 {
		return missing, &topologyProblem{statusMissingInternalTopics, "Internal topics are missing: " + topicSummary(names)}
	}
	return nil, nil
}

// topicSummary names the first three topics.
func topicSummary(topics []string) string {
	if len(topics) <= 3 {
		return strings.Join(topics, ", ")
	}
	return fmt.Sprintf("%s and %d additional topics", strings.Join(topics[:3], ", "), len(topics)-3)
}

// javaHashOrder is the order in which a HashMap of Java gives sub-topologies by their ids. Where the number of a
// repartition topic depends on others that are not known yet, it depends on this order, too.
func javaHashOrder(list []*schema.Subtopology) []*schema.Subtopology {
	size := uint32(16)
	for uint32(len(list)) > size/4*3 {
		size *= 2
	}
	bucket := func(s *schema.Subtopology) uint32 {
		h := uint32(0)
		for _, u := range utf16.Encode([]rune(s.SubtopologyID)) {
			h = 31*h + uint32(u)
		}
		return (h ^ h>>16) & (size - 1)
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b *schema.Subtopology) int { return int(bucket(a)) - int(bucket(b)) })
	return out
}
