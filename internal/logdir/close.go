package logdir

import (
	"errors"
	"path/filepath"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Close ends the work, flushes and closes every log, writes the checkpoints, and leaves the marker of a clean shutdown in
// each directory where all went well. It unlocks the directories in any case.
//
// The marker says with which epoch the broker was registered. A negative one means that it was not: then it is the epoch
// that Open found, for nobody has given this broker another one since. So a start that fails costs neither a recovery nor
// the broker's place among the eligible leaders. DETAILS 27.
//
// Called again it does nothing, but for waiting until a call that goes on has ended.
func (d *Dirs) Close(brokerEpoch int64) error {
	d.changes.Lock()
	reached := d.phase
	d.phase = closed
	d.changes.Unlock()
	if reached == closed {
		<-d.gone
		return nil
	}
	defer close(d.gone)
	d.asking.Lock()
	d.left = true
	d.asking.Unlock()
	d.end() // without changes: the mover may wait for them, and finds that it came too late
	d.changes.Lock()
	defer d.changes.Unlock()
	d.flushQueued(true)
	d.gravesMu.Lock()
	for _, g := range d.graves {
		if g.log != nil {
			_ = g.log.Close(false) // what is left of it goes after the next start
		}
	}
	d.graves = nil
	d.gravesMu.Unlock()
	for _, m := range d.movesOf(nil) {
		m.ended = true // the mover is gone
		sound := d.offline(m.dir) == nil
		if err := m.future.Close(sound); err != nil && sound { // the next start checks what is here
			d.c.Logger.Warn("the copy of a log that moves cannot be closed cleanly", "log", m.e.log.Dir(), "to", m.dir.path, "error", err)
			d.mu.Lock()
			m.dir.unclean = true
			d.mu.Unlock()
		}
	}
	errs := make([]error, len(d.dirs))
	each(len(d.dirs), len(d.dirs), func(i int) {
		dir := d.dirs[i]
		epoch := brokerEpoch
		if epoch < 0 {
			epoch = dir.cleanEpoch
		}
		errs[i] = d.closeDirectory(dir, reached, epoch)
	})
	return errors.Join(errors.Join(errs...), d.unlock())
}

// closeDirectory closes a directory's logs and leaves the marker if the next start need not check them. A log that could
// not be opened was not recovered either: it counts as closed cleanly only if it was that before.
func (d *Dirs) closeDirectory(dir *directory, reached phase, epoch int64) error {
	failed := d.offline(dir) != nil
	d.mu.RLock()
	logs := make([]*storage.Log, 0, len(dir.logs))
	for _, e := range dir.logs { // each for itself
		logs = append(logs, e.log)
	}
	clean := dir.failed == nil && !dir.unclean && (dir.clean || reached == loaded && len(dir.broken) == 0)
	d.mu.RUnlock()
	errs := make([]error, len(logs))
	each(len(logs), d.threads.get(), func(i int) { errs[i] = logs[i].Close(!failed && (reached == loaded || dir.clean)) })
	for _, l := range logs { // one that refuses appends was not closed cleanly, whatever its directory
		clean = clean && l.Failed() == nil
	}
	if failed { // that was said when it happened
		return nil
	}
	err := errors.Join(errs...)
	if reached == loaded { // otherwise there are logs that the checkpoints know and Dirs does not
		for k := range dir.checkpoints {
			err = errors.Join(err, d.checkpoint(dir, k))
		}
	}
	if err != nil || !clean {
		return err
	}
	return dir.mark(d.c.FS, epoch)
}

// mark leaves the marker of a clean shutdown.
func (dir *directory) mark(fs vfs.FS, epoch int64) error {
	return vfs.Replace(fs, filepath.Join(dir.path, fileClean), schema.AppendCleanShutdown(nil, epoch))
}
