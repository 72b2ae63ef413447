package storage

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
)

// flushing is what a flush has to make durable.
type flushing struct {
	upTo        int64
	next        int64 // base of the first segment that is not included
	truncations int
	handles     []*handle // acquired
	snaps       []int64
	dir         string
	dirDirty    bool
}

// Flush makes everything below an offset durable, and moves the recovery point there. Records behind the offset may
// become durable too. While it waits for the disk it holds no lock.
func (l *Log) Flush(upTo int64) error {
	f, err := l.gather(upTo, false)
	if err != nil || f == nil {
		return err
	}
	return l.sync(f)
}

// gather writes what is only in memory, and collects what must be synced. Nil: nothing must.
func (l *Log) gather(upTo int64, closing bool) (*flushing, error) {
	l.files.Lock()
	defer l.files.Unlock()
	l.mu.Lock()
	if l.closed && !closing || l.failed != nil {
		defer l.mu.Unlock()
		return nil, l.refuse()
	}
	f := &flushing{upTo: min(upTo, l.end), truncations: l.truncations, dir: l.Dir(), dirDirty: l.dirDirty, snaps: l.freshSnaps}
	if f.upTo <= l.recoveryPoint && !closing {
		l.mu.Unlock()
		return nil, nil
	}
	begin := min(l.recoveryPoint, l.unsure)
	from := max(0, sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > begin })-1)
	to := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base >= f.upTo })
	if closing || f.upTo == l.end { // an empty last segment may have been cut to that
		to = len(l.segments)
	}
	list := l.segments[from:max(from, to)]
	f.next = math.MaxInt64
	if to < len(l.segments) {
		f.next = l.segments[to].base
	}
	l.dirDirty, l.freshSnaps = false, nil
	l.mu.Unlock()
	// The tails of all come first, and all files: where the disk is full, or a file cannot be opened, nothing may count as on its
	// way to the disk.
	dirDirty := f.dirDirty
	tails := make([]*indexes, len(list))
	for i, s := range list {
		var err error
		if tails[i] = l.tails(s); tails[i] != nil {
			err = tails[i].write()
		}
		if err == nil {
			err = f.acquire(s, tails[i])
		}
		if err != nil {
			f.release()
			l.mu.Lock()
			l.dirDirty, l.freshSnaps = l.dirDirty || dirDirty, slices.Concat(f.snaps, l.freshSnaps)
			l.mu.Unlock()
			return nil, l.wanting(err)
		}
	}
	for i, s := range list {
		if tails[i] != nil {
			l.gathered(s, tails[i])
		}
	}
	return f, nil
}

// tails is a segment's indexes as they are now, nil if it was opened like this and has nothing in memory. files is held.
func (l *Log) tails(s *segment) *indexes {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == l.act.segment {
		x := l.act.indexes
		return &x
	}
	return s.idx.Load()
}

// acquire takes references to the files of a segment that changed; x is what its index files have now.
func (f *flushing) acquire(s *segment, x *indexes) error {
	handles := []*handle{s.log}
	if x != nil {
		handles = append(handles, x.unsynced()...)
		f.dirDirty = f.dirDirty || x.aborts.durable <= 0 && x.aborts.len() > 0 // the file may be new
	}
	for _, h := range handles {
		if _, err := h.acquire(); err != nil {
			return fail(h, -1, err)
		}
		f.handles = append(f.handles, h)
	}
	return nil
}

// gathered takes over that x, which is what a segment's index files have now, will be durable. files is held.
func (l *Log) gathered(s *segment, x *indexes) {
	y := *x
	y.wrote(x)
	y.synced()
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == l.act.segment {
		l.act.indexes.wrote(&y)
		l.act.indexes.markSynced(&y)
		l.act.shown = nil
	} else {
		y.dropTails()
		s.idx.Store(&y)
	}
}

func (f *flushing) release() {
	for _, h := range f.handles {
		h.Release()
	}
	f.handles = nil
}

// sync waits for the disk, then moves the recovery point, unless the log was truncated meanwhile. No lock is held while
// it waits.
func (l *Log) sync(f *flushing) error {
	var err, unopened error
	for _, h := range f.handles {
		err = errors.Join(err, fail(h, -1, h.file.Sync()))
	}
	f.release()
	opened := func(e error) { // what could not even be opened is as it was
		if vfs.TooManyFiles(e) {
			unopened = errors.Join(unopened, e)
		} else {
			err = errors.Join(err, e)
		}
	}
	for _, at := range f.snaps {
		path := filePath(f.dir, at, suffixSnapshot)
		opened(l.fileError(path, syncFile(l.fs, path)))
	}
	if f.dirDirty {
		opened(l.fileError(".", l.fs.SyncDir(f.dir)))
	}
	if err == nil && unopened != nil { // the next flush tries again
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dirDirty, l.freshSnaps = l.dirDirty || f.dirDirty, slices.Concat(f.snaps, l.freshSnaps)
		return unopened
	}
	if err == nil {
		if err := l.writeEpochs(); err != nil { // where the disk is full the file has its old content, and the recovery point stays
			return l.wanting(err)
		}
	} else if l.Dir() != f.dir && l.RecoveryPoint() >= f.upTo {
		return nil // the log has moved to other files meanwhile, and they are durable
	} else {
		// What a failed fsync left on the disk is unknown, also to the kernel: only reading it again helps.
		return l.doom(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.truncations == f.truncations {
		l.recoveryPoint = max(l.recoveryPoint, f.upTo)
		if l.unsure < f.next {
			l.unsure = f.next
		}
	}
	return nil
}

// FlushDue says whether flush.messages or flush.ms asks for a flush. The answer yes is given once: the age counts from
// it, as the caller flushes then.
func (l *Log) FlushDue(now time.Time) bool {
	cfg := l.config.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	dirty := l.end - l.recoveryPoint
	if dirty == 0 {
		l.lastFlush = now
		return false
	}
	due := cfg.FlushMessages > 0 && dirty >= cfg.FlushMessages || cfg.FlushAge > 0 && now.Sub(l.lastFlush) >= cfg.FlushAge
	if due {
		l.lastFlush = now
	}
	return due
}

// Close ends the log's use. A clean one flushes everything and writes the producers' state, so that the next Open reads
// next to nothing; the other only closes the files. Ranges that are in use stay readable.
func (l *Log) Close(clean bool) error {
	l.files.Lock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.files.Unlock()
		return nil
	}
	l.closed, l.frozen = true, true
	clean = clean && l.failed == nil
	if clean {
		l.act.noteTime()
		l.dirDirty = true
	}
	end := l.end
	l.mu.Unlock()
	var err error
	if clean {
		_, err = l.snapshot(end, true)
	}
	l.files.Unlock()
	if clean && err == nil {
		var f *flushing
		if f, err = l.gather(end, true); err == nil {
			err = l.sync(f)
		}
	}
	l.cleaning.Lock() // a cleaning sees that the log is closed, and ends
	defer l.cleaning.Unlock()
	for _, s := range l.View().segments {
		s.retire()
	}
	l.files.Lock()
	defer l.files.Unlock()
	for _, d := range l.deleted {
		if d.h != nil {
			d.h.retire()
		}
	}
	return err
}

// Rename moves the directory: to its -delete, -stray or future name. The log works on.
func (l *Log) Rename(dir string) error {
	l.files.Lock()
	defer l.files.Unlock()
	l.epochFile.Lock()
	defer l.epochFile.Unlock()
	if err := l.move(dir); err != nil {
		return l.doom(l.fileError(filepath.Base(dir), err))
	}
	for i := range l.deleted {
		d := &l.deleted[i]
		d.at = filepath.Join(dir, filepath.Base(d.at))
		if d.h != nil {
			d.h.moved(d.at)
		}
	}
	if err := l.fs.SyncDir(filepath.Dir(dir)); err != nil {
		return l.doom(l.fileError("..", err))
	}
	return nil
}

// move renames the directory while no file in it can be opened by its old path.
func (l *Log) move(dir string) error {
	segments := l.View().segments
	for _, s := range segments {
		for _, f := range s.files() {
			f.h.mu.Lock()
			defer f.h.mu.Unlock()
		}
	}
	if err := l.fs.Rename(l.Dir(), dir); err != nil {
		return err
	}
	for _, s := range segments {
		for _, f := range s.files() {
			f.h.path = filePath(dir, s.base, f.suffix)
		}
	}
	l.dir.Store(&dir)
	return nil
}

// Remove closes the log and removes its directory and everything in it.
func (l *Log) Remove() error {
	err := l.Close(false)
	l.files.Lock()
	defer l.files.Unlock()
	if e := l.fs.RemoveAll(l.Dir()); e != nil {
		return errors.Join(err, l.fileError(".", e))
	}
	return errors.Join(err, l.fileError("..", l.fs.SyncDir(filepath.Dir(l.Dir()))))
}

// unsynced are the index files that have entries that are not durable.
func (x *indexes) unsynced() []*handle {
	var out []*handle
	if x.offsets.durable < x.offsets.len() {
		out = append(out, x.offsets.file)
	}
	if x.times.durable < x.times.len() {
		out = append(out, x.times.file)
	}
	if x.aborts.durable < x.aborts.len() {
		out = append(out, x.aborts.file)
	}
	return out
}

func (x *indexes) synced() { x.markSynced(x) }

// markSynced takes over that what w has will be durable: if the fsync fails, the log is doomed.
func (x *indexes) markSynced(w *indexes) {
	x.offsets.durable, x.times.durable, x.aborts.durable = w.offsets.len(), w.times.len(), w.aborts.len()
}

// dropTails forgets what the files have.
func (x *indexes) dropTails() {
	if n := len(x.offsets.tail); n > 0 {
		x.lastIndexed = x.offsets.tail[n-1]
	}
	x.offsets.from, x.offsets.tail = x.offsets.len(), nil
	x.times.from, x.times.tail = x.times.len(), nil
	x.aborts.from, x.aborts.tail = x.aborts.len(), nil
}
