package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// filled makes a log of segments of four batches of ten records each, flushed and abandoned as a crash leaves it.
func filled(t *testing.T, segments int) (*vfs.Mem, Options) {
	t.Helper()
	m, o := memory(t)
	o.Config = Config{IndexInterval: 300}
	l, _ := open(t, o)
	for i := range segments * 4 {
		if i%4 == 0 {
			if err := l.Roll(t0); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, l, idempotent(1, 0, int32(i*10), 10, false), AppendOptions{LeaderEpoch: int32(i / 6)})
	}
	end := l.View().LogEnd
	if err := l.Flush(end); err != nil {
		t.Fatal(err)
	}
	o.RecoveryPoint = end
	l.Close(false)
	return m, o
}

// change edits a file.
func change(t *testing.T, m vfs.FS, name string, edit func(vfs.File) error) {
	t.Helper()
	f, err := m.OpenFile("/d/t-0/"+name, vfs.ReadWrite|vfs.Create, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(edit(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A sealed segment below the recovery point is not even opened: only names and sizes are asked.
func TestRecoveryReadsOnlyPastTheRecoveryPoint(t *testing.T) {
	m, o := filled(t, 5)
	ops := vfs.NewLog(m)
	o.FS = ops
	l, rec := open(t, o)
	for _, op := range ops.Ops(vfs.OpOpen, vfs.OpCreate, vfs.OpRead, vfs.OpWrite, vfs.OpTruncate) {
		if strings.Contains(op.Path, fileName(160, "")) || strings.HasSuffix(op.Path, fileEpochs) || strings.HasSuffix(op.Path, filePartition) ||
			strings.HasSuffix(op.Path, suffixSnapshot) {
			continue
		}
		t.Errorf("%v", op)
	}
	if rec.SegmentsScanned != 1 || rec.BytesScanned >= l.Size()/5 {
		t.Fatalf("%+v", rec)
	}
	if v := l.View(); v.LogEnd != 200 || l.ProducerCount() != 1 {
		t.Fatalf("end %d, %d producers", v.LogEnd, l.ProducerCount())
	}
}

// Reading is asked for what is scanned, and for the headers from which the producers' state is rebuilt. Wherever it ends Open, the next
// one finds all.
func TestReadingEndsOpen(t *testing.T) {
	stop := errors.New("stop")
	for _, point := range []int64{0, 50, 200} {
		asked, stops := 0, 0
		for at := 0; ; at++ {
			m, o := filled(t, 5)
			if err := m.Remove("/d/t-0/" + fileName(0, suffixIndex)); err != nil { // that segment is read below the recovery point, too
				t.Fatal(err)
			}
			o.RecoveryPoint = point
			n := 0
			o.Reading = func(bytes int) error {
				if bytes <= 0 {
					t.Fatalf("asked for %d bytes", bytes)
				}
				if n++; n > at {
					return stop
				}
				return nil
			}
			l, rec, err := Open(o)
			if err != nil {
				if stops++; !errors.Is(err, stop) || rec.BytesDue <= 0 {
					t.Fatalf("%v, %+v", err, rec)
				}
				o.Reading = nil
				l, rec = open(t, o)
			} else {
				asked = n
			}
			if v := l.View(); v.LogEnd != 200 || v.LogStart != 0 || l.ProducerCount() != 1 || rec.BytesDue < rec.BytesScanned {
				t.Fatalf("after %d: %+v, %+v", at, v, rec)
			}
			mustAppend(t, l, idempotent(1, 0, 200, 10, false), AppendOptions{LeaderEpoch: 9})
			if err == nil {
				break
			}
		}
		if stops != asked || asked < 2 {
			t.Fatalf("recovery point %d: stopped %d times of %d", point, stops, asked)
		}
	}
}

func TestRecovery(t *testing.T) {
	size := int64(len(idempotent(1, 0, 0, 10, false)))
	flip := func(pos int64) func(vfs.File) error {
		return func(f vfs.File) error {
			var b [1]byte
			if _, err := f.ReadAt(b[:], pos); err != nil {
				return err
			}
			b[0] ^= 0xff
			_, err := f.WriteAt(b[:], pos)
			return err
		}
	}
	cut := func(n int64) func(vfs.File) error {
		return func(f vfs.File) error {
			have, err := f.Size()
			if err != nil {
				return err
			}
			return f.Truncate(have - n)
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, m vfs.FS)
		rp     int64
		end    int64
		bases  []int64
		check  func(t *testing.T, r Recovery)
	}{
		{"nothing wrong", func(*testing.T, vfs.FS) {}, 0, 120, []int64{0, 40, 80}, nil},
		{"torn tail", func(t *testing.T, m vfs.FS) { change(t, m, fileName(80, suffixLog), cut(5)) }, 80, 110, []int64{0, 40, 80},
			func(t *testing.T, r Recovery) {
				var at *StorageError
				if !errors.As(r.Corruption, &at) || at.File != fileName(80, suffixLog) || at.Offset != 3*size {
					t.Fatalf("corruption %v", r.Corruption)
				}
			}},
		{"zeros behind the end", func(t *testing.T, m vfs.FS) { change(t, m, fileName(80, suffixLog), cut(-5000)) }, 80, 120, []int64{0, 40, 80}, nil},
		{"a corrupt batch in a sealed segment", func(t *testing.T, m vfs.FS) { change(t, m, fileName(40, suffixLog), flip(size+100)) }, 40, 50, []int64{0, 40},
			func(t *testing.T, r Recovery) {
				if r.SegmentsDeleted != 1 || r.BytesTruncated != 3*size {
					t.Fatalf("%+v", r)
				}
			}},
		{"a corrupt batch below the recovery point stays", func(t *testing.T, m vfs.FS) { change(t, m, fileName(40, suffixLog), flip(size+100)) }, 80, 120, []int64{0, 40, 80}, nil},
		{"no offset index", func(t *testing.T, m vfs.FS) { m.Remove("/d/t-0/" + fileName(40, suffixIndex)) }, 120, 120, []int64{0, 40, 80},
			func(t *testing.T, r Recovery) {
				if r.IndexesRebuilt != 1 {
					t.Fatalf("%+v", r)
				}
			}},
		{"no time index", func(t *testing.T, m vfs.FS) { m.Remove("/d/t-0/" + fileName(80, suffixTimeIndex)) }, 120, 120, []int64{0, 40, 80}, nil},
		{"insane index", func(t *testing.T, m vfs.FS) { change(t, m, fileName(0, suffixIndex), cut(3)) }, 120, 120, []int64{0, 40, 80},
			func(t *testing.T, r Recovery) {
				if r.IndexesRebuilt != 1 {
					t.Fatalf("%+v", r)
				}
			}},
		{"corrupt snapshots", func(t *testing.T, m vfs.FS) {
			change(t, m, fileName(40, suffixSnapshot), flip(20))
			change(t, m, fileName(80, suffixSnapshot), flip(20))
		}, 120, 120, []int64{0, 40, 80}, nil},
		{"deleted, cleaned, temporary and orphaned files", func(t *testing.T, m vfs.FS) {
			for _, name := range []string{fileName(0, ".log.deleted"), fileName(40, ".log.cleaned"), fileName(40, ".index.cleaned"), fileEpochs + ".tmp",
				fileName(77, suffixIndex), fileName(77, suffixSnapshot)} {
				change(t, m, name, func(f vfs.File) error { _, err := f.WriteAt([]byte("x"), 0); return err })
			}
		}, 120, 120, []int64{0, 40, 80}, func(t *testing.T, r Recovery) {
			if r.FilesRemoved != 6 {
				t.Fatalf("%+v", r)
			}
		}},
		{"an interrupted swap is completed", func(t *testing.T, m vfs.FS) {
			for _, s := range []string{suffixLog, suffixIndex, suffixTimeIndex} {
				copyFile(t, m, fileName(40, s), fileName(40, s+suffixSwap))
			}
			change(t, m, fileName(40, suffixLog), flip(70))
		}, 120, 120, []int64{0, 40, 80}, func(t *testing.T, r Recovery) {
			if r.FilesSwapped != 3 {
				t.Fatalf("%+v", r)
			}
		}},
		{"a swap that was not complete is undone", func(t *testing.T, m vfs.FS) {
			change(t, m, fileName(0, ".log.cleaned"), func(f vfs.File) error { return nil })
			change(t, m, fileName(40, ".log.swap"), func(f vfs.File) error { _, err := f.WriteAt([]byte("nonsense"), 0); return err })
		}, 120, 120, []int64{0, 40, 80}, nil},
		{"log ends before its start", func(t *testing.T, m vfs.FS) {
			for _, base := range []int64{0, 40, 80} {
				change(t, m, fileName(base, suffixLog), func(f vfs.File) error { return f.Truncate(0) })
			}
		}, 0, 0, []int64{0}, nil},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			m, o := filled(t, 3)
			c.damage(t, m)
			o.RecoveryPoint = c.rp
			l, rec := open(t, o)
			if diff := cmp.Diff(c.bases, bases(l)); diff != "" {
				t.Fatalf("segments (-want +got):\n%s%+v", diff, rec)
			}
			if c.check != nil {
				c.check(t, rec)
			}
			if v := l.View(); v.LogEnd != c.end {
				t.Fatalf("log ends at %d, want %d: %+v", v.LogEnd, c.end, rec)
			}
			if strings.Contains(c.name, "stays") {
				return
			}
			checkDense(t, readAll(t, l, LogEnd), 0, c.end)
			if c.end > 0 {
				p := l.Producers(t0)
				if len(p) != 1 || p[0].LastSequence != int32(c.end)-1 {
					t.Fatalf("producers %+v", p)
				}
				// The log goes on where it ends, and a second start finds nothing more to do.
				mustAppend(t, l, idempotent(1, 0, int32(c.end), 10, false), AppendOptions{LeaderEpoch: 9})
			}
			if err := l.Close(true); err != nil {
				t.Fatal(err)
			}
			o.Clean = true
			_, rec = open(t, o)
			if rec.SegmentsScanned != 0 || rec.BytesTruncated != 0 || rec.ProducersRebuiltFrom >= 0 {
				t.Fatalf("a clean start after it: %+v", rec)
			}
		})
	}
}

func copyFile(t *testing.T, m vfs.FS, from, to string) {
	t.Helper()
	b, err := readWhole(m, "/d/t-0/"+from, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	change(t, m, to, func(f vfs.File) error { _, err := f.WriteAt(b, 0); return err })
}

// A log whose end lies before its start (segments were lost) begins anew at the start.
func TestLogStartBeyondEnd(t *testing.T) {
	_, o := filled(t, 2)
	o.LogStartOffset = 500
	l, rec := open(t, o)
	if v := l.View(); v.LogStart != 500 || v.LogEnd != 500 || rec.SegmentsDeleted != 2 {
		t.Fatalf("[%d, %d), %+v", v.LogStart, v.LogEnd, rec)
	}
	out := mustAppend(t, l, records(1, t0.UnixMilli(), 1), AppendOptions{})
	if out.FirstOffset != 500 {
		t.Fatalf("%+v", out)
	}
}

// After a failed write or fsync the log takes no further append, and says where it failed.
func TestFailedWrite(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		m, o := memory(t)
		broken := false
		o.FS = vfs.NewFaults(m, func(op vfs.Op) error {
			if broken && op.Kind == kind && strings.HasSuffix(op.Path, suffixLog) {
				return syscall.EIO
			}
			return nil
		})
		l, _ := open(t, o)
		mustAppend(t, l, records(5, t0.UnixMilli(), 10), AppendOptions{})
		broken = true
		_, err := tryAppend(l, records(5, t0.UnixMilli(), 10), AppendOptions{})
		if kind == vfs.OpSync {
			err = l.Flush(10)
		}
		var at *StorageError
		if !errors.As(err, &at) || !errors.Is(err, syscall.EIO) || at.File != fileName(0, suffixLog) || at.Dir != "/d/t-0" {
			t.Fatalf("%s: %v", kind, err)
		}
		broken = false
		if _, err := tryAppend(l, records(5, t0.UnixMilli(), 10), AppendOptions{}); !errors.As(err, &at) {
			t.Fatalf("%s: an append after the failure: %v", kind, err)
		}
		l.Close(true)
		l, _ = open(t, o)
		mustAppend(t, l, records(5, t0.UnixMilli(), 10), AppendOptions{})
		end := l.View().LogEnd
		checkDense(t, readAll(t, l, LogEnd), 0, end)
	}
}

func TestTruncateAndEpochs(t *testing.T) {
	_, o := filled(t, 3) // epochs 0: 0, 1: 60
	l, _ := open(t, o)
	if diff := cmp.Diff([]Epoch{{0, 0}, {1, 60}}, l.View().Epochs()); diff != "" {
		t.Fatalf("epochs (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		ask, epoch int32
		end        int64
	}{{0, 0, 60}, {1, 1, 120}, {2, NoEpoch, NoOffset}, {-1, NoEpoch, NoOffset}} {
		if e, end := l.EpochEndOffset(c.ask); e != c.epoch || end != c.end {
			t.Fatalf("epoch %d ends: %d, %d; want %d, %d", c.ask, e, end, c.epoch, c.end)
		}
	}
	if err := l.Truncate(55, t0); err != nil { // inside the batch 50..59
		t.Fatal(err)
	}
	if v := l.View(); v.LogEnd != 55 || len(v.Epochs()) != 1 || l.RecoveryPoint() > 55 {
		t.Fatalf("end %d, epochs %v, recovery point %d", v.LogEnd, v.Epochs(), l.RecoveryPoint())
	}
	checkDense(t, readAll(t, l, LogEnd), 0, 50)
	if p := l.Producers(t0); p[0].LastSequence != 49 {
		t.Fatalf("producers %+v", p)
	}
	if err := l.TruncateFully(300, t0); err != nil {
		t.Fatal(err)
	}
	if v := l.View(); v.LogStart != 300 || v.LogEnd != 300 || v.HighWatermark != 300 || len(v.Epochs()) != 0 || l.ProducerCount() != 0 {
		t.Fatalf("%+v", v)
	}
	b := records(2, t0.UnixMilli(), 5)
	b.SetBaseOffset(300)
	b.SetLeaderEpoch(7)
	if _, err := l.AppendFollower(b, 7, t0); err != nil {
		t.Fatal(err)
	}
	var gap *UnexpectedOffset
	if _, err := l.AppendFollower(b, 7, t0); !errors.As(err, &gap) {
		t.Fatalf("the same batch again: %v", err)
	}
	if err := l.BecomeLeader(6); !errors.Is(err, ErrFenced) {
		t.Fatalf("an older epoch: %v", err)
	}
	if err := l.BecomeLeader(8); err != nil {
		t.Fatal(err)
	}
	if _, err := tryAppend(l, b, AppendOptions{LeaderEpoch: 7, RequireEpoch: true}); !errors.Is(err, ErrFenced) {
		t.Fatalf("append of an older epoch: %v", err)
	}
	if before, after := l.AdvanceHighWatermark(7, 302); before != 300 || after != 300 {
		t.Fatalf("high watermark of an older epoch: %d, %d", before, after)
	}
}

// DETAILS 17: a timestamp is searched inside the batch.
func TestOffsetForTimestamp(t *testing.T) {
	_, o := memory(t)
	o.Config = Config{SegmentBytes: 3000, IndexInterval: 200}
	l, _ := open(t, o)
	if _, found, err := l.MaxTimestampOffset(); found || err != nil {
		t.Fatalf("largest timestamp of an empty log: %t, %v", found, err)
	}
	ts := t0.UnixMilli()
	for i := range 20 { // record n has the timestamp ts+n, but the youngest is in the middle
		at := ts + int64(i*10)
		if i == 12 {
			at += 1000
		}
		mustAppend(t, l, records(10, at, 20), AppendOptions{LeaderEpoch: 2})
	}
	if l.SegmentCount() < 2 {
		t.Fatal("one segment")
	}
	for _, c := range []struct {
		ask, offset int64
		found       bool
	}{{ts - 5, 0, true}, {ts, 0, true}, {ts + 1, 1, true}, {ts + 57, 57, true}, {ts + 119, 119, true}, {ts + 120, 120, true}, {ts + 1125, 125, true}, {ts + 5000, 0, false}} {
		r, found, err := l.OffsetForTimestamp(c.ask)
		if err != nil || found != c.found || found && (r.Offset != c.offset || r.LeaderEpoch != 2) {
			t.Fatalf("ts+%d: %+v %t %v, want %d", c.ask-ts, r, found, err, c.offset)
		}
	}
	if r, found, err := l.MaxTimestampOffset(); err != nil || !found || r.Offset != 129 || r.Timestamp != ts+1129 {
		t.Fatalf("largest timestamp: %+v %t %v", r, found, err)
	}
}

// A range stays readable when its segment is deleted under it, and its file goes only when the range was released.
func TestRangeOutlivesSegment(t *testing.T) {
	m, o := memory(t)
	o.Config = Config{Delete: true, RetentionAge: -1, RetentionBytes: 0, SegmentBytes: 500}
	l, _ := open(t, o)
	for range 10 {
		mustAppend(t, l, records(1, t0.UnixMilli(), 100), AppendOptions{})
	}
	l.SetHighWatermark(10)
	old := l.View()
	s, err := old.Read(0, 1<<20, LogEnd, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOldSegments(t0); err != nil {
		t.Fatal(err)
	}
	if left, err := l.RemoveDeleted(t0); left == 0 || err != nil {
		t.Fatalf("%d files wait, %v", left, err)
	}
	b, err := s.Bytes()
	if err != nil || len(offsets(t, b)) == 0 {
		t.Fatalf("%v", err)
	}
	s.Release()
	if left, err := l.RemoveDeleted(t0); left != 0 || err != nil {
		t.Fatalf("%d files wait, %v", left, err)
	}
	var out *OffsetOutOfRange
	if _, err := old.Read(0, 100, LogEnd, true); !errors.As(err, &out) {
		t.Fatalf("a view from before: %v", err)
	}
	names, _ := m.List("/d/t-0")
	if len(names) > 6 {
		t.Fatalf("%v", names)
	}
}

// Appends, reads, flushes, rolls, retention and expiry at once; for the race detector, and for what readers see.
func TestConcurrent(t *testing.T) {
	_, o := memory(t)
	o.Config = Config{SegmentBytes: 20_000, IndexInterval: 500, Delete: true, RetentionAge: -1, RetentionBytes: 200_000}
	l, _ := open(t, o)
	if err := l.BecomeLeader(1); err != nil {
		t.Fatal(err)
	}
	var appenders, others sync.WaitGroup
	stop := make(chan struct{})
	for p := range int64(3) {
		appenders.Go(func() {
			for i := range 400 {
				_, err := l.Append([]record.Batch{idempotent(p, 0, int32(i*5), 5, false)}, AppendOptions{LeaderEpoch: 1, Now: t0, RequireEpoch: true})
				if err != nil {
					t.Error(err)
					return
				}
				l.AdvanceHighWatermark(1, l.View().LogEnd)
			}
		})
	}
	loop := func(f func() error) {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	at := int64(0)
	loop(func() error {
		s, err := l.View().Read(at, 3000, HighWatermark, true)
		var out *OffsetOutOfRange
		if errors.As(err, &out) {
			at = l.View().LogStart
			return nil
		}
		if err != nil || s.Size == 0 {
			return err
		}
		defer s.Release()
		b, err := s.Bytes()
		if err != nil {
			return err
		}
		o := offsets(t, b)
		if o[0] > at {
			return fmt.Errorf("read of %d begins with %d", at, o[0])
		}
		at = o[len(o)-1] + 1
		return nil
	})
	loop(func() error { return l.Flush(l.View().LogEnd) })
	loop(func() error {
		_, err := l.DeleteOldSegments(t0)
		_, err2 := l.RemoveDeleted(t0)
		l.ExpireProducers(t0)
		l.CloseIdle()
		return errors.Join(err, err2)
	})
	loop(func() error {
		_, _, err := l.OffsetForTimestamp(t0.UnixMilli())
		l.Producers(t0)
		l.OpenFiles()
		if errors.Is(err, ErrClosed) {
			err = nil
		}
		return err
	})
	appenders.Wait()
	close(stop)
	others.Wait()
	if v := l.View(); v.LogEnd != 3*400*5 || v.HighWatermark != v.LogEnd {
		t.Fatalf("end %d, high watermark %d", v.LogEnd, v.HighWatermark)
	}
	checkDense(t, readAll(t, l, LogEnd), l.View().LogStart, l.View().LogEnd)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
}

func TestProducerExpiry(t *testing.T) {
	_, o := memory(t)
	o.ProducerIDExpiry = time.Hour
	l, _ := open(t, o)
	mustAppend(t, l, idempotent(1, 0, 0, 1, false), AppendOptions{})
	mustAppend(t, l, idempotent(2, 0, 0, 1, true), AppendOptions{})
	if n := l.ExpireProducers(t0.Add(59 * time.Minute)); n != 0 {
		t.Fatalf("%d expired early", n)
	}
	if n := l.ExpireProducers(t0.Add(time.Hour)); n != 1 || l.ProducerCount() != 1 || !l.HasOngoing(2, 0) {
		t.Fatalf("%d expired; one with an open transaction never does", n)
	}
	if !l.HasLateTransaction(t0.Add(21*time.Minute)) || l.HasLateTransaction(t0.Add(19*time.Minute)) {
		t.Fatal("late transaction")
	}
}

func TestRename(t *testing.T) {
	m, o := filled(t, 2)
	l, _ := open(t, o)
	if err := l.Rename("/d/t-0.abc-delete"); err != nil {
		t.Fatal(err)
	}
	checkDense(t, readAll(t, l, LogEnd), 0, 80)
	if err := l.Remove(); err != nil {
		t.Fatal(err)
	}
	if names, _ := m.List("/d"); len(names) != 0 {
		t.Fatalf("%v", names)
	}
	if _, err := tryAppend(l, records(1, 0, 0), AppendOptions{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append to a removed log: %v", err)
	}
}

func TestFlushDue(t *testing.T) {
	_, o := memory(t)
	o.Config = Config{FlushMessages: 10, FlushAge: time.Minute}
	l, _ := open(t, o)
	due := func(after time.Duration, want bool) {
		t.Helper()
		if got := l.FlushDue(t0.Add(after)); got != want {
			t.Fatalf("after %v: %t, want %t", after, got, want)
		}
	}
	due(time.Hour, false)
	mustAppend(t, l, records(9, 0, 1), AppendOptions{})
	due(time.Hour+time.Second, false)
	due(time.Hour+time.Minute, true)
	due(time.Hour+time.Minute+time.Second, false)
	mustAppend(t, l, records(1, 0, 1), AppendOptions{})
	due(time.Hour+time.Minute+time.Second, true)
	if err := l.Flush(10); err != nil {
		t.Fatal(err)
	}
	due(2*time.Hour, false)
}

// Apache's cleaner leaves gaps between segments. A topic that was compacted and is not any more keeps what is behind them, also
// after an unclean stop: where its cleaner's checkpoint or the gaps inside of segments tell what they are. Without either the gap
// is a loss.
func TestGapsOfCompaction(t *testing.T) {
	for name, c := range map[string]struct {
		inside  bool // a gap inside of a segment, too
		cleaned int64
		config  Config
		end     int64
	}{
		"compacted now":             {config: Config{Compact: true}, end: 30},
		"compacted once":            {cleaned: 20, end: 30},
		"compacted up to there":     {cleaned: 19, end: 5},
		"with gaps inside":          {inside: true, end: 30},
		"never compacted: it broke": {end: 5},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := memory(t)
			l, _ := open(t, o)
			follow := func(first int64, n int) {
				t.Helper()
				b := records(n, t0.UnixMilli(), 10)
				b.SetBaseOffset(first)
				if _, err := l.AppendFollower(b, 0, t0); err != nil {
					t.Fatal(err)
				}
			}
			follow(0, 3)
			if c.inside {
				follow(4, 1)
			} else {
				follow(3, 2)
			}
			l.files.Lock()
			if err := errors.Join(l.freeze(), l.roll(20, t0)); err != nil {
				t.Fatal(err)
			}
			l.thaw()
			l.files.Unlock()
			follow(20, 10)
			if err := l.Close(false); err != nil {
				t.Fatal(err)
			}
			o.Config, o.Cleaned = c.config, c.cleaned
			l, rec := open(t, o)
			if end := l.View().LogEnd; end != c.end || (rec.Corruption != nil) != (c.end == 5) {
				t.Fatalf("end %d, want %d: %+v", end, c.end, rec)
			}
		})
	}
}
