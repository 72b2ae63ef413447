package storage

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// segment is one stretch of the log: a file of batches with its indexes. All but the last one are sealed, and do not
// change any more; what the last one has beyond this struct stands in active and, for readers, in the View.
type segment struct {
	base                                    int64
	log, offsetsFile, timesFile, abortsFile *handle
	size                                    int64 // bytes; of a sealed segment

	// idx are the indexes of a sealed segment, nil until somebody asks. load fills it; Flush replaces it when the files
	// have everything.
	idx atomic.Pointer[indexes]
	mu  sync.Mutex // serialises load

	// began is the largest timestamp of a sealed segment's first batch, nil until somebody asks.
	began atomic.Pointer[int64]
}

// indexes are the three indexes of a segment: an immutable snapshot.
type indexes struct {
	offsets index[offsetEntry]
	times   index[timeEntry]
	aborts  index[schema.AbortedTxn]
	last    timeEntry // the last of times, {-1, 0} if there is none
	// lastIndexed is the last of offsets when a sealed segment was loaded, for a guess where an entry is.
	lastIndexed offsetEntry
}

// active is the last segment, the one that grows. It is guarded by Log.mu, or by Log.files while the log is frozen.
type active struct {
	*segment
	indexes
	size       int64
	sinceIndex int64         // bytes since the last index entry
	maxTime    timeEntry     // largest timestamp, and the last offset of its batch; {-1, 0} if there is none
	firstTime  int64         // largest timestamp of the first batch, noTimestamp if there is none
	created    time.Time     // for rolling by age where records have no timestamp
	jitter     time.Duration // how much earlier than its age the segment rolls
	shown      *indexes      // what the View has; nil if indexes changed since
}

func newSegment(fsys disk, dir string, base int64) *segment {
	s := &segment{
		base:        base,
		log:         newHandle(fsys, filePath(dir, base, suffixLog)),
		offsetsFile: newHandle(fsys, filePath(dir, base, suffixIndex)),
		timesFile:   newHandle(fsys, filePath(dir, base, suffixTimeIndex)),
		abortsFile:  newHandle(fsys, filePath(dir, base, suffixTxnIndex)),
	}
	return s
}

// createSegment makes the files of a new, empty segment; those that are there, left by a crash, are emptied. A suffix is for the caller
// to take away; the transaction index, which has no file yet, never has it.
func createSegment(fsys disk, dir string, base int64, suffix string) (*segment, error) {
	s := newSegment(fsys, dir, base)
	for _, h := range []*handle{s.offsetsFile, s.timesFile} {
		h.moved(h.name() + suffix)
		if err := createEmpty(fsys, h.name()); err != nil {
			return nil, err
		}
	}
	if suffix == "" {
		if err := removeIfThere(fsys, s.abortsFile.name()); err != nil {
			return nil, err
		}
	}
	path := s.log.name() + suffix
	f, err := fsys.OpenFile(path, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
	if err != nil {
		return nil, err
	}
	s.log = adopt(fsys, path, f)
	return s, nil
}

// empty gives indexes without entries over the segment's files.
func (s *segment) empty() indexes {
	return indexes{
		offsets: index[offsetEntry]{file: s.offsetsFile},
		times:   index[timeEntry]{file: s.timesFile},
		aborts:  index[schema.AbortedTxn]{file: s.abortsFile},
		last:    timeEntry{ts: noTimestamp},
	}
}

// activate makes a fresh segment the log's last one.
func (s *segment) activate(jitter time.Duration, now time.Time) active {
	return active{
		segment: s, indexes: s.empty(), maxTime: timeEntry{ts: noTimestamp}, firstTime: noTimestamp,
		created: now, jitter: jitter,
	}
}

// jitterOf spreads the rolls of a node's logs. It is the same for a segment whenever it is opened.
func jitterOf(c *Config, dir string, base int64) time.Duration {
	limit := min(c.SegmentJitter, c.SegmentAge)
	if limit <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprint(h, filepath.Base(dir), base)
	return time.Duration(h.Sum64()>>1) % limit
}

// load gives the indexes of a sealed segment, from the files if need be.
func (s *segment) load() (*indexes, error) {
	if x := s.idx.Load(); x != nil {
		return x, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.idx.Load(); x != nil {
		return x, nil
	}
	x := s.empty()
	if err := errors.Join(x.offsets.load(), x.times.loadIfThere(), x.aborts.loadIfThere()); err != nil {
		return nil, err
	}
	if n := x.times.len(); n > 0 {
		last, err := x.times.at(n - 1)
		if err != nil {
			return nil, err
		}
		x.last = last
	}
	if n := x.offsets.len(); n > 0 {
		last, err := x.offsets.at(n - 1)
		if err != nil {
			return nil, err
		}
		x.lastIndexed = last
	}
	s.idx.Store(&x)
	return &x, nil
}

// canHold says whether an offset can be written relative to the segment's base. DETAILS 24.
func (s *segment) canHold(offset int64) bool {
	return offset >= s.base && offset-s.base <= math.MaxInt32
}

// lookup gives a position from which to search for an offset: of a batch that ends at or before it, or the start.
func (x *indexes) lookup(base, offset int64) (int64, error) {
	e, err := x.entry(base, offset)
	return int64(e.pos), err
}

// entry is the last entry for a batch that ends at or before an offset; {-1, 0} if there is none, or it is no position.
func (x *indexes) entry(base, offset int64) (offsetEntry, error) {
	rel := min(offset-base, math.MaxInt32)
	n, err := x.offsets.search(x.offsets.share(rel, int64(x.lastIndexed.rel)), func(e offsetEntry) bool { return int64(e.rel) > rel })
	if err != nil || n == 0 {
		return offsetEntry{rel: -1}, err
	}
	e, err := x.offsets.at(n - 1)
	if e.pos < 0 {
		return offsetEntry{rel: -1}, err
	}
	return e, err
}

// boundary gives the largest known start of a batch that is not above a position.
func (x *indexes) boundary(pos int64) (int64, error) {
	n, err := x.offsets.search(x.offsets.share(pos, int64(x.lastIndexed.pos)), func(e offsetEntry) bool { return int64(e.pos) > pos })
	if err != nil || n == 0 {
		return 0, err
	}
	e, err := x.offsets.at(n - 1)
	return int64(e.pos), err
}

// lookupTime gives the offset up to which no record is as young as ts; base if nothing is known.
func (x *indexes) lookupTime(base, ts int64) (int64, error) {
	n, err := x.times.search(x.times.len()/2, func(e timeEntry) bool { return e.ts > ts })
	if err != nil || n == 0 {
		return base, err
	}
	e, err := x.times.at(n - 1)
	return base + int64(e.rel), err
}

// found is a batch in a segment.
type found struct {
	pos          int64
	size         int
	base         int64 // offsets of the batch
	last         int64
	maxTimestamp int64
	leaderEpoch  int32
}

func foundOf(h record.Batch, pos int64) found {
	return found{pos: pos, size: h.Len(), base: h.BaseOffset(), last: h.LastOffset(),
		maxTimestamp: h.MaxTimestamp(), leaderEpoch: h.LeaderEpoch()}
}

// find gives the first batch that ends at or behind an offset; io.EOF if the segment, which has size bytes, has none. Where
// it meets bytes that are no batch, or offsets that do not rise, the error says where.
func (s *segment) find(x *indexes, size, offset int64) (found, error) {
	e, err := x.entry(s.base, offset)
	if err != nil {
		return found{}, err
	}
	pos, indexed := int64(e.pos), s.base+int64(e.rel)
	f, err := s.log.acquire()
	if err != nil {
		return found{}, err
	}
	defer s.log.Release()
	b, err := s.findFrom(f, pos, size, offset)
	if pos > 0 && (isDamage(err) || err == nil && b.pos == pos && b.base > offset || err == io.EOF && b.last < indexed) {
		// The index sent us to no batch, or too far: it was not written by this log. Without it the answer costs a walk.
		return s.findFrom(f, 0, size, offset)
	}
	return b, err
}

func (s *segment) findFrom(f io.ReaderAt, pos, size, offset int64) (found, error) {
	w := newWalk(f, pos, size)
	defer w.close()
	next := s.base
	for {
		h, pos, err := w.next()
		if err == io.EOF {
			return found{pos: pos, last: next - 1}, err
		}
		if err == nil {
			err = rises(h, next)
		}
		if err != nil {
			return found{pos: pos}, fail(s.log, pos, err)
		}
		if h.LastOffset() >= offset {
			return foundOf(h, pos), nil
		}
		next = h.LastOffset() + 1
	}
}

// rises says whether a batch may stand where the next offset is known. No checksum covers its offsets.
func rises(h record.Batch, next int64) error {
	if h.BaseOffset() < next || !sound(h) {
		return &record.Corrupt{Reason: fmt.Sprintf("offsets [%d, %d] where %d is expected", h.BaseOffset(), h.LastOffset(), next)}
	}
	return nil
}

// Damaged is the error for bytes in a log's file that are no batch.
func Damaged(f vfs.File, at int64, reason string) error {
	dir, file := filepath.Split(f.Name())
	return &StorageError{Dir: filepath.Clean(dir), File: file, Offset: at, Err: &record.Corrupt{Reason: reason}}
}

// fail gives an error the place where it happened.
func fail(h *handle, pos int64, err error) error {
	if err == nil {
		return nil
	}
	var have *StorageError
	if errors.As(err, &have) || errors.Is(err, errRetired) {
		return err
	}
	if errors.Is(err, record.ErrTruncated) { // a file that has all its bytes is damaged
		err = &record.Corrupt{Reason: "the batch is longer than the file"}
	}
	dir, file := filepath.Split(h.name())
	return &StorageError{Dir: filepath.Clean(dir), File: file, Offset: pos, Err: err}
}

// files are the handles of a segment, with their suffixes.
func (s *segment) files() [4]struct {
	h      *handle
	suffix string
} {
	return [4]struct {
		h      *handle
		suffix string
	}{{s.log, suffixLog}, {s.offsetsFile, suffixIndex}, {s.timesFile, suffixTimeIndex}, {s.abortsFile, suffixTxnIndex}}
}
