package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
)

var errNotServed = errors.New("api: the request is in the table of APIs and has no handler")

// Code is the error code that Kafka's protocol has for an error of the packages below; 0 for nil. What it does not know
// is UNKNOWN_SERVER_ERROR.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	return KafkaError(err).Code
}

// KafkaError is the error of Kafka's protocol that stands for err, which is not nil.
func KafkaError(err error) *kerr.Error {
	var (
		known     *kerr.Error
		notLeader *replica.NotLeader
		invalid   *record.Invalid
		outOf     *replica.OffsetOutOfRange
		sequence  *replica.OutOfOrderSequence
		epoch     *replica.InvalidProducerEpoch
		txn       *replica.InvalidTxnState
		large     *replica.TooLarge
		disk      *replica.StorageError
		corrupt   *record.Corrupt
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &notLeader), errors.Is(err, replica.ErrFencedAppend), errors.Is(err, replica.ErrClosed):
		return kerr.NotLeaderForPartition
	case errors.Is(err, replica.ErrUnknownPartition):
		return kerr.UnknownTopicOrPartition
	case errors.Is(err, replica.ErrUnknownTopicID):
		return kerr.UnknownTopicID
	case errors.Is(err, replica.ErrInconsistentID):
		return kerr.InconsistentTopicID
	case errors.Is(err, replica.ErrFencedEpoch):
		return kerr.FencedLeaderEpoch
	case errors.Is(err, replica.ErrUnknownEpoch):
		return kerr.UnknownLeaderEpoch
	case errors.Is(err, replica.ErrNotEnough):
		return kerr.NotEnoughReplicas
	case errors.Is(err, replica.ErrNotEnoughAfter):
		return kerr.NotEnoughReplicasAfterAppend
	case errors.Is(err, replica.ErrTimedOut):
		return kerr.RequestTimedOut
	case errors.Is(err, replica.ErrOffline):
		return kerr.KafkaStorageError
	case errors.Is(err, replica.ErrNotAvailable):
		return kerr.OffsetNotAvailable
	case errors.As(err, &invalid):
		return invalidKinds[invalid.Kind]
	case errors.As(err, &outOf):
		return kerr.OffsetOutOfRange
	case errors.As(err, &sequence): // DETAILS 6
		return kerr.OutOfOrderSequenceNumber
	case errors.As(err, &epoch): // DETAILS 7
		return kerr.InvalidProducerEpoch
	case errors.Is(err, replica.ErrCoordinatorFenced):
		return kerr.TransactionCoordinatorFenced
	case errors.As(err, &txn):
		return kerr.InvalidTxnState
	case errors.As(err, &large):
		if large.Segment {
			return kerr.RecordListTooLarge
		}
		return kerr.MessageTooLarge
	case errors.As(err, &corrupt):
		return kerr.CorruptMessage
	case errors.As(err, &disk):
		return kerr.KafkaStorageError
	case errors.Is(err, fetch.ErrSessionNotFound):
		return kerr.FetchSessionIDNotFound
	case errors.Is(err, fetch.ErrSessionEpoch), errors.Is(err, fetch.ErrSessionBusy):
		return kerr.InvalidFetchSessionEpoch
	case errors.Is(err, fetch.ErrSessionTopicIDs):
		return kerr.FetchSessionTopicIDError
	}
	return kerr.UnknownServerError
}

var invalidKinds = map[record.InvalidKind]*kerr.Error{
	record.CorruptMessage:         kerr.CorruptMessage,
	record.MessageTooLarge:        kerr.MessageTooLarge,
	record.InvalidTimestamp:       kerr.InvalidTimestamp,
	record.UnsupportedCompression: kerr.UnsupportedCompressionType,
	record.InvalidRecord:          kerr.InvalidRecord,
}
