package txn

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// Machine decides for one partition of __transaction_state. It implements machine.Machine[machine.Record].
type Machine struct {
	config Config
	ids    map[string]*entry
	timers timers
	// staged has, by transactional id, the transactions whose records Handle has given out and Apply has not met: they
	// know the last epoch, which records do not. What a failed append leaves here is replaced by the id's next command.
	staged map[string][]staged
	// fresh are producer ids that nobody has, for ends of transactions that exhaust the epochs.
	fresh []int64

	// started says that Handle has run since the log was loaded.
	started bool
	// began is when that was: looks for transactions that ran out of time are multiples of the interval after it.
	began int64
	// left counts records of versions that this machine does not know.
	left int

	expiry expiry
}

var _ machine.Machine[machine.Record] = (*Machine)(nil)

// entry is a transactional id: what its records say, and what is soft.
type entry struct {
	transaction
	markers markers
	// timer ends an Ongoing transaction, and tries again what a preparing one waits for.
	timer timer
}

type staged struct {
	value []byte
	next  transaction
}

// New gives an empty machine, to be loaded by Apply.
func New(c Config) *Machine {
	return &Machine{config: c.withDefaults(), ids: map[string]*entry{}, staged: map[string][]staged{}}
}

// turn is one command while it is decided.
type turn struct {
	machine.Input
	cmd     machine.Command
	now     int64 // ms
	feature int16 // transaction.version
	out     machine.Result[machine.Record]
}

// answer replies to the command.
func (t *turn) answer(value any) {
	if t.cmd.Token != 0 {
		t.out.Replies = append(t.out.Replies, machine.Reply{Token: t.cmd.Token, Value: value})
	}
}

func (t *turn) event(warn bool, name string, attrs ...machine.Attr) {
	t.out.Events = append(t.out.Events, machine.Event{Name: name, Attrs: attrs, Warn: warn})
}

func (t *turn) effect(e any) { t.out.Effects = append(t.out.Effects, e) }

// Keys names the transactional ids that the command touches.
func (m *Machine) Keys(cmd machine.Command) []string {
	switch r := cmd.Body.(type) {
	case Init:
		if r.Request.TransactionalID != nil {
			return []string{*r.Request.TransactionalID}
		}
		return []string{}
	case AddOffsets:
		return []string{r.Request.TransactionalID}
	case *kmsg.EndTxnRequest:
		return []string{r.TransactionalID}
	case *kmsg.AddPartitionsToTxnRequest:
		if r.Version < firstBatched {
			return []string{r.TransactionalID}
		}
		keys := make([]string, len(r.Transactions))
		for i := range r.Transactions {
			keys[i] = r.Transactions[i].TransactionalID
		}
		return keys
	case *kmsg.DescribeTransactionsRequest:
		return append([]string{}, r.TransactionalIDs...)
	case MarkersWritten:
		return []string{r.TransactionalID}
	case ProducerID, SetConfig, machine.Marker:
		return []string{}
	}
	return nil
}

// Handle decides one command.
func (m *Machine) Handle(in machine.Input, cmd machine.Command) machine.Result[machine.Record] {
	t := &turn{Input: in, cmd: cmd, now: in.Now.UnixMilli(), feature: in.Image.Feature(metadata.TransactionVersionFeature)}
	if _, marker := cmd.Body.(machine.Marker); !marker && !m.started { // a marker comes while the log is loaded
		m.start(t)
	}
	switch r := cmd.Body.(type) {
	case Init:
		m.init(t, r)
	case *kmsg.AddPartitionsToTxnRequest:
		m.addPartitions(t, r)
	case AddOffsets:
		m.addOffsets(t, r)
	case *kmsg.EndTxnRequest:
		m.end(t, r)
	case *kmsg.DescribeTransactionsRequest:
		m.describe(t, r)
	case *kmsg.ListTransactionsRequest:
		m.list(t, r)
	case MarkersWritten:
		m.markersWritten(t, r)
	case ProducerID:
		m.keepFresh(r.ID, freshMax)
		t.answer(nil)
	case machine.Tick:
		m.tick(t)
	case SetConfig:
		m.config = r.Config.withDefaults()
		t.answer(nil)
	default:
		t.answer(m.Refuse(cmd, fmt.Errorf("txn: a command %T is not known: %w", r, kerr.UnknownServerError)))
	}
	return t.out
}

// write gives out the transitions' records, all of one transactional id, in order.
func (m *Machine) write(t *turn, transitions ...transaction) {
	version := int16(valueVersionNewest)
	if t.feature < 1 {
		version = 0
	}
	id := transitions[0].id
	m.staged[id] = nil
	for _, next := range transitions {
		if version == 0 {
			next.version = 0 // has no place in the record
		}
		r := encode(next, version)
		m.staged[id] = append(m.staged[id], staged{r.Value, next})
		t.out.Records = append(t.out.Records, r)
	}
}

// Apply takes in one record.
func (m *Machine) Apply(r machine.Record, _ machine.Position) error {
	id, x, known, err := decode(r)
	if err != nil {
		return err
	}
	if !known {
		m.left++
		return nil
	}
	e := m.ids[id]
	if x == nil {
		if e != nil {
			m.timers.stop(&e.timer)
		}
		delete(m.ids, id)
		delete(m.staged, id)
		return nil
	}
	if e == nil {
		e = &entry{}
		e.timer.owner = e
		m.ids[id] = e
	}
	e.transaction = m.unstage(*x, r.Value)
	if m.started {
		m.schedule(e)
	}
	return nil
}

// unstage gives the transaction that Handle has made the record of, if it did; else what the record says.
func (m *Machine) unstage(x transaction, value []byte) transaction {
	waiting := m.staged[x.id]
	if len(waiting) == 0 || !bytes.Equal(waiting[0].value, value) {
		return x
	}
	x = waiting[0].next
	if len(waiting) == 1 {
		delete(m.staged, x.id)
	} else {
		m.staged[x.id] = waiting[1:]
	}
	return x
}

// schedule sets up what is soft for the state that the entry came into.
func (m *Machine) schedule(e *entry) {
	m.timers.stop(&e.timer)
	e.markers = markers{}
	switch {
	case e.state.preparing():
		e.markers.sent = e.partitions // Handle has asked for them beside the record
	case e.state == Ongoing && e.timeout != noTimeout:
		m.timers.set(&e.timer, m.abortAt(e.start+int64(e.timeout)+1))
	}
}

// start begins what has no place in the log: the timeouts of open transactions, markers of those that were ended.
func (m *Machine) start(t *turn) {
	m.started, m.began = true, t.now
	m.expiry.due = t.now + m.config.ExpirationInterval.Milliseconds()
	for _, id := range m.sortedIDs() {
		e := m.ids[id]
		m.schedule(e)
		if e.state.preparing() {
			// Whether the last coordinator wrote them is not known. They are asked for in a Tick of their own: this
			// command may come with records whose append fails.
			e.markers = markers{again: e.partitions}
			m.timers.set(&e.timer, t.now)
		}
	}
	if m.left > 0 {
		t.event(true, "txn.records.unknown", machine.Attr{Key: "records", Value: m.left})
	}
}

// NextDeadline is when a Tick is wanted. A machine that was just loaded wants one at once, to start.
func (m *Machine) NextDeadline() (time.Time, bool) {
	if !m.started {
		return time.Time{}, true
	}
	at := m.expiry.due
	if first, ok := m.timers.next(); ok {
		at = min(at, first)
	}
	return time.UnixMilli(at), true
}

func (m *Machine) sortedIDs() []string { return slices.Sorted(maps.Keys(m.ids)) }

// Limits of the fresh producer ids that are kept: ids that Init brought and did not need, and all.
const (
	freshUnused = 4
	freshMax    = 64
)

func (m *Machine) keepFresh(id int64, limit int) {
	if id >= 0 && len(m.fresh) < limit {
		m.fresh = append(m.fresh, id)
	}
}

// takeFresh gives a producer id that nobody has. If there is none it is asked for, and the client comes again.
func (m *Machine) takeFresh(t *turn) (int64, bool) {
	if len(m.fresh) == 0 {
		t.effect(NeedProducerID{})
		return noProducerID, false
	}
	id := m.fresh[0]
	m.fresh = m.fresh[1:]
	return id, true
}
