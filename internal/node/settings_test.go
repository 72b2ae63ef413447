package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/coordinator/share"
	"github.com/klamm-io/klamm/internal/logdir"
)

func TestCleanerConfig(t *testing.T) {
	of := func(props map[string]string) logdir.CleanerConfig {
		t.Helper()
		n, _, err := config.NewNode(props)
		if err != nil {
			t.Fatal(err)
		}
		v, err := n.Layers(nil, nil).Broker()
		if err != nil {
			t.Fatal(err)
		}
		return cleanerConfig(v)
	}
	got := of(map[string]string{
		"log.cleaner.enable": "false", "log.cleaner.threads": "3", "log.cleaner.dedupe.buffer.size": "5000000",
		"log.cleaner.io.buffer.load.factor": "0.7", "log.cleaner.io.buffer.size": "1000", "log.cleaner.io.max.bytes.per.second": "1e6",
		"log.cleaner.backoff.ms": "0",
	})
	want := logdir.CleanerConfig{Off: true, Threads: 3, MapBytes: 5_000_000, LoadFactor: 0.7, BufferBytes: 1000, BytesPerSecond: 1e6, Backoff: time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if got := of(nil); got.Off || got.Threads != 1 || got.MapBytes != 128<<20 || got.BufferBytes != 512<<10 || got.Backoff != 15*time.Second {
		t.Fatalf("defaults: %+v", got)
	}
}

// Each key of compaction reaches a topic's log, from the broker's configuration and from the topic's own.
func TestCompactionOfATopic(t *testing.T) {
	n, _, err := config.NewNode(map[string]string{
		"log.cleanup.policy": "compact,delete", "log.cleaner.min.cleanable.ratio": "0.25", "log.cleaner.delete.retention.ms": "1000",
		"log.cleaner.min.compaction.lag.ms": "2000", "log.cleaner.max.compaction.lag.ms": "3000",
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := n.Layers(nil, nil).Broker()
	if err != nil {
		t.Fatal(err)
	}
	c := logConfig(v.TopicDefaults())
	if !c.Compact || !c.Delete || c.DirtyRatio != 0.25 || c.DeleteRetention != time.Second || c.MinCompactionLag != 2*time.Second || c.MaxCompactionLag != 3*time.Second {
		t.Fatalf("%+v", c)
	}
	tv, err := v.TopicDefaults().With(map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.75", "delete.retention.ms": "4000",
		"min.compaction.lag.ms": "5000", "max.compaction.lag.ms": "6000"})
	if err != nil {
		t.Fatal(err)
	}
	c = logConfig(tv)
	if !c.Compact || c.Delete || c.DirtyRatio != 0.75 || c.DeleteRetention != 4*time.Second || c.MinCompactionLag != 5*time.Second || c.MaxCompactionLag != 6*time.Second {
		t.Fatalf("%+v", c)
	}
}

// groupConfigOf is what a node with these properties gives its group coordinator.
func groupConfigOf(t *testing.T, props map[string]string) group.Config {
	t.Helper()
	n, _, err := config.NewNode(props)
	if err != nil {
		t.Fatal(config.Explain(err))
	}
	v, err := n.Layers(nil, nil).Broker()
	if err != nil {
		t.Fatal(err)
	}
	return groupConfig(v)
}

// The keys group.consumer.* reach the group coordinator.
func TestConsumerGroupConfig(t *testing.T) {
	of := func(props map[string]string) group.Config { return groupConfigOf(t, props) }
	got := of(map[string]string{
		"group.consumer.session.timeout.ms": "30000", "group.consumer.min.session.timeout.ms": "20000", "group.consumer.max.session.timeout.ms": "40000",
		"group.consumer.heartbeat.interval.ms": "2000", "group.consumer.min.heartbeat.interval.ms": "1000", "group.consumer.max.heartbeat.interval.ms": "3000",
		"group.consumer.assignment.interval.ms": "0", "group.consumer.min.assignment.interval.ms": "0", "group.consumer.max.assignment.interval.ms": "4000",
		"group.consumer.max.size": "7", "group.consumer.assignors": "range", "group.consumer.migration.policy": "upgrade",
		"group.consumer.regex.refresh.interval.ms": "11000", "group.consumer.reconciling.heartbeat.interval.ms": "300",
	})
	want := of(nil)
	want.ConsumerSessionTimeout, want.MinConsumerSessionTimeout, want.MaxConsumerSessionTimeout = 30*time.Second, 20*time.Second, 40*time.Second
	want.HeartbeatInterval, want.MinHeartbeatInterval, want.MaxHeartbeatInterval = 2*time.Second, time.Second, 3*time.Second
	want.ReconcilingHeartbeat = 300 * time.Millisecond
	want.AssignmentInterval, want.MaxAssignmentInterval = -1, 4*time.Second // a negative one means none
	want.ConsumerMaxSize, want.Assignors, want.MigrationPolicy, want.RegexRefreshInterval = 7, []string{"range"}, group.MigrateUp, 11*time.Second
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	for policy, want := range map[string]group.MigrationPolicy{"Bidirectional": group.MigrateBoth, "DISABLED": group.MigrateNone, "downgrade": group.MigrateDown} {
		if got := of(map[string]string{"group.consumer.migration.policy": policy}).MigrationPolicy; got != want {
			t.Fatalf("%s is %d", policy, got)
		}
	}
}

// The keys group.streams.* reach the group coordinator.
func TestStreamsGroupConfig(t *testing.T) {
	of := func(props map[string]string) group.Config { return groupConfigOf(t, props) }
	got := of(map[string]string{
		"group.streams.session.timeout.ms": "30000", "group.streams.min.session.timeout.ms": "20000", "group.streams.max.session.timeout.ms": "40000",
		"group.streams.heartbeat.interval.ms": "2000", "group.streams.min.heartbeat.interval.ms": "1000", "group.streams.max.heartbeat.interval.ms": "3000",
		"group.streams.assignment.interval.ms": "0", "group.streams.min.assignment.interval.ms": "0", "group.streams.max.assignment.interval.ms": "4000",
		"group.streams.initial.rebalance.delay.ms": "0", "group.streams.max.size": "7", "group.streams.num.standby.replicas": "0",
		"group.streams.max.standby.replicas": "0",
	})
	want := of(nil)
	if want.StreamsInitialRebalanceDelay != 3*time.Second || want.StreamsMaxStandbyReplicas != 2 {
		t.Fatalf("defaults: %+v", want)
	}
	want.StreamsSessionTimeout, want.MinStreamsSessionTimeout, want.MaxStreamsSessionTimeout = 30*time.Second, 20*time.Second, 40*time.Second
	want.StreamsHeartbeatInterval, want.MinStreamsHeartbeatInterval, want.MaxStreamsHeartbeatInterval = 2*time.Second, time.Second, 3*time.Second
	want.StreamsAssignmentInterval, want.MaxStreamsAssignmentInterval = -1, 4*time.Second // a negative one means none
	want.StreamsInitialRebalanceDelay, want.StreamsMaxSize, want.StreamsMaxStandbyReplicas = 0, 7, -1
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if got := of(map[string]string{"group.streams.num.standby.replicas": "1"}).StreamsStandbyReplicas; got != 1 {
		t.Fatalf("%d standbys", got)
	}
}

// The keys group.share.* reach the group coordinator, share.coordinator.* the share coordinator.
func TestShareConfig(t *testing.T) {
	n, _, err := config.NewNode(map[string]string{
		"group.share.session.timeout.ms": "30000", "group.share.min.session.timeout.ms": "20000", "group.share.max.session.timeout.ms": "40000",
		"group.share.heartbeat.interval.ms": "2000", "group.share.min.heartbeat.interval.ms": "1000", "group.share.max.heartbeat.interval.ms": "3000",
		"group.share.assignment.interval.ms": "0", "group.share.min.assignment.interval.ms": "0", "group.share.max.assignment.interval.ms": "4000",
		"group.share.max.size": "7", "group.share.initialize.retry.interval.ms": "9000",
		"share.coordinator.snapshot.update.records.per.snapshot": "0", "share.coordinator.cold.partition.snapshot.interval.ms": "5000",
		"share.coordinator.state.topic.prune.interval.ms": "6000",
	})
	if err != nil {
		t.Fatal(config.Explain(err))
	}
	v, err := n.Layers(nil, nil).Broker()
	if err != nil {
		t.Fatal(err)
	}
	want := group.ShareConfig{
		SessionTimeout: 30 * time.Second, MinSessionTimeout: 20 * time.Second, MaxSessionTimeout: 40 * time.Second,
		HeartbeatInterval: 2 * time.Second, MinHeartbeatInterval: time.Second, MaxHeartbeatInterval: 3 * time.Second,
		AssignmentInterval: -1, MaxAssignmentInterval: 4 * time.Second, MaxSize: 7, InitializeRetry: 9 * time.Second, // a negative one means none
	}
	if diff := cmp.Diff(want, groupConfig(v).Share); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	state := share.Config{UpdatesPerSnapshot: -1, ColdInterval: 5 * time.Second, PruneInterval: 6 * time.Second} // a negative one means none
	if diff := cmp.Diff(state, shareConfig(v)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}
