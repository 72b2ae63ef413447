package server

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/klamm-io/klamm/internal/wire"
)

var errWouldBlock = errors.New("the socket takes no more now")

const (
	chunkBytes = 64 << 10 // of a file, read at once; also the buffer in which small parts are gathered
	smallPart  = 8 << 10  // parts up to here are copied together rather than written alone
	writeBytes = 256 << 10
)

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// sender writes a run of answers. It can stop where the socket takes no more and go on from there on another
// goroutine. Only the one who set Conn.writing uses it.
type sender struct {
	conn    *Conn
	run     []wire.Response
	part    int   // of run[0], the next to load
	offset  int64 // in that part
	pending []byte
	chunk   *[chunkBytes]byte
}

// send writes until the run is empty. Without block it returns errWouldBlock instead of waiting for the socket.
func (s *sender) send(block bool) error {
	for {
		for len(s.pending) > 0 {
			n, err := s.conn.write(s.pending, block)
			s.pending = s.pending[n:]
			if err != nil {
				return err
			}
		}
		more, err := s.load()
		if err != nil || !more {
			return err
		}
	}
}

// load makes the next bytes pending: a large part of memory as it is, a chunk of a large range, or small ones together.
func (s *sender) load() (bool, error) {
	gathered := 0
	for len(s.run) > 0 {
		r := s.run[0]
		if s.part == len(r) {
			r.Release()
			s.run[0] = nil
			s.run, s.part = s.run[1:], 0
			continue
		}
		p := &r[s.part]
		switch {
		case p.File.File == nil && (len(p.Bytes) > smallPart || gathered == 0 && s.last()):
			if gathered > 0 {
				s.pending = s.chunk[:gathered]
				return true, nil
			}
			s.part++
			if len(p.Bytes) == 0 {
				continue
			}
			s.pending = p.Bytes
			return true, nil
		case p.File.File == nil:
			if gathered+len(p.Bytes) > chunkBytes {
				s.pending = s.chunk[:gathered]
				return true, nil
			}
			s.part++
			gathered += copy(s.buffer()[gathered:], p.Bytes)
		default:
			if gathered+smallPart > chunkBytes {
				s.pending = s.chunk[:gathered]
				return true, nil
			}
			n, err := s.writeRange(p.File, gathered)
			if err != nil {
				return false, err
			}
			gathered += n
		}
	}
	if gathered == 0 {
		return false, nil
	}
	s.pending = s.chunk[:gathered]
	return true, nil
}

// last tells whether nothing follows the part to load, so that gathering would be in vain.
func (s *sender) last() bool { return len(s.run) == 1 && s.part == len(s.run[0])-1 }

// writeRange brings the next bytes of a range on their way: it reads as many as fit behind those gathered already.
// This is the one place that knows how file bytes reach a socket.
func (s *sender) writeRange(r vfs.Range, gathered int) (int, error) {
	n := min(r.Length-s.offset, int64(chunkBytes-gathered))
	b := s.buffer()[gathered:][:n]
	k, err := r.File.ReadAt(b, r.Offset+s.offset)
	if int64(k) < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, fmt.Errorf("answer refers to %d bytes at %d of %s: %w", r.Length, r.Offset, r.File.Name(), err)
	}
	if s.offset += n; s.offset == r.Length {
		s.part, s.offset = s.part+1, 0
	}
	return int(n), nil
}

func (s *sender) buffer() *[chunkBytes]byte {
	if s.chunk == nil {
		s.chunk = chunks.Get().(*[chunkBytes]byte)
	}
	return s.chunk
}

// end drops what was not sent.
func (s *sender) end() {
	for i, r := range s.run {
		r.Release()
		s.run[i] = nil
	}
	s.run, s.part, s.offset, s.pending = s.run[:0], 0, 0, nil
	if s.chunk != nil {
		chunks.Put(s.chunk)
		s.chunk = nil
	}
}

// tryWriter is a connection that can be written to without waiting.
type tryWriter interface {
	// TryWrite writes what fits now, possibly nothing.
	TryWrite(b []byte) (int, error)
}

// write writes b or, without block, as much of it as the socket takes at once. Deadlines are set only where the
// socket is full: the usual answer costs one system call.
func (c *Conn) write(b []byte, block bool) (int, error) {
	n, err := c.tryWrite(b)
	c.s.stats.bytesOut.Add(int64(n))
	if err != nil || n == len(b) {
		return n, err
	}
	if !block {
		return n, errWouldBlock
	}
	defer func() { _ = c.nc.SetWriteDeadline(noDeadline) }()
	for n < len(b) {
		if err := c.nc.SetWriteDeadline(time.Now().Add(c.s.config.WriteStall)); err != nil {
			return n, err
		}
		k, err := c.nc.Write(b[n:min(n+writeBytes, len(b))])
		n += k
		c.s.stats.bytesOut.Add(int64(k))
		if err != nil {
			if isTimeout(err) {
				c.s.stats.cutSlow.Add(1)
				err = fmt.Errorf("client took nothing for %v: %w", c.s.config.WriteStall, err)
			}
			return n, err
		}
	}
	return n, nil
}

func (c *Conn) tryWrite(b []byte) (int, error) {
	switch {
	case c.try != nil:
		return c.try.TryWrite(b)
	case c.raw == nil:
		return 0, nil
	}
	c.rawBytes, c.rawN, c.rawErr = b, 0, nil
	if c.rawWrite == nil {
		c.rawWrite = func(fd uintptr) bool {
			for {
				c.rawN, c.rawErr = syscall.Write(int(fd), c.rawBytes)
				if c.rawErr != syscall.EINTR {
					return true
				}
			}
		}
	}
	err := c.raw.Write(c.rawWrite)
	c.rawBytes = nil
	if err == nil {
		err = c.rawErr
	}
	if err == syscall.EAGAIN {
		err = nil
	}
	return max(c.rawN, 0), err
}
