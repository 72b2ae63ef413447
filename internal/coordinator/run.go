package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/machine"
)

// This file has every goroutine, select and timer of the package. All else is synchronous steps.

// start runs the shard on a goroutine of its own, which waits for the goroutine of the shard that it replaces. The
// caller has added it to h.wg.
func (s *shard) start(old *shard) {
	go func() {
		defer s.h.wg.Done()
		defer close(s.done)
		if old != nil {
			<-old.done
		}
		s.run()
		s.finish()
	}()
}

// run is the life of a shard until stop.
func (s *shard) run() {
	if !s.loadUntilDone() {
		<-s.stopping
		return
	}
	defer s.subscribe()()
	s.setPhase(active)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.broken == nil {
		s.step(s.h.c.Now())
		at, ok := s.next()
		if !ok {
			timer.Stop()
		} else {
			timer.Reset(at.Sub(s.h.c.Now()))
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.stopping:
			return
		}
	}
	<-s.stopping
}

// loadUntilDone loads the log, again and again while it cannot be read. False says that the shard will not work.
func (s *shard) loadUntilDone() bool {
	for pause := time.Second; ; pause = min(max(2*pause, time.Second), 30*time.Second) {
		select {
		case s.h.loads <- struct{}{}:
		case <-s.stopping:
			return false
		}
		err := s.load()
		<-s.h.loads
		switch {
		case err == nil:
			return true
		case errors.Is(err, errStopped):
			return false
		case errors.Is(err, errCorrupt):
			s.setPhase(failed)
			s.h.c.Logger.Error("coordinator: shard failed: loading", "topic", s.h.c.Topic, "partition", s.partition, "err", err)
			return false
		}
		level := slog.LevelWarn
		if errors.Is(s.h.c.KafkaError(err), kerr.KafkaStorageError) { // who keeps the logs has said that
			level = slog.LevelDebug
		}
		s.h.c.Logger.Log(context.Background(), level, "coordinator: loading, trying again", "topic", s.h.c.Topic, "partition", s.partition,
			"pause", pause, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.again:
			timer.Stop()
			pause = 0
		case <-s.stopping:
			timer.Stop()
			return false
		}
	}
}

// poke wakes the goroutine up.
func (s *shard) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loadAgain ends the pause of a shard that could not read its log.
func (s *shard) loadAgain() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// stop ends the shard; its callers are refused with reason.
func (s *shard) stop(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != stopped {
		s.phase, s.reason = stopped, reason
		close(s.stopping)
	}
}

func (s *shard) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// finish refuses everybody who still waits. Nothing comes in any more, since stop was called.
func (s *shard) finish() {
	s.mu.Lock()
	reason := s.reason
	s.mu.Unlock()
	s.refuseAll(reason)
	for _, it := range s.take() {
		s.refuse(it, reason)
	}
	s.m = nil
}

// launch runs jobs. What they return comes back as a command.
func (s *shard) launch(jobs []machine.Job) {
	for _, job := range jobs {
		s.h.wg.Add(1) // the shard's own count keeps it above zero
		go func() {
			defer s.h.wg.Done()
			_ = s.submit(item{cmd: machine.Command{Body: job()}}) // an error says that the shard has ended
		}()
	}
}

// wait waits for all goroutines, or for ctx.
func (h *Host) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
