package record

import (
	"fmt"
	"math"
	"testing"
)

// usual gives a batch of n records with values of size bytes.
func usual(c *Codecs, codec Codec, n, size int) Batch {
	b := c.NewBuilder()
	b.Codec = codec
	for i := range n {
		b.Add(int64(1000+i), fmt.Appendf(nil, "k%d", i), text(size, i), nil)
	}
	return b.Bytes()
}

// The walk that validation does for every record: ns/record, and no allocation.
func BenchmarkWalk(b *testing.B) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		b.Run(codec.String(), func(b *testing.B) {
			const n = 1000
			batch := usual(c, codec, n, 90)
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Records(batch)
				if err != nil {
					b.Fatal(err)
				}
				var rec Record
				for {
					ok, err := r.skip(&rec)
					if err != nil {
						b.Fatal(err)
					}
					if !ok {
						break
					}
				}
				r.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	c := NewCodecs()
	for _, kind := range []struct {
		name    string
		n, size int
	}{{"16K", 160, 90}, {"1M", 1000, 1000}} {
		for _, codec := range allCodecs {
			b.Run(kind.name+"/"+codec.String(), func(b *testing.B) {
				batch := usual(c, codec, kind.n, kind.size)
				rules := Rules{Partition: "t-0", Now: 2000, Before: math.MaxInt64, After: 3600000, FromClient: true, ProduceVersion: 12}
				b.ReportAllocs()
				b.SetBytes(int64(kind.n * (kind.size + 10)))
				for b.Loop() {
					if _, err := c.Validate(batch, rules); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRecompress(b *testing.B) {
	c := NewCodecs()
	for _, to := range allCodecs[1:] {
		b.Run("none to "+to.String(), func(b *testing.B) {
			batch := usual(c, None, 128, 1000)
			rules := Rules{Now: 2000, Before: math.MaxInt64, After: 3600000, FromClient: true, Recompress: true, Codec: to}
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			for b.Loop() {
				if _, err := c.Validate(batch, rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
