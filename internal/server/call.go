package server

import (
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Handler answers requests.
type Handler interface {
	// Serve runs on the goroutine that reads the connection, one request of a connection at a time.
	Serve(*Call) Outcome
}

// Outcome is how Serve left a call.
type Outcome int8

const (
	// Done: Reply, NoReply or Close has been called.
	Done Outcome = iota
	// Parked: it will be called later, by any goroutine; the connection's next request may run.
	Parked
	// Hold: it will be called later; the connection's next request waits for it.
	Hold
)

// Call is one request. Exactly one of Reply, NoReply and Close is called on it, once.
type Call struct {
	Conn     *Conn
	Header   wire.RequestHeader
	Request  kmsg.Request // nil only for ApiVersions in a version that does not exist
	Body     []byte       // what Request was decoded from
	Received time.Time    // when the frame was complete

	frame   atomic.Pointer[frame] // of Produce, until it returns to its pool
	bytes   atomic.Int64          // charged to the budget of frames
	decoded atomic.Int64          // charged to the budget of decoded requests
	then    func()                // the reader's own

	// Guarded by Conn.mu.
	state   callState
	serving bool // the reader is in Serve and will look at the queue afterwards
	answer  wire.Response
	reason  error // of Close
}

type callState uint8

const (
	waiting callState = iota
	answered
	silent  // answered by nothing
	closing // ends the connection in its turn
)

// Size is the length of the request's frame without header, in bytes.
func (c *Call) Size() int { return len(c.Body) }

// Reply answers the call. The server owns r from here on and releases it, also when the client is gone.
func (c *Call) Reply(r wire.Response) { c.finish(answered, r, nil) }

// NoReply ends a call that has no answer (Produce with acks=0).
func (c *Call) NoReply() { c.finish(silent, nil, nil) }

// Close ends the connection once the answers before this call have been sent.
func (c *Call) Close(reason error) { c.finish(closing, nil, reason) }

// Then has f run once Serve has returned or panicked, on its goroutine, before the answers that are ready are sent. A panic of f is
// not taken for one of the handler. Only Serve calls it.
func (c *Call) Then(f func()) { c.then = f }

// Release tells that neither Request nor Body is needed any more: a Produce frame returns to its pool, and the node's
// budgets get their bytes back. Answering does it too; a call that parks for long should not wait for that.
func (c *Call) Release() {
	if f := c.frame.Swap(nil); f != nil {
		c.Body, c.Request = nil, nil
		f.free()
	}
	c.uncharge()
}

func (c *Call) uncharge() {
	if n := c.bytes.Swap(0); n != 0 {
		c.Conn.s.frames.release(n)
	}
	if n := c.decoded.Swap(0); n != 0 {
		c.Conn.s.decoded.release(n)
	}
}

func (c *Call) finish(state callState, r wire.Response, reason error) {
	cn := c.Conn
	c.Release()
	cn.mu.Lock()
	if c.state != waiting {
		cn.mu.Unlock()
		panic("server: a call was answered twice")
	}
	c.state, c.answer, c.reason = state, r, reason
	if cn.closed {
		c.answer = nil
		cn.mu.Unlock()
		cn.signal()
		r.Release()
		return
	}
	cn.answerBytes += r.Memory()
	if !c.serving {
		cn.flush(false)
	}
	cn.mu.Unlock()
	cn.signal()
}
