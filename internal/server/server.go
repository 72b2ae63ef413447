package server

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	levelRefused = slog.LevelInfo
	levelClosed  = slog.LevelDebug
)

// Server is a node's front door.
type Server struct {
	config  Config
	handler Handler
	limits  atomic.Pointer[Limits]
	stats   counters

	frames  budget // bytes of frames that are read and not answered
	decoded budget // bytes that decoding them has taken

	draining   atomic.Bool
	stop       chan struct{}  // closed when Close begins
	goroutines sync.WaitGroup // every goroutine of the server

	mu        sync.Mutex
	listeners []*listener        // their counts are guarded by mu
	conns     map[*Conn]struct{} // guarded by mu
	perIP     map[string]int     // guarded by mu
	lastID    uint64             // guarded by mu
	freed     chan struct{}      // closed and replaced when a slot may have become free; guarded by mu
	started   bool               // guarded by mu
	stopped   bool               // guarded by mu
}

type listener struct {
	Listener
	conns int
}

// New makes a server that owns the listeners of the configuration: Close closes them.
func New(config Config, handler Handler) *Server {
	config = config.withDefaults()
	s := &Server{
		config:  config,
		handler: handler,
		frames:  budget{max: config.RequestMemory},
		decoded: budget{max: config.RequestMemory},
		stop:    make(chan struct{}),
		freed:   make(chan struct{}),
		conns:   map[*Conn]struct{}{},
		perIP:   map[string]int{},
	}
	s.limits.Store(config.Limits.withDefaults())
	for _, l := range config.Listeners {
		s.listeners = append(s.listeners, &listener{Listener: l})
	}
	return s
}

// SetLimits changes the limits of a running server. Lower limits on connections close the longest idle ones beyond
// max.connections and otherwise hold for new connections.
func (s *Server) SetLimits(l Limits) {
	s.limits.Store(l.withDefaults())
	s.mu.Lock()
	s.notifyFreed()
	s.mu.Unlock()
	s.trim()
}

// verdict on a new connection.
type verdict int8

const (
	admitted verdict = iota
	full             // no slot: wait
	refused          // too many from its address, or the server is closing
)

// admit gives a new connection its slot. The channel is closed when it is worth trying again.
func (s *Server) admit(l *listener, nc net.Conn) (*Conn, verdict, <-chan struct{}) {
	ip := addressOf(nc.RemoteAddr())
	limits := s.limits.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, refused, nil
	}
	if limits.perIP(ip).reached(s.perIP[ip]) {
		s.stats.refusedPerIP.Add(1)
		return nil, refused, nil
	}
	if most, bounded := limits.ListenerMax[l.Name]; bounded && l.conns >= most {
		return nil, full, s.freed
	}
	if limits.ConnectionsMax.reached(len(s.conns)) && !l.Privileged {
		return nil, full, s.freed
	}
	s.lastID++
	c := &Conn{s: s, id: s.lastID, nc: nc, listener: l, ip: ip, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.out.conn = c
	c.lastActive.Store(s.config.Now().UnixNano())
	s.tune(c)
	s.conns[c] = struct{}{}
	s.perIP[ip]++
	l.conns++
	s.stats.accepted.Add(1)
	s.goroutines.Add(1)
	return c, admitted, nil
}

func (l *Limits) perIP(ip string) Bound {
	if most, ok := l.PerIP[ip]; ok {
		return Most(most)
	}
	return l.ConnectionsPerIPMax
}

func addressOf(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err == nil {
		return Address(p.Addr())
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// tune sets the socket's buffers and finds out how to write without waiting.
func (s *Server) tune(c *Conn) {
	if t, ok := c.nc.(tryWriter); ok {
		c.try = t
		return
	}
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok {
		return
	}
	if s.config.SendBuffer > 0 {
		_ = tcp.SetWriteBuffer(s.config.SendBuffer)
	}
	if s.config.ReceiveBuffer > 0 {
		_ = tcp.SetReadBuffer(s.config.ReceiveBuffer)
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		c.socket.raw, c.source.raw = raw, raw
	}
}

// remove gives a connection's slot back.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.listener.conns--
	if s.perIP[c.ip]--; s.perIP[c.ip] == 0 {
		delete(s.perIP, c.ip)
	}
	s.notifyFreed()
}

// notifyFreed is called with mu held.
func (s *Server) notifyFreed() {
	close(s.freed)
	s.freed = make(chan struct{})
}

// trim closes the longest idle connections of unprivileged listeners while there are more than max.connections.
func (s *Server) trim() {
	bound := s.limits.Load().ConnectionsMax
	if !bound.set {
		return
	}
	s.mu.Lock()
	excess := len(s.conns) - bound.most
	var chosen []*Conn
	for ; excess > 0; excess-- {
		var oldest *Conn
		for c := range s.conns {
			if c.listener.Privileged || c.Gone() {
				continue
			}
			if oldest == nil || c.lastActive.Load() < oldest.lastActive.Load() {
				oldest = c
			}
		}
		if oldest == nil {
			break
		}
		oldest.Close(errExcess)
		chosen = append(chosen, oldest)
	}
	s.mu.Unlock()
	s.stats.closedExcess.Add(int64(len(chosen)))
}

// all lists the connections there are.
func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// sweep closes connections that are idle or stopped in the middle of a frame.
func (s *Server) sweep() {
	now, idleMax := s.config.Now(), s.limits.Load().MaxIdle
	for _, c := range s.all() {
		switch err := c.overdue(now, idleMax); err {
		case nil:
			continue
		case errIdle:
			s.stats.closedIdle.Add(1)
			c.Close(err)
		default:
			s.stats.cutStalled.Add(1)
			c.Close(err)
		}
	}
}

func (c *Conn) attrs(err error) []slog.Attr {
	name, version := c.ClientSoftware()
	attrs := []slog.Attr{
		slog.Uint64("connection", c.id), slog.String("listener", c.listener.Name), slog.String("remote", c.RemoteAddr().String()),
	}
	if name != "" {
		attrs = append(attrs, slog.String("software", name+" "+version))
	}
	if err != nil && !expected(err) {
		attrs = append(attrs, slog.String("reason", fmt.Sprint(err)))
	}
	return attrs
}

type counters struct {
	accepted, refusedPerIP, closedIdle, closedExcess, cutSlow, cutStalled, malformed, panicked, requests, bytesIn, bytesOut atomic.Int64
}

// Stats are a server's counters since New, and what it holds now.
type Stats struct {
	Connections         int            // now
	ListenerConnections map[string]int // now, by listener

	Accepted     int64
	RefusedPerIP int64 // max.connections.per.ip
	ClosedIdle   int64
	ClosedExcess int64 // for a privileged connection, or by a lowered max.connections
	CutSlow      int64 // did not take their answers
	CutStalled   int64 // stopped in the middle of a frame
	Malformed    int64 // refused requests
	Panics       int64 // of handlers
	Requests     int64
	BytesIn      int64
	BytesOut     int64

	FrameBytes   int64 // charged now
	DecodedBytes int64 // charged now
	BudgetWaits  int64 // how often a reader had to wait for either
}

// Stats reads the counters.
func (s *Server) Stats() Stats {
	st := Stats{
		ListenerConnections: map[string]int{},
		Accepted:            s.stats.accepted.Load(),
		RefusedPerIP:        s.stats.refusedPerIP.Load(),
		ClosedIdle:          s.stats.closedIdle.Load(),
		ClosedExcess:        s.stats.closedExcess.Load(),
		CutSlow:             s.stats.cutSlow.Load(),
		CutStalled:          s.stats.cutStalled.Load(),
		Malformed:           s.stats.malformed.Load(),
		Panics:              s.stats.panicked.Load(),
		Requests:            s.stats.requests.Load(),
		BytesIn:             s.stats.bytesIn.Load(),
		BytesOut:            s.stats.bytesOut.Load(),
	}
	s.mu.Lock()
	st.Connections = len(s.conns)
	for _, l := range s.listeners {
		st.ListenerConnections[l.Name] = l.conns
	}
	s.mu.Unlock()
	frames, frameWaits := s.frames.load()
	decoded, decodedWaits := s.decoded.load()
	st.FrameBytes, st.DecodedBytes, st.BudgetWaits = frames, decoded, frameWaits+decodedWaits
	return st
}
