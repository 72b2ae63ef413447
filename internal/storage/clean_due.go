package storage

import (
	"math"
	"time"
)

// Cleanable says what of a log could be compacted now. Offsets below FirstDirty were compacted before, those from
// FirstUncleanable on must not be yet.
type Cleanable struct {
	FirstDirty, FirstUncleanable int64
	CleanBytes, DirtyBytes       int64 // of the segments on either side of FirstDirty, up to FirstUncleanable
	// Overdue is for how long max.compaction.lag.ms has been passed; 0 if it has not.
	Overdue time.Duration
}

// Ratio is how much of what compaction would go through is dirty.
func (c Cleanable) Ratio() float64 {
	if c.CleanBytes+c.DirtyBytes == 0 {
		return 0
	}
	return float64(c.DirtyBytes) / float64(c.CleanBytes+c.DirtyBytes)
}

// Due says whether the log should be compacted: more of it is dirty than min.cleanable.dirty.ratio, or something dirty
// is older than max.compaction.lag.ms.
func (c Cleanable) Due(minRatio float64) bool {
	return c.DirtyBytes > 0 && (c.Overdue > 0 || c.Ratio() > minRatio)
}

// CleanableOffsets says what could be compacted now. It stops before the last segment, the segment that holds the last
// stable offset (which is not above the high watermark), and the first dirty one that has a record younger than
// min.compaction.lag.ms. It reads next to nothing, unless one of the lags is configured.
func (l *Log) CleanableOffsets(now time.Time) (Cleanable, error) {
	v, cfg := l.View(), l.config.Load()
	c := Cleanable{FirstDirty: l.Cleaned()}
	if c.FirstDirty < v.LogStart || c.FirstDirty > v.LogEnd {
		c.FirstDirty = v.LogStart
	}
	first := max(v.floor(c.FirstDirty), 0)
	end := max(v.floor(min(v.LastStable, v.active().base)), 0) // number of the first segment that stays as it is
	if lag := cfg.MinCompactionLag.Milliseconds(); lag > 0 {
		for i := first; i < end; i++ {
			ts, err := v.youngest(i)
			if err != nil {
				return Cleanable{}, gone(err)
			}
			if ts > now.UnixMilli()-lag {
				end = i
			}
		}
	}
	c.FirstUncleanable = v.segments[end].base
	for i, s := range v.segments[:max(end, first)] {
		if s.base < c.FirstDirty {
			c.CleanBytes += s.size
		}
		if i >= first && i < end {
			c.DirtyBytes += s.size
		}
	}
	var err error
	c.Overdue, err = v.overdue(first, now, cfg)
	return c, gone(err)
}

// youngest is a sealed segment's largest timestamp, or when its file was changed if its records have none.
func (v *View) youngest(i int) (int64, error) {
	s, x, _, err := v.of(i)
	if err != nil || x.last.ts >= 0 {
		return lastOf(x), err
	}
	info, err := v.log.fs.Stat(s.log.name())
	if err != nil {
		return 0, fail(s.log, -1, err)
	}
	return info.ModTime().UnixMilli(), nil
}

func lastOf(x *indexes) int64 {
	if x == nil {
		return noTimestamp
	}
	return x.last.ts
}

// overdue looks at the first batch of each sealed segment from a number on: how far is the oldest behind
// max.compaction.lag.ms?
func (v *View) overdue(first int, now time.Time, cfg *Config) (time.Duration, error) {
	limit := now.UnixMilli() - cfg.MaxCompactionLag.Milliseconds()
	if cfg.MaxCompactionLag <= 0 || limit <= 0 {
		return 0, nil
	}
	oldest := int64(math.MaxInt64)
	for i := first; i < len(v.segments)-1; i++ {
		ts, err := v.segments[i].firstTimestamp()
		if err != nil {
			return 0, err
		}
		if ts > 0 {
			oldest = min(oldest, ts)
		}
	}
	if oldest >= limit {
		return 0, nil
	}
	return time.Duration(limit-oldest) * time.Millisecond, nil
}

// firstTimestamp is the largest timestamp of a sealed segment's first batch, noTimestamp if it has none. The file is
// asked once.
func (s *segment) firstTimestamp() (int64, error) {
	if t := s.began.Load(); t != nil {
		return *t, nil
	}
	a := active{segment: s, firstTime: noTimestamp}
	if s.size > 0 {
		f, err := s.log.acquire()
		if err != nil {
			return 0, fail(s.log, -1, err)
		}
		defer s.log.Release()
		if err := a.readFirstTime(f); err != nil {
			return 0, fail(s.log, 0, err)
		}
	}
	s.began.Store(&a.firstTime)
	return a.firstTime, nil
}

// Cleaned is the offset below which the log was compacted, as far as is known; it goes into the cleaner's checkpoint.
// A truncation moves it down.
func (l *Log) Cleaned() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cleaned
}
