package background

import (
	"testing"
	"testing/synctest"
	"time"
)

// waits begins a Wait and says later whether it has returned.
func waits(g *Group) (returned func() bool) {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

func TestWaitReturnsWhereNothingRuns(t *testing.T) {
	var g Group
	g.Wait()
	g.Go(func() {})
	g.Wait()
	g.Wait()
}

func TestWaitWaitsForWhatRunsAndForWhatThatBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		first, second := make(chan struct{}), make(chan struct{})
		g.Go(func() {
			<-first
			g.Go(func() { <-second })
		})
		one, other := waits(&g), waits(&g)
		if one() || other() {
			t.Fatalf("Wait returned while the first ran")
		}
		close(first)
		if one() || other() {
			t.Fatalf("Wait returned while what the first began ran")
		}
		close(second)
		if !one() || !other() {
			t.Fatalf("Wait did not return though nothing ran")
		}
	})
}

func TestAfterRunsOnceItsTimeHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		begin, rang := time.Now(), time.Duration(0)
		stop := g.After(time.Second, func() { rang = time.Since(begin) })
		g.Wait()
		if rang != time.Second {
			t.Fatalf("ran after %s, want 1s", rang)
		}
		if stop() {
			t.Fatalf("stop says that it came before what has run")
		}
		g.Wait() // stop, too late, took nothing off the count
		release := make(chan struct{})
		g.Go(func() { <-release })
		if waits(&g)() {
			t.Fatalf("Wait returned while something ran: the count is off")
		}
		close(release)
	})
}

func TestAfterStoppedNeverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		stop := g.After(time.Second, func() { t.Errorf("ran though it was stopped") })
		waiting := waits(&g)
		if waiting() {
			t.Fatalf("Wait returned while a time limit stood")
		}
		if !stop() || stop() {
			t.Fatalf("the first stop stops, the second has nothing to stop")
		}
		if !waiting() {
			t.Fatalf("Wait did not return though the only time limit was stopped")
		}
		time.Sleep(2 * time.Second)
	})
}

// Callers that begin something while another waits, from nothing too, are what a WaitGroup forbids. Under the race detector
// this is the proof that a Group allows it.
func TestBeginsFromNothingWhileAnotherWaits(t *testing.T) {
	var g Group
	callers := make(chan struct{})
	for range 4 {
		go func() {
			for range 200 {
				g.Go(func() {})
				g.After(time.Hour, func() {})()
			}
			callers <- struct{}{}
		}()
	}
	for range 100 {
		g.Wait()
	}
	for range 4 {
		<-callers
	}
	g.Wait()
	if g.alive != 0 {
		t.Fatalf("%d still count as running", g.alive)
	}
}
