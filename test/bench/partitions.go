package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitionsRow gives a broker of its own many partitions, and starts it again. Where a broker cannot have as many there is an
// error.
func partitionsRow(name, title string, topics, parts int, goals ...float64) row {
	return row{name, title, []string{"s to create them", "s from the start to the first acknowledged record", "MiB RSS after that"}, goals,
		func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
			dir, err := os.MkdirTemp(filepath.Dir(b.dir), "partitions-")
			if err != nil {
				return f, err
			}
			defer os.RemoveAll(dir)
			x, err := startBroker(ctx, b.name, b.command, dir)
			if err != nil {
				return f, err
			}
			began := time.Now()
			err = createMany(ctx, x, topics, parts)
			took := time.Since(began).Seconds()
			x.stop()
			if err != nil {
				return f, fmt.Errorf("%w\n%s", err, x.said())
			}
			rs := producing{size: 1 << 10, acks: -1}.requests("many-0")
			began = time.Now()
			if x, err = launch(b.name, b.command, dir, x.address); err != nil {
				return f, err
			}
			defer x.stop()
			if err := firstAck(ctx, x.address, rs); err != nil {
				return f, fmt.Errorf("%w\n%s", err, x.said())
			}
			f.Values = []float64{took, time.Since(began).Seconds()}
			m, err := begin(x)
			if err != nil {
				return f, err
			}
			time.Sleep(time.Second)
			f.Values = append(f.Values, x.rss())
			_, err = m.end(&f)
			return f, err
		}}
}

// createMany returns when all partitions have their leader.
func createMany(ctx context.Context, b *broker, topics, parts int) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.MetadataMinAge(50*time.Millisecond), kgo.RequestTimeoutOverhead(5*time.Minute))
	if err != nil {
		return err
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	admin.SetTimeoutMillis(300_000)
	const together = 100 // topics in a request
	for i := 0; i < topics; i += together {
		var names []string
		for k := i; k < min(i+together, topics); k++ {
			names = append(names, fmt.Sprintf("many-%d", k))
		}
		made, err := admin.CreateTopics(ctx, int32(parts), 1, nil, names...)
		if err == nil {
			err = made.Error()
		}
		if err != nil {
			return err
		}
	}
	return led(ctx, admin, fmt.Sprintf("many-%d", topics-1), parts)
}
