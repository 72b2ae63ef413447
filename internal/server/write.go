package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/klamm-io/klamm/internal/wire"
)

var errWouldBlock = errors.New("the socket takes no more now")

const (
	chunkBytes = 64 << 10 // of a file, read at once; also the buffer in which small parts are gathered
	smallPart  = 8 << 10  // parts of memory up to here are copied together rather than written alone
	directPart = 16 << 10 // ranges from here on go from file to socket by sendfile; below, one copy costs less than two calls
	writeBytes = 256 << 10
)

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// sender writes a run of answers. It can stop where the socket takes no more and go on from there on another
// goroutine. Only the one who set Conn.writing uses it.
type sender struct {
	conn    *Conn
	run     []wire.Response
	first   int   // of run, the next to send
	part    int   // of that one, the next to load
	offset  int64 // in that part
	pending []byte
	more    bool      // something follows pending for certain
	direct  vfs.Range // what is left of a range that the system copies itself; it follows pending
	chunk   *[chunkBytes]byte
}

// send writes until the run is empty. Without block it returns errWouldBlock instead of waiting for the socket.
func (s *sender) send(block bool) error {
	for {
		for len(s.pending) > 0 {
			n, err := s.conn.write(s.pending, s.more, block)
			s.pending = s.pending[n:]
			if err != nil {
				return err
			}
		}
		for s.direct.Length > 0 {
			n, err := s.conn.writeRange(s.direct, block)
			s.direct.Offset += n
			s.direct.Length -= n
			if err == errNoSendfile {
				s.offset = s.run[s.first][s.part].File.Length - s.direct.Length // the rest is read
				s.conn.noSendfile, s.direct = true, vfs.Range{}
				break
			}
			if err != nil {
				return err
			}
			if s.direct.Length == 0 {
				s.part++
			}
		}
		more, err := s.load()
		if err != nil || !more {
			return err
		}
	}
}

// load makes the next bytes pending: a large part of memory as it is, a large range after what stands before it, a
// chunk of it where the system cannot send it, or small parts together.
func (s *sender) load() (bool, error) {
	gathered := 0
	for s.first < len(s.run) {
		r := s.run[s.first]
		if s.part == len(r) {
			r.Release()
			s.run[s.first] = nil
			s.first, s.part = s.first+1, 0
			continue
		}
		p := &r[s.part]
		switch {
		case p.File.File == nil && (len(p.Bytes) > smallPart || gathered == 0 && s.last()):
			if gathered > 0 {
				return s.gathered(gathered, true), nil
			}
			s.part++
			if len(p.Bytes) == 0 {
				continue
			}
			s.pending, s.more = p.Bytes, false
			return true, nil
		case p.File.File == nil:
			if gathered+len(p.Bytes) > chunkBytes {
				return s.gathered(gathered, true), nil
			}
			s.part++
			gathered += copy(s.buffer()[gathered:], p.Bytes)
		case p.File.Length >= directPart && s.offset == 0 && s.conn.sendsFiles(p.File.File):
			s.direct = p.File
			return s.gathered(gathered, true), nil
		default:
			if gathered+smallPart > chunkBytes {
				return s.gathered(gathered, true), nil
			}
			n, err := s.readRange(p.File, gathered)
			if err != nil {
				return false, err
			}
			gathered += n
		}
	}
	return s.gathered(gathered, false) && gathered > 0, nil
}

// gathered makes the first n bytes of the buffer pending.
func (s *sender) gathered(n int, more bool) bool {
	if n > 0 {
		s.pending, s.more = s.chunk[:n], more
	}
	return true
}

// last tells whether nothing follows the part to load, so that gathering would be in vain.
func (s *sender) last() bool { return s.first == len(s.run)-1 && s.part == len(s.run[s.first])-1 }

// readRange reads the next bytes of a range: as many as fit behind those gathered already.
func (s *sender) readRange(r vfs.Range, gathered int) (int, error) {
	n := min(r.Length-s.offset, int64(chunkBytes-gathered))
	b := s.buffer()[gathered:][:n]
	k, err := r.File.ReadAt(b, r.Offset+s.offset)
	if int64(k) < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, cutShort(r, err)
	}
	if s.offset += n; s.offset == r.Length {
		s.part, s.offset = s.part+1, 0
	}
	return int(n), nil
}

func cutShort(r vfs.Range, err error) error {
	return fmt.Errorf("answer refers to %d bytes at %d of %s: %w", r.Length, r.Offset, r.File.Name(), err)
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
	s.run, s.first, s.part, s.offset, s.pending, s.direct = s.run[:0], 0, 0, 0, nil, vfs.Range{}
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

// write writes b or, without block, as much of it as the socket takes at once. With more, the system may wait for what
// follows before it sends the last packet. Deadlines are set only where the socket is full: the usual answer costs one
// system call.
func (c *Conn) write(b []byte, more, block bool) (n int, err error) {
	switch {
	case c.try != nil:
		n, err = c.try.TryWrite(b)
	case c.socket.raw != nil:
		n, err = c.socket.write(b, more, false)
	}
	c.s.stats.bytesOut.Add(int64(n))
	if err != nil || n == len(b) {
		return n, err
	}
	if !block {
		return n, errWouldBlock
	}
	defer func() { _ = c.nc.SetWriteDeadline(noDeadline) }()
	for n < len(b) {
		k, err := c.patiently(func() (int64, error) {
			if c.socket.raw != nil {
				k, err := c.socket.write(b[n:], more, true)
				return int64(k), err
			}
			k, err := c.nc.Write(b[n:min(n+writeBytes, len(b))])
			return int64(k), err
		})
		n += int(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeRange has the system copy a range from its file to the socket, as much as the socket takes or, with block, all
// of it. The range's reference keeps the file open; its offset is explicit, so any number of connections may send one
// file. The error is errNoSendfile where the file system cannot do that.
func (c *Conn) writeRange(r vfs.Range, block bool) (int64, error) {
	file, err := r.File.(fileConn).SyscallConn()
	if err != nil {
		return 0, cutShort(r, err)
	}
	n, err := c.socket.sendfile(file, r.Offset, r.Length, false)
	c.s.stats.bytesOut.Add(n)
	if err != nil || n == r.Length {
		return n, fileError(r, err)
	}
	if !block {
		return n, errWouldBlock
	}
	defer func() { _ = c.nc.SetWriteDeadline(noDeadline) }()
	for n < r.Length {
		k, err := c.patiently(func() (int64, error) { return c.socket.sendfile(file, r.Offset+n, r.Length-n, true) })
		n += k
		if err != nil {
			return n, fileError(r, err)
		}
	}
	return n, nil
}

// fileError tells what went wrong with the file from what went wrong with the client.
func fileError(r vfs.Range, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrClosed) {
		return cutShort(r, err)
	}
	return err
}

// patiently lets f wait for the socket until the client has taken nothing for WriteStall.
func (c *Conn) patiently(f func() (int64, error)) (int64, error) {
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.s.config.WriteStall)); err != nil {
		return 0, err
	}
	n, err := f()
	c.s.stats.bytesOut.Add(n)
	if err != nil && isTimeout(err) {
		c.s.stats.cutSlow.Add(1)
		err = fmt.Errorf("client took nothing for %v: %w", c.s.config.WriteStall, err)
	}
	return n, err
}
