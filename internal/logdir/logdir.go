package logdir

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Errors that callers branch on.
var (
	ErrNotFormatted = errors.New("not formatted")                         // no meta.properties
	ErrFormatted    = errors.New("already formatted")                     // Format finds a meta.properties
	ErrLocked       = errors.New("another process uses this directory")   // .lock is taken
	ErrIdentity     = errors.New("formatted for another cluster or node") // meta.properties does not fit
	ErrClosed       = errors.New("log directories are closed")            // after Close
	ErrUnknownLog   = errors.New("no such log")                           // Delete of what is not there
	ErrMalformed    = errors.New("malformed file")                        // meta.properties or a checkpoint
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
	RecoveryThreads int // num.recovery.threads.per.data.dir: for loading and closing; 0: 2

	ProducerIDExpiry      time.Duration // producer.id.expiration.ms; 0: one day
	MaxTransactionTimeout time.Duration // transaction.max.timeout.ms; 0: 15 minutes

	Defaults    storage.Config                    // of topics that TopicConfig does not know; its FileDeleteDelay is that of -delete directories
	TopicConfig func(topic string) storage.Config // asked when a log is loaded or created; nil: Defaults

	// OnOffline hears, once a directory, that its disk failed while the node ran: a flush or a checkpoint could not be
	// written. The logs that failed refuse appends. It is called without a lock, from a goroutine of this package.
	OnOffline func(dir schema.UUID, err error)
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
	InitialDelay       time.Duration // log.initial.task.delay.ms: before the first run of each; 0: 30 s
}

// DirInfo describes a log directory, as DescribeLogDirs shows it.
type DirInfo struct {
	Path  string
	ID    schema.UUID
	Err   error // the disk's first error while the node ran, nil if there was none
	Total int64 // bytes of the file system; -1 if unknown
	Free  int64
	Logs  []LogInfo // by topic and partition
}

// LogInfo describes a log in a directory.
type LogInfo struct {
	Topic     string
	TopicID   schema.UUID
	Partition int32
	Size      int64
	LogEnd    int64
	Err       error // why it could not be opened; then Size and LogEnd are -1
}

// Dirs is all logs of a node.
type Dirs struct {
	c Config
}

// Open locks the directories and reads what says whose they are and how they were left: .lock, meta.properties,
// .kafka_cleanshutdown (which it removes), the checkpoints. It opens no log.
//
// Errors, each naming the directory: ErrLocked, ErrNotFormatted, ErrIdentity, ErrMalformed, or that of the disk.
func Open(c Config) (*Dirs, error) { return &Dirs{c: c}, nil }

// MetadataDir is where __cluster_metadata-0 and bootstrap.checkpoint are. The quorum opens them itself.
func (d *Dirs) MetadataDir() string { return d.c.MetadataDir }

// MetadataDirID is that directory's id.
func (d *Dirs) MetadataDirID() schema.UUID { return schema.UUID{} }

// ClusterID is what meta.properties says.
func (d *Dirs) ClusterID() string { return d.c.ClusterID }

// CleanShutdownEpoch is the broker epoch with which every directory was shut down cleanly; -1 if one was not, or they
// differ. The broker registers with it. DETAILS 27.
func (d *Dirs) CleanShutdownEpoch() int64 { return -1 }

// Load opens every log, in parallel. A log that cannot be opened is logged and left where it is: Info shows it, Log does
// not have it, Create of it fails. The error is that of a directory that cannot be listed, or of ctx.
func (d *Dirs) Load(ctx context.Context) error { return nil }

// Start begins the work behind the scenes. It is called once, after Load.
func (d *Dirs) Start() {}

// Close ends the work, flushes and closes every log, writes the checkpoints, and in each directory where all went well
// the marker of a clean shutdown with this broker epoch (-1: none). It unlocks the directories in any case.
func (d *Dirs) Close(cleanBrokerEpoch int64) error { return nil }

// Log finds a log; nil if there is none.
func (d *Dirs) Log(id schema.UUID, partition int32) *storage.Log { return nil }

// Logs lists all logs, in no order.
func (d *Dirs) Logs() []*storage.Log { return nil }

// Create makes a log in a directory; its partition.metadata is durable when it returns. A zero, reserved or unknown
// directory id means the one with the fewest logs. A log that is there already is given as it is.
func (d *Dirs) Create(topic string, id schema.UUID, partition int32, dir schema.UUID) (*storage.Log, error) {
	return nil, ErrClosed
}

// Delete takes a log away: it is renamed to its -delete name, durably, and removed after file.delete.delay.ms.
func (d *Dirs) Delete(id schema.UUID, partition int32) error { return ErrUnknownLog }

// Strays renames the logs that keep refuses to their -stray names, and gives those. DETAILS 28.
func (d *Dirs) Strays(keep func(topic string, id schema.UUID, partition int32) bool) (moved []string, err error) {
	return nil, nil
}

// DirID is the id of the directory that holds a log; zero if it is none of ours.
func (d *Dirs) DirID(l *storage.Log) schema.UUID { return schema.UUID{} }

// IDs are the ids of the log directories, in the order of the configuration.
func (d *Dirs) IDs() []schema.UUID { return nil }

// Info describes the log directories, in the order of the configuration.
func (d *Dirs) Info() []DirInfo { return nil }

// SetTopicConfig gives a topic's logs a new configuration.
func (d *Dirs) SetTopicConfig(topic string, c storage.Config) {}

// SetIntervals changes how often the work behind the scenes runs.
func (d *Dirs) SetIntervals(i Intervals) {}

// Appended tells of an append, after it: a roll queues the flush of what was rolled, and flush.messages that of the log.
// It never waits.
func (d *Dirs) Appended(l *storage.Log, a storage.Appended) {}

// Flush queues a flush up to an offset; done, which may be nil, hears how it ended, on a goroutine of this package.
func (d *Dirs) Flush(l *storage.Log, upTo int64, done func(error)) {}

// Truncated tells that a log was truncated: the recovery points of its directory are written at once, since the old one
// would make a restart trust what is appended from now on.
func (d *Dirs) Truncated(l *storage.Log) error { return nil }
