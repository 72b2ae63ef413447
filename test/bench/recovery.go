package main

import (
	"context"
	"time"
)

// recoveryRow kills a broker with so many GiB that were never flushed. What the next one has to read is in the page cache, as
// after every end of a process that is not the machine's. A partition that never took a record has nothing to recover.
func recoveryRow(name, title string, gib int64, goals ...float64) row {
	return row{name, title, []string{"s/GiB until all partitions take records", "ms until one takes records that had none"}, goals, func(ctx context.Context, b *broker, _ int64) (figure, error) {
		const topic, empty = "recovered", "empty"
		load := producing{size: 1 << 10, batch: 16 << 10, acks: 1, clients: 4, window: 5}
		small := producing{size: 1 << 10, acks: -1}
		first := small.requests(topic)
		return secondStart{
			killed: true,
			prepare: func(x *broker) error {
				if err := createTopic(ctx, x.address, topic, partitions); err != nil {
					return err
				}
				if err := createTopic(ctx, x.address, empty, partitions); err != nil {
					return err
				}
				rs := load.requests(topic)
				return load.send(ctx, x.address, rs, gib<<30/rs.payload)
			},
			leg: func(x *broker, began time.Time, f *figure) error {
				m, err := begin(x)
				if err != nil {
					return err
				}
				if err := firstAck(ctx, x.address, small.requests(empty)); err != nil {
					return err
				}
				early := time.Since(began)
				for i := range first.frames {
					if err := firstAck(ctx, x.address, requests{frames: first.frames[i : i+1]}); err != nil {
						return err
					}
				}
				f.Values = []float64{time.Since(began).Seconds() / float64(gib), float64(early.Microseconds()) / 1000}
				_, err = m.end(f)
				return err
			},
		}.run(ctx, b)
	}}
}
