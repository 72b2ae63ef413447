package logdir

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestParseName(t *testing.T) {
	for name, want := range map[string]string{
		"t-0":                           "t-0 log",
		"a.b_c-d-12":                    "a.b_c-d-12 log",
		"t-2147483647":                  "t-2147483647 log",
		"t-0.abc-delete":                "t-0 delete",
		"t-0.abc-stray":                 "t-0 stray",
		"t-0.abc-future":                "t-0 future",
		"t.x-0.abc-delete":              "t.x-0 delete",
		"t-delete-0":                    "t-delete-0 log",
		"t-2147483648":                  "none",
		"t--1":                          "t--1 log",
		"t-01":                          "none",
		"t-":                            "none",
		"-0":                            "none",
		"..-0":                          "none",
		"t":                             "none",
		"t 1-0":                         "none",
		"t-0-delete":                    "none",
		"t-0.abc":                       "none",
		"t-x.abc-delete":                "none",
		"lost+found":                    "none",
		"a/b-0":                         "none",
		strings.Repeat("x", 250) + "-0": "none",
	} {
		p, k := parseName(name)
		got := map[kind]string{kindLog: p.String() + " log", kindDelete: p.String() + " delete", kindStray: p.String() + " stray", kindFuture: p.String() + " future", kindNone: "none"}[k]
		if got != want {
			t.Errorf("%q is %s, expected %s", name, got, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("t-0", uint8(1))
	f.Add(strings.Repeat("x", 249), uint8(9))
	f.Fuzz(func(t *testing.T, name string, n uint8) {
		p, k := parseName(name)
		if k == kindLog && p.String() != name {
			t.Fatalf("%q reads as %v", name, p)
		}
		if !legal(name) {
			return
		}
		for suffix, want := range map[string]kind{suffixDelete: kindDelete, suffixStray: kindStray, suffixFuture: kindFuture} {
			retired := retiredName(partition{name, int32(n)}, randomID(), suffix)
			p, k := parseName(retired)
			if k != want || p.index != int32(n) || !strings.HasPrefix(name, p.topic) || len(retired) > nameMax {
				t.Fatalf("%q became %q, which reads as %v, %v", name, retired, p, k)
			}
		}
	})
}

// What a directory may hold beside logs.
func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		r.append(r.create("t"), 3)
		r.close(1)
		for _, dir := range []string{"__cluster_metadata-0", "lost+found", "remote-log-index-cache", "u-0.abc-delete", "u-1.abc-stray", "what"} {
			r.mem.MkdirAll("/a/"+dir+"/below", 0o755)
		}
		r.write("no directory", "/a", "v-0")
		r.write("what was being written", "/a", checkpointFiles[0]+".tmp")
		before := r.list("/a")
		r.open().d.Start()
		r.want("logs", len(r.d.Logs()), 1)
		for part, times := range map[string]int{"a stray log is left alone": 1, "is no partition's": 1, "lost+found": 0, "remote-log": 0, "cluster_metadata": 0, "v-0": 0} {
			if n := strings.Count(r.said.String(), part); n != times {
				t.Fatalf("%q is said %d times\n%s", part, n, r.said.String())
			}
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		r.want("before file.delete.delay.ms", r.list("/a"), slices.DeleteFunc(slices.Clone(before), func(n string) bool { return n == fileClean }))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.want("after it", r.list("/a"), slices.DeleteFunc(slices.Clone(before), func(n string) bool { return n == fileClean || n == "u-0.abc-delete" }))
		r.close(1)
	})
}

// A thousand partitions are open in well under a second.
func TestManyPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("it creates 1000 logs")
	}
	r := newRig(t, "/a", "/b")
	r.c.RecoveryThreads = 4
	r.open()
	const n = 1000
	for i := range n {
		l, err := r.d.Create("t", topic("t"), int32(i), schema.ZeroUUID)
		if err != nil {
			t.Fatal(err)
		}
		r.append(l, 1)
	}
	for _, info := range r.d.Info() {
		r.want("logs in "+info.Path, len(info.Logs), n/2)
	}
	r.close(1)
	r.ops.Reset()
	begun := time.Now()
	r.open()
	took := time.Since(begun)
	var read int64
	for _, op := range r.ops.Ops(vfs.OpRead) {
		if strings.HasSuffix(op.Path, ".log") {
			read += op.Length
		}
	}
	t.Logf("%d logs loaded in %v", n, took)
	r.want("logs", len(r.d.Logs()), n)
	if read > n*4096 { // of each last segment, what lies behind its last index entry
		t.Fatalf("%d bytes of logs were read", read)
	}
	if took > 5*time.Second { // a loaded machine; it takes about a tenth of a second
		t.Fatalf("%d logs took %v", n, took)
	}
}

// After a crash, only what lies above the recovery point is read, and what was flushed is there.
func TestRecovery(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	for range 5 {
		r.append(l, 10)
		if err := l.Roll(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(50); err != nil {
		t.Fatal(err)
	}
	r.d.checkpointAll(recoveryPoints)
	r.d.checkpointAll(highWatermarks)
	r.append(l, 3)
	size := l.Size()
	r.mem.Crash(nil)
	r.d.Close(-1)
	r.ops.Reset()
	r.open()
	v := r.d.Log(topic("t"), 0).View()
	r.want("log", []int64{v.LogStart, v.HighWatermark, v.LogEnd}, []int64{0, 50, 50})
	var read int64
	for _, op := range r.ops.Ops(vfs.OpRead) {
		if strings.HasSuffix(op.Path, ".log") {
			read += op.Length
		}
	}
	if read > size/5 {
		t.Fatalf("%d bytes of %d were read", read, size)
	}
}

// A log that cannot be opened is offline; the others are served, and it keeps its lines in the checkpoints.
func TestBrokenLog(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	for _, name := range []string{"t", "u", "v"} { // in /a, /b, /a
		l := r.create(name)
		r.append(l, 5)
		if err := l.DeleteRecords(2, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r.close(42)
	r.faults.Set(func(op vfs.Op) error {
		if strings.HasPrefix(op.Path, "/a/t-0") && strings.HasSuffix(op.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})
	r.open()
	r.want("broken", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
	r.append(r.d.Log(topic("u"), 0), 1)
	r.append(r.d.Log(topic("v"), 0), 1)
	info := r.d.Info()[0]
	r.want("info", fmt.Sprint(info.Logs[0].Topic, info.Logs[0].TopicID == topic("t"), info.Logs[0].Size, info.Logs[0].LogEnd, info.Err, len(info.Logs)), "ttrue -1 -1 <nil> 2")
	wantError(t, info.Logs[0].Err, syscall.EIO, "/a/t-0")
	_, err := r.d.Create("t", topic("t"), 0, r.d.IDs()[1])
	wantError(t, err, syscall.EIO, "offline")
	_, err = r.d.Create("t", topic("another t"), 0, r.d.IDs()[0])
	wantError(t, err, nil, "/a/t-0 belongs to topic id")
	if !strings.Contains(r.said.String(), "a log cannot be opened and is offline") {
		t.Fatal(r.said.String())
	}
	for k := range checkpointKinds {
		r.d.checkpointAll(k)
	}
	r.want("recovery points", r.file("/a", checkpointFiles[recoveryPoints]), "0\n2\nt 0 5\nv 0 5\n")
	r.want("log starts", r.file("/a", checkpointFiles[startOffsets]), "0\n2\nt 0 2\nv 0 2\n")
	r.want("high watermarks", r.file("/a", checkpointFiles[highWatermarks]), "0\n2\nt 0 5\nv 0 6\n")
	r.close(43)
	r.faults.Set(nil)
	r.open()
	v := r.d.Log(topic("t"), 0).View()
	r.want("healed", []int64{v.LogStart, v.HighWatermark, v.LogEnd}, []int64{2, 5, 5})
	r.want("epoch", r.d.CleanShutdownEpoch(), int64(43))
}

// A broken log can be deleted, and set aside.
func TestBrokenLogIsRetired(t *testing.T) {
	r := newRig(t, "/a").open()
	for _, name := range []string{"t", "u", "v"} {
		r.append(r.create(name), 1)
	}
	r.close(1)
	r.faults.Set(func(op vfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && (op.Kind == vfs.OpStat || op.Kind == vfs.OpOpen) {
			return syscall.EIO
		}
		return nil
	})
	r.c.NewID = func() schema.UUID { return schema.UUID{1} }
	r.open()
	r.want("logs", len(r.d.Logs()), 0)
	if err := r.d.Delete(topic("t"), 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.d.Delete(topic("t"), 0), ErrUnknownLog)
	wantError(t, r.d.Delete(topic("u"), 1), ErrUnknownLog)
	moved, err := r.d.Strays(func(_ string, id schema.UUID, _ int32) bool { return id == topic("v") })
	if err != nil {
		t.Fatal(err)
	}
	unique := "01" + strings.Repeat("0", 30)
	r.want("moved", moved, []string{"/a/u-0." + unique + "-stray"})
	r.want("names", r.list("/a"), []string{"t-0." + unique + "-delete", "u-0." + unique + "-stray", "v-0"})
	r.faults.Set(nil)
	r.create("t")
	r.crash()
	r.want("logs", len(r.d.Logs()), 2)
}

// Copies of one partition are all refused, for nobody can say which is right, and all keep their lines.
func TestTwice(t *testing.T) {
	for _, threads := range []int{1, 4} {
		r := newRig(t, "/a", "/b", "/c")
		r.c.RecoveryThreads = threads
		r.open()
		for _, dir := range r.d.IDs() {
			l, err := r.d.Create("t", topic("t"), 0, dir)
			if err != nil {
				t.Fatal(err)
			}
			r.append(l, 3)
			delete(r.d.logs, key{topic("t"), 0}) // as if another process had made the copies
		}
		r.create("u")
		r.close(1)
		r.open()
		r.want("served", []bool{r.d.Log(topic("t"), 0) == nil, r.d.Log(topic("u"), 0) == nil}, []bool{true, false})
		for _, info := range r.d.Info() {
			wantError(t, info.Logs[0].Err, nil, "hold the same partition", info.Path+"/t-0")
		}
		r.d.checkpointAll(highWatermarks)
		r.want("lines", r.file("/b", checkpointFiles[highWatermarks]), "0\n1\nt 0 3\n")
		r.close(1)
		for _, dir := range []string{"/a", "/c"} {
			if err := r.mem.RemoveAll(dir + "/t-0"); err != nil {
				t.Fatal(err)
			}
		}
		r.open()
		r.want("the only one", r.d.Log(topic("t"), 0).View().LogEnd, int64(3))
		r.close(1)
	}
}

// DETAILS 28: a directory without partition.metadata is a creation that was interrupted, if it is empty; otherwise nobody
// knows whose it is.
func TestUnnamed(t *testing.T) {
	r := newRig(t, "/a").open()
	r.append(r.create("t"), 3)
	r.create("u")
	r.close(1)
	for _, dir := range []string{"/a/t-0", "/a/u-0"} {
		if err := r.mem.Remove(dir + "/partition.metadata"); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	r.want("logs", len(r.d.Logs()), 0)
	r.want("there", []bool{r.exists("/a/t-0"), r.exists("/a/u-0")}, []bool{true, false})
	wantError(t, r.d.Info()[0].Logs[0].Err, nil, "/a/t-0 has records, but no partition.metadata")
	moved, err := r.d.Strays(func(_ string, id schema.UUID, _ int32) bool { return id != schema.ZeroUUID })
	if err != nil || len(moved) != 1 || !strings.HasPrefix(moved[0], "/a/t-0.") {
		t.Fatal(moved, err)
	}
}

func TestLoadErrors(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	r.append(r.create("t"), 3)
	r.close(1)
	for _, c := range []vfs.Rule{{Kind: vfs.OpList, Match: "a", Nth: 2, Err: syscall.EIO}, {Kind: vfs.OpStat, Match: "t-0", Err: syscall.EIO}} {
		r.faults.Set(vfs.Schedule(c))
		d, err := Open(r.c)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, d.Load(context.Background()), syscall.EIO, "/a cannot be read")
		d.Start()
		if err := d.Close(5); err != nil {
			t.Fatal(err)
		}
		r.faults.Set(nil)
	}
	r.open()
	r.want("logs", len(r.d.Logs()), 1)
	r.want("epoch", r.d.CleanShutdownEpoch(), int64(5))
}
