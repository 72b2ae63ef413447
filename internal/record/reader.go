package record

import (
	"errors"
	"io"
	"math"
	"slices"
)

// ErrTooLarge says that decompressed bytes, or a batch that is built, exceed their limit.
var ErrTooLarge = errors.New("record batch is larger than its limit")

// Limits of decompression where the caller sets none. A batch may grow to the larger of both.
const (
	defaultDecompressed = 256 << 20 // bytes
	defaultExpansion    = 128       // times the batch's length
)

// window is the size with which a decompression buffer starts, and about the memory that a walk needs.
const window = 64 << 10

// source is a decompressor that a Reader pulls.
type source interface {
	// reset starts on a compressed stream, which stays the caller's.
	reset(src []byte)
	// more appends decompressed bytes to dst, at least one if it gives no error. The error is io.EOF after the
	// last byte, and ErrTooLarge if the source knows that it would have to append more than max bytes.
	more(dst []byte, max int64) ([]byte, error)
}

// Reader walks over the records of a batch. It decompresses as it goes and holds one window of the records,
// not all of them. It belongs to one goroutine.
type Reader struct {
	codecs *Codecs
	codec  Codec
	src    source // nil where the records need no decompression
	own    []byte // the buffer that the reader keeps from batch to batch
	buf    []byte // buf[pos:] are the bytes not read yet
	pos    int
	left   int64 // decompressed bytes that may still come
	eof    bool  // src is at its end
	count  int32
	read   int32

	baseOffset    int64
	baseTimestamp int64
	appendTime    int64
	hasAppendTime bool
}

// Records opens the records of a batch. Close the reader when done with it and with what its records alias.
func (c *Codecs) Records(b Batch) (*Reader, error) { return c.reader(b, 0) }

// reader is Records with a limit for the decompressed bytes, 0 for the default.
func (c *Codecs) reader(b Batch, limit int64) (*Reader, error) {
	if len(b) < HeaderLen {
		return nil, ErrTruncated
	}
	codec := b.Codec()
	if !codec.Valid() {
		return nil, corruptf("compression type id %d does not exist", int8(codec))
	}
	count := b.Count()
	if count < 0 {
		return nil, corruptf("record count %d", count)
	}
	r := c.getReader()
	*r = Reader{
		own:    r.own,
		codecs: c, codec: codec, count: count,
		baseOffset: b.BaseOffset(), baseTimestamp: b.BaseTimestamp(),
		appendTime: b.MaxTimestamp(), hasAppendTime: b.TimestampType() == LogAppendTime,
	}
	if codec == None || count == 0 {
		r.buf = b.Payload()
		return r, nil
	}
	r.left = limit
	if r.left == 0 {
		r.left = max(defaultDecompressed, defaultExpansion*int64(len(b)))
	}
	r.buf = r.own[:0]
	r.src = c.source(codec, b.Payload())
	return r, nil
}

// Close gives the reader and its buffer back. It must be called once: the reader and all that its records alias must not be used after it.
func (r *Reader) Close() {
	c := r.codecs
	if c == nil {
		return
	}
	own := r.own
	if r.src != nil {
		c.putSource(r.codec, r.src)
		own = r.buf
	}
	if cap(own) > bufferKept {
		own = nil
	}
	*r = Reader{own: own}
	c.putReader(r)
}

// Next reads the next record into rec; false without an error says that there is none left. Errors are
// *Corrupt, or ErrTooLarge when decompression would exceed the limit.
func (r *Reader) Next(rec *Record) (bool, error) {
	if r.read == r.count {
		return false, r.atEnd()
	}
	// Mostly the whole record is there.
	var body []byte
	if n, i := varint(r.buf, r.pos); i > 0 && uint(n) <= uint(len(r.buf)-i) {
		body = r.buf[i : i+int(n)]
		rec.Size = i + int(n) - r.pos
		r.pos = i + int(n)
	} else {
		var err error
		if body, err = r.body(rec); err != nil {
			return false, err
		}
	}
	if !rec.parse(body) {
		return false, corruptf("record %d of %d has an invalid structure", r.read, r.count)
	}
	r.complete(rec)
	return true, nil
}

// complete counts a record that was parsed and fills in what the batch's header adds to it.
func (r *Reader) complete(rec *Record) {
	r.read++
	rec.Offset = r.baseOffset + int64(rec.OffsetDelta)
	rec.Timestamp = r.baseTimestamp + rec.TimestampDelta
	if r.hasAppendTime {
		rec.Timestamp = r.appendTime
	}
}

// body gives the bytes that the next record's length field counts.
func (r *Reader) body(rec *Record) ([]byte, error) {
	n, i, err := r.length()
	if err != nil {
		return nil, err
	}
	if err := r.fill(i + n); err != nil {
		return nil, r.cut(err)
	}
	body := r.buf[r.pos+i : r.pos+i+n]
	r.pos += i + n
	rec.Size = i + n
	return body, nil
}

// length reads the next record's length field: its value and its own size. It consumes nothing.
func (r *Reader) length() (n, size int, err error) {
	v, i := varint(r.buf, r.pos)
	for i < 0 && len(r.buf)-r.pos < 5 {
		if err := r.fill(len(r.buf) - r.pos + 1); err != nil {
			return 0, 0, r.cut(err)
		}
		v, i = varint(r.buf, r.pos)
	}
	if i < 0 || v < 0 {
		return 0, 0, corruptf("record %d of %d has an invalid length", r.read, r.count)
	}
	return int(v), i - r.pos, nil
}

// cut names the record at which the bytes ended.
func (r *Reader) cut(err error) error {
	if err == io.ErrUnexpectedEOF {
		return corruptf("the records end within record %d of %d", r.read, r.count)
	}
	return err
}

// fill sees to it that n unread bytes stand in the buffer. It moves them, so what aliased the buffer is gone.
// The error is io.ErrUnexpectedEOF if there are not so many.
func (r *Reader) fill(n int) error {
	for len(r.buf)-r.pos < n {
		if r.src == nil || r.eof {
			return io.ErrUnexpectedEOF
		}
		if int64(n-(len(r.buf)-r.pos)) > r.left {
			return ErrTooLarge
		}
		if r.pos > 0 {
			r.buf = r.buf[:copy(r.buf, r.buf[r.pos:])]
			r.pos = 0
		}
		had := len(r.buf)
		buf, err := r.src.more(r.buf, r.left)
		r.buf = buf
		r.left -= int64(len(buf) - had)
		switch {
		case r.left < 0 || errors.Is(err, ErrTooLarge):
			return ErrTooLarge
		case err == io.EOF:
			r.eof = true
		case err != nil:
			return corruptf("%s stream of %d records: %v", r.codec, r.count, err)
		}
	}
	return nil
}

// atEnd checks that nothing follows the last record. An emptied batch has nothing to check.
func (r *Reader) atEnd() error {
	if r.count == 0 {
		return nil
	}
	switch err := r.fill(1); err {
	case nil:
		return corruptf("bytes remain after %d records", r.count)
	case io.ErrUnexpectedEOF:
		return nil
	default:
		return err
	}
}

// skip passes over the next record without holding more than a window of it: it fills in all of rec but
// RawHeaders and the contents of Key and Value, of which only nil or not is meant.
func (r *Reader) skip(rec *Record) (bool, error) {
	if r.read == r.count {
		return false, r.atEnd()
	}
	if r.src == nil {
		return r.Next(rec)
	}
	n, i, err := r.length()
	if err != nil {
		return false, err
	}
	if n <= window || n <= len(r.buf)-r.pos-i {
		return r.Next(rec)
	}
	rec.Size = i + n
	r.pos += i
	s := skipper{r: r, left: n}
	s.record(rec)
	if s.err != nil {
		return false, r.cut(s.err)
	}
	if s.bad || s.left != 0 {
		return false, corruptf("record %d of %d has an invalid structure", r.read, r.count)
	}
	r.complete(rec)
	return true, nil
}

// skipper parses a record that is longer than the window, piece by piece.
type skipper struct {
	r    *Reader
	left int // bytes of the record's body
	bad  bool
	err  error
}

// present stands for content that was passed over.
var present = []byte{}

func (s *skipper) record(rec *Record) {
	rec.Attributes = int8(s.byte())
	rec.TimestampDelta = s.varlong()
	rec.OffsetDelta = s.varint()
	rec.Key = s.bytes()
	rec.Value = s.bytes()
	rec.HeaderCount, rec.RawHeaders = s.varint(), nil
	s.bad = s.bad || rec.HeaderCount < 0 || int(rec.HeaderCount) > s.left
	for i := int32(0); i < rec.HeaderCount && !s.bad && s.err == nil; i++ {
		if s.bytes() == nil {
			s.bad = true
		}
		s.bytes()
	}
}

func (s *skipper) byte() byte {
	if s.bad || s.err != nil {
		return 0
	}
	if s.left == 0 {
		s.bad = true
		return 0
	}
	if s.err = s.r.fill(1); s.err != nil {
		return 0
	}
	c := s.r.buf[s.r.pos]
	s.r.pos++
	s.left--
	return c
}

func (s *skipper) varlong() int64 {
	var u uint64
	for shift := 0; shift < 70; shift += 7 {
		c := s.byte()
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	s.bad = true
	return 0
}

func (s *skipper) varint() int32 {
	v := s.varlong()
	if v < math.MinInt32 || v > math.MaxInt32 {
		s.bad = true
	}
	return int32(v)
}

// bytes passes over a length and its bytes and says whether they were there.
func (s *skipper) bytes() []byte {
	n := s.varint()
	if n < 0 || s.bad || s.err != nil {
		return nil
	}
	if int(n) > s.left {
		s.bad = true
		return nil
	}
	s.left -= int(n)
	for rest := int(n); rest > 0; {
		if s.err = s.r.fill(1); s.err != nil {
			return nil
		}
		step := min(rest, len(s.r.buf)-s.r.pos)
		s.r.pos += step
		rest -= step
	}
	return present
}

// room gives dst at least n free bytes.
func room(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return slices.Grow(dst, n)
}
