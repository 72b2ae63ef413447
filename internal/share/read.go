package share

import (
	"fmt"
	"io"
	"slices"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/share/delivery"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// reading is what one share partition's log has from an offset on: a range of a file, whose bytes are read only where
// batches begin.
type reading struct {
	slice storage.Slice
	err   error
	late  bool // it ends with its segment, and the log goes on

	view      *storage.View
	offset    int64
	committed bool
	batches   []delivery.LogBatch
	at        []int64 // where in the slice's range batch i begins
	producers []int64 // of batch i if it is data of a transaction, else -1
	length    int64   // of the batches
}

// end is where the read could have gone to.
func (r *reading) end() int64 {
	switch {
	case r.view == nil:
		return 0
	case r.committed:
		return r.view.LastStable
	}
	return r.view.HighWatermark
}

func (r *reading) release() {
	r.slice.Release()
	r.slice = storage.Slice{}
}

// read reads the partition's log.
func (p *partition) read(offset int64, maxBytes int, minOne, committed bool) reading {
	r := reading{offset: offset, committed: committed}
	if r.view, r.err = p.replica.View(); r.err != nil {
		return r
	}
	bound, end := storage.HighWatermark, r.view.HighWatermark
	if committed {
		bound, end = storage.LastStable, r.view.LastStable
	}
	r.slice, r.err = r.view.Read(offset, maxBytes, bound, minOne)
	r.err = p.replica.Settled(r.err)
	if r.err != nil || r.slice.Size == 0 {
		return r
	}
	last, err := r.view.Read(end-1, 0, bound, true)
	if err != nil {
		r.late = true // the acquisition tells
		return r
	}
	r.late = last.Size > 0 && last.Ranges[0].File != r.slice.Ranges[0].File
	last.Release()
	return r
}

// divide finds the batches of what was read, up to the one that begins at most at an offset: beyond that nothing could be
// acquired.
func (r *reading) divide(most int64) error {
	file := r.slice.Ranges[0]
	r.length = 0
	var buf [4096]byte
	for r.length < file.Length {
		n, err := file.File.ReadAt(buf[:min(int64(len(buf)), file.Length-r.length)], file.Offset+r.length)
		if err != nil && err != io.EOF {
			return fmt.Errorf("share: header of the batch at position %d of %s: %w", file.Offset+r.length, file.File.Name(), err)
		}
		b := record.Batch(buf[:n])
		if len(b) < record.HeaderLen {
			return r.damaged(file, "the bytes end inside a batch header")
		}
		for len(b) >= record.HeaderLen {
			if _, err := record.Peek(b); err != nil {
				return r.damaged(file, err.Error())
			}
			size := b.Len()
			if len(r.batches) > 0 && b.BaseOffset() > most {
				return r.markAborted()
			}
			l := delivery.LogBatch{First: b.BaseOffset(), Last: b.LastOffset()}
			producer := int64(-1)
			if b.Transactional() && !b.Control() {
				producer = b.ProducerID()
			}
			r.batches, r.at, r.producers = append(r.batches, l), append(r.at, r.length), append(r.producers, producer)
			r.length += int64(size)
			b = b[min(size, len(b)):]
		}
	}
	return r.markAborted()
}

// damaged ends the batches where the bytes are none. Those before are delivered; it is an error where there are none.
func (r *reading) damaged(file vfs.Range, reason string) error {
	if len(r.batches) > 0 {
		return r.markAborted()
	}
	return storage.Damaged(file.File, file.Offset+r.length, reason)
}

// markAborted finds the batches whose transactions were aborted, if that matters.
func (r *reading) markAborted() error {
	if !r.committed || len(r.batches) == 0 {
		return nil
	}
	aborted, err := r.view.Aborted(r.offset, r.batches[len(r.batches)-1].Last+1)
	if err != nil {
		return err
	}
	for i := range r.batches {
		b := &r.batches[i]
		b.Aborted = r.producers[i] >= 0 && slices.ContainsFunc(aborted, func(t schema.AbortedTxn) bool {
			return t.ProducerID == r.producers[i] && t.FirstOffset <= b.First && b.Last < t.LastOffset
		})
	}
	return nil
}

// cut leaves what holds the offsets from first to last.
func (r *reading) cut(first, last int64) {
	i, j := 0, len(r.batches)
	for i+1 < j && r.batches[i+1].First <= first {
		i++
	}
	for j > i+1 && r.batches[j-1].First > last {
		j--
	}
	end := r.length
	if j < len(r.batches) {
		end = r.at[j]
	}
	file := &r.slice.Ranges[0]
	r.slice.First, r.slice.Size = r.batches[i].First, int(end-r.at[i])
	file.Offset, file.Length = file.Offset+r.at[i], end-r.at[i]
}
