package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// tasksSpec reads a spec: "standbys n", lines "sub-topology tasks [stateful]", then "member process [active...] [/standby...]",
// tasks as sub-topology-partition.
func tasksSpec(t *testing.T, s string) *taskSpec {
	t.Helper()
	spec := &taskSpec{}
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		var n int32
		if len(f) >= 2 {
			if _, err := fmt.Sscanf(f[1], "%d", &n); err == nil {
				if f[0] == "standbys" {
					spec.standbys = int(n)
				} else {
					spec.subtopologies = append(spec.subtopologies, taskSubtopology{id: f[0], tasks: n, stateful: len(f) > 2})
				}
				continue
			}
		}
		if len(f) < 2 {
			continue
		}
		active, standby := taskBuilder{}, taskBuilder{}
		for _, what := range f[2:] {
			id, p, _ := strings.Cut(strings.TrimPrefix(what, "/"), "-")
			fmt.Sscanf(p, "%d", &n)
			if what[0] == '/' {
				standby.add(taskID{id, n}, 0)
			} else {
				active.add(taskID{id, n}, 0)
			}
		}
		spec.members = append(spec.members, taskMember{id: f[0], process: f[1], current: tasks{active: active.set(false), standby: standby.set(false)}})
	}
	return spec
}

func tasksOf(s *taskSpec, targets []tasks) string {
	var b strings.Builder
	for i, target := range targets {
		fmt.Fprintf(&b, "%s %s", s.members[i].id, s.members[i].process)
		target.active.each(func(id taskID) { fmt.Fprintf(&b, " %s-%d", id.subtopology, id.partition) })
		target.standby.each(func(id taskID) { fmt.Fprintf(&b, " /%s-%d", id.subtopology, id.partition) })
		b.WriteString("\n")
	}
	return b.String()
}

func TestAssignSticky(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"nobody", "0 3", ""},
		{"one has all", "0 2\n1 2 stateful\na p", "a p 0-0 0-1 1-0 1-1\n"},
		{"in turn", "0 4\n1 4 stateful\na p\nb q", "a p 0-0 0-2 1-0 1-2\nb q 0-1 0-3 1-1 1-3\n"},
		{"more members than tasks", "0 2\na p\nb q\nc r", "a p 0-0\nb q 0-1\nc r\n"},
		{"a process counts by its members", "0 6\na1 p\na2 p\nb q", "a1 p 0-0 0-3\na2 p 0-2 0-5\nb q 0-1 0-4\n"},
		{"who has them keeps them", "0 4\na p 0-1 0-2\nb q 0-0 0-3", "a p 0-1 0-2\nb q 0-0 0-3\n"},
		{"a new member gets the last of who has too many", "0 4\na p 0-0 0-1 0-2 0-3\nb q", "a p 0-0 0-1\nb q 0-2 0-3\n"},
		{"one is gone", "0 4\na p 0-0 0-2\nc r 0-3", "a p 0-0 0-2\nc r 0-1 0-3\n"},
		{"a standby becomes active", "standbys 1\n0 4 stateful\na p 0-0 /0-2\nb q 0-1 /0-3", "a p 0-0 0-2 /0-1 /0-3\nb q 0-1 0-3 /0-0 /0-2\n"},
		{"standbys in other processes", "standbys 1\n0 2 stateful\na1 p\na2 p\nb q", "a1 p 0-0\na2 p /0-1\nb q 0-1 /0-0\n"},
		{"no standby in one process", "standbys 2\n0 2 stateful\na1 p\na2 p", "a1 p 0-0\na2 p 0-1\n"},
		{"as many standbys as there are processes", "standbys 3\n0 1 stateful\na p\nb q\nc r", "a p 0-0\nb q /0-0\nc r /0-0\n"},
		{"without state, without standbys", "standbys 1\n0 2\n1 2 stateful\na p\nb q", "a p 0-0 1-0 /1-1\nb q 0-1 1-1 /1-0\n"},
		{"standbys stay", "standbys 1\n0 3 stateful\na p 0-0 /0-2\nb q 0-1 /0-0\nc r 0-2 /0-1", "a p 0-0 /0-2\nb q 0-1 /0-0\nc r 0-2 /0-1\n"},
		{"standbys above the share go", "standbys 1\n0 3 stateful\na p 0-0\nb q 0-1 /0-2\nc r 0-2 /0-0 /0-1", "a p 0-0\nb q 0-1 /0-0 /0-2\nc r 0-2 /0-1\n"},
		{"tasks that are gone", "0 1\na p 0-0 0-1 7-0 /8-0", "a p 0-0\n"},
	} {
		spec := tasksSpec(t, c.spec)
		if diff := cmp.Diff(c.want, tasksOf(spec, assignSticky(spec))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// Whatever was before: each task is active once, standbys are legal and as many as can be, members have their share of
// active tasks, who comes takes no more than that, and what is assigned already stays.
func TestAssignStickyProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := &taskSpec{standbys: rapid.IntRange(0, 2).Draw(rt, "standbys")}
		for i := range rapid.IntRange(1, 4).Draw(rt, "subtopologies") {
			spec.subtopologies = append(spec.subtopologies, taskSubtopology{
				id: fmt.Sprint(i), tasks: int32(rapid.IntRange(1, 6).Draw(rt, "tasks")), stateful: rapid.Bool().Draw(rt, "stateful")})
		}
		processes := rapid.IntRange(1, 4).Draw(rt, "processes")
		for i := range rapid.IntRange(1, 7).Draw(rt, "members") {
			spec.members = append(spec.members, taskMember{id: fmt.Sprint(i), process: fmt.Sprint(rapid.IntRange(1, processes).Draw(rt, "process"))})
		}
		for range 4 {
			targets := assignSticky(spec)
			checkSticky(rt, spec, targets)
			for i := range spec.members {
				had := spec.members[i].current.active
				if had.size() <= spec.total()/len(spec.members) && !targets[i].active.contains(had) {
					rt.Fatalf("%s had less than its share, and lost some:\n%s", spec.members[i].id, tasksOf(spec, targets))
				}
				spec.members[i].current = targets[i]
			}
			for round := 0; ; round++ {
				again := assignSticky(spec)
				checkSticky(rt, spec, again)
				if slices.EqualFunc(targets, again, func(x, y tasks) bool { return x.active.equal(y.active) }) {
					break
				}
				if round == 3 { // a load that became uneven when somebody left is evened out, and then there is rest
					rt.Fatalf("active tasks move without a reason:\n%s\n%s", tasksOf(spec, targets), tasksOf(spec, again))
				}
				for i := range spec.members {
					spec.members[i].current = again[i]
				}
				targets = again
			}
			switch rapid.IntRange(0, 2).Draw(rt, "next") {
			case 0:
				if len(spec.members) > 1 {
					i := rapid.IntRange(0, len(spec.members)-1).Draw(rt, "gone")
					spec.members = slices.Delete(spec.members, i, i+1)
				}
			case 1:
				spec.members = append(spec.members, taskMember{id: fmt.Sprintf("%c", 'a'+len(spec.members)), process: fmt.Sprint(rapid.IntRange(1, processes).Draw(rt, "process"))})
				slices.SortFunc(spec.members, func(x, y taskMember) int { return compareStrings(x.id, y.id) })
				spec.members = slices.CompactFunc(spec.members, func(x, y taskMember) bool { return x.id == y.id })
			case 2:
				spec.standbys = rapid.IntRange(0, 2).Draw(rt, "standbys")
			}
		}
	})
}

func checkSticky(rt *rapid.T, spec *taskSpec, targets []tasks) {
	active := map[taskID]int{}
	where := map[string]bool{}
	standbys := map[taskID]int{}
	processes := map[string]int{}
	total, most := 0, 0
	for i, m := range spec.members {
		processes[m.process]++
		n := 0
		take := func(id taskID) {
			key := fmt.Sprint(m.process, id)
			if where[key] {
				rt.Fatalf("process %s has %v twice:\n%s", m.process, id, tasksOf(spec, targets))
			}
			where[key] = true
		}
		targets[i].active.each(func(id taskID) { take(id); active[id]++; n++ })
		targets[i].standby.each(func(id taskID) { take(id); standbys[id]++ })
		most = max(most, n)
	}
	for _, s := range spec.subtopologies {
		for p := range s.tasks {
			id := taskID{s.id, p}
			total++
			if active[id] != 1 {
				rt.Fatalf("%v is active %d times:\n%s", id, active[id], tasksOf(spec, targets))
			}
			want := 0
			if s.stateful {
				want = min(spec.standbys, len(processes)-1)
			}
			if standbys[id] != want {
				rt.Fatalf("%v has %d standbys of %d:\n%s", id, standbys[id], want, tasksOf(spec, targets))
			}
		}
	}
	if len(active) != total {
		rt.Fatalf("%d tasks of %d", len(active), total)
	}
	// Loads are even within a process and over processes by their members: so one member can have one more than its
	// share, and one less where a process has several.
	if most > spec.share()+1 {
		rt.Fatalf("one has %d tasks, the share is %d:\n%s", most, spec.share(), tasksOf(spec, targets))
	}
}

// share is how many active tasks a member has if all have about the same.
func (s *taskSpec) share() int { return (s.total() + len(s.members) - 1) / len(s.members) }

func (s *taskSpec) total() int {
	n := 0
	for _, t := range s.subtopologies {
		n += int(t.tasks)
	}
	return n
}

func (s taskSet) size() int {
	n := 0
	s.each(func(taskID) { n++ })
	return n
}
