package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// row is one thing that is measured.
type row struct {
	name  string
	title string
	unit  string // of CPU
	// prepare makes what the leg needs; it is not measured. run does n bytes of work.
	prepare func(ctx context.Context, b *broker, topic string, n int64) error
	run     func(ctx context.Context, b *broker, topic string, n int64) error
}

func rows() []row {
	create := func(ctx context.Context, b *broker, topic string, _ int64) error { return makeTopic(ctx, b, topic, 16) }
	return []row{
		{"produce-1k", "produce 1 KiB, acks=1, 16 partitions, batches of up to 1 MiB", "CPU-s/GiB", create,
			func(ctx context.Context, b *broker, topic string, n int64) error {
				return produce(ctx, b, topic, 1024, n)
			}},
		{"consume", "consume 1 KiB records from the page cache, 16 partitions", "CPU-s/GiB",
			func(ctx context.Context, b *broker, topic string, n int64) error {
				if err := makeTopic(ctx, b, topic, 16); err != nil {
					return err
				}
				return produce(ctx, b, topic, 1024, n)
			},
			func(ctx context.Context, b *broker, topic string, n int64) error {
				return consume(ctx, b, topic, n/1024)
			}},
	}
}

// figure is what a leg showed.
type figure struct {
	CPU     float64 `json:"cpu"`     // in the row's unit
	Rate    float64 `json:"mib_s"`   // MiB/s
	Client  float64 `json:"client"`  // the client's CPU seconds
	Foreign float64 `json:"foreign"` // share of the machine that other programs used
	RSS     float64 `json:"rss_mib"`
}

var topics atomic.Int64

func leg(ctx context.Context, r row, b *broker, n int64) (figure, error) {
	var f figure
	for range 3 {
		topic := fmt.Sprintf("bench-%d", topics.Add(1))
		if err := r.prepare(ctx, b, topic, n); err != nil {
			return f, err
		}
		syscall.Sync()
		if err := warmMemory(4 * n); err != nil {
			return f, err
		}
		began, client, all := time.Now(), ownCPU(), busy()
		before, err := b.cpu()
		if err != nil {
			return f, err
		}
		if err := r.run(ctx, b, topic, n); err != nil {
			return f, err
		}
		after, err := b.cpu()
		if err != nil {
			return f, err
		}
		took := time.Since(began).Seconds()
		gib := float64(n) / (1 << 30)
		f = figure{CPU: (after - before) / gib, Rate: gib * 1024 / took, Client: ownCPU() - client, RSS: b.rss()}
		f.Foreign = max(0, busy()-all-f.Client-(after-before)) / took / float64(processors())
		if err := deleteTopic(ctx, b, topic); err != nil {
			return f, err
		}
		if f.Foreign < 0.15 {
			break
		}
		fmt.Fprintf(os.Stderr, "%s on %s: other programs used %.0f %% of the machine; once more\n", r.name, b.name, 100*f.Foreign)
	}
	return f, nil
}

func makeTopic(ctx context.Context, b *broker, topic string, partitions int32) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).CreateTopic(ctx, partitions, 1, nil, topic)
	return err
}

func deleteTopic(ctx context.Context, b *broker, topic string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).DeleteTopic(ctx, topic)
	return err
}

// produce writes n bytes of records of the given size.
func produce(ctx context.Context, b *broker, topic string, size int, n int64) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.LeaderAck()),
		kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(1<<20-1024),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200_000), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(512<<10, false, false, nil)))
	if err != nil {
		return err
	}
	defer c.Close()
	value := make([]byte, size)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	var failed atomic.Pointer[error]
	for range n / int64(size) {
		c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		if failed.Load() != nil {
			break
		}
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

// consume reads the given number of records from the start.
func consume(ctx context.Context, b *broker, topic string, records int64) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer c.Close()
	for records > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return e.Err
		}
		records -= int64(fetches.NumRecords())
	}
	return nil
}

// warm lets a broker's hot paths run: records of mixed sizes, then reads.
func warm(ctx context.Context, b *broker, records int64) error {
	const topic = "bench-warm"
	if err := makeTopic(ctx, b, topic, 16); err != nil {
		return err
	}
	if err := produce(ctx, b, topic, 512, records*512); err != nil {
		return err
	}
	if err := consume(ctx, b, topic, records); err != nil {
		return err
	}
	return deleteTopic(ctx, b, topic)
}

func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// warmMemory touches memory and gives it back, so that the page cache of the leg is made of pages that the machine below
// has backed already. On a virtual machine the first touch of a page costs many times the write itself, and who runs
// first would pay for both.
func warmMemory(n int64) error {
	b, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return syscall.Munmap(b)
}
