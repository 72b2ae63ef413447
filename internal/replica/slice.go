package replica

import (
	"fmt"
	"io"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
)

// nextOffset is the offset behind a slice's last batch. It reads the batches' headers, several at once where they are
// small. What is no batch ends it: the offset is then that behind the batches before, whose readers get that far. An error that
// names file and position says that there are none.
func nextOffset(s storage.Slice) (int64, error) {
	next := s.First
	var buf [4096]byte
	for _, r := range s.Ranges {
		at, end := r.Offset, r.Offset+r.Length
		damaged := func(reason string) (int64, error) {
			if at > r.Offset {
				return next, nil
			}
			return 0, storage.Damaged(r.File, at, reason)
		}
		for at < end {
			n, err := r.File.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			if err != nil && err != io.EOF {
				return 0, fmt.Errorf("replica: header of the batch at position %d: %w", at, err)
			}
			b := record.Batch(buf[:n])
			if len(b) < record.HeaderLen {
				return damaged("the bytes end inside a batch header")
			}
			for len(b) >= record.HeaderLen {
				if _, err := record.Peek(b); err != nil {
					return damaged(err.Error())
				}
				size := b.Len()
				next, at = b.LastOffset()+1, at+int64(size)
				b = b[min(size, len(b)):]
			}
		}
	}
	return next, nil
}
