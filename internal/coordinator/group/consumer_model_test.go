package group

import (
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
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

type ref struct {
	topic     schema.UUID
	partition int32
}

// modelClient behaves as consumers do: it believes what it is told, gives up before it says so, and drops everything
// when it is fenced. Answers get lost on the way to it.
type modelClient struct {
	id       string
	instance *string
	topics   []string
	regex    string
	assignor *string

	epoch   int32 // or generation
	holds   map[ref]struct{}
	full    bool // the next heartbeat says everything
	changed bool // holds changed since the last heartbeat
	gone    bool // a static member that left for a while

	classic bool
	token   machine.Token // a request that is not answered yet
	synced  bool
	members []string // that it leads
}

type consumerModel struct {
	*harness
	rt      *rapid.T
	clients []*modelClient
	next    int
	epochs  map[string]int32 // highest epoch of the group
	members map[string]int32 // highest epoch of each member

	seen     *consumer // whose epochs these are: a group that is removed and made again begins anew
	reliable bool      // answers arrive
}

func (m *consumerModel) newClient(rt *rapid.T) *modelClient {
	m.next++
	c := &modelClient{id: fmt.Sprintf("c%d", m.next), holds: map[ref]struct{}{}, full: true}
	if rapid.IntRange(0, 3).Draw(rt, "classic") == 0 {
		c.id, c.classic = "", true
	} else if rapid.IntRange(0, 3).Draw(rt, "static") == 0 {
		instance := fmt.Sprintf("i%d", m.next)
		c.instance = &instance
	}
	m.subscribe(rt, c)
	m.clients = append(m.clients, c)
	return c
}

func (m *consumerModel) subscribe(rt *rapid.T, c *modelClient) {
	c.regex, c.full = "", true
	c.topics = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"t", "u", "v"}), 1, 3, rapid.ID).Draw(rt, "topics")
	if !c.classic && rapid.IntRange(0, 4).Draw(rt, "regex") == 0 {
		c.topics, c.regex = []string{}, rapid.SampledFrom([]string{"t", "[uv]", ".*", "none"}).Draw(rt, "expression")
	}
	if c.assignor = nil; rapid.IntRange(0, 4).Draw(rt, "range") == 0 {
		name := rangeName
		c.assignor = &name
	}
}

func (c *modelClient) reported() []kmsg.ConsumerGroupHeartbeatRequestTopic {
	out := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for r := range c.holds {
		out = append(out, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: r.topic, Partitions: []int32{r.partition}})
	}
	return out
}

// heartbeat sends one and takes the answer in, if it is not lost.
func (m *consumerModel) heartbeat(rt *rapid.T, c *modelClient, epoch int32) {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch, r.InstanceID, r.RebalanceTimeoutMillis = 1, "g", c.id, epoch, c.instance, -1
	if c.full || epoch == 0 {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.ServerAssignor = 20000, c.topics, c.assignor
		r.SubscribedTopicRegex = &c.regex
	}
	if c.full || c.changed || epoch == 0 {
		r.Topics = c.reported()
	}
	token := m.do(machine.Command{Body: r, Client: machine.Client{ID: "c", Host: "/h"}})
	answer := m.answers[token].(*kmsg.ConsumerGroupHeartbeatResponse)
	if epoch < 0 {
		return
	}
	if !m.reliable && rapid.IntRange(0, 9).Draw(rt, "lost") == 0 {
		c.full = true
		return
	}
	switch kerr.ErrorForCode(answer.ErrorCode) {
	case nil:
	case kerr.UnknownMemberID, kerr.FencedMemberEpoch, kerr.GroupIDNotFound:
		c.epoch = 0
		clear(c.holds)
		return
	default:
		c.full = true
		return
	}
	c.epoch, c.full, c.changed = answer.MemberEpoch, false, false
	if answer.Assignment == nil {
		return
	}
	assigned := map[ref]struct{}{}
	for _, t := range answer.Assignment.Topics {
		for _, p := range t.Partitions {
			assigned[ref{t.TopicID, p}] = struct{}{}
		}
	}
	c.changed = !maps.Equal(assigned, c.holds)
	c.holds = assigned
}

// classicStep is the next thing that a member of the classic protocol does; it gives everything up before it joins.
func (m *consumerModel) classicStep(rt *rapid.T, c *modelClient) {
	if c.token == 0 {
		m.classicSend(c)
	}
	answer, ok := m.answers[c.token]
	if !ok {
		return
	}
	c.token = 0
	again := func() {
		c.epoch, c.synced, c.members = 0, false, nil
		clear(c.holds)
	}
	switch r := answer.(type) {
	case *kmsg.JoinGroupResponse:
		switch kerr.ErrorForCode(r.ErrorCode) {
		case nil:
			c.id, c.epoch, c.synced = r.MemberID, r.Generation, false
			for _, o := range r.Members {
				c.members = append(c.members, o.MemberID)
			}
		case kerr.MemberIDRequired:
			c.id = r.MemberID
		case kerr.UnknownMemberID:
			c.id = ""
			again()
		default:
			again()
		}
	case *kmsg.SyncGroupResponse:
		if c.synced = r.ErrorCode == 0; !c.synced {
			again()
			return
		}
		a, _, err := parseAssignment(r.MemberAssignment, m.image)
		if err != nil {
			rt.Fatalf("assignment: %v", err)
		}
		for _, tp := range a {
			for _, p := range tp.partitions {
				c.holds[ref{tp.topic, p}] = struct{}{}
			}
		}
	case *kmsg.HeartbeatResponse:
		if r.ErrorCode == kerr.UnknownMemberID.Code {
			c.id = ""
		}
		if r.ErrorCode != 0 && r.ErrorCode != kerr.CoordinatorNotAvailable.Code {
			again()
		}
	}
}

func (m *consumerModel) classicSend(c *modelClient) {
	var req kmsg.Request
	switch {
	case c.epoch == 0:
		r := kmsg.NewPtrJoinGroupRequest()
		meta := kmsg.ConsumerMemberMetadata{Version: 1, Topics: c.topics}
		r.Version, r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 9, "g", c.id, "consumer", 20000, 10000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
		req = r
	case !c.synced:
		r := kmsg.NewPtrSyncGroupRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 4, "g", c.id, c.epoch
		r.GroupAssignment = m.lead(c.members)
		req = r
	default:
		r := kmsg.NewPtrHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.Generation = 4, "g", c.id, c.epoch
		req = r
	}
	c.token = m.do(machine.Command{Body: req, Client: machine.Client{ID: "c", Host: "/h"}})
}

// lead gives the partitions of all topics out in turn. Who is not subscribed to them gets some, too: that is for the
// coordinator to put right.
func (m *consumerModel) lead(members []string) []kmsg.SyncGroupRequestGroupAssignment {
	if len(members) == 0 {
		return nil
	}
	out := make([]kmsg.SyncGroupRequestGroupAssignment, len(members))
	each := make([]kmsg.ConsumerMemberAssignment, len(members))
	n := 0
	for topic := range m.image.Topics() {
		for p := range topic.Partitions {
			a := &each[n%len(members)]
			a.Topics = append(a.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: topic.Name, Partitions: []int32{int32(p)}})
			n++
		}
	}
	for i, id := range members {
		out[i] = kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: each[i].AppendTo(nil)}
	}
	return out
}

func (m *consumerModel) step(rt *rapid.T) {
	if len(m.clients) == 0 || len(m.clients) < 7 && rapid.IntRange(0, 7).Draw(rt, "new") == 0 {
		m.newClient(rt)
	}
	c := rapid.SampledFrom(m.clients).Draw(rt, "client")
	switch {
	case c.classic:
		m.classicStep(rt, c)
	case c.gone:
		c.id, c.epoch, c.gone = c.id+"'", 0, false
		clear(c.holds)
		m.heartbeat(rt, c, 0)
	default:
		m.heartbeat(rt, c, c.epoch)
	}
}

func (m *consumerModel) leave(rt *rapid.T) {
	if len(m.clients) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.clients)-1).Draw(rt, "leaver")
	c := m.clients[i]
	clear(c.holds)
	if c.classic {
		m.do(machine.Command{Body: &kmsg.LeaveGroupRequest{Version: 5, Group: "g", Members: []kmsg.LeaveGroupRequestMember{{MemberID: c.id}}}})
	} else if c.instance != nil && c.epoch > 0 && rapid.Bool().Draw(rt, "for a while") {
		m.heartbeat(rt, c, leaveStaticEpoch)
		c.gone = true
		return
	} else {
		m.heartbeat(rt, c, leaveEpoch)
	}
	m.clients = slices.Delete(m.clients, i, i+1)
}

func (m *consumerModel) topic(rt *rapid.T) {
	delta := metadata.NewDelta(m.image)
	name := rapid.SampledFrom([]string{"t", "u", "v"}).Draw(rt, "topic")
	t, exists := m.image.Topic(name)
	switch {
	case !exists:
		m.setTopic(delta, name, rapid.IntRange(1, 4).Draw(rt, "partitions"))
	case len(t.Partitions) < 6 && rapid.IntRange(0, 3).Draw(rt, "grow") > 0:
		m.setTopic(delta, name, len(t.Partitions)+1)
	default:
		_ = delta.Apply(&schema.RemoveTopic{TopicID: t.ID})
	}
	m.publish(delta)
}

// hostile sends what no client would.
func (m *consumerModel) hostile(rt *rapid.T) {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberEpoch, r.RebalanceTimeoutMillis = 1, "g", int32(rapid.IntRange(1, 9).Draw(rt, "epoch")), -1
	r.MemberID = "nobody"
	if len(m.clients) > 0 {
		c := rapid.SampledFrom(m.clients).Draw(rt, "victim")
		if r.MemberID = c.id; r.MemberEpoch == c.epoch || r.MemberEpoch == 1 || r.MemberID == "" || c.classic {
			r.MemberID = "nobody"
		}
		if member := m.group().members[r.MemberID]; member != nil && (member.epoch == r.MemberEpoch || member.previous == r.MemberEpoch) {
			r.MemberID = "nobody"
		}
	}
	token := m.do(machine.Command{Body: r})
	if m.answers[token].(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode == 0 {
		rt.Fatalf("%s with epoch %d was let in", r.MemberID, r.MemberEpoch)
	}
}

func (m *consumerModel) group() *consumer {
	if g, ok := m.m.groups["g"].(*consumer); ok {
		return g
	}
	return newConsumer("g")
}

// isMember says that the coordinator still counts on the client.
func (m *consumerModel) isMember(c *modelClient) bool {
	switch g := m.m.groups["g"].(type) {
	case *consumer:
		return g.members[c.id] != nil
	case *classic:
		return c.classic && g.byID[c.id] != nil
	}
	return false
}

func (m *consumerModel) check() {
	m.checkMembers()
	m.checkReload()
}

func (m *consumerModel) checkMembers() {
	holders := map[ref]string{}
	for _, c := range m.clients {
		if c.gone || !m.isMember(c) {
			continue
		}
		for r := range c.holds {
			if other, ok := holders[r]; ok {
				m.rt.Fatalf("%s and %s have %s-%d", other, c.id, topicName(r.topic), r.partition)
			}
			holders[r] = c.id
		}
	}
	g, ok := m.m.groups["g"].(*consumer)
	if m.seen != g {
		m.seen = g
		clear(m.members)
		clear(m.epochs)
	}
	if ok {
		m.checkGroup(g)
	}
}

func (m *consumerModel) checkGroup(g *consumer) {
	owners := map[ref]string{}
	settled, classics := 0, 0
	for id, member := range g.members {
		if member.epoch > g.targetEpoch && member.epoch > 0 || g.targetEpoch > g.epoch {
			m.rt.Fatalf("epochs of %s: %d, target %d, group %d", id, member.epoch, g.targetEpoch, g.epoch)
		}
		if last := m.members[id]; member.epoch < last && !member.away() {
			m.rt.Fatalf("%s went back from epoch %d to %d", id, last, member.epoch)
		}
		if m.members[id] = member.epoch; member.away() {
			delete(m.members, id)
		}
		if member.reconciledTo(g.targetEpoch) {
			settled++
		}
		if member.classic != nil {
			classics++
		}
		if m.m.started && m.m.clocks[clockKey{memberSessionEnds, "g", id}] == nil {
			m.rt.Fatalf("nobody watches the session of %s", id)
		}
		for _, tp := range slices.Concat(member.assigned, member.revoking) {
			for _, p := range tp.partitions {
				r := ref{tp.topic, p}
				if other, ok := owners[r]; ok {
					m.rt.Fatalf("%s and %s own %s-%d", other, id, topicName(tp.topic), p)
				}
				if owners[r] = id; g.owner(tp.topic, p) != id {
					m.rt.Fatalf("%s-%d is %s's, and not %s's", topicName(tp.topic), p, id, g.owner(tp.topic, p))
				}
			}
		}
	}
	if g.epoch < m.epochs["g"] {
		m.rt.Fatalf("group went back to epoch %d\n%s", g.epoch, m.out.String())
	}
	m.epochs["g"] = g.epoch
	n := 0
	for _, partitions := range g.owners {
		n += len(partitions)
	}
	if n != len(owners) || settled != g.settled[g.targetEpoch] || classics != g.classics {
		m.rt.Fatalf("counts are wrong: %+v", g)
	}
	m.checkTargets(g)
}

// checkTargets: no partition stands in two targets, and a new target is for what is there and subscribed to.
func (m *consumerModel) checkTargets(g *consumer) {
	targets := map[ref]string{}
	for id, target := range g.targets {
		member := g.members[id]
		if member == nil {
			m.rt.Fatalf("target of %s, which is not there", id)
		}
		for _, tp := range target {
			topic, exists := m.image.TopicByID(tp.topic)
			for _, p := range tp.partitions {
				r := ref{tp.topic, p}
				if other, ok := targets[r]; ok {
					m.rt.Fatalf("%s-%d is meant for %s and for %s", topicName(tp.topic), p, other, id)
				}
				targets[r] = id
				if g.checked && g.epoch >= g.checkedAt && g.epoch == g.targetEpoch && g.targetAt != 0 && (!exists || int(p) >= len(topic.Partitions)) {
					m.rt.Fatalf("%s is to get %s-%d", id, topicName(tp.topic), p)
				}
			}
		}
	}
}

// checkReload: what a new coordinator reads from the log is what this one knows.
func (m *consumerModel) checkReload() {
	fresh := m.reloaded()
	live, ok := m.m.groups["g"].(*consumer)
	loaded, _ := fresh.groups["g"].(*consumer)
	if !ok {
		if loaded != nil && len(loaded.members) > 0 {
			m.rt.Fatalf("the log has a consumer group with members")
		}
		return
	}
	if diff := cmp.Diff(live, loaded, cmp.AllowUnexported(consumer{}, consumerMember{}, topicPartitions{}, resolvedRegex{}),
		cmpopts.IgnoreFields(consumer{}, "checked", "checkedAt"), cmpopts.EquateEmpty()); diff != "" {
		m.rt.Fatalf("-live +loaded:\n%s", diff)
	}
}

// reloaded is reload without an end of the jobs.
func (m *consumerModel) reloaded() *Machine {
	jobs := m.jobs
	defer func() { m.jobs = jobs }()
	return m.reload()
}

// TestConsumerModel drives one group with random clients of both protocols.
// TestSimConsumerModel still finds, about once in a thousand histories, a partition that two members hold where classic
// and new members share a group. Until that is mended the protocol is not advertised (package wire), and `make sim` runs this.
func TestSimConsumerModel(t *testing.T) {
	if os.Getenv("KLAMM_SIM_SEEDS") == "" {
		t.Skip("a known defect of an API that is not served: make sim shows it")
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &consumerModel{rt: rt, epochs: map[string]int32{}, members: map[string]int32{}}
		m.harness = newHarness(rt, Config{AssignmentInterval: time.Duration(rapid.SampledFrom([]int{-1, 1000}).Draw(rt, "interval")) * time.Millisecond})
		m.topic(rt)
		steps := map[string]func(*rapid.T){
			"":      func(*rapid.T) { m.advance(0); m.check() },
			"leave": m.leave, "topic": m.topic, "hostile": m.hostile,
			"wait": func(rt *rapid.T) {
				m.advance(time.Duration(rapid.SampledFrom([]int{1, 100, 1000, 5000, 11000, 21000}).Draw(rt, "ms")) * time.Millisecond)
			},
			"subscribe": func(rt *rapid.T) {
				if len(m.clients) > 0 {
					m.subscribe(rt, rapid.SampledFrom(m.clients).Draw(rt, "client"))
				}
			},
			"jobs": func(*rapid.T) {
				jobs := m.jobs
				m.jobs = nil
				for _, job := range jobs {
					m.do(machine.Command{Body: job()})
				}
			},
			"append": func(rt *rapid.T) {
				if m.fail = nil; rapid.IntRange(0, 4).Draw(rt, "fail") == 0 {
					m.fail = kerr.NotEnoughReplicas
				}
			},
			"reload": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "now") > 0 {
					return
				}
				m.m = m.reload()
				for token := range m.open { // the old coordinator refuses all who wait
					m.fail = kerr.NotLeaderForPartition
					m.refuse(token)
				}
				m.fail = nil
			},
		}
		for i := range 8 {
			steps[fmt.Sprint("step", i)] = m.step
		}
		rt.Repeat(steps)
		m.settle(rt)
	})
}

// settle lets all come as often as it takes, and then everybody has the target, which leaves nothing over.
func (m *consumerModel) settle(rt *rapid.T) {
	m.fail, m.reliable = nil, true
	// A static member whose answer to its join was lost has to wait for its own session to end.
	for range 100 {
		for _, job := range m.jobs {
			m.do(machine.Command{Body: job()})
		}
		m.jobs = nil
		for _, c := range m.clients {
			switch {
			case c.classic:
				m.classicStep(rt, c)
			case c.gone:
				c.id, c.epoch, c.gone = c.id+"'", 0, false
				m.heartbeat(rt, c, 0)
			default:
				m.heartbeat(rt, c, c.epoch)
			}
			m.advance(0)
		}
		m.advance(1001 * time.Millisecond)
		m.checkMembers()
	}
	m.checkReload()
	g, ok := m.m.groups["g"].(*consumer)
	if !ok || len(g.members) == 0 {
		return
	}
	if g.state() != stable {
		rt.Fatalf("the group is %s after all: epoch %d, target %d\n%s", g.state(), g.epoch, g.targetEpoch, m.out.String()[max(0, m.out.Len()-4000):])
	}
	for topic := range m.image.Topics() {
		for p := range topic.Partitions {
			if g.subscribes(topic.Name) && g.owner(topic.ID, int32(p)) == "" {
				rt.Fatalf("nobody has %s-%d\n%s", topic.Name, p, m.out.String())
			}
		}
	}
}
