package storage

import (
	"errors"
	"io"

	"github.com/klamm-io/klamm/internal/record"
)

// TimestampOffset is a record as ListOffsets tells of it.
type TimestampOffset struct {
	Timestamp   int64 // -1 where the question was not for a time
	Offset      int64
	LeaderEpoch int32 // -1 if it is not known
}

// OffsetForTimestamp finds the first record that is not older than ts: it searches also inside its batch. Found is false
// if all are older. DETAILS 17.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) {
	v := l.View()
	for i := range v.segments {
		s, x, size, err := v.of(i)
		if err != nil {
			return TimestampOffset{}, false, gone(err)
		}
		if i < len(v.segments)-1 && x.last.ts != noTimestamp && x.last.ts < ts {
			continue
		}
		r, found, err := v.searchTime(s, x, size, ts)
		if err != nil || found {
			return r, found, gone(err)
		}
	}
	return TimestampOffset{}, false, nil
}

// gone makes a segment that retention removed under a search an answer that the caller can act on.
func gone(err error) error {
	if errors.Is(err, errRetired) {
		return ErrClosed
	}
	return err
}

func (v *View) searchTime(s *segment, x *indexes, size, ts int64) (TimestampOffset, bool, error) {
	// An entry says that its batch is the first one so young. So the batches up to the last entry below ts are too old.
	from, err := x.lookupTime(s.base, ts-1)
	if err != nil {
		return TimestampOffset{}, false, fail(s.timesFile, -1, err)
	}
	b, err := s.find(x, size, max(from, v.LogStart))
	if err == io.EOF {
		return TimestampOffset{}, false, nil
	}
	if err != nil {
		return TimestampOffset{}, false, fail(s.log, b.pos, err)
	}
	f, err := s.log.acquire()
	if err != nil {
		return TimestampOffset{}, false, fail(s.log, -1, err)
	}
	defer s.log.Release()
	w := newWalk(f, b.pos, size)
	defer w.close()
	for {
		h, at, err := w.next()
		if err == io.EOF {
			return TimestampOffset{}, false, nil
		}
		if err != nil {
			return TimestampOffset{}, false, fail(s.log, at, err)
		}
		if h.MaxTimestamp() < ts || h.LastOffset() < v.LogStart {
			continue
		}
		b, err := readBatch(f, at, w.pos-at)
		if err != nil {
			return TimestampOffset{}, false, fail(s.log, at, err)
		}
		r, found, err := v.log.findRecord(b, func(rec *record.Record) bool {
			return rec.Timestamp >= ts && rec.Offset >= v.LogStart
		})
		if err != nil || found {
			return r, found, fail(s.log, at, err)
		}
	}
}

// findRecord gives the first record of a batch that a condition takes.
func (l *Log) findRecord(b record.Batch, want func(*record.Record) bool) (TimestampOffset, bool, error) {
	r, err := l.codecs.Records(b)
	if err != nil {
		return TimestampOffset{}, false, err
	}
	defer r.Close()
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if !ok {
			return TimestampOffset{}, false, err
		}
		if want(&rec) {
			return TimestampOffset{rec.Timestamp, rec.Offset, b.LeaderEpoch()}, true, nil
		}
	}
}

// MaxTimestampOffset finds the first record with the log's largest timestamp (KIP-734). Found is false in an empty log.
func (l *Log) MaxTimestampOffset() (TimestampOffset, bool, error) {
	v := l.View()
	best, bestTS, offset := -1, int64(noTimestamp), int64(0)
	l.mu.Lock()
	newest, newestBase := l.act.maxTime, l.act.base
	l.mu.Unlock()
	for i, s := range v.segments {
		_, x, _, err := v.of(i)
		if err != nil {
			return TimestampOffset{}, false, gone(err)
		}
		ts, at := x.largest(s.base)
		if i == len(v.segments)-1 && s.base == newestBase && s.base+int64(newest.rel) < v.LogEnd {
			ts, at = newest.ts, s.base+int64(newest.rel)
		}
		if ts > bestTS {
			best, bestTS, offset = i, ts, at
		}
	}
	if best < 0 {
		return TimestampOffset{}, false, nil
	}
	s, x, size, err := v.of(best)
	if err != nil {
		return TimestampOffset{}, false, gone(err)
	}
	b, err := s.find(x, size, offset)
	if err == io.EOF {
		return TimestampOffset{}, false, nil
	}
	if err != nil {
		return TimestampOffset{}, false, gone(fail(s.log, -1, err))
	}
	f, err := s.log.acquire()
	if err != nil {
		return TimestampOffset{}, false, gone(fail(s.log, -1, err))
	}
	defer s.log.Release()
	batch, err := readBatch(f, b.pos, int64(b.size))
	if err != nil {
		return TimestampOffset{}, false, fail(s.log, b.pos, err)
	}
	r, found, err := l.findRecord(batch, func(rec *record.Record) bool { return rec.Timestamp == bestTS })
	return r, found, fail(s.log, b.pos, err)
}

// Earliest is the log's start, with its epoch.
func (l *Log) Earliest() TimestampOffset {
	v := l.View()
	return TimestampOffset{record.NoTimestamp, v.LogStart, v.epochs.at(v.LogStart)}
}
