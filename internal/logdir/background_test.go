package logdir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// count counts a log's files that end like this.
func (r *rig) count(l *storage.Log, suffix string) (n int) {
	for _, name := range r.list(l.Dir()) {
		if strings.HasSuffix(name, suffix) {
			n++
		}
	}
	return n
}

// segments makes a log of n sealed segments, an hour apart, and an empty last one.
func (r *rig) segments(l *storage.Log, n int) {
	r.t.Helper()
	for range n {
		r.append(l, 2)
		if err := l.Roll(time.Now()); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(time.Hour)
	}
}

// DETAILS 25: retention by age goes by the largest timestamp, the last segment included, never above the high watermark;
// it runs by itself, and the files go after file.delete.delay.ms.
func TestRetentionByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Defaults.RetentionAge = 10 * time.Hour
		r.open()
		l := r.create("t")
		r.segments(l, 4) // records of hour 0, 1, 2, 3
		r.append(l, 2)   // of hour 4
		r.d.Start()
		time.Sleep(8*time.Hour + time.Minute) // retention runs every five minutes, the first time after 30 s
		synctest.Wait()
		r.want("segments after 12 hours", []any{l.View().LogStart, l.SegmentCount(), r.count(l, ".log")}, []any{int64(6), 2, 2})
		r.want("waiting", r.count(l, ".log.deleted"), 1) // that of hour 2 went at 12:00:30, and is there for a minute
		time.Sleep(time.Minute)
		synctest.Wait()
		r.want("left", r.count(l, ".deleted"), 0)
		time.Sleep(2*time.Hour + 10*time.Minute)
		synctest.Wait()
		r.want("segments after 14 hours", []any{l.View().LogStart, l.View().LogEnd, l.SegmentCount()}, []any{int64(10), int64(10), 1})
		// Above the high watermark nothing goes.
		b := codecs.NewBuilder()
		b.Add(time.Now().UnixMilli(), nil, []byte("v"), nil)
		if _, err := l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		r.want("above the high watermark", []any{l.View().LogStart, l.View().LogEnd}, []any{int64(10), int64(11)})
		l.SetHighWatermark(11)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		r.want("below it", []any{l.View().LogStart, l.View().LogEnd}, []any{int64(11), int64(11)})
		r.close(1)
		r.open()
		v := r.d.Log(topic("t"), 0).View()
		r.want("after a restart", []int64{v.LogStart, v.LogEnd}, []int64{11, 11})
		r.close(1)
	})
}

// Retention by size, and SetTopicConfig live.
func TestRetentionBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		l, other := r.create("t"), r.create("other")
		r.segments(l, 6)
		r.segments(other, 6)
		r.d.Start()
		one := l.Size() / 6
		time.Sleep(time.Hour)
		synctest.Wait()
		r.want("unlimited", l.View().LogStart, int64(0))
		r.d.SetTopicConfig("t", storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: 2*one + 1})
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		r.want("limited", []int64{l.View().LogStart, l.Size(), other.View().LogStart}, []int64{6, 3 * one, 0})
		r.want("left", r.count(l, ".deleted"), 0) // no delay: at once
		// The interval itself changes live.
		r.d.SetIntervals(Intervals{Retention: time.Second})
		r.d.SetTopicConfig("t", storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: one})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.want("limited more", l.View().LogStart, int64(10))
		r.d.SetIntervals(Intervals{Retention: -1})
		r.d.SetTopicConfig("t", storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: 0})
		time.Sleep(time.Hour)
		synctest.Wait()
		r.want("never", l.View().LogStart, int64(10))
		// DeleteRecords goes without cleanup.policy=delete.
		r.d.SetTopicConfig("other", storage.Config{Compact: true, DirtyRatio: 1})
		if err := other.DeleteRecords(5, time.Now()); err != nil {
			t.Fatal(err)
		}
		r.d.SetIntervals(Intervals{})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		r.want("below the log's start", []any{other.View().LogStart, other.SegmentCount()}, []any{int64(5), 5})
		r.close(1)
	})
}

// A file that somebody reads stays until it is let go of; the keeper comes again.
func TestDeletedFilesAreReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Defaults.RetentionBytes = 0
		r.open()
		l := r.create("t")
		r.segments(l, 2)
		s, err := l.View().Read(0, 100, storage.LogEnd, true)
		if err != nil {
			t.Fatal(err)
		}
		r.d.Start()
		time.Sleep(time.Hour)
		synctest.Wait()
		r.want("held", []any{l.View().LogStart, r.count(l, ".log.deleted")}, []any{int64(4), 1})
		b, err := s.Bytes()
		if err != nil || len(b) == 0 {
			t.Fatal(err)
		}
		s.Release()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.want("released", r.count(l, ".deleted"), 0)
		r.close(1)
	})
}

// A log that is deleted, its files waiting, is removed with them; what was planned for it is forgotten.
func TestPurgeOfARemovedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Defaults.RetentionBytes = 0
		r.open()
		r.d.Start()
		l := r.create("t")
		r.segments(l, 2)
		time.Sleep(31 * time.Second) // retention has been, the files wait
		if err := r.d.Delete(topic("t"), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		r.d.gravesMu.Lock()
		planned := len(r.d.purge) + len(r.d.graves)
		r.d.gravesMu.Unlock()
		r.want("left", []any{r.list("/a"), planned, r.d.Info()[0].Err}, []any{[]string{}, 0, nil})
		r.close(1)
	})
}

// flush.ms, set when a log is created, at the start and live; and that the node stops looking when nobody asks any more.
func TestFlushAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Defaults.FlushAge = time.Minute
		r.open().d.Start()
		l := r.create("t")
		r.append(l, 3)
		after := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			r.want("recovery point", l.RecoveryPoint(), want)
		}
		after(29*time.Second, 0)
		after(62*time.Second, 3)
		r.close(1)
		r.open().d.Start()
		l = r.d.Log(topic("t"), 0)
		r.append(l, 1)
		after(92*time.Second, 4)
		r.d.SetTopicConfig("t", storage.Config{FlushAge: time.Second})
		r.append(l, 1)
		after(3*time.Second, 5)
		r.d.SetTopicConfig("t", storage.Config{})
		r.append(l, 1)
		after(time.Hour, 5)
		r.want("looks for", r.d.flushEvery(r.d.intervals.Load()), time.Duration(-1))
		r.d.SetTopicConfig("t", storage.Config{FlushMessages: 2})
		r.d.SetIntervals(Intervals{Flush: time.Second}) // log.flush.scheduler.interval.ms
		after(3*time.Second, 5)
		r.append(l, 1)
		after(2*time.Second, 7)
		r.close(1)
	})
}

// A roll queues the flush of what was rolled.
func TestRollQueuesAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.Defaults.SegmentBytes = 5000
		r.open().d.Start()
		l := r.create("t")
		r.append(l, 3)
		synctest.Wait()
		r.want("before", []any{l.RecoveryPoint(), l.SegmentCount()}, []any{int64(0), 1})
		r.append(l, 3)
		synctest.Wait()
		r.want("after", []any{l.RecoveryPoint(), l.SegmentCount()}, []any{int64(4), 2})
		r.close(1)
	})
}

// Wishes for one log become one flush, as far as the farthest; all who asked hear of it. The queue ends with Close.
func TestFlushQueue(t *testing.T) {
	r := newRig(t, "/a").open()
	l, other := r.create("t"), r.create("u")
	r.append(l, 10)
	r.append(other, 10)
	var mu sync.Mutex
	heard := map[int64]error{}
	hear := func(i int64) func(error) {
		return func(err error) {
			mu.Lock()
			defer mu.Unlock()
			heard[i] = err
		}
	}
	for i := range int64(1000) {
		r.d.Flush(l, i%10, nil)
		if i < 3 {
			r.d.Flush(l, 9-i, hear(i))
		}
	}
	r.d.Flush(other, 1, hear(9))
	r.want("queue", []int{len(r.d.queue.order), len(r.d.queue.wishes)}, []int{2, 2})
	r.ops.Reset()
	r.d.flushQueued(false)
	r.want("heard", heard, map[int64]error{0: nil, 1: nil, 2: nil, 9: nil})
	r.want("flushed", []int64{l.RecoveryPoint(), other.RecoveryPoint()}, []int64{9, 1})
	n := 0
	for _, op := range r.ops.Ops(vfs.OpSync) {
		if op.Path == "/a/t-0/00000000000000000000.log" {
			n++
		}
	}
	r.want("syncs", n, 1)
	r.d.Flush(l, 10, hear(10)) // nobody has begun the flusher: Close does it
	r.close(1)
	r.want("at the end", heard[10], nil)
	r.d.Flush(l, 10, hear(11))
	wantError(t, heard[11], ErrClosed)
}

// producer.id.expiration.ms acts by itself.
func TestProducersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.ProducerIDExpiry = time.Hour
		r.open().d.Start()
		l := r.create("t")
		b := codecs.NewBuilder()
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = 5, 0, 0
		b.Add(time.Now().UnixMilli(), nil, []byte("v"), nil)
		if _, err := l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		r.want("early", l.ProducerCount(), 1)
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		r.want("late", l.ProducerCount(), 0)
		r.close(1)
	})
}

// A disk that fails is spoken of once, with the directory's id; the logs beside it go on; the other directory is untouched.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		heard := map[schema.UUID][]error{}
		r := newRig(t, "/a", "/b")
		r.c.OnOffline = func(dir schema.UUID, err error) {
			mu.Lock()
			defer mu.Unlock()
			heard[dir] = append(heard[dir], err)
		}
		r.open().d.Start()
		ids := r.d.IDs()
		bad, good := r.create("t"), r.create("u")
		r.append(bad, 3)
		r.append(good, 3)
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && strings.HasPrefix(op.Path, "/a/") {
				return syscall.EIO
			}
			return nil
		})
		r.d.Flush(bad, 3, nil)
		r.d.Flush(good, 3, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(heard) != 1 || len(heard[ids[0]]) != 1 {
			t.Fatalf("%v", heard)
		}
		wantError(t, heard[ids[0]][0], syscall.EIO, "/a/t-0", ".log")
		wantError(t, r.d.Info()[0].Err, syscall.EIO)
		r.want("the other", []any{r.d.Info()[1].Err, good.RecoveryPoint(), r.file("/b", checkpointFiles[recoveryPoints])}, []any{nil, int64(3), "0\n1\nu 0 3\n"})
		r.want("said", strings.Count(r.said.String(), "disk failed"), 1)
		r.faults.Set(nil)
		r.d.Close(1)
	})
}

// An error of a log that was deleted meanwhile is no disk's fault.
func TestErrorsOfLogsThatAreGone(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	r.append(l, 3)
	if err := r.d.Delete(topic("t"), 0); err != nil {
		t.Fatal(err)
	}
	r.d.bury(time.Now().Add(time.Hour))
	r.d.checkDisk(l, syscall.ENOENT)
	r.want("disk", r.d.Info()[0].Err, nil)
	r.create("t")
	r.d.checkDisk(l, syscall.ENOENT)
	r.want("disk", r.d.Info()[0].Err, nil)
	r.d.checkDisk(r.d.Log(topic("t"), 0), storage.ErrClosed)
	r.want("disk", r.d.Info()[0].Err, nil)
	r.d.checkDisk(r.d.Log(topic("t"), 0), &record.Corrupt{Reason: "a batch's"})
	r.want("disk", r.d.Info()[0].Err, nil)
	r.d.checkDisk(r.d.Log(topic("t"), 0), fmt.Errorf("a disk's: %w", syscall.EIO))
	wantError(t, r.d.Info()[0].Err, syscall.EIO, "a disk's")
}

// Close in the middle of everything: what was promised is there, nothing hangs, nothing is touched afterwards.
func TestCloseWhileAllWorks(t *testing.T) {
	for seed := range 5 {
		r := newRig(t, "/a", "/b")
		r.c.Defaults = storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: 20_000, SegmentBytes: 5000, FlushAge: time.Millisecond}
		r.c.Cleaner = CleanerConfig{Backoff: time.Millisecond}
		r.c.Intervals = Intervals{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, -1}
		r.open().d.Start()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		ends := make([]int64, 4)
		for w := range 4 {
			wg.Go(func() {
				name := fmt.Sprint("t", w)
				l, err := r.d.Create(name, topic(name), 0, schema.ZeroUUID)
				for i := 0; err == nil; i++ {
					select {
					case <-stop:
						return
					default:
					}
					b := codecs.NewBuilder()
					b.Add(time.Now().UnixMilli(), fmt.Append(nil, i%3), make([]byte, 500), nil)
					var a storage.Appended
					if a, err = l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()}); err != nil {
						break
					}
					r.d.Appended(l, a)
					ends[w] = a.LastOffset + 1
					l.SetHighWatermark(a.LastOffset + 1)
					r.d.Info()
					switch i % 50 {
					case 10:
						r.d.SetTopicConfig(name, storage.Config{Compact: i%100 == 10, Delete: true, RetentionAge: -1, RetentionBytes: int64(10_000 * (i % 3)), SegmentBytes: 4000, FlushAge: time.Duration(i) * time.Millisecond})
					case 20:
						r.d.Flush(l, a.LastOffset, nil)
					case 30:
						other := fmt.Sprint(name, "-", i)
						if _, err = r.d.Create(other, topic(other), 1, schema.ZeroUUID); err == nil {
							err = r.d.Delete(topic(other), 1)
						}
					case 40:
						r.d.SetIntervals(r.c.Intervals)
					}
				}
				if !errors.Is(err, storage.ErrClosed) && !errors.Is(err, ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		time.Sleep(time.Duration(20+10*seed) * time.Millisecond)
		err := r.d.Close(int64(seed))
		r.ops.Reset()
		if info := r.d.Info(); info[1].Total != -1 || info[1].Free != -1 {
			t.Fatalf("after Close a disk is asked for its room: %+v", info[1])
		}
		close(stop)
		wg.Wait()
		if err != nil {
			t.Fatalf("%v\n%s", err, r.said.String())
		}
		for _, op := range r.ops.Ops() {
			if op.Kind != vfs.OpStat && op.Kind != vfs.OpSize {
				t.Fatalf("after Close: %v", op)
			}
		}
		r.mem.Crash(nil)
		r.open()
		r.want("epoch", r.d.CleanShutdownEpoch(), int64(seed))
		for w, end := range ends {
			if l := r.d.Log(topic(fmt.Sprint("t", w)), 0); end > 0 && l.View().LogEnd < end {
				t.Fatalf("log %d ends at %d, not %d", w, l.View().LogEnd, end)
			}
		}
		r.close(1)
		r.d = nil
	}
}

// Many kills, each at a random operation of a busy node, in virtual time: what was flushed is there, and what the
// checkpoints and markers say is true.
func TestKilledAtWork(t *testing.T) {
	for at := 50; at < 1200; at += 23 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "/a", "/b")
			r.c.Defaults = storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: 30_000, SegmentBytes: 5000, FileDeleteDelay: 5 * time.Second}
			r.c.Intervals = Intervals{RecoveryCheckpoint: 2 * time.Second, StartCheckpoint: 3 * time.Second, HighWatermark: time.Second, Retention: 4 * time.Second, InitialDelay: time.Second}
			r.open().d.Start()
			n := 0
			var ids []schema.UUID
			flushed := map[schema.UUID]int64{}
			r.faults.Set(func(vfs.Op) error {
				if n++; n > at {
					return errKilled
				}
				return nil
			})
			work := func(i int) error {
				name := fmt.Sprint("t", i%3)
				id := schema.UUID{byte(i % 3), byte(i / 60), 1} // every name is used by several topics, one after the other
				l := r.d.Log(id, 0)
				if l == nil {
					if l, _ = r.d.Create(name, id, 0, schema.ZeroUUID); l == nil {
						return errKilled
					}
					ids = append(ids, id)
				}
				b := codecs.NewBuilder()
				b.Add(time.Now().UnixMilli(), nil, make([]byte, 700), nil)
				a, err := l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()})
				if err != nil {
					return err
				}
				r.d.Appended(l, a)
				l.SetHighWatermark(a.LastOffset + 1)
				if i%7 == 0 {
					if err := l.Flush(a.LastOffset + 1); err != nil {
						return err
					}
					flushed[id] = a.LastOffset + 1
				}
				if i%60 > 56 {
					delete(flushed, id)
					ids = slices.DeleteFunc(ids, func(u schema.UUID) bool { return u == id })
					return r.d.Delete(id, 0)
				}
				time.Sleep(100 * time.Millisecond)
				return nil
			}
			for i := 0; work(i) == nil; i++ {
			}
			r.d.end()
			r.mem.Crash(nil)
			r.faults.Set(nil)
			var err error
			if r.d, err = Open(r.c); err == nil {
				err = r.d.Load(context.Background())
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.d.Strays(func(_ string, id schema.UUID, _ int32) bool { return slices.Contains(ids, id) }); err != nil {
				t.Fatal(err)
			}
			for id, end := range flushed {
				l := r.d.Log(id, 0)
				if l == nil || l.View().LogEnd < end {
					t.Fatalf("killed at operation %d: %d records were flushed, now there is %+v\n%s", at, end, l, r.said.String())
				}
			}
			for _, info := range r.d.Info() {
				for _, l := range info.Logs {
					if l.Err != nil {
						t.Fatalf("killed at operation %d: %v", at, l.Err)
					}
				}
			}
			r.d.Start()
			time.Sleep(time.Minute)
			synctest.Wait()
			r.close(3)
			r.open()
			r.want("epoch", r.d.CleanShutdownEpoch(), int64(3))
			r.close(3)
			r.d = nil
		})
	}
}
