package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/server"
)

// toTransaction gives a command for one transactional id to its coordinator.
func (c *call) toTransaction(id string, body any) server.Outcome {
	t := c.h.Transactions
	t.Submit(t.Partition(id), machine.Command{Body: body, Client: c.client()}, func(v any) { c.reply(v.(kmsg.Response)) })
	return server.Parked
}

// dialect is how much a producer knows of transactions: it follows from the version of its Produce or TxnOffsetCommit.
type dialect int8

const (
	errorsOld    dialect = iota // before TRANSACTION_ABORTABLE (KIP-890, first part)
	errorsNew                   // knows it
	addsImplicit                // transaction version 2: a write adds its partition to the transaction
)

func dialectOf(version, abortable, implicit int16) dialect {
	switch {
	case version >= implicit:
		return addsImplicit
	case version >= abortable:
		return errorsNew
	}
	return errorsOld
}

// writer is a transactional producer as its request shows it.
type writer struct {
	transactionalID string
	producerID      int64
	epoch           int16
	dialect         dialect
}

// write is one partition that a transactional request writes to, and what its coordinator and its log say to that.
type write struct {
	partition *replica.Partition
	sequence  int32 // of the batch, -1 for offsets
	guard     replica.Guard
	err       error
}

// verify fills in guards and errors of writes: a partition in which the producer's transaction is not open yet must belong
// to it, which only its coordinator knows (KIP-890; DETAILS 35). It waits for the coordinator.
func (h *Handler) verify(client machine.Client, w writer, writes []write) {
	implicit := w.dialect == addsImplicit
	s := h.Settings()
	if !implicit && !s.Bool("transaction.partition.verification.enable") {
		return
	}
	// An end of a transaction that the producer did not wait for is soon over: asking here again is cheaper than sending the
	// whole request again.
	until := h.Now().Add(min(s.Duration("add.partitions.to.txn.retry.backoff.max.ms"), s.Duration("request.timeout.ms")))
	longest := s.Duration("add.partitions.to.txn.retry.backoff.ms")
	for d := time.Millisecond; h.verifyOnce(client, w, writes) && implicit && h.Now().Before(until); d = min(2*d, longest) {
		pause(d) // markers take less than Kafka's 20 ms, mostly
	}
}

// verifyOnce says whether the coordinator answered CONCURRENT_TRANSACTIONS.
func (h *Handler) verifyOnce(client machine.Client, w writer, writes []write) (concurrent bool) {
	x := kmsg.NewAddPartitionsToTxnRequestTransaction()
	x.TransactionalID, x.ProducerID, x.ProducerEpoch, x.VerifyOnly = w.transactionalID, w.producerID, w.epoch, w.dialect != addsImplicit
	var asked []*write
	for i := range writes {
		o := &writes[i]
		if o.partition == nil {
			continue
		}
		if o.guard, o.err = o.partition.StartVerification(w.producerID, o.sequence, w.epoch, w.dialect == addsImplicit); o.err != nil || o.guard == 0 {
			continue
		}
		asked = append(asked, o)
		t := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		t.Topic, t.Partitions = o.partition.Topic, []int32{o.partition.Index}
		x.Topics = append(x.Topics, t)
	}
	if len(asked) == 0 {
		return false
	}
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.Transactions = 5, []kmsg.AddPartitionsToTxnRequestTransaction{x}
	answer := make(chan *kmsg.AddPartitionsToTxnResponse, 1)
	h.Transactions.Submit(h.Transactions.Partition(w.transactionalID), machine.Command{Body: req, Client: client}, func(v any) {
		answer <- v.(*kmsg.AddPartitionsToTxnResponse)
	})
	resp := <-answer
	for i, o := range asked {
		code := kerr.CoordinatorNotAvailable.Code
		if len(resp.Transactions) == 1 && i < len(resp.Transactions[0].Topics) && len(resp.Transactions[0].Topics[i].Partitions) == 1 {
			code = resp.Transactions[0].Topics[i].Partitions[0].ErrorCode
		}
		concurrent = concurrent || code == kerr.ConcurrentTransactions.Code
		o.err = w.translate(code)
	}
	return concurrent
}

// translate is the error that producers expect for one of the coordinator's.
func (w writer) translate(code int16) error {
	switch {
	case code == 0:
		return nil
	case code == kerr.ProducerFenced.Code:
		return kerr.InvalidProducerEpoch
	case code == kerr.TransactionAbortable.Code && w.dialect == errorsOld:
		return kerr.InvalidTxnState
	}
	return kerr.ErrorForCode(code)
}

// unverified is an error with the words that Kafka has for it in a Produce response.
type unverified struct {
	kafka   *kerr.Error
	message string
}

func (e *unverified) Error() string { return e.message }
func (e *unverified) Unwrap() error { return e.kafka }

// produceError is what Produce answers for an error of verify. Producers may not know that they are to come again after
// a coordinator's errors; NOT_ENOUGH_REPLICAS they know.
func (w writer) produceError(err error) error {
	const again = "Unable to verify the partition has been added to the transaction. Underlying error: "
	switch err {
	case kerr.InvalidTxnState:
		return &unverified{kerr.InvalidTxnState, "Partition was not added to the transaction"}
	case kerr.NetworkException, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator:
		return &unverified{kerr.NotEnoughReplicas, again + err.(*kerr.Error).Message}
	case kerr.ConcurrentTransactions:
		if w.dialect != addsImplicit {
			return &unverified{kerr.NotEnoughReplicas, again + kerr.ConcurrentTransactions.Message}
		}
	}
	return err
}

// transactional looks for transactional batches in a Produce request. It gives one write for each partition, in order,
// without a replica where the batch is not transactional. An error is one of the whole request.
func (h *Handler) transactional(req *kmsg.ProduceRequest) (writer, []write, error) {
	w := writer{producerID: -1, dialect: dialectOf(req.Version, 11, 12)}
	var writes []write
	n := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			in := &t.Partitions[j]
			b, _, err := record.Next(in.Records)
			if err != nil || !b.Transactional() || !b.HasProducerID() { // what is wrong with it is told later
				n++
				continue
			}
			if req.TransactionID == nil {
				return w, nil, kerr.TransactionalIDAuthorizationFailed
			}
			if writes == nil {
				writes = make([]write, countPartitions(req))
				w.transactionalID, w.producerID, w.epoch = *req.TransactionID, b.ProducerID(), b.ProducerEpoch()
			} else if w.producerID != b.ProducerID() || w.epoch != b.ProducerEpoch() {
				return w, nil, &unverified{kerr.InvalidProducerIDMapping, "Transactional records contained more than one producer ID"}
			}
			if p, err := h.partition(t.Topic, t.TopicID, in.Partition); err == nil {
				writes[n].partition, writes[n].sequence = p, b.BaseSequence()
			}
			n++
		}
	}
	return w, writes, nil
}

func countPartitions(req *kmsg.ProduceRequest) (n int) {
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	return n
}

// Marker ends a producer's transaction in some partitions.
type Marker struct {
	replica.TransactionEnd
	Partitions []TopicPartition
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic string
	Index int32
}

// WriteMarker writes a marker to partitions that this node leads. done gets a Kafka error code for each, in order, on any
// goroutine, once nothing of it is under way any more; it may run before WriteMarker returns.
//
// Markers on __consumer_offsets go through the group coordinators' shards, whose machines must hear of them in the log's
// order.
func WriteMarker(replicas *replica.Set, groups Groups, m Marker, timeout time.Duration, done func(codes []int16)) {
	codes := make([]int16, len(m.Partitions))
	var waits []*replica.Waiting
	var at []int // of waits in codes
	var offsets []int
	for i, p := range m.Partitions {
		if p.Topic == offsetsTopic {
			offsets = append(offsets, i)
			continue
		}
		r, err := replicas.Named(p.Topic, p.Index)
		if err == nil {
			var next int64
			if next, err = r.EndTransaction(m.TransactionEnd); err == nil {
				waits, at = append(waits, &replica.Waiting{Partition: r, Offset: next}), append(at, i)
			}
		}
		codes[i] = Code(err)
	}
	all := newCountdown(len(offsets)+1, func() { done(codes) })
	for _, i := range offsets {
		body := machine.Marker{
			Producer: machine.Producer{ID: m.ProducerID, Epoch: m.ProducerEpoch, Transactional: true}, Commit: m.Commit,
			CoordinatorEpoch: m.CoordinatorEpoch, TransactionVersion: m.Version,
		}
		groups.Submit(m.Partitions[i].Index, machine.Command{Body: body}, func(v any) {
			err, _ := v.(error)
			codes[i] = Code(err)
			switch codes[i] { // what the transaction coordinator does not expect of a leader
			case kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
				codes[i] = kerr.NotLeaderForPartition.Code
			}
			all.done()
		})
	}
	replicas.Await(waits, timeout, func() {
		for n, w := range waits {
			codes[at[n]] = Code(w.Err)
		}
		all.done()
	})
}

// Groups takes commands to the shards of __consumer_offsets.
type Groups interface {
	Submit(partition int32, cmd machine.Command, reply func(value any))
}
