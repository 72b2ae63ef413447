//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// must gives the value of a call that has to succeed, in its parts too where kadm keeps their errors inside.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		switch inside := any(v).(type) {
		case interface{ Error() error }:
			err = errors.Join(err, inside.Error())
		case kadm.AlterConfigsResponses:
			for _, r := range inside {
				err = errors.Join(err, r.Err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// populate gives the node some of everything that it has to keep, and returns the id of a producer.
func populate(t *testing.T, addr string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	c := newClient(t, addr, kgo.DefaultProduceTopic("a"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(c)
	hour := "3600000"
	must[kadm.CreateTopicResponses](t)(adm.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": &hour}, "a", "b", "gone"))
	must[kadm.DeleteTopicResponses](t)(adm.DeleteTopics(ctx, "gone"))
	must[kadm.CreatePartitionsResponses](t)(adm.UpdatePartitions(ctx, 5, "b"))
	for resource, name := range map[string]string{"a": "max.message.bytes", "b": "segment.bytes"} {
		value := "2097152"
		must[kadm.AlterConfigsResponses](t)(adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, resource))
	}
	threads := "2"
	must[kadm.AlterConfigsResponses](t)(adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.cleaner.threads", Value: &threads}}))
	for i := range 30 {
		if err := c.ProduceSync(ctx, &kgo.Record{Partition: int32(i % 3), Value: fmt.Appendf(nil, "%d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	must[kadm.DeleteRecordsResponses](t)(adm.DeleteRecords(ctx, kadm.Offsets{"a": {1: {Topic: "a", Partition: 1, At: 4}}}))

	member := newClient(t, addr, kgo.ConsumerGroup("members"), kgo.ConsumeTopics("a"), kgo.InstanceID("static"), kgo.DisableAutoCommit())
	for got := 0; got < 26; {
		f := member.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		got += f.NumRecords()
	}
	if err := member.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	member.Close() // a static member leaves no group by closing

	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "a", Partition: 2, At: 7, LeaderEpoch: -1, Metadata: "a note"})
	must[kadm.OffsetResponses](t)(adm.CommitOffsets(ctx, "simple", offsets))
	must[kadm.OffsetResponses](t)(adm.CommitOffsets(ctx, "deleted", offsets))
	must[kadm.DeleteGroupResponses](t)(adm.DeleteGroups(ctx, "deleted"))
	pid, _, err := c.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// observe says what a client sees of what populate made, as text. A start offset that DeleteRecords moved inside a segment
// is written down once a minute (log.flush.start.offset.checkpoint.interval.ms) and at a clean stop; kill -9 may lose it.
func observe(t *testing.T, addr string, startOffsets bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	adm := kadm.NewClient(newClient(t, addr))
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

	m := must[kadm.Metadata](t)(adm.Metadata(ctx))
	line("cluster %s", m.Cluster)
	for _, topic := range m.Topics.Sorted() {
		line("topic %s %s internal=%v partitions=%d", topic.Topic, topic.ID, topic.IsInternal, len(topic.Partitions))
	}
	configs := must[kadm.ResourceConfigs](t)(adm.DescribeTopicConfigs(ctx, "a", "b"))
	configs = append(configs, must[kadm.ResourceConfigs](t)(adm.DescribeBrokerConfigs(ctx))...)
	for _, r := range configs {
		for _, c := range r.Configs {
			if s := c.Source.String(); strings.HasPrefix(s, "DYNAMIC") {
				line("config %q %s=%s %s", r.Name, c.Key, c.MaybeValue(), s)
			}
		}
	}
	if startOffsets {
		must[kadm.ListedOffsets](t)(adm.ListStartOffsets(ctx, "a", "b")).Each(func(o kadm.ListedOffset) { line("start %s-%d %d", o.Topic, o.Partition, o.Offset) })
	}
	must[kadm.ListedOffsets](t)(adm.ListEndOffsets(ctx, "a", "b")).Each(func(o kadm.ListedOffset) { line("end %s-%d %d", o.Topic, o.Partition, o.Offset) })
	groups, err := adm.DescribeGroups(ctx, "members", "simple", "deleted")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Sorted() {
		line("group %s %s %s members=%d %v", g.Group, g.ProtocolType, g.State, len(g.Members), g.Err)
		for _, member := range g.Members {
			line("member %s %s", *member.InstanceID, member.MemberID)
		}
		for _, o := range must[kadm.OffsetResponses](t)(adm.FetchOffsets(ctx, g.Group)).Sorted() {
			line("offset %s %s-%d %d %q", g.Group, o.Topic, o.Partition, o.At, o.Metadata)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
