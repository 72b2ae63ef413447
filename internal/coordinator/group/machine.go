package group

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Machine decides for one partition of __consumer_offsets. It implements machine.Machine[machine.Record].
type Machine struct {
	config  Config
	groups  map[string]group
	offsets offsets
	timers  timers

	// started says that Handle has run since the log was loaded: from then on Apply meets groups with soft state.
	started bool
	// left counts records of kinds that this machine does not know.
	left int

	sweep   sweep
	cleanup cleanup

	// clocks are the deadlines of consumer groups' members.
	clocks map[clockKey]*timer
	// hashes are those of topics that groups are subscribed to.
	hashes map[string]hashedTopic
	// resolving holds since when (ms) a job resolves a group's regular expressions; newTopics is the offset of the last
	// image that brought a topic.
	resolving map[string]int64
	newTopics int64

	attempts shareAttempts
	// creating holds the internal topics of streams groups that were asked for, or could not be created.
	creating map[string]creation
}

var _ machine.Machine[machine.Record] = (*Machine)(nil)

// New gives an empty machine, to be loaded by Apply.
func New(c Config) *Machine {
	m := &Machine{
		config: c.withDefaults(), groups: map[string]group{}, offsets: newOffsets(),
		attempts: shareAttempts{}, clocks: map[clockKey]*timer{}, hashes: map[string]hashedTopic{}, resolving: map[string]int64{},
		creating: map[string]creation{},
	}
	m.sweep.timer.kind = sweepIsDue
	m.cleanup.timer.kind = cleanupIsDue
	return m
}

// group is what every kind of group answers to the commands that do not care about its kind.
type group interface {
	// listed is the group's line in ListGroups.
	listed() kmsg.ListGroupsResponseGroup
	// check says whether a command may do what it wants to the group's offsets or to the group.
	check(access) error
	// subscribes says that members consume the topic, so that its offsets are neither deleted nor expired.
	subscribes(topic string) bool
	// expiry says from when an offset's retention counts; ok is false while nothing of the group expires.
	expiry() (from func(offset) int64, ok bool)
	// tombstones remove the group from the log.
	tombstones() []machine.Record
}

// access is what check is asked for.
type access struct {
	verb       verb
	memberID   string
	instanceID *string
	generation int32 // or member epoch
	version    int16
	noMember   bool // a fetch that names no member
	// partitions are those that offsets are committed for; nil if the kind of the group does not matter.
	partitions iter.Seq2[schema.UUID, int32]
	topics     iter.Seq2[string, int32] // the same by name
}

type verb int8

const (
	commitOffsets verb = iota
	commitTransaction
	fetchOffsets
	deleteOffsets
	deleteGroup
)

// turn is one command while it is decided.
type turn struct {
	machine.Input
	cmd machine.Command
	now int64 // ms
	out machine.Result[machine.Record]

	fencedStreams map[string][]*streamsMember // of streams groups, in a Tick
	fencedShares  map[string][]string         // members of share groups, in a Tick
}

func (t *turn) reply(token machine.Token, value any) {
	if token != 0 {
		t.out.Replies = append(t.out.Replies, machine.Reply{Token: token, Value: value})
	}
}

// answer replies to the command itself.
func (t *turn) answer(value any) { t.reply(t.cmd.Token, value) }

func (t *turn) write(r ...machine.Record) { t.out.Records = append(t.out.Records, r...) }

func (t *turn) event(name string, attrs ...machine.Attr) {
	t.out.Events = append(t.out.Events, machine.Event{Name: name, Attrs: attrs})
}

// Keys names the groups that the command touches.
func (m *Machine) Keys(cmd machine.Command) []string {
	switch r := cmd.Body.(type) {
	case *kmsg.JoinGroupRequest:
		return []string{r.Group}
	case *kmsg.SyncGroupRequest:
		return []string{r.Group}
	case *kmsg.HeartbeatRequest:
		return []string{r.Group}
	case *kmsg.LeaveGroupRequest:
		return []string{r.Group}
	case *kmsg.OffsetCommitRequest:
		return []string{r.Group}
	case *kmsg.TxnOffsetCommitRequest:
		return []string{r.Group}
	case *kmsg.OffsetDeleteRequest:
		return []string{r.Group}
	case *kmsg.OffsetFetchRequest:
		if r.Version < 8 {
			return []string{r.Group}
		}
		keys := make([]string, len(r.Groups))
		for i := range r.Groups {
			keys[i] = r.Groups[i].Group
		}
		return keys
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return []string{r.Group}
	case regexesResolved:
		return []string{r.group}
	case *kmsg.ConsumerGroupDescribeRequest:
		return slices.Concat([]string{}, r.Groups)
	case *kmsg.StreamsGroupHeartbeatRequest:
		return []string{r.Group}
	case *kmsg.StreamsGroupDescribeRequest:
		return slices.Concat([]string{}, r.Groups)
	case InternalTopicsCreated:
		return []string{}
	case *kmsg.ShareGroupHeartbeatRequest:
		return []string{r.GroupID}
	case *kmsg.ShareGroupDescribeRequest:
		return slices.Concat([]string{}, r.GroupIDs)
	case *kmsg.AlterShareGroupOffsetsRequest:
		return []string{r.GroupID}
	case *kmsg.DeleteShareGroupOffsetsRequest:
		return []string{r.GroupID}
	case SharePartitions:
		return []string{r.Group}
	case ShareAnswered:
		return r.Ask.purpose.groups()
	case *kmsg.DescribeGroupsRequest:
		return slices.Concat([]string{}, r.Groups)
	case *kmsg.DeleteGroupsRequest:
		return slices.Concat([]string{}, r.Groups)
	}
	return nil
}

// Handle decides one command.
func (m *Machine) Handle(in machine.Input, cmd machine.Command) machine.Result[machine.Record] {
	t := &turn{Input: in, cmd: cmd, now: in.Now.UnixMilli()}
	if _, marker := cmd.Body.(machine.Marker); !marker && !m.started { // markers come while the log is loaded, too
		m.start(t)
	}
	switch r := cmd.Body.(type) {
	case *kmsg.JoinGroupRequest:
		m.join(t, r)
	case *kmsg.SyncGroupRequest:
		m.sync(t, r)
	case *kmsg.HeartbeatRequest:
		m.heartbeat(t, r)
	case *kmsg.LeaveGroupRequest:
		m.leave(t, r)
	case *kmsg.OffsetCommitRequest:
		m.commit(t, r)
	case *kmsg.TxnOffsetCommitRequest:
		m.commitInTransaction(t, r)
	case *kmsg.OffsetFetchRequest:
		m.fetch(t, r)
	case *kmsg.OffsetDeleteRequest:
		m.deleteOffsets(t, r)
	case *kmsg.ConsumerGroupHeartbeatRequest:
		m.consumerHeartbeat(t, r)
	case *kmsg.ConsumerGroupDescribeRequest:
		m.consumerDescribe(t, r)
	case regexesResolved:
		m.regexesAreResolved(t, r)
	case *kmsg.StreamsGroupHeartbeatRequest:
		m.streamsHeartbeat(t, r)
	case *kmsg.StreamsGroupDescribeRequest:
		m.streamsDescribe(t, r)
	case *kmsg.ShareGroupHeartbeatRequest:
		m.shareHeartbeat(t, r)
	case *kmsg.ShareGroupDescribeRequest:
		m.shareDescribe(t, r)
	case *kmsg.AlterShareGroupOffsetsRequest:
		m.alterShareOffsets(t, r)
	case *kmsg.DeleteShareGroupOffsetsRequest:
		m.deleteShareOffsets(t, r)
	case SharePartitions:
		m.sharePartitions(t, r)
	case ShareAnswered:
		m.shareAnswered(t, r)
	case InternalTopicsCreated:
		m.internalTopicsCreated(t, r)
	case *kmsg.DescribeGroupsRequest:
		m.describe(t, r)
	case *kmsg.ListGroupsRequest:
		m.list(t, r)
	case *kmsg.DeleteGroupsRequest:
		m.deleteGroups(t, r)
	case machine.Tick:
		m.tick(t)
	case machine.Marker:
		m.offsets.endTransaction(r.Producer.ID, r.Commit)
		t.answer(error(nil))
	case TopicsChanged:
		m.topicsChanged(t, r)
	case SetConfig:
		m.config = r.Config.withDefaults()
		t.answer(nil)
	default:
		t.answer(m.Refuse(cmd, fmt.Errorf("group: a command %T is not known: %w", r, kerr.UnknownServerError)))
	}
	return t.out
}

// NextDeadline is when a Tick is wanted. A machine that was just loaded wants one at once: the members that it found
// in the log get their sessions then.
func (m *Machine) NextDeadline() (time.Time, bool) {
	if !m.started {
		return time.Time{}, true
	}
	at, ok := m.timers.next()
	return time.UnixMilli(at), ok
}

// start begins what has no place in the log: sessions of the loaded members, the search for expired offsets.
func (m *Machine) start(t *turn) {
	m.started, m.newTopics = true, t.Image.Offset
	m.timers.set(&m.sweep.timer, t.now+m.config.RetentionCheckInterval.Milliseconds())
	for _, id := range m.ids() {
		if g, ok := m.groups[id].(*consumer); ok {
			m.consumerStarts(t, g)
			continue
		}
		if g, ok := m.groups[id].(*streams); ok {
			m.streamsStarts(t, g)
			continue
		}
		if g, ok := m.groups[id].(*shareGroup); ok {
			m.shareStarts(t, g)
			continue
		}
		if g, ok := m.groups[id].(*classic); ok {
			m.startClassic(t, g)
		}
	}
	if m.left > 0 {
		t.out.Events = append(t.out.Events, machine.Event{Name: "group.records.unknown", Warn: true,
			Attrs: []machine.Attr{{Key: "records", Value: m.left}}})
	}
}

// ids gives the ids of all groups in order.
func (m *Machine) ids() []string { return slices.Sorted(maps.Keys(m.groups)) }

// Apply takes in one record.
func (m *Machine) Apply(r machine.Record, pos machine.Position) error {
	kind, err := recordKind(r)
	if err != nil {
		return err
	}
	switch kind {
	case keyOldOffsetCommit, keyOffsetCommit:
		k, v, there, err := decodeOffset(r)
		if err != nil {
			return err
		}
		key := m.offsets.keyOf(&k)
		if !there {
			m.offsets.remove(key)
			return nil
		}
		m.applyOffset(key, &v, pos)
	case keyGroupMetadata:
		id, v, err := decodeGroup(r)
		if err != nil {
			return err
		}
		m.applyGroup(id, v)
	case keyConsumerGroup, keyOldSubscription, keyConsumerMember, keyConsumerTarget, keyConsumerTargetOf, keyConsumerCurrent, keyConsumerExpression:
		return m.applyConsumer(r, pos)
	case keyStreamsGroup, keyStreamsMember, keyStreamsTarget, keyStreamsTargetOf, keyStreamsCurrent, keyStreamsTopology:
		return m.applyStreams(r)
	case keyShareMember, keyShareGroup, keyShareTarget, keyShareTargetOf, keyShareCurrent, keyShareState:
		return m.applyShare(r, pos)
	default:
		m.left++
	}
	return nil
}

// applyGroup takes in a group's metadata. What Handle staged is already in memory but for the assignments; else the
// group is what the record says (see classic.staged).
func (m *Machine) applyGroup(id string, v *kmsg.GroupMetadataValue) {
	g, _ := m.groups[id].(*classic)
	switch {
	case v == nil && g == nil: // there is none, or it has become a group of another kind
	case v == nil:
		m.stopTimers(g)
		delete(m.groups, id)
	case g != nil && g.staged == stagedStable && g.generation == v.Generation:
		g.becomeStable(v)
	case g != nil && g.staged == stagedSoft:
		g.durable = true
	default:
		m.stopGroup(id)
		m.groups[id] = loadedGroup(id, v)
		return
	}
	if g != nil {
		g.staged = stagedNothing
	}
}

func (m *Machine) stopTimers(g *classic) {
	m.timers.stop(&g.joinTimer)
	m.timers.stop(&g.syncTimer)
	for _, member := range g.members {
		m.timers.stop(&member.session)
	}
	for _, id := range slices.Sorted(maps.Keys(g.pending)) {
		m.timers.stop(g.pending[id])
	}
}

// tick lets the timers that ended have their effect. A group gets at most one record in one result: it is decided
// again when that is applied, in the Tick that follows at once since the deadline stands.
func (m *Machine) tick(t *turn) {
	var later []*timer
	written := map[*classic]bool{}
	fenced := map[string][]*consumerMember{} // of consumer groups
	for {
		ended := m.timers.pop(t.now)
		if ended == nil {
			break
		}
		if ended.group != nil && written[ended.group] || len(t.out.Records) >= m.config.ResultRecordsMax {
			later = append(later, ended)
			continue
		}
		due := ended.due
		ended.due = 0
		before := len(t.out.Records)
		switch g := ended.group; ended.kind {
		case sessionEnds:
			m.sessionEnded(t, g, ended.member)
		case joinEnds:
			m.completeJoin(t, g)
		case initialEnds:
			m.initialDelayEnded(t, g)
		case syncEnds:
			m.syncEnded(t, g)
		case memberSessionEnds, memberRevokesTooLong, memberJoinsTooLate, memberSyncsTooLate:
			if member := m.memberClockEnded(t, ended); member != nil && !slices.Contains(fenced[ended.groupID], member) {
				fenced[ended.groupID] = append(fenced[ended.groupID], member)
			}
		case streamsSessionEnds, streamsRevokesTooLong, streamsInitialEnds:
			m.streamsClockEnded(t, ended)
		case shareSessionEnds:
			m.shareSessionEnded(t, ended)
		case groupDowngraded:
			delete(m.clocks, clockKey{ended.kind, ended.groupID, ""})
			m.downgraded(t, ended.groupID)
		case sweepIsDue, cleanupIsDue:
			if before > 0 || len(fenced) > 0 || len(t.fencedStreams) > 0 || len(t.fencedShares) > 0 {
				// They look at all groups, so they get a result of their own.
				ended.due = due
				later = append(later, ended)
				continue
			}
			if ended.kind == sweepIsDue {
				m.sweepOffsets(t)
			} else {
				m.cleanupOffsets(t)
			}
			if len(t.out.Records) > 0 {
				later = append(later, m.popAll(t.now)...)
			}
		}
		if ended.group != nil && len(t.out.Records) > before {
			written[ended.group] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(fenced)) {
		if err := m.fence(t, m.groups[id].(*consumer), fenced[id], "a deadline has passed"); err != nil {
			t.event("group.fence.failed", machine.Attr{Key: "group", Value: id}, machine.Attr{Key: "error", Value: err.Error()})
		}
	}
	m.fenceStreamsMembers(t)
	m.fenceShares(t)
	for _, l := range later {
		m.timers.set(l, max(l.due, 1))
	}
}

func (m *Machine) popAll(now int64) []*timer {
	var all []*timer
	for {
		t := m.timers.pop(now)
		if t == nil {
			return all
		}
		all = append(all, t)
	}
}
