package storage

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// hotOperations are what a log does while it is used, each on a log of several segments.
var hotOperations = map[string]func(l *Log) error{
	"append": func(l *Log) error {
		_, err := tryAppend(l, records(1, t0.UnixMilli(), 100), AppendOptions{LeaderEpoch: 1})
		return err
	},
	"append several": func(l *Log) error {
		_, err := l.Append([]record.Batch{records(1, t0.UnixMilli(), 100), records(2, t0.UnixMilli(), 100)}, AppendOptions{LeaderEpoch: 1, Now: t0})
		return err
	},
	"follow": func(l *Log) error {
		b := records(1, t0.UnixMilli(), 100)
		b.SetBaseOffset(l.View().LogEnd)
		b.SetLeaderEpoch(1)
		_, err := l.AppendFollower(b, 1, t0)
		return err
	},
	"roll":       func(l *Log) error { return l.Roll(t0) },
	"flush":      func(l *Log) error { return l.Flush(l.View().LogEnd) },
	"new leader": func(l *Log) error { return l.BecomeLeader(2) },
	"read": func(l *Log) error {
		v := l.View()
		s, err := v.Read(v.LogStart, 1<<20, LogEnd, true)
		if err != nil {
			return err
		}
		defer s.Release()
		_, err = s.Bytes()
		return err
	},
	"look up a time": func(l *Log) error {
		_, _, err := l.OffsetForTimestamp(t0.UnixMilli() + 20)
		return err
	},
	"retention": func(l *Log) error {
		l.SetConfig(Config{SegmentBytes: 2000, Delete: true, RetentionBytes: 3000, RetentionAge: -1})
		_, err := l.DeleteOldSegments(t0)
		_, err2 := l.RemoveDeleted(t0.Add(time.Hour))
		return errors.Join(err, err2)
	},
	"truncate": func(l *Log) error { return l.Truncate(l.View().LogEnd-3, t0) },
	"clean": func(l *Log) error {
		l.SetConfig(Config{SegmentBytes: 2000, Compact: true})
		due, err := l.CleanableOffsets(t0)
		if err == nil {
			_, err = l.Clean(NewCleaner(CleanerOptions{MapBytes: 1 << 16}), CleanOptions{Cleanable: due, Now: t0})
		}
		return err
	},
	"move": func(l *Log) error {
		future, _, err := Open(Options{FS: l.fs.FS, Dir: "/d/t-0.x-future", Topic: "t", Config: l.Config(), Now: t0})
		if err != nil {
			return err
		}
		defer future.Close(false)
		for behind := int64(1); behind > 0; {
			if _, behind, err = l.Copy(future, 1000, t0); err != nil {
				return err
			}
		}
		if err := l.fs.MkdirAll("/e", 0o755); err != nil {
			return err
		}
		_, err = l.MoveTo(Move{Future: future, Dir: "/e/t-0", Old: "/d/t-0.x-delete", Tail: 1 << 20, Now: t0, Ready: func(int64) error { return nil }})
		return err
	},
	"close": func(l *Log) error { return l.Close(true) },
}

// Each call that an operation makes fails once, with EIO, EROFS or, half done, a short write: nothing panics, what failed is not
// acknowledged, every record that was acknowledged is there after the next start, once, and the log either goes on or refuses.
func TestEachCallFails(t *testing.T) {
	for name, operation := range hotOperations {
		t.Run(name, func(t *testing.T) {
			for _, fault := range []error{syscall.EIO, syscall.EROFS, &vfs.Short{N: 30, Err: syscall.EIO}} {
				for at := 1; failAt(t, name, operation, at, fault); at++ {
					if at > 500 {
						t.Fatal("it never ends")
					}
				}
			}
		})
	}
}

// failAt fails one call of an operation. False: there are not so many.
func failAt(t *testing.T, name string, operation func(*Log) error, at int, fault error) bool {
	t.Helper()
	mem, o := memory(t)
	faults := vfs.NewFaults(mem, nil)
	o.FS, o.Config = faults, Config{SegmentBytes: 2000, IndexInterval: 300}
	l, _ := open(t, o)
	if err := l.BecomeLeader(1); err != nil {
		t.Fatal(err)
	}
	const before = 40
	for i := range before {
		mustAppend(t, l, records(1, t0.UnixMilli()+int64(i), 100), AppendOptions{LeaderEpoch: 1})
	}
	l.SetHighWatermark(before)
	if name == "retention" || name == "clean" {
		if err := l.Flush(before); err != nil {
			t.Fatal(err)
		}
	}
	n, failed := 0, ""
	faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpClose {
			return nil
		}
		if n++; n == at {
			failed = op.String()
			return fault
		}
		return nil
	})
	err := operation(l)
	faults.Set(nil)
	if failed == "" {
		if err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		return false
	}
	where := fmt.Sprintf("%s: call %d, %s, %v", name, at, failed, fault)
	acknowledged := int64(before)
	if end := l.View().LogEnd; err == nil && end > before {
		acknowledged = end
	}
	if name == "truncate" {
		acknowledged = before - 3
	}
	if _, e := tryAppend(l, records(1, t0.UnixMilli(), 100), AppendOptions{LeaderEpoch: 1}); e == nil {
		acknowledged = l.View().LogEnd
	}
	checkReadable(t, where, l)
	start := l.View().LogStart
	o.Dir = l.Dir()
	l.Close(false)
	o.LogStartOffset = start
	again, rec, err := Open(o)
	if err != nil {
		t.Fatalf("%s: the next start: %v", where, err)
	}
	defer again.Close(false)
	v := again.View()
	if v.LogEnd < acknowledged || v.LogEnd > before+8 {
		t.Fatalf("%s: the log ends at %d, %d were acknowledged: %+v", where, v.LogEnd, acknowledged, rec)
	}
	if name != "clean" {
		checkDense(t, readAll(t, again, LogEnd), v.LogStart, v.LogEnd)
	}
	return true
}

// checkReadable reads what a log that met a fault still has.
func checkReadable(t *testing.T, where string, l *Log) {
	t.Helper()
	if l.isClosed() {
		return
	}
	v := l.View()
	for at := v.LogStart; at < v.LogEnd; {
		s, err := v.Read(at, 4096, LogEnd, true)
		if err != nil {
			return // the fault may have left a file that cannot be used; what matters is the next start
		}
		b, err := s.Bytes()
		s.Release()
		if err != nil {
			return
		}
		o := offsets(t, b)
		if len(o) == 0 || o[0] < at && o[len(o)-1] < at {
			t.Fatalf("%s: a read of %d gives %v", where, at, o)
		}
		at = o[len(o)-1] + 1
	}
}
