package logdir

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// always permits.
func always(int) bool { return true }

// moved goes on with all moves until nothing moves any more.
func (r *rig) moved() {
	r.t.Helper()
	for range 1000 {
		r.d.moveAll(always)
		if len(r.d.movesOf(nil)) == 0 {
			return
		}
	}
	r.t.Fatalf("the moves do not end\n%s", r.said.String())
}

// values reads the records of a log, from its start to its end.
func values(t testing.TB, l *storage.Log) (out []string) {
	t.Helper()
	v := l.View()
	for at := v.LogStart; at < v.LogEnd; {
		s, err := v.Read(at, 1<<20, storage.LogEnd, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Bytes()
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			if err == nil {
				err = batch.CheckCRC()
			}
			if err != nil {
				t.Fatal(err)
			}
			rs, err := codecs.Records(batch)
			if err != nil {
				t.Fatal(err)
			}
			var x record.Record
			more, err := rs.Next(&x)
			for ; more; more, err = rs.Next(&x) {
				if batch.BaseOffset()+int64(x.OffsetDelta) >= v.LogStart {
					out = append(out, string(x.Value))
				}
			}
			if rs.Close(); err != nil {
				t.Fatal(err)
			}
			at, b = batch.LastOffset()+1, rest
		}
	}
	return out
}

// A log moves: its files are in the other directory, what is known of it goes with it, the old ones are removed.
func TestMove(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	l := r.create("t")
	r.append(l, 10)
	if err := l.DeleteRecords(4, r.now()); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Move("t", topic("t"), 0, "/b/"); err != nil {
		t.Fatal(err)
	}
	r.want("before", []any{l.Dir(), r.list("/a")}, []any{"/a/t-0", []string{"t-0"}})
	info := r.d.Info()[1].Logs
	if len(info) != 1 || !info[0].Future || info[0].Lag != 10 || !strings.HasSuffix(r.list("/b")[0], suffixFuture) {
		t.Fatalf("%+v %v", info, r.list("/b"))
	}
	r.moved()
	r.append(l, 3)
	r.want("after", []any{l.Dir(), r.list("/b"), l.View().LogStart, l.View().LogEnd, l.View().HighWatermark, r.d.Log(topic("t"), 0) == l},
		[]any{"/b/t-0", []string{"t-0"}, int64(4), int64(13), int64(13), true})
	r.want("checkpoints", []string{r.file("/b", checkpointFiles[recoveryPoints]), r.file("/b", checkpointFiles[startOffsets])}, []string{"0\n1\nt 0 10\n", "0\n1\nt 0 4\n"})
	r.d.bury(r.now().Add(time.Hour))
	r.want("the old one", r.list("/a"), []string{})
	for range 2 { // there and back
		if err := errors.Join(r.d.Move("t", topic("t"), 0, "/a"), l.Flush(13)); err != nil {
			t.Fatal(err)
		}
		r.moved()
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		r.moved()
	}
	r.close(1)
	r.open()
	r.want("after a start", []any{len(values(t, r.d.Log(topic("t"), 0))), r.d.Log(topic("t"), 0).Dir()}, []any{9, "/b/t-0"})
}

// What cannot move, and why.
func TestMoveRefuses(t *testing.T) {
	r := newRig(t, "/a", "/b", "/c").open()
	r.append(r.create("t"), 1)
	long := strings.Repeat("x", 230)
	move := func(name, dir string) error { return r.d.Move(name, topic(name), 0, dir) }
	wantError(t, move("t", "/none"), ErrNoDirectory, "/none")
	wantError(t, move(long, "/b"), ErrNameTooLong)
	r.d.SetCordoned([]string{"/b"})
	wantError(t, move("t", "/b"), ErrCordoned, "/b")
	r.d.SetCordoned(nil)
	wantError(t, move("u", "/b"), ErrUnknownLog)
	u, err := r.d.Create("u", topic("u"), 0, schema.ZeroUUID)
	if err != nil || u.Dir() != "/b/u-0" { // as Move asked
		t.Fatal(u.Dir(), err)
	}
	if err := move("t", "/a"); err != nil { // where it is
		t.Fatal(err)
	}
	r.d.diskFailed(r.d.dirs[2], syscall.EIO)
	wantError(t, move("t", "/c"), ErrOffline, "/c")
	wantError(t, move("t", "/b"), ErrOffline, "while a log directory is offline")
	r.want("nothing moves", len(r.d.movesOf(nil)), 0)
}

// The controller is asked before a log takes its new place, and told otherwise when it does not.
func TestMoveAsksTheController(t *testing.T) {
	r := newRig(t, "/a", "/b", "/c")
	var asked []schema.UUID
	var answer func(error)
	r.c.Assign = func(_ schema.UUID, _ int32, dir schema.UUID, done func(error)) {
		asked, answer = append(asked, dir), done
	}
	r.open()
	ids := r.d.IDs()
	l := r.create("t")
	r.append(l, 3)
	step := func() { r.d.moveAll(always); r.d.moveAll(always) }
	if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
		t.Fatal(err)
	}
	step()
	r.want("asked once", asked, ids[1:2])
	answer(errors.New("not now"))
	step()
	r.want("asked again", asked, []schema.UUID{ids[1], ids[1]})
	if err := r.d.Move("t", topic("t"), 0, "/c"); err != nil { // another mind
		t.Fatal(err)
	}
	r.want("taken back", asked, []schema.UUID{ids[1], ids[1], ids[0]})
	r.want("the first copy", []any{len(r.d.movesOf(nil)), r.d.Info()[1].Logs}, []any{1, []LogInfo(nil)})
	step()
	r.append(l, 3)
	answer(nil)
	r.moved()
	r.want("moved", []any{asked[3:], l.Dir(), len(values(t, l))}, []any{ids[2:], "/c/t-0", 6})
}

// While a log moves, MovesTo says where to. When somebody has told the controller otherwise meanwhile, the end of the move says it
// again; when not, it says nothing.
func TestMoveEndsWhereTheMetadataSays(t *testing.T) {
	for _, undone := range []bool{false, true} {
		r := newRig(t, "/a", "/b")
		var told []schema.UUID
		var assigned schema.UUID
		r.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return assigned, true }
		r.c.Assign = func(_ schema.UUID, _ int32, dir schema.UUID, done func(error)) {
			told, assigned = append(told, dir), dir
			done(nil)
		}
		r.open()
		ids := r.d.IDs()
		r.append(r.create("t"), 3)
		r.want("at rest", r.d.MovesTo(topic("t"), 0), schema.ZeroUUID)
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		r.d.moveAll(always)
		r.want("on its way", []schema.UUID{r.d.MovesTo(topic("t"), 0), assigned}, []schema.UUID{ids[1], ids[1]})
		want := ids[1:2]
		if undone {
			assigned, want = ids[0], []schema.UUID{ids[1], ids[1]}
		}
		r.moved()
		r.want("told", told, want)
		r.want("there", r.d.MovesTo(topic("t"), 0), schema.ZeroUUID)
	}
}

// Close waits neither for a copy that has far to go nor for a move that is about to end.
func TestCloseWhileLogsMove(t *testing.T) {
	for name, rate := range map[string]int64{"at a rate": 1, "at any rate": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b")
			copied := make(chan struct{})
			var once sync.Once
			r.c.Assign = func(_ schema.UUID, _ int32, _ schema.UUID, done func(error)) { done(nil) }
			r.c.MoveBytesPerSecond = rate
			r.open()
			l := r.create("t")
			value := strings.Repeat("x", 600_000) // two do not fit one piece
			for range 20 {
				if _, err := l.Append([]record.Batch{oneBatch(value, -1)}, storage.AppendOptions{Now: r.now()}); err != nil {
					t.Fatal(err)
				}
			}
			r.faults.Set(func(op vfs.Op) error {
				if op.Kind == vfs.OpWrite && strings.Contains(op.Path, suffixFuture) && strings.HasSuffix(op.Path, ".log") {
					once.Do(func() { close(copied) })
					<-r.d.stop // from here on the mover is permitted nothing
				}
				return nil
			})
			r.d.Start()
			if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
				t.Fatal(err)
			}
			<-copied
			future := r.d.movesOf(nil)[0].future
			r.close(1)
			if end := future.View().LogEnd; end > 2 {
				t.Fatalf("%d batches were copied after Close began", end)
			}
			r.open()
			r.want("it goes on moving", len(r.d.movesOf(nil)), 1)
		})
	}
}

// The mover waits for what Close holds, or has found that it can end a move: Close lets it go.
func TestCloseWhileAMoveEnds(t *testing.T) {
	for name, fail := range map[string]error{"done": nil, "failed": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b").open()
			l := r.create("t")
			r.append(l, 3)
			if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
				t.Fatal(err)
			}
			m := r.d.movesOf(nil)[0]
			r.d.wg.Go(func() { // as the mover
				<-r.d.stop
				if fail != nil {
					r.d.moveFailed(m, fail)
				} else if err := r.d.finishMove(m); !errors.Is(err, errStopped) {
					t.Error(err)
				}
			})
			r.close(1)
			r.open()
			r.want("it goes on moving", []any{len(r.d.movesOf(nil)), r.d.Info()[1].Err}, []any{1, error(nil)})
		})
	}
}

// beside has a log that is worth compacting, and calls f for the first permission that its cleaning asks for.
func (r *rig) beside(f func(l *storage.Log, bytes int) error) (*storage.Log, error) {
	r.t.Helper()
	r.c.Defaults.Compact = true
	r.open()
	l := r.create("t")
	r.append(l, 9) // of one key
	if err := l.Roll(r.now()); err != nil {
		r.t.Fatal(err)
	}
	due, err := l.CleanableOffsets(r.now())
	if err != nil {
		r.t.Fatal(err)
	}
	var once sync.Once
	_, err = l.Clean(storage.NewCleaner(r.c.Cleaner.withDefaults().memory()), storage.CleanOptions{Cleanable: due, Now: r.now(),
		Permit: func(bytes int) (err error) {
			once.Do(func() { err = f(l, bytes) })
			return err
		}})
	return l, err
}

// A log begins to move while it is compacted: it is copied when that has ended, and not as it was before.
func TestMoveBesideCleaning(t *testing.T) {
	r := newRig(t, "/a", "/b")
	done := make(chan struct{})
	l, err := r.beside(func(*storage.Log, int) error {
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		go func() { r.d.moveAll(always); close(done) }()
		select {
		case <-done:
			t.Error("the log is copied while it is compacted")
		case <-time.After(50 * time.Millisecond):
		}
		return nil // it is too far to give up
	})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	r.moved()
	r.want("moved, compacted", []any{l.Dir(), l.Cleaned(), len(values(t, l))}, []any{"/b/t-0", int64(9), 1})
}

// A cleaning gives up, whatever its rate, when its log begins to move or its disk has failed.
func TestCleaningGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		rate float64
		harm func(r *rig) error
		want error
	}{
		"nothing":         {0, func(*rig) error { return nil }, nil},
		"moves":           {0, func(r *rig) error { return r.d.Move("t", topic("t"), 0, "/b") }, storage.ErrCleaningAborted},
		"moves, slowly":   {1, func(r *rig) error { return r.d.Move("t", topic("t"), 0, "/b") }, storage.ErrCleaningAborted},
		"offline":         {0, func(r *rig) error { r.d.diskFailed(r.d.dirs[0], syscall.EIO); return nil }, storage.ErrCleaningAborted},
		"offline, slowly": {1, func(r *rig) error { r.d.diskFailed(r.d.dirs[0], syscall.EIO); return nil }, storage.ErrCleaningAborted},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b")
			r.c.Cleaner.BytesPerSecond = c.rate
			_, err := r.beside(func(l *storage.Log, bytes int) error {
				if err := c.harm(r); err != nil {
					t.Fatal(err)
				}
				r.d.cleaners.reserve(bytes, r.d.c.Now()) // others have used the rate up
				return r.d.permit(l, bytes, nil)
			})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
}

// A directory fails between the controller's consent to a move and its end: the controller hears that the log stays where it was.
func TestMoveEndsWithADirectory(t *testing.T) {
	for i, name := range []string{"from", "to"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b")
			var told []schema.UUID
			r.c.Assign = func(_ schema.UUID, _ int32, dir schema.UUID, done func(error)) { told = append(told, dir); done(nil) }
			r.open()
			ids := r.d.IDs()
			r.append(r.create("t"), 3)
			if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
				t.Fatal(err)
			}
			r.d.moveAll(always)
			r.d.diskFailed(r.d.dirs[i], syscall.EIO)
			r.d.Abandon(ids[i])
			r.want("told", told, []schema.UUID{ids[1], ids[0]})
		})
	}
}

// A copy that cannot be made durable at the end is not trusted at the next start.
func TestCloseWithACopyThatFails(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	r.append(r.create("t"), 3)
	if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.d.copyPiece(r.d.movesOf(nil)[0]); err != nil {
		t.Fatal(err)
	}
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.Contains(op.Path, suffixFuture+"/") {
			return syscall.EIO
		}
		return nil
	})
	r.close(1)
	r.faults.Set(nil)
	r.want("markers", []bool{r.exists("/a", fileClean), r.exists("/b", fileClean)}, []bool{true, false})
	r.open()
	r.want("it goes on moving", len(r.d.movesOf(nil)), 1)
}

// What a copy has lost to retention on its way is removed after the move.
func TestMoveRemovesWhatTheCopyLost(t *testing.T) {
	r := newRig(t, "/a", "/b")
	r.c.Defaults.SegmentBytes = 3000
	r.open()
	l := r.create("t")
	r.append(l, 10)
	if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
		t.Fatal(err)
	}
	r.d.moveAll(always)
	if err := l.DeleteRecords(8, r.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOldSegments(r.now()); err != nil {
		t.Fatal(err)
	}
	r.moved()
	deleted := func() bool { return strings.Contains(r.snapshot("/b"), ".deleted") }
	r.want("before", deleted(), true)
	r.d.bury(r.now().Add(time.Hour))
	r.want("after", deleted(), false)
}

// Every operation of a move fails once: the log stays usable where it is or where it goes, unless its own disk failed; nothing is
// lost or doubled, also over the next start.
func TestMoveFails(t *testing.T) {
	for at := 1; ; at++ {
		r := newRig(t, "/a", "/b").open()
		l := r.create("t")
		r.append(l, 5)
		assigned := r.d.IDs()[0]
		r.d.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return assigned, true }
		r.c.Assigned = r.d.c.Assigned
		r.d.c.Assign = func(_ schema.UUID, _ int32, dir schema.UUID, done func(error)) { assigned = dir; done(nil) }
		n := 0
		var failed string
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpClose || op.Kind == vfs.OpUsage {
				return nil
			}
			if n++; n == at {
				failed = op.String()
				return syscall.EIO
			}
			return nil
		})
		err := r.d.Move("t", topic("t"), 0, "/b")
		for range 10 {
			r.d.moveAll(always)
		}
		r.faults.Set(nil)
		want := 5
		if _, e := l.Append([]record.Batch{oneBatch("more", -1)}, storage.AppendOptions{Now: r.now()}); e == nil {
			want = 6
		} else if r.d.Info()[0].Err == nil {
			t.Fatalf("operation %d, %s: %v: the log takes nothing more: %v", at, failed, err, e)
		}
		r.d.Close(3)
		r.open()
		l = r.d.Log(topic("t"), 0)
		if l == nil {
			t.Fatalf("operation %d, %s: the log is gone\n%s\n%s", at, failed, r.said.String(), r.snapshot("/"))
		}
		r.want(fmt.Sprintf("operation %d, %s", at, failed), len(values(t, l)), want)
		r.close(4)
		if failed == "" {
			if at < 30 {
				t.Fatalf("a move took only %d operations", at)
			}
			return
		}
	}
}

// oneBatch is a batch of one record, of an idempotent producer unless seq is negative.
func oneBatch(value string, seq int32) record.Batch {
	b := codecs.NewBuilder()
	if seq >= 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = 9, 0, seq
	}
	b.Add(time.Now().UnixMilli(), nil, []byte(value), nil)
	return b.Bytes()
}

// life is a log that moves to and fro through kills and losses of power.
type life struct {
	*rig
	rng      *rand.Rand
	assigned schema.UUID
	acked    []string // from offset 0 on
	durable  int      // so many of them were flushed
}

// TestSimMoves kills the process, or cuts the power, at random operations of a log that moves while it is written: after a kill
// every acknowledged record is there once, after a power cut every flushed one; producers are remembered, and the log lives in one
// place.
func TestSimMoves(t *testing.T) {
	seeds := 150
	if text := os.Getenv("KLAMM_SIM_SEEDS"); text != "" {
		var err error
		if seeds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range seeds {
		l := &life{rig: newRig(t, "/a", "/b", "/c"), rng: rand.New(rand.NewPCG(uint64(seed), 11))}
		l.c.Defaults.SegmentBytes = 2000
		l.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return l.assigned, l.assigned != schema.ZeroUUID }
		l.c.Assign = func(_ schema.UUID, _ int32, dir schema.UUID, done func(error)) { l.assigned = dir; done(nil) }
		l.open()
		l.assigned = l.d.DirID(l.create("t"))
		for range 4 {
			l.live()
			l.die(seed)
			if t.Failed() {
				return
			}
		}
		l.d.Close(1)
	}
}

func (l *life) live() {
	n, at := 0, 20+l.rng.IntN(400)
	l.faults.Set(func(op vfs.Op) error {
		if n++; n > at && op.Kind != vfs.OpClose {
			return syscall.EIO
		}
		return nil
	})
	log := l.d.Log(topic("t"), 0)
	for range 120 {
		switch l.rng.IntN(8) {
		case 0:
			_ = l.d.Move("t", topic("t"), 0, []string{"/a", "/b", "/c"}[l.rng.IntN(3)])
		case 1, 2:
			l.d.moveAll(func(int) bool { return l.rng.IntN(3) > 0 })
		case 3:
			if log.Flush(log.View().LogEnd) == nil {
				l.durable = len(l.acked)
			}
		case 4:
			l.d.checkpointAll(l.rng.IntN(checkpointKinds))
			l.d.bury(time.Now().Add(time.Duration(l.rng.IntN(3)) * time.Minute))
		default:
			value := fmt.Sprint("v", len(l.acked), strings.Repeat(".", l.rng.IntN(300)))
			if _, err := log.Append([]record.Batch{oneBatch(value, int32(len(l.acked)))}, storage.AppendOptions{Now: time.Now()}); err == nil {
				l.acked = append(l.acked, value)
				log.SetHighWatermark(log.View().LogEnd)
			}
		}
	}
}

// die ends a life and looks at what the next one finds.
func (l *life) die(seed int) {
	l.t.Helper()
	l.faults.Set(func(vfs.Op) error { return syscall.EIO })
	power := l.rng.IntN(3) == 0
	_ = l.d.Close(-1)
	l.faults.Set(nil)
	if power {
		l.mem.Crash(l.rng)
	}
	if err := l.opened(l.rng.Int64N(3000)); err != nil {
		l.t.Fatalf("seed %d: %v", seed, err)
	}
	l.recoverAll()
	log := l.d.Log(topic("t"), 0)
	if log == nil {
		l.t.Fatalf("seed %d: the log is gone\n%s\n%s", seed, l.said.String(), strings.Join(append(append(l.list("/a"), l.list("/b")...), l.list("/c")...), " "))
	}
	got := values(l.t, log)
	least := len(l.acked)
	if power {
		least = l.durable
	}
	if len(got) < least || len(got) > len(l.acked)+1 || !slices.Equal(got[:min(len(got), len(l.acked))], l.acked[:min(len(got), len(l.acked))]) {
		i := 0
		for i < min(len(got), len(l.acked)) && got[i] == l.acked[i] {
			i++
		}
		l.t.Fatalf("seed %d: power cut %v: %d records, %d of them right, %d were acknowledged, %d flushed: %.2000q\n%s", seed, power, len(got), i, len(l.acked), l.durable,
			got[max(i-1, 0):], l.said.String())
	}
	l.acked = got
	l.durable = min(l.durable, len(got))
	if len(got) > 0 { // the producer is remembered: the same again is a duplicate
		a, err := log.Append([]record.Batch{oneBatch(got[len(got)-1], int32(len(got)-1))}, storage.AppendOptions{Now: time.Now(), Origin: storage.Client})
		if err != nil || !a.Duplicate {
			l.t.Fatalf("seed %d: a repeated batch: %+v, %v", seed, a, err)
		}
	}
	places := 0
	for _, dir := range []string{"/a", "/b", "/c"} {
		for _, name := range l.list(dir) {
			if _, k := parseName(name); k == kindLog {
				places++
			}
		}
	}
	if places != 1 {
		l.t.Fatalf("seed %d: the log is in %d places\n%s", seed, places, l.said.String())
	}
}
