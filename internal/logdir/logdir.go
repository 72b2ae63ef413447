package logdir

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// Errors that callers branch on.
var (
	ErrNotFormatted = errors.New("not formatted")                         // no meta.properties
	ErrFormatted    = errors.New("formatted already")                     // Format finds a meta.properties
	ErrLocked       = errors.New("in use by another process")             // .lock is taken
	ErrIdentity     = errors.New("formatted for another cluster or node") // meta.properties does not fit
	ErrClosed       = errors.New("log directories are closed")            // after Close, or before Load
	ErrUnknownLog   = errors.New("no such log")                           // Delete of what is not there
	ErrMalformed    = errors.New("malformed file")                        // meta.properties or a checkpoint
	ErrOffline      = errors.New("the log directory is offline")          // its disk failed, or it was not there at the start
	ErrNoDirectory  = errors.New("no such log directory")                 // Move to what is not configured
	ErrCordoned     = errors.New("the log directory is cordoned")         // Move to a directory that takes no new logs
	ErrRecovering   = errors.New("the log is being recovered")            // what a crash left of it is read; OnRecovered hears when that is done
	ErrNameTooLong  = errors.New("the topic's name is too long")          // Move needs a longer name for the copy
)

// Dirs is all logs of a node. Every method but Load, Start and Close is safe for concurrent use.
type Dirs struct {
	c         Config
	clusterID string
	files     *storage.Files // nil: no bound
	// The directories never change after Open, but for Join.
	all    []*directory // those that are locked, with the metadata directory, if it is apart
	dirs   []*directory // those that have logs, or would if they were not offline, in the order of the configuration
	byPath map[string]*directory
	byID   map[schema.UUID]*directory

	// changes serialises what adds or takes away logs, during their I/O; those that only create one share it. It is taken
	// before mu. It guards:
	changes sync.RWMutex
	phase   phase

	mu     sync.RWMutex // guards the maps below and what directory says; never held during I/O
	logs   map[key]*entry
	topics map[string]map[*entry]struct{}
	// doubled are logs that Load has found beside others of the same id and partition.
	doubled map[key][]*entry
	moves   map[key]*move
	// preferred are the paths that logs shall be created in (Move before there is a log).
	preferred map[partition]string
	cordoned  map[string]bool // paths that get no new logs

	expiry producerExpiry
	// wanting says that Create has failed for want of room or of open files since OnRetry was called.
	wanting atomic.Bool
	// leftovers are the directories of logs that Create has begun in vain and could not take away again. Guarded by mu.
	leftovers map[partition][]string

	// asking is held while a disk is asked for its room: Close waits for who asks, and nobody asks afterwards. It guards:
	asking sync.RWMutex
	left   bool

	atLoad     int64 // readAtLoad
	recoveries recoveries
	background
}

// phase is how far a node's life has come.
type phase int

const (
	opened phase = iota
	loading
	loaded
	closed
)

// key finds a log: names are used again, ids are not.
type key struct {
	id        schema.UUID
	partition int32
}

// entry is a log in use.
type entry struct {
	log  *storage.Log
	name partition
	key  key
	dir  *directory

	// damageSaid is when it was last said that the log is damaged (Unix milliseconds), 0: never.
	damageSaid atomic.Int64
}

// broken is a log that is there and not served: it could not be opened, or was not yet. It keeps its place: its name is not used again,
// and its lines stay in the checkpoints.
type broken struct {
	name partition
	id   schema.UUID // zero if not even that could be read
	dir  *directory
	err  error
	// again says that it could not be opened for want of room or of open files, and nothing else is known of it: Create opens it. It
	// is guarded by Dirs.mu, and so are id and err of such a one.
	again bool
	// recovery is not nil while the log is being recovered, or is to be; then err is ErrRecovering. Guarded by Dirs.mu.
	recovery *recovery
	// notBefore is when recovery that found no room may be tried again, tries how often it was. Guarded by Dirs.mu.
	notBefore time.Time
	tries     int
	// copied is its copy, if it was on its way to another directory when it came to be recovered. Guarded by Dirs.mu.
	copied *foundFuture
	// lines are what the checkpoints go on saying of it: what they said when it was opened, or when it was lost. Guarded by Dirs.mu.
	lines [checkpointKinds]struct {
		offset int64
		there  bool
	}
}

func newDirs(c Config) *Dirs {
	d := &Dirs{c: c, byPath: map[string]*directory{}, byID: map[schema.UUID]*directory{}, logs: map[key]*entry{},
		topics: map[string]map[*entry]struct{}{}, doubled: map[key][]*entry{}, moves: map[key]*move{},
		preferred: map[partition]string{}, leftovers: map[partition][]string{}, cordoned: map[string]bool{},
		atLoad: readAtLoad}
	d.background.init(c)
	return d
}

// MetadataDir is where __cluster_metadata-0 and bootstrap.checkpoint are. The quorum opens them itself.
func (d *Dirs) MetadataDir() string { return d.c.MetadataDir }

// MetadataDirID is that directory's id.
func (d *Dirs) MetadataDirID() schema.UUID { return d.byPath[d.c.MetadataDir].meta.DirectoryID }

// MetadataClean says that the metadata directory was shut down cleanly. One apart from the log directories never says so.
func (d *Dirs) MetadataClean() bool { return d.byPath[d.c.MetadataDir].clean }

// MetadataFailed tells that the metadata log could not be written or closed: its directory will not count as shut down
// cleanly.
func (d *Dirs) MetadataFailed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byPath[d.c.MetadataDir].unclean = true
}

// ClusterID is what meta.properties says.
func (d *Dirs) ClusterID() string { return d.clusterID }

// CleanShutdownEpoch is the broker epoch with which every directory was shut down cleanly; -1 if one was not or is offline, or
// they differ. The broker registers with it. DETAILS 27.
func (d *Dirs) CleanShutdownEpoch() int64 {
	epoch := d.dirs[0].cleanEpoch
	for _, dir := range d.dirs {
		if !dir.clean || dir.cleanEpoch != epoch {
			return -1
		}
	}
	return epoch
}

// Log finds a log; nil if there is none.
func (d *Dirs) Log(id schema.UUID, partition int32) *storage.Log {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.logs[key{id, partition}]; e != nil {
		return e.log
	}
	return nil
}

// Logs lists all logs, in no order.
func (d *Dirs) Logs() []*storage.Log {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]*storage.Log, 0, len(d.logs))
	for _, e := range d.logs { // order does not matter to callers
		out = append(out, e.log)
	}
	return out
}

// entry finds a log's entry; nil if the log is not in use any more.
func (d *Dirs) entry(l *storage.Log) *entry {
	k := key{l.TopicID(), l.Partition()}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.logs[k]; e != nil && e.log == l {
		return e
	}
	return nil
}

// add takes a log in, unless there is one of that id and partition, which is given then.
func (d *Dirs) add(e *entry) (other *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.logs[e.key]; other != nil {
		return other
	}
	d.put(e)
	return nil
}

// put takes a log into the maps, in which there is none of its id and partition. mu is held.
func (d *Dirs) put(e *entry) {
	d.logs[e.key] = e
	e.dir.logs[e.name] = e
	t := d.topics[e.name.topic]
	if t == nil {
		t = map[*entry]struct{}{}
		d.topics[e.name.topic] = t
	}
	t[e] = struct{}{}
}

// drop takes a log out of the maps.
func (d *Dirs) drop(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logs, e.key)
	delete(e.dir.logs, e.name)
	t := d.topics[e.name.topic]
	if delete(t, e); len(t) == 0 {
		delete(d.topics, e.name.topic)
	}
}

// directoryOf finds a log's directory, nil if it is none of ours.
func (d *Dirs) directoryOf(l *storage.Log) *directory { return d.byPath[filepath.Dir(l.Dir())] }

// DirID is the id of the directory that holds a log; zero if it is none of ours.
func (d *Dirs) DirID(l *storage.Log) schema.UUID {
	if dir := d.directoryOf(l); dir != nil {
		return dir.meta.DirectoryID
	}
	return schema.ZeroUUID
}

// IDs are the ids of the log directories that are online, in the order of the configuration.
func (d *Dirs) IDs() []schema.UUID {
	var out []schema.UUID
	for _, dir := range d.dirs {
		if d.offline(dir) == nil {
			out = append(out, dir.meta.DirectoryID)
		}
	}
	return out
}

// topicConfig asks for a topic's configuration.
func (d *Dirs) topicConfig(topic string) storage.Config {
	if d.c.TopicConfig == nil {
		return d.c.Defaults
	}
	return d.c.TopicConfig(topic)
}

// SetTopicConfig gives a topic's logs a new configuration.
func (d *Dirs) SetTopicConfig(topic string, c storage.Config) {
	d.mu.RLock()
	for e := range d.topics[topic] { // each for itself
		e.log.SetConfig(c)
	}
	d.mu.RUnlock()
	d.flushAgeSet(c.FlushAge)
}

// threads is num.recovery.threads.per.data.dir, which changes live.
type threads struct{ n atomic.Int32 }

// SetRecoveryThreads changes num.recovery.threads.per.data.dir: more recover at once, fewer end as they come to the end of a log.
func (d *Dirs) SetRecoveryThreads(n int) {
	d.threads.n.Store(int32(max(n, 1)))
	d.changes.RLock()
	defer d.changes.RUnlock()
	if d.phase == loaded {
		for _, dir := range d.dirs {
			d.startRecoveries(dir)
		}
	}
}
