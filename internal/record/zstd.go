package record

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdLevels are the compressor's own levels, 1 to 4; those of compression.zstd.level are mapped to them.
const zstdLevels = 4

// Limits of decompression. A frame announces the window that its decoder must keep: up to 8 MiB at the levels in
// common use, but 128 MiB at level 22, even around a short batch.
const (
	zstdWhole      = 1 << 20   // content up to this size is decompressed in one piece, which needs no window
	zstdWindow     = 128 << 20 // largest window announced by a frame that is decompressed in one piece
	zstdStreamed   = 32 << 20  // largest window when streaming, where it is allocated
	zstdWindowKept = 8 << 20   // largest window with which a decoder is kept for the next batch
	zstdGuess      = 8         // expected growth of a frame that does not tell its size
	zstdTrust      = 64        // growth up to which a told size is believed
)

func zstdLevel(level int) int {
	if level == 0 {
		level = 3
	}
	return int(zstd.EncoderLevelFromZstd(level))
}

func newZstd(level int) compressor {
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevel(level)),
		zstd.WithEncoderConcurrency(1), // no goroutines
		zstd.WithWindowSize(512<<10),   // the compressor's memory goes by it; batches are seldom longer
		zstd.WithZeroFrames(true))      // a stream without content is still a frame
	if err != nil {
		panic("record: zstd options: " + err.Error())
	}
	return w
}

// zstdSource reads frames. It first tries to decompress all of them in one piece, bounded by what the input makes
// plausible, which is the fast way for usual batches; longer ones are streamed.
type zstdSource struct {
	src    []byte
	in     plainReader
	whole  *zstd.Decoder
	stream *zstd.Decoder
	window uint64
	state  int8 // 0 at the start, 1 streaming, 2 done
}

// plainReader hides every method of a byte slice's reader but Read: the decoder would take the bytes out of a
// richer one and decompress them all at once.
type plainReader struct{ b []byte }

func (r *plainReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (s *zstdSource) reset(src []byte) {
	if src == nil && s.window > zstdWindowKept {
		s.stream = nil
	}
	s.src, s.in.b, s.state, s.window = src, nil, 0, 0
}

func (s *zstdSource) more(dst []byte, max int64) ([]byte, error) {
	switch s.state {
	case 0:
		if len(s.src) == 0 {
			return dst, io.ErrUnexpectedEOF
		}
		had := len(dst)
		dst, fits, err := s.once(dst, max)
		if err != nil {
			return dst, err
		}
		if fits {
			s.state = 2
			if len(dst) == had {
				return dst, io.EOF
			}
			return dst, nil
		}
		if err := s.start(); err != nil {
			return dst[:had], err
		}
		s.state = 1
		return readInto(s.stream, dst[:had])
	case 1:
		return readInto(s.stream, dst)
	}
	return dst, io.EOF
}

// once decompresses everything if it is not too long for that.
func (s *zstdSource) once(dst []byte, max int64) (_ []byte, fits bool, err error) {
	var h zstd.Header
	if err := h.Decode(s.src); err != nil {
		return dst, false, unexpected(err)
	}
	s.window = h.WindowSize
	size := int64(zstdGuess * len(s.src))
	if h.HasFCS {
		size = int64(min(h.FrameContentSize, uint64(zstdTrust*len(s.src))))
	}
	size = min(size, zstdWhole, max)
	if s.whole == nil {
		s.whole, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return dst, false, err
		}
	}
	had := len(dst)
	dst = room(dst, int(size))
	out, err := s.whole.DecodeAll(s.src, dst)
	if err != nil {
		return dst[:had], false, nil // the decoder has several errors for a full dst; streaming finds the others again
	}
	return out, true, nil
}

func (s *zstdSource) start() (err error) {
	if s.stream == nil {
		s.stream, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdStreamed), zstd.WithDecodeBuffersBelow(0))
		if err != nil {
			return err
		}
	}
	s.in.b = s.src
	return s.stream.Reset(&s.in)
}
