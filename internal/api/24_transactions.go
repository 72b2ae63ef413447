package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/coordinator/txn"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// AddPartitionsToTxn: v0-5
//
// Behaviour:
//   - One partition that is not there, or of an internal topic (TOPIC_AUTHORIZATION_FAILED, for clients), makes the others
//     of its transaction OPERATION_NOT_ATTEMPTED. What passes goes to the transaction's coordinator.
//
// Version notes: v4 and up come from brokers, with many transactions; each goes to its own coordinator partition.
func (h *Handler) addPartitionsToTxn(c *call, req *kmsg.AddPartitionsToTxnRequest) server.Outcome {
	if req.Version < 4 {
		codes, refused := h.refusePartitions(req.Topics, true)
		if !refused {
			return c.toTransaction(req.TransactionalID, req)
		}
		resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for i, t := range req.Topics {
			out := kmsg.NewAddPartitionsToTxnResponseTopic()
			out.Topic = t.Topic
			for j, p := range t.Partitions {
				out.Partitions = append(out.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p, ErrorCode: codes[i][j]})
			}
			resp.Topics = append(resp.Topics, out)
		}
		return c.reply(resp)
	}
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	resp.Transactions = make([]kmsg.AddPartitionsToTxnResponseTransaction, len(req.Transactions))
	var allowed []kmsg.AddPartitionsToTxnRequestTransaction
	var at []int // where they stand in the request
	for i, x := range req.Transactions {
		topics := make([]kmsg.AddPartitionsToTxnRequestTopic, len(x.Topics))
		for j, t := range x.Topics {
			topics[j] = kmsg.AddPartitionsToTxnRequestTopic{Topic: t.Topic, Partitions: t.Partitions}
		}
		codes, refused := h.refusePartitions(topics, false)
		if !refused {
			allowed, at = append(allowed, x), append(at, i)
			continue
		}
		out := &resp.Transactions[i]
		out.TransactionalID = x.TransactionalID
		for j, t := range topics {
			topic := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
			topic.Topic = t.Topic
			for k, p := range t.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{Partition: p, ErrorCode: codes[j][k]})
			}
			out.Topics = append(out.Topics, topic)
		}
	}
	return scatter(c, h.Transactions, allowed, func(x kmsg.AddPartitionsToTxnRequestTransaction) string { return x.TransactionalID },
		func(some []kmsg.AddPartitionsToTxnRequestTransaction) kmsg.Request {
			part := *req
			part.Transactions = some
			return &part
		},
		func(r *kmsg.AddPartitionsToTxnResponse) []kmsg.AddPartitionsToTxnResponseTransaction {
			return r.Transactions
		},
		func(answers []kmsg.AddPartitionsToTxnResponseTransaction) {
			for n, a := range answers {
				resp.Transactions[at[n]] = a
			}
			c.reply(resp)
		})
}

// refusePartitions gives a code for each partition, and says whether any may not take part in a transaction.
func (h *Handler) refusePartitions(topics []kmsg.AddPartitionsToTxnRequestTopic, fromClient bool) (codes [][]int16, refused bool) {
	image := h.Image()
	codes = make([][]int16, len(topics))
	for i, t := range topics {
		topic, there := image.Topic(t.Topic)
		codes[i] = make([]int16, len(t.Partitions))
		for j, p := range t.Partitions {
			codes[i][j] = kerr.OperationNotAttempted.Code
			var ok bool
			if there {
				_, ok = topic.Partition(p)
			}
			switch {
			case fromClient && internal(t.Topic):
				codes[i][j], refused = kerr.TopicAuthorizationFailed.Code, true
			case !ok:
				codes[i][j], refused = kerr.UnknownTopicOrPartition.Code, true
			}
		}
	}
	return codes, refused
}

// AddOffsetsToTxn (25): v0-4
//
// Behaviour: adds the partition of __consumer_offsets that has the group's offsets to the transaction.
func (h *Handler) addOffsetsToTxn(c *call, req *kmsg.AddOffsetsToTxnRequest) server.Outcome {
	return c.toTransaction(req.TransactionalID, txn.AddOffsets{Request: req, Partition: h.Groups.Partition(req.Group)})
}

// EndTxn (26): v0-5
//
// Behaviour: answers when it is decided, before the markers are written.
//
// Version notes: v2: PRODUCER_FENCED. v5: the epoch rises, and the answer tells it (KIP-890).
func (h *Handler) endTxn(c *call, req *kmsg.EndTxnRequest) server.Outcome {
	return c.toTransaction(req.TransactionalID, req)
}

// WriteTxnMarkers (27): v1-2
//
// Behaviour: appends markers as another node's transaction coordinator wants them, or an operator who ends a hanging
// transaction (kafka-transactions abort). Answers when all are replicated.
//
// Version notes: v2: the transaction's version (KIP-1228).
func (h *Handler) writeTxnMarkers(c *call, req *kmsg.WriteTxnMarkersRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	resp.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(req.Markers))
	left := newCountdown(len(req.Markers)+1, func() { c.reply(resp) })
	timeout := h.Settings().Duration("request.timeout.ms")
	for i := range req.Markers {
		in, out := &req.Markers[i], &resp.Markers[i]
		*out = kmsg.NewWriteTxnMarkersResponseMarker()
		out.ProducerID = in.ProducerID
		m := Marker{TransactionEnd: replica.TransactionEnd{
			ProducerID: in.ProducerID, ProducerEpoch: in.ProducerEpoch, CoordinatorEpoch: in.CoordinatorEpoch, Commit: in.Committed, Version: int16(in.TransactionVersion),
		}}
		for _, t := range in.Topics {
			topic := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			topic.Topic = t.Topic
			for _, p := range t.Partitions {
				m.Partitions = append(m.Partitions, TopicPartition{t.Topic, p})
				topic.Partitions = append(topic.Partitions, kmsg.WriteTxnMarkersResponseMarkerTopicPartition{Partition: p})
			}
			out.Topics = append(out.Topics, topic)
		}
		WriteMarker(h.Replicas, h.Groups, m, timeout, func(codes []int16) {
			for j := range out.Topics {
				for k := range out.Topics[j].Partitions {
					out.Topics[j].Partitions[k].ErrorCode, codes = codes[0], codes[1:]
				}
			}
			left.done()
		})
	}
	left.done()
	return server.Parked
}

// TxnOffsetCommit (28): v0-5
//
// Behaviour:
//   - Offsets of topics and partitions that are not there are UNKNOWN_TOPIC_OR_PARTITION; the rest goes to the group's
//     coordinator once the transaction's coordinator has confirmed that the group's partition belongs to it.
//
// Version notes: v2: COORDINATOR_LOAD_IN_PROGRESS is understood. v3: member and generation (KIP-447). v5: the partition is
// added to the transaction by this request (KIP-890).
func (h *Handler) txnOffsetCommit(c *call, req *kmsg.TxnOffsetCommitRequest) server.Outcome {
	refused, kept := h.knownOffsets(req)
	answer := func(resp *kmsg.TxnOffsetCommitResponse) {
		resp.Topics = merge(refused, resp.Topics, func(t *kmsg.TxnOffsetCommitResponseTopic) (string, *[]kmsg.TxnOffsetCommitResponseTopicPartition) {
			return t.Topic, &t.Partitions
		})
		if req.Version < 2 {
			for _, t := range resp.Topics {
				for j := range t.Partitions {
					if p := &t.Partitions[j]; p.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
						p.ErrorCode = kerr.CoordinatorNotAvailable.Code
					}
				}
			}
		}
		c.reply(resp)
	}
	if len(kept) == 0 {
		answer(req.ResponseKind().(*kmsg.TxnOffsetCommitResponse))
		return server.Done
	}
	req.Topics = kept
	cmd := machine.Command{Body: req, Client: c.client()}
	refuse := func(err error) server.Outcome {
		answer(group.Refuse(cmd, KafkaError(err)).(*kmsg.TxnOffsetCommitResponse))
		return server.Done
	}
	if req.Group == "" {
		return refuse(kerr.InvalidGroupID)
	}
	index := h.Groups.Partition(req.Group)
	p, err := h.partition(offsetsTopic, schema.ZeroUUID, index)
	if err != nil {
		return refuse(err)
	}
	one := [1]write{{partition: p, sequence: -1}}
	// Only Produce asks again after CONCURRENT_TRANSACTIONS: a client's next try of this request is cheap.
	h.verifyOnce(cmd.Client, writer{req.TransactionalID, req.ProducerID, req.ProducerEpoch, dialectOf(req.Version, 4, 5)}, one[:])
	if one[0].err != nil {
		return refuse(one[0].err)
	}
	cmd.Guard = uint64(one[0].guard)
	h.Groups.Submit(index, cmd, func(v any) { answer(v.(*kmsg.TxnOffsetCommitResponse)) })
	return server.Parked
}

// knownOffsets parts a request's offsets into answers for what is not there, and the rest.
func (h *Handler) knownOffsets(req *kmsg.TxnOffsetCommitRequest) (refused []kmsg.TxnOffsetCommitResponseTopic, kept []kmsg.TxnOffsetCommitRequestTopic) {
	image := h.Image()
	for _, t := range req.Topics {
		topic, _ := image.Topic(t.Topic)
		out := kmsg.NewTxnOffsetCommitResponseTopic()
		out.Topic = t.Topic
		known := existing(topic, t.Partitions, func(p kmsg.TxnOffsetCommitRequestTopicPartition) int32 { return p.Partition }, func(i int32) {
			out.Partitions = append(out.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: i, ErrorCode: kerr.UnknownTopicOrPartition.Code})
		})
		if len(out.Partitions) > 0 {
			refused = append(refused, out)
		}
		if t.Partitions = known; len(known) > 0 {
			kept = append(kept, t)
		}
	}
	return refused, kept
}

// DescribeTransactions (65): v0
//
// Behaviour: each id's coordinator answers for it; the answers stand in the request's order.
func (h *Handler) describeTransactions(c *call, req *kmsg.DescribeTransactionsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
	return scatter(c, h.Transactions, req.TransactionalIDs, itself,
		func(some []string) kmsg.Request {
			part := *req
			part.TransactionalIDs = some
			return &part
		},
		func(r *kmsg.DescribeTransactionsResponse) []kmsg.DescribeTransactionsResponseTransactionState {
			return r.TransactionStates
		},
		func(answers []kmsg.DescribeTransactionsResponseTransactionState) {
			resp.TransactionStates = answers
			c.reply(resp)
		})
}

// ListTransactions (66): v0-2
//
// Behaviour: every partition of __transaction_state that is led here answers for its own.
//
// Version notes: v1: filter by duration. v2: by a regular expression (KIP-1152).
func (h *Handler) listTransactions(c *call, req *kmsg.ListTransactionsRequest) server.Outcome {
	h.Transactions.Broadcast(machine.Command{Body: req, Client: c.client()}, func(values []any) { c.reply(txn.JoinLists(req, values)) })
	return server.Parked
}
