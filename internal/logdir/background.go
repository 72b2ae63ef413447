package logdir

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// background is what the work behind the scenes shares with the calls that ask for it.
type background struct {
	threads   threads
	intervals atomic.Pointer[Intervals]
	flushAge  atomic.Int64 // shortest flush.ms of any topic, nanoseconds

	queueMu sync.Mutex // guards queue; short: appends take it
	queue   []flush

	gravesMu sync.Mutex // guards graves and purge
	graves   []doomed
	purge    map[*storage.Log]time.Time // logs with .deleted files, and when to look at them

	cleaners cleaners

	runner
}

// flush is a queued wish.
type flush struct {
	log  *storage.Log
	upTo int64
	done func(error)
}

func (b *background) init(c Config) {
	b.threads.n.Store(int32(max(c.RecoveryThreads, 1)))
	i := c.Intervals.withDefaults()
	b.intervals.Store(&i)
	b.flushAge.Store(math.MaxInt64)
	b.purge = map[*storage.Log]time.Time{}
	b.cleaners.init(c.Cleaner)
	b.runner.init()
}

func (t *threads) get() int { return int(t.n.Load()) }

// SetIntervals changes how often the work behind the scenes runs.
func (d *Dirs) SetIntervals(i Intervals) {
	i = i.withDefaults()
	d.intervals.Store(&i)
	d.wake()
}

// flushAgeSet takes note of a topic's flush.ms: logs are looked at as often as the shortest asks.
func (d *Dirs) flushAgeSet(age time.Duration) {
	if age <= 0 {
		return
	}
	for {
		old := d.flushAge.Load()
		if int64(age) >= old {
			return
		}
		if d.flushAge.CompareAndSwap(old, int64(age)) {
			d.wake()
			return
		}
	}
}

// Appended tells of an append, after it: a roll queues the flush of what was rolled. It never waits.
func (d *Dirs) Appended(l *storage.Log, a storage.Appended) {
	if a.Rolled {
		d.Flush(l, a.FirstOffset, nil)
	}
}

// Flush queues a flush up to an offset; done, which may be nil, hears how it ended, on a goroutine of this package.
func (d *Dirs) Flush(l *storage.Log, upTo int64, done func(error)) {
	d.queueMu.Lock()
	d.queue = append(d.queue, flush{l, upTo, done})
	d.queueMu.Unlock()
	d.wakeFlusher()
}

// flushQueued does what is queued. Logs are flushed side by side, so that the disk can join their commits.
func (d *Dirs) flushQueued() {
	d.queueMu.Lock()
	todo := d.queue
	d.queue = nil
	d.queueMu.Unlock()
	each(len(todo), flushesAtOnce, func(i int) {
		err := todo[i].log.Flush(todo[i].upTo)
		d.checkDisk(todo[i].log, err)
		if todo[i].done != nil {
			todo[i].done(err)
		}
	})
}

// flushesAtOnce is how many logs are flushed side by side.
const flushesAtOnce = 8

// flushAged flushes the logs that flush.ms is due for.
func (d *Dirs) flushAged(now time.Time) {
	for _, l := range d.Logs() {
		if l.FlushDue(now) {
			d.Flush(l, l.View().LogEnd, nil)
		}
	}
}

// checkDisk takes note of a log's error. A closed log is no disk's fault.
func (d *Dirs) checkDisk(l *storage.Log, err error) {
	if err == nil || errors.Is(err, storage.ErrClosed) {
		return
	}
	if dir := d.directoryOf(l); dir != nil {
		d.diskFailed(dir, err)
	}
}

// diskFailed takes note of a directory's first error.
func (d *Dirs) diskFailed(dir *directory, err error) {
	d.mu.Lock()
	first := dir.failed == nil
	if first {
		dir.failed = err
	}
	d.mu.Unlock()
	if !first {
		return
	}
	d.c.Logger.Error("a log directory's disk failed", "dir", dir.path, "error", err)
	if d.c.OnOffline != nil {
		d.c.OnOffline(dir.meta.DirectoryID, err)
	}
}

// checkpoint writes one of a directory's files. A log that could not be opened keeps its line.
func (d *Dirs) checkpoint(dir *directory, k int) error {
	return dir.checkpoints[k].write(func() offsets {
		now := offsets{}
		d.mu.RLock()
		defer d.mu.RUnlock()
		for p := range dir.broken { // each for itself
			if o, there := dir.loaded[k][p]; there {
				now[p] = o
			}
		}
		for p, e := range dir.logs { // each for itself
			v := e.log.View()
			switch k {
			case recoveryPoints:
				now[p] = e.log.RecoveryPoint()
			case startOffsets:
				if v.LogStart > 0 {
					now[p] = v.LogStart
				}
			case highWatermarks:
				now[p] = v.HighWatermark
			case cleanedOffsets:
				if at := e.log.Cleaned(); at > 0 {
					now[p] = at
				}
			}
		}
		return now
	})
}

// checkpointAll writes one file in every directory.
func (d *Dirs) checkpointAll(k int) {
	for _, dir := range d.dirs {
		if err := d.checkpoint(dir, k); err != nil {
			d.diskFailed(dir, fmt.Errorf("%s: %w", dir.checkpoints[k].path, err))
		}
	}
}

// Truncated tells that a log was truncated: the recovery points of its directory are written at once, since the old one
// would make a restart trust what is appended from now on.
func (d *Dirs) Truncated(l *storage.Log) error {
	dir := d.directoryOf(l)
	if dir == nil {
		return ErrUnknownLog
	}
	return errors.Join(d.checkpoint(dir, recoveryPoints), d.checkpoint(dir, cleanedOffsets))
}

// retain removes what retention allows, log by log.
func (d *Dirs) retain(now time.Time) {
	for _, l := range d.Logs() {
		gone, err := l.DeleteOldSegments(now)
		d.checkDisk(l, err)
		if len(gone) > 0 {
			d.c.Logger.Info("segments removed", "log", l.Dir(), "segments", len(gone), "log_start", l.View().LogStart)
			d.purgeLater(l, now.Add(l.Config().FileDeleteDelay))
		}
	}
}

func (d *Dirs) expireProducers(now time.Time) {
	for _, l := range d.Logs() {
		l.ExpireProducers(now)
	}
}

// purgeLater has a log's .deleted files looked at.
func (d *Dirs) purgeLater(l *storage.Log, at time.Time) {
	d.gravesMu.Lock()
	d.purge[l] = at
	d.gravesMu.Unlock()
	d.wake()
}

// doom has a directory removed when it is due.
func (d *Dirs) doom(g doomed) {
	d.gravesMu.Lock()
	d.graves = append(d.graves, g)
	d.gravesMu.Unlock()
	d.wake()
}

// bury removes what is due. It says when to come again; the zero time: when there is something new.
func (d *Dirs) bury(now time.Time) (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	d.gravesMu.Lock()
	var due []doomed
	kept := d.graves[:0]
	for _, g := range d.graves {
		if g.due.After(now) {
			kept = append(kept, g)
			sooner(g.due)
		} else {
			due = append(due, g)
		}
	}
	clear(d.graves[len(kept):])
	d.graves = kept
	var logs []*storage.Log
	for l, at := range d.purge { // each for itself
		if at.After(now) {
			sooner(at)
		} else {
			logs = append(logs, l)
			delete(d.purge, l)
		}
	}
	d.gravesMu.Unlock()
	for _, l := range logs {
		left, err := l.RemoveDeleted(now)
		d.checkDisk(l, err)
		if left > 0 {
			again := now.Add(max(l.Config().FileDeleteDelay, time.Second))
			d.gravesMu.Lock()
			d.purge[l] = again
			d.gravesMu.Unlock()
			sooner(again)
		}
	}
	for _, g := range due {
		if err := d.remove(g); err != nil {
			d.c.Logger.Error("a removed log's directory stays; the next start tries again", "path", g.path, "error", err)
		}
	}
	return next
}

func (d *Dirs) remove(g doomed) error {
	if g.log != nil {
		return g.log.Remove()
	}
	if err := d.c.FS.RemoveAll(g.path); err != nil {
		return err
	}
	return d.c.FS.SyncDir(filepath.Dir(g.path))
}

// Close ends the work, flushes and closes every log, writes the checkpoints, and in each directory where all went well
// the marker of a clean shutdown with this broker epoch (-1: none). It unlocks the directories in any case.
func (d *Dirs) Close(cleanBrokerEpoch int64) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase == closed {
		return nil
	}
	wasLoaded := d.phase == loaded
	d.phase = closed
	d.halt()
	d.flushQueued()
	d.gravesMu.Lock()
	for _, g := range d.graves {
		if g.log != nil {
			_ = g.log.Close(false) // what is left of it goes at the next start
		}
	}
	d.gravesMu.Unlock()
	errs := make([]error, len(d.dirs))
	each(len(d.dirs), len(d.dirs), func(i int) {
		errs[i] = d.closeDirectory(d.dirs[i], wasLoaded, cleanBrokerEpoch)
	})
	return errors.Join(errors.Join(errs...), d.unlock())
}

func (d *Dirs) closeDirectory(dir *directory, wasLoaded bool, epoch int64) error {
	d.mu.RLock()
	var logs []*storage.Log
	for _, e := range dir.logs { // each for itself
		logs = append(logs, e.log)
	}
	failed := dir.failed
	d.mu.RUnlock()
	errs := make([]error, len(logs))
	each(len(logs), d.threads.get(), func(i int) { errs[i] = logs[i].Close(wasLoaded) })
	err := errors.Join(errs...)
	if !wasLoaded {
		return err
	}
	for k := range dir.checkpoints {
		err = errors.Join(err, d.checkpoint(dir, k))
	}
	if err != nil || failed != nil || epoch < 0 {
		return err
	}
	return vfs.Replace(d.c.FS, filepath.Join(dir.path, fileClean), schema.AppendCleanShutdown(nil, epoch))
}
