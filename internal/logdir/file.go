package logdir

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/klamm-io/klamm/internal/vfs"
)

// fileMax bounds the files at a directory's root.
const fileMax = 64 << 20

// writeWhole replaces a file: after a crash it has the old content or the new one.
func writeWhole(fsys vfs.FS, path string, b []byte) error {
	temp := path + suffixTemp
	f, err := fsys.OpenFile(temp, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
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
	if err := fsys.Rename(temp, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// readWhole reads a small file.
func readWhole(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > fileMax {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that it may have: %w", path, size, int64(fileMax), ErrMalformed)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err == io.EOF { // cut off meanwhile, or empty
		err = nil
	}
	return b[:n], err
}
