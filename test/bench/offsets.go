package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetsRow commits offsets for many groups: the time from a start until every group answers with its offsets, and the
// memory then.
func offsetsRow(name, title string, groups, parts int, goals ...float64) row {
	return row{name, title, []string{"s from the start until every group answers", "MiB RSS"}, goals, func(ctx context.Context, b *broker, _ int64) (figure, error) {
		const topic = "committed"
		return secondStart{
			prepare: func(x *broker) error {
				if err := createTopic(ctx, x.address, topic, parts); err != nil {
					return err
				}
				return eachGroup(ctx, x, groups, func(c *conn, group string) error { return commitAll(c, group, topic, parts) })
			},
			leg: func(x *broker, began time.Time, f *figure) error {
				if err := x.await(ctx); err != nil {
					return err
				}
				m, err := begin(x)
				if err != nil {
					return err
				}
				if err := eachGroup(ctx, x, groups, func(c *conn, group string) error { return fetchAll(c, group, parts) }); err != nil {
					return err
				}
				f.Values = []float64{time.Since(began).Seconds(), x.rss()}
				_, err = m.end(f)
				return err
			},
		}.run(ctx, b)
	}}
}

// loadingPause is between two questions to a coordinator that loads: rare enough not to take the processor from it.
const loadingPause = 20 * time.Millisecond

// eachGroup does something for each group, over a few connections.
func eachGroup(ctx context.Context, b *broker, groups int, f func(c *conn, group string) error) error {
	const connections = 4
	return each(connections, func(i int) error {
		c, err := dial(ctx, b.address)
		if err != nil {
			return err
		}
		defer c.Close()
		for g := i; g < groups; g += connections {
			group := fmt.Sprintf("group-%d", g)
			if err := eventuallyEvery(loadingPause, func() error { return f(c, group) }); err != nil {
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
