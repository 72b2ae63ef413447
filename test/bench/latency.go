package main

import (
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Latency is measured by a client library, as applications see it: the record carries the time when it was due, so that
// a stall counts for every record that it held up.
const (
	latencyFor  = 8 * time.Second
	latencySkip = 2 * time.Second // at the start, for connections and sessions
)

// latencyRow writes so many records of 1 KiB a second, with flush.messages=1 where they are to be durable.
func latencyRow(name, title string, perSecond int, durable bool, goals ...float64) row {
	return row{name, title, []string{"ms p50", "ms p99"}, goals, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		err = withTopic(ctx, b, func(topic string) error {
			if durable {
				if err := configure(ctx, b, topic, "flush.messages", "1"); err != nil {
					return err
				}
			}
			return latency(ctx, b, topic, perSecond, &f)
		})
		return f, err
	}}
}

func latency(ctx context.Context, b *broker, topic string, perSecond int, f *figure) error {
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer writer.Close()
	m, err := begin(b)
	if err != nil {
		return err
	}
	n := perSecond * int(latencyFor/time.Second)
	failed := make(chan error, 1)
	go func() { failed <- pace(ctx, writer, perSecond, n) }()
	took, err := arrivals(ctx, reader, n)
	if err != nil {
		return err
	}
	if err := <-failed; err != nil {
		return err
	}
	slices.Sort(took)
	f.Values = []float64{percentile(took, 50), percentile(took, 99)}
	_, err = m.end(f)
	return err
}

// pace writes n records, each when it is due.
func pace(ctx context.Context, c *kgo.Client, perSecond, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := schedule{time.Now(), float64(perSecond)}
	for i := range n {
		value := make([]byte, 1024)
		binary.BigEndian.PutUint64(value, uint64(s.wait(i).UnixNano()))
		c.Produce(ctx, &kgo.Record{Value: value}, nil)
	}
	return c.Flush(ctx)
}

// arrivals gives the latencies, in milliseconds, of n records but the first ones.
func arrivals(ctx context.Context, c *kgo.Client, n int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, latencyFor+30*time.Second)
	defer cancel()
	took := make([]float64, 0, n)
	var first int64
	for seen := 0; seen < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		now := time.Now().UnixNano()
		for it := fetches.RecordIter(); !it.Done(); seen++ {
			due := int64(binary.BigEndian.Uint64(it.Next().Value))
			if first == 0 {
				first = due
			}
			if due-first >= int64(latencySkip) {
				took = append(took, float64(now-due)/1e6)
			}
		}
	}
	return took, nil
}

func percentile(sorted []float64, p int) float64 { return sorted[(len(sorted)-1)*p/100] }
