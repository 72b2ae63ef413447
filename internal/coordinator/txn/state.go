package txn

import (
	"fmt"
	"math"
	"slices"
)

// State is where a transactional id is in its life; the numbers are those of the log.
type State int8

const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	// Dead and PrepareEpochFence are known to filters only.
	Dead
	PrepareEpochFence
)

func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case Ongoing:
		return "Ongoing"
	case PrepareCommit:
		return "PrepareCommit"
	case PrepareAbort:
		return "PrepareAbort"
	case CompleteCommit:
		return "CompleteCommit"
	case CompleteAbort:
		return "CompleteAbort"
	case Dead:
		return "Dead"
	case PrepareEpochFence:
		return "PrepareEpochFence"
	}
	return fmt.Sprintf("State(%d)", int8(s))
}

// stateNamed finds a state by the name that clients use.
func stateNamed(name string) (State, bool) {
	for s := Empty; s <= PrepareEpochFence; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}

// preparing says that the outcome is decided and markers are being written.
func (s State) preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// resting says that there is no transaction: the states that expire.
func (s State) resting() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }

const (
	noProducerID    int64 = -1
	noProducerEpoch int16 = -1
	noTimestamp     int64 = -1

	// lastClientEpoch is the largest epoch that a producer is given; the one above it is for fencing.
	lastClientEpoch int16 = math.MaxInt16 - 1
)

// transaction is what the log says about a transactional id, and lastEpoch. It is a value: a transition makes a new one.
type transaction struct {
	id         string
	producerID int64
	// previousID is the producer id before the last transition, nextID the one after the end of a transaction that is
	// preparing and exhausts the epochs; noProducerID otherwise.
	previousID, nextID int64
	epoch              int16
	// lastEpoch is the epoch before the last bump that the producer may not have heard of: a retry with it gets the
	// current one (KIP-360). It is noProducerEpoch where another producer took over, and after loading.
	lastEpoch  int16
	timeout    int32 // ms
	state      State
	partitions []TopicPartition // sorted, never changed in place
	start      int64            // ms; noTimestamp before the first transaction
	updated    int64            // ms
	version    int16            // transaction version of the client
}

func (x transaction) exhausted() bool { return x.epoch >= lastClientEpoch }

// to is the beginning of each transition.
func (x transaction) to(s State, now int64) transaction {
	x.previousID, x.state, x.updated = x.producerID, s, now
	return x
}

// initialized is the transition of InitProducerID; producer id and epochs are the caller's to set.
func (x transaction) initialized(timeout int32, now int64) transaction {
	x = x.to(Empty, now)
	x.timeout, x.partitions, x.start = timeout, nil, noTimestamp
	return x
}

// added is the transition of AddPartitions and AddOffsets.
func (x transaction) added(partitions []TopicPartition, version int16, now int64) transaction {
	next := x.to(Ongoing, now)
	if x.state != Ongoing {
		next.start = now
	}
	next.version = version
	next.partitions = slices.Clone(x.partitions)
	for _, p := range partitions {
		if at, ok := slices.BinarySearchFunc(next.partitions, p, compare); !ok {
			next.partitions = slices.Insert(next.partitions, at, p)
		}
	}
	return next
}

// contains says that all partitions are in the transaction.
func (x transaction) contains(partitions ...TopicPartition) bool {
	for _, p := range partitions {
		if _, ok := slices.BinarySearchFunc(x.partitions, p, compare); !ok {
			return false
		}
	}
	return true
}

// prepared is the transition of EndTxn before version 5: the epoch stays.
func (x transaction) prepared(s State, now int64) transaction {
	x = x.to(s, now)
	x.nextID, x.version = noProducerID, 0
	return x
}

// preparedBumped is the transition of EndTxn from version 5 on. nextID is a new producer id where epochs are
// exhausted, else noProducerID. The markers' epoch is the bumped one, also if it is the one that no client gets.
func (x transaction) preparedBumped(s State, nextID, now int64) transaction {
	next := x.to(s, now)
	next.nextID, next.version, next.lastEpoch = nextID, 2, x.epoch
	if x.epoch < math.MaxInt16 {
		next.epoch++
	}
	if x.state != Ongoing {
		next.start = now // no partition was ever added
	}
	return next
}

// fenced is the abort that shuts the producer out, before transaction version 2. (With it, any end does.)
func (x transaction) fenced(now int64) transaction {
	x = x.prepared(PrepareAbort, now)
	x.lastEpoch = noProducerEpoch
	if x.epoch < math.MaxInt16 {
		x.epoch++
	}
	return x
}

// completed is the transition when all markers are written.
func (x transaction) completed(now int64) transaction {
	next := x.to(CompleteAbort, now)
	if x.state == PrepareCommit {
		next.state = CompleteCommit
	}
	if x.version >= 2 && x.nextID != noProducerID {
		next.producerID, next.epoch = x.nextID, 0
	}
	next.nextID, next.partitions = noProducerID, nil
	return next
}
