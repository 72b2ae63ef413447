package logdir

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// CleanerConfig says how logs with cleanup.policy=compact are compacted. What is for all threads together is shared
// evenly.
type CleanerConfig struct {
	Off            bool          // log.cleaner.enable is false
	Threads        int           // log.cleaner.threads: logs that are compacted at once; 0: 1
	MapBytes       int64         // log.cleaner.dedupe.buffer.size, for all threads; 0: 128 MiB
	LoadFactor     float64       // log.cleaner.io.buffer.load.factor: how full a map may be; 0: 0.9
	BufferBytes    int           // log.cleaner.io.buffer.size, for all threads; 0: 512 KiB
	BytesPerSecond float64       // log.cleaner.io.max.bytes.per.second, read and written, all threads; 0: no limit
	Backoff        time.Duration // log.cleaner.backoff.ms: how long to wait when nothing is to be done; 0: 15 s
}

func (c CleanerConfig) withDefaults() CleanerConfig {
	c.Threads = max(c.Threads, 1)
	if c.MapBytes <= 0 {
		c.MapBytes = 128 << 20
	}
	if c.BufferBytes <= 0 {
		c.BufferBytes = 512 << 10
	}
	if c.BytesPerSecond <= 0 {
		c.BytesPerSecond = math.MaxFloat64
	}
	if c.Backoff <= 0 {
		c.Backoff = 15 * time.Second
	}
	return c
}

// memory is what one thread may use. Half of its buffer is for reading, half for writing.
func (c CleanerConfig) memory() storage.CleanerOptions {
	o := storage.CleanerOptions{
		MapBytes: int(min(c.MapBytes/int64(c.Threads), math.MaxInt32)), LoadFactor: c.LoadFactor,
		BufferBytes: max(c.BufferBytes/c.Threads/2, 1),
	}
	var key [16]byte
	rand.Read(key[:]) // never fails
	o.HashKey = [2]uint64{binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])}
	return o
}

// CleanerStats tell how compaction goes. Beside each field stands Kafka's metric.
type CleanerStats struct {
	Threads         int           // that run
	MaxDirtyRatio   float64       // of the logs that were looked at last: LogCleanerManager max-dirty-percent
	LastRun         time.Time     // when that was; zero: never: time-since-last-run-ms
	MaxOverdue      time.Duration // how far the most urgent log was behind max.compaction.lag.ms: LogCleaner max-compaction-delay-secs
	MaxMapUse       float64       // of the threads' last runs: max-buffer-utilization-percent
	MaxTime         time.Duration // of the threads' last runs: max-clean-time-secs
	Recopied        float64       // bytes written per byte read, in the last runs: cleaner-recopy-percent
	Cleaned         int64         // runs that were completed, ever
	BytesRead       int64         // in all runs, for the maps and to be copied
	BytesWritten    int64
	Uncleanable     map[string]int   // logs that cannot be compacted, by directory: uncleanable-partitions-count
	UncleanableSize map[string]int64 // and what of them waits for it: uncleanable-bytes
}

// cleaners is what the threads of compaction share.
type cleaners struct {
	mu          sync.Mutex // guards:
	config      CleanerConfig
	stopped     chan struct{} // closed to end the threads that run; nil: none do
	running     *sync.WaitGroup
	busy        map[*storage.Log]bool
	uncleanable map[*storage.Log]error
	stats       CleanerStats
	last        map[int]lastRun // of each thread
	free        time.Time       // when the bytes that were permitted so far have had their time
}

// lastRun is a thread's last cleaning.
type lastRun struct {
	storage.CleanStats
	took time.Duration
}

func (c *cleaners) init(config CleanerConfig) {
	c.config = config.withDefaults()
	c.busy, c.uncleanable, c.last = map[*storage.Log]bool{}, map[*storage.Log]error{}, map[int]lastRun{}
}

// errStopped ends a cleaning when its thread is to end.
var errStopped = errors.New("the cleaner stops")

// reserve takes bytes out of log.cleaner.io.max.bytes.per.second, and says how long to wait before they may be moved.
// What was not used is not saved up.
func (c *cleaners) reserve(bytes int, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config.BytesPerSecond >= math.MaxInt64 {
		return 0
	}
	if c.free.Before(now) {
		c.free = now
	}
	wait := c.free.Sub(now)
	c.free = c.free.Add(time.Duration(min(float64(bytes)/c.config.BytesPerSecond, 3600) * float64(time.Second)))
	return wait
}

// choose takes the log that needs compaction most: of those that are due, the one of which most is dirty. It is the
// caller's until cleaned. Nil: nothing is due.
func (d *Dirs) choose(now time.Time) (*entry, storage.Cleanable) {
	c := &d.cleaners
	entries := d.compacted()
	due := make([]storage.Cleanable, len(entries))
	var ratio float64
	var overdue time.Duration
	for i, e := range entries { // without the lock: it may read
		if c.taken(e.log) {
			continue
		}
		var err error
		if due[i], err = e.log.CleanableOffsets(now); err != nil {
			due[i] = storage.Cleanable{}
			if !errors.Is(err, storage.ErrClosed) {
				d.giveUp(e, err)
			}
		}
		ratio, overdue = max(ratio, due[i].Ratio()), max(overdue, due[i].Overdue)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(entries)
	c.stats.LastRun, c.stats.MaxDirtyRatio, c.stats.MaxOverdue = now, ratio, overdue
	best := -1
	for i, e := range entries {
		if due[i].Due(e.log.Config().DirtyRatio) && !c.busy[e.log] && (best < 0 || due[i].Ratio() > due[best].Ratio()) {
			best = i
		}
	}
	if best < 0 {
		return nil, storage.Cleanable{}
	}
	c.busy[entries[best].log] = true
	return entries[best], due[best]
}

// taken says that a log is compacted at the moment, or cannot be.
func (c *cleaners) taken(l *storage.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy[l] || c.uncleanable[l] != nil
}

// compacted lists the logs of topics with cleanup.policy=compact whose disk works.
func (d *Dirs) compacted() (out []*entry) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.logs { // the dirtiest is chosen, whatever the order
		if e.dir.failed == nil && d.moves[e.key] == nil && e.log.Config().Compact {
			out = append(out, e)
		}
	}
	return out
}

// forget drops what is remembered of logs that are gone. mu is held.
func (c *cleaners) forget(entries []*entry) {
	if len(c.uncleanable) == 0 {
		return
	}
	there := make(map[*storage.Log]bool, len(entries))
	for _, e := range entries {
		there[e.log] = true
	}
	for l := range c.uncleanable { // each for itself
		if !there[l] {
			delete(c.uncleanable, l)
		}
	}
}

// giveUp marks a log as one that cannot be compacted, until the next start.
func (d *Dirs) giveUp(e *entry, err error) {
	d.cleaners.mu.Lock()
	d.cleaners.uncleanable[e.log] = err
	d.cleaners.mu.Unlock()
	d.c.Logger.Error("a log cannot be compacted and will not be until the next start; it is served as it is, and grows",
		"log", e.log.Dir(), "error", err)
	if !damage(err) { // which was just said
		d.Check(e.log, err)
	}
}

// cleanOne compacts the log that needs it most, and says whether there was one and it went well.
func (d *Dirs) cleanOne(thread int, memory *storage.Cleaner, permit func(l *storage.Log, bytes int) error) bool {
	begun := d.c.Now()
	e, due := d.choose(begun)
	if e == nil {
		return false
	}
	l, said := e.log, begun
	d.c.Logger.Debug("compacting a log", "log", l.Dir(), "from", due.FirstDirty, "to", due.FirstUncleanable,
		"dirty_bytes", due.DirtyBytes, "clean_bytes", due.CleanBytes, "overdue", due.Overdue)
	stats, err := l.Clean(memory, storage.CleanOptions{
		Cleanable: due, Now: begun,
		Permit: func(bytes int) error { return permit(l, bytes) },
		Progress: func(s storage.CleanStats) {
			if now := d.c.Now(); now.Sub(said) >= progressEvery {
				said = now
				d.c.Logger.Info(fmt.Sprintf("compacting a log: %d of %d segments are done", s.SegmentsDone, s.SegmentsBefore), "log", l.Dir())
			}
		},
	})
	d.cleaned(thread, e, lastRun{stats, d.c.Now().Sub(begun)}, err)
	return err == nil
}

// progressEvery is how often a long compaction is spoken of.
const progressEvery = 10 * time.Second

// cleaned takes note of how a cleaning ended.
func (d *Dirs) cleaned(thread int, e *entry, run lastRun, err error) {
	if run.SegmentsDone > 0 { // replaced files wait for their removal
		d.purgeLater(e.log, d.c.Now().Add(e.log.Config().FileDeleteDelay))
	}
	if err == nil && run.End > run.FirstDirty {
		if dir := d.directoryOf(e.log); dir != nil { // not e.dir: it may move now
			if err := d.checkpoint(dir, cleanedOffsets); err != nil {
				d.diskFailed(dir, fmt.Errorf("%s: %w", dir.checkpoints[cleanedOffsets].path, err))
			}
		}
	}
	switch {
	case err == nil:
		d.sayCleaned(e, run)
	case errors.Is(err, errStopped), errors.Is(err, storage.ErrCleaningAborted), errors.Is(err, storage.ErrClosed):
		d.c.Logger.Debug("compaction of a log was given up; the next one begins again", "log", e.log.Dir(), "reason", err)
	case vfs.Exhausted(err):
		d.c.Logger.Warn("a log cannot be compacted for want of space or open files; the cleaner tries again", "log", e.log.Dir(), "error", err)
	default:
		d.giveUp(e, err)
	}
	c := &d.cleaners
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, e.log)
	c.stats.BytesRead += run.BytesMapped + run.BytesRead
	c.stats.BytesWritten += run.BytesKept
	if err == nil {
		c.stats.Cleaned++
		c.last[thread] = run
	}
}

func (d *Dirs) sayCleaned(e *entry, run lastRun) {
	attrs := []any{"log", e.log.Dir(), "from", run.FirstDirty, "to", run.End, "took", run.took.Round(time.Millisecond),
		"segments", fmt.Sprintf("%d -> %d", run.SegmentsBefore, run.SegmentsAfter),
		"records", fmt.Sprintf("%d -> %d", run.RecordsRead, run.RecordsKept),
		"bytes", fmt.Sprintf("%d -> %d", run.BytesRead, run.BytesKept),
		"keys", run.Keys, "map_use", fmt.Sprintf("%.1f%%", 100*run.mapUse())}
	if run.RecordsInvalid > 0 {
		d.c.Logger.Warn("compacted a log, and removed records that have no key", append(attrs, "without_key", run.RecordsInvalid)...)
		return
	}
	d.c.Logger.Info("compacted a log", attrs...)
}

// mapUse is how full the map was.
func (r *lastRun) mapUse() float64 { return float64(r.Keys) / float64(max(r.Slots, 1)) }

// CleanerStats tells how compaction goes.
func (d *Dirs) CleanerStats() CleanerStats {
	now := d.c.Now()
	entries := d.compacted()
	c := &d.cleaners
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	if c.stopped != nil && !c.config.Off {
		s.Threads = c.config.Threads
	}
	var read, written int64
	for _, r := range c.last { // sums and maxima
		read, written = read+r.BytesRead, written+r.BytesKept
		s.MaxMapUse, s.MaxTime = max(s.MaxMapUse, r.mapUse()), max(s.MaxTime, r.took)
	}
	s.Recopied = float64(written) / float64(max(read, 1))
	s.Uncleanable, s.UncleanableSize = map[string]int{}, map[string]int64{}
	for _, e := range entries {
		if c.uncleanable[e.log] == nil {
			continue
		}
		dir := filepath.Dir(e.log.Dir()) // not e.dir: it may move now
		s.Uncleanable[dir]++
		if due, err := e.log.CleanableOffsets(now); err == nil {
			s.UncleanableSize[dir] += due.DirtyBytes
		}
	}
	return s
}
