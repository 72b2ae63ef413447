package storage

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

func FuzzEpochs(f *testing.F) {
	f.Add([]byte("0\n2\n0 0\n3 17\n"))
	f.Add([]byte("0\n1\n-1 0\n"))
	f.Add([]byte("0\n3\n5 5\n4 4\n3 9\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEpochs(b)
		if err != nil {
			return
		}
		for i := 1; i < len(e); i++ {
			if e[i].Epoch <= e[i-1].Epoch || e[i].Start <= e[i-1].Start {
				t.Fatalf("not ascending: %v", e)
			}
		}
		again, err := decodeEpochs(e.encode())
		if diff := cmp.Diff(e, again); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
	})
}

func FuzzPartitionMetadata(f *testing.F) {
	f.Add(encodePartition(schema.UUID{1}))
	f.Add([]byte("version: 0\r\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodePartition(b)
		if err != nil {
			return
		}
		if again, err := decodePartition(encodePartition(id)); err != nil || again != id {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(encodeSnapshot(nil))
	f.Add(encodeSnapshot([]schema.ProducerEntry{{ProducerID: 1, LastOffset: 5, CurrentTxnFirstOffset: 3}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newProducers(0)
		var entries []schema.ProducerEntry
		err := decodeSnapshot(b, func(x *schema.ProducerEntry) {
			entries = append(entries, *x)
			p.restore(x)
		})
		if err == nil && !bytes.Equal(encodeSnapshot(entries), b) {
			t.Fatal("what was read is not what is written")
		}
	})
}

// FuzzOpen opens a log whose segment and indexes hold anything: it must repair them, go on, and never panic.
func FuzzOpen(f *testing.F) {
	good := append(bytes.Clone(records(3, 5, 10)), idempotent(1, 0, 0, 2, true)...)
	f.Add(good, []byte{}, []byte{}, []byte{}, int64(0))
	f.Add(good[:len(good)-3], []byte{0, 0, 0, 2, 0, 0, 0, 0}, make([]byte, 24), make([]byte, 34), int64(3))
	f.Fuzz(func(t *testing.T, log, offsets, times, aborts []byte, rp int64) {
		m, o := memory(t)
		if err := m.MkdirAll(o.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for suffix, b := range map[string][]byte{suffixLog: log, suffixIndex: offsets, suffixTimeIndex: times, suffixTxnIndex: aborts} {
			change(t, m, fileName(0, suffix), func(f vfs.File) error { _, err := f.WriteAt(b, 0); return err })
		}
		for _, clean := range []bool{true, false} {
			o.Clean, o.RecoveryPoint = clean, rp
			l, _, err := Open(o)
			if err != nil {
				continue
			}
			if _, err := l.Append([]record.Batch{records(1, 7, 3)}, AppendOptions{Now: t0}); err != nil {
				t.Fatalf("clean %t: %v", clean, err)
			}
			v := l.View()
			s, err := v.Read(v.LogEnd-1, 100, LogEnd, true)
			if err != nil || s.First != v.LogEnd-1 {
				t.Fatalf("clean %t: read of what was just appended: %+v, %v", clean, s, err)
			}
			s.Release()
			_, _, _ = l.OffsetForTimestamp(6)
			_, _ = v.Aborted(0, 10)
			l.Close(false)
		}
	})
}

func FuzzAppendFollower(f *testing.F) {
	f.Add([]byte(records(3, 5, 10)))
	f.Add(append([]byte(marker(1, 0, record.Abort, 1)), 1, 2, 3))
	far := records(3, 5, 10)
	far.SetBaseOffset(math.MaxInt64 - 1)
	f.Add([]byte(far))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, o := memory(t)
		l, _ := open(t, o)
		out, err := l.AppendFollower(b, 5, t0)
		var at *StorageError
		if errors.As(err, &at) {
			t.Fatal(err)
		}
		if err == nil && out.LogEnd < 0 {
			t.Fatalf("%+v", out)
		}
	})
}
