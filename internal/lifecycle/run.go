package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Lifecycle runs a broker's life.
type Lifecycle struct {
	life     life // owned by run
	epoch    atomic.Int64
	state    atomic.Int32
	ready    chan struct{}
	leave    chan struct{}
	stop     chan struct{}
	running  chan struct{} // closed at the first Running
	done     chan struct{} // closed when run has ended
	failure  error         // written before done is closed
	readyOne sync.Once
	leaveOne sync.Once
	stopOne  sync.Once
	runOne   sync.Once
}

// Start begins to register and heartbeat. The broker stays fenced until Ready.
func Start(c Config) *Lifecycle {
	l := &Lifecycle{life: life{c: c, epoch: -1}, ready: make(chan struct{}), leave: make(chan struct{}), stop: make(chan struct{}), running: make(chan struct{}), done: make(chan struct{})}
	l.epoch.Store(-1)
	go l.run()
	return l
}

// Ready says that the broker can serve: the next heartbeat asks to be unfenced.
func (l *Lifecycle) Ready() { l.readyOne.Do(func() { close(l.ready) }) }

// Epoch is the broker epoch, -1 before the registration.
func (l *Lifecycle) Epoch() int64 { return l.epoch.Load() }

// State of the broker now.
func (l *Lifecycle) State() State { return State(l.state.Load()) }

// AwaitRunning waits until the controller has unfenced the broker, or it never will.
func (l *Lifecycle) AwaitRunning(ctx context.Context) error {
	select {
	case <-l.running:
		return nil
	case <-l.done:
		return l.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave asks the controller for a controlled shutdown and waits until it allows it.
func (l *Lifecycle) Leave(ctx context.Context) error {
	l.leaveOne.Do(func() { close(l.leave) })
	select {
	case <-l.done:
		return l.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops at once and waits for the goroutine.
func (l *Lifecycle) Close() {
	l.stopOne.Do(func() { close(l.stop) })
	<-l.done
}

func (l *Lifecycle) run() {
	defer close(l.done)
	ready, leave := l.ready, l.leave
	for {
		answer, going := l.ask()
		if !going {
			return
		}
		wait, changed, err := l.life.took(answer)
		if l.failure = err; err != nil {
			return
		}
		l.epoch.Store(l.life.epoch)
		if changed {
			l.moved()
		}
		if l.life.state == Done {
			return
		}
		if !l.pause(wait, &ready, &leave) {
			return
		}
		if l.life.state == Done {
			l.moved()
			return
		}
	}
}

// pause waits, shorter if the broker becomes ready or shall leave; false: the life is over. A broker that becomes ready just
// when the wait ends says so in the next request, not in the one after it.
func (l *Lifecycle) pause(wait time.Duration, ready, leave *chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.stop:
		return false
	case <-*ready:
		*ready, l.life.ready = nil, true
	case <-*leave:
		*leave = nil
		l.life.leave()
	case <-timer.C:
		select {
		case <-*ready:
			*ready, l.life.ready = nil, true
		default:
		}
	}
	return true
}

// ask sends the next request and waits for its answer; false: the life is over before it came.
//
// An answer to a heartbeat that changes something comes when this node has taken the change in, which may take longer than
// the broker's session lasts, for example while many replicas are made. So the session is kept meanwhile by heartbeats
// whose answers nobody waits for.
func (l *Lifecycle) ask() (kmsg.Response, bool) {
	c := l.life.c.Controller
	answer := make(chan kmsg.Response, 1)
	c.Request(l.life.next(), func(r kmsg.Response) { answer <- r })
	again := time.NewTicker(l.life.c.HeartbeatInterval)
	defer again.Stop()
	for {
		select {
		case <-l.stop:
			return nil, false
		case r := <-answer:
			return r, true
		case <-again.C:
			if l.life.registered() {
				c.Request(l.life.next(), func(kmsg.Response) {})
			}
		}
	}
}

func (l *Lifecycle) moved() {
	l.state.Store(int32(l.life.state))
	l.life.c.Logger.Info("broker state", "broker", l.life.c.ID, "state", l.life.state.String(), "epoch", l.life.epoch)
	if l.life.state == Running {
		l.runOne.Do(func() { close(l.running) })
	}
}
