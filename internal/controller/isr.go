package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterPartition answers AlterPartition (KIP-497, 704, 841, 903): a leader asks for another ISR. Versions below 2 name
// topics instead of ids and are not served, as in Kafka 4.
func (c *Controller) alterPartition(op *operation, req *kmsg.AlterPartitionRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
	if len(req.Topics) == 0 {
		return resp, nil // as Kafka, whoever asks
	}
	if _, err := c.checkBrokerEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return nil, err
	}
	op.split = true
	for i := range req.Topics {
		out := kmsg.NewAlterPartitionResponseTopic()
		out.TopidID = req.Topics[i].TopicID
		t := c.topicByID(req.Topics[i].TopicID)
		for j := range req.Topics[i].Partitions {
			in := &req.Topics[i].Partitions[j]
			p := kmsg.NewAlterPartitionResponseTopicPartition()
			p.Partition = in.Partition
			if t == nil {
				p.ErrorCode = kerr.UnknownTopicID.Code
			} else {
				c.alterISR(op, req, t, in, &p)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

type newISR = kmsg.AlterPartitionRequestTopicPartitionNewEpochISR

func (c *Controller) alterISR(op *operation, req *kmsg.AlterPartitionRequest, t *topic, in *kmsg.AlterPartitionRequestTopicPartition, out *kmsg.AlterPartitionResponseTopicPartition) {
	members := in.NewEpochISR
	if req.Version < 3 {
		members = nil
		for _, id := range in.NewISR {
			members = append(members, newISR{BrokerID: id, BrokerEpoch: -1})
		}
	}
	isr := make([]int32, len(members))
	for i := range members {
		isr[i] = members[i].BrokerID
	}
	now := c.partitionOf(t, in.Partition)
	if err := c.checkISR(req.BrokerID, now, in, members, isr); err != nil {
		out.ErrorCode = err.Code
		return
	}
	ch := c.change(t, partitionKey{t.ID, in.Partition}, now)
	if c.uncleanElection(t) {
		ch.election = electUnclean
	}
	ch.isr, ch.recovery = isr, in.LeaderRecoveryState
	after := now
	if r := ch.record(); r != nil {
		op.add(r)
		if r.Leader != noLeaderChange && r.Leader != req.BrokerID {
			// The new ISR completed a reassignment which takes the asking leader away. It learns from this error that
			// it must read the metadata, although its change stands.
			out.ErrorCode = kerr.NewLeaderElected.Code
			return
		}
		if next, err := now.Merge(r); err == nil {
			after = next
		}
	}
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = after.Leader, after.LeaderEpoch, after.PartitionEpoch
	out.ISR, out.LeaderRecoveryState = after.ISR, after.Recovery
}

// checkISR is every rule that a new ISR must obey, in Kafka's order: the first one broken decides the error.
func (c *Controller) checkISR(asking int32, now *partition, in *kmsg.AlterPartitionRequestTopicPartition, members []newISR, isr []int32) *kerr.Error {
	switch {
	case now == nil:
		return kerr.UnknownTopicOrPartition
	case in.LeaderEpoch > now.LeaderEpoch, in.PartitionEpoch > now.PartitionEpoch:
		// The leader has read a newer log than we wrote, so we are no longer the controller.
		return kerr.NotController
	case in.LeaderEpoch < now.LeaderEpoch:
		return kerr.FencedLeaderEpoch
	case asking != now.Leader:
		return kerr.InvalidRequest
	case in.PartitionEpoch < now.PartitionEpoch:
		return kerr.InvalidUpdateVersion
	case !validISR(now.Replicas, isr), !slices.Contains(isr, now.Leader):
		return kerr.InvalidRequest
	case in.LeaderRecoveryState != recovered && in.LeaderRecoveryState != recovering:
		return kerr.InvalidRequest
	case in.LeaderRecoveryState == recovering && (len(isr) > 1 || now.Recovery == recovered):
		return kerr.InvalidRequest
	}
	for _, m := range members {
		b := c.broker(m.BrokerID)
		if b == nil || b.Fenced || b.InControlledShutdown || m.BrokerEpoch != -1 && m.BrokerEpoch != b.Epoch {
			return kerr.IneligibleReplica
		}
	}
	return nil
}

// validISR says whether the ISR names replicas of the partition, each once.
func validISR(replicas, isr []int32) bool {
	for i, id := range isr {
		if !slices.Contains(replicas, id) || slices.Contains(isr[:i], id) {
			return false
		}
	}
	return true
}
