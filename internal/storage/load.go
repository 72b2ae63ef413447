package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// Open creates or loads a log. What lies below the recovery point is taken as it is; what lies above is read, checked,
// and cut off where it is torn or corrupt. It gives an error only where the disk fails or the directory is not this
// topic's; damage is repaired and told in Recovery.
func Open(o Options) (*Log, Recovery, error) {
	l := &Log{
		fs: disk{o.FS, o.Files}, topic: o.Topic, partition: o.Partition, codecs: record.NewCodecs(),
		maxTxn: o.MaxTransactionTimeout, epoch: -1, lastFlush: o.Now, unsure: math.MaxInt64,
	}
	l.dir.Store(&o.Dir)
	if l.maxTxn <= 0 {
		l.maxTxn = 15 * time.Minute
	}
	l.SetConfig(o.Config)
	l.producers = newProducers(o.ProducerIDExpiry)
	ld := loader{l: l, o: &o, cfg: l.config.Load(), ready: -1}
	ld.rec.ProducersRebuiltFrom = -1
	if err := ld.load(); err != nil {
		ld.abandon()
		return nil, ld.rec, fmt.Errorf("open log %s: %w", o.Dir, err)
	}
	l.mu.Lock()
	l.publish()
	l.mu.Unlock()
	return l, ld.rec, nil
}

// loader is the state of Open. Nobody else sees the log yet, so it takes no lock.
type loader struct {
	l    *Log
	o    *Options
	cfg  *Config
	rec  Recovery
	segs []*loading

	unnamed   bool  // partition.metadata is missing
	compacted bool  // what was read has gaps as only compaction leaves them
	ready     int   // the producers' state is that at the base of this segment, or behind the last one; -1: nothing loaded
	known     int64 // the producers' state that was loaded has all below it
}

// loading is a segment on its way. Only the last one, and those that were read, have what active adds to a segment.
type loading struct {
	active
	read bool // active is filled in
	// knownAborts is the offset below which the aborted transactions are in the index already.
	knownAborts int64
	end         int64 // offset behind the last batch, if read
	damaged     bool  // its indexes are missing or insane
}

func (ld *loader) load() error {
	names, err := ld.list()
	if err != nil {
		return err
	}
	if err := ld.identify(); err != nil {
		return err
	}
	if names, err = ld.leftovers(names); err != nil {
		return err
	}
	if err := ld.collect(names); err != nil {
		return err
	}
	if ld.l.epochs, err = readEpochs(ld.l.fs, filepath.Join(ld.l.Dir(), fileEpochs)); err != nil {
		return ld.l.fileError(fileEpochs, err)
	}
	start := ld.o.LogStartOffset
	if !strings.HasSuffix(ld.o.Dir, deleteDirSuffix) {
		if err := ld.recover(); err != nil {
			return err
		}
		if start, err = ld.settleStart(); err != nil {
			return err
		}
	}
	// The name of a new log's first segment is durable before that of the next one can be: a log begins where it began.
	switch l := ld.l; {
	case ld.unnamed:
		if err := l.writePartitionFile(l.topicID); err != nil {
			return err
		}
	case l.dirDirty:
		if err := l.fs.SyncDir(l.Dir()); err != nil {
			return l.fileError(".", err)
		}
	default:
		return ld.finish(start)
	}
	ld.l.dirDirty = false
	return ld.finish(start)
}

// abandon closes what a failed Open has opened.
func (ld *loader) abandon() {
	for _, s := range ld.segs {
		s.retire()
	}
}

func (s *segment) retire() {
	for _, f := range s.files() {
		f.h.retire()
	}
}

// list lists the directory, and makes it if it is not there.
func (ld *loader) list() ([]string, error) {
	l := ld.l
	names, err := l.fs.List(l.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.fs.MkdirAll(l.Dir(), 0o755); err != nil {
			return nil, l.fileError(".", err)
		}
		l.dirDirty = true
		return nil, l.fileError("..", l.fs.SyncDir(filepath.Dir(l.Dir())))
	}
	return names, l.fileError(".", err)
}

// identify compares partition.metadata with the topic that the caller expects. A missing one is written at the end, when a
// new log has its first segment.
func (ld *loader) identify() error {
	l := ld.l
	have, err := readPartition(l.fs, filepath.Join(l.Dir(), filePartition))
	if err != nil {
		return l.fileError(filePartition, err)
	}
	want := ld.o.TopicID
	switch {
	case have == schema.ZeroUUID && want != schema.ZeroUUID:
		ld.unnamed, have = true, want
	case want != schema.ZeroUUID && have != want:
		return &InconsistentTopicID{Dir: l.Dir(), Have: have, Want: want}
	}
	l.topicID = have
	return nil
}

// leftovers finishes or undoes what a crash interrupted, and gives the names that remain.
//
// Compaction writes .cleaned files, renames them to .swap from the highest offset to the lowest, removes the old
// segments, then drops the suffix. So: .deleted files are garbage. A .cleaned file means that the renaming to .swap was
// not complete: it is garbage, and so are .swap files at or above it. Other .swap files are complete: the old segments
// that they replace go, and they get their names. (LogLoader does the same, also for segments split by Apache.)
func (ld *loader) leftovers(names []string) ([]string, error) {
	var kept, swap []string
	firstCleaned := int64(math.MaxInt64)
	for _, name := range names {
		offset, suffix, ok := parseName(name)
		switch {
		case ok && strings.HasSuffix(suffix, suffixDeleted):
			if err := ld.remove(name); err != nil {
				return nil, err
			}
		case ok && strings.HasSuffix(suffix, suffixCleaned):
			firstCleaned = min(firstCleaned, offset)
			if err := ld.remove(name); err != nil {
				return nil, err
			}
		case ok && strings.HasSuffix(suffix, suffixSwap):
			swap = append(swap, name)
		case strings.HasSuffix(name, suffixTemp):
			if err := ld.remove(name); err != nil {
				return nil, err
			}
		default:
			kept = append(kept, name)
		}
	}
	if len(swap) == 0 {
		return kept, nil
	}
	return ld.swap(kept, swap, firstCleaned)
}

func (ld *loader) swap(kept, swap []string, firstCleaned int64) ([]string, error) {
	from, to := int64(math.MaxInt64), int64(math.MinInt64) // offsets that the new segments cover
	bases := map[int64]bool{}                              // where they begin
	var valid []string
	for _, name := range swap {
		offset, suffix, _ := parseName(name)
		if offset >= firstCleaned {
			if err := ld.remove(name); err != nil {
				return nil, err
			}
			continue
		}
		valid = append(valid, name)
		if suffix == suffixLog+suffixSwap {
			end, err := ld.endOf(name, offset)
			if err != nil {
				return nil, err
			}
			from, to = min(from, offset), max(to, end)
			bases[offset] = true
		}
	}
	var out []string
	for _, name := range kept {
		offset, suffix, ok := parseName(name)
		if ok && suffix != suffixSnapshot && (bases[offset] || offset >= from && offset < to) {
			if err := ld.remove(name); err != nil {
				return nil, err
			}
			continue
		}
		out = append(out, name)
	}
	for _, name := range valid {
		final := strings.TrimSuffix(name, suffixSwap)
		err := ld.l.fs.Rename(filepath.Join(ld.l.Dir(), name), filepath.Join(ld.l.Dir(), final))
		if err != nil {
			return nil, ld.l.fileError(name, err)
		}
		ld.rec.FilesSwapped++
		out = append(out, final)
	}
	slices.Sort(out)
	ld.l.dirDirty = true
	return slices.Compact(out), nil
}

// endOf reads the offset behind the last batch of a file.
func (ld *loader) endOf(name string, base int64) (int64, error) {
	f, err := ld.l.fs.OpenFile(filepath.Join(ld.l.Dir(), name), 0, 0)
	if err != nil {
		return 0, ld.l.fileError(name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, ld.l.fileError(name, err)
	}
	w := newWalk(f, 0, size)
	defer w.close()
	end := base
	for {
		h, _, err := w.next()
		if err == io.EOF || isDamage(err) {
			return end, nil
		}
		if err != nil {
			return 0, ld.l.fileError(name, err)
		}
		end = h.LastOffset() + 1
	}
}

func (ld *loader) remove(name string) error {
	ld.rec.FilesRemoved++
	ld.l.dirDirty = true
	return ld.l.fileError(name, removeIfThere(ld.l.fs, filepath.Join(ld.l.Dir(), name)))
}

// collect finds the segments and snapshots, and drops indexes whose segment is gone.
func (ld *loader) collect(names []string) error {
	l := ld.l
	has := make(map[string]bool, len(names))
	for _, name := range names {
		has[name] = true
	}
	for _, name := range names {
		offset, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		switch suffix {
		case suffixSnapshot:
			l.producers.snapshots = append(l.producers.snapshots, offset)
		case suffixIndex, suffixTimeIndex, suffixTxnIndex:
			if !has[fileName(offset, suffixLog)] {
				if err := ld.remove(name); err != nil {
					return err
				}
			}
		case suffixLog:
			if err := ld.segment(offset, has); err != nil {
				return err
			}
		}
	}
	return nil
}

// segment adds a segment without opening its files: sizes tell whether its indexes can be what they should.
func (ld *loader) segment(base int64, has map[string]bool) error {
	l := ld.l
	s := newSegment(l.fs, l.Dir(), base)
	info, err := l.fs.Stat(s.log.name())
	if err != nil {
		return fail(s.log, -1, err)
	}
	if info.Size() > math.MaxInt32 {
		return fail(s.log, -1, fmt.Errorf("%d bytes, more than a segment can have", info.Size()))
	}
	s.size = info.Size()
	x := &loading{active: active{segment: s}}
	for _, f := range []struct {
		h    *handle
		size int64
		must bool
	}{{s.offsetsFile, offsetEntrySize, true}, {s.timesFile, timeEntrySize, true}, {s.abortsFile, txnEntrySize, false}} {
		name := filepath.Base(f.h.name())
		if !has[name] {
			x.damaged = x.damaged || f.must
			continue
		}
		info, err := l.fs.Stat(f.h.name())
		if err != nil {
			return fail(f.h, -1, err)
		}
		x.damaged = x.damaged || info.Size()%f.size != 0
	}
	ld.segs = append(ld.segs, x)
	return nil
}

// settleStart decides the log's start, and what to do when the log ends before it: then its segments are void.
func (ld *loader) settleStart() (int64, error) {
	l := ld.l
	start := ld.o.LogStartOffset
	if n := len(ld.segs); n > 0 && l.end < start {
		for _, s := range ld.segs {
			if err := ld.discard(s); err != nil {
				return 0, err
			}
		}
		ld.segs = nil
		l.epochs, l.epochsDirty = nil, true
		if err := ld.dropSnapshots(func(int64) bool { return true }); err != nil {
			return 0, err
		}
	}
	if len(ld.segs) == 0 {
		l.end = start
		s, err := createSegment(l.fs, l.Dir(), start, "")
		if err != nil {
			return 0, l.fileError(fileName(start, suffixLog), err)
		}
		ld.segs = []*loading{{active: s.activate(jitterOf(ld.cfg, l.Dir(), start), ld.o.Now), read: true}}
		l.dirDirty = true
	}
	return max(start, ld.segs[0].base), nil
}

// discard gives a segment's files their .deleted names and queues them.
func (ld *loader) discard(s *loading) error {
	ld.rec.SegmentsDeleted++
	return ld.l.discard(s.segment, ld.o.Now)
}

func (ld *loader) dropSnapshots(which func(int64) bool) error {
	p := &ld.l.producers
	var err error
	p.snapshots = slices.DeleteFunc(p.snapshots, func(offset int64) bool {
		if !which(offset) {
			return false
		}
		err = errors.Join(err, ld.remove(fileName(offset, suffixSnapshot)))
		return true
	})
	return err
}

// finish puts the log together.
func (ld *loader) finish(start int64) error {
	l := ld.l
	if len(ld.segs) == 0 { // a directory that waits for its removal, and has nothing
		ld.segs = []*loading{{active: newSegment(l.fs, l.Dir(), start).activate(0, ld.o.Now), read: true}}
		l.end = start
	}
	for _, s := range ld.segs {
		l.segments = append(l.segments, s.segment)
		l.sealedBytes += s.segment.size
	}
	last := ld.segs[len(ld.segs)-1]
	l.act = last.active
	if !last.read {
		l.act = last.segment.activate(0, ld.o.Now)
		l.act.size = last.segment.size
	}
	l.sealedBytes -= last.segment.size
	l.start = min(start, l.end)
	l.recoveryPoint = min(ld.o.RecoveryPoint, l.end)
	if ld.o.Clean && ld.rec.BytesTruncated == 0 {
		l.recoveryPoint = l.end
	}
	l.recoveryPoint = max(l.recoveryPoint, l.start)
	if ld.o.Cleaned <= l.end { // otherwise what was cleaned is gone: nothing counts as clean
		l.cleaned = ld.o.Cleaned
	}
	if e, changed := l.epochs.truncateEnd(l.end); changed {
		l.epochs, l.epochsDirty = e, true
	}
	if e, changed := l.epochs.truncateStart(l.start); changed {
		l.epochs, l.epochsDirty = e, true
	}
	hw := min(max(ld.o.HighWatermark, l.start), l.end)
	l.hw = l.place(hw)
	l.producers.replicated(hw)
	return nil
}
