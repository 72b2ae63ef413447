package main

import (
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Latency is measured by a client library, as applications see it: the record carries the time when it was due, so that
// a stall counts for every record that it held up.
const (
	latencyRate = 1000 // records a second
	latencyFor  = 8 * time.Second
	latencySkip = 2 * time.Second // at the start, for connections and sessions
)

func latencyLeg(ctx context.Context, b *broker, _ int64) (f figure, err error) {
	err = withTopic(ctx, b, func(topic string) error {
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
		const n = latencyRate * int(latencyFor/time.Second)
		failed := make(chan error, 1)
		go func() { failed <- pace(ctx, writer, n) }()
		took, err := arrivals(ctx, reader, n)
		if err != nil {
			return err
		}
		if err := <-failed; err != nil {
			return err
		}
		slices.Sort(took)
		f.Values = []float64{percentile(took, 50), percentile(took, 99)}
		_, err = m.end(&f)
		return err
	})
	return f, err
}

// pace writes n records, each at its time. The thread sleeps in the system: Go's own timers are up to a millisecond late
// in a process with nothing else to do, which is more than what is measured.
func pace(ctx context.Context, c *kgo.Client, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / latencyRate)
		if early := time.Until(due); early > 0 {
			t := syscall.NsecToTimespec(int64(early))
			_ = syscall.Nanosleep(&t, nil) // a signal that ends it early does no harm
		}
		value := make([]byte, 1024)
		binary.BigEndian.PutUint64(value, uint64(due.UnixNano()))
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
