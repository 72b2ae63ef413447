package logdir

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// How logs are recovered that a crash left with much to read:
//
//   - Load reads a little of each log, which is enough for those that took few records or none since they were flushed. Of the others it
//     keeps the place, as of logs that cannot be opened; the error is ErrRecovering.
//   - Start has them read, num.recovery.threads.per.data.dir at a time in each directory, those with the least first. That is I/O under
//     no lock. One that is whole is served at once, and OnRecovered hears of it.
//   - Who takes a log away halts its recovery; so does Close for all. What the disk has then is what a crash would leave.
//   - A log that was moving to another directory begins that anew when it is served: its copy would have to be read, too.

// readAtLoad is how many bytes of a log Load reads to recover it: ten thousand logs cost half a GiB at most.
const readAtLoad = 64 << 10

var errMuch = errors.New("there is much to recover")

// recovery is the reading of a log behind the start.
type recovery struct {
	due    int64         // bytes to read, about
	halted atomic.Bool   // the log is to go; set under Dirs.mu
	done   chan struct{} // closed when nobody reads any more
}

// atMost gives a storage.Options.Reading that lets so many bytes be read.
func atMost(bytes int64) func(int) error {
	return func(n int) error {
		if bytes -= int64(n); bytes < 0 {
			return errMuch
		}
		return nil
	}
}

// postpone has a log recovered that has so many bytes to read. mu is held.
func (d *Dirs) postpone(b *broken, due int64) {
	b.err, b.again, b.recovery = ErrRecovering, false, &recovery{due: due, done: make(chan struct{})}
	i, _ := slices.BinarySearchFunc(b.dir.pending, due, func(x *broken, due int64) int {
		if x.recovery.due <= due {
			return -1
		}
		return 1
	})
	b.dir.pending = slices.Insert(b.dir.pending, i, b)
	d.recoveries.queued(1, due, d.c.Now())
}

// unqueue takes back postpone, if nobody has begun: false says that somebody has. mu is held.
func (d *Dirs) unqueue(b *broken) bool {
	i := slices.Index(b.dir.pending, b)
	if i < 0 {
		return false
	}
	b.dir.pending = slices.Delete(b.dir.pending, i, i+1)
	d.recoveries.queued(-1, -b.recovery.due, d.c.Now())
	b.recovery = nil
	return true
}

// recoverFirst opens the logs, whatever there is to read, of which there are several: they must be compared before one of them is
// served. So it does with those of which nobody knows whose they are.
func (d *Dirs) recoverFirst() {
	count := map[partition]int{}
	for _, s := range d.everything() {
		count[s.name]++
	}
	each(len(d.dirs), len(d.dirs), func(i int) {
		dir := d.dirs[i]
		var now []*broken
		d.mu.Lock()
		for _, b := range slices.Clone(dir.pending) {
			if count[b.name] > 1 || b.id == schema.ZeroUUID {
				d.unqueue(b)
				now = append(now, b)
			}
		}
		d.mu.Unlock()
		each(len(now), d.threads.get(), func(j int) { d.loadLog(now[j], nil) })
	})
}

// startRecoveries begins what is queued, as far as there are threads for it. changes is held, and the phase is loaded: Close waits
// for them.
func (d *Dirs) startRecoveries(dir *directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.started {
		return
	}
	for range min(d.threads.get()-dir.readers, len(dir.pending)) {
		dir.readers++
		d.wg.Go(func() {
			for b, r := d.nextRecovery(dir); b != nil; b, r = d.nextRecovery(dir) {
				d.recoverLog(b, r)
			}
		})
	}
}

// nextRecovery takes a log from the queue; nil: there is none, or the directory's disk has failed, or the node stops.
func (d *Dirs) nextRecovery(dir *directory) (*broken, *recovery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dir.failed != nil && len(dir.pending) > 0 {
		b := dir.pending[0]
		d.unqueue(b)
		b.err = fmt.Errorf("%w: %w", ErrOffline, dir.failed)
	}
	if len(dir.pending) == 0 || dir.readers > d.threads.get() || d.stopping() {
		dir.readers--
		return nil, nil
	}
	b := dir.pending[0]
	dir.pending = slices.Delete(dir.pending, 0, 1)
	return b, b.recovery
}

// recoverLog reads a log, serves it and tells.
func (d *Dirs) recoverLog(b *broken, r *recovery) {
	id := b.id // nobody else has b until done is closed
	log, err := d.reload(b, id, func(bytes int) error {
		if r.halted.Load() || d.stopping() || d.offline(b.dir) != nil {
			return errStopped
		}
		d.say(d.recoveries.read(int64(bytes), d.c.Now()))
		runtime.Gosched() // who serves comes first
		return nil
	})
	d.mu.Lock()
	copied, stopped := b.copied, errors.Is(err, errStopped)
	switch {
	case vfs.Exhausted(err):
		d.wanting.Store(true)
	case stopped && b.dir.failed != nil:
		b.err = fmt.Errorf("%w: %w", ErrOffline, b.dir.failed)
	case stopped && r.halted.Load():
		b.again = true // if it does not go after all
	case stopped:
		b.dir.unclean = true // the next start does what was not done here
	}
	if b.recovery == r {
		b.recovery = nil
	}
	d.mu.Unlock()
	close(r.done)
	if stopped {
		d.recoveries.queued(-1, -r.due, d.c.Now())
		return
	}
	d.say(d.recoveries.ended(log != nil, d.c.Now()))
	if log != nil && copied != nil {
		d.beginAgain(log, *copied)
	}
	if d.c.OnRecovered != nil {
		d.c.OnRecovered(id, b.name.index)
	}
}

// haltRecovery ends the recovery of a log that is to go. If it has ended well before, the log is given as it is served. changes is held.
func (d *Dirs) haltRecovery(b *broken) *entry {
	d.mu.Lock()
	switch r := b.recovery; {
	case r == nil:
	case d.unqueue(b):
		b.again = true // if it does not go after all
	default:
		r.halted.Store(true)
		d.mu.Unlock()
		<-r.done
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	return b.dir.logs[b.name]
}

func (d *Dirs) say(line string) {
	if line != "" {
		d.c.Logger.Info(line)
	}
}

// recoveries says how far recovery is: at most once a second, and when it has ended.
type recoveries struct {
	mu         sync.Mutex // guards:
	logs, left int
	failed     int
	due, done  int64 // bytes
	begun      time.Time
	said       time.Time
}

// queued takes a log in, or out again with negative numbers.
func (r *recoveries) queued(logs int, due int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		r.logs, r.failed, r.due, r.done, r.begun, r.said = 0, 0, 0, 0, now, now
	}
	r.logs += logs
	r.left += logs
	r.due += due
}

// waiting says what is to be done.
func (r *recoveries) waiting() (logs int, due int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left, r.due - r.done
}

// ended counts one that is served now, or is not. It gives what is to be said, if anything; so does read.
func (r *recoveries) ended(well bool, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left--
	if !well {
		r.failed++
	}
	if r.left > 0 {
		return ""
	}
	return fmt.Sprintf("recovered %d of %d logs, the last one now: %s were read in %v", r.logs-r.failed, r.logs, mebibytes(r.done),
		now.Sub(r.begun).Round(time.Millisecond))
}

func (r *recoveries) read(bytes int64, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += bytes
	if now.Sub(r.said) < time.Second {
		return ""
	}
	r.said = now
	return fmt.Sprintf("recovered %d of %d logs: %s of %s are read", r.logs-r.left-r.failed, r.logs, mebibytes(r.done), mebibytes(max(r.due, r.done)))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
