package storage

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
)

// shouldRoll says whether an append needs a new segment: the last one would exceed its size, has an index that is full,
// cannot express the offset, or spans too much time. Time is what the records say, compared with the first batch; the
// clock counts only where there are no timestamps. DETAILS 24. mu is held, or the log frozen.
func (l *Log) shouldRoll(s *shape, cfg *Config, now time.Time) bool {
	a := &l.act
	if a.size > int64(cfg.SegmentBytes-s.bytes) || !a.canHold(s.last) {
		return a.size > 0 || !a.canHold(s.last)
	}
	if a.size == 0 {
		return false
	}
	if a.offsets.len() >= cfg.IndexBytes/offsetEntrySize || a.times.len() >= cfg.IndexBytes/timeEntrySize-1 {
		return true // the last slot of the time index is for the entry that sealing adds
	}
	age := now.Sub(a.created)
	if a.firstTime >= 0 {
		if s.maxTimestamp < a.firstTime {
			return false
		}
		ms := min(s.maxTimestamp-a.firstTime, math.MaxInt64/int64(time.Millisecond))
		age = time.Duration(ms) * time.Millisecond
	}
	return age > cfg.segmentAge()-a.jitter
}

// rollFor rolls for an append, unless somebody else did meanwhile. Nothing is locked.
func (l *Log) rollFor(s *shape, now time.Time) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.freeze(); err != nil {
		return err
	}
	defer l.thaw()
	s.first, s.last = max(s.first, l.end), max(s.first, l.end)+s.records-1
	if !l.shouldRoll(s, l.config.Load(), now) {
		return nil
	}
	return l.roll(s.first, now)
}

// Roll begins a new segment, if the last one has records. Flush makes the old ones durable; it is not done here.
func (l *Log) Roll(now time.Time) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.freeze(); err != nil {
		return err
	}
	defer l.thaw()
	return l.roll(l.end, now)
}

// roll seals the last segment and begins one at an offset that is not below the log's end. The log is frozen by the
// holder of files; mu is not held while files are made.
//
// The producers' state is written beside the new segment, so that a recovery of that segment begins with it. The order
// matters: a snapshot without its segment is a stray that Open removes or uses; a segment without its snapshot would
// cost the reading of all segments before it.
func (l *Log) roll(base int64, now time.Time) error {
	if l.act.size == 0 && l.act.base == base {
		return nil
	}
	if err := l.keepIndexes(base); err != nil {
		return l.wanting(err)
	}
	snap, err := l.snapshot(base, false)
	if err != nil {
		return l.wanting(err)
	}
	if snap {
		l.mu.Lock()
		l.freshSnaps = append(l.freshSnaps, base)
		l.mu.Unlock()
	}
	seg, err := createSegment(l.fs, l.Dir(), base, "")
	if err != nil {
		return l.wanting(l.fileError(fileName(base, suffixLog), err))
	}
	cfg := l.config.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seal()
	l.producers.end = base
	l.segments = append(slices.Clip(l.segments), seg)
	l.act = seg.activate(jitterOf(cfg, l.Dir(), base), now)
	l.dirDirty = true
	if l.hw.offset == l.end {
		l.hw = l.place(l.end)
	}
	l.publish()
	return nil
}

// keepIndexes makes the last segment's indexes durable where the next one will begin at the recovery point or below it: with that one on
// the disk no recovery looks at this one again, nor does the flush that follows a roll.
func (l *Log) keepIndexes(base int64) error {
	l.mu.Lock()
	if l.recoveryPoint < base {
		l.mu.Unlock()
		return nil
	}
	a := &l.act
	a.noteTime()
	x, handles := a.indexes, []*handle{a.log, a.offsetsFile, a.timesFile, a.abortsIfAny()}
	l.mu.Unlock()
	if err := x.write(); err != nil {
		return err
	}
	if err := syncAll(handles...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.indexes.wrote(&x)
	a.indexes.markSynced(&x)
	a.shown = nil
	return nil
}

// seal turns the last segment into one that does not change. Its time index gets the largest timestamp, by which the
// segment's age is judged later. mu is held.
func (l *Log) seal() {
	l.act.noteTime()
	x := l.act.indexes
	l.act.segment.size = l.act.size
	l.act.segment.idx.Store(&x)
	l.sealedBytes += l.act.size
}

// snapshot writes the producers' state under an offset, and says whether that was needed. The log is frozen.
func (l *Log) snapshot(offset int64, sync bool) (bool, error) {
	p := &l.producers
	if offset <= p.lastSnap {
		return false, nil
	}
	path := filePath(l.Dir(), offset, suffixSnapshot)
	if err := writeSnapshot(l.fs, path, p.entries(), sync); err != nil {
		// A piece of it would pass for the newest one at the next Open, which drops the others.
		return false, l.fileError(path, errors.Join(err, removeIfThere(l.fs, path)))
	}
	if i, there := slices.BinarySearch(p.snapshots, offset); !there {
		p.snapshots = slices.Insert(p.snapshots, i, offset)
	}
	p.lastSnap = offset
	return true, nil
}

// noteAborted is staged.apply's entry for the transaction index. mu is held.
func (l *Log) noteAborted(e ended, stable int64) {
	l.act.aborts.append(schema.AbortedTxn{
		ProducerID: e.producerID, FirstOffset: e.first, LastOffset: e.last, LastStableOffset: stable,
	})
	l.act.shown = nil
}

// writeBehind writes what the last segment's indexes have on the heap only, unless somebody is busy with the files: then
// a later append asks again. Nothing is locked.
func (l *Log) writeBehind() {
	if !l.files.TryLock() {
		return
	}
	defer l.files.Unlock()
	l.mu.Lock()
	x, closed := l.act.indexes, l.closed
	l.mu.Unlock()
	if closed {
		return
	}
	if err := x.write(); err != nil {
		_ = l.wanting(err) // on a full disk the tail stays in memory
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.act.indexes.wrote(&x)
	l.act.shown = nil
}

// write writes the tails of all indexes to their files; wrote notes it.
func (x *indexes) write() error {
	return errors.Join(fail(x.offsets.file, -1, x.offsets.writeTail()), fail(x.times.file, -1, x.times.writeTail()),
		fail(x.aborts.file, -1, x.aborts.writeTail()))
}

// wrote takes over that the files have what w has.
func (x *indexes) wrote(w *indexes) {
	x.offsets.wrote(w.offsets.len())
	x.times.wrote(w.times.len())
	x.aborts.wrote(w.aborts.len())
}

// largest is a segment's largest timestamp and the last offset of its batch; noTimestamp if there is none.
func (x *indexes) largest(base int64) (ts, offset int64) {
	return x.last.ts, base + int64(x.last.rel)
}
