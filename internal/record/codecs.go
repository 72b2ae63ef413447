package record

import (
	"fmt"
	"io"
	"sync"
)

// Codecs holds what compression needs to be fast: compressors, decompressors and buffers that were used before.
// A node has one and passes it to whoever validates, reads or builds batches. It is safe for concurrent use.
type Codecs struct {
	readers sync.Pool
	sources [Zstd + 1]sync.Pool
	gzips   [gzipMax + 1]sync.Pool
	snappys sync.Pool
	lz4s    [lz4Max + 1]sync.Pool
	zstds   [zstdLevels]sync.Pool
}

// NewCodecs gives empty pools.
func NewCodecs() *Codecs { return &Codecs{} }

// bufferKept bounds the buffer that a pooled reader holds on to.
const bufferKept = 2 << 20

func (c *Codecs) getReader() *Reader {
	if r, ok := c.readers.Get().(*Reader); ok {
		return r
	}
	return &Reader{}
}

func (c *Codecs) putReader(r *Reader) { c.readers.Put(r) }

// source gives a decompressor that stands at the start of src. The codec is valid and not None.
func (c *Codecs) source(codec Codec, src []byte) source {
	s, ok := c.sources[codec].Get().(source)
	if !ok {
		switch codec {
		case Gzip:
			s = &gzipSource{}
		case Snappy:
			s = &snappySource{}
		case LZ4:
			s = &lz4Source{}
		case Zstd:
			s = &zstdSource{}
		}
	}
	s.reset(src)
	return s
}

func (c *Codecs) putSource(codec Codec, s source) {
	s.reset(nil)
	c.sources[codec].Put(s)
}

// Decompress gives the whole content of a compressed stream in a slice of its own, or ErrTooLarge if it is longer
// than max bytes, or *Corrupt. A stream that claims to be long costs no more memory than it has content.
func (c *Codecs) Decompress(codec Codec, src []byte, max int) ([]byte, error) {
	if !codec.Valid() {
		return nil, corruptf("compression type id %d does not exist", int8(codec))
	}
	if codec == None {
		if len(src) > max {
			return nil, ErrTooLarge
		}
		return append([]byte(nil), src...), nil
	}
	s := c.source(codec, src)
	defer c.putSource(codec, s)
	var out []byte
	for {
		var err error
		out, err = s.more(out, int64(max-len(out)))
		switch {
		case len(out) > max || err == ErrTooLarge:
			return nil, ErrTooLarge
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, corruptf("%s stream: %v", codec, err)
		}
	}
}

// compressor is a writer that can be used again.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// compressor gives a compressor that writes to w. Levels are those of compression.gzip.level and so on, 0 means
// the codec's default; what is out of range is taken to the nearest level that exists.
func (c *Codecs) compressor(codec Codec, level int, w io.Writer) (compressor, *sync.Pool) {
	var pool *sync.Pool
	var fresh func() compressor
	switch codec {
	case Gzip:
		l := gzipLevel(level)
		pool, fresh = &c.gzips[l], func() compressor { return newGzip(l) }
	case Snappy:
		pool, fresh = &c.snappys, func() compressor { return &snappyWriter{} }
	case LZ4:
		l := lz4Level(level)
		pool, fresh = &c.lz4s[l], func() compressor { return newLZ4(l) }
	case Zstd:
		l := zstdLevel(level)
		pool, fresh = &c.zstds[l-1], func() compressor { return newZstd(l) }
	default:
		panic(fmt.Sprintf("record: no compressor for codec %v", codec))
	}
	z, ok := pool.Get().(compressor)
	if !ok {
		z = fresh()
	}
	z.Reset(w)
	return z, pool
}

// Compress gives src as one stream of a codec that is not None, in a slice of its own.
func (c *Codecs) Compress(codec Codec, level int, src []byte) []byte {
	out := output{max: maxBatch}
	if err := c.compress(codec, level, src, &out); err != nil {
		panic("record: compressing into memory failed: " + err.Error())
	}
	return out.b
}

// compress appends src as one stream to out.
func (c *Codecs) compress(codec Codec, level int, src []byte, out *output) error {
	z, pool := c.compressor(codec, level, out)
	_, err := z.Write(src)
	if err == nil {
		err = z.Close()
	}
	z.Reset(io.Discard)
	pool.Put(z)
	return err
}

// transcode appends the content of a payload, compressed with from, to out, compressed with to. The limit is one of
// the content, 0 for the default.
func (c *Codecs) transcode(from Codec, src []byte, to Codec, level int, out *output, limit int64) error {
	if limit == 0 {
		limit = max(defaultDecompressed, defaultExpansion*int64(len(src)))
	}
	if to == None {
		return c.copy(out, from, src, limit)
	}
	z, pool := c.compressor(to, level, out)
	defer func() {
		z.Reset(io.Discard)
		pool.Put(z)
	}()
	if err := c.copy(z, from, src, limit); err != nil {
		return err
	}
	return z.Close()
}

// copy writes the content of a payload to w.
func (c *Codecs) copy(w io.Writer, from Codec, src []byte, limit int64) error {
	if from == None {
		_, err := w.Write(src)
		return err
	}
	s := c.source(from, src)
	defer c.putSource(from, s)
	r := c.getReader() // for its buffer
	defer c.putReader(r)
	for {
		var err error
		r.own, err = s.more(r.own[:0], limit)
		if limit -= int64(len(r.own)); limit < 0 {
			return ErrTooLarge
		}
		if _, werr := w.Write(r.own); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// output collects bytes up to a limit.
type output struct {
	b   []byte
	max int
}

func (o *output) Write(p []byte) (int, error) {
	if len(p) > o.max-len(o.b) {
		return 0, ErrTooLarge
	}
	o.b = append(o.b, p...)
	return len(p), nil
}
