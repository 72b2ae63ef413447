package logdir

import (
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
)

// flushQueue is what waits for the flusher. Wishes for one log become one flush, so the queue is never longer than there
// are logs.
type flushQueue struct {
	mu     sync.Mutex // guards the rest; short: appends take it
	order  []*storage.Log
	wishes map[*storage.Log]*wish
	ended  bool

	age   time.Duration // shortest flush.ms of any log; 0: none has one
	asked int           // how often a flush.ms was noted
}

// wish is a flush that waits.
type wish struct {
	upTo int64
	done []func(error)
}

// flushesAtOnce is how many logs are flushed side by side.
const flushesAtOnce = 8

// Appended tells of an append, after it: a roll queues the flush of what was rolled. It never waits.
func (d *Dirs) Appended(l *storage.Log, a storage.Appended) {
	if a.Rolled {
		d.Flush(l, a.FirstOffset, nil)
	}
}

// Flush queues a flush up to an offset. done, which may be nil, hears how it ended, on a goroutine of this package or,
// after Close, the caller's; it must not call Close.
func (d *Dirs) Flush(l *storage.Log, upTo int64, done func(error)) {
	if !d.queue.add(l, upTo, done) {
		if done != nil {
			done(ErrClosed)
		}
		return
	}
	d.wakeFlusher()
}

// add says whether the queue still takes wishes.
func (q *flushQueue) add(l *storage.Log, upTo int64, done func(error)) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return false
	}
	w := q.wishes[l]
	if w == nil {
		w = &wish{}
		if q.wishes == nil {
			q.wishes = map[*storage.Log]*wish{}
		}
		q.wishes[l] = w
		q.order = append(q.order, l)
	}
	w.upTo = max(w.upTo, upTo)
	if done != nil {
		w.done = append(w.done, done)
	}
	return true
}

// take empties the queue, and ends it if nobody will take from it again.
func (q *flushQueue) take(end bool) (order []*storage.Log, wishes map[*storage.Log]*wish) {
	q.mu.Lock()
	defer q.mu.Unlock()
	order, wishes = q.order, q.wishes
	q.order, q.wishes = nil, nil
	q.ended = q.ended || end
	return order, wishes
}

// flushQueued does what is queued. Logs are flushed side by side, so that the disk can join their commits.
func (d *Dirs) flushQueued(last bool) {
	order, wishes := d.queue.take(last)
	each(len(order), flushesAtOnce, func(i int) {
		w := wishes[order[i]]
		err := order[i].Flush(w.upTo)
		d.checkDisk(order[i], err)
		for _, done := range w.done {
			done(err)
		}
	})
}

// flushAgeSet takes note of a log's flush.ms: logs are looked at as often as the shortest asks.
func (d *Dirs) flushAgeSet(age time.Duration) {
	if age <= 0 {
		return
	}
	q := &d.queue
	q.mu.Lock()
	q.asked++
	shorter := q.age == 0 || age < q.age
	if shorter {
		q.age = age
	}
	q.mu.Unlock()
	if shorter {
		d.wake()
	}
}

// flushAged queues flushes of the logs for which flush.ms or flush.messages is due, and finds out which flush.ms is the
// shortest now: one that was changed or deleted must not have logs looked at for ever.
func (d *Dirs) flushAged(now time.Time) {
	q := &d.queue
	q.mu.Lock()
	asked := q.asked
	q.mu.Unlock()
	shortest := time.Duration(0)
	for _, l := range d.Logs() {
		if age := l.Config().FlushAge; age > 0 && (shortest == 0 || age < shortest) {
			shortest = age
		}
		if l.FlushDue(now) {
			d.Flush(l, l.View().LogEnd, nil)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == asked { // otherwise a log may have been missed, and the next look finds out
		q.age = shortest
	}
}

// flushEvery is how often logs are looked at: the configured interval, or half the shortest flush.ms; negative: never.
func (d *Dirs) flushEvery(i *Intervals) time.Duration {
	d.queue.mu.Lock()
	age := d.queue.age
	d.queue.mu.Unlock()
	if age == 0 {
		return i.Flush
	}
	half := max(age/2, time.Millisecond)
	if i.Flush > 0 {
		return min(i.Flush, half)
	}
	return half
}
