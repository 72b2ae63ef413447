package replica

import (
	"fmt"
	"io"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
)

// nextOffset is the offset behind a slice's last batch. It reads the batches' headers, several at once where they are
// small.
func nextOffset(s storage.Slice) (int64, error) {
	next := s.First
	var buf [4096]byte
	for _, r := range s.Ranges {
		at, end := r.Offset, r.Offset+r.Length
		for at < end {
			n, err := r.File.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			if err != nil && err != io.EOF {
				return 0, fmt.Errorf("replica: header of the batch at position %d: %w", at, err)
			}
			b := record.Batch(buf[:n])
			if len(b) < record.HeaderLen {
				return 0, fmt.Errorf("replica: %s ends at position %d, inside a batch header", r.File.Name(), at+int64(n))
			}
			for len(b) >= record.HeaderLen {
				size := b.Len()
				if size < record.HeaderLen {
					return 0, fmt.Errorf("replica: the batch at position %d says it has %d bytes", at, size)
				}
				next, at = b.LastOffset()+1, at+int64(size)
				b = b[min(size, len(b)):]
			}
		}
	}
	return next, nil
}
