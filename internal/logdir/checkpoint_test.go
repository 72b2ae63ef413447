package logdir

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestDecodeOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"none":                {"0\n0\n", "map[]"},
		"empty file":          {"", "map[]"},
		"two":                 {"0\n2\na-b 1 5\n__x 0 9223372036854775807\n", "map[__x-0:9223372036854775807 a-b-1:5]"},
		"Windows":             {"0\r\n1\r\nt 0 5\r\n", "map[t-0:5]"},
		"blanks":              {"0\n1\nt  0\t5 \n", "map[t-0:5]"},
		"version":             {"1\n0\n", `malformed file: version "1" where 0 is expected`},
		"no count":            {"0\n", "malformed file: no count"},
		"count is no number":  {"0\nx\n", `malformed file: 0 lines where "x" are expected`},
		"too few":             {"0\n2\nt 0 5\n", `malformed file: 1 lines where "2" are expected`},
		"too many":            {"0\n0\nt 0 5\n", `malformed file: 1 lines where "0" are expected`},
		"cut within a number": {"0\n1\nt 0 51", "malformed file: the last line is cut off"},
		"cut within a name":   {"0\n1\nt", "malformed file: the last line is cut off"},
		"two fields":          {"0\n1\nt 0\n", `malformed file: line 3: "t 0"`},
		"four fields":         {"0\n1\nt 0 5 6\n", `malformed file: line 3: "t 0 5 6"`},
		"negative offset":     {"0\n1\nt 0 -1\n", `malformed file: line 3: "t 0 -1"`},
		"negative partition":  {"0\n1\nt -1 1\n", `malformed file: line 3: "t -1 1"`},
		"overflow":            {"0\n1\nt 0 9223372036854775808\n", `malformed file: line 3: "t 0 9223372036854775808"`},
		"partition overflow":  {"0\n1\nt 2147483648 1\n", `malformed file: line 3: "t 2147483648 1"`},
		"zeros":               {strings.Repeat("\x00", 20), "malformed file: the last line is cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := decodeOffsets([]byte(c.text))
			got := fmt.Sprint(o)
			if err != nil {
				got = err.Error()
				wantError(t, err, ErrMalformed)
			}
			if got != c.want {
				t.Fatalf("%s, expected %s", got, c.want)
			}
		})
	}
}

func TestOffsetsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := offsets(rapid.MapOf(rapid.Custom(func(t *rapid.T) partition {
			return partition{rapid.StringMatching(`[a-zA-Z0-9._-]{1,20}`).Draw(t, "topic"), rapid.Int32Min(0).Draw(t, "partition")}
		}), rapid.Int64Min(0)).Draw(t, "offsets"))
		b := o.encode()
		again, err := decodeOffsets(b)
		if err != nil || !maps.Equal(o, again) {
			t.Fatalf("%q: %v, %v", b, again, err)
		}
		// No prefix of a file reads as a complete one, but for the empty one.
		if n := rapid.IntRange(1, len(b)-1).Draw(t, "cut"); true {
			if cut, err := decodeOffsets(b[:n]); err == nil {
				t.Fatalf("%q reads as %v", b[:n], cut)
			}
		}
	})
}

func FuzzDecodeOffsets(f *testing.F) {
	f.Add([]byte("0\n2\na-b 1 5\n__x 0 9223372036854775807\n"))
	f.Add([]byte("0\r\n1\r\nt 0 5\r\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOffsets(b)
		if err != nil {
			wantError(t, err, ErrMalformed)
			return
		}
		again, err := decodeOffsets(o.encode())
		if err != nil || !maps.Equal(o, again) {
			t.Fatalf("%v became %v, %v", o, again, err)
		}
	})
}

// A crash at every operation of a checkpoint's writing leaves the old file or the new one.
func TestCheckpointCrash(t *testing.T) {
	for at := 0; ; at++ {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 3)
		r.d.checkpointAll(highWatermarks)
		r.append(l, 2)
		n := 0
		r.faults.Set(func(vfs.Op) error {
			if n++; n > at {
				return errKilled
			}
			return nil
		})
		err := r.d.checkpoint(r.d.dirs[0], highWatermarks)
		r.faults.Set(nil)
		r.mem.Crash(rand.New(rand.NewPCG(uint64(at), 1)))
		got := r.file("/a", checkpointFiles[highWatermarks])
		if got != "0\n1\nt 0 3\n" && got != "0\n1\nt 0 5\n" || err == nil && got != "0\n1\nt 0 5\n" {
			t.Fatalf("killed at operation %d (%v): %q", at, err, got)
		}
		r.d.Close(-1)
		r.d = nil
		if err == nil {
			return
		}
	}
}

// A torn checkpoint counts as unknown, and is said: without a clean shutdown everything is checked from the beginning.
func TestTornCheckpoints(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	r.append(l, 5)
	if err := l.Flush(5); err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteRecords(2, time.Now()); err != nil {
		t.Fatal(err)
	}
	for k := range checkpointKinds {
		r.d.checkpointAll(k)
	}
	r.crash()
	v := r.d.Log(topic("t"), 0).View()
	r.want("whole", []int64{v.LogStart, v.HighWatermark, v.LogEnd}, []int64{2, 5, 5})
	for _, file := range checkpointFiles {
		r.write("0\n1\nt 0 5", "/a", file)
	}
	r.crash()
	v = r.d.Log(topic("t"), 0).View()
	r.want("torn", []int64{v.LogStart, v.HighWatermark, v.LogEnd}, []int64{0, 0, 5})
	r.want("said", strings.Count(r.said.String(), "a checkpoint cannot be read"), int(checkpointKinds))
	// They are whole again after the next writing.
	r.close(1)
	r.want("file", r.file("/a", checkpointFiles[recoveryPoints]), "0\n1\nt 0 5\n")
}

// What each file says, and when: on its interval, as SetIntervals changes it, and only when there is something new.
func TestCheckpointIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Intervals = Intervals{RecoveryCheckpoint: 3 * time.Minute, StartCheckpoint: 2 * time.Minute, HighWatermark: 10 * time.Second, InitialDelay: time.Minute}
		r.open().d.Start()
		l := r.create("t")
		r.append(l, 5)
		if err := l.Flush(4); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteRecords(2, time.Now()); err != nil {
			t.Fatal(err)
		}
		files := func() (out [checkpointKinds]string) {
			for k, name := range checkpointFiles {
				if out[k] = r.file("/a", name); !r.exists("/a", name) {
					out[k] = ""
				}
			}
			return out
		}
		after := func(d time.Duration, want [checkpointKinds]string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			r.want(fmt.Sprint(d, " on"), files(), want)
		}
		after(9*time.Second, [checkpointKinds]string{})
		after(time.Second, [checkpointKinds]string{highWatermarks: "0\n1\nt 0 5\n"})
		after(49*time.Second, [checkpointKinds]string{highWatermarks: "0\n1\nt 0 5\n"})
		first := [checkpointKinds]string{recoveryPoints: "0\n1\nt 0 4\n", startOffsets: "0\n1\nt 0 2\n", highWatermarks: "0\n1\nt 0 5\n"}
		after(time.Second, first)
		r.ops.Reset()
		time.Sleep(time.Hour + 5*time.Second)                                                        // between the files' turns
		got := slices.DeleteFunc(r.ops.Ops(), func(op vfs.Op) bool { return op.Kind == vfs.OpStat }) // is the directory still there?
		if len(got) > 0 {
			t.Fatalf("nothing has changed, and yet: %v", got)
		}
		r.append(l, 2)
		if err := l.Flush(7); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteRecords(3, time.Now()); err != nil {
			t.Fatal(err)
		}
		first[highWatermarks] = "0\n1\nt 0 7\n"
		after(10*time.Second, first)
		// The keeper must not sleep through new intervals, whether shorter or longer.
		r.d.SetIntervals(Intervals{RecoveryCheckpoint: time.Second, StartCheckpoint: -1, HighWatermark: time.Hour})
		r.append(l, 1)
		first[recoveryPoints] = "0\n1\nt 0 7\n"
		after(2*time.Second, first)
		after(30*time.Minute, first)
		r.d.SetIntervals(Intervals{StartCheckpoint: 20 * time.Minute, HighWatermark: time.Hour})
		first[startOffsets] = "0\n1\nt 0 3\n"
		after(time.Second, first)
		first[highWatermarks] = "0\n1\nt 0 8\n"
		after(30*time.Minute, first)
		r.close(1)
	})
}

// countedClock tells how often the time was asked for: once a turn of the keeper, at least.
type countedClock struct{ asked atomic.Int64 }

func (c *countedClock) now() time.Time { c.asked.Add(1); return time.Now() }

// Nothing wakes an idle node but the high watermarks' interval.
func TestIdleCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &countedClock{}
		r := newRig(t, "/a")
		r.c.Now = clock.now
		r.open()
		for i := range 20 {
			r.append(r.create(fmt.Sprint("t", i)), 1)
		}
		r.d.Start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before := clock.asked.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		turns := 3600/5 + 60 + 60 + 12 + 6 // of high watermarks, recovery points, log starts, retention, producers
		if got := clock.asked.Load() - before; got > int64(2*turns+10) {
			t.Fatalf("%d questions for the time in an hour", got)
		}
		r.close(1)
	})
}

// The log of an interrupted change: recovery points go down at once when a log is truncated.
func TestTruncated(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	r.append(l, 5)
	if err := l.Flush(5); err != nil {
		t.Fatal(err)
	}
	r.d.checkpointAll(recoveryPoints)
	if err := l.Truncate(2, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Truncated(l); err != nil {
		t.Fatal(err)
	}
	r.mem.Crash(nil)
	o, err := decodeOffsets([]byte(r.file("/a", checkpointFiles[recoveryPoints])))
	if err != nil || o[partition{"t", 0}] > 2 {
		t.Fatalf("%v, %v", o, err)
	}
}

// Recovery that cuts off what counted as durable takes the recovery point back, as Truncated does, before anybody can append. Where
// the disk is full nobody can.
func TestRecoveryPointFalls(t *testing.T) {
	for _, behind := range []bool{false, true} {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 10)
		r.append(r.create("u"), 3)
		if err := l.Flush(10); err != nil {
			t.Fatal(err)
		}
		r.d.checkpointAll(recoveryPoints)
		r.kill()
		name := "/a/t-0/00000000000000000000.log"
		b, err := vfs.ReadWhole(r.mem, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1 // of the last record
		if err := vfs.Replace(r.mem, name, b); err != nil {
			t.Fatal(err)
		}
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Path, "/a/recovery-point") {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := r.opened(map[bool]int64{false: 1 << 20}[behind]); err != nil {
			t.Fatal(err)
		}
		r.want("waiting", len(r.d.dirs[0].pending) > 0, behind)
		r.recoverAll()
		r.want("log on a full disk", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
		r.faults.Set(nil)
		for _, b := range r.d.dirs[0].broken { // any
			b.notBefore = time.Time{}
		}
		if _, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID); err != nil && !errors.Is(err, ErrRecovering) {
			t.Fatal(err)
		}
		r.recoverAll()
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(9))
		r.want("recovery points", r.file("/a", checkpointFiles[recoveryPoints]), "0\n2\nt 0 9\nu 0 0\n")
		r.close(1)
	}
}

// many is a directory with so many logs, and what all checkpoints say written.
func many(t testing.TB, n int) *rig {
	var dirs []string
	for i := range max(1, n/500) { // memory's directories are slow to sync when they are large
		dirs = append(dirs, fmt.Sprint("/", i))
	}
	r := newRig(t, dirs...).open()
	for i := range n {
		name := fmt.Sprintf("a-topic-with-a-name-%d", i/10)
		l, err := r.d.Create(name, schema.UUID{0: byte(i / 10), 1: byte(i / 10 >> 8), 2: 1}, int32(i%10), schema.ZeroUUID)
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			r.append(l, 1)
		}
	}
	for k := range checkpointKinds {
		r.d.checkpointAll(k)
	}
	return r
}

// What it costs to find out that nothing is to be written.
func TestUnchangedCheckpointAllocatesNothing(t *testing.T) {
	r := many(t, 500)
	r.ops.Reset()
	for k := range checkpointKinds {
		if n := testing.AllocsPerRun(10, func() { r.d.checkpointAll(k) }); n > 5 {
			t.Errorf("%s: %v allocations for 500 logs", checkpointFiles[k], n)
		}
	}
	if diff := cmp.Diff([]vfs.Op(nil), r.ops.Ops()); diff != "" {
		t.Fatal(diff)
	}
}

func BenchmarkCheckpointUnchanged(b *testing.B) {
	r := many(b, 10_000)
	for b.Loop() {
		r.d.checkpointAll(highWatermarks)
	}
}

func BenchmarkCheckpointChanged(b *testing.B) {
	r := many(b, 10_000)
	l := r.d.Logs()[0]
	for b.Loop() {
		b.StopTimer()
		r.append(l, 1)
		b.StartTimer()
		r.d.checkpointAll(highWatermarks)
	}
}
