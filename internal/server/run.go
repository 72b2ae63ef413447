package server

import (
	"context"
	"errors"
	"net"
	"time"
)

// Serve starts to accept connections and returns. It is called once, and before Close.
func (s *Server) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopped {
		return
	}
	s.started = true
	for _, l := range s.listeners {
		s.goroutines.Add(1)
		go s.accept(l)
	}
	s.goroutines.Add(1)
	go s.sweeps()
}

// Close stops accepting, lets the requests that are being served be answered, closes the connections and waits for
// every goroutine. When ctx ends, connections are closed with their answers unsent. It can be called more than once.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.stopped
	s.stopped = true
	s.mu.Unlock()
	if first {
		close(s.stop)
		s.draining.Store(true)
		for _, l := range s.listeners {
			_ = l.Net.Close()
		}
	}
	for _, c := range s.all() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
	quiet := make(chan struct{})
	go func() { s.goroutines.Wait(); close(quiet) }()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	for _, c := range s.all() {
		c.Close(errDraining)
	}
	<-quiet
	return ctx.Err()
}

// acceptPause is how long to wait when the system gives no connection, for example for want of file descriptors.
const acceptPause = 50 * time.Millisecond

func (s *Server) accept(l *listener) {
	defer s.goroutines.Done()
	for {
		nc, err := l.Net.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.draining.Load() {
				return
			}
			s.config.Logger.Warn("cannot accept a connection", "listener", l.Name, "error", err)
			if !s.pause(acceptPause) {
				return
			}
			continue
		}
		s.take(l, nc)
	}
}

// take waits for a slot, as Apache does with the connection in its hand, and so accepts no other meanwhile.
func (s *Server) take(l *listener, nc net.Conn) {
	for {
		c, v, again := s.admit(l, nc)
		switch v {
		case admitted:
			go func() {
				defer s.goroutines.Done()
				c.read()
			}()
			if l.Privileged {
				s.trim()
			}
			return
		case refused:
			_ = nc.Close()
			return
		}
		select {
		case <-again:
		case <-s.stop:
		}
	}
}

func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

// sweeps looks after overdue connections until Close has emptied the server.
func (s *Server) sweeps() {
	defer s.goroutines.Done()
	for s.pause(s.sweepEvery()) {
		s.sweep()
	}
}

// sweepEvery bounds by how much a connection may be closed too late: an eighth of the shortest bound.
func (s *Server) sweepEvery() time.Duration {
	every := s.config.FrameStall
	if idle := s.limits.Load().MaxIdle; idle > 0 {
		every = min(every, idle)
	}
	return min(max(every/8, 10*time.Millisecond), 5*time.Second)
}

// afterFunc is time.AfterFunc for the in-memory network's deadlines.
func afterFunc(d time.Duration, f func()) *time.Timer { return time.AfterFunc(d, f) }
