package logdir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Create makes a log in a directory; its partition.metadata is durable when it returns. Where Move has asked for a directory
// before there was a log, it is that one. A zero, reserved or unknown directory id means the one with the fewest logs among
// those that are not cordoned; all, if all are. But while a directory is offline an unknown id may be its, and the log be there: then
// nothing is created, and the error is ErrOffline. A log that is there already is given as it is. Several may be made at once, but
// none twice.
//
// Where the disk is full or too many files are open, what was begun is taken back, at once or later, and OnRetry will be called. A
// log that could not be opened at the start for such a reason is opened now. One that is being recovered is ErrRecovering, and
// OnRecovered will be called.
func (d *Dirs) Create(topic string, id schema.UUID, index int32, dirID schema.UUID) (*storage.Log, error) {
	log, err := d.create(topic, id, index, dirID)
	if vfs.Exhausted(err) {
		d.wanting.Store(true)
	}
	return log, err
}

// retry has Create called again for what it could not make, when what earlier tries left is gone.
func (d *Dirs) retry() {
	if !d.wanting.Swap(false) {
		return
	}
	d.removeLeftovers()
	if d.c.OnRetry != nil {
		d.c.OnRetry()
	}
}

func (d *Dirs) create(topic string, id schema.UUID, index int32, dirID schema.UUID) (*storage.Log, error) {
	p := partition{topic, index}
	if !legal(topic) || index < 0 || topic == metadataTopic || len(p.String()) > nameMax || id == schema.ZeroUUID {
		return nil, fmt.Errorf("create log: %q, partition %d, topic id %s name no log", topic, index, id)
	}
	d.changes.RLock()
	defer d.changes.RUnlock()
	if d.phase != loaded {
		return nil, ErrClosed
	}
	log, dir, b, err := d.place(p, id, dirID)
	if log != nil || err != nil {
		return log, err
	}
	defer d.placed(dir, p)
	if b != nil {
		switch log, err := d.reload(b, id, atMost(d.atLoad)); {
		case errors.Is(err, ErrRecovering):
			d.startRecoveries(dir)
			return nil, err
		case log != nil:
			d.c.Logger.Info("a log that could not be opened at the start is served", "log", log.Dir())
			return log, nil
		case err != nil:
			return nil, err
		}
	}
	if err := d.removeLeftover(p); err != nil {
		return nil, fmt.Errorf("create log %s: what an earlier try left: %w", p, err)
	}
	// A line that an earlier log of this name left would be taken for this one's at the next start.
	for k, c := range dir.checkpoints {
		if c.mayHave(p) {
			if err := d.checkpoint(dir, k); err != nil {
				return nil, fmt.Errorf("create log %s in %s: %w", p, dir.path, err)
			}
		}
	}
	o := d.options(dir, p)
	o.TopicID = id
	_, there := d.c.FS.Stat(o.Dir)
	var rec storage.Recovery
	if log, rec, err = storage.Open(o); err != nil {
		if fault(err) {
			d.diskFailed(dir, err)
		}
		if vfs.Exhausted(err) && errors.Is(there, fs.ErrNotExist) {
			d.takeBack(p, o.Dir)
		}
		return nil, err
	}
	if d.offline(dir) != nil { // an earlier try may have made files whose names are not durable
		if err := errors.Join(d.c.FS.SyncDir(o.Dir), d.c.FS.SyncDir(dir.path)); err != nil {
			err = errors.Join(fmt.Errorf("create log %s: %w", o.Dir, err), log.Close(false))
			if vfs.Exhausted(err) && errors.Is(there, fs.ErrNotExist) {
				d.takeBack(p, o.Dir)
			}
			return nil, err
		}
	}
	d.sayRecovery(o.Dir, rec)
	if err := d.serve(&entry{log: log, name: p, key: key{id, index}, dir: dir}, nil); err != nil {
		return nil, errors.Join(err, log.Close(false))
	}
	return log, nil
}

// serve takes in a log that was made, or opened in the place of b. The error is ErrOffline, or that there is such a log.
func (d *Dirs) serve(e *entry, b *broken) error {
	d.mu.Lock()
	switch {
	case b != nil && e.dir.failed != nil: // and Abandon may have been
		defer d.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrOffline, e.dir.failed)
	case d.logs[e.key] != nil:
		defer d.mu.Unlock()
		return fmt.Errorf("log %s: it is in %s already", e.name, d.logs[e.key].dir.path)
	}
	d.put(e)
	if b != nil { // at once, or a checkpoint would lose its lines
		delete(b.dir.broken, b.name)
	}
	delete(d.preferred, e.name)
	d.mu.Unlock()
	// The configuration may have changed while the log was not yet among those that SetTopicConfig reaches.
	cfg := d.topicConfig(e.name.topic)
	e.log.SetConfig(cfg)
	d.expiry.apply(e.log)
	d.flushAgeSet(cfg.FlushAge)
	return nil
}

// place gives the log if it is there. Otherwise it chooses the directory of a new one, and keeps the place until placed is called. If it
// is to be opened once more, that is b.
func (d *Dirs) place(p partition, id, dirID schema.UUID) (log *storage.Log, dir *directory, b *broken, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.logs[key{id, p.index}]; e != nil {
		return e.log, nil, nil, nil
	}
	for _, dir := range d.dirs {
		if dir.coming[p] {
			return nil, nil, nil, fmt.Errorf("log %s in %s: it is being created", p, dir.path)
		}
	}
	if b, err := d.unopened(p, id, dirID); err != nil {
		return nil, nil, nil, err
	} else if b != nil {
		b.dir.coming[p] = true
		return nil, b.dir, b, nil
	}
	dir = d.byID[dirID]
	switch known := dir != nil && slices.Contains(d.dirs, dir); {
	case d.preferred[p] != "" && d.byPath[d.preferred[p]].failed == nil:
		dir = d.byPath[d.preferred[p]]
	case known && dir.failed != nil, !known && UsableID(dirID) && d.anyOffline():
		return nil, nil, nil, fmt.Errorf("log %s in directory %s: %w", p, dirID, ErrOffline)
	case !known:
		dir = slices.MinFunc(d.dirs, func(a, b *directory) int {
			return cmp.Or(a.worse(d.cordoned)-b.worse(d.cordoned), a.count()-b.count())
		})
	}
	if dir.failed != nil {
		return nil, nil, nil, fmt.Errorf("log %s: no log directory is left: %w", p, ErrOffline)
	}
	path := filepath.Join(dir.path, p.String())
	if e := dir.logs[p]; e != nil {
		return nil, nil, nil, &storage.InconsistentTopicID{Dir: path, Have: e.key.id, Want: id}
	}
	if b := dir.broken[p]; b != nil {
		return nil, nil, nil, &storage.InconsistentTopicID{Dir: path, Have: b.id, Want: id}
	}
	dir.coming[p] = true
	return nil, dir, nil, nil
}

func (d *Dirs) placed(dir *directory, p partition) {
	d.mu.Lock()
	delete(dir.coming, p)
	d.mu.Unlock()
}

// offline is the first error of a directory's disk.
func (d *Dirs) offline(dir *directory) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return dir.failed
}

// worse ranks directories for new logs: one that is cordoned gets one only when all are, one that is offline never. Dirs.mu is
// held.
func (dir *directory) worse(cordoned map[string]bool) int {
	switch {
	case dir.failed != nil:
		return 2
	case cordoned[dir.path]:
		return 1
	}
	return 0
}

// SetCordoned says which directories get no new logs (cordoned.log.dirs, KIP-1066).
func (d *Dirs) SetCordoned(paths []string) {
	cordoned := map[string]bool{}
	for _, path := range paths {
		cordoned[filepath.Clean(path)] = true
	}
	d.mu.Lock()
	d.cordoned = cordoned
	d.mu.Unlock()
}

// count is how many logs a directory has. Dirs.mu is held.
func (dir *directory) count() int { return len(dir.logs) + len(dir.broken) + len(dir.coming) }

// Delete takes a log away: it is renamed to its -delete name, durably, and removed after file.delete.delay.ms. One that
// could not be opened is taken away, too. DETAILS 28.
func (d *Dirs) Delete(id schema.UUID, index int32) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase != loaded {
		return ErrClosed
	}
	d.mu.RLock()
	e := d.logs[key{id, index}]
	var b *broken
	if e == nil {
		b = d.brokenByID(id, index)
	}
	d.mu.RUnlock()
	if b != nil {
		e = d.haltRecovery(b)
	}
	if e == nil && b != nil {
		if err := d.offline(b.dir); err != nil { // the next start finds it
			return fmt.Errorf("delete log %s: %w: %w", b.name, ErrOffline, err)
		}
	}
	if e == nil && b == nil {
		return fmt.Errorf("delete log %s, partition %d: %w", id, index, ErrUnknownLog)
	}
	d.mu.RLock()
	m := d.moves[key{id, index}]
	d.mu.RUnlock()
	if m != nil {
		if err := d.cancelMove(m); err != nil {
			d.c.Logger.Warn("the copy of a deleted log stays until the next start", "error", err)
		}
	}
	path, err := d.retire(e, b, suffixDelete)
	if err != nil {
		return err
	}
	gone := doomed{path: path}
	var topic string
	if e != nil {
		gone.log, topic = e.log, e.name.topic
	} else {
		topic = b.name.topic
	}
	delay := d.topicConfig(topic).FileDeleteDelay
	gone.due = d.c.Now().Add(delay)
	d.doom(gone)
	d.c.Logger.Info("a log was renamed and will be removed", "path", path, "after", delay)
	return nil
}

// brokenByID finds a log that could not be opened. mu is held.
func (d *Dirs) brokenByID(id schema.UUID, index int32) *broken {
	if id == schema.ZeroUUID {
		return nil
	}
	for _, dir := range d.dirs {
		for _, b := range dir.broken { // at most one matches
			if b.id == id && b.name.index == index {
				return b
			}
		}
	}
	return nil
}

// retire gives a log, or one that could not be opened, its last name, durably, and forgets it. changes is held.
func (d *Dirs) retire(e *entry, b *broken, suffix string) (path string, err error) {
	if e != nil {
		path = filepath.Join(e.dir.path, retiredName(e.name, d.c.NewID(), suffix))
		d.drop(e) // first: nobody shall find a log that is about to go
		if err := e.log.Rename(path); err != nil {
			// Where the names are now is unknown; the next start sees, and the log is not used until then.
			d.diskFailed(e.dir, err)
			e.log.Close(false)
			b := &broken{name: e.name, id: e.key.id, dir: e.dir, err: err}
			for k := range b.lines {
				b.lines[k].offset, b.lines[k].there = current(e.log, k)
			}
			d.mu.Lock()
			e.dir.broken[e.name] = b
			d.mu.Unlock()
			return "", err
		}
		return path, nil
	}
	path = filepath.Join(b.dir.path, retiredName(b.name, d.c.NewID(), suffix))
	err = d.c.FS.Rename(filepath.Join(b.dir.path, b.name.String()), path)
	if err == nil {
		err = d.c.FS.SyncDir(b.dir.path)
	}
	if err != nil {
		return "", fmt.Errorf("log %s in %s: %w", b.name, b.dir.path, err)
	}
	d.mu.Lock()
	delete(b.dir.broken, b.name)
	d.mu.Unlock()
	return path, nil
}

// Strays renames the logs that keep refuses to their -stray names, and gives those, in the order of the old ones. It
// asks for the logs that could not be opened, too, with a zero id where that could not be read. DETAILS 28.
func (d *Dirs) Strays(keep func(topic string, id schema.UUID, partition int32) bool) (moved []string, err error) {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase != loaded {
		return nil, ErrClosed
	}
	for _, s := range d.everything() {
		if keep(s.name.topic, s.id, s.name.index) {
			continue
		}
		d.mu.RLock()
		m := d.moves[key{s.id, s.name.index}]
		d.mu.RUnlock()
		if m != nil {
			err = errors.Join(err, d.cancelMove(m))
		}
		if s.broken != nil {
			s.entry = d.haltRecovery(s.broken)
		}
		path, e := d.retire(s.entry, s.broken, suffixStray)
		if e == nil {
			d.c.Logger.Warn("the metadata does not know a log: it was set aside", "topic", s.name.topic, "partition", s.name.index,
				"topic_id", s.id, "path", path)
			moved = append(moved, path)
			if s.entry != nil {
				e = s.entry.log.Close(true)
			}
		}
		err = errors.Join(err, e)
	}
	return moved, err
}

// found is a log or one that could not be opened.
type found struct {
	name   partition
	id     schema.UUID
	entry  *entry
	broken *broken
}

// everything lists what the directories hold, by directory and name.
func (d *Dirs) everything() (out []found) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, dir := range d.dirs {
		first := len(out)
		for p, e := range dir.logs { // sorted below
			out = append(out, found{name: p, id: e.key.id, entry: e})
		}
		for p, b := range dir.broken { // sorted below
			out = append(out, found{name: p, id: b.id, broken: b})
		}
		slices.SortFunc(out[first:], func(a, b found) int { return comparePartitions(a.name, b.name) })
	}
	return out
}

// doomed is a directory that waits for its removal.
type doomed struct {
	log  *storage.Log // nil: it was found at the start
	path string
	due  time.Time
}
