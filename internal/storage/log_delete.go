package storage

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// discard gives a segment's files and its snapshot their .deleted names and queues them for RemoveDeleted. Files that are
// not there need nothing. files is held.
func (l *Log) discard(s *segment, now time.Time) error {
	due := now.Add(l.config.Load().FileDeleteDelay)
	var errs []error
	for _, f := range s.files() {
		err := f.h.rename(f.h.name() + suffixDeleted)
		if err == nil {
			l.deleted = append(l.deleted, deletedFile{f.h, f.h.name(), due})
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fail(f.h, -1, err))
		}
		f.h.retire()
	}
	errs = append(errs, l.discardSnapshot(s.base, due))
	return errors.Join(errs...)
}

func (l *Log) discardSnapshot(offset int64, due time.Time) error {
	p := &l.producers
	i, there := slices.BinarySearch(p.snapshots, offset)
	if !there {
		return nil
	}
	p.snapshots = slices.Delete(p.snapshots, i, i+1)
	path := filePath(l.dir, offset, suffixSnapshot)
	err := l.fs.Rename(path, path+suffixDeleted)
	if err == nil {
		l.deleted = append(l.deleted, deletedFile{nil, path + suffixDeleted, due})
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l.fileError(path, err)
}
