package share

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/schema"
)

// model drives a machine with random requests of leaders, group coordinators and administrators, late ones among them, and
// keeps beside it what each share partition must be, offset by offset.
type model struct {
	*harness
	rt   *rapid.T
	want map[Key]*expected
	seen map[string]int
	lost bool // the log has lost its beginning: the epochs of before may be forgotten
}

// expected is what a share partition must be.
type expected struct {
	state, leader         int32
	seenState, seenLeader int32
	start                 int64
	done                  int32
	offsets               map[int64]batch
}

func (m *model) key() Key {
	return Key{
		Group: rapid.SampledFrom([]string{"g", "g", "h:1"}).Draw(m.rt, "group"), Topic: topicID(rapid.SampledFrom([]string{"t", "t", "u"}).Draw(m.rt, "topic")),
		Partition: int32(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(m.rt, "partition")),
	}
}

// near draws an epoch around one: mostly the same.
func (m *model) near(epoch int32, what string) int32 {
	return max(epoch+rapid.SampledFrom([]int32{0, 0, 0, 0, -1, 1, 2}).Draw(m.rt, what), 0)
}

// submit sends a request and gives its answer with its error code.
func (m *model) submit(req kmsg.Request) (kmsg.Response, int16) {
	answer := m.answers[m.do(req)].(kmsg.Response)
	var code int16
	switch r := answer.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.ReadShareGroupStateResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.WriteShareGroupStateResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.DeleteShareGroupStateResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.ReadShareGroupStateSummaryResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	}
	m.seen[fmt.Sprintf("%T %s", req, codeText(code))]++
	return answer, code
}

// expect fails unless the code is the one that the model foresees. While appends fail, what has to be written is refused.
func (m *model) expect(what string, got, want int16, writes bool) (ok bool) {
	if m.fail != nil && writes && want == 0 && got == kerr.CoordinatorNotAvailable.Code {
		return false
	}
	if got != want {
		m.rt.Fatalf("%s: %s, expected %s", what, codeText(got), codeText(want))
	}
	return got == 0
}

func (m *model) there(k Key) bool { return known(m.image, k.Topic, k.Partition) }

func (m *model) initialize() {
	k := m.key()
	e := m.want[k]
	state := int32(rapid.IntRange(0, 3).Draw(m.rt, "first"))
	if e != nil {
		state = m.near(e.seenState, "state")
	}
	start := rapid.SampledFrom([]int64{-1, 0, 10}).Draw(m.rt, "start")
	req := &kmsg.InitializeShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: k.Topic,
		Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: k.Partition, StateEpoch: state, StartOffset: start}}}}}
	var want int16
	switch {
	case e != nil && e.seenState > state:
		want = kerr.FencedStateEpoch.Code
	case !m.there(k):
		want = kerr.UnknownTopicOrPartition.Code
	}
	if _, code := m.submit(req); m.expect("initialize", code, want, true) {
		n := &expected{state: state, seenState: state, start: start, offsets: map[int64]batch{}}
		if start == -1 {
			n.done = -1
		}
		if e != nil {
			n.seenLeader = e.seenLeader
		}
		m.want[k] = n
	}
}

// guarded is what reads and writes of a share partition are refused with.
func (m *model) guarded(k Key, leader, state int32) int16 {
	e := m.want[k]
	switch {
	case e == nil:
		return kerr.InvalidRequest.Code
	case leader != -1 && e.seenLeader > leader:
		return kerr.FencedLeaderEpoch.Code
	case state != -1 && e.seenState > state:
		return kerr.FencedStateEpoch.Code
	case !m.there(k):
		return kerr.UnknownTopicOrPartition.Code
	}
	return 0
}

func (m *model) read() {
	k := m.key()
	leader := int32(0)
	e := m.want[k]
	if e != nil {
		leader = m.near(e.seenLeader, "leader")
	}
	req := &kmsg.ReadShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: k.Topic,
		Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: k.Partition, LeaderEpoch: leader}}}}}
	answer, code := m.submit(req)
	if !m.expect("read", code, m.guarded(k, leader, -1), e != nil && leader != e.seenLeader) {
		return
	}
	p := answer.(*kmsg.ReadShareGroupStateResponse).Topics[0].Partitions[0]
	got := map[int64]batch{}
	for _, b := range p.StateBatches {
		for o := b.FirstOffset; o <= b.LastOffset; o++ {
			if _, twice := got[o]; twice {
				m.rt.Fatalf("%v: offset %d is in two batches", k, o)
			}
			got[o] = batch{DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount}
		}
	}
	if diff := cmp.Diff(e.offsets, got); diff != "" || p.StartOffset != e.start || p.StateEpoch != e.state {
		m.rt.Fatalf("%v: start %d, expected %d; state epoch %d, expected %d\n%s", k, p.StartOffset, e.start, p.StateEpoch, e.state, diff)
	}
	if leader != e.seenLeader {
		e.leader, e.seenLeader = leader, leader
	}
}

func (m *model) write() {
	k := m.key()
	e := m.want[k]
	leader, state := int32(0), int32(0)
	if e != nil {
		leader, state = m.near(e.seenLeader, "leader"), m.near(e.seenState, "state")
	}
	p := kmsg.WriteShareGroupStateRequestTopicPartition{Partition: k.Partition, StateEpoch: state, LeaderEpoch: leader,
		StartOffset: rapid.SampledFrom([]int64{-1, -1, 0, 3, 6, 9}).Draw(m.rt, "start"), DeliveryCompleteCount: int32(rapid.IntRange(0, 9).Draw(m.rt, "done"))}
	for range rapid.IntRange(0, 3).Draw(m.rt, "batches") {
		first := int64(rapid.IntRange(0, 12).Draw(m.rt, "offset"))
		p.StateBatches = append(p.StateBatches, kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{
			FirstOffset: first, LastOffset: first + int64(rapid.IntRange(0, 5).Draw(m.rt, "length")),
			DeliveryState: rapid.SampledFrom([]int8{0, 2, 4}).Draw(m.rt, "to"), DeliveryCount: int16(rapid.IntRange(1, 3).Draw(m.rt, "count")),
		})
	}
	req := &kmsg.WriteShareGroupStateRequest{Version: 1, GroupID: k.Group, Topics: []kmsg.WriteShareGroupStateRequestTopic{{TopicID: k.Topic,
		Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{p}}}}
	if _, code := m.submit(req); !m.expect("write", code, m.guarded(k, leader, state), true) {
		return
	}
	if e.done = p.DeliveryCompleteCount; p.StartOffset != -1 {
		e.start = p.StartOffset
	}
	for _, b := range p.StateBatches {
		for o := b.FirstOffset; o <= b.LastOffset; o++ {
			x := batch{DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount}
			if old, ok := e.offsets[o]; !ok || strength(x, old) > 0 {
				e.offsets[o] = x
			}
		}
	}
	// What is below the start is of no use to anybody. A start that goes back does not bring it back.
	maps.DeleteFunc(e.offsets, func(o int64, _ batch) bool { return e.start != -1 && o < e.start })
}

func (m *model) delete() {
	k := m.key()
	req := &kmsg.DeleteShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: k.Topic,
		Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: k.Partition}}}}}
	var want int16
	if !m.there(k) {
		want = kerr.UnknownTopicOrPartition.Code
	}
	if _, code := m.submit(req); m.expect("delete", code, want, m.want[k] != nil) {
		delete(m.want, k)
	}
}

func (m *model) summary() {
	k := m.key()
	req := &kmsg.ReadShareGroupStateSummaryRequest{Version: 1, GroupID: k.Group, Topics: []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: k.Topic,
		Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: k.Partition}}}}}
	var want int16
	if !m.there(k) {
		want = kerr.UnknownTopicOrPartition.Code
	}
	answer, code := m.submit(req)
	if !m.expect("summary", code, want, false) {
		return
	}
	p := answer.(*kmsg.ReadShareGroupStateSummaryResponse).Topics[0].Partitions[0]
	e := m.want[k]
	if e == nil {
		e = &expected{start: -1, done: -1}
	}
	if p.StartOffset != e.start || p.StateEpoch != e.state || p.LeaderEpoch != e.leader || p.DeliveryCompleteCount != e.done {
		m.rt.Fatalf("summary of %v: %+v, expected %+v", k, p, e)
	}
}

// dropTopic deletes a topic, or makes it again: under a new id in truth, under the same here, when all of it is forgotten.
func (m *model) dropTopic() {
	name := rapid.SampledFrom([]string{"t", "u"}).Draw(m.rt, "topic")
	id := topicID(name)
	if _, there := m.image.TopicByID(id); there {
		m.change(&schema.RemoveTopic{TopicID: id})
	} else if len(m.m.gone.topics) == 0 {
		m.topic(name, 3)
	}
	m.settle()
}

// settle takes over what the machine has done by itself: share partitions of deleted topics go when an append succeeds.
func (m *model) settle() {
	for k := range m.want {
		if !m.there(k) && m.m.states[k] == nil {
			delete(m.want, k)
		}
	}
}

// check compares the machine with what is expected, and with what the log says.
func (m *model) check() {
	if len(m.open) > 0 {
		m.rt.Fatalf("%d callers have no answer", len(m.open))
	}
	clear(m.answers)
	m.out.Reset()
	m.settle()
	if want, got := sortedKeys(m.want), m.m.sorted(); !slices.Equal(want, got) {
		m.rt.Fatalf("share partitions: %v, expected %v", got, want)
	}
	for k, e := range m.m.states {
		if e.snapshot < 0 || e.updates > m.m.config.UpdatesPerSnapshot {
			m.rt.Fatalf("%v: %d updates after the snapshot at %d", k, e.updates, e.snapshot)
		}
	}
	fresh := m.reload()
	summary := func(of *Machine) map[Key]entry {
		s := map[Key]entry{}
		for k, e := range of.states {
			x := *e
			if m.lost {
				x.seenLeader, x.seenState = 0, 0
			}
			s[k] = x
		}
		return s
	}
	live, loaded := summary(m.m), summary(fresh)
	if reflect.DeepEqual(live, loaded) { // cmp takes long
		return
	}
	if diff := cmp.Diff(live, loaded, cmp.AllowUnexported(entry{}, state{}), cmpopts.EquateEmpty()); diff != "" {
		m.rt.Fatalf("the log says something else:\n%s", diff)
	}
}

func sortedKeys(m map[Key]*expected) []Key { return slices.SortedFunc(maps.Keys(m), Key.compare) }

// elect drops the machine and loads another one.
func (m *model) elect() {
	m.m = m.reload()
	m.effects = nil
	for k, e := range m.want {
		if m.lost { // older epochs may be fenced no more, as in Kafka
			e.seenLeader, e.seenState = m.m.states[k].seenLeader, m.m.states[k].seenState
		}
	}
}

func runModel(rt *rapid.T, seen map[string]int) {
	m := &model{harness: newHarness(rt, Config{UpdatesPerSnapshot: rapid.SampledFrom([]int{-1, 1, 3, 500}).Draw(rt, "updates"),
		ResultRecordsMax: rapid.SampledFrom([]int{1, 2, 0}).Draw(rt, "records")}), rt: rt, want: map[Key]*expected{}, seen: seen}
	actions := map[string]func(*rapid.T){
		"read": func(rt *rapid.T) { m.rt = rt; m.read() },
		"drop": func(rt *rapid.T) {
			m.rt = rt
			if rapid.IntRange(0, 9).Draw(rt, "really") == 0 {
				m.dropTopic()
			}
		},
		"delete": func(rt *rapid.T) {
			if m.rt = rt; rapid.IntRange(0, 4).Draw(rt, "really") == 0 {
				m.delete()
			}
		},
		"summary": func(rt *rapid.T) { m.rt = rt; m.summary() },
		"wait": func(rt *rapid.T) {
			m.advance(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 5 * time.Minute, time.Hour}).Draw(rt, "time"))
		},
		"prune": func(rt *rapid.T) {
			if len(m.effects) == 0 {
				return
			}
			i := rapid.IntRange(0, len(m.effects)-1).Draw(rt, "which")
			m.prune(m.effects[i])
			m.lost = m.lost || m.start > 0
			if rapid.Bool().Draw(rt, "told") {
				m.do(Pruned{m.effects[i].Offset})
			}
			m.effects = slices.Delete(m.effects, i, i+1)
			seen["pruned"]++
		},
		"append": func(rt *rapid.T) {
			if m.fail = nil; rapid.IntRange(0, 4).Draw(rt, "fail") == 0 {
				m.fail = kerr.NotEnoughReplicas
			}
		},
		"election": func(rt *rapid.T) {
			if rapid.IntRange(0, 4).Draw(rt, "now") == 0 {
				m.elect()
			}
		},
		"": func(rt *rapid.T) { m.rt = rt; m.check() },
	}
	for i := range 3 { // as often as the rest together
		actions[fmt.Sprint("initialize", i)] = func(rt *rapid.T) { m.rt = rt; m.initialize() }
		actions[fmt.Sprint("write", i)] = func(rt *rapid.T) { m.rt = rt; m.write() }
	}
	rt.Repeat(actions)

	// All heals: what was deleted is gone, and what is not needed can be deleted.
	m.fail, m.rt = nil, rt
	m.advance(11 * time.Minute)
	m.check()
	for k := range m.want {
		if !m.there(k) {
			rt.Fatalf("%v is of a topic that is gone", k)
		}
	}
}

// TestModel runs always the same histories.
func TestModel(t *testing.T) {
	seen := map[string]int{}
	checkModel(t, map[string]string{"rapid.checks": "300", "rapid.steps": "100", "rapid.seed": "1"}, seen)
	for _, what := range []string{"pruned", "*kmsg.WriteShareGroupStateRequest ok", "*kmsg.WriteShareGroupStateRequest FENCED_STATE_EPOCH",
		"*kmsg.WriteShareGroupStateRequest FENCED_LEADER_EPOCH", "*kmsg.ReadShareGroupStateRequest ok", "*kmsg.ReadShareGroupStateRequest FENCED_LEADER_EPOCH",
		"*kmsg.InitializeShareGroupStateRequest ok", "*kmsg.InitializeShareGroupStateRequest FENCED_STATE_EPOCH", "*kmsg.DeleteShareGroupStateRequest ok"} {
		if seen[what] == 0 {
			t.Errorf("the model never came to %s: %v", what, seen)
		}
	}
}

// TestSimModel runs as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkModel(t, map[string]string{"rapid.checks": n, "rapid.steps": "100"}, map[string]int{})
}

func checkModel(t *testing.T, flags map[string]string, seen map[string]int) {
	for name, value := range flags {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatalf("-%s: %v", name, err)
		}
		defer f.Value.Set(before)
	}
	rapid.Check(t, func(rt *rapid.T) { runModel(rt, seen) })
}
