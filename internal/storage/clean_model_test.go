package storage

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
	"pgregory.net/rapid"
)

// kept is a record as the model of a compacted log knows it.
type kept struct {
	Offset     int64
	Time       int64
	Key, Value string // "" is null
	Headers    string
}

// history is a record as it was appended, and what became of its transaction.
type history struct {
	kept
	pid           int64
	open, aborted bool
}

// fataler is what the model needs of testing.TB and rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// compactor appends to a log, compacts it, and compares what is left with what must be.
type compactor struct {
	t   fataler
	die func(n int) int // in [0, n)
	mem *vfs.Mem
	o   Options
	l   *Log
	c   *Cleaner

	now     time.Time
	all     []history // every record that was appended
	alive   []kept    // what the log had when it was looked at last
	horizon map[int64]int64
	state   producers // of every batch
	staged  staged
	open    map[int64]bool
	seqs    map[int64]int32
	epochs  map[int64]int16
	values  int
}

func newCompactor(t fataler, die func(n int) int) *compactor {
	m := &compactor{t: t, die: die, mem: vfs.NewMem(nil), now: t0, horizon: map[int64]int64{}, state: newProducers(0),
		open: map[int64]bool{}, seqs: map[int64]int32{}, epochs: map[int64]int16{}}
	m.must(m.mem.MkdirAll("/d", 0o755))
	m.must(m.mem.SyncDir("/"))
	m.o = Options{FS: m.mem, Dir: "/d/t-0", Topic: "t", Now: t0, Config: Config{
		SegmentBytes: 600 + die(4000), IndexInterval: 1 + die(400), SegmentAge: 1000 * time.Hour, Compact: true,
		DeleteRetention: time.Duration(die(3)) * time.Hour, FileDeleteDelay: time.Duration(die(2)) * time.Hour,
	}}
	m.c = NewCleaner(CleanerOptions{MapBytes: slotSize * (3 + die(40)), LoadFactor: 0.3 + 0.1*float64(die(7)), BufferBytes: 100 + die(2000), HashKey: [2]uint64{1, 2}})
	m.reopen(false)
	return m
}

func (m *compactor) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v", err)
	}
}

func (m *compactor) reopen(clean bool) {
	m.t.Helper()
	m.o.Clean, m.o.Now = clean, m.now
	l, rec, err := Open(m.o)
	m.must(err)
	if rec.Corruption != nil {
		m.t.Fatalf("recovery: %+v", rec)
	}
	m.l = l
	m.must(l.BecomeLeader(0))
}

// append appends a batch, or ends a transaction.
func (m *compactor) append() {
	m.now = m.now.Add(time.Duration(m.die(600)) * time.Second)
	b := codecs.NewBuilder()
	b.Codec = record.Codec(max(0, m.die(8)-3))
	pid := int64(m.die(4))
	a := AppendOptions{Now: m.now, Origin: Client}
	kind := m.die(6)
	first := m.l.View().LogEnd
	if m.open[pid] && kind < 2 {
		m.end(pid)
		return
	}
	n := 1 + m.die(5)
	var added []history
	for i := range n {
		h := history{kept: kept{Offset: first + int64(i), Time: m.now.UnixMilli() - int64(m.die(5000)), Key: fmt.Sprintf("k%d", m.die(9))}}
		m.values++
		if m.die(4) > 0 {
			h.Value = fmt.Sprintf("v%d", m.values)
		}
		if m.die(40) == 0 {
			h.Key = ""
		}
		if m.die(5) == 0 {
			h.Headers = "h=x;"
		}
		added = append(added, h)
		b.Add(h.Time, orNull(h.Key), orNull(h.Value), headersOf(h.Headers))
	}
	if kind > 2 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = pid, m.epochs[pid], m.seqs[pid]
		b.Transactional = m.open[pid] || kind == 5
		m.seqs[pid] += int32(n)
		m.open[pid] = b.Transactional
		for i := range added {
			added[i].open, added[i].pid = b.Transactional, pid
		}
	}
	m.put(b.Bytes(), a)
	m.all = append(m.all, added...)
	for _, h := range added {
		m.alive = append(m.alive, h.kept)
	}
}

// end commits or aborts a producer's transaction.
func (m *compactor) end(pid int64) {
	typ := record.ControlType(m.die(2))
	if m.die(3) == 0 { // transaction version 2 raises the epoch
		m.epochs[pid]++
		m.seqs[pid] = 0
	}
	marker := codecs.EndTxn(record.EndTxnMarker{Type: typ, CoordinatorEpoch: 1}, m.now.UnixMilli(), pid, m.epochs[pid])
	m.put(marker, AppendOptions{Now: m.now, Origin: Coordinator})
	aborted := typ == record.Abort
	m.open[pid] = false
	for i := range m.all {
		if h := &m.all[i]; h.open && h.pid == pid {
			h.open, h.aborted = false, aborted
		}
	}
}

func orNull(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func headersOf(s string) []record.Header {
	if s == "" {
		return nil
	}
	return []record.Header{{Key: []byte("h"), Value: []byte("x")}}
}

func (m *compactor) put(b record.Batch, a AppendOptions) {
	m.t.Helper()
	_, err := m.l.Append([]record.Batch{b}, a)
	m.must(err)
	if b.HasProducerID() {
		m.staged.reset()
		m.must(m.staged.stage(&m.state, codecs, check{batch: b, at: offsetOnly(b.BaseOffset()), origin: Replication}))
		m.staged.apply(&m.state, func(ended, int64) {})
	}
}

// clean compacts once, and checks the result. An error is the caller's.
func (m *compactor) clean() (CleanStats, error) {
	m.t.Helper()
	d, err := m.l.CleanableOffsets(m.now)
	m.must(err)
	if d.DirtyBytes == 0 {
		return CleanStats{}, nil
	}
	stats, err := m.l.Clean(m.c, CleanOptions{Cleanable: d, Now: m.now})
	if err != nil {
		return stats, err
	}
	if m.c.offsets.n > m.c.offsets.max || cap(m.c.offsets.slots) > m.c.offsets.limit {
		m.t.Fatalf("map of %d slots has %d of %d", cap(m.c.offsets.slots), m.c.offsets.n, m.c.offsets.max)
	}
	if stats.End <= stats.FirstDirty || stats.End > d.FirstUncleanable {
		m.t.Fatalf("no progress: %+v of %+v", stats, d)
	}
	m.check(stats.End, true)
	return stats, nil
}

// check compares the log with the model: what is gone had to go, and, if a cleaning up to end is complete, what is there
// had to stay. It takes over what is there.
func (m *compactor) check(end int64, complete bool) {
	m.t.Helper()
	now, horizons := m.read()
	latest := map[string]int64{}
	byOffset := map[int64]*history{}
	for i := range m.all {
		h := &m.all[i]
		byOffset[h.Offset] = h
		if !h.open && !h.aborted && h.Key != "" && h.Offset < end {
			latest[h.Key] = h.Offset
		}
	}
	doomed := func(k kept) string {
		h := byOffset[k.Offset]
		hz, aged := m.horizon[k.Offset]
		switch {
		case h.aborted:
			return "aborted"
		case k.Offset >= end:
			return ""
		case h.open:
			return ""
		case k.Key == "":
			return "without key"
		case latest[k.Key] > k.Offset:
			return "superseded"
		case k.Value == "" && aged && hz <= m.now.UnixMilli():
			return "deleted"
		}
		return ""
	}
	j := 0
	for _, k := range m.alive {
		why := doomed(k)
		if j < len(now) && now[j].Offset == k.Offset {
			if diff := cmp.Diff(k, now[j]); diff != "" {
				m.t.Fatalf("record changed (-was +is):\n%s", diff)
			}
			if complete && why != "" && k.Offset < end {
				m.t.Fatalf("record %+v is still there: %s, cleaned up to %d", k, why, end)
			}
			hz, has := horizons[k.Offset]
			if was, had := m.horizon[k.Offset]; had && (!has || hz != was) {
				m.t.Fatalf("tombstone %+v: horizon was %d, is %d", k, was, hz)
			} else if complete && k.Value == "" && k.Offset < end && !has {
				m.t.Fatalf("tombstone %+v has no horizon", k)
			} else if has && !had && hz != m.now.Add(m.o.Config.DeleteRetention).UnixMilli() {
				m.t.Fatalf("tombstone %+v: horizon %d at %d", k, hz, m.now.UnixMilli())
			}
			j++
			continue
		}
		if why == "" {
			m.t.Fatalf("record %+v is gone; cleaned up to %d", k, end)
		}
	}
	if j != len(now) {
		m.t.Fatalf("record %+v came from nowhere", now[j])
	}
	m.alive, m.horizon = now, horizons
	m.checkProducers()
	m.checkReads()
}

// read gives all records of the log, and the horizons of those that delete their keys.
func (m *compactor) read() (out []kept, horizons map[int64]int64) {
	m.t.Helper()
	horizons = map[int64]int64{}
	for _, b := range m.batches() {
		m.must(b.CheckCRC())
		r, err := codecs.Records(b)
		m.must(err)
		var rec record.Record
		for {
			ok, err := r.Next(&rec)
			m.must(err)
			if !ok {
				break
			}
			hz, aged := b.DeleteHorizon()
			if b.Control() {
				continue
			}
			k := kept{Offset: rec.Offset, Time: rec.Timestamp, Key: string(rec.Key), Value: string(rec.Value)}
			for h := range rec.Headers() {
				k.Headers += fmt.Sprintf("%s=%s;", h.Key, h.Value)
			}
			out = append(out, k)
			if aged && rec.Value == nil {
				horizons[rec.Offset] = hz
			}
			if rec.Timestamp > b.MaxTimestamp() {
				m.t.Fatalf("batch %v has a record of %d", b, rec.Timestamp)
			}
		}
		r.Close()
	}
	return out, horizons
}

func (m *compactor) batches() (out []record.Batch) {
	m.t.Helper()
	v := m.l.View()
	for at := v.LogStart; ; {
		s, err := v.Read(at, 500, LogEnd, true)
		m.must(err)
		b, err := s.Bytes()
		m.must(err)
		s.Release()
		if len(b) == 0 {
			return out
		}
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			m.must(err)
			if batch.BaseOffset() < at && len(out) > 0 {
				m.t.Fatalf("batch %v after offset %d", batch, at)
			}
			at = batch.LastOffset() + 1
			out, b = append(out, batch), rest
		}
	}
}

// checkProducers compares what the log knows of producers with what they sent.
func (m *compactor) checkProducers() {
	m.t.Helper()
	type known struct {
		ID, Last, Txn int64
		Seq           int32
		Epoch         int16
	}
	list := func(p *producers) (out []known) {
		for _, e := range p.entries() {
			out = append(out, known{e.ProducerID, e.LastOffset, e.CurrentTxnFirstOffset, e.LastSequence, e.Epoch})
		}
		return out
	}
	if diff := cmp.Diff(list(&m.state), list(&m.l.producers)); diff != "" {
		m.t.Fatalf("producers (-sent +known):\n%s", diff)
	}
}

// checkReads looks up every batch by each of its ends, and every index entry. Segments must join, and their sizes add
// up.
func (m *compactor) checkReads() {
	m.t.Helper()
	v := m.l.View()
	for _, b := range m.batches() {
		for _, at := range []int64{b.BaseOffset(), b.LastOffset()} {
			s, err := v.Read(at, 1, LogEnd, true)
			m.must(err)
			if s.First != b.BaseOffset() || s.Size != len(b) {
				m.t.Fatalf("read of %d gives %d bytes from %d on, want %v", at, s.Size, s.First, b)
			}
			s.Release()
		}
	}
	total := int64(0)
	for i := range v.segments {
		s, x, size, err := v.of(i)
		m.must(err)
		total += size
		m.must(x.offsets.each(func(e *offsetEntry) bool {
			b, err := s.find(x, size, s.base+int64(e.rel))
			if err != nil || b.last != s.base+int64(e.rel) || b.pos != int64(e.pos) {
				m.t.Fatalf("index entry %+v of segment %d leads to %+v, %v", *e, s.base, b, err)
			}
			return true
		}))
		if i+1 < len(v.segments) {
			if b, err := s.find(x, size, v.segments[i+1].base-1); err != nil || b.last != v.segments[i+1].base-1 {
				m.t.Fatalf("segment %d ends with %+v, %v; the next one begins at %d", s.base, b, err, v.segments[i+1].base)
			}
		}
	}
	if total != m.l.Size() {
		m.t.Fatalf("log has %d bytes, says %d", total, m.l.Size())
	}
}

func (m *compactor) step() {
	switch n := m.die(100); {
	case n < 70:
		m.append()
	case n < 80:
		m.l.SetHighWatermark(m.l.View().LogEnd)
	case n < 84:
		m.must(m.l.Roll(m.now))
	case n < 87:
		m.l.SetHighWatermark(m.l.View().LogEnd)
		m.must(m.l.Flush(m.l.View().LogEnd))
	case n < 90:
		m.now = m.now.Add(time.Duration(m.die(3)) * time.Hour)
	case n < 93:
		_, err := m.l.RemoveDeleted(m.now)
		m.must(err)
	case n < 97:
		_, err := m.clean()
		m.must(err)
	default:
		clean := m.die(2) == 0
		m.must(m.l.Close(clean))
		m.o.HighWatermark, m.o.Cleaned = m.l.View().HighWatermark, m.l.Cleaned()
		m.o.RecoveryPoint = 0
		if clean {
			m.o.RecoveryPoint = m.l.RecoveryPoint()
		} else if m.die(2) == 0 {
			m.dropSnapshots() // the batches alone must tell
		}
		m.reopen(clean)
		m.check(0, false)
	}
}

func (m *compactor) dropSnapshots() {
	names, err := m.mem.List(m.o.Dir)
	m.must(err)
	for _, name := range names {
		if _, suffix, ok := parseName(name); ok && suffix == suffixSnapshot {
			m.must(m.mem.Remove(filepath.Join(m.o.Dir, name)))
		}
	}
}

// TestCompaction compares a log that is appended to, compacted, rolled, flushed and opened again with its model.
func TestCompaction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newCompactor(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "die") })
		for range 150 {
			m.step()
		}
		m.l.SetHighWatermark(m.l.View().LogEnd)
		for range 3 {
			m.now = m.now.Add(3 * time.Hour)
			m.append()
			m.must(m.l.Roll(m.now))
			m.l.SetHighWatermark(m.l.View().LogEnd)
			_, err := m.clean()
			m.must(err)
		}
	})
}

func seeded(seed uint64) func(n int) int {
	rng := rand.New(rand.NewPCG(seed, 7))
	return func(n int) int { return rng.IntN(n) }
}
