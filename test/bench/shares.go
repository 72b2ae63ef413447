package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members of share groups ask as Apache's KafkaShareConsumer does with its default settings: 500 records at a time, whole
// batches, and what came is accepted by the next fetch.

// shareRow reads a topic once by a share group, and acknowledges every record.
func shareRow(name, title string, members int) row {
	units := []string{"CPU-s/M records", "records/s (more is better)"}
	return row{name, title, units, []float64{0.4, 2.5}, func(ctx context.Context, b *broker, n int64) (f figure, err error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		err = withTopic(ctx, b, func(topic string) error {
			if err := prepare(b, n); err != nil {
				return err
			}
			p := producing{size: 1 << 10, batch: 16 << 10, acks: 1, clients: 4, window: 5}
			rs := p.requests(topic)
			if err := p.send(ctx, b.address, rs, max(n/rs.payload, partitions)); err != nil {
				return err
			}
			all, err := joinShareGroup(ctx, b, topic, members)
			for _, s := range all {
				defer s.Close()
			}
			if err != nil {
				return err
			}
			total := int64(0)
			for _, s := range all {
				total += s.left
			}
			warming := total / 5
			if err := each(members, func(i int) error { return all[i].take(warming / int64(members)) }); err != nil {
				return err
			}
			measured := int64(0)
			for _, s := range all {
				measured += s.left
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			if err := each(members, func(i int) error { return all[i].take(all[i].left) }); err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.Values = []float64{cpu / float64(measured) * 1e6, float64(measured) / f.Seconds}
			f.Rate = float64(measured*rs.payload/rs.records) / (1 << 20) / f.Seconds
			return errors.Join(err, each(members, func(i int) error { return all[i].leave() }))
		})
		return f, err
	}}
}

// sharer is a member of a share group. No other member has its partitions, so that it knows when it is done.
type sharer struct {
	*member
	memberEpoch int32
	session     int32 // epoch of the next ShareFetch or ShareAcknowledge
	topicID     [16]byte
	parts       []int32
	left        int64 // records that have not come
	acquired    map[int32][]kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch
}

// joinShareGroup returns when each member has its equal part of the topic. What it made is to be closed in any case.
func joinShareGroup(ctx context.Context, b *broker, topic string, members int) (all []*sharer, err error) {
	number := groupNames.Add(1)
	group := fmt.Sprintf("bench-%d", number)
	ends, err := endOffsets(ctx, b, topic)
	if err != nil {
		return nil, err
	}
	for i := range members {
		c, err := dial(ctx, b.address)
		if err != nil {
			return all, err
		}
		id := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1<<32+uint64(number)), uint64(i))
		all = append(all, &sharer{member: &member{conn: c, group: group, topic: topic, id: base64.RawURLEncoding.EncodeToString(id)}})
	}
	if err := all[0].find(); err != nil {
		return all, err
	}
	if err := all[0].fromEarliest(); err != nil {
		return all, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		owner := map[int32]string{}
		fair := true
		for _, s := range all {
			if err := eventually(s.beat); err != nil {
				return all, fmt.Errorf("heartbeat of %s: %w", s.id, err)
			}
			fair = fair && len(s.parts) == partitions/members
			for _, p := range s.parts {
				owner[p] = s.id
			}
		}
		if fair && len(owner) == partitions {
			break
		}
		if time.Now().After(end) {
			return all, fmt.Errorf("%d members of a share group do not have %d partitions each after %v", members, partitions/members, patience)
		}
	}
	for _, s := range all {
		for _, p := range s.parts {
			s.left += ends[p]
		}
	}
	return all, nil
}

// fromEarliest lets the group begin where the log does.
func (s *sharer) fromEarliest() error {
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	value := "earliest"
	c.Name, c.Value = "share.auto.offset.reset", &value
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeGroupConfig, s.group
	r.Configs = append(r.Configs, c)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.Resources = 1, append(req.Resources, r)
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	if err := s.ask(req, resp); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Resources[0].ErrorCode)
}

// endOffsets gives the number of records of each partition.
func endOffsets(ctx context.Context, b *broker, topic string) (map[int32]int64, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	listed, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// beat is one heartbeat.
func (s *sharer) beat() error {
	req := kmsg.NewPtrShareGroupHeartbeatRequest()
	req.Version, req.GroupID, req.MemberID, req.MemberEpoch = 1, s.group, s.id, s.memberEpoch
	if s.memberEpoch == 0 {
		req.SubscribedTopicNames = []string{s.topic}
	}
	resp := kmsg.NewPtrShareGroupHeartbeatResponse()
	if err := s.ask(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	s.memberEpoch = resp.MemberEpoch
	if resp.Assignment != nil {
		s.parts = nil
		for _, t := range resp.Assignment.TopicPartitions {
			s.topicID, s.parts = t.TopicID, append(s.parts, t.Partitions...)
		}
	}
	return nil
}

func (s *sharer) leave() error {
	s.memberEpoch = -1
	return s.beat()
}

// take returns when at least n more records have come, and the broker has confirmed the acknowledgement of all that came.
func (s *sharer) take(n int64) error {
	for until := s.left - n; s.left > until; {
		if err := s.fetch(); err != nil {
			return fmt.Errorf("share fetch: %w", err)
		}
	}
	if err := s.acknowledge(); err != nil {
		return fmt.Errorf("share acknowledge: %w", err)
	}
	return nil
}

func (s *sharer) fetch() error {
	req := kmsg.NewPtrShareFetchRequest()
	req.Version, req.GroupID, req.MemberID, req.ShareSessionEpoch = 2, &s.group, &s.id, s.session
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.MaxRecords, req.BatchSize = 500, 1, 50<<20, 500, 500
	t := kmsg.NewShareFetchRequestTopic()
	t.TopicID = s.topicID
	for _, i := range s.parts {
		if acks := s.acquired[i]; s.session == 0 || len(acks) > 0 {
			p := kmsg.NewShareFetchRequestTopicPartition()
			p.Partition, p.AcknowledgementBatches = i, acks
			t.Partitions = append(t.Partitions, p)
		}
	}
	if len(t.Partitions) > 0 {
		req.Topics = []kmsg.ShareFetchRequestTopic{t}
	}
	resp := kmsg.NewPtrShareFetchResponse()
	if err := s.ask(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	s.session++
	s.acquired = map[int32][]kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.AcknowledgeErrorCode); err != nil {
				return fmt.Errorf("acknowledgement in partition %d: %w", p.Partition, err)
			}
			// The share coordinator may not be there yet. The session keeps the partition.
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !kerr.IsRetriable(err) {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
			if err := s.accept(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// accept notes the records that came, for the next request. None may come twice.
func (s *sharer) accept(p kmsg.ShareFetchResponseTopicPartition) error {
	for _, a := range p.AcquiredRecords {
		if a.DeliveryCount != 1 {
			return fmt.Errorf("offsets %d to %d of partition %d are delivered for the %d. time", a.FirstOffset, a.LastOffset, p.Partition, a.DeliveryCount)
		}
		if len(p.Records) == 0 {
			return fmt.Errorf("offsets %d to %d of partition %d came without records", a.FirstOffset, a.LastOffset, p.Partition)
		}
		batch := kmsg.NewShareFetchRequestTopicPartitionAcknowledgementBatch()
		batch.FirstOffset, batch.LastOffset, batch.AcknowledgeTypes = a.FirstOffset, a.LastOffset, []int8{acceptRecords}
		s.acquired[p.Partition] = append(s.acquired[p.Partition], batch)
		s.left -= a.LastOffset - a.FirstOffset + 1
	}
	return nil
}

// acceptRecords is the type of an acknowledgement that says that records have been processed.
const acceptRecords = 1

// acknowledge tells of what the last fetch brought.
func (s *sharer) acknowledge() error {
	t := kmsg.NewShareAcknowledgeRequestTopic()
	t.TopicID = s.topicID
	for _, i := range s.parts {
		if len(s.acquired[i]) == 0 {
			continue
		}
		p := kmsg.NewShareAcknowledgeRequestTopicPartition()
		p.Partition = i
		for _, a := range s.acquired[i] {
			batch := kmsg.NewShareAcknowledgeRequestTopicPartitionAcknowledgementBatch()
			batch.FirstOffset, batch.LastOffset, batch.AcknowledgeTypes = a.FirstOffset, a.LastOffset, a.AcknowledgeTypes
			p.AcknowledgementBatches = append(p.AcknowledgementBatches, batch)
		}
		t.Partitions = append(t.Partitions, p)
	}
	if len(t.Partitions) == 0 {
		return nil
	}
	req := kmsg.NewPtrShareAcknowledgeRequest()
	req.Version, req.GroupID, req.MemberID, req.ShareSessionEpoch = 2, &s.group, &s.id, s.session
	req.Topics = []kmsg.ShareAcknowledgeRequestTopic{t}
	resp := kmsg.NewPtrShareAcknowledgeResponse()
	if err := s.ask(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	s.session++
	s.acquired = nil
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}
