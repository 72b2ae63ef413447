package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// DeleteRecords: v0-2
//
// Behaviour:
//   - The log start moves to the offset, -1 for the high watermark; the answer is the new low watermark.
//   - Above the high watermark: OFFSET_OUT_OF_RANGE. Topics whose cleanup.policy lacks delete: POLICY_VIOLATION. Internal
//     topics: INVALID_TOPIC_EXCEPTION.
func (h *Handler) deleteRecords(c *call, req *kmsg.DeleteRecordsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	now := h.Now()
	for _, t := range req.Topics {
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			r := kmsg.NewDeleteRecordsResponseTopicPartition()
			low, err := h.deleteUpTo(t.Topic, in, now)
			r.Partition, r.LowWatermark, r.ErrorCode = in.Partition, low, Code(err)
			out.Partitions = append(out.Partitions, r)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return c.reply(resp)
}

func (h *Handler) deleteUpTo(topic string, in kmsg.DeleteRecordsRequestTopicPartition, now time.Time) (int64, error) {
	if internal(topic) {
		return -1, kerr.InvalidTopicException
	}
	p, err := h.partition(topic, schema.ZeroUUID, in.Partition)
	if err != nil {
		return -1, err
	}
	if !p.Deletes() {
		return -1, kerr.PolicyViolation
	}
	if in.Offset < -1 {
		return -1, &replica.OffsetOutOfRange{Offset: in.Offset}
	}
	return p.DeleteRecords(in.Offset, now)
}
