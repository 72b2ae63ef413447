package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Meta is the content of meta.properties.
type Meta struct {
	Version     int // 1; files of ZooKeeper's time have 0
	ClusterID   string
	NodeID      int32       // -1: not there, which only version 0 allows
	DirectoryID schema.UUID // zero: not there; Open adds one
}

// Format writes meta.properties (version 1, whatever m says) into each directory, in that order, creating those that are
// not there. A directory that has the file already is ErrFormatted, before anything is written. What else the metadata
// directory must have (bootstrap.checkpoint) is written before, so that a directory with meta.properties is whole.
//
// Each directory gets an id of its own from newID; nil means random ones. Ids that cannot be used (see UsableID) are drawn
// again, a hundred times at most. A single directory gets m.DirectoryID if that is not zero; it must be usable.
func Format(fsys vfs.FS, dirs []string, m Meta, newID func() schema.UUID, now time.Time) ([]Meta, error) {
	if newID == nil {
		newID = randomID
	}
	if m.ClusterID == "" || m.NodeID < 0 {
		return nil, fmt.Errorf("cluster.id %q and node.id %d are not enough to format a log directory", m.ClusterID, m.NodeID)
	}
	for _, dir := range dirs {
		if _, err := fsys.Stat(filepath.Join(dir, fileMeta)); err == nil {
			return nil, fmt.Errorf("log directory %s: %w", dir, ErrFormatted)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("log directory %s: %w", dir, err)
		}
	}
	if given := m.DirectoryID; given != schema.ZeroUUID {
		if len(dirs) != 1 || !UsableID(given) {
			return nil, fmt.Errorf("directory.id %s cannot be given to %d directories: it must be one, and the id neither reserved nor begin with a dash", given, len(dirs))
		}
		newID = func() schema.UUID { return given }
	}
	var out []Meta
	for _, dir := range dirs {
		id, err := directoryID(newID)
		if err != nil {
			return out, fmt.Errorf("log directory %s: %w", dir, err)
		}
		m.Version, m.DirectoryID = 1, id
		if err := makeDir(fsys, dir); err != nil {
			return out, fmt.Errorf("log directory %s: %w", dir, err)
		}
		if err := m.write(fsys, dir, now); err != nil {
			return out, err
		}
		out = append(out, m)
	}
	return out, nil
}

// makeDir makes a directory durable in the one above it; further ones above are the administrator's.
func makeDir(fsys vfs.FS, dir string) error {
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// ReadMeta reads a directory's meta.properties: ErrNotFormatted if there is none, ErrMalformed if it is not one.
func ReadMeta(fsys vfs.FS, dir string) (Meta, error) {
	b, err := readSmall(fsys, filepath.Join(dir, fileMeta))
	if errors.Is(err, fs.ErrNotExist) {
		return Meta{}, fmt.Errorf("log directory %s is %w: it has no %s (klamm storage format makes one)", dir, ErrNotFormatted, fileMeta)
	}
	if err != nil {
		return Meta{}, fmt.Errorf("log directory %s: %w", dir, err)
	}
	m, err := decodeMeta(string(b))
	if err != nil {
		return Meta{}, fmt.Errorf("log directory %s: %s: %w", dir, fileMeta, err)
	}
	return m, nil
}

func decodeMeta(text string) (Meta, error) {
	p, err := parseProperties(text)
	if err != nil {
		return Meta{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m := Meta{ClusterID: p["cluster.id"], NodeID: -1}
	nodeKey := "broker.id"
	switch v := strings.TrimSpace(p["version"]); v {
	case "", "0":
	case "1":
		m.Version, nodeKey = 1, "node.id"
	default:
		return Meta{}, fmt.Errorf("%w: version %q, known are 0 and 1", ErrMalformed, v)
	}
	if v, there := p[nodeKey]; there {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
		if err != nil {
			return Meta{}, fmt.Errorf("%w: %s is %q, which is no number", ErrMalformed, nodeKey, v)
		}
		m.NodeID = int32(n)
	} else if m.Version == 1 {
		return Meta{}, fmt.Errorf("%w: node.id is missing", ErrMalformed)
	}
	if m.ClusterID == "" && m.Version == 1 {
		return Meta{}, fmt.Errorf("%w: cluster.id is missing", ErrMalformed)
	}
	if v, there := p["directory.id"]; there {
		if m.DirectoryID, err = schema.ParseUUID(strings.TrimSpace(v)); err != nil {
			return Meta{}, fmt.Errorf("%w: directory.id: %w", ErrMalformed, err)
		}
		if reserved(m.DirectoryID) {
			return Meta{}, fmt.Errorf("%w: directory.id %s is reserved", ErrMalformed, v)
		}
	}
	return m, nil
}

func (m Meta) write(fsys vfs.FS, dir string, now time.Time) error {
	if err := vfs.Replace(fsys, filepath.Join(dir, fileMeta), m.encode(now)); err != nil {
		return fmt.Errorf("log directory %s: %w", dir, err)
	}
	return nil
}

// encode gives the file as Apache writes it.
func (m Meta) encode(now time.Time) []byte {
	b := fmt.Appendf(nil, "#\n#%s\n", now.UTC().Format("Mon Jan 02 15:04:05 UTC 2006"))
	nodeKey := "node.id"
	if m.Version == 0 {
		nodeKey = "broker.id"
	}
	if m.Version == 0 && m.NodeID >= 0 {
		b = fmt.Appendf(b, "%s=%d\n", nodeKey, m.NodeID)
	}
	if m.ClusterID != "" {
		b = fmt.Appendf(b, "cluster.id=%s\n", escape(m.ClusterID))
	}
	if m.DirectoryID != schema.ZeroUUID {
		b = fmt.Appendf(b, "directory.id=%s\n", m.DirectoryID)
	}
	if m.Version != 0 {
		b = fmt.Appendf(b, "%s=%d\n", nodeKey, m.NodeID)
	}
	return fmt.Appendf(b, "version=%d\n", m.Version)
}

// reserved says whether an id is one of the first hundred, which mean no directory (unassigned, lost, migrating, ...).
func reserved(id schema.UUID) bool {
	for _, b := range id[:15] {
		if b != 0 {
			return false
		}
	}
	return id[15] < 100
}

// UsableID says whether an id can be a directory's: not reserved, and not looking like an option on a command line.
func UsableID(id schema.UUID) bool { return !reserved(id) && id.String()[0] != '-' }

// directoryID draws until an id is usable. One in 64 random ones is not.
func directoryID(newID func() schema.UUID) (schema.UUID, error) {
	var id schema.UUID
	for range 100 {
		if id = newID(); UsableID(id) {
			return id, nil
		}
	}
	return id, fmt.Errorf("no usable directory.id was found; the last one drawn is %s", id)
}
