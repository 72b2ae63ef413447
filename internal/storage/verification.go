package storage

import "time"

// Guard lets one verified append begin a transaction. A guard is unique: an answer of the coordinator that comes after
// the transaction was ended cannot open the next one (the ABA case of DETAILS 35). The zero Guard guards nothing.
type Guard uint64

// verification is the check, under way, that a producer's transaction includes this partition.
type verification struct {
	guard   Guard
	created int64
	lowest  int32 // lowest sequence that waits: a higher one must not be appended before it
	epoch   int16
	bumps   bool // the producer uses transaction version 2: its epoch rises with each transaction
}

// StartVerification is asked before a transactional batch is appended. The zero Guard says that the producer's
// transaction is already open here; otherwise the coordinator must confirm it, and the append carries the guard.
func (l *Log) StartVerification(producerID int64, sequence int32, epoch int16, bumps bool, now time.Time) (Guard, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.producers
	if e := p.byID[producerID]; e != nil {
		if epoch < e.epoch {
			return 0, &InvalidProducerEpoch{producerID, epoch, e.epoch, l.end}
		}
		if e.txnFirst >= 0 && e.epoch == epoch {
			return 0, nil
		}
	}
	v := p.verifications[producerID]
	if v == nil {
		p.guards++
		v = &verification{guard: Guard(p.guards), created: now.UnixMilli(), lowest: sequence, epoch: epoch, bumps: bumps}
		p.verifications[producerID] = v
	}
	switch {
	case epoch == v.epoch:
		v.lowest = min(v.lowest, sequence)
	case epoch > v.epoch:
		v.epoch, v.lowest = epoch, sequence
	}
	return v.guard, nil
}

// HasOngoing says whether a producer has an open transaction in this log, in that epoch.
func (l *Log) HasOngoing(producerID int64, epoch int16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.hasOngoing(producerID, epoch)
}

func (p *producers) hasOngoing(id int64, epoch int16) bool {
	e := p.byID[id]
	return e != nil && e.txnFirst >= 0 && e.epoch == epoch
}

// verified says whether a guard lets a producer begin a transaction.
func (p *producers) verified(id int64, g Guard) bool {
	v := p.verifications[id]
	return v != nil && g != 0 && v.guard == g
}
