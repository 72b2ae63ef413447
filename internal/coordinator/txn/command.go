package txn

import (
	"cmp"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func compare(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Init is the command for InitProducerID with a transactional id. FreshID is a producer id that nobody has, drawn
// beforehand since one may be needed; negative if there was none to be had.
type Init struct {
	Request *kmsg.InitProducerIDRequest
	FreshID int64
}

// AddOffsets is the command for AddOffsetsToTxn. Partition is that of __consumer_offsets which has the group's offsets.
type AddOffsets struct {
	Request   *kmsg.AddOffsetsToTxnRequest
	Partition int32
}

// offsetsTopic is where AddOffsets' partition is.
const offsetsTopic = "__consumer_offsets"

// WriteMarkers is the effect that wants transaction markers written to partitions' leaders.
type WriteMarkers struct {
	TransactionalID    string
	ProducerID         int64
	ProducerEpoch      int16
	CoordinatorEpoch   int32
	Commit             bool
	TransactionVersion int16 // of the client; from 2 on the leaders want ProducerEpoch to be above the transaction's
	Partitions         []TopicPartition
}

// MarkersWritten is the command with the outcome for some partitions of a WriteMarkers, whose other fields it repeats.
// Errors are Kafka's error codes, one for each partition: those of WriteTxnMarkers, or UNKNOWN_TOPIC_OR_PARTITION
// where the metadata does not have the partition, LEADER_NOT_AVAILABLE and NETWORK_EXCEPTION where the leader is not known or
// did not answer.
type MarkersWritten struct {
	TransactionalID  string
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Partitions       []TopicPartition
	Errors           []int16
}

// NeedProducerID is the effect that wants a fresh producer id.
type NeedProducerID struct{}

// ProducerID is the command that brings a fresh producer id.
type ProducerID struct{ ID int64 }
