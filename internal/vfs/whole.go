package vfs

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// ErrTooLarge says that ReadWhole met a file that is larger than its caller takes.
var ErrTooLarge = errors.New("file is too large")

// ReadWhole reads a file of at most limit bytes.
func ReadWhole(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.OpenFile(name, ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are expected: %w", name, size, limit, ErrTooLarge)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) { // empty, or cut off meanwhile
		err = nil
	}
	return b[:n], err
}

// Replace writes a file as a whole: after a crash it has the old content or the new one. The temporary file beside it
// has the suffix .tmp.
func Replace(fs FS, name string, b []byte) error {
	temp := name + ".tmp"
	f, err := fs.OpenFile(temp, ReadWrite|Create|Truncate, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, name); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}
