package record

import (
	"bytes"
	"errors"
	"testing"
)

func seeds(f *testing.F, add func([]byte)) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		add(usual(c, codec, 5, 40))
		add(usual(c, codec, 200, 400))
	}
	add(c.EndTxn(EndTxnMarker{Commit, 1}, 2, 3, 4))
}

func FuzzNext(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, in []byte) {
		for rest := in; ; {
			b, r, err := Next(rest)
			var corrupt *Corrupt
			if err != nil {
				if !errors.Is(err, ErrTruncated) && !errors.As(err, &corrupt) {
					t.Fatalf("error of no kind: %v", err)
				}
				return
			}
			if b.Len() != len(b) || len(b) < HeaderLen || len(b)+len(r) != len(rest) {
				t.Fatalf("cut %d and %d off %d", len(b), len(r), len(rest))
			}
			_ = b.String() // reads the whole header
			rest = r
		}
	})
}

// Reader, skipping and building agree on whatever can be read. The CRC and the length are made right, so that the
// fuzzer gets to the records.
func FuzzReader(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	c := NewCodecs()
	f.Fuzz(func(t *testing.T, in []byte) {
		b := whole(in)
		if b == nil {
			return
		}
		r, err := c.reader(b, 4<<20)
		if err != nil {
			return
		}
		defer r.Close()
		s, err := c.reader(b, 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var x, y Record
		for {
			ok, err := r.Next(&x)
			ok2, err2 := s.skip(&y)
			if ok != ok2 || (err == nil) != (err2 == nil) {
				t.Fatalf("Next %v %v, skip %v %v", ok, err, ok2, err2)
			}
			if !ok {
				return
			}
			if x.Offset != y.Offset || x.Timestamp != y.Timestamp || x.Size != y.Size || (x.Key == nil) != (y.Key == nil) {
				t.Fatalf("Next %+v, skip %+v", x, y)
			}
			n := int32(0)
			for range x.Headers() {
				n++
			}
			if n != x.HeaderCount {
				t.Fatalf("%d headers of %d", n, x.HeaderCount)
			}
		}
	})
}

// whole makes length and CRC of the input right.
func whole(in []byte) Batch {
	if len(in) < HeaderLen {
		return nil
	}
	b := append(Batch(nil), in...)
	put32(posLength, int32(len(b)-LogOverhead))(b)
	b[posMagic] = Magic
	b.SetCRC()
	return b
}

// What Validate accepts once with any rules, a plain reader reads to the end, and Validate accepts again.
func FuzzValidate(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b, byte(0)); f.Add(b, byte(0xff)) })
	c := NewCodecs()
	f.Fuzz(func(t *testing.T, in []byte, flags byte) {
		b := whole(in)
		if b == nil {
			return
		}
		rules := Rules{Partition: "t-0", Now: 1 << 40, Before: 1 << 62, After: 1 << 62, FromClient: flags&1 == 0, Compacted: flags&2 != 0,
			Recompress: flags&4 != 0, Codec: allCodecs[int(flags>>3&7)%len(allCodecs)], MaxBytes: 1 << 20, MaxDecompressed: 4 << 20}
		if flags&0x40 != 0 {
			rules.TimestampType = LogAppendTime
		}
		got, err := c.Validate(b, rules)
		var invalid *Invalid
		if err != nil {
			if !errors.As(err, &invalid) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if err := got.Batch.CheckCRC(); err != nil || got.Batch.Len() != len(got.Batch) {
			t.Fatalf("accepted, but: %v", err)
		}
		r, err := c.reader(got.Batch, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var rec Record
		n := int32(0)
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatalf("accepted, but record %d: %v", n, err)
			}
			if !ok {
				break
			}
			if rules.FromClient && rec.OffsetDelta != n {
				t.Fatalf("record %d has delta %d", n, rec.OffsetDelta)
			}
			n++
		}
		if n != got.Count {
			t.Fatalf("%d records of %d", n, got.Count)
		}
		rules.TimestampType = CreateTime
		rules.Recompress = false
		if again, err := c.Validate(append(Batch(nil), got.Batch...), rules); err != nil && errors.As(err, &invalid) && invalid.Kind != InvalidTimestamp {
			t.Fatalf("accepted once: %v", err)
		} else if err == nil && again.Rewritten {
			t.Fatal("rewritten twice")
		}
	})
}

func fuzzCodec(f *testing.F, codec Codec) {
	c := NewCodecs()
	for _, n := range []int{0, 10, 1000, 70_000} {
		f.Add(c.Compress(codec, 0, text(n, 0)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 20
		got, err := c.Decompress(codec, in, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes over the limit", len(got))
		}
		if err != nil {
			return
		}
		back, err := c.Decompress(codec, c.Compress(codec, 0, got), limit)
		if err != nil || !bytes.Equal(back, got) {
			t.Fatalf("%d bytes do not survive: %v", len(got), err)
		}
	})
}

func FuzzGzip(f *testing.F)   { fuzzCodec(f, Gzip) }
func FuzzSnappy(f *testing.F) { fuzzCodec(f, Snappy) }
func FuzzLZ4(f *testing.F)    { fuzzCodec(f, LZ4) }
func FuzzZstd(f *testing.F)   { fuzzCodec(f, Zstd) }
