package logdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	failed  error                 // the disk's first error while the node ran
	unclean bool                  // Close leaves no marker
}

// Open locks the directories and reads what says whose they are and how they were left: .lock, meta.properties,
// .kafka_cleanshutdown (which it removes), the checkpoints. It opens no log.
//
// Errors, each naming the directory: ErrLocked, ErrNotFormatted, ErrIdentity, ErrMalformed, or that of the disk.
func Open(c Config) (*Dirs, error) {
	c = c.withDefaults()
	if len(c.Dirs) == 0 {
		return nil, errors.New("no log directory is configured (log.dirs)")
	}
	d := newDirs(c)
	if c.OpenFiles > 0 {
		d.files = storage.NewFiles(c.OpenFiles)
	}
	for _, path := range append(slices.Clone(c.Dirs), c.MetadataDir) {
		path = filepath.Clean(path)
		isMetadata := len(d.all) == len(c.Dirs)
		if d.byPath[path] != nil && isMetadata {
			break
		}
		if err := d.open(path, !isMetadata); err != nil {
			return nil, errors.Join(err, d.unlock())
		}
	}
	if err := d.identify(); err != nil {
		return nil, errors.Join(err, d.unlock())
	}
	// Only now, with nothing left to refuse, does the directories' state change.
	for i, dir := range d.dirs {
		if err := d.takeMarker(dir); err != nil {
			err = fmt.Errorf("log directory %s: %w", dir.path, err)
			for _, dir := range d.dirs[:i] {
				if dir.clean { // no log was touched
					err = errors.Join(err, dir.mark(d.c.FS, dir.cleanEpoch))
				}
			}
			return nil, errors.Join(err, d.unlock())
		}
	}
	return d, nil
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
		return fmt.Errorf("log directory %s is configured twice", path)
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
	dir := &directory{path: path, lock: lock, cleanEpoch: -1, logs: map[partition]*entry{}, broken: map[partition]*broken{}}
	d.all = append(d.all, dir)
	d.byPath[path] = dir
	if hasLogs {
		d.dirs = append(d.dirs, dir)
	}
	if dir.meta, err = ReadMeta(d.c.FS, path); err != nil || !hasLogs {
		return err
	}
	for k := range dir.checkpoints {
		c := &checkpoint{fs: d.c.FS, path: filepath.Join(path, checkpointFiles[k])}
		if err := c.read(d.c.Logger); err != nil {
			return fmt.Errorf("log directory %s: %w", path, err)
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
				return err
			}
		}
		d.byID[dir.meta.DirectoryID] = dir
	}
	return nil
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
