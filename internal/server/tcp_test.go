package server

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/wire"
	"go.uber.org/goleak"
)

// loopback starts a server on a real socket.
func loopback(t testing.TB, config Config, h handlerFunc) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Listeners = []Listener{{Name: "PLAINTEXT", Net: l}}
	s := New(config, h)
	s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if st := s.Stats(); st.Connections != 0 || st.FrameBytes != 0 || st.DecodedBytes != 0 {
			t.Errorf("left after Close: %+v", st)
		}
	})
	return s, l.Addr().String()
}

func dialTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Many clients over real sockets, answers of all sizes completed by anybody, clients that break off: order holds,
// every range is released, no goroutine is left.
func TestLoopback(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	f, ref := memFile{b: []byte(strings.Repeat("0123456789", 50_000))}, &countedRef{}
	var mu sync.Mutex
	made := 0
	reply := func(c *Call) {
		n := int64(c.Header.CorrelationID) % 7 * 30_000
		mu.Lock()
		made++
		mu.Unlock()
		c.Reply(ranges(c, f, ref, n))
	}
	s, addr := loopback(t, Config{SendBuffer: 16 << 10, ReceiveBuffer: 16 << 10}, func(c *Call) Outcome {
		switch c.Header.CorrelationID % 3 {
		case 0:
			reply(c)
			return Done
		case 1:
			go reply(c)
			return Parked
		}
		go reply(c)
		return Hold
	})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			c := dialTCP(t, addr)
			go func() {
				for i := range int32(150) {
					if _, err := c.Write(heartbeat(i, "x")); err != nil {
						return
					}
				}
			}()
			for i := range int32(150) {
				if k%4 == 3 && i == 75 {
					c.Close()
					return
				}
				n := int(i%7) * 30_000
				id, body, err := receive(c)
				if want := fmt.Sprintf("[%d]", n) + string(f.b[:n]); err != nil || id != i || body != want {
					t.Errorf("client %d: answer %d of %d bytes, %v; want %d of %d bytes", k, id, len(body), err, i, len(want))
					return
				}
			}
			c.Close()
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for range 1000 { // calls that were parked when their client broke off are answered after Close
		ref.mu.Lock()
		n := ref.n
		ref.mu.Unlock()
		if n == made {
			break
		}
		runtime.Gosched()
	}
	ref.want(t, made)
}

// A client that reads nothing fills the socket; the completer goes on at once and the client is cut off.
func TestSlowClientOverTCP(t *testing.T) {
	var completed sync.WaitGroup
	s, addr := loopback(t, Config{WriteStall: 100 * time.Millisecond, SendBuffer: 16 << 10}, func(c *Call) Outcome {
		completed.Go(func() { c.Reply(answer(c, strings.Repeat("x", 32<<20))) })
		return Parked
	})
	c := dialTCP(t, addr)
	if _, err := c.Write(heartbeat(1, "")); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for s.Stats().CutSlow == 0 {
		select {
		case <-deadline:
			t.Fatalf("not cut off: %+v", s.Stats())
		default:
			runtime.Gosched()
		}
	}
	completed.Wait()
}

// 5,000 idle connections, each of which has served a request, cost at most 16 KiB each on the server's side.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const n = 5000
	_, addr := loopback(t, Config{}, echo)
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	footprint := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := footprint()
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skipf("after %d connections: %v", len(conns), err)
		}
		conns = append(conns, c)
		if _, err := c.Write(heartbeat(1, "x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := receive(c); err != nil {
			t.Fatal(err)
		}
	}
	each := (footprint() - before) / n
	t.Logf("%d bytes per idle connection, both ends in this process", each)
	if each > 16<<10 {
		t.Fatalf("%d bytes per idle connection, at most %d", each, 16<<10)
	}
}

// What the server itself allocates for a request does not grow with the request's content.
func TestAllocationsPerRequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	reply := wire.Response{{Bytes: []byte{0, 0, 0, 4, 0, 0, 0, 1}}}
	_, addr := loopback(t, Config{}, func(c *Call) Outcome {
		c.Reply(reply)
		return Done
	})
	c := dialTCP(t, addr)
	var got [8]byte
	measure := func(records int) float64 {
		b := produce(1, make([]byte, records))
		return testing.AllocsPerRun(200, func() {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(got); {
				k, err := c.Read(got[n:])
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		})
	}
	small := measure(100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	large := measure(900_000)
	runtime.ReadMemStats(&after)
	// Building the request takes a few megabytes; frames without a pool would take 180.
	if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
		t.Fatalf("200 requests of 900,000 bytes allocated %d bytes: their frames do not return to the pool", n)
	}
	t.Logf("%.1f allocations for 100 bytes, %.1f for 900,000", small, large)
	if small > 12 || large > small+2 {
		t.Fatalf("%.1f allocations for a small request, %.1f for a large one", small, large)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{100, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			reply := wire.Response{{Bytes: []byte{0, 0, 0, 4, 0, 0, 0, 1}}}
			_, addr := loopback(b, Config{}, func(c *Call) Outcome {
				c.Reply(reply)
				return Done
			})
			c := dialTCP(b, addr)
			request := produce(1, make([]byte, size))
			var got [8]byte
			b.SetBytes(int64(len(request)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(got[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
