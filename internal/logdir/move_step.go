package logdir

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// moveAll goes on with every move by one piece, and says whether more can be done at once. It ends when it is not permitted.
func (d *Dirs) moveAll(permit func(bytes int) bool) (more bool) {
	for _, m := range d.movesOf(nil) {
		if !permit(0) {
			return false
		}
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
	if !m.alone { // a cleaning under way would go on in segments that the copy has as they were
		m.e.log.AwaitCleaning()
		m.alone = true
	}
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
	if vfs.Exhausted(err) {
		if now := d.c.Now(); now.Sub(m.said) >= progressEvery {
			m.said = now
			d.c.Logger.Warn("a log cannot move for want of space or open files; it is tried again", "log", m.e.log.Dir(), "to", m.dir.path, "error", err)
		}
		return
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	d.mu.RLock()
	mine := d.moves[m.e.key] == m
	d.mu.RUnlock()
	if !mine || d.phase != loaded || errors.Is(err, storage.ErrClosed) { // Close ends it
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
	d.purgeLater(e.log, d.c.Now().Add(e.log.Config().FileDeleteDelay)) // what the copy has lost on its way
	if at, known := d.assignedTo(e.key.id, e.key.partition); known && at != m.dir.meta.DirectoryID && d.c.Assign != nil {
		d.c.Assign(e.key.id, e.key.partition, m.dir.meta.DirectoryID, func(error) {}) // somebody told otherwise since
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
