package node

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/storage"
)

// logConfig turns a topic's values into what its logs need.
func logConfig(v config.Values) storage.Config {
	c := storage.Config{
		SegmentBytes: v.Int("segment.bytes"), SegmentAge: v.Duration("segment.ms"), SegmentJitter: v.Duration("segment.jitter.ms"),
		IndexBytes: v.Int("segment.index.bytes"), IndexInterval: v.Int("index.interval.bytes"),
		RetentionAge: endless(v.Duration("retention.ms")), RetentionBytes: v.Int64("retention.bytes"), FileDeleteDelay: v.Duration("file.delete.delay.ms"),
		FlushMessages: v.Int64("flush.messages"), FlushAge: v.Duration("flush.ms"), Preallocate: v.Bool("preallocate"),
		MaxMessageBytes: v.Int("max.message.bytes"), LogAppendTime: v.String("message.timestamp.type") == "LogAppendTime",
		TimestampBefore: v.Duration("message.timestamp.before.max.ms"), TimestampAfter: v.Duration("message.timestamp.after.max.ms"),
		GzipLevel: v.Int("compression.gzip.level"), LZ4Level: v.Int("compression.lz4.level"), ZstdLevel: v.Int("compression.zstd.level"),
		HeaderOnly:      v.String("produce.validation") == "header",
		DeleteRetention: v.Duration("delete.retention.ms"), MinCompactionLag: v.Duration("min.compaction.lag.ms"),
		MaxCompactionLag: v.Duration("max.compaction.lag.ms"), DirtyRatio: v.Float("min.cleanable.dirty.ratio"),
	}
	if v.IsSet("internal.segment.bytes") {
		c.SegmentBytes = v.Int("internal.segment.bytes")
	}
	for _, p := range v.List("cleanup.policy") {
		c.Delete = c.Delete || p == "delete"
		c.Compact = c.Compact || p == "compact"
	}
	switch name := v.String("compression.type"); name {
	case "producer":
		c.KeepCodec = true
	case "uncompressed":
		c.Codec = record.None
	default:
		c.Codec, _ = record.ParseCodec(name) // validated with the key
	}
	return c
}

// endless maps Kafka's -1 ("no limit") to what the log says for it.
func endless(d time.Duration) time.Duration {
	if d < 0 {
		return -1
	}
	return d
}

// topicDefaults is what topics have that override nothing, made of the broker's values. A node has many such.
type topicDefaults struct {
	broker *config.Values
	values config.Values
	config replica.TopicConfig
}

func (n *Node) topicConfig(topic string) replica.TopicConfig {
	broker, d := n.values.Load(), n.topicDefaults.Load()
	if d == nil || d.broker != broker {
		d = &topicDefaults{broker: broker, values: broker.TopicDefaults()}
		d.config = d.of(d.values)
		n.topicDefaults.Store(d)
	}
	own := n.image().Config(metadata.TopicConfig, topic)
	if len(own) == 0 {
		return d.config
	}
	v, err := d.values.With(own)
	if err != nil { // stored values were validated when they were written
		return d.config
	}
	return d.of(v)
}

func (d *topicDefaults) of(v config.Values) replica.TopicConfig {
	c := logConfig(v)
	c.VerifyTransactions = d.broker.Bool("transaction.partition.verification.enable")
	return replica.TopicConfig{Log: c, MinISR: v.Int("min.insync.replicas")}
}

func intervals(v config.Values) logdir.Intervals {
	return logdir.Intervals{
		RecoveryCheckpoint: v.Duration("log.flush.offset.checkpoint.interval.ms"),
		StartCheckpoint:    v.Duration("log.flush.start.offset.checkpoint.interval.ms"),
		HighWatermark:      v.Duration("replica.high.watermark.checkpoint.interval.ms"),
		Flush:              flushInterval(v),
		Retention:          v.Duration("log.retention.check.interval.ms"),
		ProducerExpiry:     v.Duration("producer.id.expiration.check.interval.ms"),
		InitialDelay:       v.Duration("log.initial.task.delay.ms"),
	}
}

// cleanerConfig says how logs are compacted. Zero means a default there, so the smallest values stand for Kafka's zeros.
func cleanerConfig(v config.Values) logdir.CleanerConfig {
	return logdir.CleanerConfig{
		Off: !v.Bool("log.cleaner.enable"), Threads: v.Int("log.cleaner.threads"), MapBytes: v.Int64("log.cleaner.dedupe.buffer.size"),
		LoadFactor: v.Float("log.cleaner.io.buffer.load.factor"), BufferBytes: max(v.Int("log.cleaner.io.buffer.size"), 1),
		BytesPerSecond: v.Float("log.cleaner.io.max.bytes.per.second"), Backoff: max(v.Duration("log.cleaner.backoff.ms"), time.Millisecond),
	}
}

// moveRate is how fast replicas are copied to other directories of this node; 0: as fast as it goes.
func moveRate(v config.Values) int64 {
	if r := v.Int64("replica.alter.log.dirs.io.max.bytes.per.second"); r < math.MaxInt64 {
		return max(r, 1)
	}
	return 0
}

func flushInterval(v config.Values) time.Duration {
	if d := v.Duration("log.flush.scheduler.interval.ms"); d < time.Duration(math.MaxInt64) {
		return d
	}
	return 0
}

func groupConfig(v config.Values) group.Config {
	return streamsConfig(group.Config{
		InitialRebalanceDelay: v.Duration("group.initial.rebalance.delay.ms"),
		MinSessionTimeout:     v.Duration("group.min.session.timeout.ms"), MaxSessionTimeout: v.Duration("group.max.session.timeout.ms"),
		MaxSize: v.Int("group.max.size"), OffsetsRetention: time.Duration(v.Int("offsets.retention.minutes")) * time.Minute,
		RetentionCheckInterval: v.Duration("offsets.retention.check.interval.ms"), MetadataMax: v.Int("offset.metadata.max.bytes"),

		ConsumerSessionTimeout:    v.Duration("group.consumer.session.timeout.ms"),
		MinConsumerSessionTimeout: v.Duration("group.consumer.min.session.timeout.ms"),
		MaxConsumerSessionTimeout: v.Duration("group.consumer.max.session.timeout.ms"),
		HeartbeatInterval:         v.Duration("group.consumer.heartbeat.interval.ms"),
		MinHeartbeatInterval:      v.Duration("group.consumer.min.heartbeat.interval.ms"),
		MaxHeartbeatInterval:      v.Duration("group.consumer.max.heartbeat.interval.ms"),
		ReconcilingHeartbeat:      v.Duration("group.consumer.reconciling.heartbeat.interval.ms"),
		AssignmentInterval:        cmp.Or(v.Duration("group.consumer.assignment.interval.ms"), -1),
		MinAssignmentInterval:     v.Duration("group.consumer.min.assignment.interval.ms"),
		MaxAssignmentInterval:     v.Duration("group.consumer.max.assignment.interval.ms"),
		ConsumerMaxSize:           v.Int("group.consumer.max.size"),
		Assignors:                 v.List("group.consumer.assignors"),
		MigrationPolicy:           migrationPolicy(v.String("group.consumer.migration.policy")),
		RegexRefreshInterval:      v.Duration("group.consumer.regex.refresh.interval.ms"),
		Share:                     shareGroupConfig(v),
	}, v)
}

func migrationPolicy(s string) group.MigrationPolicy {
	switch strings.ToUpper(s) {
	case "DISABLED":
		return group.MigrateNone
	case "UPGRADE":
		return group.MigrateUp
	case "DOWNGRADE":
		return group.MigrateDown
	}
	return group.MigrateBoth
}

// definitions tells the controller about configurations (controller.Configs). It knows what the node was started with;
// dynamic values are in the controller's own image.
type definitions struct {
	node   config.Node
	static config.Values // of a topic that overrides nothing, where nothing is dynamic
}

func define(c config.Node) definitions {
	v, _ := c.Layers(nil, nil).Topic(nil) // without dynamic values there is no error
	return definitions{c, v}
}

// Resource types.
const (
	topicResource   = 2
	brokerResource  = 4
	metricsResource = 16
	groupResource   = 32
)

func scopeOf(t int8) (config.Scope, bool) {
	switch t {
	case topicResource:
		return config.Topic, true
	case brokerResource:
		return config.Broker, true
	case groupResource:
		return config.Group, true
	}
	return 0, false
}

// Validate implements controller.Configs.
func (d definitions) Validate(t int8, name string, values, old map[string]string) error {
	l := d.node.Layers(nil, nil)
	switch t {
	case topicResource:
		return l.ValidateTopic(old, values)
	case groupResource:
		return l.ValidateGroup(values)
	case brokerResource:
		for _, key := range []string{"listeners", "listener.security.protocol.map", "advertised.listeners"} {
			if values[key] != old[key] {
				return &invalidRequest{fmt.Errorf("Cannot update these configs dynamically: Set(%s)", key)}
			}
		}
		if err := l.ValidateBroker(values, name != ""); err != nil {
			return &invalidRequest{err}
		}
	case metricsResource:
		return &invalidRequest{errNoTelemetry}
	}
	return nil
}

// invalidRequest gives an error the code that Kafka has for brokers' values.
type invalidRequest struct{ err error }

func (e *invalidRequest) Error() string { return e.err.Error() }
func (e *invalidRequest) Unwrap() error { return kerr.InvalidRequest }

// IsList implements controller.Configs.
func (d definitions) IsList(t int8, key string) bool {
	s, ok := scopeOf(t)
	if !ok {
		return false
	}
	k, ok := config.Lookup(s, key)
	return ok && k.Type == config.List
}

// Default implements controller.Configs.
func (d definitions) Default(t int8, key string) (string, bool) {
	s, ok := scopeOf(t)
	if !ok {
		return "", false
	}
	k, ok := config.Lookup(s, key)
	return k.Default, ok && !k.NoDefault
}

// Static implements controller.Configs.
func (d definitions) Static(key string) string {
	text, _ := d.static.Text(key)
	return text
}

// Topic implements controller.Configs.
func (d definitions) Topic(cluster, node, topic map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	var out []kmsg.CreateTopicsResponseTopicConfig
	for _, e := range d.node.Layers(cluster, node).Describe(config.Topic, topic) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Source, c.IsSensitive, c.ReadOnly = e.Key.Name, int8(e.Source), e.Key.Sensitive, e.ReadOnly
		if !e.Null {
			value := e.Value
			c.Value = &value
		}
		out = append(out, c)
	}
	return out
}

// layers are the node's configuration with the dynamic values of an image.
func (n *Node) layersOf(image *metadata.Image) config.Layers {
	return n.config.Layers(image.Config(metadata.BrokerConfig, ""), image.Config(metadata.BrokerConfig, strconv.Itoa(int(n.config.NodeID))))
}
