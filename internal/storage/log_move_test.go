package storage

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// mover is a log and its future log.
type mover struct {
	t         *testing.T
	fs        *vfs.Mem
	l, future *Log
}

func newMover(t *testing.T, c Config) *mover {
	m := &mover{t: t, fs: vfs.NewMem(nil)}
	for _, dir := range []string{"/a", "/b"} {
		m.fs.MkdirAll(dir, 0o755)
	}
	m.fs.SyncDir("/")
	m.l, _ = open(t, Options{FS: m.fs, Dir: "/a/t-0", Config: c})
	m.future, _ = open(t, Options{FS: m.fs, Dir: "/b/t-0.x-future", Config: c})
	return m
}

func (m *mover) copy() {
	m.t.Helper()
	for {
		_, behind, err := m.l.Copy(m.future, 4000, t0)
		if err != nil {
			m.t.Fatal(err)
		}
		if behind == 0 {
			return
		}
	}
}

func (m *mover) move(tail int) error {
	_, err := m.l.MoveTo(Move{Future: m.future, Dir: "/b/t-0", Old: "/a/t-0.x-delete", Tail: tail, Now: t0, Ready: func(int64) error { return nil }})
	return err
}

// What a log knows beside its records goes with it: an open transaction and where it holds the stable offset, producers whose batches
// retention took, epochs without records, the log's start, a verification under way. Readers that began before go on.
func TestMoveTo(t *testing.T) {
	m := newMover(t, Config{SegmentBytes: 5000})
	l := m.l
	if err := l.BecomeLeader(3); err != nil {
		t.Fatal(err)
	}
	produce := func(pid int64, seq int32, txn bool, guard Guard) {
		t.Helper()
		b := codecs.NewBuilder()
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = pid, 0, seq, txn
		b.Add(t0.UnixMilli(), []byte("k"), make([]byte, 500), nil)
		mustAppend(t, l, b.Bytes(), AppendOptions{LeaderEpoch: l.View().LeaderEpoch, Guard: guard})
		l.AdvanceHighWatermark(l.View().LeaderEpoch, l.View().LogEnd)
	}
	produce(1, 0, false, 0) // of this one only the producer will be left
	for seq := range int32(30) {
		produce(2, seq, false, 0)
	}
	if err := l.DeleteRecords(12, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOldSegments(t0); err != nil {
		t.Fatal(err)
	}
	produce(3, 0, true, 0) // opens a transaction
	produce(2, 30, false, 0)
	if err := l.BecomeLeader(5); err != nil { // an epoch without records
		t.Fatal(err)
	}
	before := l.View()
	slice, err := before.Read(before.LogStart, 1<<20, LogEnd, true)
	if err != nil {
		t.Fatal(err)
	}
	want := readAll(t, l, LogEnd)
	m.copy()
	produce(2, 31, false, 0)
	produce(2, 32, false, 0)
	guard, err := l.StartVerification(4, 0, 0, false, t0)
	if err != nil || guard == 0 {
		t.Fatal(guard, err)
	}
	if err := m.move(0); !errors.Is(err, ErrBehind) {
		t.Fatalf("a move that is too far behind: %v", err)
	}
	if err := m.move(1 << 20); err != nil {
		t.Fatal(err)
	}
	if l.Dir() != "/b/t-0" {
		t.Fatal(l.Dir())
	}
	if b, err := slice.Bytes(); err != nil || len(b) == 0 { // of the old files
		t.Fatal(err)
	}
	slice.Release()
	if s, err := before.Read(before.LogStart, 1<<20, LogEnd, true); err != nil || s.Size == 0 { // and with the old view
		t.Fatal(err)
	} else {
		s.Release()
	}
	produce(4, 0, true, guard)
	check := func(l *Log, stable int64) {
		t.Helper()
		v := l.View()
		got := readAll(t, l, LogEnd)
		if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
			t.Fatal(diff)
		}
		if v.LogStart != 12 || v.LastStable != stable {
			t.Fatalf("start %d, stable %d", v.LogStart, v.LastStable)
		}
		if s, err := v.Read(stable-1, 1<<20, LastStable, true); err != nil || s.Size == 0 {
			t.Fatal(err)
		} else {
			o := offsets(t, must(s.Bytes()))
			if s.Release(); o[len(o)-1] != stable-1 {
				t.Fatalf("up to the stable offset %d: %v", stable, o)
			}
		}
		var producers []int64
		for _, p := range l.Producers(t0) {
			producers = append(producers, p.ProducerID)
		}
		if diff := cmp.Diff([]int64{1, 2, 3, 4}, producers); diff != "" {
			t.Fatal(diff)
		}
		if e, ok := l.LatestEpoch(); !ok || e != 5 {
			t.Fatal(e)
		}
	}
	check(l, 31)
	end := l.View().LogEnd
	// A crash behind the move: the copy was durable before the names changed.
	m.fs.Crash(nil)
	again, rec := open(t, Options{FS: m.fs, Dir: "/b/t-0", Config: Config{SegmentBytes: 5000}, RecoveryPoint: end - 1, LogStartOffset: 12, HighWatermark: end - 1})
	if got := again.View().LogEnd; got != end-1 {
		t.Fatalf("after a crash %d of %d, %+v", got, end, rec)
	}
	if n := again.ProducerCount(); n != 3 { // what was appended behind the move was not flushed
		t.Fatal(n)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A follower that truncates its log and takes other records has its future log follow, however they compare.
func TestRejoin(t *testing.T) {
	m := newMover(t, Config{SegmentBytes: 3000})
	lead := func(epoch int32, n int) {
		t.Helper()
		if err := m.l.BecomeLeader(epoch); err != nil {
			t.Fatal(err)
		}
		for range n {
			mustAppend(t, m.l, records(1, t0.UnixMilli(), 200), AppendOptions{LeaderEpoch: epoch})
		}
	}
	same := func() {
		t.Helper()
		m.copy()
		if diff := cmp.Diff(readAll(t, m.l, LogEnd), readAll(t, m.future, LogEnd)); diff != "" {
			t.Fatal(diff)
		}
	}
	lead(1, 10)
	lead(2, 20)
	same()
	for _, c := range []struct {
		to    int64
		epoch int32
		n     int
	}{{25, 3, 20}, {12, 4, 3}, {5, 6, 40}, {0, 7, 5}} {
		if err := m.l.Truncate(c.to, t0); err != nil {
			t.Fatal(err)
		}
		lead(c.epoch, c.n)
		same()
	}
	m.l.SetHighWatermark(m.l.View().LogEnd) // retention overtakes
	lead(8, 50)
	m.l.SetHighWatermark(m.l.View().LogEnd)
	if err := m.l.DeleteRecords(30, t0); err != nil {
		t.Fatal(err)
	}
	same()
}

// A flipped bit is found when it is copied, with its place, and the log stays where it is.
func TestCopyFindsDamage(t *testing.T) {
	m := newMover(t, Config{})
	var at int64
	for range 20 {
		at = m.l.Size()
		mustAppend(t, m.l, records(1, t0.UnixMilli(), 200), AppendOptions{})
	}
	name := filepath.Join("/a/t-0", fileName(0, suffixLog))
	f, err := m.fs.OpenFile(name, vfs.ReadWrite, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{'x'}, at+100)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = m.l.Copy(m.future, 1<<20, t0)
	var disk *StorageError
	var corrupt *record.Corrupt
	if !errors.As(err, &disk) || !errors.As(err, &corrupt) || disk.Dir != "/a/t-0" || disk.File != fileName(0, suffixLog) || disk.Offset != at {
		t.Fatalf("%v, want position %d", err, at)
	}
}
