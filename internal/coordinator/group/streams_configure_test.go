package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// someTopics are topics with numbers of partitions.
type someTopics map[string]int

func (s someTopics) Topic(name string) (*metadata.Topic, bool) {
	n, ok := s[name]
	return &metadata.Topic{Name: name, Partitions: make([]*metadata.Partition, n)}, ok
}

func configuredText(c *configuredTopology) string {
	var b strings.Builder
	for _, s := range c.subtopologies {
		fmt.Fprintf(&b, "%s: %d tasks", s.SubtopologyID, s.tasks)
		for _, t := range s.repartition {
			fmt.Fprintf(&b, " *%s/%d", t.Name, t.Partitions)
		}
		for _, t := range s.changelogs {
			fmt.Fprintf(&b, " !%s/%d", t.Name, t.Partitions)
		}
		b.WriteString("\n")
	}
	for _, t := range c.missing {
		fmt.Fprintf(&b, "create %s/%d\n", t.Name, t.Partitions)
	}
	if c.problem != nil {
		fmt.Fprintf(&b, "%d: %s\n", c.problem.status, c.problem.text)
	}
	return b.String()
}

// What Apache's coordinator makes of the same topologies (its InternalTopicManager and the three that it works with).
func TestConfigureTopology(t *testing.T) {
	for _, c := range []struct {
		name   string
		topics someTopics
		spec   string
		want   string
	}{
		{"nothing", nil, "", ""},
		{"sources only", someTopics{"t": 2, "u": 5}, "0:t+u", "0: 5 tasks\n"},
		{"a source is missing", someTopics{"t": 2}, "0:t+u 1:v", "1: Source topics u, v are missing.\n"},
		{"many are missing", nil, "0:e+d 1:c+b+a", "1: Source topics a, b, c and 2 additional topics are missing.\n"},
		{"a changelog has as many as there are tasks", someTopics{"t": 2, "u": 5}, "0:t+u+!c", "0: 5 tasks !c/5\ncreate c/5\n3: Internal topics are missing: c\n"},
		{"all is there", someTopics{"t": 2, "c": 2}, "0:t+!c", "0: 2 tasks !c/2\n"},
		{"a changelog does not fit", someTopics{"t": 2, "c": 3}, "0:t+!c", "2: Existing topic c has different number of partitions: expected 2, found 3\n"},
		{"a repartition topic follows its writer", someTopics{"t": 4, "u": 2}, "0:t+u+>r 1:*r+!c", "0: 4 tasks\n1: 4 tasks *r/4 !c/4\ncreate c/4\ncreate r/4\n3: Internal topics are missing: c, r\n"},
		{"a fixed number stays", someTopics{"t": 4}, "0:t+>r 1:*r/7+!c", "0: 4 tasks\n1: 7 tasks *r/7 !c/7\ncreate c/7\ncreate r/7\n3: Internal topics are missing: c, r\n"},
		{"one after another, against the order of ids", someTopics{"t": 3}, "0:*b+>z 1:*a+>b 2:t+>a 3:*z", "0: 3 tasks *b/3\n1: 3 tasks *a/3\n2: 3 tasks\n3: 3 tasks *z/3\n" +
			"create a/3\ncreate b/3\ncreate z/3\n3: Internal topics are missing: a, b, z\n"},
		{"the larger source counts, once it is known", someTopics{"t": 3, "u": 5}, "0:t+>a 1:u+*a+>b 2:*b", "0: 3 tasks\n1: 5 tasks *a/3\n2: 5 tasks *b/5\ncreate a/3\ncreate b/5\n3: Internal topics are missing: a, b\n"},
		{"what is not known yet does not count", someTopics{"t": 3, "u": 5}, "0:t+*a+>b 1:u+>a 2:*b", "0: 5 tasks *a/5\n1: 5 tasks\n2: 3 tasks *b/3\ncreate a/5\ncreate b/3\n3: Internal topics are missing: a, b\n"},
		{"a loop", someTopics{"t": 3}, "0:*a+>b 1:*b+>a", "error: Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved."},
		{"a loop with a way in", someTopics{"t": 3}, "0:t+*a+>b 1:*b+>a", "0: 3 tasks *a/3\n1: 3 tasks *b/3\ncreate a/3\ncreate b/3\n3: Internal topics are missing: a, b\n"},
		{"nobody writes it", someTopics{"t": 3}, "0:t 1:*a", "error: Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic."},
		{"nobody writes it, and its number is fixed", someTopics{"t": 3}, "0:t 1:*a/2", "0: 3 tasks\n1: 2 tasks *a/2\ncreate a/2\n3: Internal topics are missing: a\n"},
		{"nothing is read", someTopics{"t": 3}, "0:t 1:!c", "error: No source topics found for subtopology 1"},
		{"copartitioned sources that agree", someTopics{"t": 3, "u": 3}, "0:t+u+~t&u", "0: 3 tasks\n"},
		{"copartitioned sources that differ", someTopics{"t": 3, "u": 4}, "0:t+u+~t&u", "2: Following topics do not have the same number of partitions: [{t=3, u=4}]\n"},
		{"a repartition topic follows copartitioned sources", someTopics{"t": 3, "u": 5}, "0:t+>a 1:u+*a+~u&a", "0: 3 tasks\n1: 5 tasks *a/5\ncreate a/5\n3: Internal topics are missing: a\n"},
		{"a fixed one cannot", someTopics{"t": 3, "u": 5}, "0:t+>a 1:u+*a/3+~u&a", "2: Number of partitions [3] of repartition topic [a] doesn't match number of partitions [5] of the source topic.\n"},
		{"copartitioned repartition topics: the largest", someTopics{"t": 3, "u": 5}, "0:t+>a 1:u+>b 2:*a+*b+!c+~a&b", "0: 3 tasks\n1: 5 tasks\n2: 5 tasks *a/5 *b/5 !c/5\ncreate a/5\ncreate b/5\ncreate c/5\n3: Internal topics are missing: a, b, c\n"},
		{"one of them is fixed", someTopics{"t": 3, "u": 5}, "0:t+>a 1:u+>b 2:*a/2+*b+~a&b", "0: 3 tasks\n1: 5 tasks\n2: 2 tasks *a/2 *b/2\ncreate a/2\ncreate b/2\n3: Internal topics are missing: a, b\n"},
		{"both are fixed and differ", someTopics{"t": 3}, "0:t+>a+>b 1:*a/2+*b/4+~a&b", "2: Following topics do not have the same number of partitions: [{a=2, b=4}]\n"},
		{"one that is fixed elsewhere counts, too", someTopics{"t": 3}, "0:t+>a+>b+>z 1:*a+*b+~a&b 2:*z/6", "0: 3 tasks\n1: 6 tasks *a/6 *b/6\n2: 6 tasks *z/6\ncreate a/6\ncreate b/6\ncreate z/6\n3: Internal topics are missing: a, b, z\n"},
		{"a repartition topic that is there does not fit", someTopics{"t": 3, "r": 2}, "0:t+>r 1:*r", "2: Existing topic r has different number of partitions: expected 3, found 2\n"},
		{"too many tasks", someTopics{"t": 50_001}, "0:t 1:t", "error: The topology has 100002 tasks, allowed are 100000."},
		{"a copartition group of nobody", someTopics{"t": 3}, "0:t+~x", "0: 3 tasks\n"},
	} {
		r := topologySpec(0, strings.Fields(c.spec))
		if err := checkTopology(r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		topology, err := topologyOf(r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got string
		if configured, err := configure(c.topics, topology, 0); err != nil {
			got = "error: " + err.Error()
		} else {
			got = configuredText(configured)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// The order is Java's: 13 ids are in 32 buckets, "Aa" and "BB" in one.
func TestJavaHashOrder(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"2 1 0", "0 1 2"},
		{"BB Aa", "BB Aa"},
		{"Aa BB", "Aa BB"},
		{"10 9 2 0", "0 2 9 10"},
		{"0 1 2 3 4 5 6 7 8 9 10 11 12", "11 12 0 1 2 3 4 5 6 7 8 9 10"},
	} {
		var list []*schema.Subtopology
		for _, id := range strings.Fields(c.in) {
			list = append(list, &schema.Subtopology{SubtopologyID: id})
		}
		var got []string
		for _, s := range javaHashOrder(list) {
			got = append(got, s.SubtopologyID)
		}
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.in, got, want)
		}
	}
}

// The order of sub-topologies does not make another topology, everything else does.
func TestTopologyEqual(t *testing.T) {
	of := func(epoch int, spec string) *topology {
		topology, err := topologyOf(topologySpec(epoch, strings.Fields(spec)))
		if err != nil {
			t.Fatal(err)
		}
		return topology
	}
	a := of(1, "0:t+u+>r 1:*r+!c")
	for spec, want := range map[string]bool{
		"0:t+u+>r 1:*r+!c": true, "1:*r+!c 0:t+u+>r": true, "0:u+t+>r 1:*r+!c": false, "0:t+u+>r 1:*r": false, "0:t+u+>r 1:*r/3+!c": false, "0:t+u+>r": false,
	} {
		if got := a.equal(of(1, spec)); got != want {
			t.Errorf("%s: %t", spec, got)
		}
	}
	if a.equal(of(2, "0:t+u+>r 1:*r+!c")) {
		t.Error("epochs do not count")
	}
}
