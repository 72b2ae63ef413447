package server

import (
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is what a Server is made of. Zero values mean what their comments say.
type Config struct {
	Listeners []Listener
	Limits    Limits

	// RequestMemory bounds the bytes of all frames that are read but not answered (queued.max.request.bytes), and
	// once more what decoding them takes. 0 = four times the largest request, at least 256 MiB. A single request
	// larger than the bound is let through alone.
	RequestMemory int64

	ParkedMax      int           // unanswered requests per connection; 0 = 256
	AnswerBytesMax int64         // bytes of answers waiting per connection before its reader stops; 0 = 8 MiB
	WriteStall     time.Duration // a client that takes nothing for so long is cut off; 0 = 30 s
	FrameStall     time.Duration // a frame must go on within this; 0 = 30 s

	SendBuffer    int // socket.send.buffer.bytes; 0 or -1 = the system's
	ReceiveBuffer int // socket.receive.buffer.bytes; 0 or -1 = the system's

	Logger *slog.Logger     // nil = none
	Now    func() time.Time // nil = time.Now
}

// Listener is an open socket and what stands behind its name.
type Listener struct {
	Name string
	Net  net.Listener

	// Privileged is the inter-broker or control-plane listener: it accepts beyond ConnectionsMax, at the expense of
	// the connection of another listener that was idle longest, as Apache does.
	Privileged bool

	// Controller admits the requests of a controller's listener instead of a broker's.
	Controller bool
}

// Limits are those bounds that an operator may change while the node runs. The zero value limits nothing but the size of
// requests; a connection limit of zero lets nobody in.
type Limits struct {
	RequestBytesMax     int            // socket.request.max.bytes; 0 = 100 MiB
	ConnectionsMax      Bound          // max.connections
	ListenerMax         map[string]int // listener.name.NAME.max.connections, by Listener.Name
	ConnectionsPerIPMax Bound          // max.connections.per.ip
	PerIP               map[string]int // max.connections.per.ip.overrides, by Address
	MaxIdle             time.Duration  // connections.max.idle.ms; 0 or less = none
}

// Bound is a number that must not be exceeded. The zero value bounds nothing.
type Bound struct {
	most int
	set  bool
}

// Most is a bound of n, which may be zero.
func Most(n int) Bound { return Bound{max(n, 0), true} }

// reached says whether there is no room beside n.
func (b Bound) reached(n int) bool { return b.set && n >= b.most }

// Address is how Limits.PerIP names a client's address.
func Address(ip netip.Addr) string { return ip.Unmap().WithZone("").String() }

const (
	requestBytesDefault  = 100 << 20
	requestMemoryDefault = 256 << 20
	parkedDefault        = 256
	answerBytesDefault   = 8 << 20
	stallDefault         = 30 * time.Second

	// frameRate is how many bytes a second a client must send of a frame that it has begun.
	frameRate = 64 << 10
)

func (l Limits) withDefaults() *Limits {
	if l.RequestBytesMax <= 0 {
		l.RequestBytesMax = requestBytesDefault
	}
	return &l
}

func (c Config) withDefaults() Config {
	if c.RequestMemory <= 0 {
		c.RequestMemory = max(requestMemoryDefault, 4*int64(c.Limits.withDefaults().RequestBytesMax))
	}
	if c.ParkedMax <= 0 {
		c.ParkedMax = parkedDefault
	}
	if c.AnswerBytesMax <= 0 {
		c.AnswerBytesMax = answerBytesDefault
	}
	if c.WriteStall <= 0 {
		c.WriteStall = stallDefault
	}
	if c.FrameStall <= 0 {
		c.FrameStall = stallDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
