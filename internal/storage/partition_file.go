package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// maxSmallFile bounds what is read of leader-epoch-checkpoint and partition.metadata.
const maxSmallFile = 64 << 20

// encodePartition writes partition.metadata.
func encodePartition(id schema.UUID) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", id)
}

// decodePartition reads partition.metadata. Higher versions are read too, as Apache does.
func decodePartition(b []byte) (schema.UUID, error) {
	lines := strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
	field := func(i int) string {
		if i >= len(lines) {
			return ""
		}
		_, value, _ := strings.Cut(lines[i], ":")
		return strings.TrimSpace(value)
	}
	if v, err := strconv.Atoi(field(0)); err != nil || v < 0 {
		return schema.UUID{}, fmt.Errorf("first line gives no version")
	}
	id, err := schema.ParseUUID(field(1))
	if err != nil {
		return schema.UUID{}, err
	}
	if id == schema.ZeroUUID {
		return schema.UUID{}, fmt.Errorf("topic id is zero")
	}
	return id, nil
}

func readPartition(fsys vfs.FS, path string) (schema.UUID, error) {
	b, err := readWhole(fsys, path, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return schema.UUID{}, nil
	}
	if err != nil {
		return schema.UUID{}, err
	}
	return decodePartition(b)
}

func removeIfThere(fsys vfs.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
