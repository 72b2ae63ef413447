package node

import (
	"cmp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/machine"
)

// streamsConfig adds what an operator sets for streams groups.
func streamsConfig(c group.Config, v config.Values) group.Config {
	c.StreamsSessionTimeout = v.Duration("group.streams.session.timeout.ms")
	c.MinStreamsSessionTimeout = v.Duration("group.streams.min.session.timeout.ms")
	c.MaxStreamsSessionTimeout = v.Duration("group.streams.max.session.timeout.ms")
	c.StreamsHeartbeatInterval = v.Duration("group.streams.heartbeat.interval.ms")
	c.MinStreamsHeartbeatInterval = v.Duration("group.streams.min.heartbeat.interval.ms")
	c.MaxStreamsHeartbeatInterval = v.Duration("group.streams.max.heartbeat.interval.ms")
	c.StreamsAssignmentInterval = cmp.Or(v.Duration("group.streams.assignment.interval.ms"), -1)
	c.MinStreamsAssignmentInterval = v.Duration("group.streams.min.assignment.interval.ms")
	c.MaxStreamsAssignmentInterval = v.Duration("group.streams.max.assignment.interval.ms")
	c.StreamsInitialRebalanceDelay = v.Duration("group.streams.initial.rebalance.delay.ms")
	c.StreamsMaxSize = v.Int("group.streams.max.size")
	c.StreamsStandbyReplicas = v.Int("group.streams.num.standby.replicas")
	c.StreamsMaxStandbyReplicas = cmp.Or(v.Int("group.streams.max.standby.replicas"), -1)
	return c
}

// createInternalTopics lets the controller create internal topics of a streams application, and tells the coordinator.
func (n *Node) createInternalTopics(partition int32, e group.CreateInternalTopics) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = int32(n.settings().Duration("request.timeout.ms").Milliseconds())
	req.Topics = e.Topics
	n.quorum.Request(e.Client, req, func(resp kmsg.Response) {
		done := group.InternalTopicsCreated{Backoff: e.Backoff}
		r, _ := resp.(*kmsg.CreateTopicsResponse)
		for i := range e.Topics {
			topic := group.InternalTopic{Name: e.Topics[i].Topic, Error: kerr.UnknownServerError.Message}
			if r != nil {
				topic.Error = creationError(r, topic.Name)
			}
			done.Topics = append(done.Topics, topic)
		}
		n.groups.Submit(partition, machine.Command{Body: done}, nil)
	})
}

// creationError is what is told of a topic; nothing if it is there, whoever made it.
func creationError(r *kmsg.CreateTopicsResponse, name string) string {
	for i := range r.Topics {
		t := &r.Topics[i]
		if t.Topic != name {
			continue
		}
		switch {
		case t.ErrorCode == 0, t.ErrorCode == kerr.TopicAlreadyExists.Code:
			return ""
		case t.ErrorMessage != nil && *t.ErrorMessage != "":
			return *t.ErrorMessage
		}
		return kerr.ErrorForCode(t.ErrorCode).Error()
	}
	return kerr.UnknownServerError.Message
}
