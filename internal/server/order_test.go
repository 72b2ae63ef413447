package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/klamm-io/klamm/internal/wire"
)

func TestAnswersInRequestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{}, func(c *Call) Outcome {
			if strings.HasPrefix(text(c), "park") {
				return p.park(c)
			}
			return echo(c)
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, "one"), heartbeat(2, "park two"), heartbeat(3, "three"), heartbeat(4, "park four"), heartbeat(5, "five"))
		c.want(1, "one")
		synctest.Wait()
		c.silent()
		p.take(t, 1).Reply(answer(p.take(t, 1), "four"))
		synctest.Wait()
		c.silent()
		p.take(t, 0).Reply(answer(p.take(t, 0), "two"))
		c.want(2, "two")
		c.want(3, "three")
		c.want(4, "four")
		c.want(5, "five")
		c.send(heartbeat(6, "six"))
		c.want(6, "six")
	})
}

// Any goroutine completes parked calls in any order, some before Serve has returned.
func TestOrderUnderRaces(t *testing.T) {
	const requests = 2000
	w := mem(t, Config{}, func(c *Call) Outcome {
		switch rand.IntN(4) {
		case 0:
			return echo(c)
		case 1:
			go echo(c)
			return Hold
		}
		go echo(c)
		return Parked
	})
	defer w.close()
	c := w.dial()
	defer c.Close()
	go func() {
		for i := range int32(requests) {
			c.send(heartbeat(i, fmt.Sprint("request ", i)))
		}
	}()
	for i := range int32(requests) {
		c.want(i, fmt.Sprint("request ", i))
	}
}

func TestHoldKeepsTheNextRequestBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{}, func(c *Call) Outcome {
			p.park(c)
			return Hold
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, ""), heartbeat(2, ""))
		synctest.Wait()
		if p.len() != 1 {
			t.Fatalf("%d requests served while the first is held", p.len())
		}
		p.take(t, 0).Reply(answer(p.take(t, 0), "first"))
		c.want(1, "first")
		synctest.Wait()
		p.take(t, 1).NoReply()
		c.send(heartbeat(3, ""))
		synctest.Wait()
		p.take(t, 2).Reply(answer(p.take(t, 2), "third"))
		c.want(3, "third")
	})
}

// DETAILS 2: a request without an answer leaves no gap; an error on it closes the connection, after the answers before.
func TestNoReplyAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		served := 0
		w := mem(t, Config{}, func(c *Call) Outcome {
			served++
			switch text(c) {
			case "park":
				return p.park(c)
			case "silent":
				c.NoReply()
			case "close":
				c.Close(errors.New("acks=0 and an error"))
			}
			return Done
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, "silent"), heartbeat(2, "park"), heartbeat(3, "close"), heartbeat(4, "silent"))
		synctest.Wait()
		if served != 3 {
			t.Fatalf("%d requests served; nothing behind the third may be", served)
		}
		c.silent()
		p.take(t, 0).Reply(answer(p.take(t, 0), "late"))
		c.want(2, "late")
		c.wantClosed()
	})
}

func TestParkedMaxStopsTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{ParkedMax: 3}, p.park)
		defer w.close()
		c := w.dial()
		defer c.Close()
		for i := range int32(6) {
			c.send(heartbeat(i, ""))
		}
		synctest.Wait()
		if p.len() != 3 {
			t.Fatalf("%d parked, want 3", p.len())
		}
		p.take(t, 1).Reply(answer(p.take(t, 1), "b")) // its place in the queue is not free yet
		synctest.Wait()
		if p.len() != 3 {
			t.Fatalf("%d parked, want 3", p.len())
		}
		p.take(t, 0).Reply(answer(p.take(t, 0), "a"))
		c.want(0, "a")
		c.want(1, "b")
		synctest.Wait()
		if p.len() != 5 {
			t.Fatalf("%d parked, want 5", p.len())
		}
		for i := 2; i < 6; i++ {
			p.take(t, i).NoReply()
			synctest.Wait()
		}
	})
}

func TestAnswerBytesStopTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		served := 0
		w := mem(t, Config{AnswerBytesMax: 100_000}, func(c *Call) Outcome {
			if served++; served == 1 {
				return p.park(c)
			}
			c.Reply(answer(c, strings.Repeat("x", 40_000)))
			return Done
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		for i := range int32(9) {
			c.send(heartbeat(i, ""))
		}
		synctest.Wait()
		if served != 4 {
			t.Fatalf("%d served with 100 kB of answers waiting, want 4", served)
		}
		p.take(t, 0).NoReply()
		for i := range int32(8) {
			c.want(i+1, strings.Repeat("x", 40_000))
		}
	})
}

func ranges(c *Call, f vfs.File, ref vfs.Ref, lengths ...int64) wire.Response {
	var body wire.Response
	at := int64(0)
	for _, n := range lengths {
		body = append(body, wire.Part{Bytes: []byte(fmt.Sprintf("[%d]", n))}, wire.Part{File: vfs.Range{File: f, Offset: at, Length: n, Ref: ref}})
		at += n
	}
	return wire.WithHeader(c.Header.Key, c.Header.Version, c.Header.CorrelationID, body)
}

func TestRanges(t *testing.T) {
	content := make([]byte, 500_000)
	for i := range content {
		content[i] = byte(i * 7 / 3)
	}
	f := memFile{b: content}
	lengths := []int64{0, 1, 100, 8191, 8192, 8193, 65535, 65536, 65537, 200_000}
	var want strings.Builder
	at := int64(0)
	for _, n := range lengths {
		fmt.Fprintf(&want, "[%d]%s", n, content[at:at+n])
		at += n
	}
	for _, parked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ref := &countedRef{}
			w := mem(t, Config{}, func(c *Call) Outcome {
				if parked {
					go func() { c.Reply(ranges(c, f, ref, lengths...)) }()
					return Parked
				}
				c.Reply(ranges(c, f, ref, lengths...))
				return Done
			})
			defer w.close()
			c := w.dial()
			defer c.Close()
			c.send(heartbeat(1, ""), heartbeat(2, ""))
			synctest.Wait() // now the socket is full
			c.want(1, want.String())
			c.want(2, want.String())
			synctest.Wait()
			ref.want(t, 2*len(lengths))
		})
	}
}

// The frame's length has been sent when the file turns out to be shorter: nothing but an end can follow.
func TestShortFileCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := &countedRef{}
		w := mem(t, Config{}, func(c *Call) Outcome {
			c.Reply(ranges(c, memFile{b: make([]byte, 1000)}, ref, 500, 600))
			return Done
		})
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, ""))
		if _, _, err := receive(c); err == nil {
			t.Fatal("a whole answer from half a file")
		}
		synctest.Wait()
		ref.want(t, 2)
	})
}

// Ranges are released once, whether their answers are sent, wait behind a parked one, or come after the client's end.
func TestRangesReleasedWhenTheClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f, ref := &parker{}, memFile{b: make([]byte, 1000)}, &countedRef{}
		w := mem(t, Config{}, func(c *Call) Outcome {
			if text(c) == "park" {
				return p.park(c)
			}
			c.Reply(ranges(c, f, ref, 10))
			return Done
		})
		defer w.close()
		c := w.dial()
		c.send(heartbeat(1, "park"), heartbeat(2, ""), heartbeat(3, "park"))
		synctest.Wait()
		hooks := 0
		conn := p.take(t, 0).Conn
		conn.OnClose(func() { hooks++ })
		if conn.Gone() {
			t.Fatal("gone too early")
		}
		c.Close()
		synctest.Wait()
		ref.want(t, 1)
		<-conn.Done()
		conn.OnClose(func() { hooks++ })
		if !conn.Gone() || hooks != 2 {
			t.Fatalf("gone %t, %d hooks run", conn.Gone(), hooks)
		}
		for i := range 2 {
			p.take(t, i).Reply(ranges(p.take(t, i), f, ref, 10))
		}
		ref.want(t, 3)
	})
}

// A client that takes nothing is cut off; who completes its parked answers never waits for it.
func TestSlowClientIsCutOff(t *testing.T) {
	for _, parked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, ref := &parker{}, &countedRef{}
			f := memFile{b: make([]byte, 1<<20)}
			w := mem(t, Config{WriteStall: 7 * time.Second}, func(c *Call) Outcome {
				if parked {
					return p.park(c)
				}
				c.Reply(ranges(c, f, ref, 1<<20))
				return Done
			})
			defer w.close()
			c := w.dial()
			defer c.Close()
			c.send(heartbeat(1, ""), heartbeat(2, ""))
			synctest.Wait()
			if parked {
				before := time.Now()
				for i := range 2 {
					p.take(t, i).Reply(ranges(p.take(t, i), f, ref, 1<<20))
				}
				if waited := time.Since(before); waited != 0 {
					t.Fatalf("the completer waited %v for a socket", waited)
				}
			}
			time.Sleep(6900 * time.Millisecond)
			if st := w.s.Stats(); st.Connections != 1 {
				t.Fatal("cut off too early")
			}
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			st := w.s.Stats()
			if st.Connections != 0 || st.CutSlow != 1 {
				t.Fatalf("%+v", st)
			}
			if parked {
				ref.want(t, 2)
			} else {
				ref.want(t, 1)
			}
		})
	}
}

func TestGracefulClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{}, p.park)
		idle, busy := w.dial(), w.dial()
		defer idle.Close()
		defer busy.Close()
		busy.send(heartbeat(1, ""))
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- w.s.Close(context.Background()) }()
		idle.wantClosed()
		if _, err := w.net.Dial(context.Background(), "tcp", memHost); err == nil {
			t.Fatal("still accepting")
		}
		busy.send(heartbeat(2, "")) // too late to be served
		synctest.Wait()
		p.take(t, 0).Reply(answer(p.take(t, 0), "still answered"))
		busy.want(1, "still answered")
		busy.wantClosed()
		if err := <-closed; err != nil || p.len() != 1 {
			t.Fatalf("%v, %d served", err, p.len())
		}
		w.close()
	})
}

func TestForcedClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{}, p.park)
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, ""))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		c.wantClosed()
		p.take(t, 0).Reply(nil) // into the void
	})
}

func TestAnsweringTwicePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parker{}
		w := mem(t, Config{}, p.park)
		defer w.close()
		c := w.dial()
		defer c.Close()
		c.send(heartbeat(1, ""))
		synctest.Wait()
		p.take(t, 0).NoReply()
		defer func() {
			if recover() == nil {
				t.Fatal("no panic")
			}
		}()
		p.take(t, 0).NoReply()
	})
}
