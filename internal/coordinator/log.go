package coordinator

import "github.com/klamm-io/klamm/internal/record"

// Partitions is what shards need of the logs of their topic. Errors wrap a Kafka error (kerr) where there is one, or
// Config.KafkaError gives it:
// NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS, MESSAGE_TOO_LARGE, KAFKA_STORAGE_ERROR, INVALID_PRODUCER_EPOCH.
// The methods are called from the goroutines of many shards at once, but for one partition from one at a time.
type Partitions interface {
	// Append writes a batch as the leader of leaderEpoch, with the coordinator's origin: control batches and batches of
	// transactions are taken. It fails unless leaderEpoch is the epoch that the partition is led in here. It returns
	// when the batch is written locally: base is the offset of its first record, next the one after its last. The
	// callee may keep and change batch. guard (machine.Command) goes with a transaction's records, txnVersion
	// (machine.Marker) with a marker; both are zero for all others.
	Append(topic string, partition, leaderEpoch int32, batch record.Batch, guard uint64, txnVersion int16) (base, next int64, err error)
	// Read gives whole batches from the one that holds offset from onwards, up to the log's end, also above the high
	// watermark: about maxBytes of them, but at least one unless from is the log's end. The bytes belong to the caller.
	Read(topic string, partition int32, from int64, maxBytes int) ([]byte, error)
	// Offsets gives the log's start, high watermark and end.
	Offsets(topic string, partition int32) (start, highWatermark, end int64, err error)
	// OnHighWatermark calls f with the high watermark each time it has moved, until stop is called. f does not block.
	// Calls may come late and out of order; the last move is always followed by a call.
	OnHighWatermark(topic string, partition int32, f func(highWatermark int64)) (stop func())
}
