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

// secondStart measures how a broker comes up on a directory that another one of its kind has used. Neither is the one that lives
// through the whole run.
type secondStart struct {
	prepare func(x *broker) error                             // what the first does
	killed  bool                                              // it is not stopped
	leg     func(x *broker, began time.Time, f *figure) error // x has been launched at began, and may not answer yet
}

func (s secondStart) run(ctx context.Context, b *broker) (f figure, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(b.dir), "second-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	x, err := startBroker(ctx, b.name, b.command, dir)
	if err != nil {
		return f, err
	}
	err = s.prepare(x)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, x.said())
	}
	if s.killed {
		_ = syscall.Kill(-x.cmd.Process.Pid, syscall.SIGKILL)
		if ended := <-x.ended; err == nil && ended == nil {
			err = fmt.Errorf("it ended before it was killed\n%s", x.said())
		}
	} else {
		x.stop()
	}
	if err != nil {
		return f, err
	}
	began := time.Now()
	if x, err = launch(b.name, b.command, dir, x.address); err != nil {
		return f, err
	}
	defer x.stop()
	if err := s.leg(x, began, &f); err != nil {
		return f, fmt.Errorf("%w\n%s", err, x.said())
	}
	return f, nil
}

// createTopic returns when the topic's partitions have their leader.
func createTopic(ctx context.Context, address, topic string, parts int) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	if _, err := admin.CreateTopic(ctx, int32(parts), 1, nil, topic); err != nil {
		return err
	}
	return led(ctx, admin, topic, parts)
}

func deleteTopic(ctx context.Context, address, topic string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).DeleteTopic(ctx, topic)
	return err
}
