package node

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/api"
	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/coordinator/txn"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/replica"
)

const transactionsTopic = "__transaction_state"

// transactionHost makes the host of the transaction coordinators.
func (n *Node) transactionHost() *coordinator.Host {
	v := n.settings()
	return coordinator.New(coordinator.Config{
		Topic: transactionsTopic, Log: n.replicas, Image: n.image, Codecs: n.codecs, Now: n.o.Now, Logger: n.o.Logger,
		NewMachine:     func(int32) machine.Machine[machine.Record] { return txn.New(transactionConfig(v)) },
		PartitionCount: int32(v.Int("transaction.state.log.num.partitions")),
		KafkaError:     func(err error) error { return api.KafkaError(err) },
		LoadBuffer:     v.Int("transaction.state.log.load.buffer.size"),
		CommitTimeout:  v.Duration("request.timeout.ms"), // as Kafka: what was written may still be committed
		OnEffect:       n.transactionEffect,
	})
}

func transactionConfig(v config.Values) txn.Config {
	return txn.Config{
		MaxTimeout: v.Duration("transaction.max.timeout.ms"), Expiration: v.Duration("transactional.id.expiration.ms"),
		AbortInterval:      v.Duration("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		ExpirationInterval: v.Duration("transaction.remove.expired.transaction.cleanup.interval.ms"),
	}
}

// transactionEffect does what a transaction coordinator wants done, and tells it. All partitions are led by this node.
func (n *Node) transactionEffect(partition int32, effect any) {
	tell := func(body any) { n.transactions.Submit(partition, machine.Command{Body: body}, nil) }
	switch e := effect.(type) {
	case txn.WriteMarkers:
		n.tasks.do(func() {
			m := api.Marker{TransactionEnd: replica.TransactionEnd{
				ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch, CoordinatorEpoch: e.CoordinatorEpoch, Commit: e.Commit, Version: e.TransactionVersion,
			}}
			for _, p := range e.Partitions {
				m.Partitions = append(m.Partitions, api.TopicPartition{Topic: p.Topic, Index: p.Partition})
			}
			api.WriteMarker(n.replicas, n.groups, m, n.settings().Duration("request.timeout.ms"), func(codes []int16) {
				tell(txn.MarkersWritten{
					TransactionalID: e.TransactionalID, ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch, CoordinatorEpoch: e.CoordinatorEpoch,
					Partitions: e.Partitions, Errors: codes,
				})
			})
		})
	case txn.NeedProducerID:
		n.tasks.do(func() {
			n.producerIDs.Next(machine.Client{}, func(id int64, err *kerr.Error) {
				if err == nil { // else the client asks again, and with it the coordinator
					tell(txn.ProducerID{ID: id})
				}
			})
		})
	}
}
