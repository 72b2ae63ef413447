package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recoveryRow kills a broker of its own with so many GiB that were never flushed, and starts it again. What it has to read is in
// the page cache, as after every end of a process that is not the machine's.
func recoveryRow(name, title string, gib int64, goals ...float64) row {
	return row{name, title, []string{"s/GiB until all partitions take records"}, goals, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		dir, err := os.MkdirTemp(filepath.Dir(b.dir), "recovery-")
		if err != nil {
			return f, err
		}
		defer os.RemoveAll(dir)
		const topic = "recovered"
		x, err := startBroker(ctx, b.name, b.command, dir)
		if err != nil {
			return f, err
		}
		load := producing{size: 1 << 10, batch: 16 << 10, acks: 1, clients: 4, window: 5}
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
			if err := led(ctx, admin, topic, partitions); err != nil {
				return err
			}
			rs := load.requests(topic)
			return load.send(ctx, x.address, rs, gib<<30/rs.payload)
		}()
		_ = syscall.Kill(-x.cmd.Process.Pid, syscall.SIGKILL)
		if ended := <-x.ended; err == nil && ended == nil {
			err = fmt.Errorf("it ended before it was killed\n%s", x.said())
		}
		if err != nil {
			return f, err
		}
		rs := producing{size: 1 << 10, acks: -1}.requests(topic)
		began := time.Now()
		if x, err = launch(b.name, b.command, dir, x.address); err != nil {
			return f, err
		}
		defer x.stop()
		m, err := begin(x)
		if err != nil {
			return f, err
		}
		for i := range rs.frames {
			if err := firstAck(ctx, x.address, requests{frames: rs.frames[i : i+1]}); err != nil {
				return f, fmt.Errorf("%w\n%s", err, x.said())
			}
		}
		f.Values = []float64{time.Since(began).Seconds() / float64(gib)}
		_, err = m.end(&f)
		return f, err
	}}
}
