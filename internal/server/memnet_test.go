package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemNet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &MemNet{}
		if _, err := n.Dial(context.Background(), "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial to nobody: %v", err)
		}
		l, err := n.Listen("localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("address taken twice: %v", err)
		}
		a, err := n.Dial(context.Background(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if a.LocalAddr().String() != b.RemoteAddr().String() || b.LocalAddr().String() != l.Addr().String() {
			t.Fatalf("addresses %v %v %v", a.LocalAddr(), b.RemoteAddr(), b.LocalAddr())
		}

		// More than the buffers hold, both ways at once.
		big := bytes.Repeat([]byte("0123456789"), 50_000)
		go func() { _, _ = io.Copy(b, b); b.Close() }()
		go func() { _, _ = a.Write(big); _ = a.(*memConn).CloseWrite() }()
		got, err := io.ReadAll(a)
		if err != nil || !bytes.Equal(got, big) {
			t.Fatalf("%d of %d bytes came back, %v", len(got), len(big), err)
		}

		// Deadlines expire, wake who waits, and can be set anew.
		c, _ := n.Dial(context.Background(), "tcp", l.Addr().String())
		d, _ := l.Accept()
		start := time.Now()
		_ = c.SetReadDeadline(start.Add(3 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		_ = c.SetReadDeadline(time.Time{})
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		k, err := c.Write(big)
		var timeout net.Error
		if k != memBuffer || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("wrote %d, %v", k, err)
		}

		// Who closes wakes the other.
		go func() { time.Sleep(time.Second); d.Close() }()
		if k, err := c.Read(make([]byte, 1)); k != 0 || err != io.EOF {
			t.Fatalf("%d %v", k, err)
		}
		_ = c.SetWriteDeadline(time.Time{})
		if _, err := c.Write([]byte{1}); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("write to a closed end: %v", err)
		}
		c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read on a closed end: %v", err)
		}

		// Closing the listener closes who was not accepted, and frees the address.
		e, _ := n.Dial(context.Background(), "tcp", l.Addr().String())
		go func() { time.Sleep(time.Second); l.Close() }()
		if _, err := e.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		again, err := n.Listen(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}
