package logdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

// Names beside the logs that nobody needs to hear of: the file system's own, and what tiered storage keeps.
var ignored = map[string]bool{"lost+found": true, "remote-log-index-cache": true}

// Load opens every log, in parallel. A log that cannot be opened is logged and left where it is: Info shows it, Log does
// not have it, Create of it fails. The error is that of a directory that cannot be listed, or of ctx.
func (d *Dirs) Load(ctx context.Context) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.phase != opened {
		return ErrClosed
	}
	d.phase = loading
	begun := d.c.Now()
	found := make([][]partition, len(d.dirs))
	var total int
	for i, dir := range d.dirs {
		var err error
		if found[i], err = d.find(dir); err != nil {
			return fmt.Errorf("log directory %s cannot be read: %w", dir.path, err)
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
				d.loadLog(d.dirs[i], found[i][j])
				p.done()
			}
		})
	})
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("loading logs: %w", err)
	}
	d.dropTwice()
	for _, dir := range d.dirs {
		dir.loaded = [checkpointKinds]offsets{} // every log knows its own now
	}
	d.phase = loaded
	d.c.Logger.Info("loaded all logs", "logs", total, "took", d.c.Now().Sub(begun).Round(time.Millisecond))
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
func (d *Dirs) find(dir *directory) ([]partition, error) {
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
			d.c.Logger.Warn("a log on its way to another directory is left alone: moving logs is not supported yet", "path", path)
		default:
			d.c.Logger.Warn("a directory that is no partition's is left alone; log directories should only hold logs", "path", path)
		}
	}
	return out, nil
}

// loadLog opens one log.
func (d *Dirs) loadLog(dir *directory, p partition) {
	o := d.options(dir, p)
	o.Clean = dir.clean
	o.RecoveryPoint, o.LogStartOffset, o.HighWatermark, o.Cleaned =
		dir.loaded[recoveryPoints][p], dir.loaded[startOffsets][p], dir.loaded[highWatermarks][p], dir.loaded[cleanedOffsets][p]
	log, rec, err := storage.Open(o)
	if err != nil {
		d.loadFailed(dir, p, err)
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
		d.twice(e, other)
		return
	}
	d.flushAgeSet(o.Config.FlushAge)
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

// twice deals with a log of which there is another. Which one is right nobody can say: neither is served, nor a third. The
// one that came first keeps its place until the end of loading, closed, so that a third meets it as well.
func (d *Dirs) twice(e, other *entry) {
	e.log.Close(false)
	other.log.Close(false)
	err := fmt.Errorf("both %s and %s hold the same partition; remove the one that is out of date", other.log.Dir(), e.log.Dir())
	d.loadFailed(e.dir, e.name, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubled[other] = err
}

// dropTwice takes out the logs that came first and are not the only ones.
func (d *Dirs) dropTwice() {
	for e, err := range d.doubled { // each for itself
		d.drop(e)
		d.loadFailed(e.dir, e.name, err)
	}
	d.doubled = nil
}

func (d *Dirs) loadFailed(dir *directory, p partition, err error) {
	b := &broken{name: p, id: readTopicID(d, filepath.Join(dir.path, p.String())), dir: dir, err: err}
	for k := range b.lines {
		b.lines[k].offset, b.lines[k].there = dir.loaded[k][p]
	}
	d.mu.Lock()
	dir.broken[p] = b
	d.mu.Unlock()
	d.c.Logger.Error("a log cannot be opened and is offline; the other logs are served", "dir", dir.path, "topic", p.topic,
		"partition", p.index, "error", err)
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
