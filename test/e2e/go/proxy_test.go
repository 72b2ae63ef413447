//go:build e2e

package e2e

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// proxy stands between the clients and a node, which has to advertise its address, and does to requests what a network
// may do: the answer is lost after the node has acted, or the client's connection breaks with the request still under way,
// which reaches the node when the client has long repeated it and gone on.
type proxy struct {
	t    *testing.T
	l    net.Listener
	to   string
	done sync.WaitGroup

	mu     sync.Mutex // guards all below
	random *rand.Rand
	chance map[kmsg.Key]float64
	late   int // requests that came late
	lost   int // answers that were lost
	open   map[net.Conn]bool
	closed bool
}

// frameMax bounds what a client of the tests sends.
const frameMax = 16 << 20

func newProxy(t *testing.T, l net.Listener, to string, seed uint64) *proxy {
	p := &proxy{t: t, l: l, to: to, random: rand.New(rand.NewPCG(seed, 3)), open: map[net.Conn]bool{}}
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.done.Add(1)
			go func() {
				defer p.done.Done()
				p.serve(c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		p.done.Wait()
	})
	return p
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// disturb sets how likely requests of some kinds are to fall victim, from 0 to 1. Nil: none is.
func (p *proxy) disturb(chance map[kmsg.Key]float64) {
	p.mu.Lock()
	p.chance = chance
	p.mu.Unlock()
}

// keep has the connection closed at the end; false if that has come.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.open[c] = true
	}
	return !p.closed
}

func (p *proxy) drop(c net.Conn) {
	c.Close()
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

// serve carries one connection's requests, and its answers on another goroutine.
func (p *proxy) serve(client net.Conn) {
	defer p.drop(client)
	node, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.drop(node)
	if !p.keep(client) || !p.keep(node) {
		return
	}
	p.done.Add(1)
	go func() {
		defer p.done.Done()
		io.Copy(client, node)
		client.Close() // the node has gone
	}()
	for {
		f, err := readFrame(client)
		if err != nil {
			return
		}
		switch wait, fault := p.fate(f); fault {
		case arrivesLate:
			client.Close()
			time.Sleep(wait)
			node.Write(f)
			p.lastAnswer(node)
			return
		case answerLost:
			client.Close()
			node.Write(f)
			p.lastAnswer(node)
			return
		}
		if _, err := node.Write(f); err != nil {
			return
		}
	}
}

// lastAnswer gives the node the time to act: it drops requests of connections that are closed. The answers go nowhere.
func (p *proxy) lastAnswer(node net.Conn) { time.Sleep(100 * time.Millisecond) }

type fault int

const (
	passes fault = iota
	arrivesLate
	answerLost
)

// fate decides about a frame: mostly it just passes.
func (p *proxy) fate(f []byte) (time.Duration, fault) {
	if len(f) < 8 {
		return 0, passes
	}
	key := kmsg.Key(binary.BigEndian.Uint16(f[4:]))
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r := p.random.Float64(); {
	case r >= p.chance[key]:
		return 0, passes
	case r < p.chance[key]/3:
		p.lost++
		return 0, answerLost
	}
	p.late++
	return 10*time.Millisecond + time.Duration(p.random.Int64N(int64(400*time.Millisecond))), arrivesLate
}

// readFrame gives a frame with its length in front.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > frameMax {
		return nil, io.ErrShortBuffer
	}
	f := append(make([]byte, 0, 4+n), size[:]...)[:4+n]
	_, err := io.ReadFull(r, f[4:])
	return f, err
}
