// Package machine is the contract of Klamm's pure deciders: the controller on the metadata log and the
// coordinators (group, transaction, share) on partitions of their internal topics.
//
// A machine is a value in memory that one goroutine owns. It never does I/O, never reads a clock, never locks.
// Its host drives it in this order, and in no other:
//
//  1. Handle(input, command) decides. It may change soft state (who waits, session deadlines), never state that
//     records stand for. It answers with the records to write and the replies that depend on them.
//  2. The host appends the records of one or more commands as one batch of the log.
//  3. Apply(record, position) changes the state that records stand for: once for each record that was appended,
//     in order. Loading a log after an election is the same Apply over what the log holds.
//  4. The host sends the replies when everything appended up to step 2 is committed (below the high watermark).
//     A reply without records waits for what was appended before it, so nobody reads what may still vanish.
//
// Commands share a batch only while their Keys differ: a command whose key has records in the open batch makes the
// host append and apply that batch first. So Handle always sees the effect of every earlier command on the same
// key, and there is nothing to undo: when an append fails, its commands are refused (Refuse) and no Apply has run.
// Soft state that Handle changed for a refused command must therefore be such that a retry by the client is right.
//
// A machine is dropped when its leadership ends, and a fresh one is loaded from the log when it comes back.
package machine

import (
	"math/rand/v2"
	"time"

	"github.com/klamm-io/klamm/internal/metadata"
)

// Machine decides for one log partition. R is the record type: schema.Record for the controller, Record for coordinators.
type Machine[R any] interface {
	// Keys names what the command touches (group ids, transactional ids). Nil means everything.
	Keys(Command) []string
	// Handle decides one command.
	Handle(Input, Command) Result[R]
	// Apply takes in one written record, live or at loading.
	Apply(R, Position) error
	// Refuse builds the reply for a command that could not be decided or written (not leader, loading, failed append).
	Refuse(Command, error) any
	// NextDeadline is when Handle wants a Tick, if it wants one. It is asked again after every Handle.
	NextDeadline() (time.Time, bool)
}

// Input is the world as Handle may see it. Everything that varies comes from here.
type Input struct {
	Now   time.Time
	Rand  *rand.Rand
	Image *metadata.Image // newest published image; never nil
	Epoch int32           // leader epoch of the log that the machine decides for
}

// Command is one request to a machine. Body is a kmsg.Request, Tick, or a command type of the machine's own package
// (a finished Job, an event of the host).
type Command struct {
	Token  Token // names the waiting caller; 0 if nobody waits
	Body   any
	Client Client
	// Guard comes from the log's verification that the transaction of Body is open (KIP-890), and goes with the records
	// that Body leads to. Zero without one.
	Guard uint64
}

// Token names a caller that waits for a Reply.
type Token uint64

// Client is who sent a request.
type Client struct {
	ID         string // client.id
	Host       string // address as Kafka shows it, "/127.0.0.1"
	Principal  string // "User:ANONYMOUS" without authentication
	Listener   string
	Connection uint64
}

// Tick is the command that the host sends when NextDeadline has come.
type Tick struct{}

// Reply answers the caller behind Token. Value is what its API returns, a kmsg.Response for a kmsg.Request.
type Reply struct {
	Token Token
	Value any
}

// Result is what one command brings.
type Result[R any] struct {
	// Records to append, all or nothing.
	Records []R
	// Replies to send once Records and all before them are committed. A command whose own token is missing here is
	// parked: a later Result answers it.
	Replies []Reply
	// Jobs to run elsewhere; each comes back as a Command whose Body is what the job returned.
	Jobs []Job
	// Effects are things that the host's owner must do once Records and all before them are committed (write transaction
	// markers). Their types are the machine's own; what they lead to comes back as a command. Effects of a result whose
	// append fails are dropped, so what must happen in any case comes in a result without records.
	Effects []any
	// Events for metrics and the log of the node.
	Events []Event
	// Producer stamps the batch when records are written for a transaction (offset commits inside one).
	// Such a batch is never shared with another command.
	Producer *Producer
}

// Job is long work (matching regular expressions, large assignments) on immutable input. It runs on another goroutine.
type Job func() any

// Event is a fact worth a metric or a line in the node's log.
type Event struct {
	Name  string // metric-like name, "group.rebalance"
	Attrs []Attr
	Warn  bool
}

// Attr is one key and value of an Event.
type Attr struct {
	Key   string
	Value any
}

// Producer is the transactional identity that a batch is written with.
type Producer struct {
	ID            int64
	Epoch         int16
	Transactional bool
}

// Position says where an applied record stands.
type Position struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32
	// Producer of the batch; ID -1 without one.
	Producer Producer
}

// Record is a coordinator's record: Kafka's versioned key and value. A nil Value is a tombstone.
type Record struct {
	Key   []byte
	Value []byte
}

// Marker is the command and the record-like event of a transaction marker on a coordinator's partition: the
// transaction of Producer ended. Machines that never hold transactional records refuse it.
type Marker struct {
	Producer         Producer
	Commit           bool
	CoordinatorEpoch int32
	// TransactionVersion of the transaction: from 2 on its epoch must be above that of its records (KIP-890).
	TransactionVersion int16
}
