package main

import (
	"context"
	"time"
)

// startLeg starts a broker on a directory that one has written and left cleanly.
func startLeg(ctx context.Context, b *broker, _ int64) (figure, error) {
	const topic = "first"
	rs := producing{size: 1 << 10, acks: -1}.requests(topic)
	return secondStart{
		prepare: func(x *broker) error { return createTopic(ctx, x.address, topic, partitions) },
		leg: func(x *broker, began time.Time, f *figure) error {
			if err := firstAck(ctx, x.address, rs); err != nil {
				return err
			}
			f.Values = append(f.Values, time.Since(began).Seconds()*1000)
			return f.rest(x, 3*time.Second)
		},
	}.run(ctx, b)
}

// rest adds the memory of a broker that has had nothing to do for a while.
func (f *figure) rest(x *broker, d time.Duration) error {
	m, err := begin(x)
	if err != nil {
		return err
	}
	time.Sleep(d)
	f.Values = append(f.Values, x.rss())
	_, err = m.end(f)
	return err
}

// firstAck tries until a record is acknowledged.
func firstAck(ctx context.Context, address string, rs requests) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := func() error {
			c, err := dial(ctx, address)
			if err != nil {
				return err
			}
			defer c.Close()
			for {
				if _, err := c.Write(rs.frames[0]); err != nil {
					return err
				}
				if err = c.acknowledged(); err == nil {
					return nil
				}
				if ctx.Err() != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
		}()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}
