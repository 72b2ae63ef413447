package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/klamm-io/klamm/internal/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type handlerFunc func(*Call) Outcome

func (f handlerFunc) Serve(c *Call) Outcome { return f(c) }

// answer builds an answer that carries text.
func answer(c *Call, text string) wire.Response {
	return wire.WithHeader(c.Header.Key, c.Header.Version, c.Header.CorrelationID, wire.Response{{Bytes: []byte(text)}})
}

// echo answers with the member id of a Heartbeat.
func echo(c *Call) Outcome {
	c.Reply(answer(c, text(c)))
	return Done
}

func text(c *Call) string { return c.Request.(*kmsg.HeartbeatRequest).MemberID }

type parker struct {
	mu    sync.Mutex
	calls []*Call
}

func (p *parker) park(c *Call) Outcome {
	p.mu.Lock()
	p.calls = append(p.calls, c)
	p.mu.Unlock()
	return Parked
}

func (p *parker) take(t *testing.T, n int) *Call {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.calls) {
		t.Fatalf("only %d calls parked, no number %d", len(p.calls), n)
	}
	return p.calls[n]
}

func (p *parker) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

type world struct {
	t   *testing.T
	net *MemNet
	s   *Server
}

const memHost = "127.0.0.1:9092"

// mem starts a server on a network in memory. The caller closes it (inside its synctest bubble).
func mem(t *testing.T, config Config, h handlerFunc) *world {
	t.Helper()
	w := &world{t: t, net: &MemNet{}}
	if config.Listeners == nil {
		config.Listeners = []Listener{{Name: "PLAINTEXT"}}
	}
	for i := range config.Listeners {
		l, err := w.net.Listen(fmt.Sprintf("127.0.0.1:%d", 9092+i))
		if err != nil {
			t.Fatal(err)
		}
		config.Listeners[i].Net = l
	}
	w.s = New(config, h)
	w.s.Serve()
	return w
}

func (w *world) close() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.s.Close(ctx); err != nil {
		w.t.Fatal(err)
	}
	st := w.s.Stats()
	if st.Connections != 0 || st.FrameBytes != 0 || st.DecodedBytes != 0 || len(w.s.perIP) != 0 {
		w.t.Fatalf("left after Close: %+v, by address %v", st, w.s.perIP)
	}
}

type client struct {
	t *testing.T
	net.Conn
}

func (w *world) dial() *client { return w.dialTo(memHost) }

func (w *world) dialTo(addr string) *client {
	w.t.Helper()
	c, err := w.net.Dial(context.Background(), "tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{w.t, c}
}

func framed(h wire.RequestHeader, body []byte) []byte {
	b := append(wire.AppendRequestHeader(make([]byte, 4), h), body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func request(id int32, r kmsg.Request) []byte {
	return framed(wire.RequestHeader{Key: r.Key(), Version: r.GetVersion(), CorrelationID: id}, r.AppendTo(nil))
}

func heartbeat(id int32, text string) []byte {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID = "g", text
	return request(id, r)
}

func produce(id int32, records []byte) []byte {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks = 9, 1
	r.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: records}}}}
	return request(id, r)
}

func (c *client) send(b ...[]byte) {
	c.t.Helper()
	for _, x := range b {
		if _, err := c.Write(x); err != nil {
			c.t.Fatal(err)
		}
	}
}

// receive reads an answer: correlation id and what follows it.
func (c *client) receive() (int32, string) {
	c.t.Helper()
	id, body, err := receive(c)
	if err != nil {
		c.t.Fatal(err)
	}
	return id, body
}

func receive(r io.Reader) (int32, string, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err := io.ReadFull(r, body)
	return int32(binary.BigEndian.Uint32(head[4:])), string(body), err
}

func (c *client) want(id int32, text string) {
	c.t.Helper()
	if gotID, got := c.receive(); gotID != id || got != text {
		c.t.Fatalf("answer %d %.40q (%d bytes), want %d %.40q (%d bytes)", gotID, got, len(got), id, text, len(text))
	}
}

// silent checks that nothing has been sent to the client. (The other goroutines must be at rest.)
func (c *client) silent() {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	var b [1]byte
	if n, err := c.Read(b[:]); n != 0 || !isTimeout(err) {
		c.t.Fatalf("read %d bytes, %v; want nothing yet", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) wantClosed() {
	c.t.Helper()
	var b [64]byte
	if n, err := c.Read(b[:]); n != 0 || err != io.EOF {
		c.t.Fatalf("read %q, %v; want the connection to be closed", b[:n], err)
	}
}

// memFile is a file of which ranges are sent.
type memFile struct {
	vfs.File
	b []byte
}

func (f memFile) Name() string { return "memory" }
func (f memFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(b, f.b[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

type countedRef struct {
	mu sync.Mutex
	n  int
}

func (r *countedRef) Release() {
	r.mu.Lock()
	r.n++
	r.mu.Unlock()
}

func (r *countedRef) want(t *testing.T, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n != n {
		t.Fatalf("range released %d times, want %d", r.n, n)
	}
}
