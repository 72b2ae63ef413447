package storage

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"sort"
	"sync"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Sizes of index entries, and how much of an index stays on the heap.
const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	txnEntrySize    = 34 // version and schema.AbortedTxn
	txnEntryVersion = 0

	// indexTail entries that nobody wrote yet make an append ask for write-behind. As many stay on the heap afterwards, so
	// that readers near the log's end need no file.
	indexTail = 1024
)

// noTimestamp stands for "no entry" where a timestamp is asked.
const noTimestamp = -1

// offsetEntry says that the batch at position pos ends with offset base+rel.
type offsetEntry struct{ rel, pos int32 }

// timeEntry says that no record up to offset base+rel is younger than ts.
type timeEntry struct {
	ts  int64
	rel int32
}

// entry is what the indexes differ in: size and encoding of their entries.
type entry interface {
	offsetEntry | timeEntry | schema.AbortedTxn
}

func entrySize[E entry]() int {
	var e *E
	switch any(e).(type) {
	case *offsetEntry:
		return offsetEntrySize
	case *timeEntry:
		return timeEntrySize
	}
	return txnEntrySize
}

func appendEntry[E entry](dst []byte, e *E) []byte {
	switch e := any(e).(type) {
	case *offsetEntry:
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.rel))
		return binary.BigEndian.AppendUint32(dst, uint32(e.pos))
	case *timeEntry:
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.ts))
		return binary.BigEndian.AppendUint32(dst, uint32(e.rel))
	case *schema.AbortedTxn:
		return e.AppendTo(binary.BigEndian.AppendUint16(dst, txnEntryVersion), txnEntryVersion)
	}
	return dst
}

func decodeEntry[E entry](b []byte) (e E) {
	switch e := any(&e).(type) {
	case *offsetEntry:
		e.rel, e.pos = int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))
	case *timeEntry:
		e.ts, e.rel = int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))
	case *schema.AbortedTxn:
		_, _ = e.ReadFrom(b[2:txnEntrySize], txnEntryVersion) // fixed size: it cannot fail
	}
	return e
}

// index is an offset or time index. Its first entries are in the file, its last ones on the heap; the two parts may
// overlap. The value is a snapshot: appending to a copy does not disturb readers of the original, since entries behind
// their length are all that is written.
//
//	entry   0             from          written        from+len(tail)
//	        |--- file -----|-- file, heap --|--- heap ----|
type index[E entry] struct {
	file    *handle
	from    int // number of the first entry on the heap
	tail    []E
	written int // entries that the file has; not above from+len(tail), not below from
	durable int // entries that were synced, or were in the file when it was opened; -1: the file was cut since
}

func (x *index[E]) len() int { return x.from + len(x.tail) }

// append adds an entry on the heap.
func (x *index[E]) append(e E) { x.tail = append(x.tail, e) }

// unwritten counts the entries that only the heap has.
func (x *index[E]) unwritten() int { return x.len() - x.written }

// writeTail writes what only the heap has. It changes nothing here: the caller notes the result with wrote, under the
// log's lock.
func (x *index[E]) writeTail() error {
	if x.unwritten() == 0 {
		return nil
	}
	size := entrySize[E]()
	buf := make([]byte, 0, x.unwritten()*size)
	for i := x.written - x.from; i < len(x.tail); i++ {
		buf = appendEntry(buf, &x.tail[i])
	}
	f, err := x.file.create()
	if err != nil {
		return err
	}
	defer x.file.Release()
	_, err = f.WriteAt(buf, int64(x.written)*int64(size))
	return err
}

// wrote says that the file has the first n entries. Heaps of twice indexTail are cut to half: into a new array, for
// readers hold the old one.
func (x *index[E]) wrote(n int) {
	x.written = max(x.written, n)
	if drop := min(len(x.tail)-indexTail, x.written-x.from); len(x.tail) >= 2*indexTail && drop > 0 {
		x.tail = append(make([]E, 0, 3*indexTail), x.tail[drop:]...)
		x.from += drop
	}
}

// truncate keeps the first n entries. The caller truncates the file.
func (x *index[E]) truncate(n int) {
	if n >= x.len() {
		return
	}
	x.tail = append([]E(nil), x.tail[:max(0, n-x.from)]...)
	x.from = min(x.from, n)
	x.written = min(x.written, n)
}

// pages are buffers for a look into an index or a few batch headers.
var pages = sync.Pool{New: func() any { return new([4096]byte) }}

// search finds the first entry for which after is true: its number, len() if there is none. after must be false up to
// some entry and true from it on. Where the entry is in the file, the page around the guessed number is looked at first.
func (x *index[E]) search(guess int, after func(E) bool) (int, error) {
	if x.from == 0 || len(x.tail) > 0 && !after(x.tail[0]) {
		return x.from + sort.Search(len(x.tail), func(i int) bool { return after(x.tail[i]) }), nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return 0, err
	}
	defer x.file.Release()
	page := pages.Get().(*[4096]byte)
	defer pages.Put(page)
	size := entrySize[E]()
	per := len(page) / size
	lo, hi := 0, x.from // the result is in [lo, hi]
	for mid := min(max(guess, 0), x.from-1); hi > lo; mid = int(uint(lo+hi) >> 1) {
		first := max(lo, min(mid-per/2, hi-per))
		n := min(per, hi-first)
		if err := readFull(f, page[:n*size], int64(first)*int64(size)); err != nil {
			return 0, err
		}
		i := sort.Search(n, func(i int) bool { return after(decodeEntry[E](page[i*size:])) })
		switch {
		case i == 0:
			hi = first
		case i == n:
			lo = first + n
		default:
			return first + i, nil
		}
	}
	return lo, nil
}

// share is the number that an entry would have if entries were spread evenly: part of whole.
func (x *index[E]) share(part, whole int64) int {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return int(float64(x.len()) * min(1, float64(part)/float64(whole)))
}

// each calls f for every entry, until it says no.
func (x *index[E]) each(f func(*E) bool) error {
	if x.from > 0 {
		file, err := x.file.acquire()
		if err != nil {
			return err
		}
		defer x.file.Release()
		page := pages.Get().(*[4096]byte)
		defer pages.Put(page)
		size := entrySize[E]()
		for i, per := 0, len(page)/size; i < x.from; i += per {
			n := min(per, x.from-i)
			if err := readFull(file, page[:n*size], int64(i)*int64(size)); err != nil {
				return err
			}
			for j := range n {
				if e := decodeEntry[E](page[j*size:]); !f(&e) {
					return nil
				}
			}
		}
	}
	for i := range x.tail {
		if !f(&x.tail[i]) {
			return nil
		}
	}
	return nil
}

// at gives entry number i, which must exist.
func (x *index[E]) at(i int) (e E, err error) {
	if i >= x.from {
		return x.tail[i-x.from], nil
	}
	f, err := x.file.acquire()
	if err != nil {
		return e, err
	}
	defer x.file.Release()
	page := pages.Get().(*[4096]byte)
	defer pages.Put(page)
	size := entrySize[E]()
	if err := readFull(f, page[:size], int64(i)*int64(size)); err != nil {
		return e, err
	}
	return decodeEntry[E](page[:]), nil
}

// errInsane says that an index file cannot be what this log wrote; it is rebuilt.
var errInsane = errors.New("index is insane")

// loadIfThere is load of a file that need not exist.
func (x *index[E]) loadIfThere() error {
	err := x.load()
	if errors.Is(err, fs.ErrNotExist) {
		x.from, x.tail, x.written, x.durable, err = 0, nil, 0, 0, nil
	}
	return err
}

// load counts the entries of the file: Kafka's index files have their full size while they are written, so that after
// a crash zeros follow the last entry. DETAILS 23.
func (x *index[E]) load() error {
	f, err := x.file.acquire()
	if err != nil {
		return err
	}
	defer x.file.Release()
	bytes, err := f.Size()
	if err != nil {
		return err
	}
	size := int64(entrySize[E]())
	if bytes%size != 0 || bytes/size > math.MaxInt32 {
		return errInsane
	}
	n, err := countEntries(f, int(bytes/size), int(size))
	if err != nil {
		return err
	}
	x.from, x.tail, x.written, x.durable = n, nil, n, n
	return nil
}

// countEntries finds where the zeros begin. The relative offset of an entry is zero only where it is the only one, so
// the first entry may look like a zero; it counts if any byte of it is set.
func countEntries(f vfs.File, n, size int) (int, error) {
	var buf, zero [txnEntrySize]byte
	var readErr error
	isZero := func(i int) bool {
		if err := readFull(f, buf[:size], int64(i)*int64(size)); err != nil && readErr == nil {
			readErr = err
		}
		return buf == zero
	}
	if n == 0 || !isZero(n-1) && readErr == nil {
		return n, readErr
	}
	n = sort.Search(n, isZero)
	return n, readErr
}

// readFull reads exactly len(p) bytes; less is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// createEmpty makes an empty index file. Kafka takes a segment without one for damaged.
func createEmpty(fsys vfs.FS, path string) error {
	f, err := fsys.OpenFile(path, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// readWhole reads a small file.
func readWhole(fsys vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(path, vfs.ReadOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("file is too large for what it is")}
	}
	b := make([]byte, n)
	return b, readFull(f, b, 0)
}

// writeWhole replaces a small file: readers and crashes see the old one or the new one.
func writeWhole(fsys vfs.FS, path string, b []byte) error {
	temp := path + suffixTemp
	f, err := fsys.OpenFile(temp, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.Rename(temp, path)
}
