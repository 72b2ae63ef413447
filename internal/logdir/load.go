package logdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Names beside the logs that nobody needs to hear of: the file system's own, and what tiered storage keeps.
var ignored = map[string]bool{"lost+found": true, "remote-log-index-cache": true}

// Load opens every log, in parallel. A log that cannot be opened is logged and left where it is: Info shows it, Log does
// not have it, Create of it fails, or opens it if only room or open files were wanting. So is one with much to recover, with
// ErrRecovering, until what Start begins has come to it. The error is that of a directory that cannot
// be listed, or of ctx.
func (d *Dirs) Load(ctx context.Context) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase != opened {
		return ErrClosed
	}
	if err := d.enough(false); err != nil {
		return err
	}
	d.phase = loading
	begun := d.c.Now()
	found := make([][]*broken, len(d.dirs))
	var futures []foundFuture
	var total int
	for i, dir := range d.dirs {
		if dir.failed != nil {
			continue
		}
		var err error
		if found[i], err = d.find(dir, &futures); err != nil {
			err = fmt.Errorf("log directory %s cannot be read: %w", dir.path, err)
			if dir.path == d.c.MetadataDir {
				return err
			}
			d.leave(dir, err)
			if err := d.enough(false); err != nil {
				return err
			}
			found[i] = nil
			continue
		}
		total += len(found[i])
		if dir.clean {
			d.c.Logger.Info("loading logs; the last shutdown was clean", "dir", dir.path, "logs", len(found[i]))
		} else {
			d.c.Logger.Info("loading logs; the last shutdown was not clean, so they are recovered", "dir", dir.path, "logs", len(found[i]))
		}
	}
	p := &progress{d: d, total: total, said: begun}
	each(len(d.dirs), len(d.dirs), func(i int) {
		each(len(found[i]), d.threads.get(), func(j int) {
			if ctx.Err() == nil {
				d.loadLog(found[i][j], atMost(d.atLoad))
				p.done()
			}
		})
	})
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("loading logs: %w", err)
	}
	d.recoverFirst()
	d.resolveTwice()
	d.hideStale()
	d.resume(futures)
	for _, dir := range d.dirs {
		dir.loaded = [checkpointKinds]offsets{} // every log knows its own now
	}
	d.phase = loaded
	d.c.Logger.Info("loaded all logs", "logs", total, "took", d.c.Now().Sub(begun).Round(time.Millisecond))
	if logs, due := d.recoveries.waiting(); logs > 0 {
		d.c.Logger.Info(fmt.Sprintf("%d logs are offline until %s of them are recovered; the others are served", logs, mebibytes(due)))
	}
	return nil
}

// progress says how far loading is, at most once a second.
type progress struct {
	d     *Dirs
	total int

	mu   sync.Mutex // guards:
	n    int
	said time.Time
}

func (p *progress) done() {
	now := p.d.c.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	if now.Sub(p.said) >= time.Second && p.n < p.total {
		p.said = now
		p.d.c.Logger.Info(fmt.Sprintf("loaded %d of %d logs", p.n, p.total))
	}
}

// find lists a directory's logs, keeps their places, and deals with what else has a directory.
func (d *Dirs) find(dir *directory, futures *[]foundFuture) ([]*broken, error) {
	names, err := d.c.FS.List(dir.path)
	if err != nil {
		return nil, err
	}
	var out []*broken
	for _, name := range names {
		p, k := parseName(name)
		if ignored[name] || k == kindLog && p.topic == metadataTopic {
			continue
		}
		path := filepath.Join(dir.path, name)
		info, err := d.c.FS.Stat(path)
		if errors.Is(err, fs.ErrNotExist) { // a dangling link
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			continue
		}
		switch k {
		case kindLog:
			out = append(out, d.keepPlace(dir, p))
		case kindDelete:
			d.doom(doomed{path: path, due: d.c.Now().Add(d.topicConfig(p.topic).FileDeleteDelay)})
		case kindStray:
			d.c.Logger.Warn("a stray log is left alone; remove it when nobody needs it", "path", path)
		case kindFuture:
			*futures = append(*futures, foundFuture{dir, p, path})
		default:
			d.c.Logger.Warn("a directory that is no partition's is left alone; log directories should only hold logs", "path", path)
		}
	}
	return out, nil
}

// loadLog opens one log, or has it recovered if reading ends that.
func (d *Dirs) loadLog(b *broken, reading func(int) error) {
	log, rec, err := d.openLog(b, schema.ZeroUUID, reading)
	switch {
	case errors.Is(err, errMuch):
		id := d.readTopicID(filepath.Join(b.dir.path, b.name.String()))
		d.mu.Lock()
		b.id = id
		d.postpone(b, rec.BytesDue)
		d.mu.Unlock()
		return
	case err != nil:
		d.loadFailed(b, err)
		b.again = vfs.Exhausted(err)
		return
	}
	if log == nil {
		d.mu.Lock()
		delete(b.dir.broken, b.name)
		d.mu.Unlock()
		return
	}
	e := &entry{log: log, name: b.name, key: key{log.TopicID(), b.name.index}, dir: b.dir}
	d.mu.Lock()
	double := d.logs[e.key] != nil
	if double { // its place stays until resolveTwice: a checkpoint may be written before
		d.doubled[e.key] = append(d.doubled[e.key], e)
	} else {
		delete(b.dir.broken, b.name)
		d.put(e)
	}
	d.mu.Unlock()
	if !double {
		d.flushAgeSet(log.Config().FlushAge)
		d.purgeDeleted(log, rec)
	}
}

// openLog opens the log in a place. wanted is its topic's id; zero: any. It is nil if only its creation was begun: what there was is taken
// away. Where recovery ended it below its recovery point, that is written before anybody can append: it would make the next start
// trust what was not flushed.
func (d *Dirs) openLog(b *broken, wanted schema.UUID, reading func(int) error) (*storage.Log, storage.Recovery, error) {
	o := d.options(b.dir, b.name)
	o.Clean, o.Reading = b.dir.clean, reading
	o.RecoveryPoint, o.LogStartOffset, o.HighWatermark, o.Cleaned = b.lines[recoveryPoints].offset, b.lines[startOffsets].offset,
		b.lines[highWatermarks].offset, b.lines[cleanedOffsets].offset
	log, rec, err := storage.Open(o)
	if err == nil || rec.Corruption != nil {
		d.sayRecovery(o.Dir, rec)
	}
	if err != nil {
		return nil, rec, err
	}
	switch have := log.TopicID(); {
	case have == schema.ZeroUUID && log.Size() == 0 && log.View().LogEnd == 0:
		if err := log.Remove(); err != nil {
			return nil, rec, err
		}
		d.c.Logger.Info("removed a log whose creation was not completed", "path", o.Dir)
		return nil, rec, nil
	case have == schema.ZeroUUID:
		err = fmt.Errorf("log %s has records, but %w", o.Dir, errUnnamed)
	case wanted != schema.ZeroUUID && have != wanted:
		err = &storage.InconsistentTopicID{Dir: o.Dir, Have: have, Want: wanted}
	case log.RecoveryPoint() < o.RecoveryPoint:
		err = d.lower(b, log)
	}
	if err != nil {
		return nil, rec, errors.Join(err, log.Close(false))
	}
	return log, rec, nil
}

var errUnnamed = errors.New("no partition.metadata that says which topic's")

// lower makes the checkpoints say of a log what it knows now, as Truncated does.
func (d *Dirs) lower(b *broken, log *storage.Log) error {
	for _, k := range []int{recoveryPoints, cleanedOffsets} {
		offset, there := current(log, k)
		d.mu.Lock()
		before := b.lines[k]
		b.lines[k].offset, b.lines[k].there = offset, there
		d.mu.Unlock()
		if err := d.checkpoint(b.dir, k); err != nil {
			d.mu.Lock()
			b.lines[k] = before // another time
			d.mu.Unlock()
			return fmt.Errorf("%s: %w", b.dir.checkpoints[k].path, err)
		}
	}
	return nil
}

// purgeDeleted has the files removed that recovery has dropped.
func (d *Dirs) purgeDeleted(log *storage.Log, rec storage.Recovery) {
	if rec.SegmentsDeleted > 0 {
		d.purgeLater(log, d.c.Now())
	}
}

// options are what every log is opened with.
func (d *Dirs) options(dir *directory, p partition) storage.Options {
	return storage.Options{
		FS: d.c.FS, Dir: filepath.Join(dir.path, p.String()), Topic: p.topic, Partition: p.index, Config: d.topicConfig(p.topic),
		ProducerIDExpiry: d.c.ProducerIDExpiry, MaxTransactionTimeout: d.c.MaxTransactionTimeout,
		Files: d.files, Now: d.c.Now(),
	}
}

// resolveTwice deals with logs of which there are several. Two with the same records are what a crash leaves where a log moves
// to another directory: the one that the metadata knows is kept, if it is not the shorter one. Otherwise nobody can say which one
// is right, and none is served.
func (d *Dirs) resolveTwice() {
	for k, others := range d.doubled { // each for itself
		first := d.logs[k]
		all := append([]*entry{first}, others...)
		d.drop(first)
		d.mu.Lock()
		for _, e := range others {
			delete(e.dir.broken, e.name)
		}
		d.mu.Unlock()
		if kept := d.chosen(k, all); kept != nil {
			d.add(kept)
			all = slices.DeleteFunc(all, func(e *entry) bool { return e == kept })
			if err := d.outdated(all[0], kept); err != nil {
				d.loadFailed(d.keepPlace(all[0].dir, all[0].name), err)
			}
			continue
		}
		var paths []string
		for _, e := range all {
			e.log.Close(false)
			paths = append(paths, e.log.Dir())
		}
		slices.Sort(paths)
		for _, e := range all {
			d.loadFailed(d.keepPlace(e.dir, e.name), fmt.Errorf("%s hold the same partition; remove those that are out of date", strings.Join(paths, " and ")))
		}
	}
	d.doubled = nil
}

// chosen is the one of two logs that the metadata knows, if it has all that the other one has. If the other one goes on where it ends,
// it is that one: either the move was not completed and the log took records where it was, or the log lost what was not flushed and
// its copy did not.
func (d *Dirs) chosen(k key, all []*entry) *entry {
	dir, known := d.assignedTo(k.id, k.partition)
	if !known || len(all) != 2 {
		return nil
	}
	if all[0].dir.meta.DirectoryID != dir {
		all[0], all[1] = all[1], all[0]
	}
	if all[0].dir.meta.DirectoryID != dir {
		return nil
	}
	if all[0].log.View().LogEnd >= all[1].log.View().LogEnd {
		return all[0]
	}
	if continues(all[1].log, all[0].log) {
		return all[1]
	}
	return nil
}

// continues says whether a log has the last batch of a shorter one, byte for byte, or that has none.
func continues(long, short *storage.Log) bool {
	v := short.View()
	if v.LogEnd == v.LogStart {
		return long.View().LogStart <= v.LogStart
	}
	var last [2][]byte
	for i, l := range []*storage.Log{short, long} {
		s, err := l.View().Read(v.LogEnd-1, 0, storage.LogEnd, true)
		if err != nil {
			return false
		}
		last[i], err = s.Bytes()
		s.Release()
		if err != nil || len(last[i]) == 0 {
			return false
		}
	}
	return bytes.Equal(last[0], last[1])
}

// outdated removes a log that has moved, as a deleted one.
func (d *Dirs) outdated(e, kept *entry) error {
	path := filepath.Join(e.dir.path, retiredName(e.name, d.c.NewID(), suffixDelete))
	from := e.log.Dir()
	if err := e.log.Rename(path); err != nil {
		return errors.Join(err, e.log.Close(false))
	}
	d.c.Logger.Warn("a log has moved to another directory: what it left is removed", "log", kept.log.Dir(), "left", from)
	d.doom(doomed{log: e.log, path: path, due: d.c.Now().Add(e.log.Config().FileDeleteDelay)})
	return nil
}

// hideStale takes logs out of use which the metadata knows in another directory, while a directory is offline that may be it: what is
// here may be what the log left when it moved there.
func (d *Dirs) hideStale() {
	if !d.anyOffline() {
		return
	}
	for _, s := range d.everything() {
		if s.entry == nil && s.broken.recovery == nil {
			continue
		}
		at, known := d.assignedTo(s.id, s.name.index)
		if !known || !UsableID(at) || d.byID[at] != nil && d.byID[at].failed == nil {
			continue
		}
		b := d.takeOut(s)
		d.loadFailed(b, fmt.Errorf("the metadata has log %s in directory %s, which is not here: %w", s.name, at, ErrOffline))
	}
}

// takeOut takes a log out of use, or out of recovery, and keeps its place.
func (d *Dirs) takeOut(s found) *broken {
	if s.entry != nil {
		d.drop(s.entry)
		s.entry.log.Close(true)
		return d.keepPlace(s.entry.dir, s.name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unqueue(s.broken)
	return s.broken
}

// keepPlace takes note of a log that is there and not served, with what the checkpoints said of it when the directory was opened.
func (d *Dirs) keepPlace(dir *directory, p partition) *broken {
	b := &broken{name: p, dir: dir}
	for k := range b.lines {
		b.lines[k].offset, b.lines[k].there = dir.loaded[k][p]
	}
	d.mu.Lock()
	dir.broken[p] = b
	d.mu.Unlock()
	return b
}

func (d *Dirs) loadFailed(b *broken, err error) {
	id := d.readTopicID(filepath.Join(b.dir.path, b.name.String()))
	d.mu.Lock()
	b.id, b.err = id, err
	d.mu.Unlock()
	d.c.Logger.Error("a log cannot be opened and is offline; the other logs are served", "dir", b.dir.path, "topic", b.name.topic,
		"partition", b.name.index, "error", err)
}

func (d *Dirs) sayRecovery(path string, r storage.Recovery) {
	switch {
	case r.Corruption != nil:
		d.c.Logger.Warn("recovered a log by cutting off what was torn or corrupt", "path", path, "bytes", r.BytesTruncated,
			"segments", r.SegmentsDeleted, "scanned", r.BytesScanned, "reason", r.Corruption)
	case r.SegmentsDeleted > 0 || r.IndexesRebuilt > 0 || r.FilesSwapped > 0:
		d.c.Logger.Warn("recovered a log", "path", path, "segments_removed", r.SegmentsDeleted, "indexes_rebuilt", r.IndexesRebuilt,
			"files_swapped", r.FilesSwapped, "scanned", r.BytesScanned)
	case r.BytesScanned > 0:
		d.c.Logger.Debug("recovered a log", "path", path, "scanned", r.BytesScanned)
	}
}

// readTopicID reads partition.metadata of a log that cannot be opened; zero if that does not work either.
func (d *Dirs) readTopicID(path string) schema.UUID {
	b, err := readSmall(d.c.FS, filepath.Join(path, "partition.metadata"))
	if err != nil {
		return schema.ZeroUUID
	}
	for line := range strings.Lines(string(b)) {
		if value, found := strings.CutPrefix(line, "topic_id:"); found {
			if id, err := schema.ParseUUID(strings.TrimSpace(value)); err == nil {
				return id
			}
		}
	}
	return schema.ZeroUUID
}
