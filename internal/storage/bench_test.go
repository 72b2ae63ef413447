package storage

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klamm-io/klamm/internal/record"
)

// batchOf builds a batch of about size bytes.
func batchOf(size, each int) record.Batch {
	return records(max(1, size/(each+12)), t0.UnixMilli(), each)
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		for _, who := range []string{"plain", "idempotent"} {
			b.Run(fmt.Sprintf("%s/%dK", who, size>>10), func(b *testing.B) {
				l, _ := open(b, Options{Dir: filepath.Join(b.TempDir(), "t-0"), Config: Config{MaxMessageBytes: 2 << 20, Delete: true, RetentionBytes: 1 << 30, RetentionAge: -1}})
				defer l.Remove()
				batch := batchOf(min(size, 1<<20-4096), 100)
				n := batch.LastOffsetDelta() + 1
				list := []record.Batch{batch}
				if who == "idempotent" {
					bb := codecs.NewBuilder()
					bb.ProducerID, bb.ProducerEpoch, bb.BaseSequence = 1, 0, 0
					for range n {
						bb.Add(t0.UnixMilli(), []byte("k0"), make([]byte, 100), nil)
					}
					list[0] = bb.Bytes()
				}
				b.SetBytes(int64(len(list[0])))
				b.ReportAllocs()
				a := AppendOptions{Now: t0}
				seq := int32(0)
				for b.Loop() {
					if who == "idempotent" {
						seq = setSequence(list[0], seq)
					}
					out, err := l.Append(list, a)
					if err != nil {
						b.Fatal(err)
					}
					l.SetHighWatermark(out.LogEnd)
					if out.Rolled {
						if _, err := l.DeleteOldSegments(t0); err != nil {
							b.Fatal(err)
						}
						l.RemoveDeleted(t0)
					}
				}
			})
		}
	}
}

// setSequence gives a batch its next sequence; the checksum, which Append does not look at, becomes wrong.
func setSequence(b record.Batch, seq int32) int32 {
	const posBaseSequence = 53
	b[posBaseSequence], b[posBaseSequence+1], b[posBaseSequence+2], b[posBaseSequence+3] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	return record.IncrementSequence(seq, b.LastOffsetDelta()+1)
}

func BenchmarkRead(b *testing.B) {
	l, _ := open(b, Options{Dir: filepath.Join(b.TempDir(), "t-0"), Config: Config{SegmentBytes: 64 << 20}})
	batch := batchOf(16<<10, 100)
	for range 16 << 10 {
		mustAppend(b, l, slices.Clone(batch), AppendOptions{})
	}
	if err := l.Flush(l.View().LogEnd); err != nil {
		b.Fatal(err)
	}
	end := l.View().LogEnd
	l.SetHighWatermark(end)
	for name, c := range map[string]struct{ from, step, span int64 }{
		"catchup 1M": {0, 1 << 13, end - 1<<14}, "random 1M": {0, 7_654_321, end - 1<<14}, "tail 16K": {end - int64(batch.Count()), 0, 1},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			at := c.from
			for b.Loop() {
				s, err := l.View().Read(at, 1<<20, HighWatermark, true)
				if err != nil || s.Size == 0 {
					b.Fatal(s.Size, err)
				}
				s.Release()
				if at = at + c.step; at >= c.from+c.span {
					at = c.from + (at-c.from)%c.span
				}
			}
		})
	}
}
