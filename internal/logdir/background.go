package logdir

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
)

// background is what the work behind the scenes shares with the calls that ask for it.
type background struct {
	threads   threads
	intervals atomic.Pointer[Intervals]
	queue     flushQueue

	gravesMu sync.Mutex // guards graves and purge
	graves   []doomed
	purge    map[*storage.Log]time.Time // logs with .deleted files, and when to look at them

	cleaners cleaners
	moveRate rate

	runner
}

func (b *background) init(c Config) {
	b.threads.n.Store(int32(max(c.RecoveryThreads, 1)))
	i := c.Intervals.withDefaults()
	b.intervals.Store(&i)
	b.purge = map[*storage.Log]time.Time{}
	b.cleaners.init(c.Cleaner)
	b.moveRate.set(c.MoveBytesPerSecond)
	b.runner.init()
}

func (t *threads) get() int { return int(t.n.Load()) }

// SetIntervals changes how often the work behind the scenes runs.
func (d *Dirs) SetIntervals(i Intervals) {
	i = i.withDefaults()
	d.intervals.Store(&i)
	d.wake()
}

// current is what a checkpoint should say of a log; absent: nothing.
func current(l *storage.Log, k int) (offset int64, there bool) {
	switch k {
	case recoveryPoints:
		return l.RecoveryPoint(), true
	case startOffsets:
		start := l.View().LogStart
		return start, start > 0
	case highWatermarks:
		return l.View().HighWatermark, true
	default:
		at := l.Cleaned()
		return at, at > 0
	}
}

// checkpoint writes one of a directory's files. A log that could not be opened keeps its line.
//
// The logs are collected first and asked then, without Dirs.mu: an append may hold a log's lock while the disk is slow. A
// log that is deleted in between leaves a line behind, which Create of its name finds and removes.
func (d *Dirs) checkpoint(dir *directory, k int) error {
	return dir.checkpoints[k].write(func(c *checkpoint) func(func(partition, int64) bool) {
		c.kept, c.logs = c.kept[:0], c.logs[:0]
		d.mu.RLock()
		for _, b := range dir.broken { // each for itself
			if b.lines[k].there {
				c.kept = append(c.kept, line{b.name, b.lines[k].offset})
			}
		}
		for _, e := range dir.logs { // each for itself
			c.logs = append(c.logs, e)
		}
		d.mu.RUnlock()
		return func(yield func(partition, int64) bool) {
			for _, x := range c.kept {
				if !yield(x.name, x.offset) {
					return
				}
			}
			for _, e := range c.logs {
				if at, there := current(e.log, k); there && !yield(e.name, at) {
					return
				}
			}
		}
	})
}

// checkpointAll writes one file in every directory.
func (d *Dirs) checkpointAll(k int) {
	for _, dir := range d.dirs {
		if d.offline(dir) != nil {
			continue
		}
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

// retain removes what retention allows, log by log. DETAILS 25.
func (d *Dirs) retain(now time.Time) {
	for _, l := range d.Logs() {
		gone, err := l.DeleteOldSegments(now)
		d.checkDisk(l, err)
		if len(gone) > 0 {
			d.c.Logger.Info("segments removed", "log", l.Dir(), "segments", len(gone), "log_start", l.View().LogStart)
			d.purgeLater(l, now.Add(l.Config().FileDeleteDelay))
			if d.c.OnLogStart != nil {
				d.c.OnLogStart(l)
			}
		}
	}
}

func (d *Dirs) keepProducers() {
	for _, l := range d.Logs() {
		d.checkDisk(l, l.KeepProducers())
	}
}

func (d *Dirs) expireProducers(now time.Time) {
	for _, l := range d.Logs() {
		l.ExpireProducers(now)
	}
}

// purgeLater has a log's .deleted files looked at, unless that is planned already for an earlier time.
func (d *Dirs) purgeLater(l *storage.Log, at time.Time) {
	d.gravesMu.Lock()
	if planned, there := d.purge[l]; !there || at.Before(planned) {
		d.purge[l] = at
	}
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
			delete(d.purge, g.log)
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
			d.purgeLater(l, again)
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
