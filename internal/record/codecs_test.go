package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Every codec at every level, over lengths around the blocks' and windows' ends, with text and with noise.
func TestCompress(t *testing.T) {
	c := NewCodecs()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, codec := range allCodecs[1:] {
		levels := []int{0}
		switch codec {
		case Gzip:
			levels = []int{-1, 0, 1, 9, 100}
		case LZ4:
			levels = []int{-1, 0, 1, 9, 12, 17, 100}
		case Zstd:
			levels = []int{-131072, 0, 1, 3, 10, 22}
		}
		for _, level := range levels {
			for _, n := range []int{0, 1, 100, xerialBlock - 1, xerialBlock, lz4Block, lz4Block + 1, 3*lz4Block + 7} {
				noise := make([]byte, n)
				for i := range noise {
					noise[i] = byte(rng.Uint32())
				}
				for _, p := range [][]byte{text(n, 0), noise, make([]byte, n)} {
					z := c.Compress(codec, level, p)
					got, err := c.Decompress(codec, z, n)
					if err != nil || !bytes.Equal(got, p) {
						t.Fatalf("%v level %d, %d bytes: %d back, %v", codec, level, n, len(got), err)
					}
					if n > 0 {
						if _, err := c.Decompress(codec, z, n-1); !errors.Is(err, ErrTooLarge) {
							t.Fatalf("%v level %d, %d bytes over the limit: %v", codec, level, n, err)
						}
						for _, cut := range []int{len(z) - 1, len(z) / 2, 3} {
							if got, err := c.Decompress(codec, z[:cut], n); err == nil && len(got) == n && codec != LZ4 && codec != Snappy {
								t.Fatalf("%v level %d: %d of %d bytes decompress to all", codec, level, cut, len(z))
							}
						}
					}
				}
			}
		}
	}
}

// What others write with their own libraries, we read, and they read ours.
func TestForeignFramings(t *testing.T) {
	c := NewCodecs()
	p := text(200_000, 5)
	for name, tc := range map[string]struct {
		codec Codec
		z     []byte
	}{
		"snappy, one bare block":   {Snappy, s2.EncodeSnappy(nil, p)},
		"snappy, streams appended": {Snappy, append(c.Compress(Snappy, 0, p[:70_000]), c.Compress(Snappy, 0, p[70_000:])...)},
		"gzip, members appended":   {Gzip, append(c.Compress(Gzip, 1, p[:70_000]), c.Compress(Gzip, 9, p[70_000:])...)},
		"zstd, frames appended":    {Zstd, append(c.Compress(Zstd, 1, p[:70_000]), c.Compress(Zstd, 0, p[70_000:])...)},
		"zstd, size known":         {Zstd, zstdAll(t, p)},
		"zstd, checksum, 16 MiB":   {Zstd, zstdAll(t, p, zstd.WithEncoderCRC(true), zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))},
		"lz4, 4 MiB blocks":        {LZ4, lz4Frame(t, p, lz4.BlockSizeOption(lz4.Block4Mb))},
		"lz4, checksums and size":  {LZ4, lz4Frame(t, p, lz4.BlockSizeOption(lz4.Block256Kb), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(p))))},
		"lz4, bytes after the end": {LZ4, append(c.Compress(LZ4, 0, p), 1, 2, 3)},
	} {
		got, err := c.Decompress(tc.codec, tc.z, len(p))
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	zr, err := gzip.NewReader(bytes.NewReader(c.Compress(Gzip, 0, p)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(zr); err != nil || !bytes.Equal(got, p) {
		t.Errorf("gzip: %v", err)
	}
	if got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(c.Compress(LZ4, 12, p)))); err != nil || !bytes.Equal(got, p) {
		t.Errorf("lz4: %v", err)
	}
}

func zstdAll(t *testing.T, p []byte, opts ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(p, nil)
}

func lz4Frame(t *testing.T, p []byte, opts ...lz4.Option) []byte {
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(opts...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A block of a linked frame may copy from the block before.
func TestLZ4Linked(t *testing.T) {
	first := text(lz4Block, 0)
	f := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	f = append(f, flgVersion, bdBlock64K)
	f = append(f, byte(xxHash32(f[4:])>>8))
	f = binary.LittleEndian.AppendUint32(f, lz4Block|lz4Stored)
	f = append(f, first...)
	second := []byte{0x0f, 100, 0, 0, 0x50, 1, 2, 3, 4, 5} // 19 bytes from 100 back, then 5 literals
	f = binary.LittleEndian.AppendUint32(f, uint32(len(second)))
	f = append(f, second...)
	f = append(f, 0, 0, 0, 0)
	want := append(append(append([]byte(nil), first...), first[lz4Block-100:][:19]...), 1, 2, 3, 4, 5)
	got, err := NewCodecs().Decompress(LZ4, f, 1<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
	}
}

// Claims that cost nothing: streams of a few bytes that announce much.
func TestClaims(t *testing.T) {
	c := NewCodecs()
	claim := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, tc := range map[string]struct {
		codec Codec
		z     []byte
	}{
		"snappy block of 4 GiB":      {Snappy, claim("ffffffff0f00")},
		"xerial block of 4 GiB":      {Snappy, append([]byte(xerialMagic), claim("0000000100000001ffffffff00")...)},
		"xerial content of 2 GiB":    {Snappy, append([]byte(xerialMagic), claim("000000010000000100000006ffffff7f0000")...)},
		"lz4 of content size 2^63":   {LZ4, append(claim("04224d1868700000000000000080"), byte(xxHash32(claim("68700000000000000080"))>>8), 0, 0, 0, 0)},
		"lz4 block beyond its limit": {LZ4, append(claim("04224d186040"), append([]byte{byte(xxHash32([]byte{0x60, 0x40}) >> 8)}, claim("ffffff7f00")...)...)},
		"zstd of content size 2^60":  {Zstd, claim("28b52ffde00000000000000010010000")},
		"zstd window of 128 MiB":     {Zstd, claim("28b52ffd0088010000")},
		"gzip without content":       {Gzip, claim("1f8b0800000000000000")},
		"nothing of gzip":            {Gzip, nil},
		"nothing of lz4":             {LZ4, nil},
		"nothing of zstd":            {Zstd, nil},
	} {
		got := testing.AllocsPerRun(1, func() {
			if out, err := c.Decompress(tc.codec, tc.z, 1<<30); len(out) > 0 {
				t.Errorf("%s: %d bytes, %v", name, len(out), err)
			}
		})
		if got > 60 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func TestParseCodec(t *testing.T) {
	for _, codec := range allCodecs {
		if got, err := ParseCodec(codec.String()); err != nil || got != codec {
			t.Errorf("%v: %v %v", codec, got, err)
		}
	}
	if got, err := ParseCodec("uncompressed"); err != nil || got != None {
		t.Errorf("uncompressed: %v %v", got, err)
	}
	if _, err := ParseCodec("producer"); err == nil {
		t.Error("producer is no codec")
	}
}

func TestXXHash32(t *testing.T) {
	for in, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxHash32([]byte(in)); got != want {
			t.Errorf("%q: %#x, want %#x", in, got, want)
		}
	}
}
