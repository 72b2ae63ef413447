package storage

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/dchest/siphash"
	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
	"pgregory.net/rapid"
)

// compact opens a log on memory for compaction.
func compact(t testing.TB) (*vfs.Mem, Options, *Log) {
	m, o := memory(t)
	o.Config = Config{Compact: true, DeleteRetention: time.Hour, SegmentBytes: 1 << 20}
	l, _ := open(t, o)
	return m, o, l
}

// cleanAll makes all that is there dirty, and compacts it.
func cleanAll(t testing.TB, l *Log, now time.Time) CleanStats {
	t.Helper()
	if err := l.Roll(now); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(l.View().LogEnd)
	d, err := l.CleanableOffsets(now)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := l.Clean(NewCleaner(CleanerOptions{}), CleanOptions{Cleanable: d, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// shown lists batches: offsets, sequence, and keys with their values.
func shown(t testing.TB, l *Log) (out []string) {
	t.Helper()
	b := readAll(t, l, LogEnd)
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		b = rest
		s := fmt.Sprintf("[%d,%d]", batch.BaseOffset(), batch.LastOffset())
		if batch.HasProducerID() {
			s += fmt.Sprintf(" producer %d epoch %d sequence %d", batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence())
		}
		if batch.Control() {
			s += " control"
		}
		if batch.HasDeleteHorizon() {
			s += " aged"
		}
		err = eachRecord(batch, func(r *record.Record) {
			switch {
			case batch.Control():
			case r.Value == nil:
				s += fmt.Sprintf(" -%s", r.Key)
			default:
				s += fmt.Sprintf(" %s=%s", r.Key, r.Value)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func wantShown(t testing.TB, l *Log, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, shown(t, l)); diff != "" {
		t.Fatalf("log (-want +got):\n%s", diff)
	}
}

// pairs builds a batch from keys and values; a value "" is null.
func pairs(pid int64, epoch int16, seq int32, txn bool, kv ...string) record.Batch {
	b := codecs.NewBuilder()
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = pid, epoch, seq, txn
	for i := 0; i < len(kv); i += 2 {
		b.Add(t0.UnixMilli(), []byte(kv[i]), orNull(kv[i+1]), nil)
	}
	return b.Bytes()
}

// DETAILS 26: a live producer's last batch stays, emptied if need be, and tells its sequence even where no snapshot does;
// so does the last batch before what is not compacted.
func TestCleanKeepsLastBatches(t *testing.T) {
	m, o, l := compact(t)
	mustAppend(t, l, pairs(7, 2, 0, false, "a", "1"), AppendOptions{})
	mustAppend(t, l, pairs(7, 2, 1, false, "a", "2", "b", "2"), AppendOptions{})
	mustAppend(t, l, pairs(-1, -1, -1, false, "a", "3", "b", "3"), AppendOptions{})
	mustAppend(t, l, pairs(-1, -1, -1, false, "a", "4", "b", "4"), AppendOptions{})
	mustAppend(t, l, pairs(-1, -1, -1, false, "c", ""), AppendOptions{})
	cleanAll(t, l, t0)
	wantShown(t, l, "[1,2] producer 7 epoch 2 sequence 1", "[5,6] a=4 b=4", "[7,7] aged -c")
	mustAppend(t, l, pairs(-1, -1, -1, false, "a", "5", "b", "5"), AppendOptions{})
	cleanAll(t, l, t0.Add(2*time.Hour))
	wantShown(t, l, "[1,2] producer 7 epoch 2 sequence 1", "[8,9] a=5 b=5")
	mustAppend(t, l, pairs(-1, -1, -1, false, "d", ""), AppendOptions{})
	cleanAll(t, l, t0.Add(3*time.Hour))
	cleanAll(t, l, t0.Add(9*time.Hour)) // nothing is dirty: nothing happens, whatever has expired
	wantShown(t, l, "[1,2] producer 7 epoch 2 sequence 1", "[8,9] a=5 b=5", "[10,10] aged -d")
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
	removeSnapshots(t, m, o.Dir)
	l, _ = open(t, o)
	if out, err := tryAppend(l, pairs(7, 2, 1, false, "a", "2", "b", "2"), AppendOptions{}); err != nil || !out.Duplicate || out.FirstOffset != 1 {
		t.Fatalf("duplicate: %+v, %v", out, err)
	}
	var bad *OutOfOrderSequence
	if _, err := tryAppend(l, pairs(7, 2, 4, false, "a", "2"), AppendOptions{}); !errors.As(err, &bad) {
		t.Fatalf("gap: %v", err)
	}
	mustAppend(t, l, pairs(7, 2, 3, false, "e", "1"), AppendOptions{})
}

// A segment that is compacted again while the file of the first compaction waits for its removal: both have the same name
// then, and a reader with the older view must not be shown the newer file.
func TestCleanTwiceBesideAnOldView(t *testing.T) {
	_, o, l := compact(t)
	o.Config.FileDeleteDelay = time.Hour
	l.SetConfig(o.Config)
	for i := range 3 {
		mustAppend(t, l, pairs(-1, -1, -1, false, "a", fmt.Sprint(i), "b", fmt.Sprint(i)), AppendOptions{Origin: RaftLeader})
	}
	if err := l.Roll(t0); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(l.View().LogEnd)
	old := l.View()
	cleanAll(t, l, t0)
	mustAppend(t, l, pairs(-1, -1, -1, false, "a", "3"), AppendOptions{Origin: RaftLeader})
	cleanAll(t, l, t0)
	s, err := old.Read(0, 1<<20, HighWatermark, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	b, err := s.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if batch, _, err := record.Next(b); err != nil || batch.LastOffset() < 3 {
		t.Fatalf("%v, %v", batch, err)
	}
}

func removeSnapshots(t testing.TB, m *vfs.Mem, dir string) {
	t.Helper()
	names, err := m.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Ext(name) == suffixSnapshot {
			if err := m.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Records of aborted transactions go at once, markers when nothing of their transaction is left and the horizon has
// passed. A marker that has the producer's last epoch stays for it, emptied: older epochs are fenced after a restart,
// too. DETAILS 26
func TestCleanTransactions(t *testing.T) {
	m, o, l := compact(t)
	mustAppend(t, l, pairs(1, 0, 0, true, "a", "1"), AppendOptions{})
	mustAppend(t, l, marker(1, 0, record.Commit, 0), AppendOptions{Origin: Coordinator})
	mustAppend(t, l, pairs(2, 0, 0, true, "a", "2", "b", "2"), AppendOptions{})
	mustAppend(t, l, marker(2, 1, record.Abort, 0), AppendOptions{Origin: Coordinator})
	mustAppend(t, l, pairs(3, 0, 0, true, "c", "3"), AppendOptions{})
	mustAppend(t, l, marker(3, 1, record.Commit, 0), AppendOptions{Origin: Coordinator})
	mustAppend(t, l, pairs(-1, -1, -1, false, "c", "4", "d", "4"), AppendOptions{})
	cleanAll(t, l, t0)
	// Whatever its records, a batch that was there keeps the marker behind it, without a horizon as yet.
	wantShown(t, l, "[0,0] producer 1 epoch 0 sequence 0 a=1", "[1,1] producer 1 epoch 0 sequence -1 control",
		"[4,4] producer 2 epoch 1 sequence -1 control", "[6,6] producer 3 epoch 1 sequence -1 control", "[7,8] c=4 d=4")
	mustAppend(t, l, pairs(-1, -1, -1, false, "d", "5"), AppendOptions{})
	cleanAll(t, l, t0)
	wantShown(t, l, "[0,0] producer 1 epoch 0 sequence 0 a=1", "[1,1] producer 1 epoch 0 sequence -1 control",
		"[4,4] producer 2 epoch 1 sequence -1 control aged", "[6,6] producer 3 epoch 1 sequence -1 control aged", "[7,8] c=4", "[9,9] d=5")
	mustAppend(t, l, pairs(-1, -1, -1, false, "d", "6"), AppendOptions{})
	l.producers.byID[3].epoch = 9 // as if the producer went on elsewhere: its marker is not needed any more
	cleanAll(t, l, t0.Add(2*time.Hour))
	wantShown(t, l, "[0,0] producer 1 epoch 0 sequence 0 a=1", "[1,1] producer 1 epoch 0 sequence -1 control",
		"[4,4] producer 2 epoch 1 sequence -1 control", "[7,8] c=4", "[10,10] d=6")
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
	removeSnapshots(t, m, o.Dir)
	l, _ = open(t, o)
	var stale *InvalidProducerEpoch
	if _, err := tryAppend(l, pairs(2, 0, 2, false, "a", "9"), AppendOptions{}); !errors.As(err, &stale) {
		t.Fatalf("%v", err)
	}
	if n := len(l.producers.ongoing); n > 0 {
		t.Fatalf("%d transactions are open", n)
	}
}

// What may be compacted ends before the last segment, the segment with the last stable offset, and records that are too
// young.
func TestCleanableOffsets(t *testing.T) {
	_, _, l := compact(t)
	at := func(now time.Time) string {
		t.Helper()
		d, err := l.CleanableOffsets(now)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("[%d,%d) ratio %.2f overdue %v", d.FirstDirty, d.FirstUncleanable, d.Ratio(), d.Overdue)
	}
	want := func(now time.Time, want string) {
		t.Helper()
		if got := at(now); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	for i := range 4 {
		mustAppend(t, l, records(10, t0.Add(time.Duration(i)*time.Hour).UnixMilli(), 20), AppendOptions{Now: t0})
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
	}
	want(t0, "[0,0) ratio 0.00 overdue 0s") // no high watermark
	l.SetHighWatermark(25)
	want(t0, "[0,20) ratio 1.00 overdue 0s")
	l.SetHighWatermark(40)
	want(t0, "[0,40) ratio 1.00 overdue 0s")
	mustAppend(t, l, pairs(1, 0, 0, true, "a", "1"), AppendOptions{})
	if err := l.Roll(t0); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(41)
	want(t0, "[0,40) ratio 1.00 overdue 0s") // an open transaction
	l.SetConfig(Config{Compact: true, MinCompactionLag: time.Hour, MaxCompactionLag: 90 * time.Minute})
	want(t0.Add(2*time.Hour+time.Minute), "[0,20) ratio 1.00 overdue 31m0s")
	cleanAll(t, l, t0.Add(time.Hour+time.Minute))
	want(t0.Add(2*time.Hour+time.Minute), "[10,20) ratio 0.50 overdue 31m0s")
	if d := (Cleanable{CleanBytes: 1, DirtyBytes: 1}); d.Due(0.5) || !d.Due(0.49) {
		t.Fatal("a ratio that is not above the least is due, or one above is not")
	}
}

// The memory of a cleaner has its bound whatever it reads, and what it allocates does not grow with the records.
func TestCleanMemory(t *testing.T) {
	fill := func(n int) (*Log, Cleanable) {
		_, _, l := compact(t)
		for i := 0; i < n; i += 100 {
			b := codecs.NewBuilder()
			b.Codec = record.Codec(i / 100 % 5)
			for j := range 100 {
				b.Add(t0.UnixMilli(), fmt.Appendf(nil, "key %d", (i+j)*7%1000), make([]byte, 50), nil)
			}
			mustAppend(t, l, b.Bytes(), AppendOptions{})
		}
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(l.View().LogEnd)
		d, err := l.CleanableOffsets(t0)
		if err != nil {
			t.Fatal(err)
		}
		return l, d
	}
	const bytes = 100_000
	cost := func(n int) uint64 {
		l, d := fill(n)
		c := NewCleaner(CleanerOptions{MapBytes: bytes, BufferBytes: 10_000})
		c.offsets.prepare(math.MaxInt64)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stats, err := l.Clean(c, CleanOptions{Cleanable: d, Now: t0})
		runtime.ReadMemStats(&after)
		if err != nil || stats.RecordsRead != int64(n) {
			t.Fatalf("%+v, %v", stats, err)
		}
		if got := c.Memory(); got > bytes+4*4*10_000 {
			t.Fatalf("%d bytes after %+v", got, stats)
		}
		return after.Mallocs - before.Mallocs
	}
	cost(3000) // fills pools
	few, many := cost(3000), cost(40_000)
	t.Logf("%d allocations for 3,000 records, %d for 40,000", few, many)
	if many > few+37_000/100*20 { // a batch has 100; compression allocates for each
		t.Fatalf("%d allocations for 3,000 records, %d for 40,000", few, many)
	}
}

// TestOffsetMap compares the map with one of Go's.
func TestOffsetMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "slots")
		m := newOffsetMap(n*slotSize, rapid.Float64Range(0.1, 1).Draw(t, "load"), [2]uint64{1, 2})
		for range 2 { // it is used again
			m.prepare(rapid.Int64Range(0, 300).Draw(t, "keys"))
			if len(m.slots)*slotSize > max(n, 2)*slotSize {
				t.Fatalf("%d slots", len(m.slots))
			}
			model := map[string]int64{}
			for i := range rapid.IntRange(0, 400).Draw(t, "puts") {
				key := fmt.Sprint(rapid.IntRange(0, 150).Draw(t, "key"))
				_, there := model[key]
				ok := m.put([]byte(key), int64(i))
				if ok != (there || len(model) < m.max) {
					t.Fatalf("put of key %s with %d of %d: %t", key, len(model), m.max, ok)
				}
				if ok {
					model[key] = int64(i)
				}
			}
			for key := range 200 {
				want, there := model[fmt.Sprint(key)]
				if !there {
					want = -1
				}
				if got := m.get(fmt.Append(nil, key)); got != want {
					t.Fatalf("key %d: %d, want %d", key, got, want)
				}
			}
		}
	})
}

// The hash is SipHash-2-4 with 128 bits, by its authors' vectors.
func TestHash(t *testing.T) {
	in := make([]byte, 3)
	for i := range in {
		in[i] = byte(i)
	}
	for n, want := range [][2]uint64{{0xe6a825ba047f81a3, 0x930255c71472f66d}, {0x44af996bd8c187da, 0x45fc229b11597634}, {0xc75da4a48d227781, 0xe4ff0af6de8ba3fc}} {
		a, b := siphash.Hash128(0x0706050403020100, 0x0f0e0d0c0b0a0908, in[:n])
		if a != want[0] || b != want[1] {
			t.Fatalf("%d bytes: %x %x, want %x", n, a, b, want)
		}
	}
}

// Offsets that a segment cannot tell relative to its base end a group.
func TestCleanGroupsByOffsets(t *testing.T) {
	_, _, l := compact(t)
	last := int64(0)
	for _, base := range []int64{0, 10, math.MaxInt32 - 5, math.MaxInt32 + 5, 3 * math.MaxInt32} {
		b := records(3, t0.UnixMilli(), 10)
		b.SetBaseOffset(base)
		if _, err := l.AppendFollower(b, 0, t0); err != nil {
			t.Fatal(err)
		}
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
		last = base + 2
	}
	stats := cleanAll(t, l, t0)
	if stats.SegmentsBefore != 6 || stats.SegmentsAfter != 3 || stats.RecordsKept != 3 {
		t.Fatalf("%+v", stats)
	}
	s, err := l.View().Read(0, 1<<20, LogEnd, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if got := shown(t, l); got[len(got)-1] != fmt.Sprintf("[%d,%d] k0=vvvvvvvvvv k1=vvvvvvvvvv k2=vvvvvvvvvv", last-2, last) {
		t.Fatalf("%q", got)
	}
}

func BenchmarkClean(b *testing.B) {
	for _, codec := range []record.Codec{record.None, record.LZ4, record.Zstd} {
		for _, size := range []int{100, 1000} {
			for _, name := range []string{"half", "all"} {
				b.Run(fmt.Sprintf("%v/%dB/%s stays", codec, size, name), func(b *testing.B) { benchmarkClean(b, codec, size, name == "half") })
			}
		}
	}
}

// benchmarkClean compacts 32 MiB of batches of about 16 KiB, in which every second record is superseded, or none.
func benchmarkClean(b *testing.B, codec record.Codec, size int, half bool) {
	value := make([]byte, size)
	n := max(1, 16<<10/(size+20))
	fill := func() *Log {
		l, _ := open(b, Options{Dir: filepath.Join(b.TempDir(), "t-0"), Config: Config{Compact: true, SegmentBytes: 16 << 20}})
		key := 0
		for raw := 0; raw < 32<<20; raw += n * (size + 20) {
			bb := codecs.NewBuilder()
			bb.Codec = codec
			for i := range n {
				key++
				k := key
				if half && i%2 == 0 {
					k = 0
				}
				for j := range value { // compresses to about a half
					value[j] = byte(j) ^ byte(key*(j&1)*37)
				}
				bb.Add(t0.UnixMilli(), fmt.Appendf(nil, "key-%012d", k), value, nil)
			}
			mustAppend(b, l, bb.Bytes(), AppendOptions{})
		}
		if err := l.Roll(t0); err != nil {
			b.Fatal(err)
		}
		l.SetHighWatermark(l.View().LogEnd)
		if err := l.Flush(l.View().LogEnd); err != nil {
			b.Fatal(err)
		}
		return l
	}
	c := NewCleaner(CleanerOptions{})
	var before, after runtime.MemStats
	var records, allocs uint64
	for b.Loop() {
		b.StopTimer()
		l := fill()
		d, err := l.CleanableOffsets(t0)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(d.DirtyBytes)
		runtime.ReadMemStats(&before)
		b.StartTimer()
		stats, err := l.Clean(c, CleanOptions{Cleanable: d, Now: t0})
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		records, allocs = records+uint64(stats.RecordsRead), allocs+after.Mallocs-before.Mallocs
		l.Remove()
		b.StartTimer()
	}
	b.ReportMetric(float64(allocs)/float64(records), "allocs/record")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}
