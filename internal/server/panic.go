package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// serve hands a call to the handler. A panic there costs its connection, not the node: otherwise a client that found one
// request that does it could keep the node from ever standing. What the handler had begun stays as it is, and a lock that
// it held stays locked; who waits for it then is seen, and the stack in the log tells why.
//
// A panic elsewhere (a machine's goroutine, the quorum's) ends the process: what they hold in memory cannot be trusted.
func (c *Conn) serve(call *Call) (o Outcome, err error) {
	defer c.guard(call, &err)
	return c.s.handler.Serve(call), nil
}

// guard is deferred around what works on one request.
func (c *Conn) guard(call *Call, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = errPanicked
	c.s.stats.panicked.Add(1)
	attrs := append(c.attrs(nil), slog.Int("api", int(call.Header.Key)), slog.Int("version", int(call.Header.Version)),
		slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	c.s.config.Logger.LogAttrs(context.Background(), slog.LevelError, "a bug: the handler of a request panicked; its connection is closed", attrs...)
	// The frame is left to the garbage collector: others whom the handler gave it to may still read it.
	call.frame.Store(nil)
	call.uncharge()
}
