package storage

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// View is a log at one instant. It never changes and is read without a lock.
type View struct {
	LogStart      int64
	HighWatermark int64
	LastStable    int64 // where read_committed ends. DETAILS 16
	LogEnd        int64 // offset of the next record
	LeaderEpoch   int32 // of the leader that appends; -1 before the first

	log      *Log
	segments []*segment
	idx      *indexes // of the last segment
	size     int64    // bytes of the last segment
	hw       position
	stable   position
	last     position // where the last append began
	epochs   epochs
}

// Bound says where a read ends: at one of the offsets below, or at the offset that it is.
type Bound int64

// The bounds of a View.
const (
	LogEnd        Bound = -1 // followers
	HighWatermark Bound = -2 // consumers
	LastStable    Bound = -3 // consumers with read_committed
)

// Slice is what a read found: whole batches, as ranges of files. Each range holds a reference until Release.
type Slice struct {
	Ranges []vfs.Range // none, or one
	First  int64       // base offset of the first batch, which may be below the offset that was asked; that offset if none
	Size   int         // bytes in all
}

// Bytes reads it all.
func (s Slice) Bytes() ([]byte, error) {
	b := make([]byte, s.Size)
	rest := b
	for _, r := range s.Ranges {
		if err := readFull(r.File, rest[:r.Length], r.Offset); err != nil {
			return nil, err
		}
		rest = rest[r.Length:]
	}
	return b, nil
}

// Release gives the references back. It must be called once, after the bytes were sent or dropped.
func (s Slice) Release() {
	for _, r := range s.Ranges {
		r.Release()
	}
}

// bound resolves a Bound to an offset and, if it is known, its place.
func (v *View) bound(b Bound) position {
	switch b {
	case LogEnd:
		return position{v.LogEnd, v.active().base, v.size}
	case HighWatermark:
		return v.hw
	case LastStable:
		return v.stable
	}
	if int64(b) >= v.LogEnd {
		return position{v.LogEnd, v.active().base, v.size}
	}
	return offsetOnly(int64(b))
}

func (v *View) active() *segment { return v.segments[len(v.segments)-1] }

// floor is the number of the segment that holds an offset: the last one that does not begin above it, -1 if none.
func (v *View) floor(offset int64) int {
	if v.active().base <= offset {
		return len(v.segments) - 1
	}
	return sort.Search(len(v.segments), func(i int) bool { return v.segments[i].base > offset }) - 1
}

// endOf is the offset below which a segment's batches end.
func (v *View) endOf(i int) int64 {
	if i == len(v.segments)-1 {
		return v.LogEnd
	}
	return v.segments[i+1].base
}

// of gives a segment's indexes and size as this view has them.
func (v *View) of(i int) (*segment, *indexes, int64, error) {
	s := v.segments[i]
	if i == len(v.segments)-1 {
		return s, v.idx, v.size, nil
	}
	x, err := s.load()
	return s, x, s.size, fail(s.offsetsFile, -1, err)
}

// Read gives the batches from the one that holds an offset on: up to a bound, at most maxBytes, from one segment, and
// always whole. The first batch may begin below the offset (DETAILS 18). With minOne it comes whole even if it is
// larger than maxBytes (KIP-74, DETAILS 19).
//
// The error is *OffsetOutOfRange for an offset below the log's start or above its end. Between bound and end there is
// nothing to read, which is no error.
func (v *View) Read(offset int64, maxBytes int, upTo Bound, minOne bool) (Slice, error) {
	s, err := v.read(offset, maxBytes, upTo, minOne)
	if errors.Is(err, errRetired) {
		// The segment was removed after this view was taken: the present one knows what that means for the offset.
		now := v.log.View()
		if now == v || v.log.isClosed() {
			return Slice{}, ErrClosed
		}
		s, err = now.read(offset, maxBytes, upTo, minOne)
		if errors.Is(err, errRetired) {
			err = &OffsetOutOfRange{offset, now.LogStart, now.LogEnd}
		}
	}
	return s, err
}

func (v *View) read(offset int64, maxBytes int, upTo Bound, minOne bool) (Slice, error) {
	none := Slice{First: offset}
	if offset < v.LogStart || offset > v.LogEnd {
		return none, &OffsetOutOfRange{offset, v.LogStart, v.LogEnd}
	}
	bound := v.bound(upTo)
	if offset >= bound.offset {
		return none, nil
	}
	for i := v.floor(offset); i >= 0 && i < len(v.segments); i++ {
		s, x, size, err := v.of(i)
		if err != nil {
			return none, err
		}
		b, err := v.first(i, x, size, offset)
		if err == io.EOF {
			continue // compaction left nothing from here to the segment's end
		}
		if below := v.endOf(i); err == nil && b.last >= below {
			err = &record.Corrupt{Reason: fmt.Sprintf("offsets [%d, %d] in a segment that ends below %d", b.base, b.last, below)}
		}
		if err != nil {
			return none, fail(s.log, b.pos, err)
		}
		if b.base >= bound.offset {
			return none, nil
		}
		return s.slice(x, size, b, bound, maxBytes, minOne)
	}
	return none, nil
}

// first finds the batch to begin with. Near the log's end the place is known without reading; the batch's size is not,
// then.
func (v *View) first(i int, x *indexes, size, offset int64) (found, error) {
	s := v.segments[i]
	for _, p := range [...]position{v.last, v.hw, v.stable} {
		if p.offset == offset && p.segment == s.base && p.pos >= 0 && p.pos < size {
			return found{pos: p.pos, size: -1, base: offset, last: offset}, nil
		}
	}
	return s.find(x, size, offset)
}

// slice gives the bytes from a batch on.
func (s *segment) slice(x *indexes, size int64, b found, bound position, maxBytes int, minOne bool) (Slice, error) {
	none := Slice{First: b.base}
	f, err := s.log.acquire()
	if err != nil {
		return none, fail(s.log, -1, err)
	}
	limit, err := s.limit(f, x, size, b.pos, bound)
	var end int64
	if err == nil {
		end, err = s.end(f, x, b, limit, maxBytes, minOne)
	}
	if err != nil || end <= b.pos {
		s.log.Release()
		return none, fail(s.log, b.pos, err)
	}
	n := end - b.pos
	return Slice{
		Ranges: []vfs.Range{{File: f, Offset: b.pos, Length: n, Ref: s.log}},
		First:  b.base, Size: int(n),
	}, nil
}

// limit is the position where a bound lies in this segment, its size if it lies behind it.
func (s *segment) limit(f vfs.File, x *indexes, size, from int64, bound position) (int64, error) {
	switch {
	case bound.segment == s.base:
		return bound.pos, nil
	case bound.segment > s.base:
		return size, nil
	}
	b, err := s.find(x, size, bound.offset) // a batch across the bound stays out as a whole
	if err == io.EOF {
		return size, nil
	}
	if isDamage(err) && b.pos > from { // what lies before it may be read
		return b.pos, nil
	}
	return b.pos, err
}

// end is where the last batch that fits ends. What is damaged behind the first batch ends the read before it: who goes on there
// hears of it.
func (s *segment) end(f vfs.File, x *indexes, b found, limit int64, maxBytes int, minOne bool) (int64, error) {
	want := b.pos + int64(max(maxBytes, 0))
	if limit <= want {
		return limit, nil
	}
	from, err := x.boundary(want)
	if err != nil {
		return 0, err
	}
	end, err := s.endFrom(f, max(from, b.pos), b, want, limit, minOne)
	if isDamage(err) && from > b.pos { // the index may have sent us to no batch
		end, err = s.endFrom(f, b.pos, b, want, limit, minOne)
	}
	if isDamage(err) && end > b.pos {
		return end, nil
	}
	return end, err
}

// endFrom walks from a batch that begins at pos. With an error it gives where that happened.
func (s *segment) endFrom(f vfs.File, pos int64, b found, want, limit int64, minOne bool) (int64, error) {
	w := newWalk(f, pos, limit)
	defer w.close()
	for {
		_, at, err := w.next()
		switch {
		case err == io.EOF:
			return at, nil
		case err != nil:
			return at, fail(s.log, at, err)
		case w.pos <= want:
			continue
		case at == b.pos && minOne:
			return w.pos, nil
		}
		return at, nil
	}
}

// EpochEndOffset answers OffsetForLeaderEpoch: the largest epoch not above the asked one and the offset where it ends,
// or NoEpoch and NoOffset if the epoch is not known here.
func (v *View) EpochEndOffset(epoch int32) (int32, int64) { return v.epochs.end(epoch, v.LogEnd) }

// Epochs are the leader epochs, ascending. The slice must not be changed.
func (v *View) Epochs() []Epoch { return v.epochs }

// Aborted lists the aborted transactions that touch the offsets from from on and below to, as a read_committed
// consumer needs them.
func (v *View) Aborted(from, to int64) ([]schema.AbortedTxn, error) {
	list, err := v.aborted(from, to)
	if now := v.log.View(); errors.Is(err, errRetired) && now != v { // as in Read
		return now.aborted(from, to)
	}
	return list, err
}

func (v *View) aborted(from, to int64) ([]schema.AbortedTxn, error) {
	var out []schema.AbortedTxn
	for i := max(v.floor(from), 0); i < len(v.segments); i++ {
		_, x, _, err := v.of(i)
		if err != nil {
			return nil, err
		}
		done, err := x.collect(&out, from, to)
		if err != nil || done {
			return out, fail(x.aborts.file, -1, err)
		}
	}
	return out, nil
}

// collect adds a segment's aborted transactions. It is done when an entry proves that those behind it cannot touch the
// range: everything below its last stable offset was decided when it was written.
func (x *indexes) collect(out *[]schema.AbortedTxn, from, to int64) (done bool, err error) {
	err = x.aborts.each(func(e *schema.AbortedTxn) bool {
		if e.LastOffset >= from && e.FirstOffset < to {
			*out = append(*out, *e)
		}
		done = e.LastStableOffset >= to
		return !done
	})
	return done, err
}

// AbortedTransactions is View.Aborted of the present view.
func (l *Log) AbortedTransactions(from, to int64) ([]schema.AbortedTxn, error) {
	return l.View().Aborted(from, to)
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
