package storage

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// TestCompactionAsApache compacts a copy of a log that Apache Kafka wrote, and compares what is left with what Apache's
// cleaner left of it: records, markers, batches and aborted transactions. KLAMM_UNCOMPACTED names the log's directory
// before, KLAMM_COMPACTED after Apache's cleaning; without them the test is skipped.
func TestCompactionAsApache(t *testing.T) {
	before, after := os.Getenv("KLAMM_UNCOMPACTED"), os.Getenv("KLAMM_COMPACTED")
	if before == "" || after == "" {
		t.Skip("KLAMM_UNCOMPACTED and KLAMM_COMPACTED are not set")
	}
	load := func(from string) *Log {
		dir := filepath.Join(t.TempDir(), "t-0")
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		l, _ := open(t, Options{FS: vfs.OS{}, Dir: dir, HighWatermark: math.MaxInt64, Now: time.Now(), Clean: true,
			Config: Config{Compact: true, SegmentBytes: 1 << 20, DeleteRetention: 24 * time.Hour}})
		return l
	}
	ours, theirs := load(before), load(after)
	d, err := ours.CleanableOffsets(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	records := len(contents(t, ours).records)
	begun := time.Now()
	stats, err := ours.Clean(NewCleaner(CleanerOptions{}), CleanOptions{Cleanable: d, Now: begun})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v: %+v", time.Since(begun), stats)
	a, b := contents(t, ours), contents(t, theirs)
	t.Logf("%d records before; ours: %d records in %d batches, %d bytes, %d segments; Apache's: %d in %d, %d bytes, %d segments", records,
		len(a.records), a.batches, ours.Size(), ours.SegmentCount(), len(b.records), b.batches, theirs.Size(), theirs.SegmentCount())
	if diff := cmp.Diff(b.records, a.records); diff != "" {
		t.Fatalf("records (-Apache's +ours):\n%.4000s", diff)
	}
	if diff := cmp.Diff(b.horizons, a.horizons); diff != "" {
		t.Fatalf("batches with a delete horizon (-Apache's +ours):\n%.4000s", diff)
	}
	x, err := ours.AbortedTransactions(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	y, err := theirs.AbortedTransactions(0, math.MaxInt64)
	if diff := cmp.Diff(y, x); diff != "" || err != nil {
		t.Fatalf("aborted transactions (-Apache's +ours): %v\n%s", err, diff)
	}
}

type content struct {
	records  []string
	horizons []int64 // base offsets
	batches  int
}

func contents(t *testing.T, l *Log) (c content) {
	t.Helper()
	b := readAll(t, l, LogEnd)
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		b = rest
		c.batches++
		if batch.HasDeleteHorizon() {
			c.horizons = append(c.horizons, batch.BaseOffset())
		}
		err = eachRecord(batch, func(r *record.Record) {
			c.records = append(c.records, fmt.Sprintf("%d %d %q %x %t %x control %t codec %v", r.Offset, r.Timestamp, r.Key, r.Value, r.Value == nil, r.RawHeaders, batch.Control(), batch.Codec()))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}
