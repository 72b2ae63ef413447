package txn

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// firstBatched is the version of AddPartitionsToTxn from which on brokers send it, with many transactions.
const firstBatched = 4

// add decides whether a producer may add partitions, and writes that it did. Nil means that it may, or that they are in
// already.
//
// The checks on the producer stand in Kafka's order: while a transaction is ending nobody is looked at, since the
// producer may already use the id that it gets at the end.
func (m *Machine) add(t *turn, id string, p producer, partitions []TopicPartition, version int16) *kerr.Error {
	if id == "" {
		return kerr.InvalidRequest
	}
	e := m.ids[id]
	switch {
	case e == nil:
		return kerr.InvalidProducerIDMapping
	case e.state.preparing():
		return kerr.ConcurrentTransactions
	case e.producerID != p.id:
		return kerr.InvalidProducerIDMapping
	case e.epoch != p.epoch:
		return kerr.ProducerFenced
	case e.state == Ongoing && e.contains(partitions...):
		return nil
	case version >= 2 && t.feature < 1:
		return kerr.UnsupportedVersion // the record could not say it
	}
	m.write(t, e.added(partitions, version, t.now))
	return nil
}

// verify says for each partition whether it is in the producer's open transaction. A broker asks before it appends.
func (m *Machine) verify(id string, p producer) (*entry, *kerr.Error) {
	if id == "" {
		return nil, kerr.InvalidRequest
	}
	e := m.ids[id]
	switch {
	case e == nil || e.producerID != p.id:
		return nil, kerr.InvalidProducerIDMapping
	case e.epoch != p.epoch:
		return nil, kerr.ProducerFenced
	case e.state.preparing():
		return nil, kerr.ConcurrentTransactions
	}
	return e, nil
}

// addPartitions answers AddPartitionsToTxn (key 24, versions 0 to 5).
//
//   - Versions 0 to 3 come from clients and have one transaction. Before version 2 they are told INVALID_PRODUCER_EPOCH
//     where later ones are told PRODUCER_FENCED.
//   - Versions 4 and 5 come from brokers and have many, each with its own outcome: to add what a transactional producer of
//     transaction version 2 writes to, or only to verify what one before has added (KIP-890). A partition that is not in
//     the transaction is TRANSACTION_ABORTABLE.
func (m *Machine) addPartitions(t *turn, r *kmsg.AddPartitionsToTxnRequest) {
	answer := kmsg.NewPtrAddPartitionsToTxnResponse()
	answer.Version = r.Version
	if r.Version < firstBatched {
		code := codeOfKafka(m.add(t, r.TransactionalID, producer{r.ProducerID, r.ProducerEpoch}, partitionsOfTopics(r.Topics), 0))
		answer.Topics = addTopicsError(r, code)
		t.answer(answer)
		return
	}
	written := map[string]bool{}
	for i := range r.Transactions {
		x := &r.Transactions[i]
		p := producer{x.ProducerID, x.ProducerEpoch}
		if x.VerifyOnly {
			e, err := m.verify(x.TransactionalID, p)
			answer.Transactions = append(answer.Transactions, addResult(x, func(tp TopicPartition) int16 {
				if err == nil && !e.contains(tp) {
					return kerr.TransactionAbortable.Code
				}
				return codeOfKafka(err)
			}))
			continue
		}
		err := kerr.ConcurrentTransactions
		if !written[x.TransactionalID] { // else its first mention has a record that is not applied
			before := len(t.out.Records)
			err = m.add(t, x.TransactionalID, p, partitionsOf(x), 2)
			written[x.TransactionalID] = len(t.out.Records) > before
		}
		answer.Transactions = append(answer.Transactions, addResult(x, func(TopicPartition) int16 { return codeOfKafka(err) }))
	}
	t.answer(answer)
}

func codeOfKafka(err *kerr.Error) int16 {
	if err == nil {
		return 0
	}
	return err.Code
}

func partitionsOfTopics(topics []kmsg.AddPartitionsToTxnRequestTopic) []TopicPartition {
	var all []TopicPartition
	for _, topic := range topics {
		for _, p := range topic.Partitions {
			all = append(all, TopicPartition{topic.Topic, p})
		}
	}
	return all
}

func partitionsOf(x *kmsg.AddPartitionsToTxnRequestTransaction) []TopicPartition {
	var all []TopicPartition
	for _, topic := range x.Topics {
		for _, p := range topic.Partitions {
			all = append(all, TopicPartition{topic.Topic, p})
		}
	}
	return all
}

// addTopicsError is the answer of versions 0 to 3 with one code.
func addTopicsError(r *kmsg.AddPartitionsToTxnRequest, code int16) []kmsg.AddPartitionsToTxnResponseTopic {
	if r.Version < 2 {
		code = beforeFenced(code)
	}
	topics := make([]kmsg.AddPartitionsToTxnResponseTopic, 0, len(r.Topics))
	for _, topic := range r.Topics {
		out := kmsg.AddPartitionsToTxnResponseTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			out.Partitions = append(out.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p, ErrorCode: code})
		}
		topics = append(topics, out)
	}
	return topics
}

// addResult is the answer for one transaction from version 4 on.
func addResult(x *kmsg.AddPartitionsToTxnRequestTransaction, code func(TopicPartition) int16) kmsg.AddPartitionsToTxnResponseTransaction {
	result := kmsg.AddPartitionsToTxnResponseTransaction{TransactionalID: x.TransactionalID}
	for _, topic := range x.Topics {
		out := kmsg.AddPartitionsToTxnResponseTransactionTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			out.Partitions = append(out.Partitions, kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{
				Partition: p, ErrorCode: code(TopicPartition{topic.Topic, p})})
		}
		result.Topics = append(result.Topics, out)
	}
	return result
}

// addOffsets answers AddOffsetsToTxn (key 25, versions 0 to 4): it adds the partition that has the group's offsets.
// Producers of transaction version 2 leave it out; TxnOffsetCommit adds for them.
func (m *Machine) addOffsets(t *turn, cmd AddOffsets) {
	r := cmd.Request
	err := m.add(t, r.TransactionalID, producer{r.ProducerID, r.ProducerEpoch}, []TopicPartition{{offsetsTopic, cmd.Partition}}, 0)
	t.answer(addOffsetsError(r.Version, codeOfKafka(err)))
}

func addOffsetsError(version, code int16) *kmsg.AddOffsetsToTxnResponse {
	if version < 2 {
		code = beforeFenced(code)
	}
	answer := kmsg.NewPtrAddOffsetsToTxnResponse()
	answer.Version, answer.ErrorCode = version, code
	return answer
}
