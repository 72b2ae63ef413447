package storage

import (
	"errors"
	"io"

	"github.com/klamm-io/klamm/internal/record"
)

// walk goes over the headers of the batches in a stretch of a file, reading a page at a time, so that small batches
// share a read and of large ones only the header is read.
type walk struct {
	f    io.ReaderAt
	pos  int64 // where the next batch starts
	end  int64 // where the last one ends
	page *[4096]byte
	at   int64 // position of the page in the file
	n    int   // bytes of the page that are filled

	before func(int) error // if set, it is asked before so many bytes are read
}

func newWalk(f io.ReaderAt, pos, end int64) walk {
	return walk{f: f, pos: pos, end: end, page: pages.Get().(*[4096]byte)}
}

// close gives the page back.
func (w *walk) close() { pages.Put(w.page) }

// next gives the header of the next batch and its position. The header is valid until the next call. The error is io.EOF
// at the end, record.ErrTruncated if the stretch ends inside a batch, *record.Corrupt, or the file's.
func (w *walk) next() (record.Batch, int64, error) {
	left := w.end - w.pos
	if left <= 0 {
		return nil, w.pos, io.EOF
	}
	if left < record.HeaderLen {
		return nil, w.pos, record.ErrTruncated
	}
	if w.pos < w.at || w.pos+record.HeaderLen > w.at+int64(w.n) {
		w.at, w.n = w.pos, int(min(left, int64(len(w.page))))
		if w.before != nil {
			if err := w.before(w.n); err != nil {
				w.n = 0
				return nil, w.pos, err
			}
		}
		if err := readFull(w.f, w.page[:w.n], w.at); err != nil {
			w.n = 0
			return nil, w.pos, err
		}
	}
	i := w.pos - w.at
	header := record.Batch(w.page[i : i+record.HeaderLen])
	size, err := record.Peek(header)
	if err != nil {
		return nil, w.pos, err
	}
	if int64(size) > left {
		return nil, w.pos, record.ErrTruncated
	}
	pos := w.pos
	w.pos += int64(size)
	return header, pos, nil
}

// isDamage tells bytes that are no batch from a disk that cannot be read.
func isDamage(err error) bool {
	if err == nil {
		return false
	}
	var corrupt *record.Corrupt
	return errors.As(err, &corrupt) || errors.Is(err, record.ErrTruncated)
}
