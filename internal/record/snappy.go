package record

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
)

// xerial's block stream: a header of 16 bytes (8 of magic, the version and the lowest version that can read it,
// both 1), then blocks, each behind its length (int32, big-endian). A stream that is appended to another repeats
// the header where a length would stand.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeaderLen = 16
	xerialBlock     = 32 << 10 // what a block of ours holds
)

// snappyExpansion is more than a snappy stream can grow: 3 bytes copy 64.
const snappyExpansion = 22

var errSnappy = errors.New("invalid snappy stream")

// snappySource reads xerial's block stream, or one bare block, as Java's reader does.
type snappySource struct {
	in   []byte
	bare bool
}

func (s *snappySource) reset(src []byte) {
	s.in = src
	s.bare = len(src) < xerialHeaderLen || string(src[:len(xerialMagic)]) != xerialMagic
}

func (s *snappySource) more(dst []byte, max int64) ([]byte, error) {
	if s.bare {
		block := s.in
		if block == nil {
			return dst, io.EOF
		}
		s.in = nil
		return decodeSnappy(dst, block, max)
	}
	for {
		if len(s.in) >= xerialHeaderLen && string(s.in[:len(xerialMagic)]) == xerialMagic {
			s.in = s.in[xerialHeaderLen:]
		}
		if len(s.in) == 0 {
			return dst, io.EOF
		}
		if len(s.in) < 4 {
			return dst, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(s.in)
		if int64(n) > int64(len(s.in)-4) {
			return dst, io.ErrUnexpectedEOF
		}
		block := s.in[4 : 4+n]
		s.in = s.in[4+n:]
		had := len(dst)
		var err error
		if dst, err = decodeSnappy(dst, block, max); err != nil || len(dst) > had {
			return dst, err
		}
	}
}

// decodeSnappy appends a block's content. The length that a block claims is believed only as far as its size
// allows.
func decodeSnappy(dst, block []byte, max int64) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil || int64(n) > snappyExpansion*int64(len(block)) {
		return dst, errSnappy
	}
	if int64(n) > max {
		return dst, ErrTooLarge
	}
	dst = room(dst, n)
	end := len(dst) + n
	if _, err := snappy.Decode(dst[len(dst):end:end], block); err != nil {
		return dst, errSnappy
	}
	return dst[:end], nil
}

// snappyWriter writes xerial's block stream.
type snappyWriter struct {
	w       io.Writer
	started bool
	in      []byte // less than a block
	out     []byte
}

func (z *snappyWriter) Reset(w io.Writer) {
	z.w, z.started, z.in = w, false, z.in[:0]
}

func (z *snappyWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if len(z.in) == 0 && len(p) >= xerialBlock {
			if err := z.block(p[:xerialBlock]); err != nil {
				return 0, err
			}
			p = p[xerialBlock:]
			continue
		}
		n := min(len(p), xerialBlock-len(z.in))
		z.in = append(z.in, p[:n]...)
		p = p[n:]
		if len(z.in) == xerialBlock {
			if err := z.block(z.in); err != nil {
				return 0, err
			}
			z.in = z.in[:0]
		}
	}
	return written, nil
}

func (z *snappyWriter) block(p []byte) error {
	z.out = z.out[:0]
	if !z.started {
		z.out = append(z.out, xerialMagic...)
		z.out = append(z.out, 0, 0, 0, 1, 0, 0, 0, 1)
		z.started = true
	}
	start := len(z.out) + 4
	z.out = room(z.out, 4+snappy.MaxEncodedLen(len(p)))
	block := s2.EncodeSnappy(z.out[start:cap(z.out)], p)
	z.out = binary.BigEndian.AppendUint32(z.out, uint32(len(block)))
	z.out = z.out[:start+len(block)]
	_, err := z.w.Write(z.out)
	return err
}

// Close writes what is left. A stream without content is its header alone.
func (z *snappyWriter) Close() error {
	if len(z.in) > 0 {
		err := z.block(z.in)
		z.in = z.in[:0]
		return err
	}
	if !z.started {
		z.started = true
		_, err := io.WriteString(z.w, xerialMagic+"\x00\x00\x00\x01\x00\x00\x00\x01")
		return err
	}
	return nil
}
