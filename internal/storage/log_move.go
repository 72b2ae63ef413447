package storage

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/klamm-io/klamm/internal/record"
)

// ErrBehind says that a future log lacks more than may be copied while appends wait.
var ErrBehind = errors.New("the future log is too far behind")

// AwaitCleaning waits until a Clean that is under way has ended. Who begins to copy a log calls it first, and lets its own Permit refuse
// what would begin later: otherwise the copy has segments from before a cleaning that the log counts as done, and a key's older value
// comes back when the tombstone has gone.
func (l *Log) AwaitCleaning() {
	l.cleaning.Lock()
	defer l.cleaning.Unlock()
}

// Copy copies to a future log what it lacks of this one: whole batches, about limit bytes of them, or one. Appends and reads go on.
// It gives how many bytes it copied and how many offsets the copy is behind then.
//
// The future log is the caller's alone, and nobody appends to it otherwise. Where this log was truncated since, the future log is
// cut back to what both have; where it lost its beginning to retention, the future log starts over there. A damaged batch is
// *StorageError with its place in this log's files.
func (l *Log) Copy(future *Log, limit int, now time.Time) (copied int, behind int64, err error) {
	v := l.View()
	if err := future.Rejoin(v, now); err != nil {
		return 0, 0, err
	}
	end := future.View().LogEnd
	slice, err := v.Read(max(end, v.LogStart), min(limit, future.config.Load().SegmentBytes), LogEnd, true)
	if err != nil {
		return 0, 0, err
	}
	defer slice.Release()
	if end < v.LogStart { // the first batch may begin below the log's start
		if err := future.TruncateFully(min(slice.First, v.LogStart), now); err != nil {
			return 0, 0, err
		}
	}
	if slice.Size > 0 {
		b, err := slice.Bytes()
		if err != nil {
			return 0, 0, l.sliceError(slice, 0, err)
		}
		if err := future.take(b, now); err != nil {
			return 0, 0, l.sliceError(slice, soundBytes(b), err)
		}
	}
	future.SetHighWatermark(v.HighWatermark)
	future.AdvanceLogStart(v.LogStart)
	if slice.Size == 0 { // compaction may have left nothing up to the end
		return 0, 0, nil
	}
	return slice.Size, v.LogEnd - future.View().LogEnd, nil
}

// take appends a piece of the original to a future log. Before that begins a new segment, what is there is made durable: so a loss of
// power leaves a copy without holes, which can be gone on with. In a compacted log nobody could tell a hole from what was removed.
func (l *Log) take(b []byte, now time.Time) error {
	s, _, err := survey(b, math.MaxInt32)
	if err != nil {
		return err
	}
	l.mu.Lock()
	rolls := l.shouldRoll(&s, l.config.Load(), now)
	l.mu.Unlock()
	if rolls {
		if err := l.Flush(l.View().LogEnd); err != nil {
			return err
		}
	}
	_, err = l.AppendFollower(b, math.MaxInt32, now)
	return err
}

// Rejoin cuts a future log back to where it and a view of its original have the same records: a follower may have truncated its log,
// and taken other records since. After a start it must be called before the original takes an append: a crash may have left the
// copy of a record that the original lost, and another one would get its offset, in the same epoch perhaps.
func (l *Log) Rejoin(v *View, now time.Time) error {
	for {
		mine := l.View()
		if mine.LogStart > v.LogStart { // its beginning was lost
			return l.TruncateFully(v.LogStart, now)
		}
		end := min(mine.LogEnd, v.LogEnd)
		latest := mine.epochs.latest()
		if common := min(latest, v.epochs.latest()); common != NoEpoch {
			epoch, to := v.EpochEndOffset(common)
			end = min(end, to)
			if epoch < latest {
				if _, to := mine.epochs.end(epoch, mine.LogEnd); to != NoOffset {
					end = min(end, to)
				}
			}
		}
		if end >= mine.LogEnd {
			return nil
		}
		if err := l.Truncate(end, now); err != nil {
			return err
		}
	}
}

// sliceError gives an error of a slice's bytes their place.
func (l *Log) sliceError(s Slice, at int, err error) error {
	var corrupt *record.Corrupt
	var have *StorageError
	if errors.As(err, &have) || len(s.Ranges) == 0 || at > 0 && !errors.As(err, &corrupt) {
		return err
	}
	r := s.Ranges[0]
	dir, file := filepath.Split(r.File.Name())
	return &StorageError{Dir: filepath.Clean(dir), File: file, Offset: r.Offset + int64(at), Err: err}
}

// soundBytes is how much of b is batches that are whole and have their checksums.
func soundBytes(b []byte) int {
	rest := b
	for len(rest) > 0 {
		batch, after, err := record.Next(rest)
		if err != nil || batch.CheckCRC() != nil {
			break
		}
		rest = after
	}
	return len(b) - len(rest)
}

// Move is how a log moves into the place of its future log.
type Move struct {
	Future *Log   // a copy, in the directory where the log is to live; it is used up when MoveTo succeeds
	Dir    string // the path that the future log's directory gets
	Old    string // the path that this log's directory gets, to be removed
	Tail   int    // bytes that may be copied while appends wait
	Now    time.Time
	// Ready is called when the copy is complete and durable, before any name changes. An error ends the move.
	Ready func(end int64) error
}

// MoveTo makes the log go on in its future log's files. Appends wait while the last batches are copied, everything is made durable
// and the names change; readers go on with the files that they hold.
//
//   - Until the future log's directory has its new name, an error leaves this log as it is.
//   - From then on the log is the moved one, whatever becomes of the old directory: moved says so, and an error with it tells that the
//     old one has still its name.
//
// A crash in between leaves both directories, with the same records.
func (l *Log) MoveTo(m Move) (moved bool, err error) {
	l.cleaning.Lock() // what is compacted now would be neither here nor there
	defer l.cleaning.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.freeze(); err != nil {
		return false, err
	}
	defer l.thaw()
	if err := l.copyTail(m); err != nil {
		return false, err
	}
	if err := m.Future.settle(l, m.Now); err != nil {
		return false, err
	}
	if err := m.Ready(l.end); err != nil {
		return false, err
	}
	if err := m.Future.Rename(m.Dir); err != nil {
		return false, err
	}
	err = l.fs.Rename(l.Dir(), m.Old)
	if err == nil {
		err = l.fs.SyncDir(filepath.Dir(m.Old))
	}
	l.adopt(m.Future)
	return true, l.fileError(filepath.Base(m.Old), err)
}

// copyTail copies what was appended since the last Copy. The log is frozen.
func (l *Log) copyTail(m Move) error {
	for left := m.Tail; ; {
		n, behind, err := l.Copy(m.Future, max(left, 1), m.Now)
		if err != nil {
			return err
		}
		if behind == 0 {
			return nil
		}
		if left -= n; left <= 0 {
			return fmt.Errorf("%d offsets: %w", behind, ErrBehind)
		}
	}
}

// settle makes a copy that is complete the same as its original in what its batches do not tell: epochs without records, producers
// whose batches are gone; and makes all of it durable. The original is frozen by the holder of its files.
func (l *Log) settle(original *Log, now time.Time) error {
	l.files.Lock()
	l.mu.Lock()
	if err := l.refuse(); err != nil {
		l.mu.Unlock()
		l.files.Unlock()
		return err
	}
	l.frozen = true
	l.end = max(l.end, original.end)
	if !slices.Equal(l.epochs, original.epochs) {
		l.epochs, l.epochsDirty = original.epochs, true
	}
	l.dirDirty = true
	l.mu.Unlock()
	path := filePath(l.Dir(), l.end, suffixSnapshot)
	err := l.fileError(path, writeSnapshot(l.fs, path, original.producers.entries(), true))
	if err == nil {
		p := &l.producers
		if i, there := slices.BinarySearch(p.snapshots, l.end); !there {
			p.snapshots = slices.Insert(p.snapshots, i, l.end)
		}
		p.lastSnap = l.end
		err = l.roll(l.end, now) // a snapshot counts for a segment that begins with it
	}
	l.thaw()
	l.files.Unlock()
	if err != nil {
		return l.wanting(err)
	}
	f, err := l.gather(l.end, true)
	if err != nil {
		return err
	}
	return l.sync(f)
}

// adopt takes over the files of a future log, which is nobody's from then on. This log is frozen by the holder of its files.
//
// Offsets and what stands in memory about them stay; places in files are forgotten, since the copy has its segments elsewhere. A
// flush of the old files that is under way must not move the recovery point: that is what truncations counts.
func (l *Log) adopt(future *Log) {
	old := l.segments
	var gone []deletedFile
	l.mu.Lock()
	future.mu.Lock()
	future.closed = true
	gone, l.deleted = l.deleted, future.deleted
	l.dir.Store(future.dir.Load())
	l.segments, l.act, l.sealedBytes = future.segments, future.act, future.sealedBytes
	l.producers.snapshots, l.producers.lastSnap = future.producers.snapshots, future.producers.lastSnap
	l.producers.forgetPlaces()
	l.recoveryPoint, l.unsure = future.recoveryPoint, future.unsure
	l.truncations++
	l.dirDirty, l.freshSnaps, l.epochsDirty = future.dirDirty, future.freshSnaps, future.epochsDirty
	future.mu.Unlock()
	l.appends = 0
	l.hw = l.place(l.hw.offset)
	l.act.shown = nil
	l.publish()
	l.mu.Unlock()
	for _, s := range old {
		s.retire()
	}
	for _, d := range gone {
		if d.h != nil {
			d.h.retire()
		}
	}
}

// forgetPlaces keeps of where transactions begin only the offsets.
func (p *producers) forgetPlaces() {
	for _, list := range []*[]transaction{&p.ongoing, &p.unreplicated} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].first = offsetOnly((*list)[i].first.offset)
		}
	}
}
