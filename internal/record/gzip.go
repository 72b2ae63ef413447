package record

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Levels of compression.gzip.level.
const (
	gzipDefault = 6
	gzipMax     = 9
)

func gzipLevel(level int) int {
	if level <= 0 {
		return gzipDefault
	}
	return min(level, gzipMax)
}

func newGzip(level int) compressor {
	w, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		panic("record: gzip level: " + err.Error())
	}
	return w
}

// gzipSource reads one gzip member or several.
type gzipSource struct {
	in      bytes.Reader
	z       *gzip.Reader
	started bool
}

func (s *gzipSource) reset(src []byte) {
	s.in.Reset(src)
	s.started = false
}

func (s *gzipSource) more(dst []byte, _ int64) ([]byte, error) {
	if !s.started {
		if s.z == nil {
			s.z = new(gzip.Reader)
		}
		if err := s.z.Reset(&s.in); err != nil {
			return dst, unexpected(err)
		}
		s.started = true
	}
	return readInto(s.z, dst)
}

// readInto reads once into the free end of dst.
func readInto(r io.Reader, dst []byte) ([]byte, error) {
	dst = room(dst, window/4)
	for range 100 {
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if n > 0 || err != nil {
			return dst, err
		}
	}
	return dst, io.ErrNoProgress
}

// unexpected makes the end of the input within a stream an error: io.EOF means the stream's own end.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
