package replica

import (
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
)

// Append writes a batch of a coordinator to its own partition, as the leader of the epoch: base is the offset of its first
// record, next the one after its last. It is replicated once the high watermark has reached next. guard is
// StartVerification's for records of a transaction, txnVersion that of a transaction whose marker this is.
func (s *Set) Append(topic string, partition, leaderEpoch int32, batch record.Batch, guard uint64, txnVersion int16) (base, next int64, err error) {
	p, err := s.Named(topic, partition)
	if err != nil {
		return -1, -1, err
	}
	r, log, err := p.leads()
	if err != nil {
		return -1, -1, err
	}
	if r.Epoch != leaderEpoch {
		return -1, -1, &NotLeader{Leader: r.Leader, Epoch: r.Epoch}
	}
	if !r.EnoughInSync {
		return -1, -1, ErrNotEnough
	}
	a, err := p.append(r, log, batch, storage.AppendOptions{Now: s.now(), Origin: storage.Coordinator, Guard: storage.Guard(guard), TransactionVersion: txnVersion}, nil)
	if err != nil {
		return -1, -1, err
	}
	return a.FirstOffset, a.LastOffset + 1, nil
}

// Read gives whole batches of a coordinator's partition from the one that holds offset from, up to the log's end.
func (s *Set) Read(topic string, partition int32, from int64, maxBytes int) ([]byte, error) {
	p, err := s.Named(topic, partition)
	if err != nil {
		return nil, err
	}
	_, log, err := p.leads()
	if err != nil {
		return nil, err
	}
	slice, err := log.View().Read(from, maxBytes, storage.LogEnd, true)
	if err != nil {
		return nil, p.settled(err)
	}
	defer slice.Release()
	return slice.Bytes()
}

// Offsets gives the log's start, high watermark and end.
func (s *Set) Offsets(topic string, partition int32) (start, highWatermark, end int64, err error) {
	p, err := s.Named(topic, partition)
	if err != nil {
		return 0, 0, 0, err
	}
	_, log, err := p.leads()
	if err != nil {
		return 0, 0, 0, err
	}
	v := log.View()
	return v.LogStart, v.HighWatermark, v.LogEnd, nil
}

// OnHighWatermark calls f, which must not block, after each rise of the partition's high watermark. Calls may overtake
// each other.
func (s *Set) OnHighWatermark(topic string, partition int32, f func(highWatermark int64)) (stop func()) {
	p, err := s.Named(topic, partition)
	if err != nil {
		return func() {}
	}
	return p.OnHighWatermark(f)
}
