package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// alterPartitionReassignments answers AlterPartitionReassignments (KIP-455, KIP-860). A reassignment adds the new
// replicas first; AlterPartition takes the old ones out when the new ones are in the ISR (see change). Where nothing
// has to be waited for, it is over at once. A null list of replicas takes a reassignment back.
func (c *Controller) alterPartitionReassignments(op *operation, req *kmsg.AlterPartitionAssignmentsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange || req.Version < 1
	for i := range req.Topics {
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = req.Topics[i].Topic
		for j := range req.Topics[i].Partitions {
			target := &req.Topics[i].Partitions[j]
			r, err := c.reassign(out.Topic, target, resp.AllowReplicationFactorChange)
			if r != nil {
				op.add(r)
			}
			if len(op.records) > MaxRecordsPerOperation {
				return nil, excessive()
			}
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition = target.Partition
			p.ErrorCode, p.ErrorMessage = codeOf(err)
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

func (c *Controller) reassign(name string, target *kmsg.AlterPartitionAssignmentsRequestTopicPartition, allowFactorChange bool) (*schema.PartitionChange, error) {
	t := c.topic(name)
	if t == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find a topic named %s.", name)
	}
	p := c.partitionOf(t, target.Partition)
	if p == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find partition %s:%d.", name, target.Partition)
	}
	ch := c.change(t, partitionKey{t.ID, target.Partition}, p)
	if target.Replicas == nil {
		return c.cancelReassignment(t, ch)
	}
	if err := c.checkAssignment(target.Replicas, -1); err != nil {
		return nil, err
	}
	if have := targetFactor(p); !allowFactorChange && have != len(target.Replicas) {
		return nil, refuse(kerr.InvalidReplicationFactor, "The replication factor is changed from %d to %d", have, len(target.Replicas))
	}
	removing, adding := without(p.Replicas, target.Replicas), without(target.Replicas, p.Replicas)
	slices.Sort(removing)
	slices.Sort(adding)
	ch.replicas = slices.Concat(target.Replicas, removing)
	if len(removing) > 0 {
		ch.removing = removing
	}
	if len(adding) > 0 {
		ch.adding = adding
	}
	return ch.record(), nil
}

// targetFactor is the replication factor that a partition has, or will have after its reassignment.
func targetFactor(p *partition) int {
	return len(without(p.Replicas, p.Removing))
}

// cancelReassignment gives a partition the replicas back that it had, without those that were being added. If none of
// the old ones is in the ISR, the first becomes the ISR: that is an unclean election.
func (c *Controller) cancelReassignment(t *topic, ch *change) (*schema.PartitionChange, error) {
	if !isReassigning(ch.now) {
		return nil, bare(kerr.NoReassignmentInProgress)
	}
	ch.replicas, ch.isr = without(ch.now.Replicas, ch.now.Adding), without(ch.now.ISR, ch.now.Adding)
	ch.adding, ch.removing = []int32{}, []int32{}
	if len(ch.replicas) == 0 {
		return nil, refuse(kerr.InvalidReplicaAssignment, "Invalid replica assignment: addingReplicas contains all replicas.")
	}
	unclean := c.uncleanElection(t)
	if len(ch.isr) == 0 {
		if !unclean {
			return nil, refuse(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because it would require "+
				"an unclean leader election.", t.Name, ch.partition)
		}
		ch.isr = ch.replicas[:1]
	}
	if unclean {
		ch.election = electUnclean
	}
	return ch.record(), nil
}

// listPartitionReassignments answers ListPartitionReassignments (KIP-455).
func (c *Controller) listPartitionReassignments(req *kmsg.ListPartitionReassignmentsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	list := func(t *topic, ids []int32) {
		out := kmsg.NewListPartitionReassignmentsResponseTopic()
		out.Topic = t.Name
		for _, id := range ids {
			if p := c.partitionOf(t, id); p != nil && isReassigning(p) {
				out.Partitions = append(out.Partitions, kmsg.ListPartitionReassignmentsResponseTopicPartition{
					Partition: id, Replicas: p.Replicas, AddingReplicas: p.Adding, RemovingReplicas: p.Removing})
			}
		}
		if len(out.Partitions) > 0 {
			resp.Topics = append(resp.Topics, out)
		}
	}
	if req.Topics != nil {
		for i := range req.Topics {
			if t := c.topic(req.Topics[i].Topic); t != nil {
				list(t, req.Topics[i].Partitions)
			}
		}
		return resp, nil
	}
	var ids []int32
	all := keys(c.state.index.reassigning)
	for i, key := range all {
		ids = append(ids, key.partition)
		if i+1 == len(all) || all[i+1].topic != key.topic {
			list(c.topicByID(key.topic), ids)
			ids = nil
		}
	}
	return resp, nil
}
