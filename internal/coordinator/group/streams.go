package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// notReady is the state of a streams group whose topology does not fit the topics, beside those of consumer groups.
const notReady state = "NotReady"

const streamsProtocol = "streams"

// streams is a group of the streams protocol (KIP-1071): the members are threads of a Kafka Streams application, and
// the coordinator assigns them its tasks. Its epochs are those of consumer groups. All fields but the last change in
// Apply only.
type streams struct {
	id    string
	epoch int32
	hash  int64 // of the metadata of the topology's topics, see topicHash
	// validated is the epoch of the topology that fits the topics; -1 if it does not.
	validated int32
	// settings are those of the assignor that the last epoch was made with.
	settings map[string]string

	members  map[string]*streamsMember
	topology *topology // nil until the first member has told it

	targetEpoch int32
	targetAt    int64 // ms, 0 if not known
	targets     map[string]tasks

	// active holds which member has an active task, or has still to give it up.
	active map[taskID]string
	// held counts, by process, the roles in which its members have a task or have still to give it up.
	held    map[string]map[taskID]int
	settled map[int32]int // epoch -> members in it that are stable

	// What follows is soft. configured is the topology with numbers of partitions; see configuration. checked says
	// that hash was compared with the image when the group had the epoch checkedAt, as in consumer groups.
	configured *configuredTopology
	checked    bool
	checkedAt  int32
	// shutdownBy is the member that asked for the end of the whole application; "" if none did since there are members.
	shutdownBy string
	// endpoints counts changes of what processes with an endpoint have.
	endpoints int32
}

func newStreams(id string) *streams {
	return &streams{
		id: id, epoch: 1, targetEpoch: 1, settings: map[string]string{}, members: map[string]*streamsMember{},
		targets: map[string]tasks{}, active: map[taskID]string{}, held: map[string]map[taskID]int{}, settled: map[int32]int{},
	}
}

// put takes a member in, in place of what it was.
func (g *streams) put(m *streamsMember) {
	g.uncount(g.members[m.id])
	g.members[m.id] = m
	if m.state == memberStable {
		tally(g.settled, m.epoch, 1)
	}
	for _, t := range []tasks{m.assigned, m.revoking} {
		t.active.each(func(id taskID) { g.active[id] = m.id })
		g.hold(m.processID, t, 1)
	}
}

func (g *streams) removeMember(id string) {
	g.uncount(g.members[id])
	if delete(g.members, id); len(g.members) == 0 {
		g.shutdownBy = ""
	}
}

func (g *streams) uncount(m *streamsMember) {
	if m == nil {
		return
	}
	if m.state == memberStable {
		tally(g.settled, m.epoch, -1)
	}
	for _, t := range []tasks{m.assigned, m.revoking} {
		t.active.each(func(id taskID) {
			if g.active[id] == m.id {
				delete(g.active, id)
			}
		})
		g.hold(m.processID, t, -1)
	}
}

func (g *streams) hold(process string, t tasks, n int) {
	held := g.held[process]
	if held == nil {
		held = map[taskID]int{}
		g.held[process] = held
	}
	for _, s := range []taskSet{t.active, t.standby, t.warmup} {
		s.each(func(id taskID) { tally(held, id, n) })
	}
	if len(held) == 0 {
		delete(g.held, process)
	}
}

func (g *streams) memberIDs() []string { return slices.Sorted(maps.Keys(g.members)) }

// member finds a member by its id.
func (g *streams) member(id string) (*streamsMember, error) { return findMember(g.id, g.members, id) }

func (g *streams) state() state {
	switch {
	case len(g.members) == 0:
		return empty
	case g.topology == nil || g.topology.epoch != g.validated:
		return notReady
	case g.epoch > g.targetEpoch:
		return assigning
	case g.settled[g.targetEpoch] < len(g.members):
		return reconciling
	}
	return stable
}

func (g *streams) listed() kmsg.ListGroupsResponseGroup {
	return kmsg.ListGroupsResponseGroup{Group: g.id, ProtocolType: streamsProtocol, GroupState: string(g.state()), GroupType: "streams"}
}

func (g *streams) subscribes(topic string) bool {
	if len(g.members) == 0 || g.topology == nil {
		return false
	}
	_, ok := g.topology.sources[topic]
	return ok
}

// needs says that the topology reads or writes the topic.
func (g *streams) needs(topic string) bool {
	if g.topology == nil {
		return false
	}
	_, ok := slices.BinarySearch(g.topology.required, topic)
	return ok
}

func (g *streams) expiry() (func(offset) int64, bool) {
	return func(o offset) int64 { return o.committed }, true
}

func (g *streams) tombstones() []machine.Record { return streamsTombstones(g.id, g.memberIDs()) }

func (g *streams) check(a access) error {
	switch a.verb {
	case commitOffsets, commitTransaction:
		return g.checkCommit(a)
	case fetchOffsets:
		if a.noMember && a.generation < 0 {
			return nil
		}
		m, err := g.member(a.memberID)
		if err != nil {
			return err
		}
		if a.generation != m.epoch {
			return kerr.StaleMemberEpoch
		}
	case deleteGroup:
		if len(g.members) > 0 {
			return kerr.NonEmptyGroup
		}
	}
	return nil
}

// checkCommit lets members commit with their epoch. An older one may do for tasks that they had then (KIP-1251).
func (g *streams) checkCommit(a access) error {
	transactional := a.verb == commitTransaction
	if a.generation < 0 && len(g.members) == 0 {
		return nil
	}
	if transactional && a.generation == -1 && a.memberID == "" && a.instanceID == nil {
		return nil
	}
	m, err := g.member(a.memberID)
	switch {
	case err != nil:
		return err
	case !transactional && a.version < 9:
		return kerr.UnsupportedVersion
	case a.generation == m.epoch:
		return nil
	case a.generation < m.epoch && g.hadAll(m, a):
		return nil
	case transactional:
		return kerr.IllegalGeneration
	}
	return kerr.StaleMemberEpoch
}

// hadAll says that the member had the active tasks of the partitions that it commits for when it was in the epoch.
func (g *streams) hadAll(m *streamsMember, a access) bool {
	if a.topics == nil || g.topology == nil {
		return false
	}
	for topic, partition := range a.topics {
		subtopology, ok := g.topology.sources[topic]
		if !ok {
			return false
		}
		id := taskID{subtopology, partition}
		epoch, ok := m.assigned.active.epoch(id)
		if !ok {
			epoch, ok = m.revoking.active.epoch(id)
		}
		if !ok || a.generation < epoch {
			return false
		}
	}
	return true
}
