package controller

import (
	"fmt"
	"iter"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

type (
	topic     = metadata.Topic
	partition = metadata.Partition
	broker    = metadata.Broker
)

// settleEvery bounds how many applied records wait for their image.
const settleEvery = 4096

// overlay is the state of the metadata as the controller sees it: the image of all that was applied, whether it is
// committed yet or not. Records gather in a delta until somebody wants to read (settle).
type overlay struct {
	image *metadata.Image
	index *index

	delta       *metadata.Delta // nil if nothing waits
	waiting     int
	offset      int64 // of the last applied record
	epoch       int32
	nextOffset  int64
	transaction *transaction
	registered  map[int32]int64 // broker -> offset of its registration's record
	loadedAt    int64           // stands in for registrations that came with the image
}

// transaction is an open metadata transaction (KIP-868). Its records count when it ends.
type transaction struct {
	offset  int64
	records []held
}

type held struct {
	record schema.Record
	at     machine.Position
}

func newOverlay(image *metadata.Image) overlay {
	o := overlay{image: image, offset: image.Offset, epoch: image.Epoch, nextOffset: image.Offset + 1,
		registered: map[int32]int64{}, loadedAt: image.Offset, index: newIndex()}
	for t := range image.Topics() {
		o.index.addName(t.Name)
		for id, p := range t.Partitions {
			o.index.update(partitionKey{t.ID, int32(id)}, nil, p)
		}
	}
	return o
}

func (o *overlay) apply(r schema.Record, at machine.Position) error {
	o.offset, o.epoch = max(o.offset, at.Offset), at.Epoch
	o.nextOffset = max(o.nextOffset, at.Offset+1)
	switch r.(type) {
	case *schema.BeginTransaction:
		if o.transaction != nil {
			return fmt.Errorf("controller: transaction begins at offset %d inside the one from offset %d", at.Offset, o.transaction.offset)
		}
		o.transaction = &transaction{offset: at.Offset}
		return nil
	case *schema.EndTransaction, *schema.AbortTransaction:
		if o.transaction == nil {
			return fmt.Errorf("controller: transaction ends at offset %d, but none is open", at.Offset)
		}
		records := o.transaction.records
		o.transaction = nil
		if _, aborted := r.(*schema.AbortTransaction); aborted {
			return nil
		}
		for _, h := range records {
			if err := o.take(h.record, h.at); err != nil {
				return err
			}
		}
		return nil
	}
	if o.transaction != nil {
		o.transaction.records = append(o.transaction.records, held{r, at})
		return nil
	}
	return o.take(r, at)
}

func (o *overlay) take(r schema.Record, at machine.Position) error {
	switch r := r.(type) {
	case *schema.NoOp:
		return nil
	case *schema.RegisterBroker:
		o.registered[r.BrokerID] = at.Offset
	case *schema.UnregisterBroker:
		delete(o.registered, r.BrokerID)
	}
	if o.delta == nil {
		o.delta = metadata.NewDelta(o.image)
	}
	if err := o.delta.Apply(r); err != nil {
		return fmt.Errorf("controller: applying record at offset %d: %w", at.Offset, err)
	}
	if o.waiting++; o.waiting >= settleEvery {
		o.settle()
	}
	return nil
}

// settle makes the image of what was applied, and brings the index up to it.
func (o *overlay) settle() {
	if o.delta == nil {
		return
	}
	before, changes := o.image, o.delta.Topics()
	o.image = o.delta.Image(o.offset, o.epoch)
	o.delta, o.waiting = nil, 0
	for _, id := range changes.Deleted {
		t, _ := before.TopicByID(id)
		o.index.removeName(t.Name)
		for p, was := range t.Partitions {
			o.index.update(partitionKey{id, int32(p)}, was, nil)
		}
	}
	for _, change := range changes.Changed {
		now, _ := o.image.TopicByID(change.ID)
		was, had := before.TopicByID(change.ID)
		if !had {
			o.index.addName(now.Name)
			was = &topic{}
		}
		for _, id := range change.Partitions {
			old, _ := was.Partition(id)
			o.index.update(partitionKey{change.ID, id}, old, now.Partitions[id])
		}
	}
}

func (o *overlay) registrationOffset(id int32) int64 {
	if at, ok := o.registered[id]; ok {
		return at
	}
	return o.loadedAt
}

// What the decisions read. Nil, or false, stands for what is not there.

func (c *Controller) topic(name string) *topic {
	t, _ := c.state.image.Topic(name)
	return t
}

func (c *Controller) topicByID(id schema.UUID) *topic {
	t, _ := c.state.image.TopicByID(id)
	return t
}

func (c *Controller) topics() iter.Seq[*topic] { return c.state.image.Topics() }

func (c *Controller) partitionOf(t *topic, id int32) *partition {
	p, _ := t.Partition(id)
	return p
}

func (c *Controller) broker(id int32) *broker {
	b, _ := c.state.image.Broker(id)
	return b
}

func (c *Controller) brokers() iter.Seq[*broker] { return c.state.image.Brokers() }

func (c *Controller) metadataVersion() int16 { return c.state.image.MetadataVersion() }

func (c *Controller) elrEnabled() bool { return c.state.image.Feature(metadata.ELRVersionFeature) >= 1 }

func rackOf(b *broker) string {
	if b.Rack == nil {
		return ""
	}
	return *b.Rack
}
