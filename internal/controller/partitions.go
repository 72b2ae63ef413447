package controller

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// createPartitions answers CreatePartitions (KIP-195): topics grow, with the replication factor of their first
// partition.
func (c *Controller) createPartitions(op *operation, req *kmsg.CreatePartitionsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	count := map[string]int{}
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	result := func(name string, err error) {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = name
		t.ErrorCode, t.ErrorMessage = codeOf(err)
		resp.Topics = append(resp.Topics, t)
	}
	for i := range req.Topics {
		if name := req.Topics[i].Topic; count[name] > 1 {
			result(name, refuse(kerr.InvalidRequest, "Duplicate topic name."))
			count[name] = 0
		}
	}
	for i := range req.Topics {
		if t := &req.Topics[i]; count[t.Topic] == 1 {
			records, err := c.growTopic(op, t)
			if err == nil && len(op.records)+len(records) > MaxRecordsPerOperation {
				return nil, excessive()
			}
			if err == nil {
				op.add(records...)
			}
			result(t.Topic, err)
		}
	}
	if req.ValidateOnly {
		op.records = nil
	}
	return resp, nil
}

func (c *Controller) growTopic(op *operation, in *kmsg.CreatePartitionsRequestTopic) ([]schema.Record, error) {
	t := c.topic(in.Topic)
	if t == nil {
		return nil, bare(kerr.UnknownTopicOrPartition)
	}
	have := int32(len(t.Partitions))
	more := in.Count - have
	switch {
	case in.Count == have:
		return nil, refuse(kerr.InvalidPartitions, "Topic already has %d partition(s).", have)
	case in.Count < have:
		return nil, refuse(kerr.InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", in.Topic, have, in.Count)
	case in.Assignment != nil && len(in.Assignment) != int(more):
		return nil, refuse(kerr.InvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", more, len(in.Assignment))
	case more > MaxRecordsPerOperation:
		return nil, excessive()
	}
	factor := int16(1)
	if first := c.partitionOf(t, 0); first != nil {
		factor = int16(len(first.Replicas))
	}
	parts := make([]newPartition, more)
	if in.Assignment != nil {
		for i := range parts {
			p, err := c.manualPartition(in.Assignment[i].Replicas, int(factor), have+int32(i))
			if err != nil {
				return nil, err
			}
			parts[i] = p
		}
	} else {
		placements, err := place(op.Rand, c.usableBrokers(), int(more), factor)
		if err != nil {
			return nil, err
		}
		for i, replicas := range placements {
			parts[i] = newPartition{replicas, c.activeOf(replicas), c.defaultDirectories(replicas)}
			if len(parts[i].isr) == 0 {
				return nil, refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): All brokers are currently fenced or in controlled shutdown.", factor)
			}
		}
	}
	records := make([]schema.Record, len(parts))
	for i := range parts {
		records[i] = parts[i].record(t.ID, have+int32(i))
	}
	return records, nil
}
