package logdir

import (
	"math"
	"sync"
	"time"
)

// runner is the goroutines of Dirs: the keeper (checkpoints, retention, expiry, removals) and the flusher.
type runner struct {
	woken   chan struct{} // one token: the keeper's plan has changed
	flushes chan struct{} // one token: the flusher has something to do
	stop    chan struct{}
	wg      sync.WaitGroup
}

func (r *runner) init() {
	r.woken, r.flushes, r.stop = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
}

func (r *runner) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *runner) wakeFlusher() {
	select {
	case r.flushes <- struct{}{}:
	default:
	}
}

func (r *runner) halt() {
	close(r.stop)
	r.wg.Wait()
}

// Start begins the work behind the scenes. It is called once, after Load.
func (d *Dirs) Start() {
	d.wg.Go(d.keep)
	d.wg.Go(func() {
		for {
			select {
			case <-d.stop:
				return
			case <-d.flushes:
				d.flushQueued()
			}
		}
	})
}

// task is periodic work of the keeper.
type task struct {
	soon  bool // the first run comes after one interval, not after InitialDelay
	every func(*Intervals) time.Duration
	run   func(now time.Time)
	last  time.Time
}

func (d *Dirs) tasks() []*task {
	return []*task{
		{soon: true, every: func(i *Intervals) time.Duration { return i.HighWatermark }, run: func(time.Time) { d.checkpointAll(highWatermarks) }},
		{every: func(i *Intervals) time.Duration { return i.RecoveryCheckpoint }, run: func(time.Time) { d.checkpointAll(recoveryPoints) }},
		{every: func(i *Intervals) time.Duration { return i.StartCheckpoint }, run: func(time.Time) { d.checkpointAll(startOffsets) }},
		{soon: true, every: func(i *Intervals) time.Duration { return d.flushEvery(i) }, run: d.flushAged},
		{every: func(i *Intervals) time.Duration { return i.Retention }, run: d.retain},
		{every: func(i *Intervals) time.Duration { return i.ProducerExpiry }, run: d.expireProducers},
	}
}

// flushEvery is how often logs are looked at for flush.ms: the configured interval, or half the shortest flush.ms.
func (d *Dirs) flushEvery(i *Intervals) time.Duration {
	age := d.flushAge.Load()
	if age == math.MaxInt64 {
		return i.Flush
	}
	half := max(time.Duration(age)/2, time.Millisecond)
	if i.Flush > 0 {
		return min(i.Flush, half)
	}
	return half
}

// keep runs the periodic work, one piece at a time.
func (d *Dirs) keep() {
	tasks := d.tasks()
	begun := d.c.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-d.woken:
		case <-timer.C:
		}
		i, now := d.intervals.Load(), d.c.Now()
		next := d.bury(now)
		for _, t := range tasks {
			every := t.every(i)
			if every <= 0 {
				continue
			}
			due := t.last.Add(every)
			if t.last.IsZero() {
				due = begun.Add(i.InitialDelay)
				if t.soon {
					due = begun.Add(every)
				}
			}
			if !due.After(now) {
				t.run(now)
				t.last = now
				due = now.Add(every)
			}
			if next.IsZero() || due.Before(next) {
				next = due
			}
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(d.c.Now()), time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// each runs f for 0 to n-1 on at most so many goroutines, and waits.
func each(n, threads int, f func(int)) {
	threads = min(threads, n)
	if threads <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range threads {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
