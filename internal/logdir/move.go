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
	"github.com/klamm-io/klamm/internal/vfs"
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

	said time.Time // owned by the mover
	done int64     // bytes that were copied; the same
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

// moveAll goes on with every move by one piece, and says whether more can be done at once.
func (d *Dirs) moveAll(permit func(bytes int) bool) (more bool) {
	for _, m := range d.movesOf(nil) {
		again, err := d.moveOne(m, permit)
		if err != nil {
			d.moveFailed(m, err)
		}
		more = more || again && err == nil
	}
	return more
}

// moveOne copies one piece, or takes the next step of a move that has caught up.
func (d *Dirs) moveOne(m *move, permit func(bytes int) bool) (more bool, err error) {
	copied, behind, err := d.copyPiece(m)
	if err != nil || copied > 0 && !permit(copied) {
		return false, err
	}
	d.sayMove(m, copied, behind)
	if behind > 0 {
		return true, nil
	}
	d.mu.Lock()
	state := m.state
	if state == copying && d.c.Assign == nil {
		m.state = accepted
	} else if state == copying {
		m.state = asked
	}
	d.mu.Unlock()
	switch {
	case state == accepted || state == copying && d.c.Assign == nil:
		return false, d.finishMove(m)
	case state == copying:
		d.c.Assign(m.e.key.id, m.e.key.partition, m.dir.meta.DirectoryID, func(err error) { d.assigned(m, err) })
	}
	return false, nil
}

func (d *Dirs) copyPiece(m *move) (copied int, behind int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return 0, 0, errStopped
	}
	copied, behind, err = m.e.log.Copy(m.future, moveChunk, d.c.Now())
	m.done += int64(copied)
	return copied, behind, err
}

// assigned hears what the controller says to a move.
func (d *Dirs) assigned(m *move, err error) {
	d.mu.Lock()
	if m.state == asked {
		m.state = accepted
		if err != nil {
			m.state = copying // it is asked again
		}
	}
	d.mu.Unlock()
	if err != nil {
		d.c.Logger.Warn("the controller does not agree to a log's move yet", "log", m.e.log.Dir(), "to", m.dir.path, "error", err)
		return
	}
	d.wakeMover()
}

// sayMove tells how far a long move is.
func (d *Dirs) sayMove(m *move, copied int, behind int64) {
	if now := d.c.Now(); copied > 0 && behind > 0 && now.Sub(m.said) >= progressEvery {
		m.said = now
		d.c.Logger.Info("a log is being copied to another directory", "log", m.e.log.Dir(), "to", m.dir.path, "copied_bytes", m.done,
			"size", m.e.log.Size(), "offsets_behind", behind)
	}
}

// moveFailed gives a move up that cannot go on, or leaves it for later where the disk is only full.
func (d *Dirs) moveFailed(m *move, err error) {
	if errors.Is(err, errStopped) || errors.Is(err, storage.ErrBehind) {
		return
	}
	if vfs.NoSpace(err) {
		if now := d.c.Now(); now.Sub(m.said) >= progressEvery {
			m.said = now
			d.c.Logger.Warn("a log cannot move for want of space; it is tried again", "log", m.e.log.Dir(), "to", m.dir.path, "error", err)
		}
		return
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	d.mu.RLock()
	mine := d.moves[m.e.key] == m
	d.mu.RUnlock()
	if !mine || errors.Is(err, storage.ErrClosed) {
		return
	}
	d.c.Logger.Error("a log cannot move to another directory and stays where it is", "log", m.e.log.Dir(), "to", m.dir.path, "error", err)
	d.blame(m, err)
	if e := d.cancelMove(m); e != nil {
		d.c.Logger.Warn("the copy of a log that did not move stays until the next start", "error", e)
	}
}

// blame finds out whose disk an error is. An error without a place is the one of the directory that is written.
func (d *Dirs) blame(m *move, err error) {
	var at *storage.StorageError
	if !fault(err) {
		return
	}
	if errors.As(err, &at) && filepath.Dir(at.Dir) == m.e.dir.path {
		d.diskFailed(m.e.dir, err)
		return
	}
	d.diskFailed(m.dir, err)
}

// finishMove puts a log in the place of its future log.
func (d *Dirs) finishMove(m *move) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	d.mu.RLock()
	mine := d.moves[m.e.key] == m
	d.mu.RUnlock()
	if !mine || d.phase != loaded || d.offline(m.dir) != nil || d.offline(m.e.dir) != nil {
		return errStopped // Abandon ends it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, from := m.e, m.e.dir
	path := filepath.Join(m.dir.path, e.name.String())
	if _, err := d.c.FS.Stat(path); err == nil {
		return fmt.Errorf("%s is there already", path)
	}
	old := filepath.Join(from.path, retiredName(e.name, d.c.NewID(), suffixDelete))
	moved, err := e.log.MoveTo(storage.Move{
		Future: m.future, Dir: path, Old: old, Tail: moveTail, Now: d.c.Now(),
		Ready: func(end int64) error { return d.announce(m, end) },
	})
	if !moved {
		d.withdraw(m)
		return err
	}
	m.ended = true
	d.mu.Lock()
	delete(d.moves, e.key)
	delete(m.dir.broken, e.name)
	delete(from.logs, e.name)
	e.dir, m.dir.logs[e.name] = m.dir, e
	d.mu.Unlock()
	if err != nil {
		d.diskFailed(from, err)
	} else {
		d.doom(doomed{path: old, due: d.c.Now().Add(e.log.Config().FileDeleteDelay)})
	}
	d.c.Logger.Info("a log has moved to another directory", "log", path, "from", from.path, "copied_bytes", m.done)
	return nil
}

// announce makes the checkpoints of the new directory speak of a log that is about to be there: what they say is true of the copy,
// which is complete and durable. changes is held, the log waits.
func (d *Dirs) announce(m *move, end int64) error {
	b := &broken{name: m.e.name, id: m.e.key.id, dir: m.dir, err: errors.New("the log is about to move here")}
	for k := range b.lines {
		b.lines[k].offset, b.lines[k].there = current(m.e.log, k)
	}
	b.lines[recoveryPoints].offset = end
	d.mu.Lock()
	m.dir.broken[m.e.name] = b
	d.mu.Unlock()
	for k := range m.dir.checkpoints {
		if err := d.checkpoint(m.dir, k); err != nil {
			return fmt.Errorf("%s: %w", m.dir.checkpoints[k].path, err)
		}
	}
	return nil
}

// withdraw undoes announce: the next checkpoint has the line no more.
func (d *Dirs) withdraw(m *move) {
	d.mu.Lock()
	delete(m.dir.broken, m.e.name)
	d.mu.Unlock()
}

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
			d.c.Logger.Error("a log on its way to another directory cannot be used and is left alone", "path", f.path, "error", err)
		}
	}
}

func (d *Dirs) resumeOne(f foundFuture) error {
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
	}
	path := filepath.Join(f.dir.path, f.name.String())
	if err := future.Rename(path); err != nil {
		return errors.Join(err, future.Close(false))
	}
	d.c.Logger.Warn("a log is gone, its copy takes its place", "log", path)
	d.add(&entry{log: future, name: f.name, key: k, dir: f.dir})
	return nil
}

// assignedTo is the directory that the metadata knows for a replica.
func (d *Dirs) assignedTo(id schema.UUID, index int32) (schema.UUID, bool) {
	if d.c.Assigned == nil {
		return schema.ZeroUUID, false
	}
	dir, ok := d.c.Assigned(id, index)
	return dir, ok && dir != schema.ZeroUUID
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

// rate is a bound of bytes per second.
type rate struct {
	mu     sync.Mutex // guards:
	perSec int64      // 0: no bound
	owed   float64    // bytes that were moved and have not had their time yet
	at     time.Time  // when owed was so
}

func (r *rate) set(perSec int64) {
	r.mu.Lock()
	r.perSec = max(perSec, 0)
	r.mu.Unlock()
}

// wait adds bytes that were moved, and says how long it takes until all have had their time. What was not used is not saved up.
func (r *rate) wait(bytes int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perSec == 0 {
		r.owed = 0
		return 0
	}
	r.owed = max(r.owed-now.Sub(r.at).Seconds()*float64(r.perSec), 0) + float64(bytes)
	r.at = now
	return time.Duration(min(r.owed/float64(r.perSec), 3600) * float64(time.Second))
}

// SetMoveRate changes replica.alter.log.dirs.io.max.bytes.per.second; 0: no bound.
func (d *Dirs) SetMoveRate(bytesPerSecond int64) { d.moveRate.set(bytesPerSecond) }
