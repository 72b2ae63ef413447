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
// not have it, Create of it fails, or opens it if only room or open files were wanting. The error is that of a directory that cannot
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
	found := make([][]partition, len(d.dirs))
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
				d.loadLog(d.dirs[i], found[i][j], atMost(d.atLoad))
				p.done()
			}
		})
	})
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("loading logs: %w", err)
	}
	d.recoverFirst(futures)
	d.resolveTwice()
	d.hideStale()
	d.resume(futures)
	for _, dir := range d.dirs {
		dir.loaded = [checkpointKinds]offsets{} // every log knows its own now
		if dir.shortened {                      // as after Truncated
			d.checkpointHere(dir, recoveryPoints, cleanedOffsets)
		}
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

// find lists a directory's logs, and deals with what else has a directory.
func (d *Dirs) find(dir *directory, futures *[]foundFuture) ([]partition, error) {
	names, err := d.c.FS.List(dir.path)
	if err != nil {
		return nil, err
	}
	var out []partition
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
			out = append(out, p)
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
func (d *Dirs) loadLog(dir *directory, p partition, reading func(int) error) {
	o := d.options(dir, p)
	o.Clean, o.Reading = dir.clean, reading
	o.RecoveryPoint, o.LogStartOffset, o.HighWatermark, o.Cleaned =
		dir.loaded[recoveryPoints][p], dir.loaded[startOffsets][p], dir.loaded[highWatermarks][p], dir.loaded[cleanedOffsets][p]
	log, rec, err := storage.Open(o)
	if errors.Is(err, errMuch) {
		b := d.keepPlace(dir, p, ErrRecovering)
		d.mu.Lock()
		d.postpone(b, rec.BytesDue)
		d.mu.Unlock()
		return
	}
	if err != nil {
		d.loadFailed(dir, p, err).again = vfs.Exhausted(err)
		return
	}
	d.sayRecovery(o.Dir, rec)
	id := log.TopicID()
	if id == schema.ZeroUUID {
		d.unnamed(dir, p, log)
		return
	}
	e := &entry{log: log, name: p, key: key{id, p.index}, dir: dir}
	if other := d.add(e); other != nil {
		d.mu.Lock()
		d.doubled[e.key] = append(d.doubled[e.key], e)
		d.mu.Unlock()
		return
	}
	d.flushAgeSet(o.Config.FlushAge)
	if log.RecoveryPoint() < o.RecoveryPoint {
		d.mu.Lock()
		dir.shortened = true
		d.mu.Unlock()
	}
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
		if kept := d.chosen(k, all); kept != nil {
			d.add(kept)
			all = slices.DeleteFunc(all, func(e *entry) bool { return e == kept })
			if err := d.outdated(all[0], kept); err != nil {
				d.loadFailed(all[0].dir, all[0].name, err)
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
			d.loadFailed(e.dir, e.name, fmt.Errorf("%s hold the same partition; remove those that are out of date", strings.Join(paths, " and ")))
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
		dir := d.takeOut(s)
		d.loadFailed(dir, s.name, fmt.Errorf("the metadata has log %s in directory %s, which is not here: %w", s.name, at, ErrOffline))
	}
}

// takeOut takes a log out of use, or out of recovery, and gives its directory.
func (d *Dirs) takeOut(s found) *directory {
	if s.entry != nil {
		d.drop(s.entry)
		s.entry.log.Close(true)
		return s.entry.dir
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unqueue(s.broken)
	return s.broken.dir
}

func (d *Dirs) loadFailed(dir *directory, p partition, err error) *broken {
	d.c.Logger.Error("a log cannot be opened and is offline; the other logs are served", "dir", dir.path, "topic", p.topic,
		"partition", p.index, "error", err)
	return d.keepPlace(dir, p, err)
}

// keepPlace takes note of a log that is there and not served.
func (d *Dirs) keepPlace(dir *directory, p partition, err error) *broken {
	b := &broken{name: p, id: readTopicID(d, filepath.Join(dir.path, p.String())), dir: dir, err: err}
	for k := range b.lines {
		b.lines[k].offset, b.lines[k].there = dir.loaded[k][p]
	}
	d.mu.Lock()
	dir.broken[p] = b
	d.mu.Unlock()
	return b
}

// unnamed deals with a log without partition.metadata. Without records it is a creation that a crash interrupted.
// With records nobody knows whose they are.
func (d *Dirs) unnamed(dir *directory, p partition, log *storage.Log) {
	if log.Size() == 0 && log.View().LogEnd == 0 {
		if err := log.Remove(); err != nil {
			d.loadFailed(dir, p, err)
			return
		}
		d.c.Logger.Info("removed a log whose creation was not completed", "path", log.Dir())
		return
	}
	log.Close(false)
	d.loadFailed(dir, p, fmt.Errorf("log %s has records, but no partition.metadata that says which topic's", log.Dir()))
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
func readTopicID(d *Dirs, path string) schema.UUID {
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
