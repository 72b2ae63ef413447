package logdir

import (
	"errors"
	"fmt"

	"github.com/klamm-io/klamm/internal/vfs"
)

// fileMax bounds the files at a directory's root.
const fileMax = 64 << 20

// readSmall reads a file at a directory's root.
func readSmall(fsys vfs.FS, path string) ([]byte, error) {
	b, err := vfs.ReadWhole(fsys, path, fileMax)
	if errors.Is(err, vfs.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, err
}
