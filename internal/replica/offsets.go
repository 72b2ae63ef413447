package replica

import (
	"time"

	"github.com/klamm-io/klamm/internal/storage"
)

// Special timestamps of ListOffsets (ListOffsetsRequest, KIP-734, KIP-405, KIP-1005, KIP-1023).
const (
	LatestTimestamp        = -1
	EarliestTimestamp      = -2
	MaxTimestamp           = -3
	EarliestLocalTimestamp = -4
	LatestTieredTimestamp  = -5
	EarliestPendingUpload  = -6
)

// Isolation says whose view of the end counts in ListOffsets.
type Isolation int8

// The three views of a log's end.
const (
	Uncommitted Isolation = iota // the high watermark
	Committed                    // the last stable offset
	Replica                      // the log's end: a follower, or the debugging consumer
)

// OffsetFor answers ListOffsets for one partition. found is false where the log holds no such record; offset and
// timestamp are then -1. ErrNotAvailable (KIP-207): a new leader's high watermark has not reached the start of its epoch,
// so the end that clients may see could move backwards.
func (p *Partition) OffsetFor(timestamp int64, iso Isolation, currentEpoch int32) (o storage.TimestampOffset, found bool, err error) {
	none := storage.TimestampOffset{Timestamp: -1, Offset: -1, LeaderEpoch: -1}
	r, log, err := p.leadsIn(currentEpoch)
	if err != nil {
		return none, false, err
	}
	v := log.View()
	last := v.HighWatermark
	switch iso {
	case Committed:
		last = v.LastStable
	case Replica:
		last = v.LogEnd
	}
	lagging := iso != Replica && epochStart(v, r.Epoch) > v.HighWatermark
	at := func(offset int64) storage.TimestampOffset {
		return storage.TimestampOffset{Timestamp: -1, Offset: offset, LeaderEpoch: log.EpochAt(offset)}
	}
	switch timestamp {
	case LatestTimestamp:
		if lagging {
			return none, false, ErrNotAvailable
		}
		return storage.TimestampOffset{Timestamp: -1, Offset: last, LeaderEpoch: r.Epoch}, true, nil
	case EarliestTimestamp, EarliestLocalTimestamp:
		return at(v.LogStart), true, nil
	case LatestTieredTimestamp, EarliestPendingUpload:
		return none, false, nil // nothing is tiered
	case MaxTimestamp:
		o, found, err = log.MaxTimestampOffset()
	default:
		o, found, err = log.OffsetForTimestamp(timestamp)
	}
	if err != nil {
		return none, false, p.settled(err)
	}
	if found && o.Offset < last {
		return o, true, nil
	}
	if lagging {
		return none, false, ErrNotAvailable
	}
	return none, false, nil
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch up to the requested one and where it ends; -1, -1 if there is none.
func (p *Partition) EpochEnd(requested, currentEpoch int32) (epoch int32, end int64, err error) {
	_, log, err := p.leadsIn(currentEpoch)
	if err != nil {
		return -1, -1, err
	}
	epoch, end = log.EpochEndOffset(requested)
	return epoch, end, nil
}

// DeleteRecords moves the log's start up to offset (-1: the high watermark) and gives the low watermark. Other negative
// offsets, and those above the high watermark, are *OffsetOutOfRange.
func (p *Partition) DeleteRecords(offset int64, now time.Time) (lowWatermark int64, err error) {
	_, log, err := p.leads()
	if err != nil {
		return -1, err
	}
	switch v := log.View(); {
	case offset == -1:
		offset = v.HighWatermark
	case offset < 0:
		return -1, &OffsetOutOfRange{Offset: offset, LogStart: v.LogStart, LogEnd: v.HighWatermark}
	}
	if err := log.DeleteRecords(offset, now); err != nil {
		return -1, p.settled(err)
	}
	p.changed()
	return log.View().LogStart, nil
}

// LogStartMoved tells whoever fetches a partition that its log starts elsewhere now: retention, unlike DeleteRecords, does
// not pass through here. DETAILS 20.
func (s *Set) LogStartMoved(l *storage.Log) {
	if p, err := s.Identified(l.TopicID(), l.Partition()); err == nil {
		p.changed()
	}
}

// Producers lists the active producers of a partition (DescribeProducers).
func (p *Partition) Producers(now time.Time) ([]storage.ProducerInfo, error) {
	_, log, err := p.leads()
	if err != nil {
		return nil, err
	}
	return log.Producers(now), nil
}

// Deletes says whether DeleteRecords is allowed: not on a topic that is only compacted.
func (p *Partition) Deletes() bool {
	if p.log == nil {
		return true // the error is another one
	}
	c := p.log.Config()
	return c.Delete || !c.Compact
}

// epochStart is where an epoch begins in the log; -1 if it has no entry.
func epochStart(v *storage.View, epoch int32) int64 {
	for _, e := range v.Epochs() {
		if e.Epoch == epoch {
			return e.Start
		}
	}
	return -1
}
