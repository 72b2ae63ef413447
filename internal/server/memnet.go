package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// MemNet is a network inside the process: listeners and connections with addresses, buffers and deadlines, without
// a socket. The zero MemNet is ready for use.
type MemNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener // by address; guarded by mu
	lastPort  int                     // guarded by mu
}

// memBuffer is how much one direction of a connection holds before its writer waits.
const memBuffer = 64 << 10

// memBacklog is how many connections wait to be accepted before Dial is refused.
const memBacklog = 128

type memAddr string

func (a memAddr) Network() string { return "tcp" }
func (a memAddr) String() string  { return string(a) }

// port gives a number nobody has had; called with mu held.
func (n *MemNet) port() int {
	if n.lastPort == 0 {
		n.lastPort = 20000
	}
	n.lastPort++
	return n.lastPort
}

// Listen opens a listener at host:port; port 0 takes a free one.
func (n *MemNet) Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		port = strconv.Itoa(n.port())
	}
	addr = net.JoinHostPort(host, port)
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: memAddr(addr), Err: syscall.EADDRINUSE}
	}
	if n.listeners == nil {
		n.listeners = map[string]*memListener{}
	}
	l := &memListener{net: n, addr: memAddr(addr)}
	l.cond.L = &l.mu
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to a listener. It has the signature that net.Dialer's DialContext has.
func (n *MemNet) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: network, Addr: memAddr(addr), Err: syscall.ECONNREFUSED}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	l := n.listeners[addr]
	local := memAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port())))
	n.mu.Unlock()
	if l == nil {
		return nil, refused
	}
	a, b := newPipe(), newPipe()
	client := &memConn{in: a, out: b, local: local, remote: l.addr}
	if !l.offer(&memConn{in: b, out: a, local: l.addr, remote: local}) {
		return nil, refused
	}
	return client, nil
}

type memListener struct {
	net  *MemNet
	addr memAddr

	mu      sync.Mutex
	cond    sync.Cond
	backlog []*memConn // guarded by mu
	closed  bool       // guarded by mu
}

func (l *memListener) offer(c *memConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.backlog) >= memBacklog {
		return false
	}
	l.backlog = append(l.backlog, c)
	l.cond.Signal()
	return true
}

func (l *memListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	return c, nil
}

func (l *memListener) Close() error {
	l.net.mu.Lock()
	if l.net.listeners[string(l.addr)] == l {
		delete(l.net.listeners, string(l.addr))
	}
	l.net.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.backlog {
		_ = c.Close()
	}
	l.backlog = nil
	l.cond.Broadcast()
	return nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

// memConn is one end of a connection.
type memConn struct {
	in, out       *pipe
	local, remote memAddr
}

func (c *memConn) Read(b []byte) (int, error)     { return c.in.read(b) }
func (c *memConn) Write(b []byte) (int, error)    { return c.out.write(b, true) }
func (c *memConn) TryWrite(b []byte) (int, error) { return c.out.write(b, false) }
func (c *memConn) LocalAddr() net.Addr            { return c.local }
func (c *memConn) RemoteAddr() net.Addr           { return c.remote }

func (c *memConn) Close() error {
	c.in.close(true)
	c.out.close(false)
	return nil
}

// CloseWrite lets the other end read what was written and then EOF, as net.TCPConn's does.
func (c *memConn) CloseWrite() error {
	c.out.close(false)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	c.in.reader.set(c.in, t)
	c.out.writer.set(c.out, t)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.reader.set(c.in, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.writer.set(c.out, t)
	return nil
}

// pipe is one direction.
type pipe struct {
	mu             sync.Mutex
	cond           sync.Cond
	buf            []byte   // guarded by mu
	ended          bool     // the writer has closed; guarded by mu
	broken         bool     // the reader has closed; guarded by mu
	reader, writer deadline // guarded by mu
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond.L = &p.mu
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.broken:
			return 0, net.ErrClosed
		case p.reader.expired:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			if len(p.buf) == 0 {
				p.buf = nil
			}
			p.cond.Broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}

func (p *pipe) write(b []byte, block bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for {
		switch {
		case p.ended:
			return n, net.ErrClosed
		case p.broken:
			return n, io.ErrClosedPipe
		case p.writer.expired:
			return n, os.ErrDeadlineExceeded
		}
		k := min(len(b)-n, memBuffer-len(p.buf))
		if k > 0 {
			p.buf = append(p.buf, b[n:n+k]...)
			n += k
			p.cond.Broadcast()
		}
		if n == len(b) || !block {
			return n, nil
		}
		p.cond.Wait()
	}
}

func (p *pipe) close(byReader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if byReader {
		p.broken, p.buf = true, nil
		p.reader.stop()
	} else {
		p.ended = true
		p.writer.stop()
	}
	p.cond.Broadcast()
}

// deadline of one side of a pipe, guarded by the pipe's mu.
type deadline struct {
	timer   *time.Timer
	setting int // counts, so that a timer that lost the race against set does nothing
	expired bool
}

func (d *deadline) stop() {
	d.setting++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(p *pipe, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.stop()
	d.expired = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expired = true
		p.cond.Broadcast()
		return
	}
	setting := d.setting
	d.timer = afterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if d.setting == setting {
			d.expired = true
			p.cond.Broadcast()
		}
	})
}
