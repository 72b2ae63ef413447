package storage

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// memory gives options for a log on memory.
func memory(t testing.TB) (*vfs.Mem, Options) {
	t.Helper()
	m := vfs.NewMem(func() time.Time { return t0 })
	if err := errors.Join(m.MkdirAll("/d", 0o755), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m, Options{FS: m, Dir: "/d/t-0", Topic: "t", Now: t0}
}

// idempotent builds a batch of n records of a producer.
func idempotent(pid int64, epoch int16, seq int32, n int, txn bool) record.Batch {
	b := codecs.NewBuilder()
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = pid, epoch, seq, txn
	for i := range n {
		b.Add(t0.UnixMilli(), nil, fmt.Appendf(nil, "%d", i), nil)
	}
	return b.Bytes()
}

func tryAppend(l *Log, b record.Batch, a AppendOptions) (Appended, error) {
	a.Now = t0
	return l.Append([]record.Batch{b}, a)
}

// DETAILS 5
func TestDuplicateOfOneOfTheLastFive(t *testing.T) {
	_, o := memory(t)
	l, _ := open(t, o)
	for i := range int32(7) {
		mustAppend(t, l, idempotent(1, 0, 2*i, 2, false), AppendOptions{})
	}
	end := l.View().LogEnd
	for i := range int32(7) {
		out, err := tryAppend(l, idempotent(1, 0, 2*i, 2, false), AppendOptions{})
		if i < 2 {
			var bad *OutOfOrderSequence
			if !errors.As(err, &bad) {
				t.Fatalf("batch %d: %v, want OutOfOrderSequence", i, err)
			}
			continue
		}
		if err != nil || !out.Duplicate || out.FirstOffset != int64(2*i) || out.LastOffset != int64(2*i)+1 {
			t.Fatalf("batch %d: %+v, %v; want the duplicate at %d", i, out, err, 2*i)
		}
	}
	if l.View().LogEnd != end {
		t.Fatalf("a duplicate was appended")
	}
	// A snapshot has the last batch of each producer: that one is recognised after a restart.
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	o.Clean = true
	l, _ = open(t, o)
	if out, err := tryAppend(l, idempotent(1, 0, 12, 2, false), AppendOptions{}); err != nil || !out.Duplicate || out.FirstOffset != 12 {
		t.Fatalf("after a restart: %+v, %v", out, err)
	}
}

// DETAILS 6, DETAILS 7
func TestSequencesAndEpochs(t *testing.T) {
	type step struct {
		epoch int16
		seq   int32
		n     int
		want  string
	}
	tests := map[string][]step{
		"starts anywhere":           {{0, 77, 1, "ok"}, {0, 78, 1, "ok"}},
		"gap":                       {{0, 0, 2, "ok"}, {0, 3, 1, "sequence"}, {0, 2, 1, "ok"}},
		"back, not a duplicate":     {{0, 0, 2, "ok"}, {0, 1, 1, "sequence"}},
		"wraps":                     {{0, math.MaxInt32 - 1, 2, "ok"}, {0, 0, 1, "ok"}},
		"wraps within a batch":      {{0, math.MaxInt32, 3, "ok"}, {0, 2, 1, "ok"}},
		"new epoch begins at 0":     {{0, 0, 2, "ok"}, {1, 2, 1, "sequence"}, {1, 0, 1, "ok"}, {1, 1, 1, "ok"}},
		"stale epoch":               {{5, 0, 1, "ok"}, {4, 1, 1, "epoch"}, {4, 0, 1, "epoch"}},
		"duplicate of older epoch":  {{0, 0, 1, "ok"}, {1, 0, 1, "ok"}, {0, 0, 1, "epoch"}},
		"a failed batch leaves all": {{0, 0, 1, "ok"}, {0, 9, 1, "sequence"}, {0, 9, 1, "sequence"}, {0, 1, 1, "ok"}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			_, o := memory(t)
			l, _ := open(t, o)
			for i, s := range steps {
				_, err := tryAppend(l, idempotent(1, s.epoch, s.seq, s.n, false), AppendOptions{})
				if got := kind(err); got != s.want {
					t.Fatalf("step %d: %s (%v), want %s", i, got, err, s.want)
				}
			}
		})
	}
}

// kind names an append's error.
func kind(err error) string {
	var sequence *OutOfOrderSequence
	var epoch *InvalidProducerEpoch
	var txn *InvalidTxnState
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &sequence):
		return "sequence"
	case errors.As(err, &epoch):
		return "epoch"
	case errors.As(err, &txn):
		return "state"
	case errors.Is(err, ErrCoordinatorFenced):
		return "coordinator"
	case errors.Is(err, ErrFenced):
		return "fenced"
	}
	return err.Error()
}

// DETAILS 6: with transaction version 2 a producer without state begins at 0. DETAILS 35: a guard opens one transaction.
func TestVerification(t *testing.T) {
	_, o := memory(t)
	o.Config.VerifyTransactions = true
	l, _ := open(t, o)
	expect := func(want string, err error) {
		t.Helper()
		if got := kind(err); got != want {
			t.Fatalf("%s (%v), want %s", got, err, want)
		}
	}
	_, err := tryAppend(l, idempotent(1, 0, 0, 1, true), AppendOptions{})
	expect("state", err)
	g, err := l.StartVerification(1, 3, 0, true, t0)
	expect("ok", err)
	_, err = tryAppend(l, idempotent(1, 0, 3, 1, true), AppendOptions{Guard: g})
	expect("sequence", err)
	if again, _ := l.StartVerification(1, 0, 0, true, t0); again != g {
		t.Fatalf("another guard while the first is out")
	}
	_, err = tryAppend(l, idempotent(1, 0, 0, 1, true), AppendOptions{Guard: g})
	expect("ok", err)
	if !l.HasOngoing(1, 0) {
		t.Fatal("no transaction is open")
	}
	if none, err := l.StartVerification(1, 1, 0, true, t0); none != 0 || err != nil {
		t.Fatalf("verification of an open transaction: %v, %v", none, err)
	}
	_, err = tryAppend(l, idempotent(1, 0, 1, 1, true), AppendOptions{})
	expect("ok", err)
	_, err = tryAppend(l, marker(1, 1, record.Abort, 1), AppendOptions{Origin: Coordinator, TransactionVersion: 2})
	expect("ok", err)
	// The guard of the aborted transaction opens no other one.
	_, err = tryAppend(l, idempotent(1, 1, 0, 1, true), AppendOptions{Guard: g})
	expect("state", err)
	// A stale epoch is told before anything else, and no verification begins for it.
	_, err = l.StartVerification(1, 0, 0, true, t0)
	expect("epoch", err)
}

func marker(pid int64, epoch int16, c record.ControlType, coordinator int32) record.Batch {
	return codecs.EndTxn(record.EndTxnMarker{Type: c, CoordinatorEpoch: coordinator}, t0.UnixMilli(), pid, epoch)
}

// DETAILS 35
func TestMarkerEpochs(t *testing.T) {
	tests := map[string]struct {
		version     int16
		epoch       int16
		coordinator int32
		open        bool
		want        string
	}{
		"version 1, same epoch":            {1, 5, 1, true, "ok"},
		"version 1, stale epoch":           {1, 4, 1, true, "epoch"},
		"version 2, raised epoch":          {2, 6, 1, true, "ok"},
		"version 2, same epoch":            {2, 5, 1, true, "epoch"},
		"version 2, retry of an ended one": {2, 5, 1, false, "ok"},
		"older coordinator":                {1, 5, 0, true, "coordinator"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			_, o := memory(t)
			l, _ := open(t, o)
			mustAppend(t, l, idempotent(1, 5, 0, 1, true), AppendOptions{})
			mustAppend(t, l, marker(1, 5, record.Commit, 1), AppendOptions{Origin: Coordinator})
			if c.open {
				mustAppend(t, l, idempotent(1, 5, 1, 1, true), AppendOptions{})
			}
			_, err := tryAppend(l, marker(1, c.epoch, record.Abort, c.coordinator), AppendOptions{Origin: Coordinator, TransactionVersion: c.version})
			if got := kind(err); got != c.want {
				t.Fatalf("%s (%v), want %s", got, err, c.want)
			}
		})
	}
}

// DETAILS 16
func TestLastStableOffset(t *testing.T) {
	_, o := memory(t)
	l, _ := open(t, o)
	if err := l.BecomeLeader(1); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want int64) {
		t.Helper()
		if got := l.View().LastStable; got != want {
			t.Fatalf("%s: last stable offset %d, want %d", what, got, want)
		}
	}
	mustAppend(t, l, records(2, t0.UnixMilli(), 10), AppendOptions{LeaderEpoch: 1}) // 0, 1
	l.AdvanceHighWatermark(1, 2)
	expect("no transaction", 2)
	mustAppend(t, l, idempotent(1, 0, 0, 2, true), AppendOptions{LeaderEpoch: 1}) // 2, 3
	mustAppend(t, l, idempotent(2, 0, 0, 1, true), AppendOptions{LeaderEpoch: 1}) // 4
	expect("high watermark below the transaction", 2)
	l.AdvanceHighWatermark(1, 5)
	expect("open transaction", 2)
	mustAppend(t, l, marker(1, 0, record.Abort, 1), AppendOptions{LeaderEpoch: 1, Origin: Coordinator}) // 5
	expect("ended, but the marker is above the high watermark", 2)
	l.AdvanceHighWatermark(1, 5)
	expect("the marker is not below the high watermark yet", 2)
	l.AdvanceHighWatermark(1, 6)
	expect("the marker is replicated; the other transaction is open", 4)
	mustAppend(t, l, marker(2, 0, record.Commit, 1), AppendOptions{LeaderEpoch: 1, Origin: Coordinator}) // 6
	l.AdvanceHighWatermark(1, 7)
	expect("all ended", 7)
	got, err := l.AbortedTransactions(0, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := []schema.AbortedTxn{{ProducerID: 1, FirstOffset: 2, LastOffset: 5, LastStableOffset: 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("aborted transactions (-want +got):\n%s", diff)
	}
	// What read_committed reads ends at the last stable offset.
	mustAppend(t, l, idempotent(3, 0, 0, 1, true), AppendOptions{LeaderEpoch: 1}) // 7
	mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{LeaderEpoch: 1})
	l.AdvanceHighWatermark(1, 9)
	checkDense(t, readAll(t, l, LastStable), 0, 7)
	checkDense(t, readAll(t, l, HighWatermark), 0, 9)
}

// DETAILS 18, DETAILS 19
func TestReadBounds(t *testing.T) {
	_, o := memory(t)
	o.Config.IndexInterval = 200
	l, _ := open(t, o)
	if err := l.BecomeLeader(0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		mustAppend(t, l, records(10, t0.UnixMilli(), 50), AppendOptions{})
	}
	l.AdvanceHighWatermark(0, 60)
	size := len(records(10, t0.UnixMilli(), 50))
	tests := []struct {
		name   string
		offset int64
		max    int
		upTo   Bound
		minOne bool
		first  int64
		bytes  int // batches
		err    bool
	}{
		{"whole log", 0, 1 << 20, LogEnd, false, 0, 10, false},
		{"inside a batch", 15, 1 << 20, LogEnd, false, 10, 9, false},
		{"up to the high watermark", 0, 1 << 20, HighWatermark, false, 0, 6, false},
		{"at the high watermark", 60, 1 << 20, HighWatermark, true, 60, 0, false},
		{"between high watermark and end", 75, 1 << 20, HighWatermark, true, 75, 0, false},
		{"at the end", 100, 1 << 20, LogEnd, true, 100, 0, false},
		{"above the end", 101, 1 << 20, LogEnd, true, 101, 0, true},
		{"below the start", -1, 1 << 20, LogEnd, true, -1, 0, true},
		{"an offset as bound", 0, 1 << 20, Bound(35), false, 0, 3, false},
		{"whole batches only", 0, 3*size - 1, LogEnd, false, 0, 2, false},
		{"exactly three", 0, 3 * size, LogEnd, false, 0, 3, false},
		{"too small for one", 0, size - 1, LogEnd, false, 0, 0, false},
		{"too small, but one is wanted", 0, 1, LogEnd, true, 0, 1, false},
		{"nothing, but one is wanted", 42, 0, LogEnd, true, 40, 1, false},
		{"tail", 90, 1 << 20, LogEnd, false, 90, 1, false},
		{"tail, too small, but one is wanted", 90, 1, LogEnd, true, 90, 1, false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			s, err := l.View().Read(c.offset, c.max, c.upTo, c.minOne)
			var out *OffsetOutOfRange
			if errors.As(err, &out) != c.err || !c.err && err != nil {
				t.Fatalf("error %v", err)
			}
			if err == nil && (s.First != c.first || s.Size != c.bytes*size) {
				t.Fatalf("%d bytes from %d on, want %d from %d on", s.Size, s.First, c.bytes*size, c.first)
			}
			s.Release()
		})
	}
}

// DETAILS 23
func TestIndexEntries(t *testing.T) {
	m, o := memory(t)
	l, _ := open(t, o)
	var at []int64
	pos := int64(0)
	for i := range 6 {
		b := records(3, t0.UnixMilli()+int64(i*100), 1000)
		at = append(at, pos)
		pos += int64(len(b))
		mustAppend(t, l, b, AppendOptions{})
	}
	if err := l.Flush(18); err != nil {
		t.Fatal(err)
	}
	b, err := readWhole(m, "/d/t-0/00000000000000000000.index", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	// Batches of some 3,100 bytes: the third and the fifth begin more than 4,096 bytes behind the last entry.
	var got []offsetEntry
	for ; len(b) > 0; b = b[offsetEntrySize:] {
		got = append(got, decodeEntry[offsetEntry](b))
	}
	if diff := cmp.Diff([]offsetEntry{{8, int32(at[2])}, {14, int32(at[4])}}, got, cmp.AllowUnexported(offsetEntry{})); diff != "" {
		t.Fatalf("entries are (last offset, start) (-want +got):\n%s", diff)
	}
	// Apache's index files have their full size while they are written, so zeros follow a crash.
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".index", ".timeindex"} {
		f, err := m.OpenFile("/d/t-0/00000000000000000000"+name, vfs.ReadWrite, 0)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := f.Size()
		if err := f.Truncate(n + 1200); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, clean := range []bool{true, false} {
		o.Clean, o.RecoveryPoint = clean, 18
		l, rec := open(t, o)
		if n := l.act.offsets.len(); n != 2 {
			t.Fatalf("clean %t: %d index entries, want 2 (%+v)", clean, n, rec)
		}
		checkDense(t, readAll(t, l, LogEnd), 0, 18)
		l.Close(false)
	}
}

// DETAILS 24
func TestRoll(t *testing.T) {
	hour := time.Hour.Milliseconds()
	ts := t0.UnixMilli()
	tests := map[string]struct {
		config Config
		times  []int64 // of batches of one record
		clock  []time.Duration
		bases  []int64
	}{
		"by size":                           {Config{SegmentBytes: 250}, []int64{ts, ts, ts, ts}, nil, []int64{0, 2}},
		"by record time":                    {Config{SegmentAge: time.Hour}, []int64{ts, ts + hour, ts + hour + 1, ts + 2*hour}, nil, []int64{0, 2}},
		"the clock does not count":          {Config{SegmentAge: time.Hour}, []int64{ts, ts + 1}, []time.Duration{0, 5 * time.Hour}, []int64{0}},
		"unless there are no timestamps":    {Config{SegmentAge: time.Hour}, []int64{-1, -1}, []time.Duration{0, 5 * time.Hour}, []int64{0, 1}},
		"older records do not roll":         {Config{SegmentAge: time.Hour}, []int64{ts, ts - 5*hour}, nil, []int64{0}},
		"full offset index":                 {Config{IndexInterval: 1, IndexBytes: 36}, []int64{ts, ts, ts, ts, ts, ts, ts}, nil, []int64{0, 5}},
		"full time index":                   {Config{IndexInterval: 1, IndexBytes: 36}, []int64{ts, ts + 1, ts + 2, ts + 3, ts + 4}, nil, []int64{0, 3}},
		"max.compaction.lag on a compacted": {Config{Compact: true, MaxCompactionLag: time.Hour}, []int64{ts, ts + hour + 1}, nil, []int64{0, 1}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			_, o := memory(t)
			o.Config = c.config
			l, _ := open(t, o)
			for i, ts := range c.times {
				a := AppendOptions{Now: t0}
				if c.clock != nil {
					a.Now = t0.Add(c.clock[i])
				}
				mustAppend(t, l, records(1, ts, 30), a)
			}
			if diff := cmp.Diff(c.bases, bases(l)); diff != "" {
				t.Fatalf("segments (-want +got):\n%s", diff)
			}
			checkDense(t, readAll(t, l, LogEnd), 0, int64(len(c.times)))
		})
	}
}

func bases(l *Log) (out []int64) {
	for _, s := range l.View().segments {
		out = append(out, s.base)
	}
	return out
}

// DETAILS 24: an offset that does not fit 31 bits behind the base rolls.
func TestRollOnOffsetOverflow(t *testing.T) {
	_, o := memory(t)
	l, _ := open(t, o)
	for _, base := range []int64{0, math.MaxInt32, math.MaxInt32 + 1, 1 << 40} {
		b := records(1, t0.UnixMilli(), 10)
		b.SetBaseOffset(base)
		b.SetLeaderEpoch(0)
		if _, err := l.AppendFollower(b, 0, t0); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int64{0, math.MaxInt32 + 1, 1 << 40}, bases(l)); diff != "" {
		t.Fatalf("segments (-want +got):\n%s", diff)
	}
}

// DETAILS 24: the jitter lets segments roll earlier, by a different time each.
func TestRollJitter(t *testing.T) {
	c := Config{SegmentAge: time.Hour, SegmentJitter: 10 * time.Minute}
	seen := map[time.Duration]bool{}
	for i := range int64(50) {
		j := jitterOf(&c, "/d/t-0", i)
		if j < 0 || j >= c.SegmentJitter {
			t.Fatalf("jitter %v", j)
		}
		seen[j] = true
	}
	if len(seen) < 40 {
		t.Fatalf("only %d different values of 50", len(seen))
	}
}

// DETAILS 25
func TestRetention(t *testing.T) {
	ts := t0.UnixMilli()
	day := 24 * time.Hour
	tests := map[string]struct {
		config Config
		times  []int64
		hw     int64
		start  int64
		now    time.Duration
		bases  []int64
	}{
		"by age":                           {Config{Delete: true, RetentionAge: day, RetentionBytes: -1}, []int64{ts, ts + 1000, ts + 2000}, 3, 0, day + 1500*time.Millisecond, []int64{2}},
		"the largest timestamp counts":     {Config{Delete: true, RetentionAge: day, RetentionBytes: -1}, []int64{ts + 5000, ts, ts}, 3, 0, day + 1500*time.Millisecond, []int64{0, 1, 2}},
		"the last segment too":             {Config{Delete: true, RetentionAge: day, RetentionBytes: -1}, []int64{ts, ts, ts}, 3, 0, 2 * day, []int64{3}},
		"never above the high watermark":   {Config{Delete: true, RetentionAge: day, RetentionBytes: -1}, []int64{ts, ts, ts}, 1, 0, 2 * day, []int64{1, 2}},
		"without timestamps the file's":    {Config{Delete: true, RetentionAge: day, RetentionBytes: -1}, []int64{-1, -1}, 2, 0, 2 * day, []int64{2}},
		"no limit":                         {Config{Delete: true, RetentionAge: -1, RetentionBytes: -1}, []int64{ts, ts}, 2, 0, 999 * day, []int64{0, 1}},
		"by size":                          {Config{Delete: true, RetentionAge: -1, RetentionBytes: 200}, []int64{ts, ts, ts, ts}, 4, 0, 0, []int64{2, 3}},
		"by size, above the watermark":     {Config{Delete: true, RetentionAge: -1, RetentionBytes: 0}, []int64{ts, ts, ts, ts}, 2, 0, 0, []int64{2, 3}},
		"below the log start":              {Config{Compact: true, RetentionAge: day, RetentionBytes: 0}, []int64{ts, ts, ts}, 3, 2, 9 * day, []int64{2}},
		"compaction keeps what is not yet": {Config{Compact: true, RetentionAge: day, RetentionBytes: 0}, []int64{ts, ts}, 2, 0, 9 * day, []int64{0, 1}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			m, o := memory(t)
			o.Config = c.config
			o.Config.SegmentBytes = 150
			o.Config.FileDeleteDelay = time.Minute
			l, _ := open(t, o)
			if err := l.BecomeLeader(0); err != nil {
				t.Fatal(err)
			}
			for _, ts := range c.times {
				mustAppend(t, l, records(1, ts, 30), AppendOptions{})
			}
			l.AdvanceHighWatermark(0, c.hw)
			if err := l.DeleteRecords(c.start, t0); err != nil {
				t.Fatal(err)
			}
			now := t0.Add(c.now)
			if _, err := l.DeleteOldSegments(now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.bases, bases(l)); diff != "" {
				t.Fatalf("segments (-want +got):\n%s", diff)
			}
			v := l.View()
			if v.LogStart != c.bases[0] || v.LogStart > v.HighWatermark {
				t.Fatalf("log start %d, high watermark %d", v.LogStart, v.HighWatermark)
			}
			left, err := l.RemoveDeleted(now.Add(time.Second))
			if err != nil || (left > 0) != (c.bases[0] > 0) {
				t.Fatalf("%d files wait for their removal, %v", left, err)
			}
			if left, err = l.RemoveDeleted(now.Add(time.Minute)); left != 0 || err != nil {
				t.Fatalf("%d files are left, %v", left, err)
			}
			names, _ := m.List("/d/t-0")
			if slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, suffixDeleted) }) {
				t.Fatalf("left: %v", names)
			}
		})
	}
}

// DETAILS 28: partition.metadata is durable before the first record is written.
func TestPartitionMetadataComesFirst(t *testing.T) {
	m, o := memory(t)
	ops := vfs.NewLog(m)
	o.FS = ops
	l, _ := open(t, o)
	id := schema.UUID{1, 2, 3}
	if err := l.SetTopicID(id); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{})
	synced, renamed, dir := false, false, false
	for _, op := range ops.Ops() {
		switch {
		case op.Kind == vfs.OpSync && strings.HasSuffix(op.Path, filePartition+suffixTemp):
			synced = true
		case op.Kind == vfs.OpRename && filepath.Base(op.To) == filePartition:
			renamed = synced
		case op.Kind == vfs.OpSyncDir && op.Path == "/d/t-0":
			dir = renamed
		case op.Kind == vfs.OpWrite && strings.HasSuffix(op.Path, suffixLog) && !dir:
			t.Fatalf("%v comes before the topic id is durable", op)
		}
	}
	m.Crash(nil)
	o.FS = m
	l, _ = open(t, o)
	if l.TopicID() != id {
		t.Fatalf("topic id %v after a crash", l.TopicID())
	}
	o.TopicID = schema.UUID{9}
	_, _, err := Open(o)
	var other *InconsistentTopicID
	if !errors.As(err, &other) {
		t.Fatalf("another topic's directory: %v", err)
	}
}
