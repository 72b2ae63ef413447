package storage

import (
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// AppendOptions say how to append as a leader.
type AppendOptions struct {
	LeaderEpoch int32 // written into the batches
	Now         time.Time
	Origin      Origin
	// RequireEpoch refuses the append with ErrFenced unless LeaderEpoch is that of the last BecomeLeader.
	RequireEpoch bool
	// Guard is what StartVerification gave for a transaction that the coordinator has confirmed.
	Guard Guard
	// TransactionVersion is that of a marker's request: 2 and above ask for a raised epoch.
	TransactionVersion int16
}

// Appended says what became of an append.
type Appended struct {
	FirstOffset   int64
	LastOffset    int64
	LogAppendTime int64 // -1 unless message.timestamp.type is LogAppendTime
	MaxTimestamp  int64
	LogStart      int64
	LogEnd        int64
	// Duplicate says that the batch is one of the producer's last five, and nothing was written: the offsets are those it
	// got then.
	Duplicate bool
	Rolled    bool // the append began a new segment; Flush(FirstOffset) makes the ones before durable
}

// runs are buffers that join the batches of an append into one write.
var runs = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// maxRun bounds such a buffer; longer appends of several batches are written in several pieces.
const maxRun = 1 << 20

// shape is what rolling needs to know of an append.
type shape struct {
	bytes        int
	records      int64 // offsets that it covers
	maxTimestamp int64
	first, last  int64 // offsets
}

// Append appends batches as the leader: it gives them offsets and the leader epoch, in place, and writes them. They must
// have been validated (record.Validate for a client's); their checksums are not looked at. The batches are the
// caller's again when it returns.
//
// The error is ErrFenced, ErrClosed, *TooLarge, *OutOfOrderSequence, *InvalidProducerEpoch, *InvalidTxnState,
// ErrCoordinatorFenced, *record.Corrupt (a marker that is none), or *StorageError. Nothing is changed by a failed append.
func (l *Log) Append(batches []record.Batch, a AppendOptions) (Appended, error) {
	cfg := l.config.Load()
	s, err := measure(batches, cfg, a)
	if err != nil {
		return Appended{}, err
	}
	l.mu.Lock()
	if done, dup, err := l.admit(batches, a, &s, cfg); done {
		l.mu.Unlock()
		return dup, err
	}
	rolled := l.act.size == 0 && len(l.segments) > 1
	first := l.end
	at := position{first, l.act.base, l.act.size}
	for _, b := range batches {
		b.SetBaseOffset(at.offset)
		b.SetLeaderEpoch(a.LeaderEpoch)
		if err = l.stage(b, at, a, cfg); err != nil {
			l.mu.Unlock()
			return Appended{}, err
		}
		at.offset += int64(b.LastOffsetDelta()) + 1
		at.pos += int64(len(b))
	}
	if err = l.write(batches, s.bytes); err != nil {
		l.mu.Unlock()
		return Appended{}, err
	}
	l.assignEpoch(a.LeaderEpoch, first)
	l.remember(position{first, l.act.base, l.act.size})
	for _, b := range batches {
		l.index(b, cfg)
	}
	l.staged.apply(&l.producers, l.noteAborted)
	l.grow(at.offset)
	out := l.appended(first, s.maxTimestamp)
	out.Rolled = rolled
	behind := l.act.offsets.unwritten() >= indexTail
	l.mu.Unlock()
	if cfg.LogAppendTime {
		out.LogAppendTime = a.Now.UnixMilli()
	}
	if behind {
		l.writeBehind()
	}
	return out, nil
}

// measure sums up an append and refuses what is too large. It also stamps the time where the topic wants the append's:
// that computes a checksum, and so happens before the lock.
func measure(batches []record.Batch, cfg *Config, a AppendOptions) (s shape, err error) {
	s.maxTimestamp = record.NoTimestamp
	for _, b := range batches {
		if a.Origin != RaftLeader && len(b) > cfg.MaxMessageBytes {
			return s, &TooLarge{Size: len(b), Max: cfg.MaxMessageBytes}
		}
		if cfg.LogAppendTime { // DETAILS 12
			b.SetLogAppendTime(a.Now.UnixMilli())
		}
		s.bytes += len(b)
		s.records += int64(b.LastOffsetDelta()) + 1
		s.maxTimestamp = max(s.maxTimestamp, b.MaxTimestamp())
	}
	if s.bytes > cfg.SegmentBytes {
		return s, &TooLarge{Size: s.bytes, Max: cfg.SegmentBytes, Segment: true}
	}
	return s, nil
}

// admit returns with mu held when the log is ready for the append: nobody changes its files, and the last segment has
// room. It is done early if the append is refused, empty or a duplicate.
func (l *Log) admit(batches []record.Batch, a AppendOptions, s *shape, cfg *Config) (done bool, out Appended, err error) {
	for {
		if err := l.refuse(); err != nil {
			return true, Appended{}, err
		}
		if a.RequireEpoch && a.LeaderEpoch != l.epoch {
			return true, Appended{}, ErrFenced
		}
		if len(batches) == 0 {
			return true, l.appended(l.end, record.NoTimestamp), nil
		}
		s.first, s.last = l.end, l.end+s.records-1
		if !l.frozen {
			if dup := l.duplicate(batches, a); dup != nil {
				return true, *dup, nil
			}
			if !l.shouldRoll(s, cfg, a.Now) {
				l.staged.reset()
				return false, Appended{}, nil
			}
		}
		l.mu.Unlock()
		err := l.rollFor(s, a.Now)
		l.mu.Lock()
		if err != nil {
			return true, Appended{}, err
		}
	}
}

// duplicate looks for a batch that a client sends again. mu is held. DETAILS 5.
func (l *Log) duplicate(batches []record.Batch, a AppendOptions) *Appended {
	if a.Origin != Client {
		return nil
	}
	for _, b := range batches {
		if !b.HasProducerID() {
			continue
		}
		e := l.producers.byID[b.ProducerID()]
		if e == nil {
			continue
		}
		if s := e.duplicate(b); s != nil {
			return &Appended{
				FirstOffset: s.firstOffset(), LastOffset: s.lastOffset, LogAppendTime: s.timestamp, MaxTimestamp: s.timestamp,
				LogStart: l.start, LogEnd: l.end, Duplicate: true,
			}
		}
	}
	return nil
}

// stage checks a batch against the producers' state. mu is held.
func (l *Log) stage(b record.Batch, at position, a AppendOptions, cfg *Config) error {
	if !b.HasProducerID() {
		return nil
	}
	p := &l.producers
	if b.Transactional() && (a.Origin == Client || a.Origin == Coordinator) && !p.hasOngoing(b.ProducerID(), b.ProducerEpoch()) {
		if e := p.byID[b.ProducerID()]; e != nil && b.ProducerEpoch() < e.epoch {
			return &InvalidProducerEpoch{e.id, b.ProducerEpoch(), e.epoch, at.offset}
		}
		if cfg.VerifyTransactions && !b.Control() && !p.verified(b.ProducerID(), a.Guard) {
			return &InvalidTxnState{b.ProducerID(), at.offset, "the record is not part of an ongoing transaction"}
		}
	}
	return l.staged.stage(p, l.codecs, check{b, at, a.Origin, a.TransactionVersion})
}

// write writes batches at the end of the last segment: in one piece, as long as they fit a buffer. mu is held. After an
// error the file's tail is unknown, so the log takes no further append; only on a full disk it is cut off, and the next
// append may find room again.
func (l *Log) write(batches []record.Batch, total int) error {
	if len(batches) == 1 {
		return l.writeAt(batches[0], l.act.size)
	}
	buf := runs.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxRun {
			runs.Put(buf)
		}
	}()
	pos := l.act.size
	*buf = (*buf)[:0]
	for _, b := range batches {
		if len(*buf) > 0 && len(*buf)+len(b) > maxRun {
			if err := l.writeAt(*buf, pos); err != nil {
				return err
			}
			pos += int64(len(*buf))
			*buf = (*buf)[:0]
		}
		*buf = append(*buf, b...)
	}
	return l.writeAt(*buf, pos)
}

func (l *Log) writeAt(b []byte, pos int64) error {
	h := l.act.log
	f, err := h.acquire()
	if err != nil && vfs.Exhausted(err) && pos == l.act.size { // nothing was written
		return fail(h, pos, err)
	}
	if err == nil {
		_, err = f.WriteAt(b, pos)
		h.Release()
	}
	if err == nil {
		return nil
	}
	if vfs.NoSpace(err) {
		cut := l.cutTail(h)
		if cut == nil {
			return fail(h, pos, err)
		}
		err = cut
	}
	return l.doomed(fail(h, pos, err))
}

// cutTail removes what an append that failed has left behind the log's end. mu is held.
func (l *Log) cutTail(h *handle) error {
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	return f.Truncate(l.act.size)
}

// index takes a batch into the last segment's indexes: an entry for the first batch that begins more than
// index.interval.bytes behind the last entry's. DETAILS 23. mu is held, or the log frozen.
func (l *Log) index(b record.Batch, cfg *Config) {
	a := &l.act
	last, ts := b.LastOffset(), b.MaxTimestamp()
	a.add(int64(len(b)), last, ts, int64(cfg.IndexInterval))
}

// add is index for a batch of which the header is known.
func (a *active) add(size, lastOffset, ts, interval int64) {
	rel := int32(lastOffset - a.base)
	if a.size == 0 {
		a.firstTime = ts
	}
	if ts > a.maxTime.ts {
		a.maxTime = timeEntry{ts, rel}
	}
	if a.sinceIndex > interval {
		a.offsets.append(offsetEntry{rel, int32(a.size)})
		a.noteTime()
		a.sinceIndex = 0
		a.shown = nil
	}
	a.size += size
	a.sinceIndex += size
}

// noteTime adds the largest timestamp so far to the time index, if it is larger than the last entry's.
func (a *active) noteTime() {
	if a.maxTime.ts > a.last.ts {
		a.times.append(a.maxTime)
		a.last = a.maxTime
		a.shown = nil
	}
}

// grow moves the log's end after a write, and shows it. mu is held.
func (l *Log) grow(end int64) {
	l.end, l.producers.end = end, end
	l.publish()
}

func (l *Log) appended(first, maxTimestamp int64) Appended {
	return Appended{
		FirstOffset: first, LastOffset: l.end - 1, LogAppendTime: record.NoTimestamp, MaxTimestamp: maxTimestamp,
		LogStart: l.start, LogEnd: l.end,
	}
}
