package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetsRow starts a broker of its own, commits offsets for many groups, and starts it again: the time until every group
// answers with its offsets, and the memory then.
func offsetsRow(name, title string, groups, parts int, goals ...float64) row {
	return row{name, title, []string{"s from the start until every group answers", "MiB RSS"}, goals, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		dir, err := os.MkdirTemp(filepath.Dir(b.dir), "offsets-")
		if err != nil {
			return f, err
		}
		defer os.RemoveAll(dir)
		const topic = "committed"
		x, err := startBroker(ctx, b.name, b.command, dir)
		if err != nil {
			return f, err
		}
		err = eachGroup(ctx, x, groups, func(c *conn, group string) error { return commitAll(c, group, topic, parts) }, func() error {
			c, err := kgo.NewClient(kgo.SeedBrokers(x.address), kgo.MetadataMinAge(50*time.Millisecond))
			if err != nil {
				return err
			}
			defer c.Close()
			admin := kadm.NewClient(c)
			if _, err := admin.CreateTopic(ctx, int32(parts), 1, nil, topic); err != nil {
				return err
			}
			return led(ctx, admin, topic, parts)
		})
		x.stop()
		if err != nil {
			return f, err
		}
		began := time.Now()
		if x, err = startBroker(ctx, b.name, b.command, dir); err != nil {
			return f, err
		}
		defer x.stop()
		m, err := begin(x)
		if err != nil {
			return f, err
		}
		if err := eachGroup(ctx, x, groups, func(c *conn, group string) error { return fetchAll(c, group, parts) }, nil); err != nil {
			return f, fmt.Errorf("%w\n%s", err, x.said())
		}
		took := time.Since(began).Seconds()
		_, err = m.end(&f)
		f.Values = []float64{took, x.rss()}
		return f, err
	}}
}

// eachGroup does something for each group, over a few connections.
func eachGroup(ctx context.Context, b *broker, groups int, f func(c *conn, group string) error, first func() error) error {
	if first != nil {
		if err := first(); err != nil {
			return err
		}
	}
	const connections = 4
	return each(connections, func(i int) error {
		c, err := dial(ctx, b.address)
		if err != nil {
			return err
		}
		defer c.Close()
		for g := i; g < groups; g += connections {
			group := fmt.Sprintf("group-%d", g)
			if err := eventually(func() error { return f(c, group) }); err != nil {
				return fmt.Errorf("%s: %w", group, err)
			}
		}
		return nil
	})
}

func commitAll(c *conn, group, topic string, parts int) error {
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKeys = 4, []string{group}
	found := kmsg.NewPtrFindCoordinatorResponse()
	if err := c.ask(find, found); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(found.Coordinators[0].ErrorCode); err != nil {
		return err
	}
	m := &member{conn: c, group: group, topic: topic}
	return m.commit(parts)
}

func fetchAll(c *conn, group string, parts int) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 8
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: group}}
	resp := kmsg.NewPtrOffsetFetchResponse()
	if err := c.ask(req, resp); err != nil {
		return err
	}
	g := resp.Groups[0]
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		return err
	}
	if len(g.Topics) != 1 || len(g.Topics[0].Partitions) != parts {
		return fmt.Errorf("the offsets of %d topics came back, want %d of one", len(g.Topics), parts)
	}
	return nil
}
