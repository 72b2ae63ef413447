package replica

import (
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/storage"
)

// StartVerification is asked before a transactional batch is appended (KIP-890). The zero Guard says that the producer's
// transaction is open here already; otherwise its coordinator must confirm that the partition belongs to it, and the append
// carries the guard. bumps says that the producer's epoch rises with each transaction; sequence is the batch's first, -1 if
// it has none.
func (p *Partition) StartVerification(producerID int64, sequence int32, epoch int16, bumps bool) (Guard, error) {
	_, log, err := p.leads()
	if err != nil {
		return 0, err
	}
	return log.StartVerification(producerID, sequence, epoch, bumps, p.set.now())
}

// TransactionEnd is a marker to be written.
type TransactionEnd struct {
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Commit           bool
	Version          int16 // of the transaction: from 2 on ProducerEpoch is above that of its records (KIP-890)
}

// EndTransaction appends a marker. It is replicated once the high watermark has reached next. Errors: as Produce's, and
// ErrCoordinatorFenced.
func (p *Partition) EndTransaction(e TransactionEnd) (next int64, err error) {
	r, log, err := p.leads()
	if err != nil {
		return 0, err
	}
	if !r.EnoughInSync {
		return 0, ErrNotEnough
	}
	m := record.EndTxnMarker{Type: record.Abort, CoordinatorEpoch: e.CoordinatorEpoch}
	if e.Commit {
		m.Type = record.Commit
	}
	now := p.set.now()
	b := p.set.codecs.EndTxn(m, now.UnixMilli(), e.ProducerID, e.ProducerEpoch)
	a, err := p.append(r, log, b, storage.AppendOptions{Now: now, Origin: storage.Coordinator, TransactionVersion: e.Version}, nil)
	return a.LastOffset + 1, err
}
