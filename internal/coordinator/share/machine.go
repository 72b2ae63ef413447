package share

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Machine decides for one partition of __share_group_state. It implements machine.Machine[machine.Record].
type Machine struct {
	config Config
	states map[Key]*entry

	// started says that Handle has run since the log was loaded.
	started bool
	// left counts records of versions that this machine does not know.
	left int

	log  retained
	cold cold
	gone gone
}

var _ machine.Machine[machine.Record] = (*Machine)(nil)

// entry is a share partition: its state, and what the log's records say beside it.
type entry struct {
	state
	// seenLeader and seenState are the greatest epochs that were ever written. A share partition that is begun anew forgets
	// its leader in its state, and yet an older leader must not write.
	seenLeader, seenState int32
	updates               int   // since the last snapshot
	snapshot              int64 // offset of the last snapshot; -1 if the log begins after it
}

// New gives an empty machine, to be loaded by Apply.
func New(c Config) *Machine {
	return &Machine{config: c.withDefaults(), states: map[Key]*entry{}, log: retained{tombstone: -1}}
}

// turn is one command while it is decided.
type turn struct {
	machine.Input
	cmd machine.Command
	now int64 // ms
	out machine.Result[machine.Record]
}

// answer replies to the command.
func (t *turn) answer(value any) {
	if t.cmd.Token != 0 {
		t.out.Replies = append(t.out.Replies, machine.Reply{Token: t.cmd.Token, Value: value})
	}
}

func (t *turn) write(r machine.Record) { t.out.Records = append(t.out.Records, r) }

func (t *turn) event(warn bool, name string, attrs ...machine.Attr) {
	t.out.Events = append(t.out.Events, machine.Event{Name: name, Attrs: attrs, Warn: warn})
}

// Keys names the share partition that the command touches.
func (m *Machine) Keys(cmd machine.Command) []string {
	switch cmd.Body.(type) {
	case Pruned, SetConfig, machine.Marker:
		return []string{}
	}
	if req, ok := cmd.Body.(kmsg.Request); ok {
		if k, ok := KeyOf(req); ok {
			return []string{k.String()}
		}
	}
	return nil
}

// Handle decides one command.
func (m *Machine) Handle(in machine.Input, cmd machine.Command) machine.Result[machine.Record] {
	t := &turn{Input: in, cmd: cmd, now: in.Now.UnixMilli()}
	if _, marker := cmd.Body.(machine.Marker); marker {
		return t.out // nothing here is ever written in a transaction
	}
	if !m.started {
		m.start(t)
	}
	if req, ok := cmd.Body.(kmsg.Request); ok {
		m.request(t, req)
		return t.out
	}
	switch r := cmd.Body.(type) {
	case machine.Tick:
		m.tick(t)
	case TopicsDeleted:
		m.topicsDeleted(t, r)
		t.answer(nil)
	case Pruned:
		m.log.pruned = max(m.log.pruned, r.Offset)
		t.answer(nil)
	case SetConfig:
		m.config = r.Config.withDefaults()
		t.answer(nil)
	default:
		t.answer(m.Refuse(cmd, fmt.Errorf("share: a command %T is not known: %w", r, kerr.UnknownServerError)))
	}
	return t.out
}

// request decides a request of one share partition.
func (m *Machine) request(t *turn, req kmsg.Request) {
	k, ok := KeyOf(req)
	if !ok {
		t.answer(m.Refuse(t.cmd, fmt.Errorf("share: %T does not name one share partition: %w", req, kerr.InvalidRequest)))
		return
	}
	switch r := req.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		t.answer(m.initialize(t, k, r))
	case *kmsg.ReadShareGroupStateRequest:
		t.answer(m.read(t, k, r))
	case *kmsg.WriteShareGroupStateRequest:
		t.answer(m.update(t, k, r))
	case *kmsg.DeleteShareGroupStateRequest:
		t.answer(m.delete(t, k, r))
	case *kmsg.ReadShareGroupStateSummaryRequest:
		t.answer(m.summary(t, k, r))
	}
}

// KeyOf is the share partition that a request names; false if it does not name exactly one, or is none of ours.
func KeyOf(req kmsg.Request) (Key, bool) {
	switch r := req.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			return Key{r.GroupID, r.Topics[0].TopicID, r.Topics[0].Partitions[0].Partition}, true
		}
	case *kmsg.ReadShareGroupStateRequest:
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			return Key{r.GroupID, r.Topics[0].TopicID, r.Topics[0].Partitions[0].Partition}, true
		}
	case *kmsg.WriteShareGroupStateRequest:
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			return Key{r.GroupID, r.Topics[0].TopicID, r.Topics[0].Partitions[0].Partition}, true
		}
	case *kmsg.DeleteShareGroupStateRequest:
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			return Key{r.GroupID, r.Topics[0].TopicID, r.Topics[0].Partitions[0].Partition}, true
		}
	case *kmsg.ReadShareGroupStateSummaryRequest:
		if len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 {
			return Key{r.GroupID, r.Topics[0].TopicID, r.Topics[0].Partitions[0].Partition}, true
		}
	}
	return Key{}, false
}

// Apply takes in one record.
func (m *Machine) Apply(r machine.Record, pos machine.Position) error {
	d, known, err := decode(r)
	if err != nil {
		return err
	}
	if !known {
		m.left++
		return nil
	}
	e := m.states[d.key]
	switch {
	case d.update != nil:
		if e == nil {
			// Its snapshot was deleted, since a newer one follows: this state is never seen. See DeleteRecords.
			e = &entry{state: state{snapshotEpoch: d.update.snapshotEpoch, start: none}, snapshot: -1}
			m.states[d.key] = e
		}
		e.state = e.updated(*d.update)
		e.seenLeader = max(e.seenLeader, d.update.leaderEpoch)
		e.updates++
	case d.snapshot != nil:
		if e == nil {
			e = &entry{}
			m.states[d.key] = e
		}
		e.state = *d.snapshot
		e.seenLeader, e.seenState = max(e.seenLeader, e.leaderEpoch), max(e.seenState, e.stateEpoch)
		e.updates, e.snapshot = 0, pos.Offset
	default:
		delete(m.states, d.key)
		m.log.tombstone = pos.Offset
	}
	return nil
}

// start begins what has no place in the log.
func (m *Machine) start(t *turn) {
	m.started = true
	m.cold.due = t.now + m.config.ColdInterval.Milliseconds()
	m.log.due = t.now + m.config.PruneInterval.Milliseconds()
	if m.left > 0 {
		t.event(true, "share.records.unknown", machine.Attr{Key: "records", Value: m.left})
	}
}

// NextDeadline is when a Tick is wanted. A machine that was just loaded wants one at once, to start; one that has nothing
// wants none.
func (m *Machine) NextDeadline() (time.Time, bool) {
	if !m.started {
		return time.Time{}, true
	}
	if len(m.states) == 0 && m.log.tombstone <= m.log.pruned {
		return time.Time{}, false
	}
	at := min(m.cold.due, m.log.due)
	if len(m.gone.topics) > 0 {
		at = min(at, m.gone.due)
	}
	return time.UnixMilli(at), true
}

func (m *Machine) sorted() []Key { return slices.SortedFunc(maps.Keys(m.states), Key.compare) }

// known says that the metadata has the topic's partition.
func known(image *metadata.Image, topic schema.UUID, partition int32) bool {
	t, ok := image.TopicByID(topic)
	if !ok {
		return false
	}
	_, there := t.Partition(partition)
	return there
}
