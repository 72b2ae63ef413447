package storage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

var (
	codecs = record.NewCodecs()
	t0     = time.UnixMilli(1_700_000_000_000)
)

// records builds a batch of n records without a producer, the i-th at ts+i.
func records(n int, ts int64, size int) record.Batch {
	b := codecs.NewBuilder()
	for i := range n {
		b.Add(ts+int64(i), fmt.Appendf(nil, "k%d", i), bytes.Repeat([]byte{'v'}, size), nil)
	}
	return b.Bytes()
}

func open(t testing.TB, o Options) (*Log, Recovery) {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "t-0")
	}
	if o.Now.IsZero() {
		o.Now = t0
	}
	o.Topic = "t"
	l, rec, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l, rec
}

func mustAppend(t testing.TB, l *Log, b record.Batch, a AppendOptions) Appended {
	t.Helper()
	if a.Now.IsZero() {
		a.Now = t0
	}
	out, err := l.Append([]record.Batch{b}, a)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return out
}

// offsets reads batches and gives the offset of every record.
func offsets(t testing.TB, b []byte) (out []int64) {
	t.Helper()
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			t.Fatalf("read bytes: %v", err)
		}
		if err := batch.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		for i := range batch.LastOffsetDelta() + 1 {
			out = append(out, batch.BaseOffset()+int64(i))
		}
		b = rest
	}
	return out
}

// readAll reads the log from start to bound.
func readAll(t testing.TB, l *Log, upTo Bound) (out []byte) {
	t.Helper()
	v := l.View()
	for at := v.LogStart; ; {
		s, err := v.Read(at, 4096, upTo, true)
		if err != nil {
			t.Fatalf("Read %d: %v", at, err)
		}
		if s.Size == 0 {
			return out
		}
		b, err := s.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		o := offsets(t, b)
		at = o[len(o)-1] + 1
		out = append(out, b...)
	}
}

func checkDense(t testing.TB, b []byte, from, to int64) {
	t.Helper()
	got := offsets(t, b)
	if int64(len(got)) != to-from {
		t.Fatalf("%d records, want [%d, %d)", len(got), from, to)
	}
	for i, o := range got {
		if o != from+int64(i) {
			t.Fatalf("record %d has offset %d, want %d", i, o, from+int64(i))
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "t-0")
	o := Options{Dir: dir, Config: Config{SegmentBytes: 20_000}}
	l, _ := open(t, o)
	for i := range 100 {
		mustAppend(t, l, records(5, t0.UnixMilli()+int64(i), 100), AppendOptions{LeaderEpoch: 3})
	}
	if l.SegmentCount() < 3 {
		t.Fatalf("%d segments", l.SegmentCount())
	}
	checkDense(t, readAll(t, l, LogEnd), 0, 500)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	for _, clean := range []bool{true, false} {
		o.Clean, o.RecoveryPoint = clean, 500
		l, rec := open(t, o)
		t.Logf("%+v", rec)
		if v := l.View(); v.LogEnd != 500 {
			t.Fatalf("log end %d", v.LogEnd)
		}
		checkDense(t, readAll(t, l, LogEnd), 0, 500)
		if err := l.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// What an append and a read allocate does not depend on the number of records.
func TestAllocations(t *testing.T) {
	for _, n := range []int{1, 5000} {
		l, _ := open(t, Options{})
		list := []record.Batch{records(n, t0.UnixMilli(), 20)}
		appends := testing.AllocsPerRun(200, func() {
			if _, err := l.Append(list, AppendOptions{Now: t0}); err != nil {
				t.Fatal(err)
			}
		})
		reads := testing.AllocsPerRun(200, func() {
			s, err := l.View().Read(int64(n), 1<<20, LogEnd, true)
			if err != nil {
				t.Fatal(err)
			}
			s.Release()
		})
		if appends > 3 || reads > 2 {
			t.Fatalf("%d records: %v allocations an append, %v a read", n, appends, reads)
		}
		l.Close(false)
	}
}

// Batches of one append are written at once, and nothing else is done to the disk.
func TestOneWriteForARun(t *testing.T) {
	m, o := memory(t)
	ops := vfs.NewLog(m)
	o.FS = ops
	l, _ := open(t, o)
	ops.Reset()
	var list []record.Batch
	size := 0
	for range 10 {
		list = append(list, records(3, t0.UnixMilli(), 50))
		size += len(list[0])
	}
	out, err := l.Append(list, AppendOptions{Now: t0, Origin: Coordinator})
	if err != nil || out.FirstOffset != 0 || out.LastOffset != 29 {
		t.Fatalf("%+v, %v", out, err)
	}
	if all := ops.Ops(); len(all) != 1 || all[0].Kind != vfs.OpWrite || all[0].Length != int64(size) {
		t.Fatalf("%v", all)
	}
	checkDense(t, readAll(t, l, LogEnd), 0, 30)
}

// A read at the log's end needs no look into a file.
func TestTailReadReadsNothing(t *testing.T) {
	m, o := memory(t)
	ops := vfs.NewLog(m)
	o.FS = ops
	l, _ := open(t, o)
	for range 50 {
		out := mustAppend(t, l, records(3, t0.UnixMilli(), 500), AppendOptions{})
		ops.Reset()
		s, err := l.View().Read(out.FirstOffset, 1<<20, LogEnd, true)
		if err != nil || s.Size == 0 {
			t.Fatal(s.Size, err)
		}
		s.Release()
		if all := ops.Ops(); len(all) > 0 {
			t.Fatalf("%v", all)
		}
	}
}

func TestTooLarge(t *testing.T) {
	_, o := memory(t)
	o.Config = Config{MaxMessageBytes: 500, SegmentBytes: 1000}
	l, _ := open(t, o)
	var large *TooLarge
	if _, err := tryAppend(l, records(1, 0, 600), AppendOptions{}); !errors.As(err, &large) || large.Segment || large.Max != 500 {
		t.Fatalf("%v", err)
	}
	if _, err := tryAppend(l, records(1, 0, 1200), AppendOptions{Origin: RaftLeader}); !errors.As(err, &large) || !large.Segment {
		t.Fatalf("%v", err)
	}
	if _, err := tryAppend(l, records(1, 0, 700), AppendOptions{Origin: RaftLeader}); err != nil {
		t.Fatalf("%v", err)
	}
}

// LogAppendTime rewrites type, largest timestamp and checksum, and tells the time.
func TestLogAppendTime(t *testing.T) {
	_, o := memory(t)
	o.Config = Config{LogAppendTime: true}
	l, _ := open(t, o)
	out := mustAppend(t, l, records(3, 5, 10), AppendOptions{})
	if out.LogAppendTime != t0.UnixMilli() {
		t.Fatalf("%+v", out)
	}
	b := record.Batch(readAll(t, l, LogEnd)) // compares the checksum
	if b.TimestampType() != record.LogAppendTime || b.MaxTimestamp() != t0.UnixMilli() {
		t.Fatalf("%v", b)
	}
}
