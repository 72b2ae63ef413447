package node

import (
	"cmp"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/api"
	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/coordinator/share"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
)

const shareStateTopic = "__share_group_state"

// shareHost makes the host of the share coordinators.
func (n *Node) shareHost() *coordinator.Host {
	v := n.settings()
	return coordinator.New(coordinator.Config{
		Topic: shareStateTopic, Log: n.replicas, Image: n.image, Codecs: n.codecs, Now: n.o.Now, Logger: n.o.Logger,
		NewMachine:     func(int32) machine.Machine[machine.Record] { return share.New(shareConfig(v)) },
		PartitionCount: int32(v.Int("share.coordinator.state.topic.num.partitions")),
		KafkaError:     func(err error) error { return api.KafkaError(err) },
		LoadBuffer:     v.Int("share.coordinator.load.buffer.size"),
		CommitTimeout:  v.Duration("share.coordinator.write.timeout.ms"),
		Codec:          record.Codec(v.Int("share.coordinator.state.topic.compression.codec")),
		ImageCommand:   share.ImageCommand,
		OnEffect:       n.shareEffect,
	})
}

func shareConfig(v config.Values) share.Config {
	c := share.Config{
		UpdatesPerSnapshot: v.Int("share.coordinator.snapshot.update.records.per.snapshot"),
		ColdInterval:       v.Duration("share.coordinator.cold.partition.snapshot.interval.ms"),
		PruneInterval:      v.Duration("share.coordinator.state.topic.prune.interval.ms"),
	}
	if c.UpdatesPerSnapshot == 0 {
		c.UpdatesPerSnapshot = -1
	}
	return c
}

// shareEffect does what a share coordinator wants done, and tells it.
func (n *Node) shareEffect(partition int32, effect any) {
	e, ok := effect.(share.DeleteRecords)
	if !ok {
		return
	}
	n.tasks.do(func() {
		p, err := n.replicas.Named(shareStateTopic, partition)
		if err == nil {
			_, err = p.DeleteRecords(e.Offset, n.o.Now())
		}
		if err != nil { // the coordinator asks again
			n.o.Logger.Warn("records of share state that nobody needs were not deleted", "partition", partition, "below", e.Offset, "error", err)
			return
		}
		n.shares.Submit(partition, machine.Command{Body: share.Pruned(e)}, nil)
	})
}

// persister keeps the state of share partitions for their leaders.
type persister struct{ n *Node }

// Call asks the share coordinator of the one share partition that req names: a *kmsg.ReadShareGroupStateRequest, a
// *kmsg.WriteShareGroupStateRequest, or another of the keys 83 to 87. reply is called exactly once, on any goroutine; errors
// are codes in the response.
func (p persister) Call(req kmsg.Request, reply func(kmsg.Response)) {
	p.n.handler.ShareStateOnce(req, reply)
}

func shareGroupConfig(v config.Values) group.ShareConfig {
	return group.ShareConfig{
		SessionTimeout:        v.Duration("group.share.session.timeout.ms"),
		MinSessionTimeout:     v.Duration("group.share.min.session.timeout.ms"),
		MaxSessionTimeout:     v.Duration("group.share.max.session.timeout.ms"),
		HeartbeatInterval:     v.Duration("group.share.heartbeat.interval.ms"),
		MinHeartbeatInterval:  v.Duration("group.share.min.heartbeat.interval.ms"),
		MaxHeartbeatInterval:  v.Duration("group.share.max.heartbeat.interval.ms"),
		AssignmentInterval:    cmp.Or(v.Duration("group.share.assignment.interval.ms"), -1),
		MinAssignmentInterval: v.Duration("group.share.min.assignment.interval.ms"),
		MaxAssignmentInterval: v.Duration("group.share.max.assignment.interval.ms"),
		MaxSize:               v.Int("group.share.max.size"),
		InitializeRetry:       v.Duration("group.share.initialize.retry.interval.ms"),
	}
}

// askShareMax is how many share partitions are asked about at a time. A coordinator's mailbox has a limit.
const askShareMax = 256

// askShare asks the share coordinators, and gives all answers in the order of the requests.
func (n *Node) askShare(requests []kmsg.Request, done func([]kmsg.Response)) {
	answers := make([]kmsg.Response, len(requests))
	var next func(from int)
	next = func(from int) {
		if from >= len(requests) {
			done(answers)
			return
		}
		to := min(from+askShareMax, len(requests))
		var left atomic.Int32
		left.Store(int32(to - from))
		for i := from; i < to; i++ {
			n.handler.ShareState(requests[i], func(resp kmsg.Response) {
				answers[i] = resp
				if left.Add(-1) == 0 {
					next(to)
				}
			})
		}
	}
	next(0)
}
