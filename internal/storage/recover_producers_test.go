package storage

import (
	"errors"
	"slices"
	"testing"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A log that was shut down cleanly, and of which nothing was written since, is opened after a kill with the state that the clean end
// wrote: of its segments hardly anything is read.
func TestIdleLogIsHardlyRead(t *testing.T) {
	_, o := filled(t, 1)
	l, _ := open(t, o)
	mustAppend(t, l, idempotent(1, 0, 40, 10, false), AppendOptions{LeaderEpoch: 9})
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	for range 2 { // killed, and once more
		o.RecoveryPoint = 50
		var read int
		o.Reading = func(n int) error { read += n; return nil }
		l, rec := open(t, o)
		if size := len(idempotent(1, 0, 0, 10, false)); read > size || rec.BytesDue != int64(read) {
			t.Fatalf("%d bytes were read, a batch has %d: %+v", read, size, rec)
		}
		if v := l.View(); v.LogEnd != 50 || l.ProducerCount() != 1 {
			t.Fatalf("%+v, %d producers", v, l.ProducerCount())
		}
		for i := range 2 { // the producer is known: what it has sent is not taken twice, what comes next is
			a, err := l.Append([]record.Batch{idempotent(1, 0, int32(40+i*10), 10, false)}, AppendOptions{Now: t0, LeaderEpoch: 9, Origin: Client})
			if err != nil || a.Duplicate != (i == 0) {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		if err := l.Truncate(50, t0); err != nil {
			t.Fatal(err)
		}
		l.Close(false)
	}
}

// A log that is flushed and idle gets a snapshot at its end, and no more than one that belongs to no segment.
func TestKeepProducers(t *testing.T) {
	m, o := filled(t, 1)
	l, _ := open(t, o)
	o.TopicID = l.TopicID()
	size := len(idempotent(1, 0, 0, 10, false))
	keep := func(want int64) {
		t.Helper()
		if err := l.KeepProducers(); err != nil {
			t.Fatal(err)
		}
		if n := len(slices.DeleteFunc(slices.Clone(l.producers.snapshots), l.begins)); n != 1 || l.producers.lastSnap != want {
			t.Fatalf("snapshots %v, expected one at %d", l.producers.snapshots, want)
		}
	}
	last := int64(40) // recovery wrote that one
	for range 3 {
		for range 5 {
			mustAppend(t, l, idempotent(1, 0, int32(l.View().LogEnd), 10, false), AppendOptions{LeaderEpoch: 9})
			keep(last) // not idle
		}
		keep(last) // not flushed
		end := l.View().LogEnd
		if err := l.Flush(end); err != nil {
			t.Fatal(err)
		}
		keep(end)
		keep(end)
		last = end
		copied := o
		copied.FS, copied.RecoveryPoint = vfs.NewMem(nil), end
		copyLog(t, m, copied.FS, o.Dir)
		read := 0
		copied.Reading = func(n int) error { read += n; return nil }
		k, rec := open(t, copied)
		if rec.ProducersRebuiltFrom >= 0 || k.ProducerCount() != 1 || read > 4*size {
			t.Fatalf("%d bytes were read: %+v", read, rec)
		}
		mustAppend(t, k, idempotent(1, 0, int32(end), 10, false), AppendOptions{LeaderEpoch: 9})
	}
}

// copyLog copies a log's directory as it is.
func copyLog(t *testing.T, from, to vfs.FS, dir string) {
	t.Helper()
	names, err := from.List(dir)
	if err = errors.Join(err, to.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := vfs.ReadWhole(from, dir+"/"+name, 1<<20)
		if err == nil {
			err = vfs.Replace(to, dir+"/"+name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
