package storage

import (
	"math"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Config is what a topic's configuration says about its logs. Log.SetConfig replaces it live.
type Config struct {
	SegmentBytes  int           // segment.bytes; 0: 1 GiB
	SegmentAge    time.Duration // segment.ms; 0: seven days
	SegmentJitter time.Duration // segment.jitter.ms: a segment rolls up to so much earlier; 0: none
	IndexBytes    int           // segment.index.bytes: a full index rolls; 0: 10 MiB
	IndexInterval int           // index.interval.bytes: an index entry follows more than so many bytes; 0: 4096

	Delete         bool          // cleanup.policy has delete: retention by age and size applies
	Compact        bool          // cleanup.policy has compact
	RetentionAge   time.Duration // retention.ms; -1: none
	RetentionBytes int64         // retention.bytes; -1: none
	// FileDeleteDelay is file.delete.delay.ms: how long a removed file keeps its .deleted name; 0: removed at the next
	// occasion.
	FileDeleteDelay time.Duration

	FlushMessages int64         // flush.messages: see Log.FlushDue; 0: never by number
	FlushAge      time.Duration // flush.ms: see Log.FlushDue; 0: never by age
	// Preallocate is preallocate. It is kept for those who show it: files here grow as they are written, because
	// recovery of a preallocated file must read the zeros behind its end.
	Preallocate bool

	MaxMessageBytes int  // max.message.bytes: the largest batch that a client may append; 0: 1 MiB and 12 bytes
	LogAppendTime   bool // message.timestamp.type is LogAppendTime

	// VerifyTransactions is transaction.partition.verification.enable: a client's or coordinator's transactional batch
	// that would begin a transaction is refused unless it carries the guard of StartVerification.
	VerifyTransactions bool

	// What validation before the append needs; the log keeps it for its callers.
	TimestampBefore, TimestampAfter time.Duration // message.timestamp.before.max.ms and .after.max.ms
	HeaderOnly                      bool          // produce.validation is header
	KeepCodec                       bool          // compression.type is producer
	Codec                           record.Codec  // compression.type otherwise
	GzipLevel, LZ4Level, ZstdLevel  int           // compression.*.level

	// Compaction's settings; the log keeps them for the cleaner.
	DeleteRetention, MinCompactionLag, MaxCompactionLag time.Duration // delete.retention.ms, min/max.compaction.lag.ms
	DirtyRatio                                          float64       // min.cleanable.dirty.ratio
}

// withDefaults fills in what may not be zero.
func (c Config) withDefaults() Config {
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = 1 << 30
	}
	c.SegmentBytes = min(c.SegmentBytes, math.MaxInt32)
	if c.SegmentAge <= 0 {
		c.SegmentAge = 7 * 24 * time.Hour
	}
	if c.IndexBytes <= 0 {
		c.IndexBytes = 10 << 20
	}
	if c.IndexInterval <= 0 {
		c.IndexInterval = 4096
	}
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = 1<<20 + record.LogOverhead
	}
	return c
}

// segmentAge is the age at which a segment rolls: compaction must reach a record before max.compaction.lag.ms.
func (c *Config) segmentAge() time.Duration {
	if c.Compact && c.MaxCompactionLag > 0 {
		return min(c.SegmentAge, c.MaxCompactionLag)
	}
	return c.SegmentAge
}

// Options say what to open, and what is known about it.
type Options struct {
	FS        vfs.FS
	Dir       string // the partition's directory; created if it is not there
	Topic     string
	Partition int32
	TopicID   schema.UUID // zero: unknown, taken from partition.metadata
	Config    Config

	RecoveryPoint  int64 // from recovery-point-offset-checkpoint; 0: unknown, everything is checked
	LogStartOffset int64 // from log-start-offset-checkpoint
	HighWatermark  int64 // from replication-offset-checkpoint
	Cleaned        int64 // from cleaner-offset-checkpoint
	Clean          bool  // the last shutdown was clean: no segment is scanned

	// Reading is asked before so many bytes are read of what cannot be trusted: to check them, and to rebuild indexes and the producers'
	// state. Its error ends Open, which leaves the log as a crash at that point would. Nil: all is read.
	Reading func(bytes int) error

	// Files bounds the open files of all logs that are opened with it; nil: there is no bound.
	Files *Files

	ProducerIDExpiry      time.Duration // producer.id.expiration.ms; 0: one day
	MaxTransactionTimeout time.Duration // transaction.max.timeout.ms; 0: 15 minutes

	Now time.Time
}

// Recovery says what Open had to do. A clean start has only zeros.
type Recovery struct {
	SegmentsScanned int   // segments of which batches were read and checked
	BytesScanned    int64 // bytes of those batches
	BytesDue        int64 // bytes that are to be scanned, known when that begins
	BytesTruncated  int64 // bytes of torn or corrupt batches, cut off
	SegmentsDeleted int   // segments behind a corrupt one, or beyond a log that ends before its start
	IndexesRebuilt  int   // segments whose indexes were missing or insane
	FilesRemoved    int   // leftovers: .deleted, .cleaned, orphaned indexes and snapshots
	FilesSwapped    int   // .swap files that got their final name
	// ProducersRebuiltFrom is the offset from which batch headers were read to rebuild the producers' state; -1 if a
	// snapshot at the log's end made that needless.
	ProducersRebuiltFrom int64
	// Corruption is why the log was truncated: it names file and position. Nil if it was not.
	Corruption error
}
