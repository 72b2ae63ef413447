package logdir

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// found future logs, at the start.
type foundFuture struct {
	dir  *directory
	name partition
	path string
}

// resume goes on with the moves that the last life of the node left. A future log without its log takes its place if the metadata
// says so and no directory is offline in which the log could be.
func (d *Dirs) resume(list []foundFuture) {
	for _, f := range list {
		if err := d.resumeOne(f); err != nil {
			d.c.Logger.Error("a log on its way to another directory cannot be used", "path", f.path, "error", err)
		}
	}
}

func (d *Dirs) resumeOne(f foundFuture) error {
	if again, err := d.restart(f); again || err != nil {
		return err
	}
	o := d.options(f.dir, f.name)
	o.Dir, o.Clean = f.path, f.dir.clean
	future, _, err := storage.Open(o)
	if err != nil {
		return err
	}
	id := future.TopicID()
	k := key{id, f.name.index}
	d.mu.RLock()
	e, other, offline := d.logs[k], d.moves[k], d.anyOffline()
	d.mu.RUnlock()
	at, known := d.assignedTo(id, f.name.index)
	switch {
	case id == schema.ZeroUUID && future.Size() > 0:
		return errors.Join(errors.New("it has records, but no partition.metadata that says which topic's"), future.Close(false))
	case id == schema.ZeroUUID, e != nil && (e.dir == f.dir || other != nil):
		return d.discardFuture(future, f.dir, f.name)
	case e != nil:
		if err := future.Rejoin(e.log.View(), d.c.Now()); err != nil {
			return errors.Join(err, future.Close(false))
		}
		d.follow(e, f.dir, future)
		d.c.Logger.Info("a log goes on moving to another directory", "log", e.log.Dir(), "to", f.dir.path)
		return nil
	case offline || !known || at != f.dir.meta.DirectoryID:
		_ = future.Close(f.dir.clean)
		return errors.New("its log is not there")
	case d.mayOpen(f.name, id):
		_ = future.Close(f.dir.clean)
		return errors.New("its log could not be opened, and may be another time")
	}
	path := filepath.Join(f.dir.path, f.name.String())
	if err := future.Rename(path); err != nil {
		return errors.Join(err, future.Close(false))
	}
	d.c.Logger.Warn("a log is gone, its copy takes its place", "log", path)
	d.add(&entry{log: future, name: f.name, key: k, dir: f.dir})
	return nil
}

// mayOpen says whether a log that could not be opened may be the one of that id, and be opened later.
func (d *Dirs) mayOpen(p partition, id schema.UUID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.ContainsFunc(d.dirs, func(dir *directory) bool {
		b := dir.broken[p]
		return b != nil && b.again && (b.id == id || b.id == schema.ZeroUUID)
	})
}

// restart gives up a copy that would have to be read first, and has its log copied anew: at once, or when it is recovered. Until then the
// copy stays, for it may turn out to be all there is. False: the copy is whole, or there is no log.
func (d *Dirs) restart(f foundFuture) (bool, error) {
	id := d.readTopicID(f.path)
	d.mu.Lock()
	e, b := d.logs[key{id, f.name.index}], d.brokenByID(id, f.name.index)
	recovering := b != nil && b.recovery != nil
	if recovering {
		b.copied = &f
	}
	d.mu.Unlock()
	switch {
	case recovering:
		return true, nil
	case f.dir.clean || e == nil:
		return false, nil
	}
	return true, d.copyAgain(e, f)
}

// copyAgain removes a copy and begins a new one. changes is held.
func (d *Dirs) copyAgain(e *entry, f foundFuture) error {
	path := filepath.Join(f.dir.path, retiredName(f.name, d.c.NewID(), suffixDelete))
	if err := errors.Join(d.c.FS.Rename(f.path, path), d.c.FS.SyncDir(f.dir.path)); err != nil {
		return err
	}
	d.doom(doomed{path: path, due: d.c.Now()})
	return d.moveAgain(e, f.dir)
}

// moveAgain begins a move that the last life of the node left, unless another one has begun or the log is there. changes is held.
func (d *Dirs) moveAgain(e *entry, dir *directory) error {
	d.mu.RLock()
	other := d.moves[e.key]
	d.mu.RUnlock()
	if other != nil || e.dir == dir || d.offline(dir) != nil {
		return nil
	}
	return d.begin(e, dir)
}

// beginAgain is copyAgain for a log that was recovered.
func (d *Dirs) beginAgain(l *storage.Log, f foundFuture) {
	d.changes.Lock()
	defer d.changes.Unlock()
	e := d.entry(l)
	if d.phase != loaded || e == nil {
		return
	}
	if err := d.copyAgain(e, f); err != nil {
		d.c.Logger.Error("a log does not move on to another directory", "log", l.Dir(), "to", f.dir.path, "error", err)
	}
}

// assignedTo is the directory that the metadata knows for a replica.
func (d *Dirs) assignedTo(id schema.UUID, index int32) (schema.UUID, bool) {
	if d.c.Assigned == nil {
		return schema.ZeroUUID, false
	}
	dir, ok := d.c.Assigned(id, index)
	return dir, ok && dir != schema.ZeroUUID
}
