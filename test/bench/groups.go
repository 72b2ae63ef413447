package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members of groups are connections that say what a consumer says, and nothing else. Partitions of their topic are as many
// as members, so that all is well when each has one.

const perMember = "CPU-ms/member"

var groupNames atomic.Int64

func rebalanceRow(name, title string, members int, consumer bool) row {
	return row{name, title, []string{"s until all have theirs", perMember}, []float64{0.4, 0.4}, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		err = withTopicOf(ctx, b, members, func(topic string) error {
			group := fmt.Sprintf("bench-%d", groupNames.Add(1))
			all := make([]*member, members)
			if err := each(members, func(i int) error {
				c, err := dial(ctx, b.address)
				if err != nil {
					return err
				}
				all[i] = &member{conn: c, group: group, topic: topic, id: fmt.Sprintf("member-%d", i), partitions: members}
				return all[i].find()
			}); err != nil {
				return err
			}
			defer func() {
				for _, m := range all {
					m.Close()
				}
			}()
			join := (*member).joinClassic
			if consumer {
				join = (*member).joinConsumer
			}
			var assigned atomic.Int64
			m, err := begin(b)
			if err != nil {
				return err
			}
			if err := each(members, func(i int) error { return join(all[i], &assigned) }); err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.Values = []float64{f.Seconds, cpu / float64(members) * 1000}
			return err
		})
		return f, err
	}}
}

type member struct {
	*conn
	group, topic, id string
	partitions       int
}

// find makes the broker load the group's coordinator, and the topic of offsets if it is the first.
func (m *member) find() error {
	return eventually(func() error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKeys = 4, []string{m.group}
		resp := kmsg.NewPtrFindCoordinatorResponse()
		if err := m.ask(req, resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.Coordinators[0].ErrorCode); err != nil {
			return err
		}
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version = 8
		fetch.Groups = []kmsg.OffsetFetchRequestGroup{{Group: m.group}}
		offsets := kmsg.NewPtrOffsetFetchResponse()
		if err := m.ask(fetch, offsets); err != nil {
			return err
		}
		return kerr.ErrorForCode(offsets.Groups[0].ErrorCode)
	})
}

// joinClassic returns when the member has its partition and so have all the others, by joining again as long as it must.
func (m *member) joinClassic(assigned *atomic.Int64) error {
	id := ""
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.MemberID, req.ProtocolType = 9, m.group, id, "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 60_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: m.subscription()}}
		resp := kmsg.NewPtrJoinGroupResponse()
		if err := m.ask(req, resp); err != nil {
			return err
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); err {
		case nil:
		case kerr.MemberIDRequired:
			id = resp.MemberID
			continue
		case kerr.RebalanceInProgress:
			continue
		default:
			return fmt.Errorf("join: %w", err)
		}
		id = resp.MemberID
		done, err := m.sync(resp)
		if err != nil || done {
			if done && len(resp.Members) == 0 || done && len(resp.Members) == m.partitions {
				assigned.Add(1)
			}
			return err
		}
	}
}

// sync gets the assignment of a generation; the leader brings it for all. False if the generation is not the last one.
func (m *member) sync(joined *kmsg.JoinGroupResponse) (bool, error) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.Generation, req.MemberID = 5, m.group, joined.Generation, joined.MemberID
	kind := "consumer"
	req.ProtocolType, req.Protocol = &kind, joined.Protocol
	for i, other := range joined.Members {
		a := kmsg.NewConsumerMemberAssignment()
		a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: m.topic, Partitions: []int32{int32(i)}}}
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: other.MemberID, MemberAssignment: a.AppendTo(nil)})
	}
	resp := kmsg.NewPtrSyncGroupResponse()
	if err := m.ask(req, resp); err != nil {
		return false, err
	}
	switch err := kerr.ErrorForCode(resp.ErrorCode); err {
	case nil:
	case kerr.RebalanceInProgress:
		return false, nil
	default:
		return false, fmt.Errorf("sync: %w", err)
	}
	// Who joined late is in another generation: heartbeats tell.
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Version, beat.Group, beat.Generation, beat.MemberID = 4, m.group, joined.Generation, joined.MemberID
	told := kmsg.NewPtrHeartbeatResponse()
	if err := m.ask(beat, told); err != nil {
		return false, err
	}
	if told.ErrorCode == kerr.RebalanceInProgress.Code {
		return false, nil
	}
	return true, kerr.ErrorForCode(told.ErrorCode)
}

func (m *member) subscription() []byte {
	s := kmsg.NewConsumerMemberMetadata()
	s.Topics = []string{m.topic}
	return s.AppendTo(nil)
}

// joinConsumer speaks KIP-848 until every member has its partition. It asks again when it was told to, and at once after a
// change, as clients do.
func (m *member) joinConsumer(assigned *atomic.Int64) error {
	var owned []kmsg.ConsumerGroupHeartbeatRequestTopic
	epoch, counted := int32(0), false
	for {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, m.group, m.id, epoch
		if epoch == 0 {
			req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{m.topic}
			req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		} else {
			req.Topics = owned
		}
		resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
		if err := m.ask(req, resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			if kerr.IsRetriable(err) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return fmt.Errorf("heartbeat of %s in epoch %d: %w", m.id, epoch, err)
		}
		epoch = resp.MemberEpoch
		if resp.Assignment != nil {
			owned = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			n := 0
			for _, t := range resp.Assignment.Topics {
				owned = append(owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: slices.Clone(t.Partitions)})
				n += len(t.Partitions)
			}
			if now := n == 1; now != counted {
				if counted = now; now {
					assigned.Add(1)
				} else {
					assigned.Add(-1)
				}
			}
			continue
		}
		for wait := time.Now().Add(time.Duration(resp.HeartbeatIntervalMillis) * time.Millisecond); time.Now().Before(wait); time.Sleep(10 * time.Millisecond) {
			if assigned.Load() == int64(m.partitions) {
				return nil
			}
		}
	}
}

// commitsRow commits ten offsets in each request, for groups without members.
func commitsRow(name, title string, clients int) row {
	return row{name, title, []string{perMillion}, []float64{0.4}, func(ctx context.Context, b *broker, n int64) (f figure, err error) {
		err = withTopic(ctx, b, func(topic string) error {
			all := make([]*member, clients)
			for i := range all {
				c, err := dial(ctx, b.address)
				if err != nil {
					return err
				}
				defer c.Close()
				all[i] = &member{conn: c, group: fmt.Sprintf("bench-%d", groupNames.Add(1)), topic: topic}
				if err := all[i].find(); err != nil {
					return err
				}
			}
			run := func(n int64) error {
				return each(clients, func(i int) error {
					for range n / int64(clients) {
						if err := all[i].commit(10); err != nil {
							return err
						}
					}
					return nil
				})
			}
			count := n >> 13
			if err := run(count / 10); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			if err := run(count); err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.Values = []float64{cpu / float64(count) * 1e6}
			return err
		})
		return f, err
	}}
}

func (m *member) commit(parts int) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, m.group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = m.topic
	for i := range parts {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = int32(i), 1234
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = []kmsg.OffsetCommitRequestTopic{t}
	resp := kmsg.NewPtrOffsetCommitResponse()
	if err := m.ask(req, resp); err != nil {
		return err
	}
	for _, p := range resp.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}
