package storage

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// discard gives a segment's files and its snapshot their .deleted names and queues them for RemoveDeleted. Files that are
// not there need nothing. files is held.
func (l *Log) discard(s *segment, now time.Time) error {
	due := now.Add(l.config.Load().FileDeleteDelay)
	var errs []error
	for _, f := range s.files() {
		err := l.makeRoom(f.h.name() + suffixDeleted)
		if err == nil {
			err = f.h.rename(f.h.name() + suffixDeleted)
		}
		if err == nil {
			l.deleted = append(l.deleted, deletedFile{f.h, f.h.name(), due})
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fail(f.h, -1, err))
		}
		f.h.retire()
	}
	errs = append(errs, l.discardSnapshot(s.base, due))
	return errors.Join(errs...)
}

// makeRoom removes a file that waits for its removal under this name, because another one gets it: a segment was compacted
// again before file.delete.delay.ms was over. Whoever reads it goes on; nobody else may take the new file for it.
func (l *Log) makeRoom(name string) error {
	i := slices.IndexFunc(l.deleted, func(d deletedFile) bool { return d.at == name })
	if i < 0 {
		return nil
	}
	if h := l.deleted[i].h; h != nil {
		h.retire()
	}
	if err := removeIfThere(l.fs, name); err != nil {
		return l.fileError(name, err)
	}
	l.deleted = slices.Delete(l.deleted, i, i+1)
	return nil
}

func (l *Log) discardSnapshot(offset int64, due time.Time) error {
	p := &l.producers
	i, there := slices.BinarySearch(p.snapshots, offset)
	if !there {
		return nil
	}
	p.snapshots = slices.Delete(p.snapshots, i, i+1)
	path := filePath(l.Dir(), offset, suffixSnapshot)
	err := l.fs.Rename(path, path+suffixDeleted)
	if err == nil {
		l.deleted = append(l.deleted, deletedFile{nil, path + suffixDeleted, due})
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l.fileError(path, err)
}

// DeleteRecords moves the log's start up to an offset that is not above the high watermark; *OffsetOutOfRange otherwise.
// A start that is there already is fine. Segments that lie below the new start go with the next DeleteOldSegments.
func (l *Log) DeleteRecords(offset int64, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse(); err != nil {
		return err
	}
	if offset > l.hw.offset {
		return &OffsetOutOfRange{offset, l.start, l.hw.offset}
	}
	l.advanceStart(offset)
	return nil
}

// AdvanceLogStart takes the leader's log start offset, as a follower. It never passes the high watermark here.
func (l *Log) AdvanceLogStart(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.advanceStart(min(offset, l.hw.offset))
	}
}

// advanceStart moves the log's start. mu is held.
func (l *Log) advanceStart(offset int64) {
	if offset <= l.start {
		return
	}
	l.start = offset
	l.recoveryPoint = max(l.recoveryPoint, offset)
	if e, changed := l.epochs.truncateStart(offset); changed {
		l.epochs, l.epochsDirty = e, true
	}
	l.producers.replicated(offset)
	l.publish()
}

// SegmentInfo describes a segment that retention removed, and why.
type SegmentInfo struct {
	Base, End    int64 // offsets: [Base, End)
	Size         int64
	MaxTimestamp int64 // -1 if its records have none
	Reason       string
}

// DeleteOldSegments removes what retention allows: segments below the log's start, and, if cleanup.policy has delete,
// the oldest ones while the log is larger than retention.bytes without them, and those whose records are all older than
// retention.ms. A segment's age goes by its largest timestamp, or by the file's modification where records have none.
// Nothing at or above the high watermark goes; the last segment may, a new one takes its place. DETAILS 25.
//
// The files are renamed to .deleted, and removed by RemoveDeleted.
func (l *Log) DeleteOldSegments(now time.Time) ([]SegmentInfo, error) {
	l.files.Lock()
	defer l.files.Unlock()
	cfg := l.config.Load()
	out, err := l.deleteWhile(now, "log start", func(_ *segment, _ SegmentInfo, last bool) (bool, error) {
		return !last, nil
	}, true)
	if err != nil || !cfg.Delete {
		return out, err
	}
	if cfg.RetentionBytes >= 0 {
		surplus := l.Size() - cfg.RetentionBytes
		more, err := l.deleteWhile(now, "retention.bytes", func(_ *segment, s SegmentInfo, _ bool) (bool, error) {
			if surplus -= s.Size; surplus < 0 {
				return false, nil
			}
			return true, nil
		}, false)
		if out = append(out, more...); err != nil {
			return out, err
		}
	}
	if cfg.RetentionAge >= 0 {
		more, err := l.deleteWhile(now, "retention.ms", func(s *segment, i SegmentInfo, _ bool) (bool, error) {
			youngest := i.MaxTimestamp
			if youngest < 0 {
				info, err := l.fs.Stat(s.log.name())
				if err != nil {
					return false, fail(s.log, -1, err)
				}
				youngest = info.ModTime().UnixMilli()
			}
			return now.UnixMilli()-youngest > cfg.RetentionAge.Milliseconds(), nil
		}, false)
		if out = append(out, more...); err != nil {
			return out, err
		}
	}
	return out, nil
}

// deleteWhile removes segments from the oldest on, as long as the high watermark and the condition allow. With
// belowStart they must lie below the log's start, too. files is held; appends go on, until the last segment is looked
// at.
func (l *Log) deleteWhile(now time.Time, why string, may func(s *segment, i SegmentInfo, last bool) (bool, error), belowStart bool) ([]SegmentInfo, error) {
	var out []SegmentInfo
	n := len(l.View().segments)
	for i := range n {
		last := i == n-1
		if last {
			if err := l.freeze(); err != nil {
				return nil, err
			}
			defer l.thaw()
		}
		v := l.View()
		s := v.segments[i]
		info, err := l.describe(v, i, why)
		if err != nil {
			return nil, err
		}
		if info.End > v.HighWatermark || last && info.Size == 0 || belowStart && info.End > v.LogStart {
			break
		}
		ok, err := may(s, info, last)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, info)
	}
	if len(out) == 0 {
		return nil, nil
	}
	began, err := l.drop(len(out), now)
	if !began {
		out = nil
	}
	return out, err
}

// describe tells what there is to know of a segment.
func (l *Log) describe(v *View, i int, why string) (SegmentInfo, error) {
	s, x, size, err := v.of(i)
	if err != nil {
		return SegmentInfo{}, err
	}
	if i < len(v.segments)-1 {
		return SegmentInfo{s.base, v.segments[i+1].base, size, x.last.ts, why}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return SegmentInfo{s.base, l.end, l.act.size, l.act.maxTime.ts, why}, nil
}

// drop removes the first n segments. The log's start moves first, so that no reader looks for what is about to go.
//
// They go one after the other, durably, and none behind one that stays: if a crash or an error left the first and took the second, the
// next start would find a gap, and take what is behind it for what does not continue the log. What syncs the directory in between is
// opened before anything goes: if that cannot be, nothing does, and began is false.
// files is held.
func (l *Log) drop(n int, now time.Time) (began bool, err error) {
	names, err := l.fs.OpenDir(l.Dir())
	if err != nil {
		return false, l.wanting(l.fileError(".", err))
	}
	defer names.Close()
	if n == len(l.segments) { // the log is frozen, then
		if err := l.roll(l.end, now); err != nil {
			return false, err
		}
	}
	gone := l.segments[:n]
	l.mu.Lock()
	l.segments = append([]*segment(nil), l.segments[n:]...)
	for _, s := range gone {
		l.sealedBytes -= s.size
	}
	unsynced := l.dirDirty // perhaps those that went the last time
	l.dirDirty = true
	if start := l.segments[0].base; start > l.start {
		l.advanceStart(start)
	} else {
		l.publish()
	}
	l.mu.Unlock()
	for i, s := range gone {
		var err error
		if i > 0 || unsynced {
			err = l.fileError(".", names.Sync())
		}
		if err == nil {
			err = l.discard(s, now)
		}
		if err != nil {
			return true, l.doom(err)
		}
	}
	return true, nil
}

// RemoveDeleted removes the files whose .deleted name is older than file.delete.delay.ms and that nobody reads any more.
// It says how many are left.
func (l *Log) RemoveDeleted(now time.Time) (left int, err error) {
	l.files.Lock()
	defer l.files.Unlock()
	l.deleted = slices.DeleteFunc(l.deleted, func(d deletedFile) bool {
		if now.Before(d.due) {
			return false
		}
		if d.h != nil {
			if d.h.retire(); d.h.open() { // compaction's are readable until now
				return false
			}
		}
		if e := removeIfThere(l.fs, d.at); e != nil {
			err = errors.Join(err, l.fileError(d.at, e))
			return false
		}
		return true
	})
	return len(l.deleted), err
}
