package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
)

// errCorrupt marks a log that was read and cannot be understood: reading it again would not help.
var errCorrupt = errors.New("log cannot be loaded")

// errStopped says that the shard was stopped while it loaded.
var errStopped = errors.New("stopped")

// progressEvery is the time between two lines about a load that goes on.
const progressEvery = 5 * time.Second

// loader reads a partition's log into a machine.
type loader struct {
	s       *shard
	m       machine.Machine[machine.Record]
	from    int64 // next offset
	end     int64
	bytes   int64
	records int64
}

// load fills a fresh machine from the log's start to its end, also above the high watermark: what stands there may yet
// be committed, and replies wait until it is.
func (s *shard) load() error {
	c := &s.h.c
	began := c.Now()
	told := began
	start, _, end, err := c.Log.Offsets(c.Topic, s.partition)
	if err != nil {
		return fmt.Errorf("coordinator: offsets of %s-%d: %w", c.Topic, s.partition, err)
	}
	l := &loader{s: s, m: c.NewMachine(s.partition), from: start, end: end}
	for l.from < end {
		if s.isStopping() {
			return errStopped
		}
		b, err := c.Log.Read(c.Topic, s.partition, l.from, c.LoadBuffer)
		if err != nil {
			return fmt.Errorf("coordinator: reading %s-%d at %d: %w", c.Topic, s.partition, l.from, err)
		}
		if err := l.batches(b); err != nil {
			return fmt.Errorf("coordinator: %s-%d at %d: %w: %w", c.Topic, s.partition, l.from, errCorrupt, err)
		}
		if now := c.Now(); now.Sub(told) >= progressEvery {
			told = now
			c.Logger.Info("coordinator: loading", "topic", c.Topic, "partition", s.partition, "offset", l.from, "end", end,
				"records", l.records, "duration", now.Sub(began))
		}
	}
	s.m, s.end = l.m, l.from
	level := slog.LevelInfo
	if l.records == 0 { // a young topic has 50 empty partitions, and nobody wants to hear of each
		level = slog.LevelDebug
	}
	c.Logger.Log(context.Background(), level, "coordinator: loaded", "topic", c.Topic, "partition", s.partition, "epoch", s.epoch,
		"records", l.records, "bytes", l.bytes, "end", l.from, "duration", c.Now().Sub(began))
	return nil
}

// batches applies what was read; at least one batch is expected.
func (l *loader) batches(b []byte) error {
	read := false
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if errors.Is(err, record.ErrTruncated) && read {
			return nil // the rest comes with the next read
		}
		if err != nil {
			return err
		}
		if err := batch.CheckCRC(); err != nil {
			return err
		}
		if batch.LastOffset() >= l.from { // else: before the log's start, or read before
			if err := l.batch(batch); err != nil {
				return err
			}
			l.from = batch.LastOffset() + 1
		}
		l.bytes += int64(len(batch))
		read, b = true, rest
	}
	if !read {
		return errors.New("nothing was read before the log's end")
	}
	return nil
}

func (l *loader) batch(b record.Batch) error {
	codecs := l.s.h.c.Codecs
	if b.Control() {
		m, ok, err := codecs.EndTxnOf(b)
		if err != nil || !ok {
			return err
		}
		p := machine.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Transactional: true}
		l.m.Handle(l.s.input(time.UnixMilli(b.MaxTimestamp())), machine.Command{
			Body: machine.Marker{Producer: p, Commit: m.Type == record.Commit, CoordinatorEpoch: m.CoordinatorEpoch},
		})
		return nil
	}
	r, err := codecs.Records(b)
	if err != nil {
		return err
	}
	defer r.Close()
	pos := machine.Position{
		Epoch:    b.LeaderEpoch(),
		Producer: machine.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Transactional: b.Transactional()},
	}
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if rec.Offset < l.from {
			continue
		}
		pos.Offset, pos.Timestamp = rec.Offset, rec.Timestamp
		if err := l.m.Apply(machine.Record{Key: rec.Key, Value: rec.Value}, pos); err != nil {
			return fmt.Errorf("record at offset %d: %w", rec.Offset, err)
		}
		l.records++
	}
}

// subscribe follows the partition's high watermark: first the subscription, then a look, so that no move is missed.
func (s *shard) subscribe() (stop func()) {
	c := &s.h.c
	stop = c.Log.OnHighWatermark(c.Topic, s.partition, func(hw int64) {
		s.raise(hw)
		s.poke()
	})
	if _, hw, _, err := c.Log.Offsets(c.Topic, s.partition); err == nil {
		s.raise(hw)
	}
	return stop
}

// raise notes a high watermark. Calls may overtake each other, so it never falls.
func (s *shard) raise(hw int64) {
	for {
		old := s.hw.Load()
		if hw <= old || s.hw.CompareAndSwap(old, hw) {
			return
		}
	}
}
