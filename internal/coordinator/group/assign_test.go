package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// specText reads a spec: lines "topic partitions", then "member[@instance] topics [current...]", current as topic-partition.
func specText(t *testing.T, s string, homogeneous bool) *assignSpec {
	t.Helper()
	spec := &assignSpec{homogeneous: homogeneous}
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		var n int32
		if len(f) == 2 {
			if _, err := fmt.Sscanf(f[1], "%d", &n); err == nil {
				spec.topics = append(spec.topics, assignTopic{id: topicID(f[0]), partitions: n})
				continue
			}
		}
		if len(f) < 2 {
			continue
		}
		var m assignMember
		id, instance, static := strings.Cut(f[0], "@")
		if m.id = id; static {
			m.instanceID = &instance
		}
		for _, name := range strings.Split(f[1], ",") {
			if i := spec.topic(topicID(name)); i >= 0 {
				m.topics = append(m.topics, i)
			}
		}
		had := assignmentBuilder{}
		for _, tp := range f[2:] {
			name, p, _ := strings.Cut(tp, "-")
			fmt.Sscanf(p, "%d", &n)
			had.add(topicID(name), n, 0)
		}
		m.current = had.target()
		spec.members = append(spec.members, m)
	}
	return spec
}

func targetsText(s *assignSpec, targets []assignment) string {
	var b strings.Builder
	for i, a := range targets {
		fmt.Fprintf(&b, "%s:", s.members[i].id)
		for _, tp := range a {
			for _, p := range tp.partitions {
				fmt.Fprintf(&b, " %s-%d", topicName(tp.topic), p)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestAssignors(t *testing.T) {
	for _, c := range []struct {
		name, assignor string
		homogeneous    bool
		spec, want     string
	}{
		{"nobody is subscribed to anything that exists", uniformName, true, "a x\n", "a:\n"},
		{"new group", uniformName, true, "t 3\nu 2\na t,u\nb t,u\n", "a: t-0 t-1\nb: t-2 u-0 u-1\n"},
		{"who has more keeps it", uniformName, true, "t 3\na t t-0\nb t t-1 t-2\n", "a: t-0\nb: t-1 t-2\n"},
		{"a third gives up the least", uniformName, true, "t 6\na t t-0 t-1 t-2\nb t t-3 t-4 t-5\nc t\n", "a: t-0 t-1\nb: t-3 t-4\nc: t-2 t-5\n"},
		{"one left", uniformName, true, "t 6\na t t-0 t-1\nc t t-2 t-5\n", "a: t-0 t-1 t-3\nc: t-2 t-4 t-5\n"},
		{"a topic that is not subscribed to", uniformName, true, "u 2\na u t-0 t-1\nb u u-0 u-1\n", "a: u-1\nb: u-0\n"},
		{"more members than partitions", uniformName, true, "t 1\na t\nb t\n", "a:\nb: t-0\n"},
		{"a partition that two have", uniformName, true, "t 2\na t t-0\nb t t-0\n", "a: t-0\nb: t-1\n"},
		{"different topics", uniformName, false, "t 3\nu 3\na t\nb t,u\n", "a: t-0 t-1 t-2\nb: u-0 u-1 u-2\n"},
		{"different topics, sticky", uniformName, false, "t 3\nu 1\na t t-0\nb t,u t-1 t-2 u-0\n", "a: t-0 t-2\nb: t-1 u-0\n"},
		{"range", rangeName, true, "t 3\nu 4\nb t,u\na t,u\n", "b: t-2 u-2 u-3\na: t-0 t-1 u-0 u-1\n"},
		{"range, static members first", rangeName, true, "t 3\na t\nb@2 t\nc@1 t\n", "a: t-2\nb: t-1\nc: t-0\n"},
		{"range, different topics", rangeName, false, "t 3\nu 2\na t\nb t,u\nc u\n", "a: t-0 t-1\nb: t-2 u-0\nc: u-1\n"},
		{"range, more members than partitions", rangeName, true, "t 1\na t\nb t\n", "a: t-0\nb:\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := specText(t, c.spec, c.homogeneous)
			if diff := cmp.Diff(c.want, targetsText(s, assignorNamed(c.assignor)(s))); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAssignorsHold checks with random groups that targets are legal, whole and even, that they stay as they are when
// nothing changes, and that only what has to move moves.
func TestAssignorsHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &assignSpec{homogeneous: rapid.Bool().Draw(rt, "homogeneous")}
		for i := range rapid.IntRange(1, 5).Draw(rt, "topics") {
			s.topics = append(s.topics, assignTopic{id: topicID(fmt.Sprint("t", i)), partitions: int32(rapid.IntRange(0, 9).Draw(rt, "partitions"))})
		}
		all := make([]int, len(s.topics))
		for i := range all {
			all[i] = i
		}
		member := func(i int) assignMember {
			m := assignMember{id: fmt.Sprint("m", i), topics: all}
			if !s.homogeneous {
				m.topics = rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), rapid.ID).Draw(rt, "subscription")
				slices.Sort(m.topics)
			}
			return m
		}
		n := rapid.IntRange(1, 6).Draw(rt, "members")
		for i := range n {
			s.members = append(s.members, member(i))
		}
		first := assignUniform(s)
		s.check(rt, first)
		for i := range s.members {
			s.members[i].current = first[i]
		}
		if again := targetsText(s, assignUniform(s)); again != targetsText(s, first) {
			rt.Fatalf("it moved for nothing:\n%s\n%s", targetsText(s, first), again)
		}
		ranges := assignRange(s)
		s.legal(rt, ranges)

		// A member leaves, or one comes.
		changed := *s
		if n > 1 && rapid.Bool().Draw(rt, "leaves") {
			gone := rapid.IntRange(0, n-1).Draw(rt, "gone")
			changed.members = slices.Delete(slices.Clone(s.members), gone, gone+1)
		} else {
			changed.members = append(slices.Clone(s.members), member(n))
		}
		second := assignUniform(&changed)
		changed.check(rt, second)
		if !s.homogeneous {
			return
		}
		for i, m := range changed.members {
			kept := 0
			for _, tp := range second[i] {
				for _, p := range tp.partitions {
					if m.current.has(tp.topic, p) {
						kept++
					}
				}
			}
			if want := min(m.current.size(), second[i].size()); kept != want {
				rt.Fatalf("%s had %d, has %d, kept %d", m.id, m.current.size(), second[i].size(), kept)
			}
		}
	})
}

func (s *assignSpec) legal(rt *rapid.T, targets []assignment) [][]int32 {
	owners := make([][]int32, len(s.topics))
	for i, t := range s.topics {
		owners[i] = slices.Repeat([]int32{nobody}, int(t.partitions))
	}
	for i, a := range targets {
		if !slices.IsSortedFunc(a, func(x, y topicPartitions) int { return compareUUID(x.topic, y.topic) }) {
			rt.Fatalf("not sorted: %v", a)
		}
		for _, tp := range a {
			topic := s.topic(tp.topic)
			if len(tp.partitions) == 0 || !slices.IsSorted(tp.partitions) || !s.members[i].subscribed(topic) {
				rt.Fatalf("%s got %s %v", s.members[i].id, topicName(tp.topic), tp.partitions)
			}
			for _, p := range tp.partitions {
				if owners[topic][p] != nobody {
					rt.Fatalf("%s-%d has two owners", topicName(tp.topic), p)
				}
				owners[topic][p] = int32(i)
			}
		}
	}
	for topic, partitions := range owners {
		subscribed := slices.ContainsFunc(s.members, func(m assignMember) bool { return m.subscribed(topic) })
		if subscribed && slices.Contains(partitions, nobody) {
			rt.Fatalf("partitions of %s are left over: %v", topicName(s.topics[topic].id), partitions)
		}
	}
	return owners
}

// check: no subscriber of a topic has two more than another and one of the topic's that it could give.
func (s *assignSpec) check(rt *rapid.T, targets []assignment) {
	for topic, partitions := range s.legal(rt, targets) {
		for _, owner := range partitions {
			for i, m := range s.members {
				if owner != nobody && m.subscribed(topic) && targets[owner].size() > targets[i].size()+1 {
					rt.Fatalf("uneven: %s", targetsText(s, targets))
				}
			}
		}
	}
	sizes := make([]int, len(targets))
	for i, a := range targets {
		sizes[i] = a.size()
	}
	if s.homogeneous && slices.Max(sizes)-slices.Min(sizes) > 1 {
		rt.Fatalf("uneven: %s", targetsText(s, targets))
	}
}

// BenchmarkAssign: members x partitions, when one more member comes.
func BenchmarkAssign(b *testing.B) {
	for _, size := range [][3]int{{1000, 1, 1000}, {1000, 100, 10}, {1000, 1000, 10}, {100, 10, 100}} {
		for _, homogeneous := range []bool{true, false} {
			for _, name := range []string{uniformName, rangeName} {
				s := &assignSpec{homogeneous: homogeneous}
				for i := range size[1] {
					s.topics = append(s.topics, assignTopic{id: topicID(fmt.Sprintf("%05d", i)), partitions: int32(size[2])})
				}
				for i := range size[0] {
					m := assignMember{id: fmt.Sprintf("%05d", i)}
					for topic := range size[1] {
						if homogeneous || size[1] == 1 || topic%2 == i%2 {
							m.topics = append(m.topics, topic)
						}
					}
					s.members = append(s.members, m)
				}
				assign := assignorNamed(name)
				for i, a := range assign(s) {
					s.members[i].current = a
				}
				s.members[1].current = nil // one is new
				b.Run(fmt.Sprintf("%s/homogeneous=%v/%dx%dx%d", name, homogeneous, size[0], size[1], size[2]), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						assign(s)
					}
				})
			}
		}
	}
}
