package logdir

import (
	"log/slog"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Config says where the logs are and how they are kept. FS, Dirs and Logger are needed.
type Config struct {
	FS          vfs.FS
	Dirs        []string // log.dirs, in that order
	MetadataDir string   // metadata.log.dir; empty: the first of Dirs. If it is none of Dirs it is locked and checked, but has no partitions
	ClusterID   string   // what meta.properties must say; empty: whatever it says, but the same in all directories
	NodeID      int32    // what meta.properties must say

	Logger *slog.Logger
	Now    func() time.Time   // nil: time.Now
	NewID  func() schema.UUID // for names of -delete and -stray directories, and directory ids; nil: random

	Intervals       Intervals
	Cleaner         CleanerConfig
	OpenFiles       int // of logs, that are kept open at once; those in use may be more. 0: no bound
	RecoveryThreads int // num.recovery.threads.per.data.dir: for loading, recovery and closing; 0: 2

	ProducerIDExpiry      time.Duration // producer.id.expiration.ms; 0: one day
	MaxTransactionTimeout time.Duration // transaction.max.timeout.ms; 0: 15 minutes

	Defaults    storage.Config                    // without TopicConfig, every topic's
	TopicConfig func(topic string) storage.Config // asked when a log is loaded, created or deleted, without Dirs.mu; nil: Defaults

	// OnLogStart hears that retention has moved the start of a log, from the goroutine of that work. It must not wait, nor
	// call what changes the logs.
	OnLogStart func(l *storage.Log)

	// OnRetry hears, from the goroutine of the work behind the scenes, that a log that Create could not make for want of room or of open
	// files may be tried again. It comes every HighWatermark interval as long as Create fails like that. It must not call Close.
	OnRetry func()
	// OnRecovered hears, from a goroutine of the work behind the scenes, that the recovery has ended of a log for which Create gave
	// ErrRecovering, or would have: it is served, or Create gives the error. It must not call Close.
	OnRecovered func(topic schema.UUID, partition int32)
	// OnOffline hears, once a directory, that its disk failed after Open. Its logs may still take appends until Abandon. It is
	// called from a goroutine of this package or of a caller, who may be changing the logs: it may ask, but must not call what
	// changes them.
	OnOffline func(dir schema.UUID, err error)

	// Assigned says in which directory the metadata has this node's replica; false or zero: in none. Nil: nobody knows. It is
	// asked by Load and Create, without Dirs.mu.
	Assigned func(topic schema.UUID, partition int32) (dir schema.UUID, ok bool)
	// Assign makes the metadata say in which directory a replica is to be, before a log moves there, and calls done once,
	// from another goroutine. Nil: nobody need know. It must not wait.
	Assign func(topic schema.UUID, partition int32, dir schema.UUID, done func(error))
	// MoveBytesPerSecond is replica.alter.log.dirs.io.max.bytes.per.second; 0: no bound.
	MoveBytesPerSecond int64
}

// Intervals say how often the work behind the scenes runs. A zero field is the default that stands beside it; a
// negative one means never.
type Intervals struct {
	RecoveryCheckpoint time.Duration // log.flush.offset.checkpoint.interval.ms; 0: a minute
	StartCheckpoint    time.Duration // log.flush.start.offset.checkpoint.interval.ms; 0: a minute
	HighWatermark      time.Duration // replica.high.watermark.checkpoint.interval.ms; 0: 5 s
	Flush              time.Duration // log.flush.scheduler.interval.ms; 0: only as often as the topics' flush.ms ask
	Retention          time.Duration // log.retention.check.interval.ms; 0: 5 minutes
	ProducerExpiry     time.Duration // producer.id.expiration.check.interval.ms; 0: 10 minutes
	InitialDelay       time.Duration // log.initial.task.delay.ms: before the first run of each but HighWatermark; 0: 30 s
}

func (i Intervals) withDefaults() Intervals {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&i.RecoveryCheckpoint, time.Minute}, {&i.StartCheckpoint, time.Minute}, {&i.HighWatermark, 5 * time.Second},
		{&i.Flush, -1}, {&i.Retention, 5 * time.Minute}, {&i.ProducerExpiry, 10 * time.Minute}, {&i.InitialDelay, 30 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	i.InitialDelay = max(i.InitialDelay, 0)
	return i
}
