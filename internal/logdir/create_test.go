package logdir

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A new log goes where it is told to, or to the directory with the fewest logs, broken ones included, whose disk works.
func TestPlacement(t *testing.T) {
	r := newRig(t, "/a", "/b", "/c").open()
	ids := r.d.IDs()
	place := func(name string, dir schema.UUID) string {
		t.Helper()
		l, err := r.d.Create(name, topic(name), 0, dir)
		if err != nil {
			t.Fatal(err)
		}
		if r.d.DirID(l) != ids[strings.IndexByte("abc", l.Dir()[1])] {
			t.Fatalf("%s is in %v", l.Dir(), r.d.DirID(l))
		}
		return l.Dir()
	}
	var got []string
	for i, dir := range []schema.UUID{ids[2], ids[2], {}, {}, {15: 1}, {15: 5}, {9: 9}, ids[0]} {
		got = append(got, place(fmt.Sprint("t", i), dir))
	}
	r.want("places", got, []string{"/c/t0-0", "/c/t1-0", "/a/t2-0", "/b/t3-0", "/a/t4-0", "/b/t5-0", "/a/t6-0", "/a/t7-0"})
	r.d.diskFailed(r.d.dirs[1], errors.New("gone"))
	r.want("not where the disk failed", place("u", schema.ZeroUUID), "/c/u-0")
	r.want("again", place("u", ids[0]), "/c/u-0")
	for _, bad := range []struct {
		topic string
		id    schema.UUID
		index int32
	}{{"", topic("x"), 0}, {"..", topic("x"), 0}, {"a/b", topic("x"), 0}, {"x", topic("x"), -1}, {"x", schema.ZeroUUID, 0}, {metadataTopic, topic("x"), 0}, {strings.Repeat("x", 250), topic("x"), 0}, {strings.Repeat("x", 249), topic("x"), 1_000_000}} {
		_, err := r.d.Create(bad.topic, bad.id, bad.index, schema.ZeroUUID)
		wantError(t, err, nil, "name no log")
	}
	_, err := r.d.Create("t0", topic("another t0"), 0, ids[2])
	var inconsistent *storage.InconsistentTopicID
	if !errors.As(err, &inconsistent) {
		t.Fatal(err)
	}
}

// DETAILS 28: partition.metadata is durable before Create returns.
func TestCreateIsDurable(t *testing.T) {
	r := newRig(t, "/a").open()
	r.create("t")
	r.crash()
	r.want("after a crash", r.d.Log(topic("t"), 0) != nil, true)
	r.want("partition.metadata", r.file("/a/t-0/partition.metadata"), "version: 0\ntopic_id: "+topic("t").String())
}

// A crash at every operation of Create: afterwards the log is there or not, and it can be created.
func TestCreateCrash(t *testing.T) {
	for at := 0; ; at++ {
		r := newRig(t, "/a").open()
		n := 0
		r.faults.Set(func(vfs.Op) error {
			if n++; n > at {
				return syscall.EIO
			}
			return nil
		})
		_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
		r.faults.Set(nil)
		if err != nil && r.d.Info()[0].Err == nil {
			t.Fatalf("operation %d: nobody hears of the disk's error %v", at, err)
		}
		if at%2 == 0 || err != nil { // a directory that failed is offline until the next start
			r.crash()
		}
		r.append(r.create("t"), 1)
		r.crash()
		if r.d.Log(topic("t"), 0) == nil {
			t.Fatalf("operation %d: the log is lost\n%s\n%s", at, r.said.String(), r.snapshot("/a"))
		}
		if err == nil {
			return
		}
	}
}

// Lines that an earlier log of the same name left in the checkpoints do not reach the next one, whatever the order in which
// things become durable: they would make a start after a crash trust what was never flushed, or empty the log.
func TestCheckpointsOfAnEarlierLog(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	r.append(l, 10)
	if err := l.Flush(10); err != nil {
		t.Fatal(err)
	}
	if err := l.DeleteRecords(9, time.Now()); err != nil {
		t.Fatal(err)
	}
	for k := range checkpointKinds {
		r.d.checkpointAll(k)
	}
	if err := r.d.Delete(topic("t"), 0); err != nil {
		t.Fatal(err)
	}
	second, err := r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
	if err != nil {
		t.Fatal(err)
	}
	for k, name := range checkpointFiles {
		if got := r.file("/a", name); r.exists("/a", name) && got != "0\n0\n" {
			t.Fatalf("%s: %q", checkpointFiles[k], got)
		}
	}
	r.append(second, 5)
	if err := second.Flush(5); err != nil {
		t.Fatal(err)
	}
	r.crash()
	v := r.d.Log(topic("another t"), 0).View()
	r.want("the second log", []int64{v.LogStart, v.LogEnd}, []int64{0, 5})
}

// DETAILS 28: delete renames to -delete, durably, and waits.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.TopicConfig = func(string) storage.Config { return storage.Config{FileDeleteDelay: 30 * time.Second} }
		r.open().d.Start()
		l := r.create("t")
		r.append(l, 3)
		if err := r.d.Delete(topic("t"), 0); err != nil {
			t.Fatal(err)
		}
		r.want("found", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
		wantError(t, r.d.Delete(topic("t"), 0), ErrUnknownLog)
		names := r.list("/a")
		if len(names) != 1 || !strings.HasPrefix(names[0], "t-0.") || !strings.HasSuffix(names[0], suffixDelete) || len(names[0]) != len("t-0.-delete")+32 {
			t.Fatal(names)
		}
		if _, err := l.View().Read(0, 1000, storage.LogEnd, true); err != nil { // those who read may finish
			t.Fatal(err)
		}
		again := r.create("t") // the name is free
		r.append(again, 1)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		r.want("before the delay", len(r.list("/a")), 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.want("after the delay", r.list("/a"), []string{"t-0"})
		r.want("the new one", again.View().LogEnd, int64(1))
		r.close(1)
	})
}

// A crash between the renaming and the removal, at every operation: the log is there as a whole, or on its way out, which
// goes on after the start.
func TestDeleteCrash(t *testing.T) {
	for at := 0; ; at++ {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 3)
		if err := l.Flush(3); err != nil {
			t.Fatal(err)
		}
		n := 0
		r.faults.Set(func(vfs.Op) error {
			if n++; n > at {
				return errKilled
			}
			return nil
		})
		err := r.d.Delete(topic("t"), 0)
		if err == nil {
			r.d.bury(time.Now().Add(time.Hour))
		}
		done := n <= at
		r.faults.Set(nil)
		r.mem.Crash(nil)
		r.d.Close(-1)
		renamed := !r.exists("/a/t-0")
		if err == nil && !renamed {
			t.Fatal("the renaming was not durable")
		}
		r.open()
		r.want("served", r.d.Log(topic("t"), 0) != nil, !renamed)
		r.d.bury(time.Now().Add(time.Hour))
		if names := r.list("/a"); renamed && len(names) > 0 {
			t.Fatalf("operation %d: left are %v", at, names)
		}
		if done {
			if at < 3 {
				t.Fatalf("deleting took only %d operations", at)
			}
			return
		}
	}
}

// A log whose renaming fails is out of use, keeps its place and its lines, and is served after the next start.
func TestDeleteFails(t *testing.T) {
	var offline []schema.UUID
	r := newRig(t, "/a")
	r.c.OnOffline = func(dir schema.UUID, _ error) { offline = append(offline, dir) }
	ids := r.open().d.IDs()
	l := r.create("t")
	r.append(l, 3)
	if err := l.Flush(3); err != nil {
		t.Fatal(err)
	}
	r.faults.Set(vfs.Schedule(vfs.Rule{Kind: vfs.OpRename, Times: -1, Match: "t-0", Err: syscall.EIO}))
	wantError(t, r.d.Delete(topic("t"), 0), syscall.EIO, "/a/t-0")
	r.want("offline", offline, ids)
	r.want("found", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
	_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
	wantError(t, err, syscall.EIO, "offline")
	r.faults.Set(nil)
	r.close(1)
	r.open()
	r.want("clean", r.d.dirs[0].clean, false)
	r.want("after a start", r.d.Log(topic("t"), 0).View().LogEnd, int64(3))
}

// What waits for its removal when the node closes goes after the next start.
func TestCloseWithDoomed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		r.d.Start()
		r.append(r.create("t"), 3)
		if err := r.d.Delete(topic("t"), 0); err != nil {
			t.Fatal(err)
		}
		r.close(9)
		r.want("left", len(r.list("/a")), 2) // and the marker
		r.open().d.Start()
		r.want("epoch", r.d.CleanShutdownEpoch(), int64(9))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		r.want("left", r.list("/a"), []string{})
		r.close(9)
	})
}

// DETAILS 28: unknown directories become -stray, and stay.
func TestStrays(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	for _, name := range []string{"t", "u", "v", "w"} {
		r.append(r.create(name), 2)
	}
	open := r.d.Log(topic("u"), 0)
	asked := map[string]bool{}
	moved, err := r.d.Strays(func(name string, id schema.UUID, partition int32) bool {
		asked[name] = id == topic(name) && partition == 0
		return name != "u" && name != "t"
	})
	if err != nil || len(moved) != 2 || !strings.HasPrefix(moved[0], "/a/t-0.") || !strings.HasPrefix(moved[1], "/b/u-0.") || !strings.HasSuffix(moved[1], suffixStray) {
		t.Fatal(moved, err)
	}
	r.want("asked", asked, map[string]bool{"t": true, "u": true, "v": true, "w": true})
	_, err = open.Append(nil, storage.AppendOptions{Now: time.Now()})
	wantError(t, open.Roll(time.Now()), storage.ErrClosed)
	_ = err
	r.want("logs", len(r.d.Logs()), 2)
	r.create("t") // the name is free
	r.crash()
	r.want("logs", len(r.d.Logs()), 3)
	if !r.exists(moved[0]) || !r.exists(moved[1]) {
		t.Fatal("a stray log is gone")
	}
	// Their records are whole: a rename back makes them logs again.
	r.close(1)
	if err := errors.Join(r.mem.Rename(moved[1], "/b/u-0"), r.mem.SyncDir("/b")); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.want("brought back", r.d.Log(topic("u"), 0).View().LogEnd, int64(2))
}

// Where the disk is full, what Create has begun is taken back, and it is called again as long as it fails.
func TestCreateOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		var said []error
		r.c.OnRetry = func() {
			_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
			said = append(said, err)
		}
		r.open()
		n := 0
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.Contains(op.Path, "t-0") {
				n++
				return syscall.ENOSPC
			}
			return nil
		})
		if _, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID); !errors.Is(err, syscall.ENOSPC) || n == 0 {
			t.Fatal(err)
		}
		r.want("left", r.exists("/a", "t-0"), false)
		r.want("disk", r.d.Info()[0].Err, nil)
		r.d.Start()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		r.want("tries", len(said), 2)
		r.faults.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.want("tries", []any{len(said), said[len(said)-1]}, []any{3, error(nil)})
		r.append(r.d.Log(topic("t"), 0), 1)
		r.close(1)
	})
}

// What Create could not take away again is removed before the next try, and before a log of the name with another id.
func TestCreateLeavesNothing(t *testing.T) {
	for _, another := range []bool{false, true} {
		for call := 1; ; call++ {
			r := newRig(t, "/a").open()
			n := 0
			r.faults.Set(func(op vfs.Op) error {
				switch op.Kind {
				case vfs.OpOpen, vfs.OpCreate, vfs.OpSyncDir, vfs.OpList, vfs.OpOpenDir:
					if n++; n >= call {
						return syscall.EMFILE
					}
				case vfs.OpRemoveAll:
					if n >= call {
						return syscall.EMFILE
					}
				}
				return nil
			})
			_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
			if err == nil {
				if call < 5 {
					t.Fatalf("only %d calls open files", call-1)
				}
				r.faults.Set(nil)
				r.close(1)
				break
			}
			r.d.retry() // in vain
			known := len(r.d.leftovers) > 0
			r.want("wanting", r.d.wanting.Load(), known)
			if r.exists("/a/t-0") && !known {
				t.Fatalf("call %d: nobody knows of what is left", call)
			}
			r.faults.Set(nil)
			if another {
				l, err := r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
				if err != nil {
					t.Fatalf("call %d: %v", call, err)
				}
				r.append(l, 1)
			}
			r.d.retry()
			r.want(fmt.Sprint("left after call ", call), []any{r.exists("/a/t-0"), len(r.d.leftovers)}, []any{another, 0})
			r.close(1)
		}
	}
}

// A log that could not be opened at the start, for want of open files or of room, is opened when Create is called again, with all that
// the checkpoints say of it. What else is wrong with a log is not tried again.
func TestCreateOpensWhatLoadCouldNot(t *testing.T) {
	for _, clean := range []bool{false, true} {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 10)
		if err := errors.Join(l.Flush(10), l.DeleteRecords(4, time.Now())); err != nil {
			t.Fatal(err)
		}
		for k := range checkpointKinds {
			r.d.checkpointAll(k)
		}
		fail := func(number error) {
			r.faults.Set(func(op vfs.Op) error {
				if op.Kind == vfs.OpList && strings.HasSuffix(op.Path, "t-0") || op.Kind == vfs.OpOpen && strings.Contains(op.Path, "t-0/") {
					return number
				}
				return nil
			})
		}
		if clean {
			r.close(7)
		} else {
			r.mem.Crash(nil)
			r.d.Close(-1)
		}
		fail(syscall.EMFILE)
		r.open()
		for range 2 {
			_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
			wantError(t, err, syscall.EMFILE, "offline")
			r.want("wanting", r.d.wanting.Swap(false), true)
		}
		for k := range checkpointKinds {
			r.d.checkpointAll(k)
		}
		r.faults.Set(nil)
		again, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
		if err != nil {
			t.Fatal(err)
		}
		v := again.View()
		r.want("the log", []any{v.LogStart, v.HighWatermark, v.LogEnd, len(r.d.dirs[0].broken), r.d.Log(topic("t"), 0) == again, r.d.wanting.Load()},
			[]any{int64(4), int64(10), int64(10), 0, true, false})
		r.append(again, 1)
		r.close(8)
		r.open()
		r.want("after the next start", []any{r.d.CleanShutdownEpoch(), r.d.Log(topic("t"), 0).View().LogEnd}, []any{int64(8), int64(11)})
		r.close(9)

		fail(syscall.ENFILE)
		r.open()
		r.faults.Set(nil)
		_, err = r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
		wantError(t, err, nil, "belongs to")
		r.want("wanting", r.d.wanting.Load(), false)
		_, err = r.d.Create("t", topic("another t"), 0, schema.ZeroUUID)
		wantError(t, err, nil, "belongs to")
		r.d.Close(-1)
	}
}
