package group

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
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

// modelSharer behaves as share consumers do: it believes what it is told, and joins again when it is fenced. Answers get
// lost on the way to it.
type modelSharer struct {
	id     string
	epoch  int32
	topics []string
	fresh  bool // its subscription has changed, or an answer was lost
	has    map[sharePartition]struct{}
}

// shareModel drives one share group with random members and administrators. Beside it stand the share coordinators, which
// carry out what they are asked in the order in which they are asked it, or fail.
type shareModel struct {
	*harness
	rt      *rapid.T
	clients []*modelSharer
	next    int
	stored  map[sharePartition]int32 // state epochs at the share coordinators
	epoch   int32                    // highest of the group
	members map[string]int32         // highest epoch of each member
	group   *shareGroup
	well    bool // answers arrive, nothing fails
	seen    map[string]int
}

func (m *shareModel) topics() []string { return []string{"t", "u", "v"} }

// live is the group, if it is there.
func (m *shareModel) live() *shareGroup {
	g, _ := m.m.groups["g"].(*shareGroup)
	return g
}

func (m *shareModel) heartbeat(c *modelSharer, epoch int32) {
	r := kmsg.NewPtrShareGroupHeartbeatRequest()
	r.Version, r.GroupID, r.MemberID, r.MemberEpoch = 1, "g", c.id, epoch
	if epoch == 0 || c.fresh && epoch > 0 {
		r.SubscribedTopicNames = c.topics
	}
	token := m.do(machine.Command{Body: r, Client: machine.Client{ID: "c", Host: "/h"}})
	answer := m.answers[token].(*kmsg.ShareGroupHeartbeatResponse)
	m.seen["heartbeat "+codeText(answer.ErrorCode)]++
	if epoch < 0 {
		return
	}
	if !m.well && rapid.IntRange(0, 9).Draw(m.rt, "lost") == 0 {
		c.fresh = true // what it said may not have arrived, nor what it was told: next time it says all
		return
	}
	switch kerr.ErrorForCode(answer.ErrorCode) {
	case nil:
	case kerr.UnknownMemberID, kerr.FencedMemberEpoch, kerr.GroupIDNotFound:
		c.epoch, c.has = 0, nil
		return
	case kerr.CoordinatorNotAvailable, kerr.GroupMaxSizeReached:
		c.fresh = true
		return
	default:
		m.rt.Fatalf("%s: %s", c.id, m.shareText(answer))
	}
	c.epoch, c.fresh = answer.MemberEpoch, false
	if answer.Assignment != nil {
		c.has = map[sharePartition]struct{}{}
		for _, t := range answer.Assignment.TopicPartitions {
			for _, p := range t.Partitions {
				c.has[sharePartition{t.TopicID, p}] = struct{}{}
			}
		}
	}
}

func (m *shareModel) someone() *modelSharer {
	if len(m.clients) == 0 {
		return nil
	}
	return rapid.SampledFrom(m.clients).Draw(m.rt, "client")
}

func (m *shareModel) someTopics() []string {
	return rapid.SampledFrom([][]string{{"t"}, {"t"}, {"t", "u"}, {"u", "v"}, {"t", "u", "v"}}).Draw(m.rt, "topics")
}

func (m *shareModel) step(rt *rapid.T) {
	m.rt = rt
	if len(m.clients) < 2 || len(m.clients) < 6 && rapid.IntRange(0, 19).Draw(rt, "new") == 0 {
		m.next++
		m.clients = append(m.clients, &modelSharer{id: fmt.Sprint("m", m.next), topics: m.someTopics()})
	}
	c := m.someone()
	m.heartbeat(c, c.epoch)
}

func (m *shareModel) leave(rt *rapid.T) {
	m.rt = rt
	c := m.someone()
	switch {
	case c == nil:
		return
	case rapid.Bool().Draw(rt, "silently"):
	default:
		m.heartbeat(c, -1)
	}
	m.clients = slices.DeleteFunc(m.clients, func(o *modelSharer) bool { return o == c })
}

// topic makes, enlarges or deletes a topic. A topic that is made again has another id.
func (m *shareModel) topic(rt *rapid.T) {
	name := rapid.SampledFrom(m.topics()).Draw(rt, "topic")
	delta := metadata.NewDelta(m.image)
	t, there := m.image.Topic(name)
	if there && rapid.IntRange(0, 2).Draw(rt, "drop") == 0 {
		for k := range m.stored {
			if k.topic == t.ID {
				delete(m.stored, k) // as the share coordinators do by themselves
			}
		}
		if err := delta.Apply(&schema.RemoveTopic{TopicID: t.ID}); err != nil {
			rt.Fatalf("%v", err)
		}
	} else {
		id, have := schema.UUID{}, 0
		if there {
			id, have = t.ID, len(t.Partitions)
		} else {
			m.next++
			copy(id[:], fmt.Sprint(name, m.next))
			if err := delta.Apply(&schema.Topic{Name: name, TopicID: id}); err != nil {
				rt.Fatalf("%v", err)
			}
		}
		for p := have; p < min(have+rapid.IntRange(1, 2).Draw(rt, "more"), 4); p++ {
			if err := delta.Apply(&schema.Partition{PartitionID: int32(p), TopicID: id, Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}); err != nil {
				rt.Fatalf("%v", err)
			}
		}
	}
	m.publish(delta)
}

// carryOut lets the share coordinators do what they were asked first. Nobody hears of it if told is false.
func (m *shareModel) carryOut(rt *rapid.T, told bool) bool {
	i := slices.IndexFunc(m.effects, func(e any) bool { _, ok := e.(AskShare); return ok })
	if i < 0 {
		return false
	}
	ask := m.effects[i].(AskShare)
	m.effects = slices.Delete(m.effects, i, i+1)
	answered := ShareAnswered{Ask: ask}
	for _, req := range ask.Requests {
		answered.Answers = append(answered.Answers, shareAnswer(req, m.persist(rt, req)))
	}
	if told {
		m.do(machine.Command{Body: answered})
	}
	return true
}

func (m *shareModel) persist(rt *rapid.T, req kmsg.Request) int16 {
	if !m.well && rapid.IntRange(0, 9).Draw(rt, "persister fails") == 0 {
		return kerr.CoordinatorNotAvailable.Code
	}
	r := shareResultOf(req, nil)
	key := sharePartition{r.topic, r.partition}
	t, ok := m.image.TopicByID(r.topic)
	if !ok || int(r.partition) >= len(t.Partitions) {
		return kerr.UnknownTopicOrPartition.Code
	}
	switch req := req.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		epoch := req.Topics[0].Partitions[0].StateEpoch
		if old, ok := m.stored[key]; ok && old > epoch {
			return kerr.FencedStateEpoch.Code
		}
		m.stored[key] = epoch
	case *kmsg.DeleteShareGroupStateRequest:
		delete(m.stored, key)
	}
	m.seen[fmt.Sprintf("%T", req)]++
	return 0
}

// administer changes or deletes what the group has.
func (m *shareModel) administer(rt *rapid.T) {
	m.rt = rt
	name := rapid.SampledFrom(m.topics()).Draw(rt, "topic")
	switch rapid.IntRange(0, 3).Draw(rt, "what") {
	case 0, 1:
		r := kmsg.NewPtrAlterShareGroupOffsetsRequest()
		r.GroupID, r.Topics = "g", []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: name,
			Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{Partition: int32(rapid.IntRange(0, 3).Draw(rt, "partition")), StartOffset: 1}}}}
		m.do(machine.Command{Body: r})
	case 2:
		r := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
		r.GroupID, r.Topics = "g", []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: name}}
		m.do(machine.Command{Body: r})
	case 3:
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = []string{"g"}
		m.do(machine.Command{Body: r})
	}
}

// elect drops the machine and loads another one. What was asked may be carried out, but nobody hears of it.
func (m *shareModel) elect(rt *rapid.T) {
	for len(m.effects) > 0 {
		if rapid.Bool().Draw(rt, "carried out") {
			m.carryOut(rt, false)
		} else {
			m.effects = m.effects[1:]
		}
	}
	old := m.fail
	m.fail = kerr.NotLeaderForPartition
	for token := range m.open { // the old coordinator refuses all who wait
		m.refuse(token)
	}
	m.fail = old
	m.m = m.reload()
	m.seen["election"]++
}

func (m *shareModel) check() {
	waiting := map[machine.Token]bool{}
	for _, e := range m.effects {
		if ask, ok := e.(AskShare); ok {
			switch p := ask.purpose.(type) {
			case altering:
				waiting[p.token] = true
			case deletingOffsets:
				waiting[p.token] = true
			case deletingGroups:
				waiting[p.token] = true
			}
		}
	}
	for token := range m.open {
		if !waiting[token] {
			m.rt.Fatalf("caller %d waits, and nothing will come", token)
		}
	}
	clear(m.answers)
	m.out.Reset()
	m.checkReload()
	g := m.live()
	if g == nil {
		m.epoch, m.group = 0, nil
		clear(m.members)
		return
	}
	if g != m.group && (m.group == nil || g.epoch < m.epoch) && len(m.members) == 0 {
		m.epoch = 0
	}
	m.group = g
	if g.epoch < m.epoch || g.targetEpoch > g.epoch {
		m.rt.Fatalf("epoch %d after %d, target %d", g.epoch, m.epoch, g.targetEpoch)
	}
	m.epoch = g.epoch
	byName := map[string]int{}
	for id, member := range g.members {
		if member.epoch < m.members[id] || member.epoch > g.targetEpoch {
			m.rt.Fatalf("%s: epoch %d after %d, target %d", id, member.epoch, m.members[id], g.targetEpoch)
		}
		m.members[id] = member.epoch
		for _, topic := range member.topics {
			byName[topic]++
		}
	}
	for id := range m.members {
		if g.members[id] == nil {
			delete(m.members, id)
		}
	}
	for id := range g.targets {
		if g.members[id] == nil {
			m.rt.Fatalf("%s has a target and is no member", id)
		}
	}
	if !maps.Equal(byName, g.byName) {
		m.rt.Fatalf("subscriptions: %v, counted %v", byName, g.byName)
	}
	if g.state != nil {
		for _, topics := range []shareTopics{g.state.initializing, g.state.initialized} {
			for id, t := range topics {
				if len(t.partitions) == 0 || !slices.IsSorted(t.partitions) {
					m.rt.Fatalf("%s: %v", topicName(id), t.partitions)
				}
			}
		}
	}
}

// checkReload: what a new coordinator reads from the log is what this one knows.
func (m *shareModel) checkReload() {
	effects := m.effects
	fresh := m.reload()
	m.effects = effects
	live, _ := m.m.groups["g"].(*shareGroup)
	loaded, _ := fresh.groups["g"].(*shareGroup)
	if live != nil && loaded != nil {
		a, b := *live, *loaded
		a.checked, a.checkedAt, b.checked, b.checkedAt = false, 0, false, 0
		a.assigned, b.assigned = assignedFor{}, assignedFor{}
		if reflect.DeepEqual(a, b) {
			return
		}
	}
	if diff := gocmp.Diff(live, loaded, gocmp.AllowUnexported(shareGroup{}, shareMember{}, topicPartitions{}, shareState{}, shareTopic{}),
		cmpopts.IgnoreFields(shareGroup{}, "checked", "checkedAt", "assigned"), cmpopts.EquateEmpty()); diff != "" {
		m.rt.Fatalf("-live +loaded:\n%s", diff)
	}
}

// settle lets all go well: then all that members subscribe to is initialized and shared evenly, and all know of it.
func (m *shareModel) settle(rt *rapid.T) {
	m.rt, m.well, m.fail = rt, true, nil
	for range 80 {
		for m.carryOut(rt, true) {
		}
		for _, c := range m.clients {
			m.heartbeat(c, c.epoch)
			m.check()
		}
		m.advance(5 * time.Second)
		m.check()
	}
	if len(m.open) > 0 || len(m.effects) > 0 {
		rt.Fatalf("%d callers wait, %d effects", len(m.open), len(m.effects))
	}
	g := m.live()
	if len(m.clients) == 0 {
		return
	}
	if len(g.members) != len(m.clients) {
		rt.Fatalf("%d members, %d clients", len(g.members), len(m.clients))
	}
	sharers := map[sharePartition]int{}
	for _, c := range m.clients {
		member := g.members[c.id]
		got := map[sharePartition]struct{}{}
		for _, tp := range member.assigned {
			for _, p := range tp.partitions {
				got[sharePartition{tp.topic, p}] = struct{}{}
				sharers[sharePartition{tp.topic, p}]++
			}
			if t, ok := m.image.TopicByID(tp.topic); !ok || !slices.Contains(c.topics, t.Name) {
				rt.Fatalf("%s has %s", c.id, topicName(tp.topic))
			}
		}
		if !maps.Equal(got, c.has) || c.epoch != member.epoch || member.epoch != g.epoch {
			rt.Fatalf("%s at epoch %d has %v, its coordinator says %v at epoch %d of %d", c.id, c.epoch, c.has, got, member.epoch, g.epoch)
		}
	}
	for _, name := range m.topics() {
		t, ok := m.image.Topic(name)
		if !ok || g.byName[name] == 0 {
			continue
		}
		for p := range int32(len(t.Partitions)) {
			key := sharePartition{t.ID, p}
			if _, ok := m.stored[key]; !ok {
				rt.Fatalf("%s-%d has no state", name, p)
			}
			if sharers[key] == 0 {
				rt.Fatalf("nobody has %s-%d", name, p)
			}
		}
	}
}

func runShareModel(rt *rapid.T, seen map[string]int) {
	m := &shareModel{rt: rt, stored: map[sharePartition]int32{}, members: map[string]int32{}, seen: seen}
	m.harness = newHarness(rt, Config{Share: ShareConfig{MaxSize: rapid.SampledFrom([]int{4, 0}).Draw(rt, "max"),
		AssignmentInterval: time.Duration(rapid.SampledFrom([]int{-1, 1000}).Draw(rt, "interval")) * time.Millisecond}})
	steps := map[string]func(*rapid.T){
		"":      func(rt *rapid.T) { m.rt = rt; m.advance(0); m.check() },
		"leave": m.leave, "topic": m.topic, "administer": m.administer,
		"wait": func(rt *rapid.T) {
			m.advance(time.Duration(rapid.SampledFrom([]int{1, 100, 1000, 5000, 31000, 50000}).Draw(rt, "ms")) * time.Millisecond)
		},
		"subscribe": func(rt *rapid.T) {
			m.rt = rt
			if c := m.someone(); c != nil {
				c.topics, c.fresh = m.someTopics(), true
			}
		},
		"everybody leaves": func(rt *rapid.T) {
			if m.rt = rt; rapid.IntRange(0, 4).Draw(rt, "now") == 0 {
				for _, c := range m.clients {
					m.heartbeat(c, -1)
				}
				m.clients = nil
			}
		},
		"append": func(rt *rapid.T) {
			if m.fail = nil; rapid.IntRange(0, 4).Draw(rt, "fail") == 0 {
				m.fail = kerr.NotEnoughReplicas
			}
		},
		"election": func(rt *rapid.T) {
			if rapid.IntRange(0, 9).Draw(rt, "now") == 0 {
				m.elect(rt)
			}
		},
	}
	for i := range 6 {
		steps[fmt.Sprint("step", i)] = m.step
	}
	for i := range 3 {
		steps[fmt.Sprint("carry out", i)] = func(rt *rapid.T) { m.carryOut(rt, true) }
	}
	rt.Repeat(steps)
	if len(m.clients) > 4 {
		m.clients = m.clients[:4] // all of them fit
	}
	m.settle(rt)
}

// TestShareModel drives one share group: always the same histories.
func TestShareModel(t *testing.T) {
	seen := map[string]int{}
	checkShareModel(t, map[string]string{"rapid.checks": "100", "rapid.steps": "100", "rapid.seed": "1"}, seen)
	for _, what := range []string{"heartbeat ok", "heartbeat FENCED_MEMBER_EPOCH", "heartbeat UNKNOWN_MEMBER_ID", "heartbeat GROUP_ID_NOT_FOUND",
		"*kmsg.InitializeShareGroupStateRequest", "*kmsg.DeleteShareGroupStateRequest", "election"} {
		if seen[what] == 0 {
			t.Errorf("the model never came to %s: %v", what, seen)
		}
	}
}

// TestSimShareModel drives as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimShareModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkShareModel(t, map[string]string{"rapid.checks": n, "rapid.steps": "100"}, map[string]int{})
}

func checkShareModel(t *testing.T, flags map[string]string, seen map[string]int) {
	for name, value := range flags {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatalf("-%s: %v", name, err)
		}
		defer f.Value.Set(before)
	}
	rapid.Check(t, func(rt *rapid.T) { runShareModel(rt, seen) })
}
