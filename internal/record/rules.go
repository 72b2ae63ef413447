package record

import "strconv"

// Rules say what Validate demands of a batch and does to it. They are a topic's configuration and where the batch
// comes from. The zero value checks the most: note Before and After.
type Rules struct {
	// Partition names the topic partition in messages, as "topic-0".
	Partition string
	// Now is the broker's time in milliseconds.
	Now int64
	// TimestampType is message.timestamp.type. With LogAppendTime the batch gets Now, and its own times do not matter.
	TimestampType TimestampType
	// Before and After are message.timestamp.before.max.ms and message.timestamp.after.max.ms: how far a record's
	// time may be from Now. math.MaxInt64 is no limit; 0 allows no difference.
	Before, After int64
	// Compacted is cleanup.policy with compact: every record needs a key.
	Compacted bool
	// MaxBytes is max.message.bytes, for the batch as it comes and as it is stored; 0 is no limit.
	MaxBytes int
	// MaxDecompressed limits what a compressed batch may hold; 0 is the larger of 256 MiB and 128 times its length.
	MaxDecompressed int64
	// ProduceVersion is the version of the Produce request, 0 if there was none. Zstd needs 7.
	ProduceVersion int16
	// FromClient demands what is demanded of producers: base offset 0, dense offsets, no control records, a sequence
	// with a producer id.
	FromClient bool
	// HeaderOnly trusts the header for counts and times and does not look at the records; it is Klamm's own
	// level of validation. On compacted topics it has no effect.
	HeaderOnly bool
	// Recompress is compression.type other than producer: batches with another codec than Codec are
	// compressed anew, at Level (0 is the codec's default).
	Recompress bool
	Codec      Codec
	Level      int
}

// Checked is a batch that may be appended, with what the log and replication want to know of it.
type Checked struct {
	Batch     Batch
	Count     int32
	Rewritten bool // Batch is a new slice, not the bytes that came

	// MaxTimestamp is the batch's largest timestamp as it is stored, and MaxTimestampDelta the offset delta of the
	// first record that has it (with HeaderOnly: of the last record).
	MaxTimestamp      int64
	MaxTimestampDelta int32
	// AppendTime is the time that all records got with LogAppendTime, otherwise -1. It goes into the response.
	AppendTime int64
}

// InvalidKind says why a batch is refused. Each has its code in the protocol.
type InvalidKind int8

// The kinds, with the error codes that they stand for.
const (
	CorruptMessage         InvalidKind = iota // CORRUPT_MESSAGE (2)
	MessageTooLarge                           // MESSAGE_TOO_LARGE (10)
	InvalidTimestamp                          // INVALID_TIMESTAMP (32)
	UnsupportedCompression                    // UNSUPPORTED_COMPRESSION_TYPE (76)
	InvalidRecord                             // INVALID_RECORD (87)
)

// maxRecordErrors limits how many records an Invalid names.
const maxRecordErrors = 1000

// Invalid is why Validate refused a batch.
type Invalid struct {
	Kind    InvalidKind
	Message string
	Records []RecordError // which records, in order, the first 1000 of them; none if the batch as a whole is at fault
}

// RecordError is what is wrong with one record (KIP-467).
type RecordError struct {
	Index   int32 // of the record in the batch
	Message string
}

func (e *Invalid) Error() string { return e.Message }

// String shows the error as Kafka's messages do.
func (e RecordError) String() string {
	return "RecordError(batchIndex=" + strconv.Itoa(int(e.Index)) + ", message='" + e.Message + "')"
}
