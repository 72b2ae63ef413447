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

// startLeg starts a broker of b's kind on a directory that one has written and left cleanly.
func startLeg(ctx context.Context, b *broker, _ int64) (f figure, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(b.dir), "start-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	const topic = "first"
	x, err := startBroker(ctx, b.name, b.command, dir)
	if err != nil {
		return f, err
	}
	err = func() error {
		c, err := kgo.NewClient(kgo.SeedBrokers(x.address), kgo.MetadataMinAge(50*time.Millisecond))
		if err != nil {
			return err
		}
		defer c.Close()
		admin := kadm.NewClient(c)
		if _, err := admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			return err
		}
		return led(ctx, admin, topic, partitions)
	}()
	x.stop()
	if err != nil {
		return f, err
	}
	rs := producing{size: 1 << 10, acks: -1}.requests(topic)
	began := time.Now()
	if x, err = launch(b.name, b.command, dir, x.address); err != nil {
		return f, err
	}
	defer x.stop()
	if err := firstAck(ctx, x.address, rs); err != nil {
		return f, fmt.Errorf("%w\n%s", err, x.said())
	}
	f.Values = append(f.Values, time.Since(began).Seconds()*1000)
	m, err := begin(x)
	if err != nil {
		return f, err
	}
	time.Sleep(3 * time.Second)
	f.Values = append(f.Values, x.rss())
	_, err = m.end(&f)
	return f, err
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
