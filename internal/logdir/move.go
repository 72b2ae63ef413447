package logdir

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// How a log moves to another directory of the node (AlterReplicaLogDirs, KIP-113, KIP-858):
//
//   - Its future log, topic-partition.unique-future, is made in the other directory and takes a copy of every batch, while the log
//     is used as before. Only compaction leaves it alone.
//   - When the copy has caught up, the controller is told where the replica is to be. Until it has agreed, copying goes on.
//   - Then, while appends wait, the rest is copied, the future log's directory gets the log's name, durably, and the old directory
//     its -delete name. The log itself stays the same object, so that nobody who uses it need know.
//
// What a crash leaves, Load goes on with: a future log beside its log is copied to again; two directories with the log's name
// have the same records, and the metadata says which is the one.

// moveState is how far a move is.
type moveState int8

const (
	copying  moveState = iota
	asked              // the controller has been told
	accepted           // and agreed
)

// move is a log on its way to another directory.
type move struct {
	e   *entry
	dir *directory // where to

	mu     sync.Mutex // held while the future log is written; taken after changes. Guards:
	future *storage.Log
	ended  bool // halted or done

	state moveState // guarded by Dirs.mu

	said  time.Time // owned by the mover
	done  int64     // bytes that were copied; the same
	alone bool      // no cleaning that began before the move is under way any more; the same
}

const (
	moveChunk = 1 << 20 // bytes that are copied at once
	moveTail  = 1 << 20 // bytes that may be copied while appends wait
	moveIdle  = 100 * time.Millisecond
)

// Move has a log move to the directory of that path. It returns once that has begun: Info shows how far it is. A log that is there
// already stays, and a move elsewhere that is under way is given up.
//
// For a partition that has no log here, the path is where it will be created, and the error is ErrUnknownLog. Others are
// ErrNoDirectory, ErrOffline, ErrCordoned, ErrNameTooLong, or that of the disk.
func (d *Dirs) Move(topic string, id schema.UUID, index int32, path string) error {
	p := partition{topic, index}
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase != loaded {
		return ErrClosed
	}
	dir, err := d.target(p, path)
	if err != nil {
		return err
	}
	d.mu.RLock()
	e, m := d.logs[key{id, index}], d.moves[key{id, index}]
	b := d.brokenByID(id, index)
	d.mu.RUnlock()
	if m != nil && m.dir != dir {
		if err := d.cancelMove(m); err != nil {
			return err
		}
		m = nil
	}
	switch {
	case b != nil:
		return fmt.Errorf("log %s: %w", p, ErrOffline)
	case e == nil:
		d.mu.Lock()
		d.preferred[p] = dir.path
		d.mu.Unlock()
		return fmt.Errorf("move log %s: %w", p, ErrUnknownLog)
	case m != nil, e.dir == dir:
		return nil
	}
	d.mu.RLock()
	offline := d.anyOffline()
	d.mu.RUnlock()
	if offline { // there may be a future log of it already
		return fmt.Errorf("log %s does not move while a log directory is offline: %w", p, ErrOffline)
	}
	return d.begin(e, dir)
}

// target finds the directory that a log shall move to.
func (d *Dirs) target(p partition, path string) (*directory, error) {
	if len(futureName(p, schema.ZeroUUID)) > nameMax {
		return nil, fmt.Errorf("move log %s: %w", p, ErrNameTooLong)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := slices.IndexFunc(d.dirs, func(dir *directory) bool { return dir.path == filepath.Clean(path) })
	switch {
	case i < 0:
		return nil, fmt.Errorf("log directory %s: %w", path, ErrNoDirectory)
	case d.dirs[i].failed != nil:
		return nil, fmt.Errorf("log directory %s: %w", path, ErrOffline)
	case d.cordoned[d.dirs[i].path]:
		return nil, fmt.Errorf("log directory %s: %w", path, ErrCordoned)
	}
	return d.dirs[i], nil
}

// begin makes a future log. changes is held.
func (d *Dirs) begin(e *entry, dir *directory) error {
	o := d.options(dir, e.name)
	o.Dir, o.TopicID = filepath.Join(dir.path, futureName(e.name, d.c.NewID())), e.key.id
	future, _, err := storage.Open(o)
	if err != nil {
		if fault(err) {
			d.diskFailed(dir, err)
		}
		return fmt.Errorf("move log %s to %s: %w", e.name, dir.path, err)
	}
	d.follow(e, dir, future)
	d.c.Logger.Info("a log moves to another directory", "log", e.log.Dir(), "to", dir.path, "bytes", e.log.Size())
	return nil
}

// follow has the mover copy to a future log.
func (d *Dirs) follow(e *entry, dir *directory, future *storage.Log) {
	d.mu.Lock()
	d.moves[e.key] = &move{e: e, dir: dir, future: future, said: d.c.Now()}
	d.mu.Unlock()
	d.wakeMover()
}

// halt ends a move and waits for the mover to let go of it. changes is held.
func (d *Dirs) halt(m *move) {
	d.mu.Lock()
	delete(d.moves, m.e.key)
	d.mu.Unlock()
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
}

// cancelMove ends a move and removes its future log. changes is held.
func (d *Dirs) cancelMove(m *move) error {
	d.halt(m)
	d.assignBack(m)
	d.c.Logger.Info("a log does not move any more", "log", m.e.log.Dir(), "to", m.dir.path)
	return d.discardFuture(m.future, m.dir, m.e.name)
}

// discardFuture removes a future log, as a deleted one.
func (d *Dirs) discardFuture(future *storage.Log, dir *directory, name partition) error {
	path := filepath.Join(dir.path, retiredName(name, d.c.NewID(), suffixDelete))
	if err := future.Rename(path); err != nil {
		if fault(err) {
			d.diskFailed(dir, err)
		}
		return errors.Join(err, future.Close(false))
	}
	d.doom(doomed{log: future, path: path, due: d.c.Now()})
	return nil
}

// assignBack takes back what the controller was told of a move that came to nothing.
func (d *Dirs) assignBack(m *move) {
	d.mu.RLock()
	told := m.state != copying
	d.mu.RUnlock()
	if told && d.c.Assign != nil {
		d.c.Assign(m.e.key.id, m.e.key.partition, m.e.dir.meta.DirectoryID, func(error) {})
	}
}

// movesOf lists the moves from and to a directory; nil: all.
func (d *Dirs) movesOf(dir *directory) (out []*move) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, m := range d.moves { // sorted below
		if dir == nil || m.dir == dir || m.e.dir == dir {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *move) int { return comparePartitions(a.e.name, b.e.name) })
	return out
}

// MovesTo is the id of the directory that a log is on its way to; zero if it stays.
func (d *Dirs) MovesTo(id schema.UUID, index int32) schema.UUID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if m := d.moves[key{id, index}]; m != nil {
		return m.dir.meta.DirectoryID
	}
	return schema.ZeroUUID
}

// isMoving says that a log is on its way to another directory.
func (d *Dirs) isMoving(l *storage.Log) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.moves) == 0 {
		return false
	}
	for _, m := range d.moves { // any
		if m.e.log == l {
			return true
		}
	}
	return false
}
