package logdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// directory is one of the log directories, or the metadata directory if it is apart.
type directory struct {
	path string
	meta Meta
	lock io.Closer

	clean      bool  // the last shutdown left the marker
	cleanEpoch int64 // the broker epoch in it; -1 if it has none

	checkpoints [checkpointKinds]*checkpoint
	loaded      [checkpointKinds]offsets // what the checkpoints said when the directory was opened

	// Guarded by Dirs.mu:
	logs    map[partition]*entry
	broken  map[partition]*broken // logs that could not be opened
	coming  map[partition]bool    // logs that are being created
	failed  error                 // the disk's first error: the directory is offline. One that Open found offline has no id and no checkpoints
	unclean bool                  // Close leaves no marker
	pending []*broken             // logs that are to be recovered, those with the least to read first
	readers int                   // goroutines that recover them
}

func newDirectory(path string) *directory {
	return &directory{path: path, cleanEpoch: -1, logs: map[partition]*entry{}, broken: map[partition]*broken{}, coming: map[partition]bool{}}
}

// Open locks the directories and reads what says whose they are and how they were left: .lock, meta.properties,
// .kafka_cleanshutdown (which it removes), the checkpoints. It opens no log.
//
// A directory whose disk fails, or that is not formatted while others are, as an empty mount point is, counts as offline: the
// others are served. The error is that of the metadata directory, of the last directory, or one that says that the
// configuration is wrong: ErrLocked, ErrIdentity, a directory or an id that is there twice.
func Open(c Config) (*Dirs, error) {
	c = c.withDefaults()
	if len(c.Dirs) == 0 {
		return nil, errors.New("no log directory is configured (log.dirs)")
	}
	d := newDirs(c)
	if c.OpenFiles > 0 {
		d.files = storage.NewFiles(c.OpenFiles)
	}
	for i, path := range append(slices.Clone(c.Dirs), c.MetadataDir) {
		path = filepath.Clean(path)
		isMetadata := i == len(c.Dirs)
		if d.byPath[path] != nil && isMetadata {
			break
		}
		if err := d.open(path, !isMetadata); err != nil {
			if path == d.c.MetadataDir || fatal(err) {
				return nil, errors.Join(err, d.unlock())
			}
			d.absent(path, err)
		}
	}
	if err := d.identify(); err != nil {
		return nil, errors.Join(err, d.unlock())
	}
	// Only now, with nothing left to refuse, does the directories' state change.
	for _, dir := range d.dirs {
		if dir.failed != nil {
			continue
		}
		if err := d.takeMarker(dir); err != nil {
			d.leave(dir, err)
		}
	}
	if err := d.enough(true); err != nil {
		for _, dir := range d.dirs {
			if dir.failed == nil && dir.clean { // no log was touched
				err = errors.Join(err, dir.mark(d.c.FS, dir.cleanEpoch))
			}
		}
		return nil, errors.Join(err, d.unlock())
	}
	return d, nil
}

// fatal tells what is wrong with the configuration, or the node, from what is wrong with a directory alone.
func fatal(err error) bool {
	return errors.Is(err, ErrLocked) || errors.Is(err, ErrIdentity) || errors.Is(err, errTwice)
}

var errTwice = errors.New("configured twice")

// absent notes a directory that cannot be opened.
func (d *Dirs) absent(path string, err error) {
	dir := d.byPath[path]
	if dir == nil {
		dir = newDirectory(path)
		d.byPath[path] = dir
		d.dirs = append(d.dirs, dir)
	}
	d.leave(dir, err)
}

// leave counts a directory as offline from the start on.
func (d *Dirs) leave(dir *directory, err error) {
	dir.failed, dir.clean, dir.cleanEpoch = err, false, -1
	d.c.Logger.Error("a log directory is offline; the others are served", "dir", dir.path, "error", err)
}

// enough says whether a node can live with the directories that are online; those that may join are not missed yet.
func (d *Dirs) enough(mayJoin bool) error {
	var errs []error
	for _, dir := range d.dirs {
		if dir.failed == nil || mayJoin && errors.Is(dir.failed, ErrNotFormatted) {
			continue
		}
		if dir.path == d.c.MetadataDir {
			return fmt.Errorf("the metadata directory %s is offline: %w", dir.path, dir.failed)
		}
		errs = append(errs, dir.failed)
	}
	if len(errs) == len(d.dirs) {
		return fmt.Errorf("all log directories are offline: %w", errors.Join(errs...))
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.MetadataDir == "" && len(c.Dirs) > 0 {
		c.MetadataDir = c.Dirs[0]
	}
	c.MetadataDir = filepath.Clean(c.MetadataDir)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = randomID
	}
	if c.RecoveryThreads <= 0 {
		c.RecoveryThreads = 2
	}
	return c
}

// randomID is a random UUID (version 4).
func randomID() (id schema.UUID) {
	rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// open locks one directory and reads its files.
func (d *Dirs) open(path string, hasLogs bool) error {
	if d.byPath[path] != nil {
		return fmt.Errorf("log directory %s is %w", path, errTwice)
	}
	if _, err := ReadMeta(d.c.FS, path); errors.Is(err, ErrNotFormatted) {
		return err // before .lock is made in what may be anybody's directory, or fails less clearly in none
	}
	if _, err := d.c.FS.List(path); err != nil {
		return fmt.Errorf("log directory %s cannot be read: %w", path, err)
	}
	lock, err := d.c.FS.Lock(filepath.Join(path, fileLock))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("log directory %s: %w (its file %s is locked)", path, ErrLocked, fileLock)
	}
	if err != nil {
		return fmt.Errorf("log directory %s cannot be locked: %w", path, err)
	}
	dir := newDirectory(path)
	dir.lock = lock
	if err := dir.read(d.c.FS, d.c.Logger, hasLogs); err != nil {
		return errors.Join(err, lock.Close())
	}
	d.all = append(d.all, dir)
	d.byPath[path] = dir
	if hasLogs {
		d.dirs = append(d.dirs, dir)
	}
	return nil
}

// read reads what a directory's root says.
func (dir *directory) read(fsys vfs.FS, logger *slog.Logger, hasLogs bool) (err error) {
	if dir.meta, err = ReadMeta(fsys, dir.path); err != nil || !hasLogs {
		return err
	}
	for k := range dir.checkpoints {
		c := &checkpoint{fs: fsys, path: filepath.Join(dir.path, checkpointFiles[k])}
		if err := c.read(logger); err != nil {
			return fmt.Errorf("log directory %s: %w", dir.path, err)
		}
		dir.checkpoints[k], dir.loaded[k] = c, c.known
	}
	return nil
}

// identify compares the directories with the configuration and with each other, and gives an id to those without one.
func (d *Dirs) identify() error {
	want := d.c.ClusterID
	ids := map[schema.UUID]string{}
	for _, dir := range d.all {
		m := &dir.meta
		if want == "" {
			want = m.ClusterID
		}
		switch {
		case m.ClusterID == "" || m.NodeID < 0:
			return fmt.Errorf("log directory %s: %s names no cluster or no node: %w", dir.path, fileMeta, ErrMalformed)
		case m.ClusterID != want:
			return fmt.Errorf("log directory %s: %w: cluster.id in its %s is %s, this node's is %s", dir.path, ErrIdentity, fileMeta, m.ClusterID, want)
		case m.NodeID != d.c.NodeID:
			return fmt.Errorf("log directory %s: %w: node.id in its %s is %d, this node's is %d", dir.path, ErrIdentity, fileMeta, m.NodeID, d.c.NodeID)
		}
		if other, there := ids[m.DirectoryID]; there && m.DirectoryID != schema.ZeroUUID {
			return fmt.Errorf("log directories %s and %s have the same directory.id %s: one is a copy of the other", other, dir.path, m.DirectoryID)
		}
		ids[m.DirectoryID] = dir.path
		if dir.path != d.c.MetadataDir {
			stray := filepath.Join(dir.path, partition{metadataTopic, 0}.String())
			if _, err := d.c.FS.Stat(stray); err == nil {
				return fmt.Errorf("log directory %s has a metadata log, %s, but the metadata directory is %s", dir.path, stray, d.c.MetadataDir)
			}
		}
	}
	d.clusterID = want
	for _, dir := range d.all {
		if dir.meta.DirectoryID == schema.ZeroUUID {
			var err error
			if dir.meta.DirectoryID, err = directoryID(d.c.NewID); err != nil {
				return fmt.Errorf("log directory %s: %w", dir.path, err)
			}
			if err := dir.meta.write(d.c.FS, dir.path, d.c.Now()); err != nil {
				if dir.path == d.c.MetadataDir {
					return err
				}
				d.leave(dir, err)
				continue
			}
		}
		d.byID[dir.meta.DirectoryID] = dir
	}
	return nil
}

// Join takes in a directory that Open found not formatted, and that was formatted since. It must be called before Load.
func (d *Dirs) Join(path string) error {
	d.changes.Lock()
	defer d.changes.Unlock()
	i := slices.IndexFunc(d.dirs, func(dir *directory) bool { return dir.path == filepath.Clean(path) && dir.lock == nil })
	if i < 0 || d.phase != opened {
		return fmt.Errorf("log directory %s does not wait to be formatted", path)
	}
	old := d.dirs[i]
	delete(d.byPath, old.path)
	if err := d.open(old.path, true); err != nil {
		d.byPath[old.path] = old
		return err
	}
	last := len(d.dirs) - 1
	d.dirs[i] = d.dirs[last]
	d.dirs = d.dirs[:last]
	return d.identify()
}

// Unformatted lists the directories that are offline because they are not formatted.
func (d *Dirs) Unformatted() (paths []string) {
	for _, dir := range d.dirs {
		if errors.Is(d.offline(dir), ErrNotFormatted) {
			paths = append(paths, dir.path)
		}
	}
	return paths
}

// takeMarker reads the marker of a clean shutdown and removes it: from here on, a crash must leave the directory
// unclean. DETAILS 27.
func (d *Dirs) takeMarker(dir *directory) error {
	path := filepath.Join(dir.path, fileClean)
	b, err := readSmall(d.c.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, ErrMalformed) {
		return err
	}
	// Older releases leave the file empty: that is a clean shutdown of an unknown broker epoch.
	dir.clean = true
	if epoch, err := schema.DecodeCleanShutdown(b); err == nil {
		dir.cleanEpoch = epoch
	}
	if err := d.c.FS.Remove(path); err != nil {
		return err
	}
	return d.c.FS.SyncDir(dir.path)
}

func (d *Dirs) unlock() (err error) {
	for _, dir := range d.all {
		if dir.lock != nil {
			err = errors.Join(err, dir.lock.Close())
			dir.lock = nil
		}
	}
	return err
}
