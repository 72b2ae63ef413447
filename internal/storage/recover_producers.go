package storage

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"sort"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// strays removes the snapshots that belong to no segment, but for the newest if it is above all segments: a clean
// shutdown wrote that one, or KeepProducers. After a crash all above the recovery point go, for nobody knows what they hold, and one
// at it stays.
func (ld *loader) strays() error {
	p := &ld.l.producers
	bases := make(map[int64]bool, len(ld.segs))
	highest := int64(-1)
	for _, s := range ld.segs {
		bases[s.base] = true
		highest = max(highest, s.base)
	}
	newest := int64(-1)
	for _, offset := range p.snapshots {
		if !bases[offset] {
			newest = max(newest, offset)
		}
	}
	return ld.dropSnapshots(func(offset int64) bool {
		kept := offset == newest && offset >= highest || !ld.o.Clean && offset == ld.o.RecoveryPoint
		return !bases[offset] && !kept || !ld.o.Clean && offset > ld.o.RecoveryPoint
	})
}

// replayTo brings the producers' state to a position in segment i: from the state of the segment before it, if that was
// just read, or from a snapshot and the headers behind it. The state may be beyond the position.
func (ld *loader) replayTo(i int, pos, offset int64) error {
	s, p := ld.segs[i], &ld.l.producers
	if ld.known = 0; ld.ready != i {
		if err := ld.restore(ld.stateFrom(s)); err != nil {
			return err
		}
		if p.lastSnap > s.base && p.lastSnap == ld.o.RecoveryPoint {
			ld.known = p.lastSnap
		}
		if err := ld.replaySegments(i, s.base); err != nil {
			return err
		}
	}
	if p.end >= offset {
		return nil
	}
	return ld.replaySegment(s, max(s.base, p.end), pos)
}

// stateFrom is the offset at or below which a snapshot is taken for the recovery of a segment: the recovery point, if there is one and
// the aborted transactions below it are known. A log that was closed cleanly, or is flushed and idle, has one there. Otherwise it is the
// segment's beginning: a snapshot has only the last batch of each producer, and those of the segment may be sent again.
func (ld *loader) stateFrom(s *loading) int64 {
	if _, there := slices.BinarySearch(ld.l.producers.snapshots, ld.o.RecoveryPoint); there && s.knownAborts == ld.o.RecoveryPoint {
		return ld.o.RecoveryPoint
	}
	return s.base
}

// restore loads the newest usable snapshot at or below an offset.
func (ld *loader) restore(offset int64) error {
	p := &ld.l.producers
	p.clear(0)
	p.end, p.lastSnap = ld.o.LogStartOffset, ld.o.LogStartOffset
	if len(ld.segs) > 0 {
		p.end = max(p.end, ld.segs[0].base)
	}
	for i := len(p.snapshots) - 1; i >= 0; i-- {
		at := p.snapshots[i]
		if at > offset {
			continue
		}
		err := ld.l.restoreFrom(p, at, ld.o.Now.UnixMilli())
		if err == nil {
			return nil
		}
		if !errors.Is(err, errSnapshot) && !errors.Is(err, fs.ErrNotExist) {
			return ld.l.fileError(fileName(at, suffixSnapshot), err)
		}
		if err := ld.dropSnapshots(func(x int64) bool { return x == at }); err != nil {
			return err
		}
	}
	return nil
}

// restoreFrom replaces the producers' state by a snapshot's.
func (l *Log) restoreFrom(p *producers, at, now int64) error {
	b, err := readWhole(l.fs, filePath(l.Dir(), at, suffixSnapshot), maxSnapshot)
	if err != nil {
		return err
	}
	before := p.end
	p.clear(at)
	err = decodeSnapshot(b, func(x *schema.ProducerEntry) {
		if x.CurrentTxnFirstOffset >= 0 || now-x.Timestamp < p.expiry.Milliseconds() {
			p.restore(x)
		}
	})
	if err != nil {
		p.clear(before)
		return err
	}
	p.lastSnap = at
	return nil
}

// replaySegments takes the headers from the producers' state on, in the segments before number i, up to an offset.
func (ld *loader) replaySegments(i int, to int64) error {
	p := &ld.l.producers
	first := sort.Search(i, func(j int) bool { return ld.segs[j].base > p.end }) - 1
	for j := max(first, 0); j < i && p.end < to; j++ {
		s := ld.segs[j]
		if err := ld.replaySegment(s, max(s.base, p.end), s.segment.size); err != nil {
			return err
		}
		if j+1 < len(ld.segs) {
			p.end = max(p.end, ld.segs[j+1].base)
		}
	}
	return nil
}

func (ld *loader) replaySegment(s *loading, from, to int64) error {
	start := int64(0)
	if from > s.base {
		x := &s.indexes
		if !s.read && !s.damaged && x.offsets.file == nil {
			loaded, err := s.load()
			if err != nil {
				return fail(s.offsetsFile, -1, err)
			}
			x = loaded
		}
		if x.offsets.file != nil {
			b, err := s.find(x, to, from)
			if err == io.EOF {
				return nil
			}
			if err != nil && !isDamage(err) {
				return fail(s.log, -1, err)
			}
			if err == nil {
				start = b.pos
			}
		}
	}
	if ld.rec.ProducersRebuiltFrom < 0 {
		ld.rec.ProducersRebuiltFrom = from
	}
	return ld.l.replayHeaders(&ld.l.producers, s.segment, start, to, from, ld.o.Reading)
}

// replayHeaders takes the batches of a stretch of a segment into the producers' state, from an offset on. It reads
// headers only, and markers.
func (l *Log) replayHeaders(p *producers, s *segment, pos, end, from int64, before func(int) error) error {
	f, err := s.log.acquire()
	if err != nil {
		return fail(s.log, -1, err)
	}
	defer s.log.Release()
	w := newWalk(f, pos, end)
	w.before = before
	defer w.close()
	for {
		h, pos, err := w.next()
		if err == io.EOF {
			return nil
		}
		if isDamage(err) {
			// A segment below the recovery point that is damaged: readers will meet it. What follows cannot be known.
			return nil
		}
		if err != nil {
			return fail(s.log, pos, err)
		}
		if h.LastOffset() < from {
			continue
		}
		if h.HasProducerID() && h.Control() {
			if h, err = readBatch(f, pos, w.pos-pos); err != nil {
				return fail(s.log, pos, err)
			}
		}
		if err := l.replay(p, h, position{h.BaseOffset(), s.base, pos}, func(ended, int64) {}); err != nil && !isDamage(err) {
			return fail(s.log, pos, err)
		}
		p.end = max(p.end, h.LastOffset()+1)
	}
}

func readBatch(f vfs.File, pos, size int64) (record.Batch, error) {
	b := make([]byte, size)
	if err := readFull(f, b, pos); err != nil {
		return nil, err
	}
	return record.Batch(b), nil
}

// producers completes the producers' state at the log's end.
func (ld *loader) producers() error {
	l, p := ld.l, &ld.l.producers
	last := len(ld.segs) - 1
	l.end = ld.segs[last].end
	if ld.o.LogStartOffset > l.end {
		return nil // settleStart starts afresh
	}
	if err := ld.dropSnapshots(func(offset int64) bool { return offset > l.end }); err != nil {
		return err
	}
	switch {
	case ld.ready == last+1:
		// The state was computed; whether a snapshot of it is whole, only reading it tells.
		if n := len(p.snapshots); n > 0 && p.snapshots[n-1] == l.end {
			if _, err := ReadSnapshot(l.fs, filePath(l.Dir(), l.end, suffixSnapshot)); err != nil {
				if err := ld.dropSnapshots(func(offset int64) bool { return offset == l.end }); err != nil {
					return err
				}
			}
		}
	case ld.o.Clean && len(p.snapshots) == 0:
		// Nothing is known of producers, and nobody crashed: a directory from before snapshots. Reading it all is not
		// worth it.
		p.clear(l.end)
		p.lastSnap = ld.o.LogStartOffset
	default:
		if err := ld.restore(l.end); err != nil {
			return err
		}
		if err := ld.replaySegments(last+1, l.end); err != nil {
			return err
		}
	}
	p.end = l.end
	p.lastSnap = max(ld.o.LogStartOffset, ld.segs[0].base)
	if n := len(p.snapshots); n > 0 {
		p.lastSnap = max(p.lastSnap, p.snapshots[n-1])
	}
	if _, err := l.snapshot(l.end, true); err != nil {
		return err
	}
	return ld.dropSnapshots(func(offset int64) bool {
		return offset <= ld.o.LogStartOffset && offset < l.end
	})
}
