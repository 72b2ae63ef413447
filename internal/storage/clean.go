package storage

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// ErrCleaningAborted says that compaction gave up because the log changed under it: it was truncated, closed or moved, or
// retention took segments away. What it had completed stays; the rest is left for the next time.
var ErrCleaningAborted = errors.New("compaction was given up, for the log changed")

// CleanerOptions say how much memory compaction may use.
type CleanerOptions struct {
	MapBytes    int       // of the offset map: a part of log.cleaner.dedupe.buffer.size; 0: 128 MiB
	LoadFactor  float64   // log.cleaner.io.buffer.load.factor; 0: 0.9
	BufferBytes int       // of the reading, and of the writing buffer: part of log.cleaner.io.buffer.size; 0: 256 KiB
	HashKey     [2]uint64 // of the map's hash; it should be random, and nobody's to know
}

// Cleaner is the memory with which logs are compacted, one after the other. It belongs to one goroutine.
type Cleaner struct {
	offsets OffsetMap
	buffer  int
	in, out []byte
	kept    []byte // records of the present batch that stay, not compressed
	shifted []byte // the same, with other timestamp deltas
}

// NewCleaner gives a cleaner. It takes its memory when it is used.
func NewCleaner(o CleanerOptions) *Cleaner {
	if o.MapBytes <= 0 {
		o.MapBytes = 128 << 20
	}
	if o.LoadFactor <= 0 {
		o.LoadFactor = 0.9
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 256 << 10
	}
	return &Cleaner{offsets: newOffsetMap(o.MapBytes, o.LoadFactor, o.HashKey), buffer: max(o.BufferBytes, record.HeaderLen)}
}

// Release gives the memory back until the cleaner is used again.
func (c *Cleaner) Release() {
	c.offsets.release()
	c.in, c.out, c.kept, c.shifted = nil, nil, nil, nil
}

// Memory is how many bytes the cleaner holds.
func (c *Cleaner) Memory() int {
	return cap(c.offsets.slots)*slotSize + cap(c.in) + cap(c.out) + cap(c.kept) + cap(c.shifted)
}

// trim lets go of buffers that an exceptionally large batch needed.
func (c *Cleaner) trim() {
	for _, b := range []*[]byte{&c.in, &c.out, &c.kept, &c.shifted} {
		if cap(*b) > 4*c.buffer {
			*b = nil
		}
	}
}

// CleanOptions say what to compact.
type CleanOptions struct {
	Cleanable // what CleanableOffsets gave
	Now       time.Time
	// Permit is asked before bytes are read or written; it may wait, and an error ends the cleaning with it. Nil: always.
	Permit func(bytes int) error
	// Progress hears of each segment that is done. Nil: nobody does.
	Progress func(CleanStats)
}

// CleanStats say what a cleaning did.
type CleanStats struct {
	FirstDirty, End int64 // [FirstDirty, End) was dirty and is clean now
	Keys, Slots     int   // of the offset map

	RecordsMapped, BytesMapped   int64 // read for the map
	RecordsRead, BytesRead       int64 // read to be copied
	RecordsKept, BytesKept       int64 // copied
	RecordsInvalid               int64 // removed because they have no key
	SegmentsBefore, SegmentsDone int   // that were to be gone through, and that were
	SegmentsAfter                int   // that took their place
}

// Clean compacts the log: of the records below FirstUncleanable, each key keeps its last one.
//
//   - The offset map takes the keys from FirstDirty on, as many as it can hold: if it is full, less is cleaned.
//   - Every segment up to there is copied without the records that the map knows a later offset of. Neighbours that
//     fit one segment together become one.
//   - A record with a null value, which deletes its key, stays until delete.retention.ms after the first cleaning that
//     found it. When that is over stands in the header of its batch, the delete horizon (KIP-534).
//   - Records of aborted transactions go at once, whatever their keys. Markers stay until no batch of their transaction
//     is left, and then as long as tombstones.
//   - Batches keep their offsets, sequences and codecs. The last batch of each producer that is remembered stays, if
//     need be without records, and so does the last batch of each segment: what a segment covers can always be read
//     from its batches. DETAILS 26
//   - Records without a key have no place in a compacted log and go.
//
// Appends, reads and retention go on meanwhile. One segment after the other is replaced, each durably before the next, so
// whatever ends the cleaning, every key still has its last record. The error is ErrCleaningAborted, Permit's, or
// *StorageError, also for a batch that is damaged: then the log stays as it is.
func (l *Log) Clean(c *Cleaner, o CleanOptions) (CleanStats, error) {
	l.cleaning.Lock()
	defer l.cleaning.Unlock()
	defer c.trim()
	x := cleaning{l: l, c: c, o: o, cfg: l.config.Load(), now: o.Now.UnixMilli(), stats: CleanStats{FirstDirty: o.FirstDirty, End: o.FirstDirty}}
	l.mu.Lock()
	err := l.refuse()
	x.truncations, x.dir = l.truncations, l.Dir()
	l.mu.Unlock()
	if err != nil {
		return x.stats, err
	}
	x.view = l.View()
	i := max(x.view.floor(min(o.FirstUncleanable, x.view.LastStable, x.view.active().base)), 0)
	if x.upper = x.view.segments[i].base; x.upper <= o.FirstDirty {
		return x.stats, nil
	}
	if err = x.run(); err != nil {
		return x.stats, x.why(err)
	}
	x.stats.End = c.offsets.last + 1
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.truncations != x.truncations {
		return x.stats, ErrCleaningAborted
	}
	l.cleaned = x.stats.End
	return x.stats, nil
}

// cleaning is one run of Clean.
type cleaning struct {
	l   *Log
	c   *Cleaner
	o   CleanOptions
	cfg *Config
	now int64

	view        *View // when it began
	truncations int   // the same
	dir         string
	upper       int64 // base of the first segment that stays as it is
	stopped     error // Permit's

	txns  cleanedTxns
	last  map[int64]lastBatch // of the producers that the log remembers
	stats CleanStats

	a  active // the segment that is written
	at int64  // bytes that the file has
}

// lastBatch is the last that the log knows of a producer.
type lastBatch struct {
	offset int64 // last offset of its last batch of records, -1 if it is not known
	epoch  int16
}

func (x *cleaning) run() error {
	if err := x.buildMap(); err != nil {
		return err
	}
	x.txns = newCleanedTxns(x.l.codecs)
	list := x.view.segments
	for len(list) > 0 && list[len(list)-1].base > x.c.offsets.last {
		list = list[:len(list)-1]
	}
	x.stats.SegmentsBefore = len(list)
	for len(list) > 0 {
		n := x.groupLen(list)
		if err := x.group(list[:n], x.view.segments[x.stats.SegmentsDone+n].base); err != nil {
			return err
		}
		x.stats.SegmentsDone += n
		x.stats.SegmentsAfter++
		if x.o.Progress != nil {
			x.o.Progress(x.stats)
		}
		list = list[n:]
	}
	return nil
}

// why tells an error of the disk from one that follows from Permit's or from a change of the log.
func (x *cleaning) why(err error) error {
	if x.stopped != nil {
		return x.stopped
	}
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	if errors.Is(err, errRetired) || x.l.closed || x.l.truncations != x.truncations || x.l.Dir() != x.dir {
		return ErrCleaningAborted
	}
	return err
}

func (x *cleaning) permit(bytes int) error {
	if x.o.Permit == nil {
		return nil
	}
	x.stopped = x.o.Permit(bytes)
	return x.stopped
}

// alive says whether going on makes sense.
func (x *cleaning) alive() error {
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	if err := x.l.refuse(); err != nil {
		return err
	}
	if x.l.truncations != x.truncations || x.l.Dir() != x.dir {
		return ErrCleaningAborted
	}
	return nil
}

// read goes over the batches of a sealed segment from a position on. Each is compared with its checksum: what is damaged
// must not be copied under a new one, nor decide about other records. Nor may one whose offsets, which the checksum does not cover, do
// not rise or reach the next segment. A batch is valid until the next one.
func (x *cleaning) read(s *segment, pos, below int64, each func(b record.Batch, last bool) (more bool, err error)) error {
	f, err := s.log.acquire()
	if err != nil {
		return fail(s.log, -1, err)
	}
	defer s.log.Release()
	r := batchReader{f: f, pos: pos, end: s.size, buf: x.c.in[:0], size: x.c.buffer, before: x.permitRead}
	defer func() { x.c.in = r.buf }()
	next := s.base
	for {
		at := r.pos
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
		if err == nil && b.LastOffset() >= below {
			err = &record.Corrupt{Reason: fmt.Sprintf("offsets [%d, %d] in a segment that ends below %d", b.BaseOffset(), b.LastOffset(), below)}
		}
		if err != nil {
			return fail(s.log, at, err)
		}
		next = b.LastOffset() + 1
		more, err := each(b, r.pos >= s.size)
		if err != nil || !more {
			return fail(s.log, at, err)
		}
	}
}

func (x *cleaning) permitRead(n int) error {
	if err := x.alive(); err != nil {
		return err
	}
	return x.permit(n)
}

// buildMap fills the offset map from FirstDirty on.
func (x *cleaning) buildMap() error {
	m, v := &x.c.offsets, x.view
	m.prepare(x.upper - x.o.FirstDirty)
	txns := newCleanedTxns(x.l.codecs)
	full := false
	for i := max(v.floor(x.o.FirstDirty), 0); i < len(v.segments) && v.segments[i].base < x.upper && !full; i++ {
		s, idx, _, err := v.of(i)
		if err != nil {
			return err
		}
		pos, err := idx.lookup(s.base, x.o.FirstDirty)
		if err != nil {
			return fail(s.offsetsFile, -1, err)
		}
		aborted, err := v.Aborted(max(s.base, x.o.FirstDirty), v.segments[i+1].base)
		if err != nil {
			return err
		}
		txns.expect(aborted)
		err = x.read(s, pos, v.segments[i+1].base, func(b record.Batch, _ bool) (bool, error) {
			x.stats.BytesMapped += int64(len(b))
			gone, _, err := txns.batch(b)
			if err == nil && !gone && !b.Control() {
				full, err = x.mapRecords(b)
			}
			if err == nil && !full && b.LastOffset() >= x.o.FirstDirty {
				m.last = b.LastOffset()
			}
			return !full, err
		})
		if err != nil {
			return err
		}
		if !full {
			m.last = min(v.segments[i+1].base, x.upper) - 1
		}
	}
	x.stats.Keys, x.stats.Slots = m.n, len(m.slots)
	return nil
}

// mapRecords puts a batch's keys into the map, and says whether that is full.
func (x *cleaning) mapRecords(b record.Batch) (full bool, err error) {
	r, err := x.l.codecs.Records(b)
	if err != nil {
		return false, err
	}
	defer r.Close()
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if !ok {
			return false, err
		}
		x.stats.RecordsMapped++
		if rec.Key == nil || rec.Offset < x.o.FirstDirty {
			continue
		}
		if !x.c.offsets.put(rec.Key, rec.Offset) {
			return true, nil
		}
		x.c.offsets.last = rec.Offset
	}
}

// groupLen says how many of the first segments can become one: without exceeding the sizes of a segment and of its
// indexes, and with offsets that can be told relative to the first.
func (x *cleaning) groupLen(list []*segment) int {
	bytes, n := list[0].size, 1
	for ; n < len(list); n++ {
		s := list[n]
		last := x.upper
		if n+1 < len(list) {
			last = list[n+1].base
		}
		bytes += s.size
		entries := bytes/int64(max(x.cfg.IndexInterval, record.HeaderLen)) + 2
		if bytes > int64(x.cfg.SegmentBytes) || entries*timeEntrySize > int64(x.cfg.IndexBytes) ||
			s.size > 0 && last-1-list[0].base > math.MaxInt32 {
			break
		}
	}
	return n
}

// group replaces segments by one. It ends where the next one begins.
func (x *cleaning) group(g []*segment, next int64) error {
	x.last = x.l.lastBatches()
	filled := 0 // number of the last segment that has batches
	for i, s := range g {
		if s.size > 0 {
			filled = i
		}
	}
	done := false
	x.a = active{}
	defer func() {
		if !done && x.a.segment != nil {
			x.a.retire()
			x.removeCleaned()
		}
	}()
	if err := x.create(g[0].base); err != nil {
		return err
	}
	for i, s := range g {
		end := next
		if i+1 < len(g) {
			end = g[i+1].base
		}
		aborted, err := x.view.Aborted(s.base, end)
		if err != nil {
			return err
		}
		x.txns.expect(aborted)
		err = x.read(s, 0, end, func(b record.Batch, last bool) (bool, error) {
			return true, x.batch(b, last && i == filled)
		})
		if err != nil {
			return err
		}
	}
	if err := x.complete(); err != nil {
		return err
	}
	var err error
	done, err = x.l.replace(g, x.a.segment, x.truncations, x.dir, x.o.Now)
	return err
}

// lastBatches says what the last batch of each producer is.
func (l *Log) lastBatches() map[int64]lastBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[int64]lastBatch, len(l.producers.byID))
	for id, p := range l.producers.byID {
		e := lastBatch{-1, p.epoch}
		if p.n > 0 {
			e.offset = p.batches[p.n-1].lastOffset
		}
		out[id] = e
	}
	return out
}

// create makes the files of the segment that is written.
func (x *cleaning) create(base int64) error {
	fs, suffix := x.l.fs, suffixCleaned
	s := &segment{
		base:        base,
		log:         newHandle(fs, filePath(x.dir, base, suffixLog+suffix)),
		offsetsFile: newHandle(fs, filePath(x.dir, base, suffixIndex+suffix)),
		timesFile:   newHandle(fs, filePath(x.dir, base, suffixTimeIndex+suffix)),
		abortsFile:  newHandle(fs, filePath(x.dir, base, suffixTxnIndex+suffix)),
	}
	x.a, x.at, x.c.out = s.activate(0, x.o.Now), 0, x.c.out[:0]
	err := removeIfThere(fs, s.abortsFile.name())
	for _, h := range []*handle{s.offsetsFile, s.timesFile} {
		if err == nil {
			err = createEmpty(fs, h.name())
		}
	}
	path := s.log.name()
	var f vfs.File
	if err == nil {
		f, err = fs.OpenFile(path, vfs.ReadWrite|vfs.Create|vfs.Truncate, 0o644)
	}
	if err != nil {
		return x.l.fileError(path, err)
	}
	s.log = adopt(fs, path, f)
	return nil
}

// write writes what was collected.
func (x *cleaning) write() error {
	if len(x.c.out) == 0 {
		return nil
	}
	if err := x.permit(len(x.c.out)); err != nil {
		return err
	}
	f, err := x.a.log.acquire()
	if err == nil {
		_, err = f.WriteAt(x.c.out, x.at)
		x.a.log.Release()
	}
	if err != nil {
		return fail(x.a.log, x.at, err)
	}
	x.at += int64(len(x.c.out))
	x.c.out = x.c.out[:0]
	return nil
}

// complete writes the rest, and makes the new segment durable under its .cleaned names.
func (x *cleaning) complete() error {
	if err := x.write(); err != nil {
		return err
	}
	a := &x.a
	a.noteTime()
	if err := a.indexes.write(); err != nil {
		return err
	}
	handles := []*handle{a.log, a.offsetsFile, a.timesFile}
	if a.aborts.len() > 0 {
		handles = append(handles, a.abortsFile)
	}
	for _, h := range handles {
		f, err := h.acquire()
		if err == nil {
			err = f.Sync()
			h.Release()
		}
		if err != nil {
			return fail(h, -1, err)
		}
	}
	idx := a.indexes
	idx.wrote(&a.indexes)
	idx.synced()
	idx.dropTails()
	a.segment.size = a.size
	a.segment.idx.Store(&idx)
	return x.l.fileError(".", x.l.fs.SyncDir(x.dir))
}

// removeCleaned takes back the files of a segment that came to nothing. If that fails, the next cleaning overwrites
// them, or the next Open removes them.
func (x *cleaning) removeCleaned() {
	for _, f := range x.a.files() {
		_ = removeIfThere(x.l.fs, filepath.Join(x.l.Dir(), filepath.Base(f.h.name()))) // the directory may have moved
	}
}

// batch copies what is to stay of a batch. The last one of the group stays even if it is empty.
func (x *cleaning) batch(b record.Batch, last bool) error {
	x.stats.BytesRead += int64(len(b))
	gone, ended, err := x.txns.batch(b)
	if err != nil {
		return err
	}
	if ended != nil {
		x.a.aborts.append(*ended)
	}
	horizon, hasHorizon := b.DeleteHorizon()
	expired := hasHorizon && horizon <= x.now
	keep := last || x.isLastOf(b)
	before := len(x.c.out)
	var maxTimestamp int64
	switch {
	case gone && (!b.Control() || expired):
		x.stats.RecordsRead += int64(b.Count())
		if !keep {
			return nil
		}
		x.empty(b)
		maxTimestamp = b.MaxTimestamp()
	case b.Control():
		if maxTimestamp, err = x.marker(b, gone && !hasHorizon, keep); err != nil {
			return err
		}
	default:
		if maxTimestamp, err = x.filter(b, expired, keep); err != nil {
			return err
		}
	}
	if len(x.c.out) == before {
		return nil
	}
	return x.wrote(len(x.c.out)-before, b.LastOffset(), maxTimestamp)
}

// isLastOf says whether a batch tells the last sequence or epoch of a producer that the log remembers.
func (x *cleaning) isLastOf(b record.Batch) bool {
	if !b.HasProducerID() {
		return false
	}
	p, there := x.last[b.ProducerID()]
	if !there {
		return false
	}
	if p.offset >= 0 {
		return b.LastOffset() == p.offset
	}
	return b.Control() && b.ProducerEpoch() == p.epoch
}

// wrote takes a batch that was added to the buffer into the indexes.
func (x *cleaning) wrote(size int, last, maxTimestamp int64) error {
	if !x.a.canHold(last) || x.a.size+int64(size) > math.MaxInt32 {
		return fmt.Errorf("offset %d does not fit the compacted segment that begins at %d and has %d bytes", last, x.a.base, x.a.size)
	}
	x.stats.BytesKept += int64(size)
	x.a.add(int64(size), last, maxTimestamp, int64(x.cfg.IndexInterval))
	if len(x.c.out) >= x.c.buffer {
		return x.write()
	}
	return nil
}
