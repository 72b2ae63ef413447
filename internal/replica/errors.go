package replica

import (
	"errors"
	"fmt"

	"github.com/klamm-io/klamm/internal/storage"
)

// Errors that package api turns into Kafka's codes.
var (
	ErrUnknownPartition = errors.New("replica: unknown topic or partition")          // UNKNOWN_TOPIC_OR_PARTITION
	ErrUnknownTopicID   = errors.New("replica: unknown topic id")                    // UNKNOWN_TOPIC_ID
	ErrInconsistentID   = errors.New("replica: topic id changed inside the session") // INCONSISTENT_TOPIC_ID
	ErrFencedEpoch      = errors.New("replica: leader epoch is older than ours")     // FENCED_LEADER_EPOCH
	ErrUnknownEpoch     = errors.New("replica: leader epoch is newer than ours")     // UNKNOWN_LEADER_EPOCH
	ErrNotEnough        = errors.New("replica: fewer in-sync replicas than min.insync.replicas")
	ErrNotEnoughAfter   = errors.New("replica: fewer in-sync replicas than min.insync.replicas after the append")
	ErrTimedOut         = errors.New("replica: not replicated in time")                 // REQUEST_TIMED_OUT
	ErrOffline          = errors.New("replica: the log directory is offline")           // KAFKA_STORAGE_ERROR
	ErrRecovering       = fmt.Errorf("%w: the log is being recovered", ErrOffline)      // likewise, for a while
	ErrNotAvailable     = errors.New("replica: high watermark is behind the new epoch") // OFFSET_NOT_AVAILABLE
	ErrClosed           = errors.New("replica: the node is shutting down")
)

// NotLeader says that another broker leads the partition, or nobody (Leader -1).
type NotLeader struct {
	Leader int32
	Epoch  int32
}

func (e *NotLeader) Error() string {
	return fmt.Sprintf("replica: not the leader; broker %d leads in epoch %d", e.Leader, e.Epoch)
}

// Errors of the log that an append or a read may end with, for those who do not know the log (package api).
type (
	OffsetOutOfRange     = storage.OffsetOutOfRange
	OutOfOrderSequence   = storage.OutOfOrderSequence
	InvalidProducerEpoch = storage.InvalidProducerEpoch
	InvalidTxnState      = storage.InvalidTxnState
	TooLarge             = storage.TooLarge
	StorageError         = storage.StorageError
	Guard                = storage.Guard // lets a verified batch begin a transaction
)

// ErrFencedAppend says that the partition moved to another epoch between its look-up and the append.
var ErrFencedAppend = storage.ErrFenced

// ErrCoordinatorFenced says that a marker comes from a transaction coordinator of the past.
var ErrCoordinatorFenced = storage.ErrCoordinatorFenced
