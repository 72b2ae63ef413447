package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// partitionsRow gives a broker many partitions. Where a broker cannot have as many there is an error.
func partitionsRow(name, title string, topics, parts int, goals ...float64) row {
	units := []string{"s to create them", "s from the start to the first acknowledged record", "MiB RSS after that"}
	return row{name, title, units, goals, func(ctx context.Context, b *broker, _ int64) (figure, error) {
		rs := producing{size: 1 << 10, acks: -1}.requests("many-0")
		var created float64
		return secondStart{
			prepare: func(x *broker) error {
				began := time.Now()
				err := createMany(ctx, x, topics, parts)
				created = time.Since(began).Seconds()
				return err
			},
			leg: func(x *broker, began time.Time, f *figure) error {
				if err := firstAck(ctx, x.address, rs); err != nil {
					return err
				}
				f.Values = []float64{created, time.Since(began).Seconds()}
				return f.rest(x, time.Second)
			},
		}.run(ctx, b)
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
