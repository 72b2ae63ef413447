package main

import (
	"context"
	"time"
)

// recoveryRow kills a broker with so many GiB that were never flushed. What the next one has to read is in the page cache, as
// after every end of a process that is not the machine's.
func recoveryRow(name, title string, gib int64, goals ...float64) row {
	return row{name, title, []string{"s/GiB until all partitions take records"}, goals, func(ctx context.Context, b *broker, _ int64) (figure, error) {
		const topic = "recovered"
		load := producing{size: 1 << 10, batch: 16 << 10, acks: 1, clients: 4, window: 5}
		first := producing{size: 1 << 10, acks: -1}.requests(topic)
		return secondStart{
			killed: true,
			prepare: func(x *broker) error {
				if err := createTopic(ctx, x.address, topic, partitions); err != nil {
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
				for i := range first.frames {
					if err := firstAck(ctx, x.address, requests{frames: first.frames[i : i+1]}); err != nil {
						return err
					}
				}
				f.Values = []float64{time.Since(began).Seconds() / float64(gib)}
				_, err = m.end(f)
				return err
			},
		}.run(ctx, b)
	}}
}
