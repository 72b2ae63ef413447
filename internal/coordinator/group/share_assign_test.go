package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/schema"
)

// shareAssignment reads "t:0,1 u:2".
func shareAssignment(s string) assignment {
	b := assignmentBuilder{}
	for _, f := range strings.Fields(s) {
		topic, list, _ := strings.Cut(f, ":")
		for _, p := range strings.Split(list, ",") {
			var n int32
			if _, err := fmt.Sscan(p, &n); err == nil {
				b.add(topicID(topic), n, 0)
			}
		}
	}
	return b.target()
}

func sharersOf(subscriptions, current []string) []sharer {
	out := make([]sharer, len(subscriptions))
	for i, s := range subscriptions {
		out[i].subscribed = map[schema.UUID]struct{}{}
		for _, topic := range strings.Fields(s) {
			out[i].subscribed[topicID(topic)] = struct{}{}
		}
		if i < len(current) {
			out[i].current = shareAssignment(current[i])
		}
	}
	return out
}

func TestAssignShares(t *testing.T) {
	for _, c := range []struct {
		name          string
		subscriptions []string
		current       []string
		assignable    string
		want          []string
	}{
		{"nobody", nil, nil, "t:0,1", nil},
		{"nothing to be had", []string{"t"}, []string{"t:0"}, "", []string{""}},
		{"one", []string{"t"}, nil, "t:0,1,2", []string{"t:0,1,2"}},
		{"as many as partitions", []string{"t", "t"}, nil, "t:0,1", []string{"t:0", "t:1"}},
		{"fewer than partitions", []string{"t", "t"}, nil, "t:0,1,2,3,4", []string{"t:0,2,4", "t:1,3"}},
		{"more than partitions", []string{"t", "t", "t"}, nil, "t:0,1", []string{"t:0,1", "t:0", "t:1"}},
		{"many on one partition", []string{"t", "t", "t", "t"}, nil, "t:0", []string{"t:0", "t:0", "t:0", "t:0"}},
		{"what they have they keep", []string{"t", "t"}, []string{"t:1", "t:0"}, "t:0,1", []string{"t:1", "t:0"}},
		{"a second takes over", []string{"t", "t"}, []string{"t:0,1,2,3"}, "t:0,1,2,3", []string{"t:0,1", "t:2,3"}},
		{"one left, the other has all", []string{"t"}, []string{"t:1"}, "t:0,1", []string{"t:0,1"}},
		{"unsubscribed", []string{"u"}, []string{"t:0 u:0"}, "t:0 u:0,1", []string{"u:0,1"}},
		{"not to be had any more", []string{"t", "t"}, []string{"t:0,5", "t:1,6"}, "t:0,1", []string{"t:0", "t:1"}},
		{"over several topics, all the same", []string{"t u", "t u"}, nil, "t:0 u:0", []string{"t:0", "u:0"}},
		{"over several topics, different", []string{"t", "u", "t u"}, nil, "t:0,1 u:0,1", []string{"t:0", "u:0", "t:1 u:1"}},
		{"topics of different sizes, different", []string{"t", "t u"}, nil, "t:0 u:0,1,2", []string{"t:0", "t:0 u:0,1,2"}},
		{"too many share one", []string{"t", "t", "t"}, []string{"t:0", "t:0", "t:0"}, "t:0,1,2", []string{"t:0", "t:1", "t:2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := assignShares(sharersOf(c.subscriptions, c.current), shareAssignment(c.assignable))
			want := make([]assignment, len(c.want))
			for i := range want {
				want[i] = shareAssignment(c.want[i])
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(topicPartitions{})); d != "" {
				t.Fatal(d)
			}
		})
	}
}

// Whatever the members had: nobody has what it is not subscribed to, everything subscribed to has somebody, where all are
// subscribed to the same the parts differ by one at most, and once all is well nothing moves any more.
func TestAssignSharesAlways(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	topics := []string{"t", "u", "v"}
	for range 2000 {
		n := 1 + r.IntN(7)
		same := r.IntN(2) == 0
		subscriptions, current := make([]string, n), make([]string, n)
		var assignable string
		for _, topic := range topics {
			if k := r.IntN(6); k > 0 {
				assignable += " " + topic + ":" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(allPartitions(k))), ","), "[]")
			}
		}
		for i := range n {
			if subscriptions[i] = strings.Join(topics[:1+r.IntN(3)], " "); same {
				subscriptions[i] = subscriptions[0]
			}
			for range r.IntN(4) {
				current[i] += fmt.Sprintf(" %s:%d", topics[r.IntN(3)], r.IntN(7))
			}
		}
		members := sharersOf(subscriptions, current)
		got := assignShares(members, shareAssignment(assignable))
		explain := fmt.Sprintf("%q had %q, of %q: %v", subscriptions, current, assignable, got)
		sharers := map[sharePartition]int{}
		var sizes []int
		for i, a := range got {
			sizes = append(sizes, a.size())
			for _, tp := range a {
				if _, ok := members[i].subscribed[tp.topic]; !ok {
					t.Fatal("not subscribed: " + explain)
				}
				for _, p := range tp.partitions {
					sharers[sharePartition{tp.topic, p}]++
				}
			}
		}
		for _, tp := range shareAssignment(assignable) {
			wanted := slices.ContainsFunc(members, func(m sharer) bool { _, ok := m.subscribed[tp.topic]; return ok })
			for _, p := range tp.partitions {
				if wanted != (sharers[sharePartition{tp.topic, p}] > 0) {
					t.Fatal("nobody has one: " + explain)
				}
			}
		}
		if same && slices.Max(sizes)-slices.Min(sizes) > 1 {
			t.Fatal("uneven: " + explain)
		}
		for i := range members {
			members[i].current = got[i]
		}
		if again := assignShares(members, shareAssignment(assignable)); same && !slices.EqualFunc(got, again, assignment.equal) {
			t.Fatalf("it moves again, to %v: %s", again, explain)
		}
	}
}
