package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a controller that answers as it is told, and notes what it was asked and when.
type script struct {
	mu      sync.Mutex // guards:
	begun   time.Time
	quiet   bool // heartbeats before Ready are neither noted nor counted
	asked   []string
	answer  func(n int, req kmsg.Request) kmsg.Response // nil: no answer yet; n counts from 0
	pending []func(kmsg.Response)
}

func (s *script) Request(req kmsg.Request, reply func(kmsg.Response)) {
	if h, ok := req.(*kmsg.BrokerHeartbeatRequest); ok && h.WantFence && !h.WantShutdown && s.quiet {
		reply(behind) // whether one comes before Ready is chance
		return
	}
	s.mu.Lock()
	n := len(s.asked)
	s.asked = append(s.asked, fmt.Sprintf("%v %s", time.Since(s.begun), describe(req)))
	resp := s.answer(n, req)
	if resp == nil {
		s.pending = append(s.pending, reply)
	}
	s.mu.Unlock()
	if resp != nil {
		reply(resp)
	}
}

func (s *script) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func describe(req kmsg.Request) string {
	switch r := req.(type) {
	case *kmsg.BrokerRegistrationRequest:
		return fmt.Sprintf("register %d previous %d", r.BrokerID, r.PreviousBrokerEpoch)
	case *kmsg.BrokerHeartbeatRequest:
		s := fmt.Sprintf("heartbeat epoch %d offset %d", r.BrokerEpoch, r.CurrentMetadataOffset)
		if r.WantFence {
			s += " fence"
		}
		if r.WantShutdown {
			s += " shutdown"
		}
		return s
	}
	return fmt.Sprintf("%T", req)
}

func registered(epoch int64) kmsg.Response {
	r := kmsg.NewPtrBrokerRegistrationResponse()
	r.BrokerEpoch = epoch
	return r
}

func refused(err *kerr.Error) kmsg.Response {
	r := kmsg.NewPtrBrokerRegistrationResponse()
	r.ErrorCode = err.Code
	return r
}

func beat(fenced, caughtUp, shutdown bool) kmsg.Response {
	r := kmsg.NewPtrBrokerHeartbeatResponse()
	r.IsFenced, r.IsCaughtUp, r.ShouldShutdown = fenced, caughtUp, shutdown
	return r
}

func beatError(err *kerr.Error) kmsg.Response {
	r := kmsg.NewPtrBrokerHeartbeatResponse()
	r.ErrorCode = err.Code
	return r
}

var (
	fenced   = beat(true, true, false)
	behind   = beat(true, false, false)
	unfenced = beat(false, true, false)
	goAway   = beat(true, true, true)
)

// run starts a life over a script in virtual time.
func run(t *testing.T, answer func(n int, req kmsg.Request) kmsg.Response, f func(t *testing.T, l *Lifecycle, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{begun: time.Now(), answer: answer, quiet: t.Name() != "TestALife"}
		image := metadata.NewDelta(metadata.Empty()).Image(41, 1)
		l := Start(Config{ID: 1, ClusterID: "c", Incarnation: schema.UUID{1}, Features: metadata.SupportedFeatures(), PreviousEpoch: 7,
			HeartbeatInterval: 2 * time.Second, Controller: s, Image: func() *metadata.Image { return image }, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Endpoints: []Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092}}, Directories: []schema.UUID{{9}}})
		defer l.Close()
		f(t, l, s)
	})
}

// answers gives one after the other, the last one for ever.
func answers(list ...kmsg.Response) func(int, kmsg.Request) kmsg.Response {
	return func(n int, _ kmsg.Request) kmsg.Response { return list[min(n, len(list)-1)] }
}

func same(t *testing.T, want, got []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

func TestALife(t *testing.T) {
	var leaving atomic.Bool
	run(t, func(n int, req kmsg.Request) kmsg.Response {
		switch {
		case n == 0:
			return registered(12)
		case n < 3:
			return behind
		case n == 3:
			return fenced
		case !leaving.Load():
			return unfenced
		}
		if n < 8 {
			return beat(false, true, false)
		}
		return goAway
	}, func(t *testing.T, l *Lifecycle, s *script) {
		if l.Epoch() != -1 || l.State() != Starting {
			t.Fatal(l.Epoch(), l.State())
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if l.Epoch() != 12 || l.State() != Recovery {
			t.Fatal(l.Epoch(), l.State())
		}
		l.Ready()
		l.Ready()
		if err := l.AwaitRunning(t.Context()); err != nil || l.State() != Running {
			t.Fatal(err, l.State())
		}
		time.Sleep(3 * time.Second)
		leaving.Store(true)
		if err := l.Leave(t.Context()); err != nil || l.State() != Done {
			t.Fatal(err, l.State())
		}
		same(t, []string{
			"0s register 1 previous 7",
			"0s heartbeat epoch 12 offset 41 fence",
			"50ms heartbeat epoch 12 offset 41", // at once when ready; it has not caught up
			"150ms heartbeat epoch 12 offset 41",
			"170ms heartbeat epoch 12 offset 41", // unfenced
			"2.17s heartbeat epoch 12 offset 41",
			"3.17s heartbeat epoch 12 offset 41 shutdown", // at once
			"3.37s heartbeat epoch 12 offset 41 shutdown",
			"3.57s heartbeat epoch 12 offset 41 shutdown",
		}, s.log())
	})
}

// Another broker of this id may still be alive for the controller: it is asked again.
func TestRegistrationIsTriedAgain(t *testing.T) {
	run(t, answers(refused(kerr.DuplicateBrokerRegistration), refused(kerr.NotController), registered(3), unfenced), func(t *testing.T, l *Lifecycle, s *script) {
		l.Ready()
		if err := l.AwaitRunning(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.log()[2]; got != "4s register 1 previous 7" && got != "2s register 1 previous 7" {
			t.Fatal(s.log())
		}
	})
}

func TestRefusedForGood(t *testing.T) {
	run(t, answers(refused(kerr.InconsistentClusterID)), func(t *testing.T, l *Lifecycle, s *script) {
		if err := l.AwaitRunning(t.Context()); !errors.Is(err, kerr.InconsistentClusterID) {
			t.Fatal(err)
		}
		if err := l.Leave(t.Context()); !errors.Is(err, kerr.InconsistentClusterID) {
			t.Fatal(err)
		}
	})
}

// A controller that forgot the broker makes it register anew; it is unfenced again without a word.
func TestForgottenBroker(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.StaleBrokerEpoch, kerr.BrokerIDNotRegistered} {
		run(t, answers(registered(3), unfenced, beatError(e), registered(8), unfenced), func(t *testing.T, l *Lifecycle, s *script) {
			l.Ready()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if l.Epoch() != 8 || l.State() != Running {
				t.Fatal(l.Epoch(), l.State())
			}
			same(t, []string{
				"0s register 1 previous 7", "0s heartbeat epoch 3 offset 41", "2s heartbeat epoch 3 offset 41",
				"2s register 1 previous 7", "2s heartbeat epoch 8 offset 41", "4s heartbeat epoch 8 offset 41",
			}, s.log())
		})
	}
}

func TestFailedHeartbeatsAreNoEnd(t *testing.T) {
	run(t, answers(registered(3), unfenced, beatError(kerr.UnknownServerError), beatError(kerr.NotController), unfenced), func(t *testing.T, l *Lifecycle, s *script) {
		l.Ready()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if n := len(s.log()); n != 5 || l.State() != Running {
			t.Fatal(s.log(), l.State())
		}
	})
}

// The answer that unfences comes when this node has taken it in, which may outlast the session: heartbeats keep it.
func TestSessionIsKeptWhileAnAnswerWaits(t *testing.T) {
	run(t, func(n int, req kmsg.Request) kmsg.Response {
		switch n {
		case 0:
			return registered(3)
		case 1:
			return nil
		}
		return unfenced
	}, func(t *testing.T, l *Lifecycle, s *script) {
		l.Ready()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if l.State() != Recovery {
			t.Fatal("running before the answer came")
		}
		same(t, []string{
			"0s register 1 previous 7", "0s heartbeat epoch 3 offset 41", "2s heartbeat epoch 3 offset 41",
			"4s heartbeat epoch 3 offset 41", "6s heartbeat epoch 3 offset 41",
		}, s.log())
		s.pending[0](unfenced)
		if err := l.AwaitRunning(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Without a registration there is nothing to ask for.
func TestLeaveBeforeRegistration(t *testing.T) {
	run(t, answers(refused(kerr.DuplicateBrokerRegistration)), func(t *testing.T, l *Lifecycle, s *script) {
		synctest.Wait()
		if err := l.Leave(t.Context()); err != nil || l.State() != Done {
			t.Fatal(err, l.State())
		}
	})
	run(t, answers(registered(3), unfenced, beatError(kerr.StaleBrokerEpoch)), func(t *testing.T, l *Lifecycle, s *script) {
		l.Ready()
		l.AwaitRunning(t.Context())
		if err := l.Leave(t.Context()); err != nil || len(s.log()) != 3 {
			t.Fatal(err, s.log())
		}
	})
}

func TestDeadlines(t *testing.T) {
	run(t, answers(registered(3), beat(false, true, false)), func(t *testing.T, l *Lifecycle, s *script) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := l.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
	run(t, answers(nil), func(t *testing.T, l *Lifecycle, s *script) { // no controller answers
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := l.AwaitRunning(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if n := len(s.log()); n != 1 {
			t.Fatalf("%d registrations without an answer", n)
		}
	})
}

func TestAnswersOfAnotherKindEndIt(t *testing.T) {
	run(t, answers(kmsg.NewPtrMetadataResponse()), func(t *testing.T, l *Lifecycle, s *script) {
		if err := l.AwaitRunning(t.Context()); err == nil {
			t.Fatal("accepted")
		}
	})
}

func TestRequestsCarryWhatTheBrokerIs(t *testing.T) {
	run(t, func(n int, req kmsg.Request) kmsg.Response {
		if r, ok := req.(*kmsg.BrokerRegistrationRequest); ok {
			if len(r.Listeners) != 1 || r.Listeners[0].Port != 9092 || len(r.LogDirs) != 1 || len(r.Features) == 0 || r.ClusterID != "c" || r.IncarnationID != [16]byte{1} {
				t.Errorf("%+v", r)
			}
			return registered(1)
		}
		return unfenced
	}, func(t *testing.T, l *Lifecycle, s *script) {
		l.Ready()
		if err := l.AwaitRunning(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
