package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members of groups are connections that say what a consumer says, and nothing else.

var groupNames atomic.Int64

type member struct {
	*conn
	group, topic, id string
	partitions       int // of the topic
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
