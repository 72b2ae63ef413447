package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// DescribeProducers: v0
//
// Behaviour: the producers that the partition's leader remembers, with their last sequence and open transaction (KIP-664).
func (h *Handler) describeProducers(c *call, req *kmsg.DescribeProducersRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	now := h.Now()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		for _, index := range t.Partitions {
			r := kmsg.NewDescribeProducersResponseTopicPartition()
			r.Partition = index
			p, err := h.partition(t.Topic, schema.ZeroUUID, index)
			if err == nil {
				producers, perr := p.Producers(now)
				for _, a := range producers {
					w := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
					w.ProducerID, w.ProducerEpoch, w.LastSequence, w.LastTimestamp = a.ProducerID, int32(a.Epoch), a.LastSequence, a.LastTimestamp
					w.CoordinatorEpoch, w.CurrentTxnStartOffset = a.CoordinatorEpoch, a.TxnFirst
					r.ActiveProducers = append(r.ActiveProducers, w)
				}
				err = perr
			}
			if r.ErrorCode = Code(err); err != nil {
				message := KafkaError(err).Description
				r.ErrorMessage = &message
			}
			out.Partitions = append(out.Partitions, r)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return c.reply(resp)
}
