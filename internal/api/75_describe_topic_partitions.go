package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// DescribeTopicPartitions: v0
//
// Behaviour (KIP-966):
//   - Topics in name order, at most the smaller of the request's limit and max.request.partition.size.limit partitions;
//     a cursor says where the next request goes on. No topics are all topics.
//   - A partition beyond the cursor's topic's end, or a topic below it, is left out.
func (h *Handler) describeTopicPartitions(c *call, req *kmsg.DescribeTopicPartitionsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	image := h.Image()
	from, fromPartition := "", int32(0)
	if req.Cursor != nil {
		from, fromPartition = req.Cursor.Topic, req.Cursor.Partition
	}
	var names []string
	if len(req.Topics) == 0 {
		for name := range image.TopicsFrom(from) {
			names = append(names, name)
		}
		fetchAll := req.Cursor != nil && (len(names) == 0 || names[0] != from)
		if fetchAll { // the cursor's topic is gone: go on behind it, from the start of the next
			fromPartition = 0
		}
	} else {
		for _, t := range req.Topics {
			if t.Topic >= from {
				names = append(names, t.Topic)
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	limit := min(int(req.ResponsePartitionLimit), h.Settings().Int("max.request.partition.size.limit"))
	if req.ResponsePartitionLimit <= 0 {
		limit = h.Settings().Int("max.request.partition.size.limit")
	}
	for _, name := range names {
		if limit <= 0 {
			next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
			next.Topic, next.Partition = name, 0
			resp.NextCursor = &next
			break
		}
		out := kmsg.NewDescribeTopicPartitionsResponseTopic()
		out.Topic, out.IsInternal, out.AuthorizedOperations = &name, internal(name), topicOperations
		t, ok := image.Topic(name)
		if !ok {
			out.ErrorCode = kerr.UnknownTopicOrPartition.Code
			if invalidName(name) {
				out.ErrorCode = kerr.InvalidTopicException.Code
			}
			resp.Topics = append(resp.Topics, out)
			continue
		}
		out.TopicID = t.ID
		first := 0
		if name == from {
			first = int(max(fromPartition, 0))
		}
		for i := first; i < len(t.Partitions); i++ {
			if limit <= 0 {
				next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
				next.Topic, next.Partition = name, int32(i)
				resp.NextCursor = &next
				break
			}
			limit--
			out.Partitions = append(out.Partitions, describePartition(image, t.Partitions[i], int32(i), c.Conn.Listener()))
		}
		resp.Topics = append(resp.Topics, out)
		if resp.NextCursor != nil {
			break
		}
	}
	return c.reply(resp)
}

func describePartition(image *metadata.Image, p *metadata.Partition, index int32, listener string) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	out := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	out.Partition, out.LeaderID, out.LeaderEpoch, out.Replicas, out.ISR = index, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR
	// Java's client takes null for a bug, though the schema allows it.
	out.EligibleLeaderReplicas, out.LastKnownELR = append([]int32{}, p.ELR...), append([]int32{}, p.LastKnownELR...)
	out.OfflineReplicas = offline(image, p)
	if _, code := leaderEndpoint(image, p.Leader, listener); code != 0 {
		out.ErrorCode, out.LeaderID = code, -1
	}
	return out
}
