package logdir

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// fault tells an error that a disk gave from one that says something of a single log: that it is closed, that a batch in it is
// damaged, that a file is shorter than its index says. A disk that is full has not failed, nor has one whose files cannot be
// opened because the process has too many.
func fault(err error) bool {
	var system syscall.Errno
	return errors.As(err, &system) && !vfs.Exhausted(err) && !errors.Is(err, storage.ErrClosed)
}

// Check takes note of an error that somebody met who used a log: if it is the disk's, the log's directory has failed; if it says that
// the log is damaged, that is logged, where and once a minute, for its readers get no further. It never waits, and nil is fine.
func (d *Dirs) Check(l *storage.Log, err error) {
	if err == nil || l == nil || !fault(err) && !damage(err) {
		return
	}
	e := d.entry(l)
	if e == nil { // a log that is on its way out, or has moved since, is no disk's fault
		return
	}
	if damage(err) {
		d.sayDamage(e, err)
		return
	}
	if dir := d.directoryOf(l); dir != nil {
		d.diskFailed(dir, err)
	}
}

// damage tells bytes in a log that are no batch. (What a client sent says so, too, but names no file.)
func damage(err error) bool {
	var corrupt *record.Corrupt
	var place *storage.StorageError
	return errors.As(err, &corrupt) && errors.As(err, &place)
}

const damageEvery = time.Minute

func (d *Dirs) sayDamage(e *entry, err error) {
	now, said := d.c.Now().UnixMilli(), e.damageSaid.Load()
	if said != 0 && now-said < damageEvery.Milliseconds() || !e.damageSaid.CompareAndSwap(said, now) {
		return
	}
	d.c.Logger.Error("a log is damaged: what is read there is answered with an error; the rest of the log is served", "log", e.log.Dir(), "error", err)
}

// checkDisk is Check for work behind the scenes, which says what it cannot do.
func (d *Dirs) checkDisk(l *storage.Log, err error) {
	if err == nil || errors.Is(err, storage.ErrClosed) {
		return
	}
	if !fault(err) && !vfs.NoSpace(err) {
		d.c.Logger.Error("a log could not be looked after", "log", l.Dir(), "error", err)
		return
	}
	if vfs.NoSpace(err) {
		d.c.Logger.Warn("a log directory's disk is full", "log", l.Dir(), "error", err)
		return
	}
	d.Check(l, err)
}

// diskFailed takes note of a directory's first error. A disk that is full has not failed, nor one whose files cannot be opened for their number: what was in vain is tried again,
// by the client that wanted it or when its time comes.
func (d *Dirs) diskFailed(dir *directory, err error) {
	if vfs.NoSpace(err) {
		d.c.Logger.Warn("a log directory's disk is full", "dir", dir.path, "error", err)
		return
	}
	if vfs.Exhausted(err) {
		d.c.Logger.Warn("a file of a log directory cannot be opened, there are too many open ones", "dir", dir.path, "error", err)
		return
	}
	d.mu.Lock()
	first := dir.failed == nil
	if first {
		dir.failed = err
	}
	d.mu.Unlock()
	if !first {
		return
	}
	d.c.Logger.Error("a log directory's disk failed: it is offline until the next start", "dir", dir.path, "error", err)
	if d.c.OnOffline != nil {
		d.c.OnOffline(dir.meta.DirectoryID, err)
	}
}

// Abandon closes the logs of a directory that failed, as they are. They keep their names, so that nobody creates them anew.
func (d *Dirs) Abandon(id schema.UUID) {
	d.changes.Lock()
	defer d.changes.Unlock()
	dir := d.byID[id]
	if d.phase != loaded || dir == nil || d.offline(dir) == nil {
		return
	}
	var gone []*entry
	d.mu.RLock()
	for _, e := range dir.logs { // each for itself
		gone = append(gone, e)
	}
	why := dir.failed
	d.mu.RUnlock()
	for _, m := range d.movesOf(dir) {
		d.halt(m)
		_ = m.future.Close(false)
		if m.dir == dir {
			d.c.Logger.Warn("a log does not move: the directory where it was to go is offline", "log", m.e.log.Dir(), "to", dir.path)
		}
		d.assignBack(m) // also when it is here that it stays: the controller must not count on the other directory
	}
	for _, e := range gone {
		d.drop(e)
		d.mu.Lock()
		dir.broken[e.name] = &broken{name: e.name, id: e.key.id, dir: dir, err: fmt.Errorf("%w: %w", ErrOffline, why)}
		d.mu.Unlock()
		_ = e.log.Close(false) // what the disk has of it, the next start finds out
	}
	d.c.Logger.Warn("the logs of a directory that failed are offline", "dir", dir.path, "logs", len(gone))
}

// probe looks whether the directories are still there: where nothing changes nothing is written, and nobody else would notice.
func (d *Dirs) probe() {
	for _, dir := range d.all {
		if d.offline(dir) != nil {
			continue
		}
		if _, err := d.c.FS.Stat(filepath.Join(dir.path, fileMeta)); fault(err) {
			d.diskFailed(dir, fmt.Errorf("log directory %s: %w", dir.path, err))
		}
	}
}

// isOffline says that a log's directory has failed.
func (d *Dirs) isOffline(l *storage.Log) bool {
	dir := d.directoryOf(l)
	return dir != nil && d.offline(dir) != nil
}

// Failed says whether no log directory is left, or none for the metadata.
func (d *Dirs) Failed() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.enough(false)
}

// anyOffline says whether a directory is offline, so that logs may be there which nobody sees. mu is held.
func (d *Dirs) anyOffline() bool {
	for _, dir := range d.dirs {
		if dir.failed != nil {
			return true
		}
	}
	return false
}
