package group

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// modelThread behaves as threads of Kafka Streams do: it believes what it is told, gives up before it says so, and drops
// everything when it is fenced. Answers get lost on the way to it.
type modelThread struct {
	id, process string
	epoch       int32
	active      map[taskID]struct{}
	standby     map[taskID]struct{}
	full        bool // the next heartbeat says everything
	changed     bool // tasks changed since the last heartbeat
}

type streamsModel struct {
	*harness
	rt       *rapid.T
	threads  []*modelThread
	next     int
	topology *kmsg.StreamsGroupHeartbeatRequestTopology
	wanted   []CreateInternalTopics // that nobody has carried out yet
	epoch    int32                  // highest of the group
	members  map[string]int32       // highest epoch of each member
	seen     *streams
	reliable bool // answers arrive, and topics can be created
	checks   int
}

func (m *streamsModel) newThread(rt *rapid.T) {
	m.next++
	m.threads = append(m.threads, &modelThread{
		id: fmt.Sprintf("s%d", m.next), process: fmt.Sprintf("p%d", rapid.IntRange(1, 3).Draw(rt, "process")),
		active: map[taskID]struct{}{}, standby: map[taskID]struct{}{}, full: true,
	})
}

func (c *modelThread) drop() {
	c.epoch = 0
	clear(c.active)
	clear(c.standby)
}

func taskIDs(set map[taskID]struct{}) []kmsg.TaskIDs {
	out := []kmsg.TaskIDs{}
	for _, id := range slices.SortedFunc(maps.Keys(set), bySubtopology) {
		out = append(out, kmsg.TaskIDs{SubtopologyID: id.subtopology, Partitions: []int32{id.partition}})
	}
	return out
}

func taskMap(list []kmsg.TaskIDs) map[taskID]struct{} {
	out := map[taskID]struct{}{}
	for _, t := range list {
		for _, p := range t.Partitions {
			out[taskID{t.SubtopologyID, p}] = struct{}{}
		}
	}
	return out
}

// heartbeat sends one and takes the answer in, if it is not lost. It is false if the thread cannot go on.
func (m *streamsModel) heartbeat(rt *rapid.T, c *modelThread, epoch int32) bool {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch, r.RebalanceTimeoutMillis = "g", c.id, epoch, -1
	if epoch == 0 {
		r.RebalanceTimeoutMillis, r.ProcessID, r.Topology = 20000, &c.process, m.topology
	}
	if epoch >= 0 && (c.full || c.changed || epoch == 0) {
		r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = taskIDs(c.active), taskIDs(c.standby), []kmsg.TaskIDs{}
	}
	token := m.do(machine.Command{Body: r, Client: machine.Client{ID: "c", Host: "/h"}})
	answer := m.answers[token].(*kmsg.StreamsGroupHeartbeatResponse)
	if epoch < 0 {
		return true
	}
	if !m.reliable && rapid.IntRange(0, 9).Draw(rt, "lost") == 0 {
		c.full = true
		return true
	}
	switch kerr.ErrorForCode(answer.ErrorCode) {
	case nil:
	case kerr.UnknownMemberID, kerr.FencedMemberEpoch, kerr.GroupIDNotFound:
		c.drop()
		return true
	case kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.GroupMaxSizeReached:
		c.full = true
		return true
	case kerr.InvalidRequest: // it has tasks that the topics have not any more
		return false
	default:
		rt.Fatalf("%s: %s", c.id, m.streamsText(answer))
	}
	c.epoch, c.full, c.changed = answer.MemberEpoch, false, false
	if answer.ActiveTasks != nil {
		active, standby := taskMap(answer.ActiveTasks), taskMap(answer.StandbyTasks)
		c.changed = !maps.Equal(active, c.active) || !maps.Equal(standby, c.standby)
		c.active, c.standby = active, standby
	}
	return true
}

func (m *streamsModel) move(rt *rapid.T, c *modelThread) {
	if !m.heartbeat(rt, c, c.epoch) {
		c.drop()
		m.threads = slices.DeleteFunc(m.threads, func(o *modelThread) bool { return o == c })
	}
}

func (m *streamsModel) step(rt *rapid.T) {
	if len(m.threads) == 0 || len(m.threads) < 7 && rapid.IntRange(0, 7).Draw(rt, "new") == 0 {
		m.newThread(rt)
	}
	m.move(rt, rapid.SampledFrom(m.threads).Draw(rt, "thread"))
}

func (m *streamsModel) leave(rt *rapid.T) {
	if len(m.threads) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.threads)-1).Draw(rt, "leaver")
	c := m.threads[i]
	c.drop()
	if rapid.Bool().Draw(rt, "says so") {
		m.heartbeat(rt, c, leaveEpoch)
	}
	m.threads = slices.Delete(m.threads, i, i+1)
}

// topic changes a source or drops an internal topic, not often: nobody has tasks for a while then.
func (m *streamsModel) topic(rt *rapid.T) {
	if rapid.IntRange(0, 4).Draw(rt, "now") > 0 {
		return
	}
	delta := metadata.NewDelta(m.image)
	name := rapid.SampledFrom([]string{"t", "u", "r", "c"}).Draw(rt, "topic")
	t, exists := m.image.Topic(name)
	switch {
	case !exists && (name == "t" || name == "u"):
		m.setTopic(delta, name, rapid.IntRange(1, 4).Draw(rt, "partitions"))
	case !exists:
		return
	case (name == "t" || name == "u") && len(t.Partitions) < 5 && rapid.IntRange(0, 2).Draw(rt, "grow") > 0:
		m.setTopic(delta, name, len(t.Partitions)+1)
	default:
		_ = delta.Apply(&schema.RemoveTopic{TopicID: t.ID})
	}
	m.publish(delta)
}

// create carries out an effect, or fails to.
func (m *streamsModel) create(rt *rapid.T) {
	for _, e := range m.effects {
		m.wanted = append(m.wanted, e.(CreateInternalTopics))
	}
	if m.effects = nil; len(m.wanted) == 0 {
		return
	}
	e := m.wanted[0]
	m.wanted = m.wanted[1:]
	done := InternalTopicsCreated{Backoff: e.Backoff}
	delta, any := metadata.NewDelta(m.image), false
	for _, t := range e.Topics {
		topic := InternalTopic{Name: t.Topic}
		if _, exists := m.image.Topic(t.Topic); !m.reliable && rapid.IntRange(0, 3).Draw(rt, "fails") == 0 {
			topic.Error = "no"
		} else if !exists {
			m.setTopic(delta, t.Topic, int(t.NumPartitions))
			any = true
		}
		done.Topics = append(done.Topics, topic)
	}
	if any {
		m.publish(delta)
	}
	m.do(machine.Command{Body: done})
}

// hostile sends what no thread would.
func (m *streamsModel) hostile(rt *rapid.T) {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberEpoch, r.RebalanceTimeoutMillis, r.MemberID = "g", int32(rapid.IntRange(1, 9).Draw(rt, "epoch")), -1, "nobody"
	if len(m.threads) > 0 {
		r.MemberID = rapid.SampledFrom(m.threads).Draw(rt, "victim").id
		if member := m.group().members[r.MemberID]; member != nil && member.epoch == r.MemberEpoch {
			r.MemberEpoch++
		}
	}
	token := m.do(machine.Command{Body: r})
	if m.answers[token].(*kmsg.StreamsGroupHeartbeatResponse).ErrorCode == 0 {
		rt.Fatalf("%s with epoch %d was let in", r.MemberID, r.MemberEpoch)
	}
}

func (m *streamsModel) standbys(rt *rapid.T) {
	value := strconv.Itoa(rapid.IntRange(0, 2).Draw(rt, "standbys"))
	delta := metadata.NewDelta(m.image)
	if err := delta.Apply(&schema.Config{ResourceType: groupResource, ResourceName: "g", Name: "streams.num.standby.replicas", Value: &value}); err != nil {
		rt.Fatalf("%v", err)
	}
	m.publish(delta)
}

func (m *streamsModel) group() *streams {
	if g, ok := m.m.groups["g"].(*streams); ok {
		return g
	}
	return newStreams("g")
}

func (m *streamsModel) check() {
	m.checkThreads()
	if g, ok := m.m.groups["g"].(*streams); ok {
		m.checkGroup(g)
	}
	if m.checks++; m.checks%8 == 0 {
		m.checkReload()
	}
}

// checkThreads: among those that the coordinator counts on, a task is active at one, and a process has it in one role.
func (m *streamsModel) checkThreads() {
	g := m.group()
	actives, roles := map[taskID]string{}, map[string]string{}
	for _, c := range m.threads {
		if g.members[c.id] == nil {
			continue
		}
		for id := range c.active {
			if other, ok := actives[id]; ok {
				m.rt.Fatalf("%s and %s have %v", other, c.id, id)
			}
			actives[id] = c.id
		}
		for _, set := range []map[taskID]struct{}{c.active, c.standby} {
			for id := range set {
				at := fmt.Sprint(c.process, id)
				if other, ok := roles[at]; ok {
					m.rt.Fatalf("%s and %s of %s have %v", other, c.id, c.process, id)
				}
				roles[at] = c.id
			}
		}
	}
}

func (m *streamsModel) checkGroup(g *streams) {
	if m.seen != g {
		m.seen, m.epoch = g, 0
		clear(m.members)
	}
	if g.epoch < m.epoch {
		m.rt.Fatalf("the group went back to epoch %d", g.epoch)
	}
	m.epoch = g.epoch
	counted := newStreams("g")
	for _, id := range g.memberIDs() {
		member := g.members[id]
		if member.epoch > g.targetEpoch || g.targetEpoch > g.epoch {
			m.rt.Fatalf("epochs of %s: %d, target %d, group %d", id, member.epoch, g.targetEpoch, g.epoch)
		}
		if member.epoch < m.members[id] {
			m.rt.Fatalf("%s went back from epoch %d to %d", id, m.members[id], member.epoch)
		}
		m.members[id] = member.epoch
		if m.m.started && m.m.clocks[clockKey{streamsSessionEnds, "g", id}] == nil {
			m.rt.Fatalf("nobody watches the session of %s", id)
		}
		for _, set := range []taskSet{member.assigned.active, member.revoking.active} {
			set.each(func(task taskID) {
				if other, ok := counted.active[task]; ok {
					m.rt.Fatalf("%s and %s own %v", other, id, task)
				}
				counted.active[task] = id
			})
		}
		counted.put(member)
	}
	for id := range m.members {
		if g.members[id] == nil {
			delete(m.members, id) // it may join anew
		}
	}
	if diff := gocmp.Diff(counted, g, streamsOptions(), cmpopts.IgnoreFields(streams{}, "epoch", "hash", "validated", "settings", "topology", "targetEpoch", "targetAt", "targets")); diff != "" {
		m.rt.Fatalf("-counted +known:\n%s", diff)
	}
	for process, held := range g.held {
		for task, n := range held {
			if n > 1 {
				m.rt.Fatalf("%s has %v %d times", process, task, n)
			}
		}
	}
	m.checkTargets(g)
}

// checkTargets: a task is active in one target, its standbys are in other processes, each in its own, and a new target
// has tasks that are there.
func (m *streamsModel) checkTargets(g *streams) {
	active, at := map[taskID]string{}, map[string]string{}
	for id, target := range g.targets {
		member := g.members[id]
		if member == nil {
			m.rt.Fatalf("target of %s, which is not there", id)
		}
		target.active.each(func(task taskID) {
			if other, ok := active[task]; ok {
				m.rt.Fatalf("%v is meant for %s and for %s", task, other, id)
			}
			active[task] = id
		})
		for _, set := range []taskSet{target.active, target.standby} {
			set.each(func(task taskID) {
				key := fmt.Sprint(member.processID, task)
				if other, ok := at[key]; ok {
					m.rt.Fatalf("%v is meant for %s and for %s of one process", task, other, id)
				}
				at[key] = id
				if c := g.configured; c.ready() && g.checked && g.epoch >= g.checkedAt && g.epoch == g.targetEpoch && g.targetAt != 0 {
					if s := c.find(task.subtopology); s == nil || task.partition >= s.tasks {
						m.rt.Fatalf("%s is to get %v", id, task)
					}
				}
			})
		}
	}
}

func streamsOptions() gocmp.Options {
	return gocmp.Options{
		gocmp.AllowUnexported(streams{}, streamsMember{}, tasks{}, subtopologyTasks{}, topology{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(streams{}, "configured", "checked", "checkedAt", "shutdownBy", "endpoints"),
	}
}

// checkReload: what a new coordinator reads from the log is what this one knows.
func (m *streamsModel) checkReload() {
	fresh := m.reload()
	live, _ := m.m.groups["g"].(*streams)
	loaded, _ := fresh.groups["g"].(*streams)
	if live == nil && loaded == nil {
		return
	}
	if diff := gocmp.Diff(live, loaded, streamsOptions()); diff != "" {
		m.rt.Fatalf("-live +loaded:\n%s", diff)
	}
}

// TestStreamsModel drives one group with random threads, topologies and topics: always the same histories.
func TestStreamsModel(t *testing.T) {
	checkStreamsModel(t, map[string]string{"rapid.checks": "100", "rapid.steps": "80", "rapid.seed": "1"})
}

// TestSimStreamsModel drives as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimStreamsModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkStreamsModel(t, map[string]string{"rapid.checks": n, "rapid.steps": "80"})
}

// The applications of the model. Sources are t and u, internal topics r and c.
var modelTopologies = [][]string{
	{"0:t+>r", "1:*r+!c"},
	{"0:t+u+!c"},
	{"0:t+>r", "1:u+*r+!c+~u&r"},
	{"0:t", "1:u+!c"},
	{"0:t+>r", "1:*r/3+!c", "2:u"},
}

func checkStreamsModel(t *testing.T, flags map[string]string) {
	setFlags(t, flags)
	rapid.Check(t, func(rt *rapid.T) {
		m := &streamsModel{rt: rt, members: map[string]int32{}, topology: topologySpec(0, rapid.SampledFrom(modelTopologies).Draw(rt, "topology"))}
		m.harness = newHarness(rt, Config{
			StreamsAssignmentInterval:    time.Duration(rapid.SampledFrom([]int{-1, 1000}).Draw(rt, "interval")) * time.Millisecond,
			StreamsInitialRebalanceDelay: time.Duration(rapid.SampledFrom([]int{0, 3000}).Draw(rt, "delay")) * time.Millisecond,
			StreamsMaxSize:               6, StreamsStandbyReplicas: rapid.IntRange(0, 2).Draw(rt, "standbys at first"),
		})
		delta := metadata.NewDelta(m.image)
		m.setTopic(delta, "t", rapid.IntRange(1, 4).Draw(rt, "t"))
		m.setTopic(delta, "u", rapid.IntRange(1, 4).Draw(rt, "u"))
		m.publish(delta)
		steps := map[string]func(*rapid.T){
			"":      func(*rapid.T) { m.advance(0); m.check() },
			"leave": m.leave, "topic": m.topic, "hostile": m.hostile, "create": m.create, "create at once": m.create, "standbys": m.standbys,
			"wait": func(rt *rapid.T) {
				m.advance(time.Duration(rapid.SampledFrom([]int{1, 100, 1000, 5000, 11000, 21000, 46000}).Draw(rt, "ms")) * time.Millisecond)
			},
			"append": func(rt *rapid.T) {
				if m.fail = nil; rapid.IntRange(0, 4).Draw(rt, "fail") == 0 {
					m.fail = kerr.NotEnoughReplicas
				}
			},
			"delete": func(*rapid.T) {
				r := kmsg.NewPtrDeleteGroupsRequest()
				r.Version, r.Groups = 2, []string{"g"}
				m.do(machine.Command{Body: r})
			},
			"reload": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "now") == 0 {
					m.m = m.reload()
				}
			},
		}
		for i := range 8 {
			steps[fmt.Sprint("step", i)] = m.step
		}
		rt.Repeat(steps)
		m.settle(rt)
	})
}

// settle lets all come as often as it takes, and then everybody has the target, which leaves nothing over. Sources are
// there, and internal topics that do not fit to them any more have been dropped.
func (m *streamsModel) settle(rt *rapid.T) {
	m.fail, m.reliable = nil, true
	m.effects, m.wanted = nil, nil // what was to be created was for other sources
	delta := metadata.NewDelta(m.image)
	for _, name := range []string{"r", "c"} {
		if t, ok := m.image.Topic(name); ok {
			_ = delta.Apply(&schema.RemoveTopic{TopicID: t.ID})
		}
	}
	for _, name := range []string{"t", "u"} {
		if _, ok := m.image.Topic(name); ok {
			_ = delta.Apply(&schema.RemoveTopic{TopicID: topicID(name)})
		}
	}
	m.publish(delta)
	delta = metadata.NewDelta(m.image)
	m.setTopic(delta, "t", 3)
	m.setTopic(delta, "u", 3)
	m.publish(delta)
	if len(m.threads) > 6 {
		m.threads = m.threads[:6]
	}
	for range 60 {
		for _, c := range slices.Clone(m.threads) {
			m.move(rt, c)
			m.advance(0)
		}
		m.create(rt)
		m.advance(1001 * time.Millisecond)
		m.checkThreads()
	}
	m.check()
	m.checkReload()
	if g := m.group(); len(m.threads) > 0 {
		m.checkSettled(rt, g)
	}
}

func (m *streamsModel) checkSettled(rt *rapid.T, g *streams) {
	if g.state() != stable {
		rt.Fatalf("the group is %s after all: epoch %d, target %d\n%s", g.state(), g.epoch, g.targetEpoch, m.out.String()[max(0, m.out.Len()-4000):])
	}
	processes := map[string]bool{}
	standbys := map[taskID]int{}
	loads := map[string]int{}
	for _, member := range g.members {
		processes[member.processID] = true
		member.assigned.standby.each(func(id taskID) { standbys[id]++ })
		member.assigned.active.each(func(taskID) { loads[member.id]++ })
	}
	wanted, _ := strconv.Atoi(g.settings[standbyReplicas])
	all := 0
	for _, s := range g.configured.subtopologies {
		for p := range s.tasks {
			id := taskID{s.SubtopologyID, p}
			all++
			if g.active[id] == "" {
				rt.Fatalf("nobody has %v\n%s", id, m.out.String())
			}
			want := 0
			if len(s.changelogs) > 0 {
				want = min(wanted, len(processes)-1)
			}
			if standbys[id] != want {
				rt.Fatalf("%v has %d standbys of %d", id, standbys[id], want)
			}
		}
	}
	if len(g.active) != all {
		rt.Fatalf("there are %d tasks, and %d are active", all, len(g.active))
	}
}
