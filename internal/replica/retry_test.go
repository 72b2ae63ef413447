package replica

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A replica whose log cannot be created, because the disk is full or too many files are open from some call on, is offline. When that
// has passed it is there with Retry, or with the next change of its metadata, at the same leader epoch or another, and works.
func TestRetry(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.ENOSPC, syscall.EMFILE} {
		for call := 1; ; call++ {
			if !retryAt(t, number, call) {
				if call < 5 {
					t.Fatalf("%v: creating a log makes only %d calls that could fail", number, call-1)
				}
				break
			}
		}
	}
}

func retryAt(t *testing.T, number syscall.Errno, call int) bool {
	t.Helper()
	where := fmt.Sprintf("%v from call %d on", number, call)
	faults := vfs.NewFaults(vfs.NewMem(nil), nil)
	b := newBrokerOn(t, faults, "/d")
	defer b.close()
	n := 0
	faults.Set(func(op vfs.Op) error {
		wants := op.Kind == vfs.OpCreate || op.Kind == vfs.OpMkdirAll || op.Kind == vfs.OpWrite
		if number == syscall.EMFILE {
			wants = op.Kind == vfs.OpCreate || op.Kind == vfs.OpOpen || op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpList
		}
		if wants {
			if n++; n >= call {
				return number
			}
		}
		return nil
	})
	b.topic("t", 1, 1)
	p := b.partition("t", 0)
	if p.Log() != nil {
		faults.Set(nil)
		return false
	}
	b.set.Retry() // in vain
	if b.partition("t", 0) != p || p.Log() != nil {
		t.Fatalf("%s: Retry made a log", where)
	}
	if _, err := p.Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now()}); !errors.Is(err, ErrOffline) {
		t.Fatalf("%s: Produce: %v", where, err)
	}
	c := b.client(FetchOptions{Wait: time.Hour, MinBytes: 1})
	want(t, where+": a fetch", c.fetch(at("t", 0, 0)), "t-0 "+ErrOffline.Error())
	faults.Set(nil)
	if call%2 == 0 {
		b.set.Retry()
	} else {
		b.change(1, 0, []int32{same, self}[call/2%2], []int32{self})
	}
	b.produce("t", 0, batch(3, 10))
	want(t, where+": the next fetch", c.fetch(), "t-0 hw 3 [0,3)")
	if st := b.set.Stats(); st.Partitions != 1 || st.Leaders != 1 || st.Offline != 0 {
		t.Fatalf("%s: %+v", where, st)
	}
	b.set.Retry() // nothing is wanting
	want(t, where+": records", fmt.Sprint(b.partition("t", 0).Log().View().LogEnd), "3")
	return true
}

// A batch that is sent again, because the flush that flush.messages asks for had failed, is flushed before it is acknowledged, and
// only then is below the high watermark.
func TestDuplicateIsFlushed(t *testing.T) {
	faults := vfs.NewFaults(vfs.NewMem(nil), nil)
	b := newBrokerOn(t, faults, "/d")
	defer b.close()
	b.config.Log.FlushMessages, b.config.Log.IndexInterval = 1, 1
	b.topic("t", 1, 1)
	b.produce("t", 0, batch(1, 10, producer(7, 0, 0)))
	faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Path, ".index") {
			return syscall.ENOSPC
		}
		return nil
	})
	p := b.partition("t", 0)
	again := func() (storage.Appended, error) {
		return p.Produce(batch(1, 10, producer(7, 0, 1)), ProduceOptions{Acks: 1, Version: 9, Now: time.Now()})
	}
	for range 2 {
		if _, err := again(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("on a full disk: %v", err)
		}
		want(t, "high watermark", fmt.Sprint(p.Log().View().HighWatermark), "1")
	}
	faults.Set(nil)
	a, err := again()
	if err != nil || !a.Duplicate || a.FirstOffset != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	want(t, "recovery point and high watermark", fmt.Sprint(p.Log().RecoveryPoint(), p.Log().View().HighWatermark), "2 2")
}

// Retry ends with the first replica that still cannot be created, and makes all when they can be.
func TestRetryEndsEarly(t *testing.T) {
	faults := vfs.NewFaults(vfs.NewMem(nil), nil)
	b := newBrokerOn(t, faults, "/d")
	defer b.close()
	tries := 0
	faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpMkdirAll {
			tries++
			return syscall.ENOSPC
		}
		return nil
	})
	b.topic("t", 20, 1)
	tries = 0
	b.set.Retry()
	want(t, "tries", fmt.Sprint(tries), "1")
	faults.Set(nil)
	b.set.Retry()
	want(t, "offline", fmt.Sprint(b.set.Stats().Offline), "0")
}
