package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// idleRow shows what a broker does when there is nothing to do: topics of 10 partitions, consumers who wait for records of one
// topic each.
func idleRow(name, title string, topics, consumers int, goal float64) row {
	const parts = 10
	return row{name, title, []string{"% of a CPU"}, []float64{goal}, func(ctx context.Context, b *broker, _ int64) (figure, error) {
		return secondStart{
			prepare: func(x *broker) error { return createMany(ctx, x, topics, parts) },
			leg: func(x *broker, _ time.Time, f *figure) error {
				rs := producing{size: 1 << 10, acks: -1}.requests("many-0")
				if err := firstAck(ctx, x.address, rs); err != nil {
					return err
				}
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				waiting := make(chan error, consumers)
				for i := range consumers {
					go func() { waiting <- awaitRecords(ctx, x.address, fmt.Sprintf("many-%d", 1+i%(topics-1)), parts) }()
				}
				time.Sleep(20 * time.Second) // the start is over, sessions are made, and a JVM has compiled what it does
				m, err := begin(x)
				if err != nil {
					return err
				}
				select {
				case err := <-waiting:
					return fmt.Errorf("a consumer has nothing to wait for: %w", err)
				case <-time.After(5 * time.Second):
				}
				cpu, err := m.end(f)
				f.Values = []float64{100 * max(cpu, 1.0/ticksPerSecond) / f.Seconds}
				return err
			},
		}.run(ctx, b)
	}}
}

// awaitRecords asks again and again for records that do not come, each time for half a second, as consumers do.
func awaitRecords(ctx context.Context, address, topic string, parts int) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 12, 500, 1, 50<<20
	req.SessionEpoch = 0
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for i := range parts {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = int32(i), 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	for {
		resp := kmsg.NewPtrFetchResponse()
		if err := c.ask(req, resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		req.SessionID, req.SessionEpoch, req.Topics = resp.SessionID, req.SessionEpoch+1, nil
	}
}

// createLeg creates topics, one after the other.
func createLeg(ctx context.Context, b *broker, _ int64) (f figure, err error) {
	const count, warming = 150, 20
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return f, err
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	var names []string
	var took []float64
	var m meter
	for i := range count + warming {
		if i == warming {
			if m, err = begin(b); err != nil {
				return f, err
			}
		}
		name := fmt.Sprintf("bench-%d", topics.Add(1))
		began := time.Now()
		if _, err := admin.CreateTopic(ctx, 1, 1, nil, name); err != nil {
			return f, err
		}
		names = append(names, name)
		if i >= warming {
			took = append(took, time.Since(began).Seconds()*1000)
		}
	}
	cpu, err := m.end(&f)
	if err != nil {
		return f, err
	}
	f.Values = []float64{middle(took), cpu / count * 1000}
	_, err = admin.DeleteTopics(ctx, names...)
	return f, err
}
