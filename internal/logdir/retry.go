package logdir

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// unopened finds a log that could not be opened: nil if there is none, the error if it cannot be opened now either. mu is held.
func (d *Dirs) unopened(p partition, id, dirID schema.UUID) (*broken, error) {
	var b *broken
	for _, dir := range d.dirs {
		other := dir.broken[p]
		switch {
		case other == nil || other.id != id && other.id != schema.ZeroUUID:
			continue
		case !other.again || dir.failed != nil:
			err := other.err
			if vfs.Exhausted(err) { // it was; no other time is better
				return nil, fmt.Errorf("log %s is offline: %v", p, err)
			}
			return nil, fmt.Errorf("log %s is offline: %w", p, err)
		case d.c.Now().Before(other.notBefore):
			d.wanting.Store(true)
			return nil, fmt.Errorf("log %s is offline: %w, later, for it ended with: %v", p, ErrRecovering, other.err)
		case b != nil: // which one is right only Load finds out
			return nil, fmt.Errorf("log %s is offline until the next start: it is in %s and %s", p, b.dir.path, dir.path)
		}
		b = other
	}
	// As for hideStale: it may have moved to a directory that is not here.
	if b != nil && d.anyOffline() && dirID != b.dir.meta.DirectoryID {
		return nil, fmt.Errorf("log %s in directory %s: %w", p, dirID, ErrOffline)
	}
	return b, nil
}

// reload opens a log in its place. Nobody else does. Nil: its creation was not completed, and there is nothing any more. The error is
// errStopped if reading said so, ErrRecovering after errMuch.
func (d *Dirs) reload(b *broken, id schema.UUID, reading func(int) error) (*storage.Log, error) {
	log, rec, err := d.openLog(b, id, reading)
	switch {
	case errors.Is(err, errStopped):
		return nil, err
	case errors.Is(err, errMuch):
		d.mu.Lock()
		b.id = id
		d.postpone(b, rec.BytesDue)
		d.mu.Unlock()
		return nil, fmt.Errorf("log %s is offline: %w", b.name, ErrRecovering)
	case err != nil:
		if fault(err) {
			d.diskFailed(b.dir, err)
		}
		return nil, d.stays(b, err)
	case log == nil:
		d.mu.Lock()
		delete(b.dir.broken, b.name)
		d.mu.Unlock()
		return nil, nil
	}
	if err := d.serve(&entry{log: log, name: b.name, key: key{log.TopicID(), b.name.index}, dir: b.dir}, b); err != nil {
		return nil, d.stays(b, errors.Join(err, log.Close(false)))
	}
	d.purgeDeleted(log, rec)
	return log, nil
}

// How long a log whose recovery found no room is left alone: longer after each time, for all of it is read again.
const (
	recoveryPause    = 5 * time.Second
	recoveryPauseMax = 5 * time.Minute
)

// stays notes why a log still cannot be opened, and says it if no other time will be better.
func (d *Dirs) stays(b *broken, err error) error {
	var other *storage.InconsistentTopicID
	d.mu.Lock()
	b.err, b.again = err, vfs.Exhausted(err)
	switch {
	case errors.As(err, &other):
		b.id = other.Have
	case errors.Is(err, errUnnamed):
		b.id = schema.ZeroUUID
	case b.again && b.recovery != nil:
		b.notBefore = d.c.Now().Add(min(recoveryPause<<min(b.tries, 10), recoveryPauseMax))
		b.tries++
	}
	again := b.again
	b.recovery = nil
	d.mu.Unlock()
	if !again && !errors.Is(err, ErrOffline) { // the disk's failure was said
		d.c.Logger.Error("a log cannot be opened and is offline", "dir", b.dir.path, "topic", b.name.topic, "partition", b.name.index, "error", err)
	}
	return fmt.Errorf("log %s is offline: %w", b.name, err)
}

// takeBack removes what Create has begun, or a later topic of the name would find what is this one's. That opens files, too: what
// stays is removed before the next try, or the next log of the name.
func (d *Dirs) takeBack(p partition, path string) {
	if d.c.FS.RemoveAll(path) == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.leftovers[p], path) {
		d.leftovers[p] = append(d.leftovers[p], path)
	}
}

// removeLeftover removes what stayed of a partition. The caller has its place, or Dirs.changes.
func (d *Dirs) removeLeftover(p partition) error {
	d.mu.RLock()
	paths := slices.Clone(d.leftovers[p])
	d.mu.RUnlock()
	for len(paths) > 0 {
		dir := d.byPath[filepath.Dir(paths[0])]
		d.mu.RLock()
		// What is in a directory that failed the next start finds. A log that has the name by now has come another way.
		mine := dir.failed == nil && dir.logs[p] == nil
		d.mu.RUnlock()
		if mine {
			if err := d.c.FS.RemoveAll(paths[0]); err != nil {
				if fault(err) {
					d.diskFailed(dir, err)
				}
				return err
			}
		}
		paths = paths[1:]
		d.mu.Lock()
		if d.leftovers[p] = paths; len(paths) == 0 {
			delete(d.leftovers, p)
		}
		d.mu.Unlock()
	}
	return nil
}

// removeLeftovers removes what stayed of all; if it cannot, it is to be called again.
func (d *Dirs) removeLeftovers() {
	d.mu.RLock()
	all := make([]partition, 0, len(d.leftovers))
	for p := range d.leftovers { // each for itself
		all = append(all, p)
	}
	d.mu.RUnlock()
	if len(all) == 0 {
		return
	}
	d.changes.Lock() // nobody creates one of them
	defer d.changes.Unlock()
	if d.phase != loaded {
		return
	}
	for _, p := range all {
		if err := d.removeLeftover(p); err != nil {
			d.wanting.Store(true)
			return
		}
	}
}
