package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/metadata"
)

// TestRandomCommands throws commands at the controller, right, wrong and stale ones, with failing appends and failovers
// between them, and checks after each one that the metadata is sound. That every record applies, and survives its
// codec, is checked by the harness.
func TestRandomCommands(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		options := Options{NodeID: 1, ClusterID: testCluster, Voters: []int32{1}, DefaultPartitions: 2, DefaultReplicationFactor: 2,
			MaxIdle: time.Second, ImbalanceCheck: 20 * time.Second, UncleanElectionCheck: 20 * time.Second}
		elr := int16(rapid.IntRange(0, 1).Draw(rt, "elr"))
		mv := rapid.SampledFrom([]int16{7, 12, 16, 22, 30}).Draw(rt, "mv")
		if elr > 0 {
			mv = max(mv, metadata.MVELR)
		}
		options.Bootstrap = bootstrap(mv, elr)
		m := &model{rt: rt, h: NewHarness(t, options), elr: elr > 0, lives: map[int32]int{}}
		m.h.Activate()
		for range rapid.IntRange(1, 60).Draw(rt, "commands") {
			before := m.h.Mirror
			m.step()
			m.check(before)
		}
	})
}

type model struct {
	rt    *rapid.T
	h     *Harness
	elr   bool
	lives map[int32]int
}

func (m *model) int(label string, low, high int) int {
	return rapid.IntRange(low, high).Draw(m.rt, label)
}
func (m *model) bool(label string) bool { return rapid.Bool().Draw(m.rt, label) }

func (m *model) step() {
	m.h.Refuse = m.int("refuse", 0, 20) == 0
	defer func() { m.h.Refuse = false }()
	switch m.int("command", 0, 17) {
	case 0, 1:
		m.register()
	case 2, 3, 4, 5, 6:
		m.beat()
	case 7, 8:
		m.create()
	case 9, 10, 11, 12:
		m.alterISR()
	case 13:
		m.reassign()
	case 14:
		m.elect()
	case 15:
		m.h.Now = m.h.Now.Add(time.Duration(m.int("ms", 0, 12000)) * time.Millisecond)
		m.h.Refuse = false
		m.h.Tick()
	case 16:
		m.other()
	case 17:
		m.failover()
	}
}

func (m *model) broker() int32 { return int32(m.int("broker", 1, 4)) }

// epoch is mostly the right one.
func (m *model) epoch(id int32) int64 {
	b, ok := m.h.Mirror.Broker(id)
	if !ok || m.int("stale", 0, 9) == 0 {
		return int64(m.int("epoch", -1, 50))
	}
	return b.Epoch
}

func (m *model) register() {
	id := m.broker()
	if m.bool("new life") {
		m.lives[id]++
	}
	rack := rapid.SampledFrom([]string{"", "a", "b"}).Draw(m.rt, "rack")
	req := registration(id, int(id)*1000+m.lives[id], rack, 10*int(id), 10*int(id)+1)
	if m.bool("clean") {
		req.PreviousBrokerEpoch = m.epoch(id)
	}
	m.h.Request(req)
}

func (m *model) beat() {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version = 2
	req.BrokerID = m.broker()
	req.BrokerEpoch = m.epoch(req.BrokerID)
	req.CurrentMetadataOffset = int64(len(m.h.Log)-1) - int64(m.int("lag", 0, 3))
	switch m.int("wish", 0, 11) {
	case 0:
		req.WantFence = true
	case 1, 2:
		req.WantShutdown = true
	case 3:
		req.WantFence, req.WantShutdown = true, true
	case 4:
		req.OfflineLogDirs = [][16]byte{testUUID(10*int(req.BrokerID) + m.int("dir", 0, 1))}
	case 5:
		req.CordonedLogDirs = [][16]byte{testUUID(10*int(req.BrokerID) + m.int("dir", 0, 1))}
	}
	m.h.Request(req)
}

func (m *model) create() {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic = fmt.Sprintf("t%d", m.int("topic", 0, 3))
	t.NumPartitions, t.ReplicationFactor = int32(m.int("partitions", -1, 4)), int16(m.int("replicas", -1, 4))
	if m.bool("min isr") {
		value := fmt.Sprint(m.int("min", 1, 3))
		t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: configMinInSync, Value: &value}}
	}
	req.Topics = append(req.Topics, t)
	m.h.Request(req)
}

// pick chooses a partition that exists.
func (m *model) pick() (*topic, int32, *partition) {
	topics := slices.Collect(m.h.Mirror.Topics())
	if len(topics) == 0 {
		return nil, 0, nil
	}
	t := topics[m.int("topic", 0, len(topics)-1)]
	id := m.int("partition", 0, len(t.Partitions)-1)
	return t, int32(id), t.Partitions[id]
}

func (m *model) alterISR() {
	t, id, p := m.pick()
	if t == nil {
		return
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version = 3
	if req.BrokerID = p.Leader; m.int("other broker", 0, 9) == 0 {
		req.BrokerID = m.broker()
	}
	req.BrokerEpoch = m.epoch(req.BrokerID)
	in := kmsg.NewAlterPartitionRequestTopicPartition()
	in.Partition, in.LeaderEpoch, in.PartitionEpoch = id, p.LeaderEpoch, p.PartitionEpoch+int32(max(0, m.int("ahead", -9, 1)))
	in.LeaderRecoveryState = int8(max(0, m.int("recovery", -5, 1)))
	for _, replica := range p.Replicas {
		if replica == p.Leader || m.int("in", 0, 3) > 0 {
			in.NewEpochISR = append(in.NewEpochISR, newISR{BrokerID: replica, BrokerEpoch: m.epoch(replica)})
		}
	}
	if m.int("odd one in", 0, 9) == 0 {
		in.NewEpochISR = append(in.NewEpochISR, newISR{BrokerID: m.broker(), BrokerEpoch: -1})
	}
	req.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: t.ID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{in}}}
	m.h.Request(req)
}

func (m *model) reassign() {
	t, id, p := m.pick()
	if t == nil {
		return
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version = 1
	req.AllowReplicationFactorChange = m.bool("factor")
	in := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	in.Partition = id
	if !isReassigning(p) || m.bool("anew") {
		in.Replicas = rapid.SliceOfNDistinct(rapid.Int32Range(1, 4), 1, 3, rapid.ID[int32]).Draw(m.rt, "replicas")
	}
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: t.Name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{in}}}
	m.h.Request(req)
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	m.h.Request(list)
}

func (m *model) elect() {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version = 2
	req.ElectionType = int8(m.int("type", 0, 2))
	m.h.Request(req)
}

func (m *model) other() {
	t, id, p := m.pick()
	if t == nil {
		return
	}
	switch m.int("other", 0, 5) {
	case 0:
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version = 6
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: t.ID}}
		m.h.Request(req)
	case 1:
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version = 3
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: t.Name, Count: int32(len(t.Partitions) + m.int("more", 0, 2))}}
		m.h.Request(req)
	case 2:
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = m.broker()
		m.h.Request(req)
	case 3:
		value, resource := fmt.Sprint(m.int("min", 1, 3)), kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: t.Name}
		resource.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: configMinInSync, Value: &value}}
		unclean := fmt.Sprint(m.bool("unclean"))
		resource.Configs = append(resource.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: configUncleanLeaderElection, Value: &unclean})
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = append(req.Resources, resource)
		m.h.Request(req)
	case 4:
		req := kmsg.NewPtrAllocateProducerIDsRequest()
		req.BrokerID = m.broker()
		req.BrokerEpoch = m.epoch(req.BrokerID)
		m.h.Request(req)
	case 5:
		req := kmsg.NewPtrAssignReplicasToDirsRequest()
		req.BrokerID = p.Replicas[0]
		req.BrokerEpoch = m.epoch(req.BrokerID)
		topic := kmsg.AssignReplicasToDirsRequestDirectoryTopic{TopicID: t.ID, Partitions: []kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{{Partition: id}}}
		req.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{ID: testUUID(10*int(req.BrokerID) + m.int("dir", 0, 2)), Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{topic}}}
		m.h.Request(req)
	}
}

// failover begins a new controller from the log, or from the image.
func (m *model) failover() {
	old := m.h
	m.h = NewHarness(old.T, old.Options)
	m.h.Now, m.h.Rand = old.Now, old.Rand
	if m.bool("load") {
		m.h.C, m.h.Log, m.h.Mirror = Load(old.C.options, old.Mirror), old.Log, old.Mirror
	} else {
		m.h.append(old.Log)
	}
	if diff := cmp.Diff(contents(old.Mirror), contents(m.h.C.Image())); diff != "" {
		m.rt.Fatalf("the log does not give the image again:\n%s", diff)
	}
	m.h.Activate()
}

func contents(image *metadata.Image) []string {
	var out []string
	for r, version := range image.Records() {
		out = append(out, fmt.Sprintf("%s %q", r.RecordName(), r.AppendTo(nil, version)))
	}
	return out
}

func (m *model) check(before *metadata.Image) {
	now := m.h.Mirror
	for b := range now.Brokers() {
		if old, ok := before.Broker(b.ID); ok && b.Epoch < old.Epoch {
			m.rt.Fatalf("broker %d: epoch %d after %d", b.ID, b.Epoch, old.Epoch)
		}
	}
	if now.NextProducerID() < before.NextProducerID() {
		m.rt.Fatalf("producer ids go back")
	}
	for t := range now.Topics() {
		for id, p := range t.Partitions {
			if why := m.unsound(p); why != "" {
				m.rt.Fatalf("%s-%d: %s: %+v", t.Name, id, why, p)
			}
			if old, ok := before.TopicByID(t.ID); ok && id < len(old.Partitions) {
				was := old.Partitions[id]
				if p.LeaderEpoch < was.LeaderEpoch || p.PartitionEpoch < was.PartitionEpoch || was.Leader != p.Leader && p.LeaderEpoch == was.LeaderEpoch ||
					!cmp.Equal(was, p) && p.PartitionEpoch == was.PartitionEpoch {
					m.rt.Fatalf("%s-%d: epochs do not rise: %+v after %+v", t.Name, id, p, was)
				}
			}
		}
	}
	m.checkIndex()
}

func (m *model) unsound(p *partition) string {
	distinct := func(ids []int32) bool { return len(slices.Compact(slices.Sorted(slices.Values(ids)))) == len(ids) }
	switch {
	case !containsAll(p.Replicas, p.ISR) || !containsAll(p.Replicas, p.Adding) || !containsAll(p.Replicas, p.Removing):
		return "ISR, adding or removing outside of the replicas"
	case !distinct(p.ISR) || !distinct(p.Replicas) || !distinct(p.ELR):
		return "a replica twice"
	case p.Leader != noLeader && !slices.Contains(p.ISR, p.Leader):
		return "the leader is not in the ISR"
	case len(p.ISR) == 0 && !m.elr:
		return "the ISR is empty without ELR"
	case len(p.ELR) > 0 && !m.elr:
		return "ELR without its feature"
	case len(without(p.ELR, p.ISR)) != len(p.ELR):
		return "ISR and ELR overlap"
	}
	for _, id := range p.ISR {
		if b, ok := m.h.Mirror.Broker(id); len(p.ISR) > 1 && (!ok || b.Fenced) {
			return "a fenced or unregistered broker is in an ISR that others are in"
		}
	}
	if p.Leader != noLeader {
		if b, ok := m.h.Mirror.Broker(p.Leader); !ok || b.Fenced {
			return "the leader is fenced or gone"
		}
	}
	return ""
}

// checkIndex compares the index that grew with the changes with one made from the image.
func (m *model) checkIndex() {
	fresh := newOverlay(m.h.C.Image())
	if diff := cmp.Diff(indexContents(fresh.index), indexContents(m.h.C.state.index)); diff != "" {
		m.rt.Fatalf("the index is not what the image says:\n%s", diff)
	}
}

func indexContents(x *index) map[string][]string {
	out := map[string][]string{}
	put := func(name string, s *partitionSet) {
		for _, key := range keys(s) {
			out[name] = append(out[name], fmt.Sprint(key))
		}
	}
	for id, s := range x.inISR {
		put(fmt.Sprint("isr ", id), s)
	}
	for id, s := range x.inELR {
		put(fmt.Sprint("elr ", id), s)
	}
	for id, s := range x.inDirectory {
		put("dir "+id.String(), s)
	}
	for id, n := range x.leads {
		out[fmt.Sprint("leads ", id)] = []string{fmt.Sprint(n)}
	}
	for name, topics := range x.colliding {
		out["name "+name] = slices.Sorted(slices.Values(topics))
	}
	put("leaderless", x.leaderless)
	put("imbalanced", x.imbalanced)
	put("reassigning", x.reassigning)
	return out
}
