package logdir

import (
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
)

// runner is the goroutines of Dirs: the keeper (checkpoints, retention, expiry, removals), the flusher, the mover, which copies
// logs to other directories, and the cleaners, which compact logs.
type runner struct {
	woken   chan struct{} // one token: the keeper's plan has changed
	flushes chan struct{} // one token: the flusher has something to do
	moving  chan struct{} // one token: the mover has
	stop    chan struct{}
	gone    chan struct{} // closed when Close has ended
	started bool          // guarded by Dirs.changes
	wg      sync.WaitGroup
}

func (r *runner) init() {
	r.woken, r.flushes, r.moving = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	r.stop, r.gone = make(chan struct{}), make(chan struct{})
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

func (r *runner) wakeMover() {
	select {
	case r.moving <- struct{}{}:
	default:
	}
}

// stopping says whether end was called.
func (r *runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

func (r *runner) end() {
	close(r.stop)
	r.wg.Wait()
}

// Start begins the work behind the scenes. Before Load has ended well, after Close, and when called again it does nothing.
func (d *Dirs) Start() {
	d.changes.Lock() // Close waits for what is begun here, or has been
	defer d.changes.Unlock()
	if d.phase != loaded || d.started {
		return
	}
	d.started = true
	d.wg.Go(d.keep)
	d.wg.Go(func() {
		for {
			select {
			case <-d.stop:
				return
			case <-d.flushes:
				d.flushQueued(false)
			}
		}
	})
	d.wg.Go(d.moveLogs)
	d.startCleaners()
	for _, dir := range d.dirs {
		d.startRecoveries(dir)
	}
}

// moveLogs copies logs that move, a piece of each in turn, at the permitted rate. While no log moves it sleeps.
func (d *Dirs) moveLogs() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-d.moving:
		case <-timer.C:
		}
		for d.moveAll(d.permitMove) {
		}
		if len(d.movesOf(nil)) > 0 {
			timer.Reset(moveIdle)
		}
	}
}

// permitMove waits until bytes that were copied have had their time; false: the node stops. A rate that is changed acts at once.
func (d *Dirs) permitMove(bytes int) bool {
	if d.stopping() {
		return false
	}
	for wait := d.moveRate.wait(bytes, d.c.Now()); wait > 0; wait = d.moveRate.wait(0, d.c.Now()) {
		select {
		case <-d.stop:
			return false
		case <-time.After(min(wait, moveIdle)):
		}
	}
	return true
}

// SetCleaner changes how logs are compacted. Threads that run end, giving up what they are at, and new ones begin: so
// their memory is never there twice.
func (d *Dirs) SetCleaner(config CleanerConfig) {
	d.changes.Lock() // Close waits, or has been
	defer d.changes.Unlock()
	if d.phase == closed {
		return
	}
	c := &d.cleaners
	config = config.withDefaults()
	c.mu.Lock()
	same, stopped := c.config == config, c.stopped
	c.config = config
	if !same && stopped != nil {
		close(stopped)
		c.stopped = nil
	}
	c.mu.Unlock()
	if !same && stopped != nil {
		d.startCleaners()
	}
}

// startCleaners begins the threads of compaction. They wait for those before them.
func (d *Dirs) startCleaners() {
	c := &d.cleaners
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped != nil {
		return
	}
	before, mine, stopped, config := c.running, new(sync.WaitGroup), make(chan struct{}), c.config
	c.stopped, c.running = stopped, mine
	c.last = map[int]lastRun{}
	if config.Off {
		return
	}
	for thread := range config.Threads {
		mine.Add(1)
		d.wg.Go(func() {
			defer mine.Done()
			if before != nil {
				before.Wait()
			}
			d.clean(thread, config, stopped)
		})
	}
}

// clean compacts logs, one after the other.
func (d *Dirs) clean(thread int, config CleanerConfig, stopped chan struct{}) {
	memory := storage.NewCleaner(config.memory())
	permit := func(l *storage.Log, bytes int) error { return d.permit(l, bytes, stopped) }
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-stopped:
			return
		case <-timer.C:
		}
		for d.cleanOne(thread, memory, permit) {
		}
		memory.Release()
		timer.Reset(config.Backoff)
	}
}

// permit waits until bytes may be read or written. It gives up when the thread is to end, or the log is on its way out.
func (d *Dirs) permit(l *storage.Log, bytes int, stopped chan struct{}) error {
	dir, wait := l.Dir(), d.cleaners.reserve(bytes, d.c.Now())
	for {
		step := min(wait, 100*time.Millisecond)
		select {
		case <-d.stop:
			return errStopped
		case <-stopped:
			return errStopped
		case <-time.After(step):
		}
		if l.Dir() != dir || d.isMoving(l) || d.isOffline(l) {
			return storage.ErrCleaningAborted
		}
		if wait -= step; wait <= 0 {
			return nil
		}
	}
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
		{soon: true, every: func(i *Intervals) time.Duration { return i.HighWatermark }, run: func(time.Time) { d.probe(); d.checkpointAll(highWatermarks); d.retry() }},
		{every: func(i *Intervals) time.Duration { return i.RecoveryCheckpoint }, run: func(time.Time) { d.keepProducers(); d.checkpointAll(recoveryPoints) }},
		{every: func(i *Intervals) time.Duration { return i.StartCheckpoint }, run: func(time.Time) { d.checkpointAll(startOffsets) }},
		{soon: true, every: func(i *Intervals) time.Duration { return d.flushEvery(i) }, run: d.flushAged},
		{every: func(i *Intervals) time.Duration { return i.Retention }, run: d.retain},
		{every: func(i *Intervals) time.Duration { return i.ProducerExpiry }, run: d.expireProducers},
	}
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
