package group

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/machine"
)

// model drives a machine with random clients and checks after each step what must always hold.
type model struct {
	*harness
	rt          *rapid.T
	generations map[*classic]int32
	// leaders holds who was told to lead a generation.
	leaders map[string]string
	failed  bool // an append failed at some time
}

var (
	groupIDs  = []string{"a", "b"}
	instances = []string{"i1", "i2"}
	protocols = []string{"range", "roundrobin"}
)

func (m *model) request(rt *rapid.T) kmsg.Request {
	id := rapid.SampledFrom(groupIDs).Draw(rt, "group")
	member := m.someMember(rt, id)
	generation := int32(-1)
	if g, ok := m.m.groups[id].(*classic); ok {
		generation = g.generation + int32(rapid.SampledFrom([]int{0, 0, 0, 0, -1, 1}).Draw(rt, "off"))
	}
	var instance *string
	if rapid.IntRange(0, 3).Draw(rt, "static") == 0 {
		s := rapid.SampledFrom(instances).Draw(rt, "instance")
		instance = &s
	}
	switch rapid.SampledFrom([]string{"join", "join", "join", "sync", "sync", "sync", "heartbeat", "leave", "commit", "fetch", "txn", "delete"}).Draw(rt, "verb") {
	case "join":
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version = rapid.SampledFrom([]int16{0, 3, 5, 9}).Draw(rt, "version")
		r.Group, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = id, "consumer", 10000, int32(rapid.IntRange(1, 30).Draw(rt, "rebalance"))*1000
		if r.MemberID = member; r.Version >= 5 {
			r.InstanceID = instance
		}
		for _, p := range rapid.Permutation(protocols).Draw(rt, "protocols")[:rapid.IntRange(1, 2).Draw(rt, "n")] {
			meta := kmsg.ConsumerMemberMetadata{Version: 1, Topics: []string{"t"}}
			r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: p, Metadata: meta.AppendTo(nil)})
		}
		return r
	case "sync":
		r := kmsg.NewPtrSyncGroupRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 4, id, member, generation
		if g, ok := m.m.groups[id].(*classic); ok {
			for _, o := range g.members {
				r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: o.id, MemberAssignment: fmt.Appendf(nil, "%s@%d", o.id, generation)})
			}
		}
		return r
	case "heartbeat":
		r := kmsg.NewPtrHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 4, id, member, generation
		return r
	case "leave":
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Version, r.Group = 5, id
		r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member, InstanceID: instance}, {InstanceID: instance}}
		return r
	case "commit":
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 9, id, member, generation
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: rapid.SampledFrom([]string{"t", "u"}).Draw(rt, "topic"),
			Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: int64(m.token)}}}}
		return r
	case "txn":
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation, r.ProducerID = 3, id, member, generation, int64(rapid.IntRange(1, 2).Draw(rt, "producer"))
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: int64(m.token)}}}}
		return r
	case "delete":
		return &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{id}}
	}
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.Group = 7, id
	return r
}

// someMember is a member, a pending one, one of another group, or none.
func (m *model) someMember(rt *rapid.T, group string) string {
	ids := []string{""}
	if g, ok := m.m.groups[group].(*classic); ok {
		for _, o := range g.members {
			ids = append(ids, o.id, o.id)
		}
		ids = append(ids, slices.Sorted(maps.Keys(g.pending))...)
	}
	if len(m.names) > 0 {
		ids = append(ids, m.names[len(m.names)/2])
	}
	return rapid.SampledFrom(ids).Draw(rt, "member")
}

func (m *model) check() {
	waiting := map[machine.Token]bool{}
	for id, g := range m.m.groups {
		g := g.(*classic)
		m.checkGroup(id, g)
		for _, o := range g.members {
			for _, w := range []waiter{o.join, o.sync} {
				if w.waits {
					waiting[w.token] = true
				}
			}
		}
	}
	for token := range m.open {
		if !waiting[token] {
			m.rt.Fatalf("token %d was forgotten", token)
		}
		delete(waiting, token)
	}
	if len(waiting) > 0 && !m.failed {
		m.rt.Fatalf("tokens %v wait in the machine, but were answered", waiting)
	}
	for token, answer := range m.answers {
		m.checkAnswer(token, answer)
	}
	clear(m.answers)
	m.checkDurable()
}

// checkAnswer looks for two leaders of one generation.
func (m *model) checkAnswer(token machine.Token, answer any) {
	r, ok := answer.(*kmsg.JoinGroupResponse)
	if !ok || r.ErrorCode != 0 || r.LeaderID != r.MemberID {
		return
	}
	if len(r.Members) == 0 {
		m.rt.Fatalf("token %d: %s leads generation %d and hears of no members", token, r.MemberID, r.Generation)
	}
	if r.SkipAssignment {
		return // the same static member under a new id
	}
	g := m.m.groups[m.groupOf(r.MemberID)]
	if g == nil {
		return
	}
	key := fmt.Sprintf("%p/%d", g, r.Generation)
	if other, ok := m.leaders[key]; ok && other != r.LeaderID {
		m.rt.Fatalf("generation %s has two leaders, %s and %s", key, other, r.LeaderID)
	}
	m.leaders[key] = r.LeaderID
}

func (m *model) groupOf(member string) string {
	for id, g := range m.m.groups {
		if g.(*classic).byID[member] != nil {
			return id
		}
	}
	return ""
}

func (m *model) checkGroup(id string, g *classic) {
	if last, ok := m.generations[g]; ok && g.generation < last {
		m.rt.Fatalf("group %s went back from generation %d to %d", id, last, g.generation)
	}
	m.generations[g] = g.generation
	joining, static := 0, 0
	support := map[string]int{}
	for _, o := range g.members {
		if o.join.waits {
			joining++
		}
		if o.instanceID != nil {
			if static++; g.static[*o.instanceID] != o.id {
				m.rt.Fatalf("group %s: instance %s is %s, not %s", id, *o.instanceID, g.static[*o.instanceID], o.id)
			}
		}
		for _, p := range o.protocols {
			support[p.Name]++
		}
		if g.byID[o.id] != o {
			m.rt.Fatalf("group %s: member %s is not found by its id", id, o.id)
		}
		if m.m.started && o.session.due == 0 && !o.alive() {
			m.rt.Fatalf("group %s: nobody watches the session of %s", id, o.id)
		}
		if o.sync.waits && g.state != completingRebalance {
			m.rt.Fatalf("group %s is %s and %s waits for a sync", id, g.state, o.id)
		}
	}
	if joining != g.joining || static != len(g.static) || len(g.members) != len(g.byID) || !maps.Equal(support, g.support) {
		m.rt.Fatalf("group %s: counts are wrong: %+v", id, g)
	}
	if (g.state == empty) != (len(g.members) == 0) && g.state != preparingRebalance {
		m.rt.Fatalf("group %s is %s with %d members", id, g.state, len(g.members))
	}
	if g.byID[g.leader] == nil && (g.state == stable || g.state == completingRebalance) {
		m.rt.Fatalf("group %s is %s without a leader", id, g.state)
	}
	if g.state == preparingRebalance && g.joinTimer.due == 0 {
		m.rt.Fatalf("group %s: the join phase never ends", id)
	}
	for _, o := range g.members {
		if o.owesSync && g.syncTimer.due == 0 {
			m.rt.Fatalf("group %s: %s owes a sync for ever", id, o.id)
		}
	}
}

// checkDurable loads the log into a fresh machine and compares.
func (m *model) checkDurable() {
	fresh := m.reload()
	opts := cmp.Options{cmp.AllowUnexported(offsets{}, offset{}, partitionKey{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(m.m.offsets, fresh.offsets, opts); diff != "" {
		m.rt.Fatalf("offsets from the log differ:\n%s", diff)
	}
	if m.failed {
		return
	}
	for id, g := range m.m.groups {
		live := g.(*classic)
		loaded, ok := fresh.groups[id].(*classic)
		if !ok {
			m.rt.Fatalf("group %s is not in the log", id)
		}
		if live.state != stable && live.state != empty {
			continue
		}
		if diff := cmp.Diff(summary(live), summary(loaded)); diff != "" {
			m.rt.Fatalf("group %s from the log differs:\n%s", id, diff)
		}
	}
}

func summary(g *classic) map[string]any {
	s := map[string]any{"state": g.state, "generation": g.generation, "protocol": g.protocolName(), "leader": g.leader, "topics": len(g.topics)}
	for _, o := range g.members {
		s[o.id] = fmt.Sprintf("%s %d %d %q %q", text(o.instanceID), o.sessionTimeout, o.rebalanceTimeout, o.assignment, o.metadata(g.protocolName()))
	}
	return s
}

// TestModel drives classic groups with random clients: always the same histories.
func TestModel(t *testing.T) {
	checkModel(t, map[string]string{"rapid.checks": "200", "rapid.seed": "1"})
}

// TestSimModel drives as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkModel(t, map[string]string{"rapid.checks": n})
}

func checkModel(t *testing.T, flags map[string]string) {
	setFlags(t, flags)
	longRuns(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{harness: newHarness(rt, Config{InitialRebalanceDelay: 3 * time.Second, MaxSize: 4}), rt: rt,
			generations: map[*classic]int32{}, leaders: map[string]string{}}
		rt.Repeat(map[string]func(*rapid.T){
			"request": func(rt *rapid.T) { m.do(machine.Command{Body: m.request(rt), Client: machine.Client{ID: "c"}}) },
			"wait":    func(rt *rapid.T) { m.advance(time.Duration(rapid.IntRange(1, 9000).Draw(rt, "ms")) * time.Millisecond) },
			"marker": func(rt *rapid.T) {
				p := machine.Producer{ID: int64(rapid.IntRange(1, 2).Draw(rt, "producer")), Transactional: true}
				m.do(machine.Command{Body: machine.Marker{Producer: p, Commit: rapid.Bool().Draw(rt, "commit")}})
			},
			"topic": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "now") == 0 {
					m.do(machine.Command{Body: TopicsChanged{Deleted: []Topic{{Name: "t"}}}})
					m.advance(time.Millisecond)
				}
			},
			"append": func(rt *rapid.T) {
				if m.fail = nil; rapid.IntRange(0, 9).Draw(rt, "fail") == 0 {
					m.fail, m.failed = kerr.NotEnoughReplicas, true
				}
			},
			"election": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "now") > 0 {
					return
				}
				m.m = m.reload()
				before := m.fail
				m.fail = kerr.NotLeaderForPartition
				for token := range m.open { // the old coordinator refuses all who wait
					m.refuse(token)
				}
				m.fail = before
			},
			"": func(*rapid.T) { m.check() },
		})
		// Nobody says anything any more: all sessions end, all are answered, nothing is left.
		m.fail = nil
		m.advance(10 * time.Minute)
		m.check()
		if len(m.open) > 0 {
			rt.Fatalf("%d callers wait for ever", len(m.open))
		}
		for id, g := range m.m.groups {
			if g.(*classic).state != empty {
				rt.Fatalf("group %s is %s in the end", id, g.(*classic).state)
			}
		}
	})
}

// longRuns makes a run of the model long enough for a few rebalances, unless the command line says otherwise.
func longRuns(t *testing.T) {
	steps := flag.Lookup("rapid.steps")
	if old := steps.Value.String(); old == steps.DefValue {
		if err := steps.Value.Set("120"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = steps.Value.Set(old) })
	}
}
