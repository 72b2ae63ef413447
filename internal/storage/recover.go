package storage

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// recover reads what cannot be trusted, ends the log where it is damaged, and rebuilds indexes and the producers'
// state. Without a clean shutdown that is the segment that holds the recovery point, from there on, and those behind it.
func (ld *loader) recover() error {
	if len(ld.segs) == 0 {
		return nil
	}
	from := len(ld.segs) // first segment that cannot be trusted
	if !ld.o.Clean {
		from = max(0, sort.Search(len(ld.segs), func(i int) bool { return ld.segs[i].base > ld.o.RecoveryPoint })-1)
	}
	if err := ld.strays(); err != nil {
		return err
	}
	for i, s := range ld.segs {
		if i >= from || s.damaged {
			ld.rec.BytesDue += s.segment.size
		}
	}
	for i, s := range ld.segs[:min(from, len(ld.segs))] {
		if s.damaged {
			ld.rec.IndexesRebuilt++
			s.indexes = s.empty()
			torn, err := ld.scan(i, 0, s.base)
			if err == nil {
				err = ld.keepIndexes(s)
			}
			if err != nil {
				return err
			}
			if torn {
				return ld.endAt(i)
			}
		}
	}
	for i := from; i < len(ld.segs); i++ {
		trusted, offset, err := ld.trust(ld.segs[i])
		if err != nil {
			return err
		}
		if i == from && ld.stateFrom(ld.segs[i]) >= offset {
			ld.rec.BytesDue -= trusted // otherwise its headers are read
		}
		torn, err := ld.scan(i, trusted, offset)
		if err == nil && ld.segs[i].damaged {
			ld.rec.IndexesRebuilt++
			err = ld.keepIndexes(ld.segs[i])
		}
		if err != nil {
			return err
		}
		if torn || ld.breaks(i) {
			return ld.endAt(i)
		}
	}
	return ld.endAt(len(ld.segs) - 1)
}

// breaks says whether the next segment does not continue one that was just read. A crash can lose the end of a sealed
// segment at the boundary of a batch and keep the segment behind it, or bring back a segment that was removed. Where
// compaction removes records, offsets may be missing rightly; also in a log that is not compacted any more: below what its
// cleaner's checkpoint says, or where offsets are missing inside of segments, which nothing else does.
func (ld *loader) breaks(i int) bool {
	s := ld.segs[i]
	if i+1 == len(ld.segs) || ld.segs[i+1].base == s.end {
		return false
	}
	if next := ld.segs[i+1].base; next > s.end && (ld.cfg.Compact || ld.compacted || next <= ld.o.Cleaned) {
		return false
	}
	ld.rec.Corruption = fail(s.log, s.active.size,
		fmt.Errorf("the segment ends before offset %d, the next one begins with %d", s.end, ld.segs[i+1].base))
	return true
}

// endAt makes segment i the last one. The ones behind it go: what they hold does not continue the log.
func (ld *loader) endAt(i int) error {
	for _, s := range ld.segs[i+1:] {
		if err := ld.discard(s); err != nil {
			return err
		}
	}
	if i+1 < len(ld.segs) {
		if err := ld.l.fs.SyncDir(ld.l.Dir()); err != nil {
			return ld.l.fileError(".", err)
		}
	}
	ld.segs = ld.segs[:i+1]
	last := ld.segs[i]
	if !last.read {
		if err := ld.tail(i); err != nil {
			return err
		}
	}
	for _, s := range ld.segs[:i] {
		if s.read {
			s.noteTime()
			x := s.indexes
			s.segment.size = s.active.size
			s.idx.Store(&x)
		}
	}
	last.segment.size = last.active.size
	return ld.producers()
}

// trust gives the position up to which a segment's indexes and batches lie below the recovery point, and the offset there: behind the
// last indexed batch below it, or the segment's beginning. It keeps the index entries up to there, and all aborted transactions that ended below
// the recovery point: they are durable, and must stay as they are, for after a roll nobody would look at them again.
func (ld *loader) trust(s *loading) (pos, offset int64, err error) {
	s.indexes, s.knownAborts = s.empty(), s.base
	x := s.empty()
	if s.damaged || ld.o.RecoveryPoint <= s.base {
		return 0, s.base, nil
	}
	for _, f := range []struct {
		h   *handle
		err error
	}{{s.offsetsFile, x.offsets.load()}, {s.timesFile, x.times.load()}, {s.abortsFile, x.aborts.loadIfThere()}} {
		if errors.Is(f.err, errInsane) {
			s.damaged = true
			return 0, s.base, nil
		}
		if f.err != nil {
			return 0, s.base, fail(f.h, -1, f.err)
		}
	}
	na, err := x.aborts.search(x.aborts.len(), func(a schema.AbortedTxn) bool { return a.LastOffset >= ld.o.RecoveryPoint })
	if err != nil {
		return 0, 0, fail(s.abortsFile, -1, err)
	}
	x.aborts.truncate(na)
	s.indexes.aborts, s.knownAborts = x.aborts, ld.o.RecoveryPoint
	rp := ld.o.RecoveryPoint - s.base
	n, err := x.offsets.search(x.offsets.len(), func(e offsetEntry) bool { return int64(e.rel) >= rp })
	if err != nil || n == 0 {
		return 0, s.base, fail(s.offsetsFile, -1, err)
	}
	e, err := x.offsets.at(n - 1)
	if err != nil {
		return 0, s.base, fail(s.offsetsFile, -1, err)
	}
	end, err := ld.confirm(s, e)
	if err != nil || end == 0 {
		return 0, s.base, err
	}
	x.offsets.truncate(n)
	nt, err := x.times.search(x.times.len(), func(t timeEntry) bool { return t.rel > e.rel })
	if err != nil {
		return 0, 0, fail(s.timesFile, -1, err)
	}
	x.times.truncate(nt)
	if nt > 0 {
		if x.last, err = x.times.at(nt - 1); err != nil {
			return 0, 0, fail(s.timesFile, -1, err)
		}
	}
	s.indexes = x
	s.sinceIndex = end - int64(e.pos)
	return end, s.base + int64(e.rel) + 1, nil
}

// confirm looks whether an index entry tells the truth about the batch that it points to, and gives the batch's end; 0 if
// it does not.
func (ld *loader) confirm(s *loading, e offsetEntry) (int64, error) {
	if e.pos < 0 {
		return 0, nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, fail(s.log, -1, err)
	}
	defer s.log.Release()
	w := newWalk(f, int64(e.pos), s.segment.size)
	defer w.close()
	h, _, err := w.next()
	if err == io.EOF || isDamage(err) || err == nil && h.LastOffset() != s.base+int64(e.rel) {
		return 0, nil
	}
	return w.pos, fail(s.log, int64(e.pos), err)
}

// scan reads a segment: the headers up to a trusted position, where an offset is, for the producers' sake, everything behind it with
// its checksums. It fills in s.active, cuts the file off at the first damage, and says whether it did.
func (ld *loader) scan(i int, trusted, offset int64) (torn bool, err error) {
	s, l := ld.segs[i], ld.l
	x, since := s.indexes, s.sinceIndex
	s.active = s.segment.activate(jitterOf(ld.cfg, l.Dir(), s.base), ld.o.Now)
	s.indexes, s.sinceIndex, s.read = x, since, true
	s.maxTime = x.last
	f, err := s.log.acquire()
	if err != nil {
		return false, fail(s.log, -1, err)
	}
	defer s.log.Release()
	ld.rec.SegmentsScanned++
	if trusted > 0 {
		if err := s.readFirstTime(f); err != nil {
			return false, fail(s.log, 0, err)
		}
	}
	if err := ld.replayTo(i, trusted, offset); err != nil {
		return false, err
	}
	s.active.size, s.end = trusted, offset
	ld.ready = i + 1
	if why := ld.scanBatches(s, f); why != nil {
		if !isDamage(why) {
			return false, fail(s.log, s.active.size, why)
		}
		ld.rec.Corruption = fail(s.log, s.active.size, why)
		ld.rec.BytesTruncated += s.segment.size - s.active.size
		torn = true
	}
	if l.producers.end > s.end { // the log ends below the snapshot
		ld.ready = -1
	}
	if n, err := s.indexes.aborts.search(s.indexes.aborts.len(), func(a schema.AbortedTxn) bool { return a.LastOffset >= s.end }); err != nil {
		return false, fail(s.abortsFile, -1, err)
	} else if n < s.indexes.aborts.len() {
		s.indexes.aborts.truncate(n)
	}
	l.unsure = min(l.unsure, s.base)
	return torn, ld.cut(s, f)
}

// cut makes the files as long as what was found good, and writes what the indexes have beyond theirs.
//
// A cut is made durable at once: after a roll the segment may lie below the recovery point, and what was cut off would
// come back there, unseen, with the next loss of power.
func (ld *loader) cut(s *loading, f vfs.File) error {
	ld.l.dirDirty = true
	if s.segment.size != s.active.size {
		if err := errors.Join(f.Truncate(s.active.size), f.Sync()); err != nil {
			return fail(s.log, s.active.size, err)
		}
		s.segment.size = s.active.size
	}
	if err := s.active.cutIndexes(); err != nil {
		return err
	}
	// What was rebuilt is in the files before anything can end Open: the next one would take what is left of them for all.
	if err := s.indexes.write(); err != nil {
		return err
	}
	w := s.indexes
	s.indexes.wrote(&w)
	return nil
}

// cutIndexes makes the index files as long as the indexes say they are, and creates those that are missing. The next
// flush makes that durable, or a roll, or what was cut off could come back below the recovery point.
func (a *active) cutIndexes() error {
	x := &a.indexes
	err := errors.Join(
		fail(a.offsetsFile, -1, cutTo(a.offsetsFile, x.offsets.written*offsetEntrySize)),
		fail(a.timesFile, -1, cutTo(a.timesFile, x.times.written*timeEntrySize)))
	x.offsets.durable, x.times.durable = -1, -1
	if x.aborts.written == 0 {
		x.aborts.durable = 0
		a.abortsFile.idle()
		return errors.Join(err, fail(a.abortsFile, -1, removeIfThere(a.abortsFile.fs, a.abortsFile.name())))
	}
	x.aborts.durable = -1
	return errors.Join(err, fail(a.abortsFile, -1, cutTo(a.abortsFile, x.aborts.written*txnEntrySize)))
}

func cutTo(h *handle, size int) error {
	f, err := h.create()
	if err != nil {
		return err
	}
	defer h.Release()
	return f.Truncate(int64(size))
}

// scanBatches checks batch after batch from s.active.size on. Its error is why it stopped before the file's end.
func (ld *loader) scanBatches(s *loading, f vfs.File) error {
	l := ld.l
	r := batchReader{f: f, pos: s.active.size, end: s.segment.size, before: ld.o.Reading}
	next := s.end
	for {
		pos := r.pos
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = b.CheckCRC()
		}
		if err == nil {
			err = rises(b, next)
		}
		if err == nil && b.BaseOffset() > next {
			err = ld.gap(&r, s, b, next)
		}
		if err != nil {
			return err
		}
		ld.compacted = ld.compacted || b.BaseOffset() > next || b.Count() <= b.LastOffsetDelta()
		if !s.canHold(b.LastOffset()) {
			return fmt.Errorf("offset %d does not fit the segment that begins at %d", b.LastOffset(), s.base)
		}
		ld.rec.BytesScanned += int64(len(b))
		if e := b.LeaderEpoch(); e > l.epochs.latest() {
			l.assignEpoch(e, b.BaseOffset())
		}
		next = b.LastOffset() + 1
		if next > ld.known { // otherwise the snapshot has it
			if err := l.replay(&l.producers, b, position{b.BaseOffset(), s.base, pos}, s.noteAborted); err != nil {
				return err
			}
			l.producers.end = max(l.producers.end, next)
		}
		s.end = next
		s.add(int64(len(b)), b.LastOffset(), b.MaxTimestamp(), int64(ld.cfg.IndexInterval))
	}
}

// gap looks at a batch before which offsets are missing. Compaction does that; so does a damaged offset, which no checksum covers.
// It is one if what follows goes on where the batch should have stood, or if no segment could have both.
func (ld *loader) gap(r *batchReader, s *loading, b record.Batch, next int64) error {
	after := int64(math.MaxInt64) // where the batches behind it begin
	if h, err := r.peek(); err == nil {
		after = h.BaseOffset()
	} else if i := slices.Index(ld.segs, s); err == io.EOF && i+1 < len(ld.segs) {
		after = ld.segs[i+1].base
	} else if err != io.EOF && !isDamage(err) {
		return err
	}
	if after >= next && after <= b.LastOffset() || b.BaseOffset()-next > math.MaxInt32 {
		return &record.Corrupt{Reason: fmt.Sprintf("offsets [%d, %d] where %d is expected", b.BaseOffset(), b.LastOffset(), next)}
	}
	return nil
}

func (s *loading) noteAborted(e ended, stable int64) {
	if e.last < s.knownAborts {
		return
	}
	s.indexes.aborts.append(schema.AbortedTxn{
		ProducerID: e.producerID, FirstOffset: e.first, LastOffset: e.last, LastStableOffset: stable,
	})
}

// keepIndexes writes the rebuilt indexes of a segment below the recovery point: nothing else would make them durable.
// The offset index comes last, for its absence is what made us rebuild.
func (ld *loader) keepIndexes(s *loading) error {
	s.noteTime()
	if err := s.indexes.write(); err != nil {
		return err
	}
	w := s.indexes
	s.indexes.wrote(&w)
	if err := syncAll(s.abortsIfAny(), s.timesFile, s.offsetsFile); err != nil {
		return err
	}
	ld.l.dirDirty = true
	return nil
}

// syncAll makes files durable, one after the other. Nil is none.
func syncAll(handles ...*handle) error {
	for _, h := range handles {
		if h == nil {
			continue
		}
		f, err := h.acquire()
		if err == nil {
			err = f.Sync()
			h.Release()
		}
		if err != nil {
			return fail(h, -1, err)
		}
	}
	return nil
}

// abortsIfAny is the transaction index's file if it has entries.
func (a *active) abortsIfAny() *handle {
	if a.indexes.aborts.len() == 0 {
		return nil
	}
	return a.abortsFile
}

// tail prepares a last segment that was shut down cleanly: only what follows its last index entry is looked at.
func (ld *loader) tail(i int) error {
	s, l := ld.segs[i], ld.l
	x, err := s.load()
	if errors.Is(err, errInsane) {
		s.damaged, s.indexes = true, s.empty()
	} else if err != nil {
		return fail(s.offsetsFile, -1, err)
	}
	if s.damaged {
		ld.rec.IndexesRebuilt++
		return ld.rebuild(i)
	}
	s.active = s.segment.activate(jitterOf(ld.cfg, l.Dir(), s.base), ld.o.Now)
	s.indexes, s.read, s.maxTime = *x, true, x.last
	s.idx.Store(nil)
	f, err := s.log.acquire()
	if err != nil {
		return fail(s.log, -1, err)
	}
	defer s.log.Release()
	if err := s.readTail(f, s.segment.size); err != nil {
		if !isDamage(err) {
			return fail(s.log, s.active.size, err)
		}
		return ld.rebuild(i)
	}
	return nil
}

// rebuild reads a segment whose indexes cannot be used, and makes them anew.
func (ld *loader) rebuild(i int) error {
	ld.segs[i].indexes = ld.segs[i].empty()
	if _, err := ld.scan(i, 0, ld.segs[i].base); err != nil {
		return err
	}
	return ld.keepIndexes(ld.segs[i])
}

// readTail fills in a last segment from its indexes and the headers behind the last entry.
func (a *loading) readTail(f vfs.File, size int64) error {
	if err := a.readFirstTime(f); err != nil && size > 0 {
		return err
	}
	indexed := int64(-1) // the last indexed offset; its batch begins at active.size, or behind it
	if n := a.indexes.offsets.len(); n > 0 {
		e, err := a.indexes.offsets.at(n - 1)
		if err != nil {
			return err
		}
		a.active.size, indexed = int64(e.pos), a.base+int64(e.rel)
		if a.active.size < 0 {
			return &record.Corrupt{Reason: fmt.Sprintf("the offset index says that offset %d is at position %d", indexed, e.pos)}
		}
	}
	a.end = a.base
	w := newWalk(f, a.active.size, size)
	defer w.close()
	for {
		h, pos, err := w.next()
		if indexed >= 0 && (err == io.EOF && a.end <= indexed || err == nil && a.end == a.base && h.BaseOffset() > indexed) {
			return &record.Corrupt{Reason: fmt.Sprintf("the offset index says that offset %d is here", indexed)}
		}
		if err == io.EOF {
			a.active.size = size
			return nil
		}
		if err == nil {
			err = rises(h, a.end)
		}
		if err == nil && !a.canHold(h.LastOffset()) {
			err = &record.Corrupt{Reason: fmt.Sprintf("offset %d in the segment that begins at %d", h.LastOffset(), a.base)}
		}
		if err != nil {
			return err
		}
		if h.MaxTimestamp() > a.maxTime.ts {
			a.maxTime = timeEntry{h.MaxTimestamp(), int32(h.LastOffset() - a.base)}
		}
		a.sinceIndex += w.pos - pos
		a.end = h.LastOffset() + 1
	}
}

// readFirstTime reads the timestamp by which the segment's age is measured.
func (a *active) readFirstTime(f vfs.File) error {
	w := newWalk(f, 0, record.HeaderLen)
	defer w.close()
	if _, _, err := w.next(); err != nil && !errors.Is(err, record.ErrTruncated) {
		return err
	}
	a.firstTime = record.Batch(w.page[:record.HeaderLen]).MaxTimestamp()
	return nil
}

// batchReader reads whole batches one after the other, many with one read. A batch is valid until the next one.
type batchReader struct {
	f      io.ReaderAt
	pos    int64 // of the next batch
	end    int64
	buf    []byte
	at     int64           // position of buf
	size   int             // bytes to read at once; 0: batchReaderSize
	before func(int) error // if set, it is asked before so many bytes are read
}

const batchReaderSize = 256 << 10 // what is read is still in a core's cache when it is checked

func (r *batchReader) next() (record.Batch, error) {
	left := r.end - r.pos
	if left <= 0 {
		return nil, io.EOF
	}
	if left < record.HeaderLen {
		return nil, record.ErrTruncated
	}
	b, err := r.fill(record.HeaderLen)
	if err != nil {
		return nil, err
	}
	size, err := record.Peek(b)
	if err != nil {
		return nil, err
	}
	if int64(size) > left {
		return nil, record.ErrTruncated
	}
	if b, err = r.fill(size); err != nil {
		return nil, err
	}
	r.pos += int64(size)
	return record.Batch(b[:size:size]), nil
}

// peek gives the header of the next batch without taking it: what next gave stays valid. The errors are next's.
func (r *batchReader) peek() (record.Batch, error) {
	left := r.end - r.pos
	if left <= 0 {
		return nil, io.EOF
	}
	if left < record.HeaderLen {
		return nil, record.ErrTruncated
	}
	h := make([]byte, record.HeaderLen)
	if i := r.pos - r.at; int64(len(r.buf))-i >= record.HeaderLen {
		h = r.buf[i : i+record.HeaderLen]
	} else if err := readFull(r.f, h, r.pos); err != nil {
		return nil, err
	}
	_, err := record.Peek(h)
	return record.Batch(h), err
}

// fill gives at least n bytes from pos on; the file must have them. What the buffer has of them is not read again.
func (r *batchReader) fill(n int) ([]byte, error) {
	i := r.pos - r.at
	if i < 0 || i > int64(len(r.buf)) {
		i = int64(len(r.buf))
	}
	have := r.buf[i:]
	if len(have) >= n {
		return have, nil
	}
	size := r.size
	if size == 0 {
		size = batchReaderSize
	}
	want := int(min(r.end-r.pos, int64(max(n, size))))
	to := r.buf[:0]
	if cap(to) < want {
		to = make([]byte, 0, want)
	}
	had := copy(to[:want], have)
	r.buf, r.at = to[:had], r.pos
	if r.before != nil {
		if err := r.before(want - had); err != nil {
			return nil, err
		}
	}
	if err := readFull(r.f, to[had:want], r.pos+int64(had)); err != nil {
		return nil, err
	}
	r.buf = to[:want]
	return r.buf, nil
}

// replay takes a batch of the log into the producers' state, unchecked: whoever wrote it has checked it. Nothing may be
// appended meanwhile.
func (l *Log) replay(p *producers, b record.Batch, at position, aborted func(ended, int64)) error {
	if !b.HasProducerID() {
		return nil
	}
	l.staged.reset()
	if err := l.staged.stage(p, l.codecs, check{batch: b, at: at, origin: Replication}); err != nil {
		return err
	}
	l.staged.apply(p, aborted)
	return nil
}
