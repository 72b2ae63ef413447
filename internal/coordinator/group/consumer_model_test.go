package group

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
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

	classic     bool
	cooperative bool          // it keeps what it has while it joins
	token       machine.Token // a request that is not answered yet
	synced      bool
	last        int32                          // the last generation that it was in
	missed      bool                           // it is static, and a generation began without it: others may have what it has
	led         []kmsg.JoinGroupResponseMember // the generation's members, if it leads
	ledFor      *metadata.Image
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
		c.cooperative = rapid.Bool().Draw(rt, "cooperative")
	}
	if rapid.IntRange(0, 3).Draw(rt, "static") == 0 {
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

// classicStep is the next thing that a member of the classic protocol does.
func (m *consumerModel) classicStep(rt *rapid.T, c *modelClient) {
	if c.token == 0 {
		m.classicSend(c)
	}
	answer, ok := m.answers[c.token]
	if !ok {
		return
	}
	c.token = 0
	switch r := answer.(type) {
	case *kmsg.JoinGroupResponse:
		switch kerr.ErrorForCode(r.ErrorCode) {
		case nil:
			c.id, c.epoch, c.last, c.synced = r.MemberID, r.Generation, r.Generation, false
			if c.led = r.Members; r.SkipAssignment {
				c.led = nil // it does not know which topics the last assignment was for
			}
		case kerr.MemberIDRequired:
			c.id = r.MemberID
		default:
			c.rejoin(r.ErrorCode)
		}
	case *kmsg.SyncGroupResponse:
		if c.synced = r.ErrorCode == 0; !c.synced {
			c.rejoin(r.ErrorCode)
			return
		}
		a, _, err := parseAssignment(r.MemberAssignment, m.image)
		if err != nil {
			rt.Fatalf("assignment: %v", err)
		}
		m.classicTakes(c, a)
	case *kmsg.HeartbeatResponse:
		if r.ErrorCode != 0 && r.ErrorCode != kerr.CoordinatorNotAvailable.Code {
			c.rejoin(r.ErrorCode)
		} else if len(c.led) > 0 && c.ledFor != m.image {
			c.rejoin(kerr.RebalanceInProgress.Code) // leaders watch the topics
		}
	}
}

// classicTakes takes an assignment in. A cooperative member that had more says so at once.
func (m *consumerModel) classicTakes(c *modelClient, a assignment) {
	before := c.holds
	c.holds, c.missed = map[ref]struct{}{}, false
	for _, tp := range a {
		for _, p := range tp.partitions {
			c.holds[ref{tp.topic, p}] = struct{}{}
		}
	}
	for r := range before {
		if _, ok := c.holds[r]; !ok {
			c.rejoin(kerr.RebalanceInProgress.Code)
			return
		}
	}
}

// rejoin: an eager member gives everything up before it joins, a cooperative one if it is not a member any more.
func (c *modelClient) rejoin(code int16) {
	c.epoch, c.synced, c.led = 0, false, nil
	switch kerr.ErrorForCode(code) {
	case kerr.UnknownMemberID, kerr.FencedInstanceID:
		c.id = ""
		clear(c.holds)
	case kerr.IllegalGeneration:
		clear(c.holds)
	default:
		if !c.cooperative || c.missed { // assignors go by the generation in which somebody got a partition
			clear(c.holds)
		}
	}
}

func (m *consumerModel) classicSend(c *modelClient) {
	var req kmsg.Request
	switch {
	case c.epoch == 0:
		r := kmsg.NewPtrJoinGroupRequest()
		meta := kmsg.ConsumerMemberMetadata{Version: 1, Topics: c.topics}
		for r := range c.holds {
			meta.OwnedPartitions = append(meta.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: topicName(r.topic), Partitions: []int32{r.partition}})
		}
		slices.SortFunc(meta.OwnedPartitions, func(a, b kmsg.ConsumerMemberMetadataOwnedPartition) int {
			return cmp.Or(strings.Compare(a.Topic, b.Topic), int(a.Partitions[0]-b.Partitions[0]))
		})
		r.Version, r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 9, "g", c.id, "consumer", 20000, 10000
		r.InstanceID = c.instance
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
		req = r
	case !c.synced:
		r := kmsg.NewPtrSyncGroupRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID, r.Generation = 4, "g", c.id, c.instance, c.epoch
		r.GroupAssignment = m.lead(c)
		req = r
	default:
		r := kmsg.NewPtrHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID, r.Generation = 4, "g", c.id, c.instance, c.epoch
		req = r
	}
	c.token = m.do(machine.Command{Body: req, Client: machine.Client{ID: "c", Host: "/h"}})
}

// lead gives the partitions of all topics out: to who owns them, the others in turn. Who is not subscribed to them gets
// some, too: that is for the coordinator to put right.
func (m *consumerModel) lead(c *modelClient) []kmsg.SyncGroupRequestGroupAssignment {
	if len(c.led) == 0 {
		return nil
	}
	c.ledFor = m.image
	owners := map[ref]int{}
	for i, o := range c.led {
		sub, err := parseSubscription(o.ProtocolMetadata)
		if err != nil {
			m.rt.Fatalf("subscription of %s: %v", o.MemberID, err)
		}
		for _, tp := range reportedBy(sub.owned, m.image) {
			for _, p := range tp.Partitions {
				if _, ok := owners[ref{tp.TopicID, p}]; !ok {
					owners[ref{tp.TopicID, p}] = i
				}
			}
		}
	}
	out := make([]kmsg.SyncGroupRequestGroupAssignment, len(c.led))
	each := make([]kmsg.ConsumerMemberAssignment, len(c.led))
	n := 0
	for topic := range m.image.Topics() {
		for p := range topic.Partitions {
			i, owned := owners[ref{topic.ID, int32(p)}]
			if !owned {
				i = n % len(c.led)
				n++
			}
			each[i].Topics = append(each[i].Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: topic.Name, Partitions: []int32{int32(p)}})
		}
	}
	for i, o := range c.led {
		out[i] = kmsg.SyncGroupRequestGroupAssignment{MemberID: o.MemberID, MemberAssignment: each[i].AppendTo(nil)}
	}
	return out
}

func (m *consumerModel) step(rt *rapid.T) {
	if len(m.clients) == 0 || len(m.clients) < 7 && rapid.IntRange(0, 7).Draw(rt, "new") == 0 {
		m.newClient(rt)
	}
	c := rapid.SampledFrom(m.clients).Draw(rt, "client")
	m.move(rt, c)
}

// move lets a client do what is next.
func (m *consumerModel) move(rt *rapid.T, c *modelClient) {
	if c.gone {
		m.comeBack(rt, c)
	}
	if c.classic {
		m.classicStep(rt, c)
	} else {
		m.heartbeat(rt, c, c.epoch)
	}
}

// comeBack starts a static member again, perhaps with the other protocol: so groups migrate.
func (m *consumerModel) comeBack(rt *rapid.T, c *modelClient) {
	m.next++
	c.id, c.epoch, c.gone, c.full, c.last, c.missed = fmt.Sprintf("c%d", m.next), 0, false, true, 0, false
	if rapid.Bool().Draw(rt, "other protocol") {
		c.classic = !c.classic
		m.subscribe(rt, c)
	}
	if c.synced, c.led = false, nil; c.classic {
		c.id, c.cooperative = "", rapid.Bool().Draw(rt, "cooperative")
	}
}

func (m *consumerModel) leave(rt *rapid.T) {
	if len(m.clients) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.clients)-1).Draw(rt, "leaver")
	c := m.clients[i]
	clear(c.holds)
	forAWhile := c.instance != nil && !c.gone && (c.classic || c.epoch > 0) && rapid.Bool().Draw(rt, "for a while")
	switch {
	case c.classic && forAWhile: // says nothing
		delete(m.answers, c.token)
		c.token = 0
	case c.classic:
		leaver := kmsg.LeaveGroupRequestMember{MemberID: c.id, InstanceID: c.instance}
		m.do(machine.Command{Body: &kmsg.LeaveGroupRequest{Version: 5, Group: "g", Members: []kmsg.LeaveGroupRequestMember{leaver}}})
	case forAWhile:
		m.heartbeat(rt, c, leaveStaticEpoch)
	default:
		m.heartbeat(rt, c, leaveEpoch)
	}
	if c.gone = forAWhile; !c.gone {
		m.clients = slices.Delete(m.clients, i, i+1)
	}
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
		for _, c := range m.clients { // the model's topics of one name have one id, but what is to come is another topic
			had := len(c.holds)
			maps.DeleteFunc(c.holds, func(r ref, _ struct{}) bool { return r.topic == t.ID })
			c.changed = c.changed || len(c.holds) < had
		}
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
		return g.members[c.id] != nil && !c.missed
	case *classic:
		if g.byID[c.id] == nil || !c.classic {
			return false
		}
		// KIP-345: a rebalance does not wait longer for static members than for others, and does not remove them.
		if _, answered := m.answers[c.token]; c.instance != nil && !answered && g.state != preparingRebalance && c.last < g.generation {
			c.missed = true
		}
		return !c.missed
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
	if diff := gocmp.Diff(live, loaded, gocmp.AllowUnexported(consumer{}, consumerMember{}, topicPartitions{}, resolvedRegex{}),
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

// TestConsumerModel drives one group with random clients of both protocols: always the same histories.
func TestConsumerModel(t *testing.T) {
	checkConsumerModel(t, map[string]string{"rapid.checks": "200", "rapid.seed": "1"})
}

// TestSimConsumerModel drives as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimConsumerModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkConsumerModel(t, map[string]string{"rapid.checks": n})
}

// setFlags sets flags of rapid for the time of the test.
func setFlags(t *testing.T, flags map[string]string) {
	for name, value := range flags {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatalf("-%s: %v", name, err)
		}
		t.Cleanup(func() { _ = f.Value.Set(before) })
	}
}

func checkConsumerModel(t *testing.T, flags map[string]string) {
	setFlags(t, flags)
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
			m.move(rt, c)
			m.advance(0)
		}
		m.advance(1001 * time.Millisecond)
		m.checkMembers()
	}
	m.checkReload()
	switch g := m.m.groups["g"].(type) {
	case *consumer:
		if len(g.members) > 0 {
			m.checkSettled(rt, g)
		}
	case *classic:
		if len(g.members) > 0 {
			m.checkClassic(rt, g)
		}
	}
}

func (m *consumerModel) checkSettled(rt *rapid.T, g *consumer) {
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

// checkClassic: all members have what the group says, and that is all if its leader knows that it leads.
func (m *consumerModel) checkClassic(rt *rapid.T, g *classic) {
	if g.state != stable {
		rt.Fatalf("the group is %s after all\n%s", g.state, m.out.String())
	}
	leads, held := false, map[ref]struct{}{}
	for _, c := range m.clients {
		o := g.byID[c.id]
		if o == nil {
			rt.Fatalf("%s is not a member after all", c.id)
		}
		leads = leads || len(c.led) > 0
		a, _, err := parseAssignment(o.assignment, m.image)
		if err != nil {
			rt.Fatalf("assignment of %s: %v", c.id, err)
		}
		n := 0
		for r := range c.holds {
			if _, exists := m.image.TopicByID(r.topic); !exists {
				continue
			}
			n++
			held[r] = struct{}{}
			if !a.has(r.topic, r.partition) {
				rt.Fatalf("%s has %s-%d and should not\n%s", c.id, topicName(r.topic), r.partition, m.out.String())
			}
		}
		if n != a.size() {
			rt.Fatalf("%s has %d partitions of %d\n%s", c.id, n, a.size(), m.out.String())
		}
	}
	for topic := range m.image.Topics() {
		for p := range topic.Partitions {
			if _, ok := held[ref{topic.ID, int32(p)}]; leads && !ok {
				rt.Fatalf("nobody has %s-%d\n%s", topic.Name, p, m.out.String())
			}
		}
	}
}
