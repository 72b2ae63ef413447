package controller

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Activate is the command with which the host makes a loaded controller the active one. NextOffset is the log's end:
// the offset that the next record gets. The records that the machine answers with end a transaction that the last
// controller left open, and begin an empty log. The reply's value is nil, or the error with which the host gives up
// leadership.
type Activate struct {
	NextOffset int64
}

// schedule holds when the periodic tasks are due; zero times never are.
type schedule struct {
	noOp, balance, unclean time.Time
}

func (c *Controller) activate(op *operation, a Activate) (any, error) {
	if c.active {
		return nil, fmt.Errorf("controller: activated twice")
	}
	c.state.nextOffset = max(c.state.nextOffset, a.NextOffset)
	mv := c.metadataVersion()
	if mv == 0 {
		if err := c.bootstrap(op); err != nil {
			return nil, err
		}
	} else if c.state.transaction != nil {
		if mv < metadata.MVTransactions {
			return nil, fmt.Errorf("controller: a transaction is open at offset %d, but metadata.version %d has none", c.state.transaction.offset, mv)
		}
		op.add(abortTransaction())
	}
	c.active = true
	// Brokers that were alive get a whole session to show up: nobody knows when the last controller heard from them.
	for b := range c.brokers() {
		if !b.Fenced {
			c.session(b).contact = op.Now
		}
	}
	c.schedule = schedule{after(op.Now, c.options.MaxIdle), after(op.Now, c.options.ImbalanceCheck), after(op.Now, c.options.UncleanElectionCheck)}
	op.event("controller.activated", machine.Attr{Key: "epoch", Value: op.Epoch}, machine.Attr{Key: "records", Value: len(op.records)})
	return nil, nil
}

// bootstrap starts an empty log with the records of bootstrap.checkpoint, in one transaction where the version has them.
func (c *Controller) bootstrap(op *operation) error {
	version, eligible := int16(-1), false
	for _, r := range c.options.Bootstrap {
		if f, ok := r.(*schema.FeatureLevel); ok {
			switch f.Name {
			case metadata.MetadataVersionFeature:
				version = f.FeatureLevel
			case metadata.ELRVersionFeature:
				eligible = f.FeatureLevel > 0
			}
		}
	}
	if version < metadata.MinimumMetadataVersion {
		return fmt.Errorf("controller: the bootstrap records finalise no metadata.version of at least %d; format the node's directories", metadata.MinimumMetadataVersion)
	}
	records := slices.Clone(c.options.Bootstrap)
	if eligible {
		// With ELR, min.insync.replicas is one value that all brokers and the controller agree on.
		value := strconv.Itoa(c.staticMinISR())
		records = append(records, &schema.Config{ResourceType: metadata.BrokerConfig, Name: configMinInSync, Value: &value})
	}
	if version < metadata.MVTransactions {
		if c.state.transaction != nil {
			return fmt.Errorf("controller: a transaction is open at offset %d, but metadata.version %d has none", c.state.transaction.offset, version)
		}
		op.add(records...)
		op.split = true
		return nil
	}
	if c.state.transaction != nil {
		op.add(abortTransaction())
	}
	op.split = true
	name := "Bootstrap records"
	op.add(&schema.BeginTransaction{Name: &name})
	op.add(records...)
	op.add(&schema.EndTransaction{})
	return nil
}

func abortTransaction() schema.Record {
	reason := "Controller failover"
	return &schema.AbortTransaction{Reason: &reason}
}

func after(now time.Time, interval time.Duration) time.Time {
	if interval <= 0 {
		return time.Time{}
	}
	return now.Add(interval)
}

// NextDeadline implements machine.Machine.
func (c *Controller) NextDeadline() (time.Time, bool) {
	if !c.active {
		return time.Time{}, false
	}
	var next time.Time
	for _, at := range []time.Time{c.schedule.noOp, c.schedule.balance, c.schedule.unclean, c.nextExpiry()} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// tick does what is due. One stale broker is fenced at a time, so that the next decision sees the effect; NextDeadline
// stays in the past while there are more.
func (c *Controller) tick(op *operation) (any, error) {
	op.split = true
	due := func(at time.Time) bool { return !at.IsZero() && !op.Now.Before(at) }
	if stale := c.stale(op.Now); stale >= 0 {
		op.event("controller.broker.session.expired", machine.Attr{Key: "broker", Value: stale})
		c.fence(op, stale)
		return nil, nil
	}
	if due(c.schedule.balance) {
		more := c.balanceLeaders(op)
		c.schedule.balance = after(op.Now, c.options.ImbalanceCheck)
		if more {
			c.schedule.balance = op.Now
		}
		if len(op.records) > 0 {
			return nil, nil
		}
	}
	if due(c.schedule.unclean) {
		more := c.electUncleanLeaders(op)
		c.schedule.unclean = after(op.Now, c.options.UncleanElectionCheck)
		if more {
			c.schedule.unclean = op.Now
		}
	}
	if due(c.schedule.noOp) {
		op.add(&schema.NoOp{})
		c.schedule.noOp = after(op.Now, c.options.MaxIdle)
	}
	return nil, nil
}
