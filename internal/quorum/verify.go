package quorum

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// verify checks the metadata log's batches after a clean shutdown, before the log is opened. After a crash the end of the
// log may be torn, and recovery cuts it off: nothing there was confirmed. After a clean shutdown everything was durable, so
// a batch that does not check out means a disk that lost what it had confirmed. Cutting the log there would forget
// topics, and put their logs aside, so the start is refused, and nothing is changed.
func verify(f vfs.FS, dir string) error {
	names, err := f.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		position, err := verifyFile(f, filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("metadata log %s, file %s, position %d: %w: the last shutdown was clean, so the disk has lost what it had confirmed; "+
				"bring the file back from a copy (or remove .kafka_cleanshutdown beside the log's directory: then the log is cut off there, and what was behind it is lost)",
				dir, name, position, err)
		}
	}
	return nil
}

// verifyFile gives the position of the first batch that does not check out, and why.
func verifyFile(f vfs.FS, path string) (int64, error) {
	file, err := f.OpenFile(path, vfs.ReadOnly, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, min(size, 256<<10))
	for at := int64(0); at < size; {
		n, err := file.ReadAt(buffer[:min(size-at, int64(len(buffer)))], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return at, err
		}
		b, begin := buffer[:n], at
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			if errors.Is(err, record.ErrTruncated) {
				break
			}
			if err == nil {
				err = batch.CheckCRC()
			}
			if err != nil {
				return at, err
			}
			at += int64(len(batch))
			b = rest
		}
		if at > begin {
			continue
		}
		whole, err := record.Peek(b) // not one batch fits the buffer
		if err == nil && at+int64(whole) > size {
			err = record.ErrTruncated
		}
		if err != nil {
			return at, err
		}
		buffer = make([]byte, whole)
	}
	return 0, nil
}
