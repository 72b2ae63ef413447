package server

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/klamm-io/klamm/internal/vfs"
)

// errNoSendfile says that a file cannot go to a socket without being read: its file system does not know how.
var errNoSendfile = errors.New("the file cannot be sent by the system")

// fileConn is a file with a descriptor.
type fileConn interface {
	SyscallConn() (syscall.RawConn, error)
}

// sendsFiles tells whether the system can copy a file to this connection: both have descriptors, and bytes are not
// encrypted on the way.
func (c *Conn) sendsFiles(f vfs.File) bool {
	if !haveSendfile || c.socket.raw == nil || c.noSendfile {
		return false
	}
	_, ok := f.(fileConn)
	return ok
}

// socket writes to a descriptor by single system calls. The fields below raw are one call's arguments and results: they
// stand here because a closure for each call would be garbage. Only the one who set Conn.writing uses it.
type socket struct {
	raw syscall.RawConn // nil where there is no descriptor, or TLS before it

	attempt func(uintptr) bool
	control func(uintptr)
	to      int
	bytes   []byte
	more    bool
	file    syscall.RawConn
	offset  int64
	length  int64
	wait    bool
	n       int64
	err     error
}

// write writes what the socket takes now, possibly nothing; with wait at least one byte, or the connection's write
// deadline passes.
func (s *socket) write(b []byte, more, wait bool) (int, error) {
	s.bytes, s.more, s.file, s.wait = b, more, nil, wait
	err := s.do()
	s.bytes = nil
	return int(s.n), err
}

// sendfile is write for bytes of a file. It is io.ErrUnexpectedEOF if the file ends at offset.
func (s *socket) sendfile(file syscall.RawConn, offset, length int64, wait bool) (int64, error) {
	s.file, s.offset, s.length, s.wait = file, offset, length, wait
	err := s.do()
	s.file = nil
	if err == nil && s.n == 0 && s.err == nil {
		err = io.ErrUnexpectedEOF
	}
	return s.n, err
}

func (s *socket) do() error {
	if s.attempt == nil {
		s.attempt = s.try
		s.control = func(from uintptr) { s.n, s.err = sendfile(s.to, int(from), s.offset, s.length) }
	}
	s.n, s.err = 0, nil
	if err := s.raw.Write(s.attempt); err != nil {
		return err
	}
	if s.err == syscall.EAGAIN {
		return nil
	}
	return s.err
}

// try makes one attempt, and says whether that was enough: false has the runtime wait until the socket takes more.
func (s *socket) try(fd uintptr) bool {
	for {
		if s.file != nil {
			s.to = int(fd)
			if err := s.file.Control(s.control); err != nil {
				s.n, s.err = 0, err
			}
		} else {
			var n int
			n, s.err = send(int(fd), s.bytes, s.more)
			s.n = int64(n)
		}
		s.n = max(s.n, 0)
		switch s.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return !s.wait
		case syscall.EINVAL, syscall.ENOSYS:
			if s.file != nil {
				s.err = errNoSendfile
			}
		}
		return true
	}
}

// aheadBytes is what is read at once where requests are small: one call gives a whole request, or many. A connection
// has the buffer only while bytes are unread in it, so those that are idle have none.
const (
	aheadBytes = 32 << 10
	aheadLeast = 512
)

var aheads = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

// source reads a descriptor, see socket. It is the reader's own.
type source struct {
	raw     syscall.RawConn
	attempt func(uintptr) bool
	n       int
	err     error
}

// readAhead reads what there is into c.in[c.w:], at least a byte.
func (c *Conn) readAhead() (int, error) {
	if c.source.raw == nil {
		if c.in == nil {
			c.in = make([]byte, aheadLeast)
		}
		return c.nc.Read(c.in[c.w:])
	}
	s := &c.source
	if s.attempt == nil {
		s.attempt = c.tryRead
	}
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.attempt); err != nil {
		return 0, err
	}
	if s.n == 0 && s.err == nil {
		return 0, io.EOF
	}
	return max(s.n, 0), s.err
}

// tryRead makes one attempt. Before the runtime waits, an empty buffer goes back.
func (c *Conn) tryRead(fd uintptr) bool {
	s := &c.source
	if c.in == nil {
		c.in = aheads.Get().(*[aheadBytes]byte)[:]
	}
	for {
		s.n, s.err = syscall.Read(int(fd), c.in[c.w:max(c.ahead, c.w+aheadLeast)])
		switch s.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if c.w == 0 {
				c.dropAhead()
			}
			return false
		}
		return true
	}
}

// dropAhead gives the empty buffer back.
func (c *Conn) dropAhead() {
	c.r, c.w = 0, 0
	if c.source.raw != nil && c.in != nil {
		aheads.Put((*[aheadBytes]byte)(c.in))
		c.in = nil
	}
}
