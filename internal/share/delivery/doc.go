// Package delivery decides how the records of one share partition are delivered to the members of its share group
// (KIP-932): who holds which records and until when, how often they were delivered, and what became of them. It is
// what Apache Kafka calls SharePartition, as steps of a state without clock, lock, log or persister: package share
// reads the log, tells the time, and writes what a step wants written.
//
// # State
//
// Three offsets and what is in flight:
//
//	  start                                      next
//	    |  batch        batch        batch         |
//	----+--[run][run]---[run]--------[run][run]----+------------> log
//	    done below                       never fetched from here on
//
// Below start (the share partition start offset, SPSO) every record is done: accepted, rejected, or given up. From
// next on no record was ever fetched. Between lie batches, in order and apart from each other: what one fetch took from
// the log as a unit, and what it will be delivered as once more. A batch is divided into runs of records that share
// one fate; most batches are one run. Offsets between batches have no records. After a load there are also unread
// batches: offsets of which the persister knows nothing, because their records were out when the former leader went.
//
//	Available ──acquire──▶ Acquired ──accept──▶ Acknowledged
//	    ▲                     │ │
//	    └──release, timeout───┘ └──reject, gap, too many deliveries, gone from the log──▶ Archived
//
// # Two phases
//
// What a member acknowledges or releases is promised to it only when it is persisted. Acknowledge and Release leave the
// runs pending: they belong to nobody and cannot be acquired. Take gives what to write, one Write at a time; Written
// tells how it went, and the transitions of that write are kept or undone. A lock that ends is different: the record is
// available at once, and written later, because no answer depends on it.
//
// One write at a time, in the order of the steps, is what keeps a late "available" from covering an "acknowledged": a record
// whose lock ended may be acquired and accepted while the first write is still under way.
package delivery

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// State is a record's delivery state, with Kafka's numbers.
type State int8

// The states. (3 is for dead letters, which Kafka 4.3 does not have.)
const (
	Available    State = 0
	Acquired     State = 1
	Acknowledged State = 2
	Archived     State = 4
)

func (s State) terminal() bool { return s == Acknowledged || s == Archived }

// Types of acknowledgements.
const (
	Gap     int8 = 0
	Accept  int8 = 1
	Release int8 = 2
	Reject  int8 = 3
	Renew   int8 = 4
)

// StateBatch is the persisted state of the records of some offsets.
type StateBatch struct {
	First, Last int64
	State       State
	Deliveries  int16
}

// Config is what a group's configuration says. It may differ from one step to the next.
type Config struct {
	MaxDeliveries int           // share.delivery.count.limit
	MaxLocks      int           // share.partition.max.record.locks: the most records between start and next
	Lock          time.Duration // share.record.lock.duration.ms
	Renew         bool          // share.renew.acknowledge.enable
}

// Refusal is an acknowledgement that cannot be. It unwraps to Kafka's error; its text is what the client reads.
type Refusal struct {
	kafka *kerr.Error
	text  string
}

func (e *Refusal) Error() string { return e.text }
func (e *Refusal) Unwrap() error { return e.kafka }

func badState(text string) error   { return &Refusal{kerr.InvalidRecordState, text} }
func badRequest(text string) error { return &Refusal{kerr.InvalidRequest, text} }

// ErrState says that what the persister gave is no state of a share partition.
var ErrState = errors.New("delivery: not a state of a share partition")
