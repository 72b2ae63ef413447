package storage

import (
	"errors"
	"fmt"

	"github.com/klamm-io/klamm/internal/schema"
)

// Errors that callers branch on.
var (
	// ErrFenced says that an append or a change carries a leader epoch that is not the log's current one.
	ErrFenced = errors.New("leader epoch is fenced")
	// ErrClosed says that the log was closed, renamed for deletion or removed.
	ErrClosed = errors.New("log is closed")
	// ErrCoordinatorFenced says that a transaction marker comes from a coordinator that was replaced.
	ErrCoordinatorFenced = errors.New("transaction coordinator is fenced")

	errRetired = errors.New("segment is gone")
)

// StorageError is a failed or impossible operation on a file of a log. After a failed write the log refuses every
// further append until it is opened again: what the file holds behind the log's end is unknown.
type StorageError struct {
	Dir    string
	File   string
	Offset int64 // position in the file, -1 where there is none
	Err    error
}

func (e *StorageError) Error() string {
	if e.Offset >= 0 {
		return fmt.Sprintf("log %s, file %s, position %d: %v", e.Dir, e.File, e.Offset, e.Err)
	}
	return fmt.Sprintf("log %s, file %s: %v", e.Dir, e.File, e.Err)
}

func (e *StorageError) Unwrap() error { return e.Err }

// OffsetOutOfRange says that an offset is below the log's start or above its end (reads), or above the high watermark
// (DeleteRecords, in which case LogEnd is the high watermark).
type OffsetOutOfRange struct {
	Offset, LogStart, LogEnd int64
}

func (e *OffsetOutOfRange) Error() string {
	return fmt.Sprintf("offset %d is outside the log, which is [%d, %d]", e.Offset, e.LogStart, e.LogEnd)
}

// OutOfOrderSequence says that a producer's batch does not follow its last one.
type OutOfOrderSequence struct {
	ProducerID     int64
	Epoch          int16
	Sequence, Last int32 // of the batch, and the last one that the log has (-1: none)
	Offset         int64 // where the batch would have been appended
	Reason         string
}

func (e *OutOfOrderSequence) Error() string {
	return fmt.Sprintf("out of order sequence number for producer %d with epoch %d at offset %d: %d (incoming), %d (last): %s",
		e.ProducerID, e.Epoch, e.Offset, e.Sequence, e.Last, e.Reason)
}

// InvalidProducerEpoch says that a batch or marker carries an epoch older than the log has seen.
type InvalidProducerEpoch struct {
	ProducerID     int64
	Epoch, Current int16
	Offset         int64
}

func (e *InvalidProducerEpoch) Error() string {
	return fmt.Sprintf("epoch of producer %d at offset %d is %d, which is older than the last seen epoch %d",
		e.ProducerID, e.Offset, e.Epoch, e.Current)
}

// InvalidTxnState says that a batch does not fit the producer's transaction: a transactional one that was not verified,
// or a plain one while a transaction is open.
type InvalidTxnState struct {
	ProducerID int64
	Offset     int64
	Reason     string
}

func (e *InvalidTxnState) Error() string {
	return fmt.Sprintf("producer %d at offset %d: %s", e.ProducerID, e.Offset, e.Reason)
}

// TooLarge says that a batch exceeds max.message.bytes, or an append the size of a segment.
type TooLarge struct {
	Size, Max int
	Segment   bool // true: Max is segment.bytes, false: max.message.bytes
}

func (e *TooLarge) Error() string {
	what := "max.message.bytes"
	if e.Segment {
		what = "segment.bytes"
	}
	return fmt.Sprintf("%d bytes in an append exceed %s, which is %d", e.Size, what, e.Max)
}

// UnexpectedOffset says that a follower's append does not continue the log.
type UnexpectedOffset struct {
	First, Last, LogEnd int64
}

func (e *UnexpectedOffset) Error() string {
	return fmt.Sprintf("append of offsets [%d, %d] does not continue the log, which ends at %d", e.First, e.Last, e.LogEnd)
}

// InconsistentTopicID says that a directory belongs to another topic of the same name.
type InconsistentTopicID struct {
	Dir        string
	Have, Want schema.UUID
}

func (e *InconsistentTopicID) Error() string {
	return fmt.Sprintf("log %s belongs to topic id %s, not %s", e.Dir, e.Have, e.Want)
}
