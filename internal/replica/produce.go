package replica

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
)

// ProduceOptions belong to a Produce request.
type ProduceOptions struct {
	Acks    int16 // 0, 1, -1
	Version int16 // of the request: zstd only from 7 on
	Now     time.Time
	Guard   Guard // of StartVerification, for a batch that begins a transaction here
	News    *News // gets the partition, for the caller to Tell; nil: who waits for it looks at once
}

// Produce validates one batch of a client and appends it. The batch's header is changed in place (offset, epoch, and
// what the topic's configuration asks for), so batch must be the caller's own.
// CRC and the walk over the records happen here, before any lock.
// Errors: *record.Invalid, *storage.TooLarge, the producer errors of storage, *NotLeader, ErrNotEnough, ErrOffline,
// ErrUnknownPartition, *storage.StorageError.
func (p *Partition) Produce(batch []byte, o ProduceOptions) (storage.Appended, error) {
	r, log, err := p.leads()
	if err != nil {
		return storage.Appended{}, err
	}
	if o.Acks == -1 && !r.EnoughInSync {
		return storage.Appended{}, ErrNotEnough
	}
	c := log.Config()
	checked, err := p.check(batch, &c, o)
	if err != nil {
		return storage.Appended{}, err
	}
	return p.append(r, log, checked.Batch, storage.AppendOptions{Now: o.Now, Origin: storage.Client, Guard: o.Guard}, o.News)
}

// check is what a topic's configuration asks of a client's batch.
func (p *Partition) check(records []byte, c *storage.Config, o ProduceOptions) (record.Checked, error) {
	b, err := record.Single(records, o.Version)
	if err != nil {
		return record.Checked{}, err
	}
	rules := record.Rules{
		Partition: p.name, Now: o.Now.UnixMilli(), Before: limit(c.TimestampBefore), After: limit(c.TimestampAfter),
		Compacted: c.Compact, HeaderOnly: c.HeaderOnly, MaxBytes: c.MaxMessageBytes, ProduceVersion: o.Version, FromClient: true,
		Recompress: !c.KeepCodec, Codec: c.Codec, Level: level(c),
	}
	if c.LogAppendTime {
		rules.TimestampType = record.LogAppendTime
	}
	return p.set.codecs.Validate(b, rules)
}

// limit gives milliseconds; a duration that cannot say Kafka's "no limit" says it by its largest value.
func limit(d time.Duration) int64 {
	if d == math.MaxInt64 {
		return math.MaxInt64
	}
	return d.Milliseconds()
}

func level(c *storage.Config) int {
	switch c.Codec {
	case record.Gzip:
		return c.GzipLevel
	case record.LZ4:
		return c.LZ4Level
	case record.Zstd:
		return c.ZstdLevel
	}
	return 0
}

func (p *Partition) append(r *role, log *storage.Log, b record.Batch, o storage.AppendOptions, news *News) (storage.Appended, error) {
	one := [1]record.Batch{b}
	o.LeaderEpoch, o.RequireEpoch = r.Epoch, true
	a, err := log.Append(one[:], o)
	if err != nil {
		return a, p.settled(err)
	}
	if !a.Duplicate {
		p.set.dirs.Appended(log, a)
	}
	// flush.messages is a promise about acknowledged records, so the flush comes before anybody hears of them. That of a batch which is
	// sent again may go on still, or has failed where the disk was full.
	if n := log.Config().FlushMessages; n > 0 && n < math.MaxInt64 && a.LogEnd-log.RecoveryPoint() >= n {
		if err := log.Flush(a.LastOffset + 1); err != nil {
			return a, p.settled(err)
		}
	}
	p.appended(r.Epoch, a.LastOffset+1, news)
	return a, nil
}

// Waiting is one partition of a produce request with acks=all.
type Waiting struct {
	Partition *Partition
	Offset    int64 // that the high watermark must reach
	Err       error // to be read once done is called; nil when the offset was reached

	cancel func() bool // says whether it came before the end of the wait
}

// Replicated says whether the high watermark has reached offset and enough replicas are in sync, so that acks=all need
// not wait.
func (p *Partition) Replicated(offset int64) bool {
	return p.log != nil && p.log.View().HighWatermark >= offset && p.role.Load().EnoughInSync
}

// Await calls done once, when every high watermark has reached its offset or timeout has passed: on this goroutine, before
// it returns, if nothing must wait. It says whether this call has called done; if not, another goroutine does or did.
//
// Each partition's wait ends exactly once: whoever takes it out of the partition's heap ends it.
func (s *Set) Await(ws []*Waiting, timeout time.Duration, done func()) bool {
	a := &await{done: done}
	a.left.Store(int32(len(ws)) + 1) // one is this call's own: nothing ends before the timer can be stopped
	waits := false
	for _, w := range ws {
		w.cancel = w.Partition.await(w.Offset, func(err error) { a.settle(w, err) })
		waits = waits || w.cancel != nil
	}
	if waits {
		a.stop = s.tasks.After(timeout, func() {
			for _, w := range ws {
				if w.cancel != nil && w.cancel() {
					a.settle(w, ErrTimedOut)
				}
			}
		})
	}
	return a.finish()
}

// await is one Await under way. Whoever brings left to zero has seen every Err and calls done.
type await struct {
	left atomic.Int32
	stop func() bool // set before this call's own part of left is given back
	done func()
}

func (a *await) settle(w *Waiting, err error) {
	w.Err = err
	a.finish()
}

func (a *await) finish() bool {
	if a.left.Add(-1) != 0 {
		return false
	}
	if a.stop != nil {
		a.stop()
	}
	a.done()
	return true
}
