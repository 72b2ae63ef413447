package share

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fault is an error with the text that its answer carries.
type fault struct {
	*kerr.Error
	message string
}

func fail(err *kerr.Error) *fault { return &fault{err, err.Description} }

func invalid(message string) *fault { return &fault{kerr.InvalidRequest, message} }

const negativePartition = "A partition cannot be negative."

// check is what a request of a share partition that must be there is checked for, in Kafka's order. Epochs of -1 ask for
// no check.
func (m *Machine) check(t *turn, k Key, leaderEpoch, stateEpoch int32) (*entry, *fault) {
	if k.Partition < 0 {
		return nil, invalid(negativePartition)
	}
	e := m.states[k]
	switch {
	case e == nil:
		return nil, invalid("The share partition is not initialized.")
	case leaderEpoch != none && e.seenLeader > leaderEpoch:
		return nil, fail(kerr.FencedLeaderEpoch)
	case stateEpoch != none && e.seenState > stateEpoch:
		return nil, fail(kerr.FencedStateEpoch)
	case !known(t.Image, k.Topic, k.Partition):
		return nil, fail(kerr.UnknownTopicOrPartition)
	}
	return e, nil
}

// initialize answers InitializeShareGroupState (key 83, version 0): a share partition begins, or begins anew, with nothing
// in flight. An offset of -1 leaves its start to the leader.
func (m *Machine) initialize(t *turn, k Key, req *kmsg.InitializeShareGroupStateRequest) kmsg.Response {
	in := req.Topics[0].Partitions[0]
	e := m.states[k]
	switch {
	case k.Partition < 0:
		return initializeAnswer(req, invalid(negativePartition))
	case e != nil && in.StateEpoch != none && e.seenState > in.StateEpoch:
		return initializeAnswer(req, fail(kerr.FencedStateEpoch))
	case !known(t.Image, k.Topic, k.Partition):
		return initializeAnswer(req, fail(kerr.UnknownTopicOrPartition))
	}
	s := state{stateEpoch: in.StateEpoch, start: in.StartOffset, created: t.now, written: t.now}
	if e != nil {
		s.snapshotEpoch = e.snapshotEpoch + 1
	}
	if s.start == none {
		s.complete = none // nothing was consumed yet, so how far the group is behind cannot be told
	}
	t.write(k.snapshot(s))
	return initializeAnswer(req, nil)
}

// read answers ReadShareGroupState (key 84, version 0). A leader epoch that is new is written, so that older leaders are
// fenced from here on, after a reload too.
func (m *Machine) read(t *turn, k Key, req *kmsg.ReadShareGroupStateRequest) kmsg.Response {
	in := req.Topics[0].Partitions[0]
	e, err := m.check(t, k, in.LeaderEpoch, none)
	if err != nil {
		return readAnswer(req, nil, err)
	}
	answer := readAnswer(req, e, nil)
	if in.LeaderEpoch != none && in.LeaderEpoch != e.seenLeader {
		t.write(m.change(t, k, e, update{leaderEpoch: in.LeaderEpoch, start: e.start, complete: e.complete}))
	}
	return answer
}

// update answers WriteShareGroupState (key 85, versions 0 and 1; before 1 without the count of completed deliveries).
func (m *Machine) update(t *turn, k Key, req *kmsg.WriteShareGroupStateRequest) kmsg.Response {
	in := &req.Topics[0].Partitions[0]
	e, err := m.check(t, k, in.LeaderEpoch, in.StateEpoch)
	if err != nil {
		return writeAnswer(req, err)
	}
	batches := make([]batch, 0, len(in.StateBatches))
	for _, b := range in.StateBatches {
		if b.FirstOffset < 0 || b.FirstOffset > b.LastOffset {
			return writeAnswer(req, invalid("A state batch ends before it begins."))
		}
		batches = append(batches, batch{FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount})
	}
	t.write(m.change(t, k, e, update{leaderEpoch: e.leaderEpoch, start: in.StartOffset, complete: in.DeliveryCompleteCount, batches: batches}))
	return writeAnswer(req, nil)
}

// delete answers DeleteShareGroupState (key 86, version 0). What is not there is deleted already.
func (m *Machine) delete(t *turn, k Key, req *kmsg.DeleteShareGroupStateRequest) kmsg.Response {
	switch {
	case k.Partition < 0:
		return deleteAnswer(req, invalid(negativePartition))
	case !known(t.Image, k.Topic, k.Partition):
		return deleteAnswer(req, fail(kerr.UnknownTopicOrPartition))
	case m.states[k] != nil:
		t.write(k.tombstone())
	}
	return deleteAnswer(req, nil)
}

// summary answers ReadShareGroupStateSummary (key 87, versions 0 and 1). Of a share partition that is not there it says
// that it has no start.
func (m *Machine) summary(t *turn, k Key, req *kmsg.ReadShareGroupStateSummaryRequest) kmsg.Response {
	switch {
	case k.Partition < 0:
		return summaryAnswer(req, nil, invalid(negativePartition))
	case !known(t.Image, k.Topic, k.Partition):
		return summaryAnswer(req, nil, fail(kerr.UnknownTopicOrPartition))
	}
	e := m.states[k]
	if e == nil {
		e = &entry{state: state{start: none, complete: none}}
	}
	return summaryAnswer(req, e, nil)
}
