package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// DescribeShareGroupOffsets: v0-1
//
// Behaviour:
//   - The share coordinators say where the share partitions start; null topics stand for all that the group's coordinator
//     knows to be initialized.
//   - What is not there has the start offset -1, without an error: it is the absence of an offset.
//   - Without the feature share.version: UNSUPPORTED_VERSION for each group.
//
// Version notes: v1: the lag, which is what lies between start and high watermark and is not done yet (KIP-1226).
// See KIP-932.
func (h *Handler) describeShareGroupOffsets(c *call, req *kmsg.DescribeShareGroupOffsetsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeShareGroupOffsetsResponse)
	if len(req.Groups) == 0 {
		return c.reply(resp)
	}
	resp.Groups = make([]kmsg.DescribeShareGroupOffsetsResponseGroup, len(req.Groups))
	all := newCountdown(len(req.Groups), func() { c.reply(resp) })
	client := c.client()
	for i := range req.Groups {
		in, out := &req.Groups[i], &resp.Groups[i]
		out.GroupID = in.GroupID
		switch {
		case !h.sharing():
			out.ErrorCode = kerr.UnsupportedVersion.Code
			all.done()
		case in.Topics == nil:
			ask := machine.Command{Body: group.SharePartitions{Group: in.GroupID}, Client: client}
			h.Groups.Submit(h.Groups.Partition(in.GroupID), ask, func(v any) {
				answer := v.(group.SharePartitionsAnswer)
				if answer.Code != 0 {
					text := kerr.ErrorForCode(answer.Code).Error()
					out.ErrorCode, out.ErrorMessage = answer.Code, &text
				}
				h.shareOffsets(out, answer.Topics, all.done)
			})
		default:
			h.shareOffsets(out, h.shareTopics(in.Topics), all.done)
		}
	}
	return server.Parked
}

// shareTopics are the topics of a request with their ids; a topic that is not there has none.
func (h *Handler) shareTopics(in []kmsg.DescribeShareGroupOffsetsRequestGroupTopic) []schema.ShareTopicPartitions {
	image := h.Image()
	out := make([]schema.ShareTopicPartitions, len(in))
	for i := range in {
		out[i].TopicName, out[i].Partitions = in[i].Topic, in[i].Partitions
		if t, ok := image.Topic(in[i].Topic); ok {
			out[i].TopicID = t.ID
		}
	}
	return out
}

// shareOffsets fills in a group, and calls done when that is whole.
func (h *Handler) shareOffsets(out *kmsg.DescribeShareGroupOffsetsResponseGroup, topics []schema.ShareTopicPartitions, done func()) {
	n := 1
	for _, t := range topics {
		n += len(t.Partitions)
	}
	all := newCountdown(n, done)
	out.Topics = make([]kmsg.DescribeShareGroupOffsetsResponseGroupTopic, len(topics))
	for i, t := range topics {
		to := &out.Topics[i]
		to.Topic, to.TopicID = t.TopicName, t.TopicID
		to.Partitions = make([]kmsg.DescribeShareGroupOffsetsResponseGroupTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			po := &to.Partitions[j]
			*po = kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
			po.Partition, po.StartOffset, po.Lag = p, -1, -1
			if t.TopicID == schema.ZeroUUID {
				all.done()
				continue
			}
			req := kmsg.NewPtrReadShareGroupStateSummaryRequest()
			req.Version, req.GroupID = 1, out.GroupID
			req.Topics = []kmsg.ReadShareGroupStateSummaryRequestTopic{{
				TopicID: t.TopicID, Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: p}},
			}}
			h.ShareState(req, func(r kmsg.Response) {
				h.shareOffset(po, t.TopicName, r.(*kmsg.ReadShareGroupStateSummaryResponse))
				all.done()
			})
		}
	}
	all.done() // one for the list itself: it may be empty
}

// shareOffset fills in one share partition.
func (h *Handler) shareOffset(out *kmsg.DescribeShareGroupOffsetsResponseGroupTopicPartition, topic string, r *kmsg.ReadShareGroupStateSummaryResponse) {
	s := &r.Topics[0].Partitions[0]
	if s.ErrorCode != 0 {
		return
	}
	if s.StartOffset == -1 || s.DeliveryCompleteCount == -1 {
		out.StartOffset, out.LeaderEpoch = s.StartOffset, s.LeaderEpoch
		return
	}
	p, err := h.partition(topic, schema.ZeroUUID, out.Partition)
	if err == nil {
		end, _, failed := p.OffsetFor(replica.LatestTimestamp, replica.Uncommitted, -1)
		if err = failed; err == nil {
			out.StartOffset, out.LeaderEpoch, out.Lag = s.StartOffset, s.LeaderEpoch, end.Offset-s.StartOffset-int64(s.DeliveryCompleteCount)
			return
		}
	}
	text := err.Error()
	out.StartOffset, out.ErrorCode, out.ErrorMessage = 0, Code(err), &text
}

// AlterShareGroupOffsets (91): v0
//
// Behaviour: the group's coordinator answers when the share coordinators have begun the share partitions anew; package
// coordinator/group says how. Without the feature share.version: UNSUPPORTED_VERSION.
// See KIP-932.
func (h *Handler) alterShareGroupOffsets(c *call, req *kmsg.AlterShareGroupOffsetsRequest) server.Outcome {
	if !h.sharing() {
		resp := req.ResponseKind().(*kmsg.AlterShareGroupOffsetsResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return c.reply(resp)
	}
	return c.toGroup(req.GroupID, req)
}

// DeleteShareGroupOffsets (92): v0
//
// Behaviour: the group's coordinator answers when the share coordinators have forgotten the topics; package
// coordinator/group says how. Without the feature share.version: UNSUPPORTED_VERSION.
// See KIP-932.
func (h *Handler) deleteShareGroupOffsets(c *call, req *kmsg.DeleteShareGroupOffsetsRequest) server.Outcome {
	if !h.sharing() {
		resp := req.ResponseKind().(*kmsg.DeleteShareGroupOffsetsResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return c.reply(resp)
	}
	return c.toGroup(req.GroupID, req)
}
