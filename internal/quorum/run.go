package quorum

import (
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/vfs"
)

// runner is the goroutines of a Quorum and what they share.
type runner struct {
	mu      sync.Mutex // guards mailbox and closed
	mailbox []submission
	closed  bool
	filled  chan struct{} // holds one token while the mailbox may hold something

	steps   chan step // from the driver to the publisher
	stopped chan struct{}
	wg      sync.WaitGroup

	closing sync.Once
	failure error // of Close
}

func (r *runner) init() {
	r.filled = make(chan struct{}, 1)
	r.steps = make(chan step, 16)
	r.stopped = make(chan struct{})
}

func (q *Quorum) submit(s submission) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	if len(q.mailbox) >= q.c.MailboxMax {
		q.mu.Unlock()
		return ErrBusy
	}
	q.mailbox = append(q.mailbox, s)
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return nil
}

func (q *Quorum) start() {
	q.wg.Go(q.drive)
	q.wg.Go(func() {
		for s := range q.steps {
			q.publish(s)
		}
	})
}

// drive is the driver: everything about the log, the core and the controller happens here.
func (q *Quorum) drive() {
	defer close(q.steps)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wants := q.ctl.NextDeadline()
		if wants {
			timer.Reset(max(due.Sub(q.c.Now()), 0))
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case <-q.stopped:
			q.refuseAll()
			return
		case <-q.filled:
		case <-timer.C:
		}
		q.mu.Lock()
		subs := q.mailbox
		q.mailbox = nil
		q.mu.Unlock()
		// What waits goes before the tick: after a stall, the heartbeats that came meanwhile must count.
		if wants && !q.c.Now().Before(due) {
			subs = append(subs, submission{cmd: machine.Command{Body: machine.Tick{}}})
		}
		s := q.decide(subs)
		if err := q.settle(&s); err != nil {
			for _, a := range append(s.replies, s.early...) {
				a.reply(q.ctl.Refuse(a.cmd, err))
			}
			q.refuseAll()
			q.c.Fatal(err)
			return
		}
		for _, a := range s.early {
			a.reply(a.value)
		}
		if len(s.batches) > 0 {
			q.steps <- s
		}
	}
}

// spacePause is the time between two tries to write on a full disk.
const spacePause = time.Second

// patiently writes to the metadata log, again and again while the disk is full: what stands in it already cannot be taken
// back, and records of topics are written and read meanwhile. It gives up when the quorum is closed.
func (q *Quorum) patiently(write func() error) error {
	err := write()
	if !vfs.NoSpace(err) {
		return err
	}
	q.c.Logger.Error("the metadata log waits for room on its disk", "dir", q.dir, "error", err)
	timer := time.NewTimer(spacePause)
	defer timer.Stop()
	for vfs.NoSpace(err) {
		select {
		case <-q.stopped:
			return err
		case <-timer.C:
		}
		err = write()
		timer.Reset(spacePause)
	}
	if err == nil {
		q.c.Logger.Info("the metadata log has room again", "dir", q.dir)
	}
	return err
}

// refuseAll answers what is left in the mailbox.
func (q *Quorum) refuseAll() {
	q.mu.Lock()
	q.closed = true
	left := q.mailbox
	q.mailbox = nil
	q.mu.Unlock()
	for _, s := range left {
		if s.reply != nil {
			s.reply(q.ctl.Refuse(s.cmd, ErrClosed))
		}
	}
}

// Close ends the goroutines, publishes what was committed, refuses what waits, and closes the log. A second call gives the
// first one's error; a quorum that was not started is closed, too.
func (q *Quorum) Close() error {
	q.closing.Do(func() {
		close(q.stopped)
		q.wg.Wait()
		q.refuseAll()
		q.core.Resign()
		q.failure = q.log.Close(true)
	})
	return q.failure
}
