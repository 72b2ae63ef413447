package group

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

const shareProtocol = "share"

// shareGroup is a group of the share protocol (KIP-932): its members share partitions, and the partitions' leaders hand out
// records to whoever asks. The epochs are those of consumer groups, but a member is at its target at once, since nobody
// has to give anything up first. All fields but the last three change in Apply only.
type shareGroup struct {
	id    string
	epoch int32
	hash  int64 // of the metadata of the topics subscribed to, see topicHash

	members map[string]*shareMember
	byName  map[string]int // topic -> members that subscribe to it

	targetEpoch int32
	targetAt    int64 // ms, 0 if not known
	targets     map[string]assignment

	// state says of which share partitions the share coordinators have state; nil if there is no record of it.
	state *shareState

	// checked says that hash was compared with the image when the group had the epoch checkedAt, as in consumer groups.
	checked   bool
	checkedAt int32
	// assigned says for what it was found that the target has all that is assignable.
	assigned assignedFor
}

// assignedFor is what that depends on: none of it changes without another epoch, image or record.
type assignedFor struct {
	state              *shareState
	image              *metadata.Image
	epoch, targetEpoch int32
}

// shareMember is a member of a share group. It is replaced, never changed.
type shareMember struct {
	id         string
	epoch      int32
	previous   int32 // the epoch before: a member that missed an answer still has it
	rackID     *string
	clientID   string
	clientHost string
	topics     []string // sorted
	assigned   assignment
}

func newShareGroup(id string) *shareGroup {
	return &shareGroup{
		id: id, epoch: 1, targetEpoch: 1,
		members: map[string]*shareMember{}, byName: map[string]int{}, targets: map[string]assignment{},
	}
}

func newShareMember(id string) *shareMember { return &shareMember{id: id, previous: -1} }

// put takes a member in, in place of what it was.
func (g *shareGroup) put(m *shareMember) {
	g.removeMember(m.id)
	g.members[m.id] = m
	for _, topic := range m.topics {
		tally(g.byName, topic, 1)
	}
}

func (g *shareGroup) removeMember(id string) {
	if m := g.members[id]; m != nil {
		delete(g.members, id)
		for _, topic := range m.topics {
			tally(g.byName, topic, -1)
		}
	}
}

func (g *shareGroup) memberOrNew(id string) *shareMember {
	if m := g.members[id]; m != nil {
		return m
	}
	return newShareMember(id)
}

func (g *shareGroup) memberIDs() []string { return slices.Sorted(maps.Keys(g.members)) }

// member finds a member by its id.
func (g *shareGroup) member(id string) (*shareMember, error) { return findMember(g.id, g.members, id) }

func (g *shareGroup) stateName() state {
	if len(g.members) == 0 {
		return empty
	}
	return stable
}

// sameMetadata says that the record of the member's metadata would be the same.
func (m *shareMember) sameMetadata(o *shareMember) bool {
	return equalStrings(m.rackID, o.rackID) && m.clientID == o.clientID && m.clientHost == o.clientHost && slices.Equal(m.topics, o.topics)
}

func (g *shareGroup) listed() kmsg.ListGroupsResponseGroup {
	return kmsg.ListGroupsResponseGroup{Group: g.id, ProtocolType: shareProtocol, GroupState: string(g.stateName()), GroupType: "share"}
}

func (g *shareGroup) subscribes(topic string) bool { return g.byName[topic] > 0 }

// expiry: a share group has no committed offsets, and stays until it is deleted.
func (g *shareGroup) expiry() (func(offset) int64, bool) { return nil, false }

func (g *shareGroup) check(a access) error {
	switch {
	case a.verb == fetchOffsets: // there are none, as with a group that is not there
		return nil
	case a.verb != deleteGroup:
		return refuse(kerr.GroupIDNotFound, "Group %s is not a consumer group.", g.id)
	case len(g.members) > 0:
		return kerr.NonEmptyGroup
	}
	return nil
}

func (g *shareGroup) tombstones() []machine.Record { return shareTombstones(g.id, g.memberIDs()) }

// shareGroupNamed finds a share group.
func (m *Machine) shareGroupNamed(id string) (*shareGroup, error) {
	switch g := m.groups[id].(type) {
	case *shareGroup:
		return g, nil
	case nil:
		return nil, refuse(kerr.GroupIDNotFound, "Group %s not found.", id)
	}
	return nil, refuse(kerr.GroupIDNotFound, "Group %s is not a share group.", id)
}

// shareState says of which share partitions the share coordinators have state. It is replaced, never changed. All times are
// that of the record.
//
//	           asked to begin it           begun                 deletion asked for
//	nothing ──────────────────▶ initializing ─────▶ initialized ─────────────────▶ deleting ──▶ nothing
//
// Only what is initialized is assigned to members: a leader that has no state to read would not know where to begin.
type shareState struct {
	initializing, initialized shareTopics
	deleting                  map[schema.UUID]string // names
	at                        int64                  // ms; when this was written
}

// shareTopics are partitions of topics.
type shareTopics map[schema.UUID]shareTopic

type shareTopic struct {
	name       string
	partitions []int32 // sorted
}

// changed is a copy to be changed; one that was not there has nothing.
func (s *shareState) changed() *shareState {
	if s == nil {
		return &shareState{initializing: shareTopics{}, initialized: shareTopics{}, deleting: map[schema.UUID]string{}}
	}
	return &shareState{initializing: maps.Clone(s.initializing), initialized: maps.Clone(s.initialized), deleting: maps.Clone(s.deleting), at: s.at}
}

func (a shareTopics) ids() []schema.UUID { return slices.SortedFunc(maps.Keys(a), compareUUID) }

func (a shareTopics) has(id schema.UUID, partition int32) bool {
	_, ok := slices.BinarySearch(a[id].partitions, partition)
	return ok
}

// add adds partitions of a topic, whose name becomes the given one.
func (a shareTopics) add(id schema.UUID, name string, partitions ...int32) {
	all := slices.Concat(a[id].partitions, partitions)
	slices.Sort(all)
	a[id] = shareTopic{name, slices.Compact(all)}
}

// remove takes partitions of a topic away, and the topic with its last.
func (a shareTopics) remove(id schema.UUID, partitions ...int32) {
	t, ok := a[id]
	if !ok {
		return
	}
	partitions = slices.Sorted(slices.Values(partitions))
	left := slices.DeleteFunc(slices.Clone(t.partitions), func(p int32) bool {
		_, found := slices.BinarySearch(partitions, p)
		return found
	})
	if len(left) == 0 {
		delete(a, id)
		return
	}
	a[id] = shareTopic{t.name, left}
}
