package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
)

// TestCompactionBeside compacts, three times at least, while others append, read from the beginning, flush and remove what was replaced. Every
// reader that reads to the end sees each key go up only, and the value of each that was the last when it began, or a later
// one.
func TestCompactionBeside(t *testing.T) {
	const keys, rounds = 20, 400
	_, o := memory(t)
	o.Config = Config{SegmentBytes: 4000, IndexInterval: 300, Compact: true, DeleteRetention: time.Hour}
	o.Files = NewFiles(5)
	l, _ := open(t, o)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var cleaned atomic.Int64
	c := NewCleaner(CleanerOptions{MapBytes: 40 * slotSize, BufferBytes: 1000})
	loop(func() error {
		d, err := l.CleanableOffsets(t0)
		if err == nil && d.DirtyBytes > 0 {
			if _, err = l.Clean(c, CleanOptions{Cleanable: d, Now: t0}); err == nil {
				cleaned.Add(1)
			}
		}
		return err
	})
	for range 2 {
		loop(func() error { return readUp(l) })
	}
	loop(func() error { return errors.Join(l.Flush(l.View().LogEnd)) })
	loop(func() error {
		_, err := l.RemoveDeleted(t0)
		l.CloseIdle()
		return err
	})
	for round := 0; round < rounds || cleaned.Load() < 3 && !t.Failed(); round++ {
		b := codecs.NewBuilder()
		for key := range keys {
			b.Add(t0.UnixMilli(), fmt.Appendf(nil, "%d", key), fmt.Appendf(nil, "%08d", round), nil)
		}
		mustAppend(t, l, b.Bytes(), AppendOptions{Origin: RaftLeader})
		l.SetHighWatermark(l.View().LogEnd)
	}
	for range 3 {
		if err := readUp(l); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d compactions; %d segments, %d bytes", cleaned.Load(), l.SegmentCount(), l.Size())
}

// readUp reads a log from the beginning to the end that it has at first.
func readUp(l *Log) error {
	end := l.View().HighWatermark
	last := map[string]string{}
	for at := int64(0); at < l.View().HighWatermark; {
		s, err := l.View().Read(at, 3000, HighWatermark, true)
		if err != nil {
			return fmt.Errorf("read %d: %w", at, err)
		}
		if s.Size == 0 {
			return fmt.Errorf("nothing to read at %d, the end is %d", at, end)
		}
		b, err := s.Bytes()
		s.Release()
		for err == nil && len(b) > 0 {
			var batch record.Batch
			if batch, b, err = record.Next(b); err != nil {
				break
			}
			if batch.LastOffset() < at {
				return fmt.Errorf("batch %v was read at %d", batch, at)
			}
			at = batch.LastOffset() + 1
			err = eachRecord(batch, func(r *record.Record) {
				if was := last[string(r.Key)]; string(r.Value) < was {
					err = fmt.Errorf("key %s goes from %s to %s", r.Key, was, r.Value)
				}
				last[string(r.Key)] = string(r.Value)
			})
		}
		if err != nil {
			return err
		}
	}
	for key, value := range last {
		if want := fmt.Sprintf("%08d", end/20-1); value < want {
			return fmt.Errorf("key %s has %s, %s was there", key, value, want)
		}
	}
	return nil
}

func eachRecord(b record.Batch, f func(*record.Record)) error {
	if err := b.CheckCRC(); err != nil {
		return err
	}
	r, err := codecs.Records(b)
	if err != nil {
		return err
	}
	defer r.Close()
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if !ok {
			return err
		}
		f(&rec)
	}
}

// A log that is truncated, closed or moved while it is compacted is let go of, and keeps what it has.
func TestCompactionAborted(t *testing.T) {
	for name, change := range map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.Truncate(l.View().LogEnd-1, t0) },
		"rename":   func(l *Log) error { return l.Rename("/d/t-0.x-delete") },
		"retention": func(l *Log) error {
			l.SetConfig(Config{Compact: true, Delete: true, RetentionBytes: 0, RetentionAge: -1})
			_, err := l.DeleteOldSegments(t0)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, o := memory(t)
			o.Config = Config{SegmentBytes: 1000, Compact: true}
			l, _ := open(t, o)
			for range 20 {
				mustAppend(t, l, records(5, t0.UnixMilli(), 50), AppendOptions{})
			}
			l.SetHighWatermark(l.View().LogEnd)
			d, err := l.CleanableOffsets(t0)
			if err != nil {
				t.Fatal(err)
			}
			calls := 0
			_, err = l.Clean(NewCleaner(CleanerOptions{BufferBytes: 500}), CleanOptions{Cleanable: d, Now: t0, Permit: func(int) error {
				if calls++; calls == 30 {
					return change(l)
				}
				return nil
			}})
			if !errors.Is(err, ErrCleaningAborted) || calls < 30 {
				t.Fatalf("%v after %d calls", err, calls)
			}
			names, err := o.FS.List(l.Dir())
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if _, suffix, ok := parseName(n); ok && (hasSuffix(suffix, suffixCleaned) || hasSuffix(suffix, suffixSwap)) {
					t.Fatalf("%s is left in %s", n, l.Dir())
				}
			}
			readAll(t, l, LogEnd)
			if err := l.Close(true); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("close", func(t *testing.T) {
		_, o := memory(t)
		o.Config = Config{SegmentBytes: 1000, Compact: true}
		l, _ := open(t, o)
		for range 20 {
			mustAppend(t, l, records(5, t0.UnixMilli(), 50), AppendOptions{})
		}
		l.SetHighWatermark(l.View().LogEnd)
		d, err := l.CleanableOffsets(t0)
		if err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		closed := make(chan error, 1)
		_, err = l.Clean(NewCleaner(CleanerOptions{BufferBytes: 500}), CleanOptions{Cleanable: d, Now: t0, Permit: func(int) error {
			once.Do(func() { go func() { closed <- l.Close(true) }() })
			for !l.isClosed() {
			}
			return nil
		}})
		if !errors.Is(err, ErrCleaningAborted) {
			t.Fatal(err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		if _, err := o.FS.Stat(filepath.Join(o.Dir, "00000000000000000000.log")); err != nil {
			t.Fatal(err)
		}
	})
}
