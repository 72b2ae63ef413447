package logdir

import (
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Meta is the content of meta.properties.
type Meta struct {
	Version     int // 1; files of ZooKeeper's time have 0
	ClusterID   string
	NodeID      int32 // -1: not there, which only version 0 allows
	DirectoryID schema.UUID
}

// Format writes meta.properties into each directory, creating those that are not there, each with an id of its own:
// newID gives them. A directory that has one already is ErrFormatted, before anything is written. What else the
// metadata directory must have (bootstrap.checkpoint) is written before, so that a directory with meta.properties is
// whole.
func Format(fsys vfs.FS, dirs []string, m Meta, newID func() schema.UUID, now time.Time) ([]Meta, error) {
	return nil, nil
}

// ReadMeta reads a directory's meta.properties: ErrNotFormatted if there is none, ErrMalformed if it is not one.
func ReadMeta(fsys vfs.FS, dir string) (Meta, error) { return Meta{}, ErrNotFormatted }
