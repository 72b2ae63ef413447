package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Truncate makes the log end with the largest offset below the given one; a batch across it goes as a whole. An offset
// at or behind the log's end cuts only epochs that have no records. It is for followers: the high watermark may go
// down with the end.
func (l *Log) Truncate(offset int64, now time.Time) error {
	if offset < 0 {
		return fmt.Errorf("log %s: truncation to negative offset %d", l.Dir(), offset)
	}
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.freeze(); err != nil {
		return err
	}
	defer l.thaw()
	switch {
	case offset >= l.end:
		l.cutEpochs(l.end)
		return nil
	case l.segments[0].base > offset:
		return l.startOver(offset, offset, now)
	}
	return l.truncate(offset, now)
}

// TruncateFully empties the log and lets it go on at an offset, as a follower does whose log ends before its leader's
// begins.
func (l *Log) TruncateFully(newStart int64, now time.Time) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.freeze(); err != nil {
		return err
	}
	defer l.thaw()
	return l.startOver(newStart, newStart, now)
}

// cutEpochs drops the epochs that begin at or behind an offset.
func (l *Log) cutEpochs(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, changed := l.epochs.truncateEnd(offset); changed {
		l.epochs, l.epochsDirty = e, true
		l.publish()
	}
}

// truncate is Truncate to an offset within the log. The log is frozen by the holder of files.
func (l *Log) truncate(offset int64, now time.Time) error {
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > offset }) - 1
	s, err := l.shorten(i, offset, now)
	if err != nil {
		return l.wanting(err)
	}
	defer s.release()
	cut := &s.active
	gone := l.segments[i+1:]
	kept := append(append([]*segment(nil), l.segments[:i]...), cut.segment)
	p, err := l.producersAt(kept, cut, offset, now)
	if err != nil {
		return l.wanting(err)
	}
	if err := s.cut(); err != nil {
		return l.doom(err)
	}
	l.mu.Lock()
	l.segments, l.act, l.end = kept, *cut, offset
	l.sealedBytes = 0
	for _, s := range kept[:i] {
		l.sealedBytes += s.size
	}
	l.start = min(l.start, offset)
	// The file's new length is not durable: the next flush must include it, even if the log has rolled by then.
	l.recoveryPoint = min(l.recoveryPoint, cut.base)
	l.truncations++
	l.cleaned = min(l.cleaned, offset)
	l.appends = 0
	l.dirDirty = true
	if e, changed := l.epochs.truncateEnd(offset); changed {
		l.epochs, l.epochsDirty = e, true
	}
	l.hw = l.place(min(l.hw.offset, offset))
	p.verifications, p.guards = l.producers.verifications, l.producers.guards
	l.producers = p
	l.producers.replicated(l.hw.offset)
	l.publish()
	l.mu.Unlock()
	var errs []error
	for _, s := range gone {
		errs = append(errs, l.discard(s, now))
	}
	if err := errors.Join(errs...); err != nil {
		return l.doom(err)
	}
	return nil
}

// shortening is a segment that becomes the last one. Its files are open: from its cut on nothing may fail that another time could
// succeed.
type shortening struct {
	loading
	f       vfs.File
	keep    int64
	handles []*handle // acquired
}

// shorten prepares to cut a segment's files so that it ends below an offset, and gives it as a last segment: a new object over the
// same files, since Views hold the old one. It changes nothing yet.
func (l *Log) shorten(i int, offset int64, now time.Time) (s *shortening, err error) {
	old := l.segments[i]
	x, size := &l.act.indexes, l.act.size
	if i < len(l.segments)-1 {
		size = old.size
		if x, err = old.load(); err != nil {
			return nil, fail(old.offsetsFile, -1, err)
		}
	}
	s = &shortening{keep: size}
	b, err := old.find(x, size, offset)
	if err == nil {
		s.keep = b.pos
	} else if err != io.EOF {
		return nil, fail(old.log, -1, err)
	}
	seg := &segment{base: old.base, log: old.log, offsetsFile: old.offsetsFile, timesFile: old.timesFile, abortsFile: old.abortsFile}
	s.active = seg.activate(jitterOf(l.config.Load(), l.Dir(), seg.base), now)
	s.indexes = *x
	if err := s.indexes.truncate(seg.base, offset); err != nil {
		return nil, err
	}
	s.maxTime = s.last
	if s.f, err = seg.log.acquire(); err != nil {
		return nil, fail(seg.log, -1, err)
	}
	s.handles = append(s.handles, seg.log)
	for _, h := range []*handle{seg.offsetsFile, seg.timesFile, seg.abortsFile} {
		if h == seg.abortsFile && s.indexes.aborts.written == 0 {
			continue
		}
		if _, err := h.create(); err != nil {
			s.release()
			return nil, fail(h, -1, err)
		}
		s.handles = append(s.handles, h)
	}
	if err := s.readTail(s.f, s.keep); err != nil {
		s.release()
		return nil, fail(seg.log, -1, err)
	}
	return s, nil
}

func (s *shortening) cut() error {
	if err := s.f.Truncate(s.keep); err != nil {
		return fail(s.log, s.keep, err)
	}
	return s.cutIndexes()
}

func (s *shortening) release() {
	for _, h := range s.handles {
		h.Release()
	}
}

// truncate drops the entries at and behind an offset.
func (x *indexes) truncate(base, offset int64) error {
	n, err := x.offsets.search(x.offsets.len(), func(e offsetEntry) bool { return base+int64(e.rel) >= offset })
	if err != nil {
		return fail(x.offsets.file, -1, err)
	}
	x.offsets.truncate(n)
	if n, err = x.times.search(x.times.len(), func(e timeEntry) bool { return base+int64(e.rel) >= offset }); err != nil {
		return fail(x.times.file, -1, err)
	}
	x.times.truncate(n)
	x.last = timeEntry{ts: noTimestamp}
	if n > 0 {
		if x.last, err = x.times.at(n - 1); err != nil {
			return fail(x.times.file, -1, err)
		}
	}
	if n, err = x.aborts.search(x.aborts.len(), func(e schema.AbortedTxn) bool { return e.LastOffset >= offset }); err != nil {
		return fail(x.aborts.file, -1, err)
	}
	x.aborts.truncate(n)
	return nil
}

// producersAt makes the producers' state below an offset, the log's new end: from the newest snapshot that is left, and
// the batches behind it. Snapshots above the offset go. The log is frozen by the holder of files.
func (l *Log) producersAt(segments []*segment, cut *active, offset int64, now time.Time) (producers, error) {
	old := &l.producers
	p := newProducers(old.expiry)
	p.clear(segments[0].base)
	p.lastSnap = segments[0].base
	for i := len(old.snapshots) - 1; i >= 0; i-- {
		at := old.snapshots[i]
		if at <= offset {
			err := l.restoreFrom(&p, at, now.UnixMilli())
			if err == nil {
				break
			}
			if !errors.Is(err, errSnapshot) && !errors.Is(err, fs.ErrNotExist) {
				return p, l.fileError(fileName(at, suffixSnapshot), err)
			}
		}
		if err := l.discardSnapshot(at, now); err != nil {
			return p, err
		}
	}
	p.snapshots = old.snapshots
	for i, s := range segments {
		x, size := &cut.indexes, cut.size
		if i < len(segments)-1 {
			if segments[i+1].base <= p.end {
				continue
			}
			x, size = nil, s.size
		}
		if err := l.replayFrom(&p, s, x, size, max(p.end, s.base)); err != nil {
			return p, err
		}
	}
	p.end = offset
	return p, nil
}

// replayFrom takes a segment's batches from an offset on into the producers' state. x may be nil for a sealed segment.
func (l *Log) replayFrom(p *producers, s *segment, x *indexes, size, from int64) error {
	pos := int64(0)
	if from > s.base {
		if x == nil {
			var err error
			if x, err = s.load(); err != nil {
				return fail(s.offsetsFile, -1, err)
			}
		}
		b, err := s.find(x, size, from)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fail(s.log, -1, err)
		}
		pos = b.pos
	}
	return l.replayHeaders(p, s, pos, size, from, nil)
}

// startOver replaces everything by an empty segment. The log is frozen by the holder of files.
func (l *Log) startOver(offset, start int64, now time.Time) error {
	seg, err := createSegment(l.fs, l.Dir(), offset, suffixTemp)
	if err != nil {
		return l.wanting(l.fileError(fileName(offset, suffixLog), err))
	}
	var errs []error
	// The old files go before the new ones get their names: one of them may have such a name.
	for _, s := range l.segments {
		errs = append(errs, l.discard(s, now))
	}
	for len(l.producers.snapshots) > 0 {
		errs = append(errs, l.discardSnapshot(l.producers.snapshots[0], now))
	}
	err = errors.Join(errs...)
	if err == nil { // where something stays a crash must not find the new segment beside it
		err = errors.Join(swapSuffix(seg.offsetsFile, suffixTemp, ""), swapSuffix(seg.timesFile, suffixTemp, ""), removeIfThere(l.fs, seg.abortsFile.name()),
			swapSuffix(seg.log, suffixTemp, ""))
	}
	if err != nil {
		seg.retire()
		return l.doom(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = []*segment{seg}
	l.act = seg.activate(jitterOf(l.config.Load(), l.Dir(), offset), now)
	l.sealedBytes = 0
	l.start, l.end = start, offset
	l.appends = 0
	l.hw = l.place(offset)
	l.recoveryPoint = min(l.recoveryPoint, offset)
	l.truncations++
	l.cleaned = 0
	l.dirDirty = true
	l.epochs, l.epochsDirty = nil, true
	l.producers.clear(offset)
	l.producers.lastSnap = offset
	l.freshSnaps = nil
	l.publish()
	return nil
}
