package server

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

type said struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A handler that panics costs one connection, whatever it had done with the call before. What the call took of the budgets
// is given back (world.close looks).
func TestHandlerPanics(t *testing.T) {
	for _, before := range []string{"nothing", "answered", "parked"} {
		t.Run(before, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log said
				p := &parker{}
				then := make(chan struct{})
				w := mem(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(c *Call) Outcome {
					switch {
					case text(c) != "boom":
						return echo(c)
					case before == "nothing":
						c.Then(func() { close(then) })
					case before == "answered":
						c.Reply(answer(c, "an answer"))
					case before == "parked":
						p.park(c)
					}
					var parts []int
					return Outcome(parts[c.Header.CorrelationID])
				})
				defer w.close()
				a, b := w.dial(), w.dial()
				defer b.Close()
				a.send(heartbeat(1, "a"))
				a.want(1, "a")
				a.send(heartbeat(2, "boom"))
				a.wantClosed()
				if before == "nothing" {
					<-then // what was to follow the call did
				}
				if before == "parked" {
					p.take(t, 0).Reply(answer(p.take(t, 0), "too late"))
				}
				b.send(heartbeat(1, "b"))
				b.want(1, "b")
				said := log.String()
				for _, s := range []string{"level=ERROR", "index out of range", "panic_test.go", "api=12", "remote="} {
					if !strings.Contains(said, s) {
						t.Fatalf("%q is not said: %s", s, said)
					}
				}
				if n := w.s.Stats().Panics; n != 1 {
					t.Fatalf("%d panics counted", n)
				}
			})
		})
	}
}
