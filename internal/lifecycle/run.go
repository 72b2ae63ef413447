package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
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

	mu       sync.Mutex // guards news
	news     news
	newsFlag chan struct{} // one token: there are some
}

// news is what the loop has not taken in yet.
type news struct {
	failed   []schema.UUID
	cordoned *[]schema.UUID
}

// Start begins to register and heartbeat. The broker stays fenced until Ready.
func Start(c Config) *Lifecycle {
	l := &Lifecycle{life: life{c: c, epoch: -1}, ready: make(chan struct{}), leave: make(chan struct{}), stop: make(chan struct{}), running: make(chan struct{}), done: make(chan struct{}), newsFlag: make(chan struct{}, 1)}
	l.epoch.Store(-1)
	go l.run()
	return l
}

// Ready says that the broker can serve: the next heartbeat asks to be unfenced.
func (l *Lifecycle) Ready() { l.readyOne.Do(func() { close(l.ready) }) }

// DirectoryFailed tells the controller of a log directory that went offline, with the next heartbeat, which comes at once.
func (l *Lifecycle) DirectoryFailed(dir schema.UUID) {
	l.tell(func(n *news) { n.failed = append(n.failed, dir) })
}

// SetCordoned tells the controller which log directories take no new replicas (KIP-1066).
func (l *Lifecycle) SetCordoned(dirs []schema.UUID) {
	l.tell(func(n *news) { n.cordoned = &dirs })
}

func (l *Lifecycle) tell(note func(*news)) {
	l.mu.Lock()
	note(&l.news)
	l.mu.Unlock()
	select {
	case l.newsFlag <- struct{}{}:
	default:
	}
}

// hear takes the news in.
func (l *Lifecycle) hear() {
	l.mu.Lock()
	n := l.news
	l.news = news{}
	l.mu.Unlock()
	for _, dir := range n.failed {
		l.life.directoryFailed(dir)
	}
	if n.cordoned != nil {
		l.life.cordoned = *n.cordoned
	}
}

// watchFailures ends the node if the controller cannot be told of a directory in time.
func (l *Lifecycle) watchFailures() {
	if l.life.overdue() {
		l.life.c.FailureTimeout = 0 // said once
		l.life.c.Fatal(fmt.Errorf("broker %d could not tell the controller in time that log directory %s is offline (log.dir.failure.timeout.ms)",
			l.life.c.ID, l.life.offline[l.life.told]))
	}
}

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
		l.hear()
		answer, going := l.ask()
		if !going {
			return
		}
		wait, changed, err := l.life.took(answer)
		if l.failure = err; err != nil {
			return
		}
		l.epoch.Store(l.life.epoch)
		l.watchFailures()
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
	case <-l.newsFlag:
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
			l.watchFailures()
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

// Assignments tells the controller in which directories this broker's replicas are (AssignReplicasToDirs, KIP-858): many at once, one
// request at a time.
type Assignments struct {
	waiting assigning // owned by run
	send    Controller
	added   chan struct{} // one token: list has grown
	stop    chan struct{}
	done    chan struct{}
	queue   sync.Mutex   // guards:
	list    []assignment // what run has not taken yet
	closed  bool
}

// StartAssignments begins. epoch is -1 while the broker is not registered: nothing is sent then.
func StartAssignments(id int32, epoch func() int64, image func() *metadata.Image, c Controller) *Assignments {
	a := &Assignments{waiting: assigning{id: id, epoch: epoch, image: image}, send: c, added: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{})}
	go a.run()
	return a
}

// Assign tells the controller where a replica is or is to be. done is called once, on another goroutine: with nil when the controller
// has agreed. After Close it is not called.
func (a *Assignments) Assign(topic schema.UUID, partition int32, dir schema.UUID, done func(error)) {
	a.queue.Lock()
	defer a.queue.Unlock()
	if a.closed {
		return
	}
	a.list = append(a.list, assignment{replicaKey{topic, partition}, dir, done})
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// Close stops at once and waits for the goroutine.
func (a *Assignments) Close() {
	a.queue.Lock()
	first := !a.closed
	a.closed = true
	a.queue.Unlock()
	if first {
		close(a.stop)
	}
	<-a.done
}

// idleCheck is how often is looked whether a broker that was not registered has become so.
const idleCheck = 50 * time.Millisecond

func (a *Assignments) run() {
	defer close(a.done)
	answers := make(chan kmsg.Response, 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	blocked := false // until the timer fires, after a failure
	for {
		select {
		case <-a.stop:
			return
		case <-a.added:
		case <-timer.C:
			blocked = false
		case r := <-answers:
			if wait := a.waiting.took(r); wait > 0 {
				blocked = true
				timer.Reset(wait)
			}
		}
		a.queue.Lock()
		list := a.list
		a.list = nil
		a.queue.Unlock()
		for _, x := range list {
			a.waiting.add(x)
		}
		if blocked {
			continue
		}
		if r := a.waiting.next(); r != nil {
			a.send.Request(r, func(resp kmsg.Response) { answers <- resp })
		} else if len(a.waiting.ready) > 0 && len(a.waiting.inFlight) == 0 {
			timer.Reset(idleCheck)
		}
	}
}
