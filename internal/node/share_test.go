package node_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sharer is a member of a share group and an administrator of it, of whom the test sees every request.
type sharer struct {
	*conn
	group string
	id    string
	epoch int32
	topic [16]byte
}

// newSharer makes a topic of three partitions with two records each.
func (s *site) newSharer(group string) *sharer {
	s.t.Helper()
	sh := &sharer{group: group, id: "member-1"}
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		r, err := kadm.NewClient(cl).CreateTopic(ctx, 3, 1, nil, "shared")
		if err != nil {
			return err
		}
		sh.topic = r.ID
		for p := range int32(3) {
			for i := range 2 {
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "shared", Partition: p, Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
					return err
				}
			}
		}
		return nil
	}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	sh.conn = s.dial()
	return sh
}

// patiently repeats what a coordinator that is not there yet refuses.
func (s *sharer) patiently(send func() int16) error {
	s.t.Helper()
	return (&txnClient{conn: s.conn}).patiently(send)
}

func (s *sharer) find(t *testing.T) {
	t.Helper()
	err := s.patiently(func() int16 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKeys = 4, []string{s.group}
		return s.request(req).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *sharer) beat(t *testing.T, epoch int32) *kmsg.ShareGroupHeartbeatResponse {
	t.Helper()
	var resp *kmsg.ShareGroupHeartbeatResponse
	err := s.patiently(func() int16 {
		req := kmsg.NewPtrShareGroupHeartbeatRequest()
		req.Version, req.GroupID, req.MemberID, req.MemberEpoch = 1, s.group, s.id, epoch
		if epoch == 0 {
			req.SubscribedTopicNames = []string{"shared"}
		}
		resp = s.request(req).(*kmsg.ShareGroupHeartbeatResponse)
		return resp.ErrorCode
	})
	if err != nil {
		t.Fatal(err)
	}
	s.epoch = resp.MemberEpoch
	return resp
}

// join joins and waits until all partitions are the member's.
func (s *sharer) join(t *testing.T) {
	t.Helper()
	s.find(t)
	r := s.beat(t, 0)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); r = s.beat(t, s.epoch) {
		if r.Assignment != nil && len(r.Assignment.TopicPartitions) == 1 && slices.Equal(r.Assignment.TopicPartitions[0].Partitions, []int32{0, 1, 2}) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the member never got its partitions")
}

func (s *sharer) leave(t *testing.T) { t.Helper(); s.beat(t, -1) }

// offsets shows what DescribeShareGroupOffsets says of all partitions.
func (s *sharer) offsets() string {
	req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	req.Version, req.Groups = 1, []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: s.group}}
	g := s.request(req).(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0]
	out := g.GroupID
	if g.ErrorCode != 0 {
		out += " " + kerr.ErrorForCode(g.ErrorCode).Error()
	}
	for _, t := range g.Topics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf(" %s-%d:%d/%d", t.Topic, p.Partition, p.StartOffset, p.Lag)
		}
	}
	return out
}

// write is WriteShareGroupState as a leader sends it.
func (s *sharer) write(t *testing.T, partition, stateEpoch int32, start int64, done int32, batches ...kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch) int16 {
	t.Helper()
	req := kmsg.NewPtrWriteShareGroupStateRequest()
	req.Version, req.GroupID = 1, s.group
	req.Topics = []kmsg.WriteShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{
		Partition: partition, StateEpoch: stateEpoch, LeaderEpoch: 0, StartOffset: start, DeliveryCompleteCount: done, StateBatches: batches,
	}}}}
	return s.request(req).(*kmsg.WriteShareGroupStateResponse).Topics[0].Partitions[0].ErrorCode
}

// read is ReadShareGroupState.
func (s *sharer) read(t *testing.T, partition int32) kmsg.ReadShareGroupStateResponseTopicPartition {
	t.Helper()
	var out kmsg.ReadShareGroupStateResponseTopicPartition
	_ = s.patiently(func() int16 {
		req := kmsg.NewPtrReadShareGroupStateRequest()
		req.GroupID = s.group
		req.Topics = []kmsg.ReadShareGroupStateRequestTopic{{TopicID: s.topic, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: partition, LeaderEpoch: 0}}}}
		out = s.request(req).(*kmsg.ReadShareGroupStateResponse).Topics[0].Partitions[0]
		return out.ErrorCode
	})
	return out
}

func (s *sharer) alter(t *testing.T, starts ...int64) *kmsg.AlterShareGroupOffsetsResponse {
	t.Helper()
	req := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	req.GroupID = s.group
	topic := kmsg.AlterShareGroupOffsetsRequestTopic{Topic: "shared"}
	for p, start := range starts {
		topic.Partitions = append(topic.Partitions, kmsg.AlterShareGroupOffsetsRequestTopicPartition{Partition: int32(p), StartOffset: start})
	}
	req.Topics = append(req.Topics, topic)
	return s.request(req).(*kmsg.AlterShareGroupOffsetsResponse)
}

func (s *sharer) want(t *testing.T, want string) {
	t.Helper()
	if diff := cmp.Diff(want, s.offsets()); diff != "" {
		t.Fatal(diff)
	}
}

// A share group lives: its partitions are begun and assigned, its state is written, read back after a restart, altered, and
// deleted piece by piece.
func TestShareGroupLives(t *testing.T) {
	s := newSite(t).up()
	sh := s.newSharer("sg:1")
	sh.join(t)
	sh.want(t, "sg:1 shared-0:-1/-1 shared-1:-1/-1 shared-2:-1/-1")

	state := sh.read(t, 1)
	if state.ErrorCode != 0 || state.StartOffset != -1 {
		t.Fatalf("a new share partition: %+v", state)
	}
	acked := kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{FirstOffset: 1, LastOffset: 1, DeliveryState: 2, DeliveryCount: 1}
	if code := sh.write(t, 1, state.StateEpoch, 0, 1, acked); code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	if code := sh.write(t, 1, state.StateEpoch-1, 0, 1); code != kerr.FencedStateEpoch.Code {
		t.Fatalf("a write of an older state epoch: %v", kerr.ErrorForCode(code))
	}
	sh.want(t, "sg:1 shared-0:-1/-1 shared-1:0/1 shared-2:-1/-1")

	s.stop()
	s.up()
	sh.conn = s.dial()
	sh.beat(t, sh.epoch) // a member of before
	got := sh.read(t, 1)
	want := kmsg.ReadShareGroupStateResponseTopicPartition{Partition: 1, StateEpoch: state.StateEpoch,
		StateBatches: []kmsg.ReadShareGroupStateResponseTopicPartitionStateBatch{{FirstOffset: 1, LastOffset: 1, DeliveryState: 2, DeliveryCount: 1}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(kmsg.Tags{})); diff != "" {
		t.Fatalf("after a restart:\n%s", diff)
	}

	if r := sh.alter(t, 1, 1, 2); r.ErrorCode != kerr.NonEmptyGroup.Code {
		t.Fatalf("offsets of a group with members are altered: %+v", r)
	}
	sh.leave(t)
	r := sh.alter(t, 1, 1, 2, 0)
	var codes []int16
	for _, p := range r.Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	if diff := cmp.Diff([]int16{0, 0, 0, kerr.UnknownTopicOrPartition.Code}, codes); diff != "" || r.ErrorCode != 0 {
		t.Fatalf("%v %s", kerr.ErrorForCode(r.ErrorCode), diff)
	}
	sh.want(t, "sg:1 shared-0:1/1 shared-1:1/1 shared-2:2/0")
	if code := sh.write(t, 1, state.StateEpoch, 2, 0); code != kerr.FencedStateEpoch.Code {
		t.Fatalf("a write of before the group was altered: %v", kerr.ErrorForCode(code))
	}

	list := kmsg.NewPtrListGroupsRequest()
	list.Version, list.TypesFilter = 5, []string{"Share"}
	listed := sh.request(list).(*kmsg.ListGroupsResponse).Groups
	if want := []kmsg.ListGroupsResponseGroup{{Group: "sg:1", ProtocolType: "share", GroupState: "Empty", GroupType: "share"}}; !cmp.Equal(want, listed, cmpopts.IgnoreTypes(kmsg.Tags{})) {
		t.Fatalf("listed: %+v", listed)
	}

	forget := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
	forget.GroupID, forget.Topics = "sg:1", []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "shared"}, {Topic: "nothing"}}
	forgotten := sh.request(forget).(*kmsg.DeleteShareGroupOffsetsResponse)
	codes = nil
	for _, t := range forgotten.Topics {
		codes = append(codes, t.ErrorCode)
	}
	if diff := cmp.Diff([]int16{0, kerr.UnknownTopicOrPartition.Code}, codes); diff != "" || forgotten.ErrorCode != 0 {
		t.Fatalf("%v %s", kerr.ErrorForCode(forgotten.ErrorCode), diff)
	}
	sh.want(t, "sg:1")
	if got := sh.read(t, 1).ErrorCode; got != kerr.InvalidRequest.Code {
		t.Fatalf("deleted state is still read: %v", kerr.ErrorForCode(got))
	}

	sh.join(t) // begins again
	sh.leave(t)
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Version, del.Groups = 2, []string{"sg:1", "nobody"}
	codes = nil
	for _, g := range sh.request(del).(*kmsg.DeleteGroupsResponse).Groups {
		codes = append(codes, g.ErrorCode)
	}
	if diff := cmp.Diff([]int16{0, kerr.GroupIDNotFound.Code}, codes); diff != "" {
		t.Fatal(diff)
	}
	describe := kmsg.NewPtrShareGroupDescribeRequest()
	describe.Version, describe.GroupIDs = 1, []string{"sg:1"}
	if d := sh.request(describe).(*kmsg.ShareGroupDescribeResponse).Groups[0]; d.ErrorCode != kerr.GroupIDNotFound.Code {
		t.Fatalf("a deleted group: %+v", d)
	}
	if got := sh.read(t, 1).ErrorCode; got != kerr.InvalidRequest.Code {
		t.Fatalf("a deleted group's state is still read: %v", kerr.ErrorForCode(got))
	}
}

// A deleted topic takes its share partitions with it.
func TestShareStateOfADeletedTopic(t *testing.T) {
	s := newSite(t).up()
	sh := s.newSharer("g")
	sh.join(t)
	sh.leave(t)
	sh.alter(t, 1, 1, 1)
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		_, err := kadm.NewClient(cl).DeleteTopic(ctx, "shared")
		return err
	})
	for deadline := time.Now().Add(10 * time.Second); sh.offsets() != "g"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %s", sh.offsets())
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := sh.read(t, 1).ErrorCode
		if got == kerr.InvalidRequest.Code { // not initialized
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the state is still there: %v", kerr.ErrorForCode(got))
		}
	}
}

// What is set for the topic of share state, and for its coordinators, is how they are.
func TestShareStateTopic(t *testing.T) {
	s := newSite(t)
	for k, v := range map[string]string{
		"share.coordinator.state.topic.num.partitions": "3", "share.coordinator.state.topic.segment.bytes": "2097152",
		"share.coordinator.state.topic.compression.codec": "2", "share.coordinator.cold.partition.snapshot.interval.ms": "50",
		"share.coordinator.state.topic.prune.interval.ms": "50", "share.coordinator.snapshot.update.records.per.snapshot": "2",
		"group.share.assignment.interval.ms": "0",
	} {
		s.props[k] = v
	}
	s.up()
	sh := s.newSharer("g")
	sh.join(t)
	state := sh.read(t, 0)
	for i := range int64(10) {
		if code := sh.write(t, 0, state.StateEpoch, i, 0); code != 0 {
			t.Fatal(kerr.ErrorForCode(code))
		}
	}
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		adm := kadm.NewClient(cl)
		topics, err := adm.ListTopicsWithInternal(ctx)
		if err != nil {
			return err
		}
		if n := len(topics["__share_group_state"].Partitions); n != 3 {
			t.Fatalf("%d partitions", n)
		}
		configs, err := adm.DescribeTopicConfigs(ctx, "__share_group_state")
		if err != nil {
			return err
		}
		got := map[string]string{}
		for _, c := range configs[0].Configs {
			if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
				got[c.Key] = c.MaybeValue()
			}
		}
		want := map[string]string{"cleanup.policy": "delete", "compression.type": "producer", "segment.bytes": "2097152",
			"min.insync.replicas": "1", "retention.ms": "-1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		// Records that nobody needs are deleted: snapshots and those that were cold replace what was written before.
		for {
			starts, err := adm.ListStartOffsets(ctx, "__share_group_state")
			if err != nil {
				return err
			}
			moved := 0
			starts.Each(func(o kadm.ListedOffset) { moved += int(o.Offset) })
			if moved > 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	if got := sh.read(t, 0); got.StartOffset != 9 {
		t.Fatalf("after pruning: %+v", got)
	}
	s.stop()
	s.up()
	sh.conn = s.dial()
	if got := sh.read(t, 0); got.StartOffset != 9 {
		t.Fatalf("after a restart: %+v", got)
	}
}
