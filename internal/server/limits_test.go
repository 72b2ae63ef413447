package server

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRefusedFrames(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	head := func(key, version int16, n uint32) []byte {
		return wire.AppendRequestHeader(length(n), wire.RequestHeader{Key: key, Version: version})
	}
	apis := wire.APIs()
	notServed := apis[slices.IndexFunc(apis, func(a wire.API) bool { return !a.Served() && a.Min <= a.Max })]
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"negative length", length(0xffffffff)},
		{"length of no header", length(7)},
		{"longer than socket.request.max.bytes", length(1<<20 + 1)},
		{"longer than the API's limit", head(12, 0, 512<<10)},
		{"unknown key", head(600, 0, 100)},
		{"key that is not served", head(notServed.Key, notServed.Min, 100)},
		{"removed key", head(4, 0, 100)},
		{"version that does not exist", framed(wire.RequestHeader{Key: 3, Version: 99}, nil)},
		{"Produce 2", framed(wire.RequestHeader{Key: 0, Version: 2}, nil)},
		{"malformed body", framed(wire.RequestHeader{Key: 12, Version: 0}, []byte{0, 9, 1})},
		{"no HTTP", []byte("GET / HTTP/1.1\r\nHost: klamm\r\n\r\n")},
		{"no TLS", []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mem(t, Config{Limits: Limits{RequestBytesMax: 1 << 20}}, echo)
				defer w.close()
				cl := w.dial()
				defer cl.Close()
				cl.send(heartbeat(1, "before"), c.bytes)
				cl.want(1, "before")
				cl.wantClosed()
				synctest.Wait()
				if st := w.s.Stats(); st.Malformed != 1 {
					t.Fatalf("%+v", st)
				}
			})
		})
	}
}

// DETAILS 1: ApiVersions of any version reaches the handler, with what it needs to answer.
func TestApiVersionsOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{}, func(c *Call) Outcome {
			if c.Request != nil {
				t.Errorf("decoded %v", c.Request)
			}
			c.Reply(wire.Encode(18, 0, c.Header.CorrelationID, kmsg.NewPtrApiVersionsResponse()))
			return Done
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(framed(wire.RequestHeader{Key: 18, Version: 77, CorrelationID: 5}, []byte{9, 9, 9}))
		c.want(5, "\x00\x00\x00\x00\x00\x00")
	})
}

func TestControllerListenerHasItsOwnRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{Listeners: []Listener{{Name: "BROKER"}, {Name: "CONTROLLER", Controller: true}}}, func(c *Call) Outcome {
			c.Reply(answer(c, c.Conn.Listener()))
			return Done
		})
		defer w.close()
		c := w.dialTo("127.0.0.1:9093")
		defer c.Close()
		describe := kmsg.NewPtrDescribeClusterRequest()
		c.send(request(1, describe))
		c.want(1, "\x00CONTROLLER")
		c.send(heartbeat(2, ""))
		c.wantClosed()
	})
}

// A length alone costs nothing, however large; a client that stops behind it is cut off.
func TestLyingLengthCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{FrameStall: 5 * time.Second}, echo)
		defer w.close()
		var clients []*client
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 50 {
			c := w.dial()
			defer c.Close()
			lie := produce(1, nil)
			binary.BigEndian.PutUint32(lie, 100<<20)
			c.send(lie)
			clients = append(clients, c)
		}
		synctest.Wait()
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / 50; n > firstBytes+16<<10 {
			t.Fatalf("%d bytes for a frame of 100 MiB that did not come", n)
		}
		if st := w.s.Stats(); st.FrameBytes != 0 || st.Connections != 50 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if st := w.s.Stats(); st.CutStalled != 50 || st.Connections != 0 {
			t.Fatalf("%+v", st)
		}
		clients[0].wantClosed()
	})
}

// A client that sends a byte now and then makes progress, yet may not hold a frame open for ever.
func TestTricklingClientIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{FrameStall: 5 * time.Second}, echo)
		defer w.close()
		c := w.dial()
		defer c.Close()
		b := heartbeat(1, strings.Repeat("x", 100))
		for i := range b {
			if _, err := c.Write(b[i : i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if st := w.s.Stats(); st.CutStalled != 1 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestFramesOfEverySize(t *testing.T) {
	sizes := []int{0, 1, 400, 480, 490, 512, 5000, 65500, 65536, 70_000, 1 << 20, 3 << 20}
	w := mem(t, Config{}, func(c *Call) Outcome {
		records := c.Request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records
		c.Reply(answer(c, string(records)))
		return Done
	})
	defer w.close()
	c := w.dial()
	defer c.Close()
	r := rand.NewChaCha8([32]byte{1})
	var bodies [][]byte
	for _, n := range sizes {
		b := make([]byte, n)
		_, _ = r.Read(b)
		bodies = append(bodies, b)
	}
	go func() {
		for i, b := range bodies {
			c.send(produce(int32(i), b), produce(int32(i), b))
		}
	}()
	for i, b := range bodies {
		c.want(int32(i), "\x00"+string(b))
		c.want(int32(i), "\x00"+string(b))
	}
}

// Frames of parked Produce calls stay theirs until they are released, whatever other connections send meanwhile.
func TestPooledFramesAreNotShared(t *testing.T) {
	w := mem(t, Config{}, func(c *Call) Outcome {
		records := c.Request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records
		go func() {
			for range rand.IntN(20) {
				runtime.Gosched()
			}
			if !bytes.Equal(records, bytes.Repeat(records[:1], len(records))) {
				t.Error("a frame was overwritten while its call was parked")
			}
			n := len(records)
			if n%2 == 0 {
				c.Release()
			}
			c.Reply(answer(c, strings.Repeat("x", n%100)))
		}()
		return Parked
	})
	defer w.close()
	done := make(chan bool)
	for k := range 8 {
		go func() {
			defer func() { done <- true }()
			c := w.dial()
			defer c.Close()
			go func() {
				for i := range int32(200) {
					c.send(produce(i, bytes.Repeat([]byte{byte(k*31 + int(i))}, 1000+int(i)*10)))
				}
			}()
			for i := range int32(200) {
				c.want(i, "\x00"+strings.Repeat("x", (1000+int(i)*10)%100))
			}
		}()
	}
	for range 8 {
		<-done
	}
}

func TestRequestMemoryStopsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{RequestMemory: 250_000}, p.park)
		defer w.close()
		var clients []*client
		for range 4 {
			c := w.dial()
			defer c.Close()
			go c.send(produce(1, make([]byte, 100_000)))
			clients = append(clients, c)
		}
		synctest.Wait()
		if st := w.s.Stats(); p.len() != 2 || st.BudgetWaits != 2 || st.FrameBytes > 250_000 {
			t.Fatalf("%d served, %+v", p.len(), st)
		}
		p.take(t, 0).Release() // parked on, but the frame is free
		synctest.Wait()
		if p.len() != 3 {
			t.Fatalf("%d served, want 3", p.len())
		}
		// Who waits and goes away leaves nothing behind.
		for _, c := range clients {
			c.Close()
		}
		p.take(t, 1).NoReply()
		synctest.Wait()
		for i := 2; i < p.len(); i++ {
			p.take(t, i).NoReply()
		}
		p.take(t, 0).NoReply()
	})
}

func TestRequestLargerThanRequestMemoryGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{RequestMemory: 50_000}, p.park)
		defer w.close()
		a, b := w.dial(), w.dial()
		defer a.Close()
		defer b.Close()
		go a.send(produce(1, make([]byte, 100_000)))
		synctest.Wait()
		go b.send(produce(1, make([]byte, 10_000)))
		synctest.Wait()
		if p.len() != 1 {
			t.Fatalf("%d served, want 1", p.len())
		}
		p.take(t, 0).NoReply()
		synctest.Wait()
		if p.len() != 2 {
			t.Fatalf("%d served, want 2", p.len())
		}
		p.take(t, 1).NoReply()
	})
}

func TestConnectionsPerIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{Limits: Limits{ConnectionsPerIPMax: Most(2)}}, echo)
		defer w.close()
		a, b := w.dial(), w.dial()
		defer a.Close()
		synctest.Wait()
		w.dial().wantClosed()
		a.send(heartbeat(1, "a"))
		a.want(1, "a")
		b.Close()
		synctest.Wait()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, "c"))
		c.want(1, "c")
		// Live: an override for this address, then none may connect at all.
		w.s.SetLimits(Limits{ConnectionsPerIPMax: Most(2), PerIP: map[string]int{"127.0.0.1": 3}})
		d := w.dial()
		defer d.Close()
		d.send(heartbeat(1, "d"))
		d.want(1, "d")
		w.s.SetLimits(Limits{PerIP: map[string]int{"127.0.0.1": 0}})
		w.dial().wantClosed()
		// None but those of the overrides.
		w.s.SetLimits(Limits{ConnectionsPerIPMax: Most(0)})
		w.dial().wantClosed()
		w.s.SetLimits(Limits{ConnectionsPerIPMax: Most(0), PerIP: map[string]int{"127.0.0.1": 4}})
		e := w.dial()
		defer e.Close()
		e.send(heartbeat(1, "e"))
		e.want(1, "e")
		w.dial().wantClosed()
		if st := w.s.Stats(); st.RefusedPerIP != 4 || st.Connections != 4 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestConnectionsMaxWaits(t *testing.T) {
	for _, limits := range []Limits{{ConnectionsMax: Most(1)}, {ListenerMax: map[string]int{"PLAINTEXT": 1}}} {
		synctest.Test(t, func(t *testing.T) {
			w := mem(t, Config{Limits: limits}, echo)
			defer w.close()
			a, b, c := w.dial(), w.dial(), w.dial()
			defer b.Close()
			defer c.Close()
			b.send(heartbeat(1, "b"))
			c.send(heartbeat(1, "c"))
			synctest.Wait()
			b.silent()
			a.Close()
			b.want(1, "b")
			synctest.Wait()
			c.silent()
			w.s.SetLimits(Limits{ConnectionsMax: Most(2)})
			c.want(1, "c")
			w.s.SetLimits(Limits{ConnectionsMax: Most(0)})
			b.wantClosed()
			c.wantClosed()
			w.dial() // waits while the server closes
			synctest.Wait()
		})
	}
}

func TestPrivilegedListenerTakesTheLongestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mem(t, Config{
			Limits:    Limits{ConnectionsMax: Most(2)},
			Listeners: []Listener{{Name: "CLIENTS"}, {Name: "REPLICATION", Privileged: true}},
		}, echo)
		defer w.close()
		a := w.dial()
		defer a.Close()
		time.Sleep(time.Second)
		b := w.dial()
		defer b.Close()
		time.Sleep(time.Second)
		a.send(heartbeat(1, "a"))
		a.want(1, "a")
		p := w.dialTo("127.0.0.1:9093")
		defer p.Close()
		p.send(heartbeat(1, "p"))
		p.want(1, "p")
		b.wantClosed()
		a.send(heartbeat(2, "a"))
		a.want(2, "a")
		w.s.SetLimits(Limits{ConnectionsMax: Most(1)})
		a.wantClosed()
		if st := w.s.Stats(); st.ClosedExcess != 2 || st.ListenerConnections["REPLICATION"] != 1 {
			t.Fatalf("%+v", st)
		}
	})
}

func TestIdleConnectionsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{Limits: Limits{MaxIdle: time.Minute}}, func(c *Call) Outcome {
			if text(c) == "park" {
				return p.park(c)
			}
			return echo(c)
		})
		defer w.close()
		idle, used, parked := w.dial(), w.dial(), w.dial()
		defer idle.Close()
		defer used.Close()
		defer parked.Close()
		parked.send(heartbeat(1, "park"))
		for range 4 {
			time.Sleep(20 * time.Second)
			used.send(heartbeat(1, "x"))
			used.want(1, "x")
		}
		idle.wantClosed()
		parked.silent()
		p.take(t, 0).Reply(answer(p.take(t, 0), "late"))
		parked.want(1, "late")
		if st := w.s.Stats(); st.ClosedIdle != 1 || st.Connections != 2 {
			t.Fatalf("%+v", st)
		}
		w.s.SetLimits(Limits{}) // live: never again
		time.Sleep(time.Hour)
		used.send(heartbeat(1, "x"))
		used.want(1, "x")
	})
}

// Whatever bytes come in, the server survives them and keeps no byte charged.
func FuzzConnection(f *testing.F) {
	f.Add(heartbeat(1, "x"), uint8(0))
	f.Add(append(produce(1, make([]byte, 700)), heartbeat(2, "y")...), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		w := mem(t, Config{}, func(c *Call) Outcome {
			c.Reply(answer(c, ""))
			return Done
		})
		c := w.dial()
		go func() { _, _ = io.Copy(io.Discard, c) }()
		k := min(int(cut), len(b))
		_, _ = c.Write(b[:k])
		_, _ = c.Write(b[k:])
		_ = c.Conn.(*memConn).CloseWrite()
		w.close()
		c.Close()
	})
}
