package record

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame: magic, FLG, BD, content size (8 bytes, if FLG says so), a byte of the descriptor's xxHash32; then
// blocks, each behind its length (the top bit marks one that is stored as it is) and before its checksum (if FLG
// says so); a length of 0 ends the frame. All integers are little-endian.
//
// Clients write blocks of 64 KiB to 4 MiB, mostly without checksums. Java's reader refuses linked blocks (those
// that refer to the block before), which is how python-lz4 writes longer content unless told otherwise. We read them, and
// Validate rewrites such a batch.
const (
	lz4Magic       = 0x184D2204
	lz4Stored      = 1 << 31
	lz4Block       = 64 << 10 // what a block of ours holds
	lz4Dictionary  = 64 << 10 // how far back a linked block can refer
	lz4Expansion   = 255      // times a block's length is the most that it can hold
	lz4Guess       = 8        // times it is what it mostly holds at the most
	lz4DefaultLvl  = 9        // compression.lz4.level: Java's fast compressor
	lz4Max         = 17       // higher is slower and smaller
	flgVersion     = 0x40
	flgIndependent = 0x20
	flgBlockSum    = 0x10
	flgSize        = 0x08
	flgContentSum  = 0x04
	flgReserved    = 0x03
	bdBlock64K     = 0x40
)

var errLZ4 = errors.New("invalid lz4 frame")

func lz4Level(level int) int {
	if level <= 0 {
		return lz4DefaultLvl
	}
	return min(level, lz4Max)
}

// lz4Source reads the first frame and ignores what follows it, as Java's reader does.
type lz4Source struct {
	in       []byte
	started  bool
	done     bool
	linked   bool
	blockSum bool
	block    int    // largest content of a block
	before   []byte // the last of what was decompressed, of a linked frame
}

func (s *lz4Source) reset(src []byte) {
	*s = lz4Source{in: src, before: s.before[:0]}
	if cap(s.before) > 2*lz4Dictionary {
		s.before = nil
	}
}

func (s *lz4Source) header() error {
	if len(s.in) < 7 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(s.in) != lz4Magic {
		return errLZ4
	}
	flg, bd := s.in[4], s.in[5]
	if flg&0xc0 != flgVersion || flg&flgReserved != 0 || bd&0x8f != 0 || bd < bdBlock64K {
		return errLZ4
	}
	end := 6
	if flg&flgSize != 0 {
		end += 8
	}
	if len(s.in) <= end {
		return io.ErrUnexpectedEOF
	}
	if byte(xxHash32(s.in[4:end])>>8) != s.in[end] {
		return errors.New("checksum of the lz4 frame's header is wrong")
	}
	s.in = s.in[end+1:]
	s.linked = flg&flgIndependent == 0
	s.blockSum = flg&flgBlockSum != 0
	s.block = 1 << (2*(bd>>4) + 8)
	s.started = true
	return nil
}

func (s *lz4Source) more(dst []byte, _ int64) ([]byte, error) {
	if !s.started {
		if err := s.header(); err != nil {
			return dst, err
		}
	}
	for {
		if s.done {
			return dst, io.EOF
		}
		had := len(dst)
		var err error
		if dst, err = s.next(dst); err != nil || len(dst) > had {
			return dst, err
		}
	}
}

// next appends one block.
func (s *lz4Source) next(dst []byte) ([]byte, error) {
	if len(s.in) < 4 {
		return dst, io.ErrUnexpectedEOF
	}
	field := binary.LittleEndian.Uint32(s.in)
	n := int(field &^ lz4Stored)
	s.in = s.in[4:]
	if n == 0 {
		s.done = true
		return dst, nil
	}
	if n > s.block {
		return dst, errLZ4
	}
	sum := 0
	if s.blockSum {
		sum = 4
	}
	if n+sum > len(s.in) {
		return dst, io.ErrUnexpectedEOF
	}
	block := s.in[:n]
	if s.blockSum && xxHash32(block) != binary.LittleEndian.Uint32(s.in[n:]) {
		return dst, errors.New("checksum of an lz4 block is wrong")
	}
	s.in = s.in[n+sum:]
	if field&lz4Stored != 0 {
		dst = append(dst, block...)
		s.remember(block)
		return dst, nil
	}
	// A frame of 4 MiB blocks is usual around 16 KiB of content. So a likely size is tried before the possible one.
	most := min(s.block, lz4Expansion*n)
	for _, size := range [2]int{min(most, max(lz4Guess*n, window)), most} {
		dst = room(dst, size)
		free := dst[len(dst) : len(dst)+size]
		if got, err := lz4.UncompressBlockWithDict(block, free, s.before); err == nil && got >= 0 && got <= size {
			s.remember(free[:got])
			return dst[:len(dst)+got], nil
		}
	}
	return dst, errLZ4
}

// remember keeps what the next block of a linked frame may refer to.
func (s *lz4Source) remember(content []byte) {
	if !s.linked {
		return
	}
	if len(content) >= lz4Dictionary {
		s.before = append(s.before[:0], content[len(content)-lz4Dictionary:]...)
		return
	}
	if drop := len(s.before) + len(content) - lz4Dictionary; drop > 0 {
		s.before = s.before[:copy(s.before, s.before[drop:])]
	}
	s.before = append(s.before, content...)
}

// lz4Linked says that a frame's blocks refer to each other, which Java's reader does not support.
func lz4Linked(frame []byte) bool {
	return len(frame) > 4 && frame[4]&flgIndependent == 0
}

// lz4Writer writes a frame as Java's does: independent blocks of 64 KiB without checksums.
type lz4Writer struct {
	w       io.Writer
	pack    func(src, dst []byte) (int, error)
	started bool
	in      []byte // less than a block
	out     []byte
}

func newLZ4(level int) compressor {
	z := &lz4Writer{}
	if level == lz4DefaultLvl {
		z.pack = new(lz4.Compressor).CompressBlock
		return z
	}
	// Java's levels 1-17 choose how deep its compressor searches; pierrec's nine levels are depths 2^9 to 2^17.
	depth := lz4.CompressionLevel(1) << (8 + min(level, 9))
	z.pack = (&lz4.CompressorHC{Level: depth}).CompressBlock
	return z
}

func (z *lz4Writer) Reset(w io.Writer) {
	z.w, z.started, z.in = w, false, z.in[:0]
}

func (z *lz4Writer) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if len(z.in) == 0 && len(p) >= lz4Block {
			if err := z.block(p[:lz4Block]); err != nil {
				return 0, err
			}
			p = p[lz4Block:]
			continue
		}
		n := min(len(p), lz4Block-len(z.in))
		z.in = append(z.in, p[:n]...)
		p = p[n:]
		if len(z.in) == lz4Block {
			if err := z.block(z.in); err != nil {
				return 0, err
			}
			z.in = z.in[:0]
		}
	}
	return written, nil
}

// header appends the frame's header if it was not written yet.
func (z *lz4Writer) header() {
	z.out = z.out[:0]
	if z.started {
		return
	}
	z.started = true
	z.out = binary.LittleEndian.AppendUint32(z.out, lz4Magic)
	z.out = append(z.out, flgVersion|flgIndependent, bdBlock64K)
	z.out = append(z.out, byte(xxHash32(z.out[4:6])>>8))
}

func (z *lz4Writer) block(p []byte) error {
	z.header()
	start := len(z.out) + 4
	z.out = room(z.out, 4+lz4.CompressBlockBound(len(p)))
	n, err := z.pack(p, z.out[start:start+lz4.CompressBlockBound(len(p))])
	if err != nil {
		return err
	}
	if n == 0 || n >= len(p) {
		z.out = binary.LittleEndian.AppendUint32(z.out, uint32(len(p))|lz4Stored)
		z.out = append(z.out, p...)
	} else {
		z.out = binary.LittleEndian.AppendUint32(z.out, uint32(n))
		z.out = z.out[:start+n]
	}
	_, err = z.w.Write(z.out)
	return err
}

func (z *lz4Writer) Close() error {
	if len(z.in) > 0 {
		if err := z.block(z.in); err != nil {
			return err
		}
		z.in = z.in[:0]
	}
	z.header()
	z.out = append(z.out, 0, 0, 0, 0)
	_, err := z.w.Write(z.out)
	return err
}

// xxHash32 is the checksum of LZ4 frames, with seed 0.
func xxHash32(b []byte) uint32 {
	const (
		p1 uint32 = 2654435761
		p2 uint32 = 2246822519
		p3 uint32 = 3266489917
		p4 uint32 = 668265263
		p5 uint32 = 374761393
	)
	h := p5
	n := uint32(len(b))
	if len(b) >= 16 {
		one, two := p1, p2 // variables, so that the sums below may wrap
		v := [4]uint32{one + two, p2, 0, -one}
		for len(b) >= 16 {
			for i := range v {
				v[i] = bits.RotateLeft32(v[i]+binary.LittleEndian.Uint32(b[4*i:])*p2, 13) * p1
			}
			b = b[16:]
		}
		h = bits.RotateLeft32(v[0], 1) + bits.RotateLeft32(v[1], 7) + bits.RotateLeft32(v[2], 12) + bits.RotateLeft32(v[3], 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*p3, 17) * p4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}
