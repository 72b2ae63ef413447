package storage

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// withAborted is a log with an aborted transaction in its first segment, closed cleanly.
func withAborted(t *testing.T) (*vfs.Mem, Options) {
	t.Helper()
	m, o := memory(t)
	o.Config = Config{IndexInterval: 300}
	l, _ := open(t, o)
	mustAppend(t, l, idempotent(1, 0, 0, 10, true), AppendOptions{})
	mustAppend(t, l, marker(1, 0, record.Abort, 0), AppendOptions{Origin: Coordinator})
	for i := range 5 {
		mustAppend(t, l, idempotent(2, 0, int32(i*10), 10, false), AppendOptions{})
	}
	o.RecoveryPoint = l.View().LogEnd
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	return m, o
}

// The aborted transactions of a segment whose files are damaged stay known after recovery, after the next kill, and after a roll, which
// the log takes.
func TestAbortsSurviveDamage(t *testing.T) {
	remove := func(suffix string) func(*testing.T, *vfs.Mem, *Options) {
		return func(t *testing.T, m *vfs.Mem, _ *Options) {
			if err := m.Remove("/d/t-0/" + fileName(0, suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tear := func(t *testing.T, m *vfs.Mem, _ *Options) {
		change(t, m, fileName(0, suffixLog), func(f vfs.File) error {
			n, err := f.Size()
			return errors.Join(err, f.Truncate(n-5))
		})
	}
	another := func(t *testing.T, _ *vfs.Mem, o *Options) { // a segment behind it, flushed
		l, _ := open(t, *o)
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, idempotent(2, 0, 50, 10, false), AppendOptions{})
		o.RecoveryPoint = l.View().LogEnd
		if err := l.Flush(o.RecoveryPoint); err != nil {
			t.Fatal(err)
		}
		l.Close(false)
	}
	for _, c := range []struct {
		name  string
		clean bool
		do    []func(*testing.T, *vfs.Mem, *Options)
	}{
		{"no offset index", true, []func(*testing.T, *vfs.Mem, *Options){remove(suffixIndex)}},
		{"no time index", false, []func(*testing.T, *vfs.Mem, *Options){remove(suffixTimeIndex)}},
		{"torn after a clean end", true, []func(*testing.T, *vfs.Mem, *Options){tear}},
		{"torn, no index, below the recovery point", false, []func(*testing.T, *vfs.Mem, *Options){another, remove(suffixIndex), tear}},
	} {
		for _, roll := range []bool{false, true} {
			m, o := withAborted(t)
			for _, f := range c.do {
				f(t, m, &o)
			}
			o.Clean = c.clean
			l, _ := open(t, o)
			o.Clean, o.RecoveryPoint = false, l.RecoveryPoint()
			if roll {
				if err := l.Roll(t0); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				mustAppend(t, l, idempotent(3, 0, 0, 10, false), AppendOptions{})
			}
			l.Close(false)
			l, _ = open(t, o)
			aborted, err := l.View().Aborted(0, 5)
			if err != nil || len(aborted) != 1 {
				t.Fatalf("%s, roll %v: %v, %v", c.name, roll, aborted, err)
			}
		}
	}
}

// A file of an index that cannot be opened for the number of open ones ends Open: the index is not taken for a damaged one.
func TestTooManyFilesEndOpen(t *testing.T) {
	m, o := withAborted(t)
	for _, suffix := range []string{suffixIndex, suffixTimeIndex, suffixTxnIndex} {
		o.FS = vfs.NewFaults(m, func(op vfs.Op) error {
			if op.Kind == vfs.OpOpen && strings.HasSuffix(op.Path, suffix) {
				return syscall.EMFILE
			}
			return nil
		})
		if _, _, err := Open(o); !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("%s: %v", suffix, err)
		}
	}
	o.FS = m
	l, rec := open(t, o)
	if aborted, err := l.View().Aborted(0, 5); err != nil || len(aborted) != 1 || rec.IndexesRebuilt > 0 {
		t.Fatalf("%v, %v, %+v", aborted, err, rec)
	}
}

// A segment that is sealed where all is durable has its largest timestamp in its index also after a kill.
func TestTimesAfterARoll(t *testing.T) {
	for batches := 8; batches < 14; batches++ {
		for _, restarted := range []bool{false, true} {
			_, o := memory(t)
			o.Config = Config{IndexInterval: 300}
			l, _ := open(t, o)
			latest := t0
			for i := range batches {
				latest = t0.Add(time.Duration(i) * time.Hour)
				b := codecs.NewBuilder()
				for range 5 {
					b.Add(latest.UnixMilli(), nil, []byte("0123456789"), nil)
				}
				mustAppend(t, l, b.Bytes(), AppendOptions{})
			}
			o.RecoveryPoint = l.View().LogEnd
			if restarted {
				if err := l.Close(true); err != nil {
					t.Fatal(err)
				}
				l, _ = open(t, o)
			} else if err := l.Flush(o.RecoveryPoint); err != nil {
				t.Fatal(err)
			}
			if err := l.Roll(t0); err != nil {
				t.Fatal(err)
			}
			l.Close(false)
			l, _ = open(t, o)
			r, found, err := l.OffsetForTimestamp(latest.UnixMilli())
			want(t, fmt.Sprintf("%d batches, restarted %v", batches, restarted), fmt.Sprint(r.Offset, found, err), fmt.Sprint((batches-1)*5, true, nil))
		}
	}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %s, expected %s", what, got, want)
	}
}

// Producers whose records were deleted are known after a kill as far as their batches are still there.
func TestProducersBelowTheStart(t *testing.T) {
	_, o := memory(t)
	l, _ := open(t, o)
	mustAppend(t, l, idempotent(1, 0, 0, 10, false), AppendOptions{})
	mustAppend(t, l, idempotent(2, 0, 0, 10, true), AppendOptions{})
	l.SetHighWatermark(20)
	if err := l.DeleteRecords(20, t0); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, idempotent(3, 0, 0, 10, false), AppendOptions{})
	l.Close(false)
	o.LogStartOffset, o.HighWatermark = 20, 30
	l, _ = open(t, o)
	a, err := l.Append([]record.Batch{idempotent(1, 0, 0, 10, false)}, AppendOptions{Now: t0, Origin: Client})
	if err != nil || !a.Duplicate || l.ProducerCount() != 3 || l.View().LastStable != 20 {
		t.Fatalf("%+v, %v; %d producers, %+v", a, err, l.ProducerCount(), l.View())
	}
}

// The snapshot at the recovery point is used also where a segment has begun since.
func TestSnapshotBelowARoll(t *testing.T) {
	_, o := filled(t, 1)
	l, _ := open(t, o)
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	for next := int32(40); next < 60; next += 10 {
		l, _ = open(t, o)
		mustAppend(t, l, idempotent(1, 0, next, 10, false), AppendOptions{LeaderEpoch: 9})
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
		l.Close(false)
	}
	l, rec := open(t, o)
	if rec.ProducersRebuiltFrom >= 0 || l.View().LogEnd != 60 || l.ProducerCount() != 1 {
		t.Fatalf("%+v, %+v", rec, l.View())
	}
}

// What recovery cuts from an index stays away, though nothing is flushed before a roll and the power fails: also where the process was
// killed between the cut and everything that could have made it durable.
func TestCutIndexesStayCut(t *testing.T) {
	for _, killed := range []bool{false, true} {
		m, o := filled(t, 1)
		name := fileName(0, suffixIndex)
		var size int64
		change(t, m, name, func(f vfs.File) (err error) { // an entry of a batch that was lost
			if size, err = f.Size(); err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0, 0, 0, 50, 0, 0, 99, 0}, size)
			return errors.Join(err, f.Sync())
		})
		if killed {
			l, _ := open(t, o)
			l.Close(false)
		}
		l, _ := open(t, o)
		if err := l.Roll(t0); err != nil {
			t.Fatal(err)
		}
		if err := m.SyncDir("/d/t-0"); err != nil { // the system writes names when it likes
			t.Fatal(err)
		}
		m.Crash(nil)
		l, _ = open(t, o)
		if v := l.View(); v.LogEnd != 40 || len(v.segments) != 2 {
			t.Fatalf("%+v", v)
		}
		info, err := m.Stat("/d/t-0/" + name)
		if err != nil || info.Size() != size {
			t.Fatalf("killed %v: the index has %d bytes, it had %d: %v", killed, info.Size(), size, err)
		}
	}
}
