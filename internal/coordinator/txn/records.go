package txn

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// Versions of what is written and known: of keys (their type), and of values.
const (
	keyType            = 0
	valueVersionNewest = 1
)

// encode gives x as it is written with the given version of the value.
func encode(x transaction, version int16) machine.Record {
	v := schema.NewTransactionLogValue()
	v.ProducerID, v.PreviousProducerID, v.NextProducerID = x.producerID, x.previousID, x.nextID
	v.ProducerEpoch, v.TransactionTimeoutMillis, v.TransactionStatus = x.epoch, x.timeout, int8(x.state)
	v.TransactionLastUpdateTimestampMillis, v.TransactionStartTimestampMillis = x.updated, x.start
	v.ClientTransactionVersion = x.version
	if x.state != Empty {
		v.TransactionPartitions = []schema.TransactionPartitions{}
	}
	for i := 0; i < len(x.partitions); {
		topic := schema.TransactionPartitions{Topic: x.partitions[i].Topic}
		for ; i < len(x.partitions) && x.partitions[i].Topic == topic.Topic; i++ {
			topic.PartitionIDs = append(topic.PartitionIDs, x.partitions[i].Partition)
		}
		v.TransactionPartitions = append(v.TransactionPartitions, topic)
	}
	return machine.Record{Key: key(x.id), Value: schema.AppendValue(nil, v, version)}
}

func tombstone(id string) machine.Record { return machine.Record{Key: key(id)} }

func key(id string) []byte {
	return schema.AppendKey(nil, &schema.TransactionLogKey{TransactionalID: id})
}

// decode reads a record. known is false for keys and values of versions that are not known: Kafka leaves them alone
// as well, they come from a newer release that was taken back. A tombstone has no transaction.
func decode(r machine.Record) (id string, x *transaction, known bool, err error) {
	if len(r.Key) < 2 {
		return "", nil, false, fmt.Errorf("txn: record key of %d bytes has no type", len(r.Key))
	}
	if binary.BigEndian.Uint16(r.Key) != keyType {
		return "", nil, false, nil
	}
	k, err := schema.DecodeKey(schema.TransactionLog, r.Key)
	if err != nil {
		return "", nil, false, fmt.Errorf("txn: record key: %w", err)
	}
	id = k.(*schema.TransactionLogKey).TransactionalID
	if r.Value == nil {
		return id, nil, true, nil
	}
	if len(r.Value) < 2 {
		return id, nil, false, fmt.Errorf("txn: value of %q: %d bytes have no version", id, len(r.Value))
	}
	if v := int16(binary.BigEndian.Uint16(r.Value)); v < 0 || v > valueVersionNewest {
		return id, nil, false, nil
	}
	d, _, err := schema.DecodeValue(schema.TransactionLog, keyType, r.Value)
	if err != nil {
		return id, nil, false, fmt.Errorf("txn: value of %q: %w", id, err)
	}
	v := d.(*schema.TransactionLogValue)
	x = &transaction{
		id: id, producerID: v.ProducerID, previousID: v.PreviousProducerID, nextID: v.NextProducerID,
		epoch: v.ProducerEpoch, lastEpoch: noProducerEpoch, timeout: v.TransactionTimeoutMillis, state: State(v.TransactionStatus),
		start: v.TransactionStartTimestampMillis, updated: v.TransactionLastUpdateTimestampMillis,
		version: v.ClientTransactionVersion,
	}
	if x.state < Empty || x.state > CompleteAbort {
		return id, nil, false, fmt.Errorf("txn: value of %q: state %v is never written", id, x.state)
	}
	if x.state == Empty {
		return id, x, true, nil
	}
	for _, t := range v.TransactionPartitions {
		for _, p := range t.PartitionIDs {
			x.partitions = append(x.partitions, TopicPartition{t.Topic, p})
		}
	}
	slices.SortFunc(x.partitions, compare)
	x.partitions = slices.Compact(x.partitions)
	return id, x, true, nil
}
