package api

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// Produce: v3-13
//
// Behaviour:
//   - Each partition's one batch is validated and appended for itself; one's error is not another's.
//   - acks=0 has no answer; any error then closes the connection, which is all that the client can notice (DETAILS 2).
//   - acks=1 answers after the local append, acks=-1 when the high watermark has passed the batch or the request's
//     timeout is over. A duplicate of a recent batch gets its first answer again, and waits like it (DETAILS 5).
//   - Any other acks is INVALID_REQUIRED_ACKS for every partition.
//   - Clients may not write to the internal topics.
//   - A batch of a transaction that is not open in its partition yet waits for the transaction's coordinator (KIP-890).
//     Without a transactional id in the request it is TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
//
// Version notes:
//   - v5: log start offset. v7: zstd is allowed. v8: errors of single records and a message (KIP-467).
//   - v10: hints of the current leader (KIP-951). v12: transactions with implicit partitions (KIP-890). v13: topic ids.
func (h *Handler) produce(c *call, req *kmsg.ProduceRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	producer, writes, refused := h.transactional(req)
	if writes != nil {
		h.verify(c.client(), producer, writes)
	}
	n := 0 // partitions so far
	defer func() {
		if c.news.Any() {
			c.Then(c.news.Tell)
		}
	}()
	o := replica.ProduceOptions{Acks: req.Acks, Version: req.Version, Now: h.Now(), News: &c.news}
	var waits []*replica.Waiting
	var answers []*kmsg.ProduceResponseTopicPartition // of waits
	failed := false
	for i := range req.Topics {
		t := &req.Topics[i]
		out := &resp.Topics[i]
		out.Topic, out.TopicID = t.Topic, t.TopicID
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			in, answer := &t.Partitions[j], &out.Partitions[j]
			*answer = kmsg.NewProduceResponseTopicPartition()
			answer.Partition, answer.BaseOffset = in.Partition, -1
			var p *replica.Partition
			var a appended
			err := refused
			if o.Guard = 0; writes != nil && err == nil {
				o.Guard, err = writes[n].guard, producer.produceError(writes[n].err)
			}
			if n++; err == nil {
				p, a, err = h.produceTo(c, req, t, in, o)
			}
			if err != nil {
				failed = true
				h.produceError(answer, resp, p, err)
				continue
			}
			answer.BaseOffset, answer.LogAppendTime, answer.LogStartOffset = a.first, a.appendTime, a.logStart
			if req.Acks == -1 && !p.Replicated(a.next) {
				waits = append(waits, &replica.Waiting{Partition: p, Offset: a.next})
				answers = append(answers, answer)
			}
		}
	}
	if req.Acks == 0 {
		if failed {
			c.Close(errors.New("api: a produce request with acks=0 failed"))
		} else {
			c.NoReply()
		}
		return server.Done
	}
	if len(waits) == 0 {
		return c.reply(resp)
	}
	done := func() {
		for i, w := range waits {
			if w.Err != nil {
				*answers[i] = kmsg.ProduceResponseTopicPartition{Partition: answers[i].Partition, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, CurrentLeader: kmsg.NewProduceResponseTopicPartitionCurrentLeader()}
				h.produceError(answers[i], resp, w.Partition, w.Err)
			}
		}
		c.reply(resp)
	}
	timeout := time.Duration(req.TimeoutMillis) * time.Millisecond
	c.Release()
	if h.Replicas.Await(waits, timeout, done) {
		return server.Done
	}
	return server.Parked
}

// appended is what an answer tells of an append.
type appended struct{ first, next, appendTime, logStart int64 }

func (h *Handler) produceTo(c *call, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, in *kmsg.ProduceRequestTopicPartition, o replica.ProduceOptions) (*replica.Partition, appended, error) {
	if req.Acks < -1 || req.Acks > 1 {
		return nil, appended{}, kerr.InvalidRequiredAcks
	}
	p, err := h.partition(t.Topic, t.TopicID, in.Partition)
	if err != nil {
		return p, appended{}, err
	}
	if internal(p.Topic) && (c.Header.ClientID == nil || *c.Header.ClientID != adminClient) {
		return p, appended{}, kerr.InvalidTopicException
	}
	a, err := p.Produce(in.Records, o)
	return p, appended{a.FirstOffset, a.LastOffset + 1, a.LogAppendTime, a.LogStart}, err
}

// produceError fills in what KIP-467 and KIP-951 tell beside the code.
func (h *Handler) produceError(answer *kmsg.ProduceResponseTopicPartition, resp *kmsg.ProduceResponse, p *replica.Partition, err error) {
	answer.ErrorCode = Code(err)
	answer.BaseOffset, answer.LogAppendTime, answer.LogStartOffset = -1, -1, -1
	if answer.ErrorCode == kerr.UnknownServerError.Code {
		h.Logger.Error("produce failed", "error", err)
	}
	var invalid *record.Invalid
	if errors.As(err, &invalid) && len(invalid.Records) > 0 { // as Kafka: a message only where records are named
		answer.ErrorMessage = &invalid.Message
		for _, r := range invalid.Records {
			answer.ErrorRecords = append(answer.ErrorRecords, kmsg.ProduceResponseTopicPartitionErrorRecord{RelativeOffset: r.Index, ErrorMessage: &r.Message})
		}
	}
	var pending *unverified
	if errors.As(err, &pending) {
		answer.ErrorMessage = &pending.message
	}
	if p == nil || answer.ErrorCode != kerr.NotLeaderForPartition.Code {
		return
	}
	leader, epoch := p.LeaderAndEpoch()
	answer.CurrentLeader.LeaderID, answer.CurrentLeader.LeaderEpoch = leader, epoch
	for i := range resp.Brokers {
		if resp.Brokers[i].NodeID == leader {
			return
		}
	}
	if b, ok := h.Image().Broker(leader); ok && len(b.Endpoints) > 0 {
		e := b.Endpoints[0]
		resp.Brokers = append(resp.Brokers, kmsg.ProduceResponseBroker{NodeID: leader, Host: e.Host, Port: int32(e.Port), Rack: b.Rack})
	}
}

// partition finds a replica by the name or the id that a request has. What the metadata knows and this node does not
// hold is led elsewhere.
func (h *Handler) partition(topic string, id schema.UUID, index int32) (*replica.Partition, error) {
	var p *replica.Partition
	var err error
	if id != schema.ZeroUUID {
		p, err = h.Replicas.Identified(id, index)
	} else {
		p, err = h.Replicas.Named(topic, index)
	}
	if err == nil {
		return p, nil
	}
	image := h.Image()
	t, ok := image.TopicByID(id)
	if id == schema.ZeroUUID {
		t, ok = image.Topic(topic)
	}
	if ok {
		if m, ok := t.Partition(index); ok {
			return nil, &replica.NotLeader{Leader: m.Leader, Epoch: m.LeaderEpoch}
		}
		return nil, replica.ErrUnknownPartition
	}
	return nil, err
}

// adminClient is the client id that Kafka lets write to internal topics.
const adminClient = "__admin_client"

// internal says whether a topic is one of Kafka's own.
func internal(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state" || topic == "__share_group_state"
}
