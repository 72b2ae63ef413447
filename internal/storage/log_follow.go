package storage

import (
	"errors"
	"math"
	"time"

	"github.com/klamm-io/klamm/internal/record"
)

// AppendFollower appends what a leader sent: batches with their offsets and epochs, as they are. The checksums are
// compared first, before any lock. A batch that is cut off at the end is left out, as a leader may cut; so is everything
// from the first batch on whose epoch is above leaderEpoch: it belongs to a leader that this replica does not follow
// yet.
//
// The offsets must continue the log: the first may lie above its end, where compaction or deletion left a gap, never
// below; *UnexpectedOffset otherwise. A damaged batch is *record.Corrupt and changes nothing.
func (l *Log) AppendFollower(b []byte, leaderEpoch int32, now time.Time) (Appended, error) {
	s, whole, err := survey(b, leaderEpoch)
	if err != nil {
		return Appended{}, err
	}
	cfg := l.config.Load()
	if s.bytes > cfg.SegmentBytes {
		return Appended{}, &TooLarge{Size: s.bytes, Max: cfg.SegmentBytes, Segment: true}
	}
	l.mu.Lock()
	for {
		if err := l.refuse(); err != nil {
			l.mu.Unlock()
			return Appended{}, err
		}
		if s.bytes == 0 {
			out := l.appended(l.end, record.NoTimestamp)
			l.mu.Unlock()
			return out, nil
		}
		if s.first < l.end {
			err := &UnexpectedOffset{First: s.first, Last: s.last, LogEnd: l.end}
			l.mu.Unlock()
			return Appended{}, err
		}
		if !l.frozen && !l.shouldRoll(&s, cfg, now) {
			break
		}
		l.mu.Unlock()
		if err := l.rollFor(&s, now); err != nil {
			return Appended{}, err
		}
		l.mu.Lock()
	}
	rolled := l.act.size == 0 && len(l.segments) > 1
	if err := l.writeAt(whole, l.act.size); err != nil {
		l.mu.Unlock()
		return Appended{}, err
	}
	err = l.follow(whole, cfg)
	l.epoch = max(l.epoch, leaderEpoch)
	l.remember(position{s.first, l.act.base, l.act.size - int64(s.bytes)})
	l.grow(s.last + 1)
	out := l.appended(s.first, s.maxTimestamp)
	out.Rolled = rolled
	behind := l.act.offsets.unwritten() >= indexTail
	l.mu.Unlock()
	if behind {
		l.writeBehind()
	}
	return out, err
}

// survey checks and sums up a leader's batches, and gives the bytes of those to append.
func survey(b []byte, leaderEpoch int32) (s shape, whole []byte, err error) {
	s.maxTimestamp, s.first, s.last = record.NoTimestamp, -1, -1
	rest := b
	for len(rest) > 0 {
		batch, after, err := record.Next(rest)
		if errors.Is(err, record.ErrTruncated) || err == nil && batch.LeaderEpoch() > leaderEpoch {
			break
		}
		if err == nil {
			err = batch.CheckCRC()
		}
		if err == nil && (batch.BaseOffset() <= s.last || !sound(batch)) {
			err = &record.Corrupt{Reason: "offsets of a leader's batches do not rise"}
		}
		if err != nil {
			return shape{}, nil, err
		}
		if s.first < 0 {
			s.first = batch.BaseOffset()
		}
		s.last = batch.LastOffset()
		s.maxTimestamp = max(s.maxTimestamp, batch.MaxTimestamp())
		rest = after
	}
	s.bytes = len(b) - len(rest)
	s.records = s.last - s.first + 1
	return s, b[:s.bytes:s.bytes], nil
}

// sound says that a batch's offsets are some that a log can have.
func sound(b record.Batch) bool {
	return b.BaseOffset() >= 0 && b.LastOffset() >= b.BaseOffset() && b.LastOffset() < math.MaxInt64
}

// follow takes written batches into epochs, producers' state and indexes. mu is held. An error tells of a marker that
// cannot be read, in a batch that is whole: it is in the log, as at the leader.
func (l *Log) follow(b []byte, cfg *Config) (failed error) {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			return err
		}
		l.assignEpoch(batch.LeaderEpoch(), batch.BaseOffset())
		at := position{batch.BaseOffset(), l.act.base, l.act.size}
		if err := l.replay(&l.producers, batch, at, l.noteAborted); err != nil && failed == nil {
			failed = err
		}
		l.index(batch, cfg)
		b = rest
	}
	return failed
}
