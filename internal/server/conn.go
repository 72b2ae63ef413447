package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/wire"
)

var (
	errClosed   = errors.New("connection closed")
	errDraining = errors.New("the server is closing")
	errIdle     = errors.New("idle for longer than connections.max.idle.ms")
	errStalled  = errors.New("client stopped in the middle of a request")
	errPanicked = errors.New("the handler of a request panicked")
	errExcess   = errors.New("closed for a connection of a privileged listener: max.connections")
)

// Conn is one client's connection.
type Conn struct {
	s        *Server
	id       uint64
	nc       net.Conn
	listener *listener
	ip       string
	done     chan struct{} // closed with the connection
	wake     chan struct{} // tells the reader that the queue has changed

	// The reader's own: in[r:w] is read and not used, and in is nil while that is nothing.
	in     []byte
	r, w   int
	ahead  int // how much to read at once
	source source

	// For the sweep, in nanoseconds of Config.Now.
	lastActive atomic.Int64
	frameStart atomic.Int64 // 0 = between frames
	frameLast  atomic.Int64
	frameSize  atomic.Int64

	mu          sync.Mutex
	queue       []*Call // unanswered or unsent, in request order; guarded by mu
	answerBytes int64   // of memory in answers not yet sent; guarded by mu
	runBytes    int64   // the part of answerBytes that the sender has; guarded by mu
	writing     bool    // somebody owns out; guarded by mu
	closed      bool    // guarded by mu
	ended       bool    // a call's Close stands behind what the sender has; guarded by mu
	reason      error   // why it was closed; guarded by mu
	hooks       []func()
	principal   any
	software    [2]string

	// The one who set writing owns these.
	out        sender
	try        tryWriter
	socket     socket
	noSendfile bool // it was tried in vain
}

// ID is unique in the life of a Server.
func (c *Conn) ID() uint64           { return c.id }
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }
func (c *Conn) LocalAddr() net.Addr  { return c.nc.LocalAddr() }

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.listener.Name }

// Privileged and Controller are the listener's.
func (c *Conn) Privileged() bool { return c.listener.Privileged }
func (c *Conn) Controller() bool { return c.listener.Controller }

// Gone tells whether the connection is closed, so that parked work for it is in vain.
func (c *Conn) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Done is closed with the connection.
func (c *Conn) Done() <-chan struct{} { return c.done }

// OnClose has f run once after the connection has closed, on the goroutine that read it; at once if it is closed.
func (c *Conn) OnClose(f func()) {
	c.mu.Lock()
	if !c.closed {
		c.hooks = append(c.hooks, f)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// Principal is who authenticated; nil before that.
func (c *Conn) Principal() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.principal
}

func (c *Conn) SetPrincipal(p any) {
	c.mu.Lock()
	c.principal = p
	c.mu.Unlock()
}

// ClientSoftware is what the client said of itself in ApiVersions (KIP-511); empty before that.
func (c *Conn) ClientSoftware() (name, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.software[0], c.software[1]
}

func (c *Conn) SetClientSoftware(name, version string) {
	c.mu.Lock()
	c.software = [2]string{name, version}
	c.mu.Unlock()
}

// Close ends the connection now; answers that were not sent are dropped.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	c.close(reason)
	c.mu.Unlock()
}

// close is called with mu held. What is left in the queue is dropped by the reader on its way out.
func (c *Conn) close(reason error) {
	if c.closed {
		return
	}
	c.closed, c.reason = true, reason
	close(c.done)
	_ = c.nc.Close()
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// await waits until ok holds (called with mu held), or returns false because the connection is closed. Only the
// reader waits.
func (c *Conn) await(ok func() bool) bool {
	for {
		c.mu.Lock()
		good, closed := ok(), c.closed
		c.mu.Unlock()
		if closed {
			return false
		}
		if good {
			return true
		}
		select {
		case <-c.wake:
		case <-c.done:
		}
	}
}

// acquire takes n bytes of a budget; false if the connection closed before they were free.
func (c *Conn) acquire(b *budget, n int64) bool {
	w := b.try(n)
	if w == nil {
		return true
	}
	select {
	case <-w.granted:
		return true
	case <-c.done:
		b.abandon(w)
		return false
	}
}

// read is the goroutine of a connection, from its acceptance to its end.
func (c *Conn) read() {
	var err error
	for err == nil {
		err = c.next()
	}
	if c.s.draining.Load() && (errors.Is(err, errDraining) || isTimeout(err)) {
		c.await(func() bool { return len(c.queue) == 0 && !c.writing })
	}
	c.dropAhead()
	c.mu.Lock()
	c.close(err)
	for c.writing {
		c.mu.Unlock()
		<-c.wake
		c.mu.Lock()
	}
	err = c.reason
	hooks := c.hooks
	c.hooks = nil
	var drop []wire.Response
	for _, call := range c.queue {
		drop = append(drop, call.answer)
		call.answer = nil
	}
	c.queue = nil
	c.mu.Unlock()
	for _, r := range drop {
		r.Release()
	}
	for _, f := range hooks {
		f()
	}
	c.s.remove(c)
	c.log(err)
}

func (c *Conn) log(err error) {
	switch {
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrUnknownAPI), errors.Is(err, wire.ErrUnsupportedVersion), errors.Is(err, wire.ErrTooLarge):
		c.s.stats.malformed.Add(1)
		c.s.config.Logger.LogAttrs(context.Background(), levelRefused, "request refused, connection closed", c.attrs(err)...)
	default:
		c.s.config.Logger.LogAttrs(context.Background(), levelClosed, "connection closed", c.attrs(err)...)
	}
}

// next reads and serves one request.
func (c *Conn) next() error {
	config := &c.s.config
	if !c.await(func() bool { return len(c.queue) < config.ParkedMax && c.answerBytes < config.AnswerBytesMax }) {
		return errClosed
	}
	if c.s.draining.Load() {
		return errDraining
	}
	f, err := c.readFrame()
	if err != nil {
		return err
	}
	call := &Call{Conn: c, Received: config.Now(), serving: true}
	c.lastActive.Store(call.Received.UnixNano())
	call.bytes.Store(int64(len(f.b)))
	c.s.stats.requests.Add(1)
	c.s.stats.bytesIn.Add(int64(len(f.b)) + 4)
	if err := c.decode(call, f); err != nil {
		f.free()
		call.uncharge()
		return err
	}
	if f.class >= 0 {
		call.frame.Store(f)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		call.Release()
		return errClosed
	}
	c.queue = append(c.queue, call)
	c.mu.Unlock()
	outcome, err := c.serve(call)
	if call.then != nil {
		call.then()
	}
	if err != nil {
		c.Close(err)
		return err
	}
	return c.settle(call, outcome)
}

func (c *Conn) decode(call *Call, f *frame) (err error) {
	defer c.guard(call, &err)
	if call.Header, call.Body, err = wire.ParseRequestHeader(f.b); err != nil {
		return err
	}
	api := call.Header.API()
	if c.listener.Controller && !api.Controller || !c.listener.Controller && !api.Broker {
		return fmt.Errorf("%w: %s is not for listener %s", wire.ErrUnknownAPI, api.Name, c.listener.Name)
	}
	if !api.Accepts(call.Header.Version) {
		return nil // ApiVersions alone gets here: the handler answers with the versions there are
	}
	cost, err := wire.Cost(call.Header, call.Body)
	if err != nil {
		return err
	}
	if !c.acquire(&c.s.decoded, cost) {
		return errClosed
	}
	call.decoded.Store(cost)
	call.Request, err = wire.DecodeMeasured(call.Header, call.Body)
	return err
}

// settle does what the outcome of a call asks of the reader.
func (c *Conn) settle(call *Call, outcome Outcome) error {
	c.mu.Lock()
	call.serving = false
	if outcome == Done && call.state == waiting && !c.closed {
		c.mu.Unlock()
		panic(fmt.Sprintf("server: handler of %s is done without an answer", call.Header.API().Name))
	}
	ending := call.state == closing
	c.flush(true)
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case ending:
		c.await(func() bool { return false }) // answers before it are still to come; nothing behind it is read
		return errClosed
	case outcome == Hold:
		if !c.await(func() bool { return call.state != waiting }) {
			return errClosed
		}
	case outcome == Parked && call.frame.Load() == nil:
		// The frame belongs to the garbage collector: what parked work keeps of it is the handler's to bound.
		call.uncharge()
	}
	return nil
}

// flush sends the answers that are ready at the head of the queue, unless somebody does already. Called with mu held,
// which it gives up while it writes. Without block, what the socket does not take at once is left to a goroutine.
func (c *Conn) flush(block bool) {
	if c.writing {
		return
	}
	c.writing = true
	c.pump(block)
}

func (c *Conn) pump(block bool) {
	for c.take() {
		c.mu.Unlock()
		err := c.out.send(block)
		if err == errWouldBlock {
			c.mu.Lock()
			if !c.closed {
				c.s.goroutines.Add(1) // the reader counts until nobody writes, so the count is not zero here
				go c.drain()
				return
			}
			c.mu.Unlock()
			err = errClosed
		}
		c.out.end()
		c.mu.Lock()
		c.sent(err)
	}
	c.writing = false
}

// drain goes on where a writer that must not wait had to stop.
func (c *Conn) drain() {
	defer c.s.goroutines.Done()
	err := c.out.send(true)
	c.out.end()
	c.mu.Lock()
	c.sent(err)
	c.pump(true)
	c.mu.Unlock()
	c.signal()
}

// runMax bounds how many answers are handed to the socket together.
const runMax = 64

// take moves the answers at the head of the queue to the sender. Called with mu held.
func (c *Conn) take() bool {
	n := 0
	for !c.closed && !c.ended && n < len(c.queue) && len(c.out.run) < runMax && c.queue[n].state != waiting {
		call := c.queue[n]
		n++
		switch call.state {
		case answered:
			c.runBytes += call.answer.Memory()
			c.out.run = append(c.out.run, call.answer)
			call.answer = nil
		case closing:
			c.ended, c.reason = true, call.reason
		}
	}
	if n > 0 {
		c.queue = append(c.queue[:0], c.queue[n:]...)
		clear(c.queue[len(c.queue) : len(c.queue)+n])
	}
	if len(c.out.run) > 0 {
		return true
	}
	if c.ended {
		c.close(c.reason)
	}
	return false
}

// sent is called with mu held when the sender has nothing left.
func (c *Conn) sent(err error) {
	c.answerBytes -= c.runBytes
	c.runBytes = 0
	if err != nil {
		c.close(err)
	}
	c.lastActive.Store(c.s.config.Now().UnixNano())
}

// begin notes for the sweep that a frame of size bytes is being read; 0 = none.
func (c *Conn) begin(size int) {
	if size == 0 {
		c.frameStart.Store(0)
		return
	}
	now := c.s.config.Now().UnixNano()
	c.frameSize.Store(int64(size))
	c.frameLast.Store(now)
	c.frameStart.Store(now)
}

func (c *Conn) progress(n int) {
	if n > 0 && c.frameStart.Load() != 0 {
		c.frameLast.Store(c.s.config.Now().UnixNano())
	}
}

// overdue tells the sweep why the connection should be closed, nil if it should not.
func (c *Conn) overdue(now time.Time, idleMax time.Duration) error {
	at := now.UnixNano()
	if start := c.frameStart.Load(); start != 0 {
		stall := int64(c.s.config.FrameStall)
		if at-c.frameLast.Load() > stall || at-start > stall+c.frameSize.Load()*int64(time.Second)/frameRate {
			return errStalled
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if idleMax > 0 && len(c.queue) == 0 && !c.writing && at-c.lastActive.Load() > int64(idleMax) {
		return errIdle
	}
	return nil
}

var noDeadline time.Time

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// expected tells errors that clients cause by going away.
func expected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, errClosed) || errors.Is(err, errDraining)
}
