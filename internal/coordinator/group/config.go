package group

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Config is what an operator may set. It can change while the machine runs, by the command SetConfig.
type Config struct {
	// InitialRebalanceDelay is how long the first rebalance of an empty group waits for more members
	// (group.initial.rebalance.delay.ms). Zero means no wait.
	InitialRebalanceDelay time.Duration
	// MinSessionTimeout and MaxSessionTimeout bound what members may ask for (group.min.session.timeout.ms,
	// group.max.session.timeout.ms). Zero means 6 seconds and 30 minutes.
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// MaxSize is the number of members that a group may have (group.max.size). Zero means no limit.
	MaxSize int
	// OffsetsRetention is how long offsets outlive their group's last member (offsets.retention.minutes), or the commit
	// where nobody is subscribed. Zero means 7 days.
	OffsetsRetention time.Duration
	// RetentionCheckInterval is the time between two searches for expired offsets
	// (offsets.retention.check.interval.ms). Zero means 10 minutes.
	RetentionCheckInterval time.Duration
	// MetadataMax is the longest string that may be committed with an offset, in UTF-16 units
	// (offset.metadata.max.bytes). Zero means 4096.
	MetadataMax int
	// ResultRecordsMax bounds the records of one result where the machine may go on in a later one: expired offsets and
	// offsets of deleted topics. Zero means 1000.
	ResultRecordsMax int

	// ConsumerSessionTimeout is after how long a silent member of a consumer group is removed, HeartbeatInterval how often
	// members are asked to come, AssignmentInterval the shortest time between two targets of a group
	// (group.consumer.session.timeout.ms, .heartbeat.interval.ms, .assignment.interval.ms). A group may have its own
	// within the bounds (group.consumer.min/max...). Zero means 45 seconds (45 to 60), 5 seconds (5 to 15), and 1 second
	// (0 to 15); a negative AssignmentInterval means none.
	ConsumerSessionTimeout, MinConsumerSessionTimeout, MaxConsumerSessionTimeout time.Duration
	HeartbeatInterval, MinHeartbeatInterval, MaxHeartbeatInterval                time.Duration
	AssignmentInterval, MinAssignmentInterval, MaxAssignmentInterval             time.Duration
	// ReconcilingHeartbeat is the heartbeat interval while a group is on its way to its target and for a while after a change,
	// if it is shorter than the other (group.consumer.reconciling.heartbeat.interval.ms). Zero means that there is no
	// difference, as in Kafka.
	ReconcilingHeartbeat time.Duration
	// ConsumerMaxSize is the number of members that a consumer group may have (group.consumer.max.size). Zero means no
	// limit.
	ConsumerMaxSize int
	// Assignors are the names of the assignors that members may ask for; the first is the default
	// (group.consumer.assignors). Known are uniform and range; nil means both.
	Assignors []string
	// MigrationPolicy is group.consumer.migration.policy.
	MigrationPolicy MigrationPolicy
	// RegexRefreshInterval is how old topics of a regular expression may be (group.consumer.regex.refresh.interval.ms).
	// Zero means 10 minutes.
	RegexRefreshInterval time.Duration

	// The same for streams groups (group.streams.*), and: StreamsInitialRebalanceDelay is how long an empty group waits for
	// more members before it assigns (group.streams.initial.rebalance.delay.ms; zero means no wait), StreamsStandbyReplicas
	// the number of standbys of each stateful task (group.streams.num.standby.replicas), StreamsMaxStandbyReplicas what a
	// group may have of its own (group.streams.max.standby.replicas; zero means 2, a negative number none).
	StreamsSessionTimeout, MinStreamsSessionTimeout, MaxStreamsSessionTimeout             time.Duration
	StreamsHeartbeatInterval, MinStreamsHeartbeatInterval, MaxStreamsHeartbeatInterval    time.Duration
	StreamsAssignmentInterval, MinStreamsAssignmentInterval, MaxStreamsAssignmentInterval time.Duration
	StreamsInitialRebalanceDelay                                                          time.Duration
	StreamsMaxSize, StreamsStandbyReplicas, StreamsMaxStandbyReplicas                     int

	// Share is what share groups are given.
	Share ShareConfig
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&c.MinSessionTimeout, 6*time.Second)
	def(&c.MaxSessionTimeout, 30*time.Minute)
	def(&c.OffsetsRetention, 7*24*time.Hour)
	def(&c.RetentionCheckInterval, 10*time.Minute)
	def(&c.ConsumerSessionTimeout, 45*time.Second)
	def(&c.MinConsumerSessionTimeout, 45*time.Second)
	def(&c.MaxConsumerSessionTimeout, 60*time.Second)
	def(&c.HeartbeatInterval, 5*time.Second)
	def(&c.MinHeartbeatInterval, 5*time.Second)
	def(&c.MaxHeartbeatInterval, 15*time.Second)
	def(&c.MaxAssignmentInterval, 15*time.Second)
	def(&c.RegexRefreshInterval, 10*time.Minute)
	if c.AssignmentInterval == 0 {
		c.AssignmentInterval = time.Second
	}
	def(&c.StreamsSessionTimeout, 45*time.Second)
	def(&c.MinStreamsSessionTimeout, 45*time.Second)
	def(&c.MaxStreamsSessionTimeout, 60*time.Second)
	def(&c.StreamsHeartbeatInterval, 5*time.Second)
	def(&c.MinStreamsHeartbeatInterval, 5*time.Second)
	def(&c.MaxStreamsHeartbeatInterval, 15*time.Second)
	def(&c.MaxStreamsAssignmentInterval, 15*time.Second)
	if c.StreamsAssignmentInterval == 0 {
		c.StreamsAssignmentInterval = time.Second
	}
	if c.StreamsMaxStandbyReplicas == 0 {
		c.StreamsMaxStandbyReplicas = 2
	}
	if c.StreamsMaxSize <= 0 {
		c.StreamsMaxSize = math.MaxInt32
	}
	c.Share = c.Share.withDefaults()
	c.Assignors = knownAssignors(c.Assignors)
	if len(c.Assignors) == 0 {
		c.Assignors = []string{uniformName, rangeName}
	}
	if c.ConsumerMaxSize <= 0 {
		c.ConsumerMaxSize = math.MaxInt32
	}
	if c.MaxSize <= 0 {
		c.MaxSize = math.MaxInt32
	}
	if c.MetadataMax <= 0 {
		c.MetadataMax = 4096
	}
	if c.ResultRecordsMax <= 0 {
		c.ResultRecordsMax = 1000
	}
	return c
}

// newMemberJoinTimeout is how long a member whose id its client does not know yet may wait in a JoinGroup: a client
// that went away in the meantime cannot be seen otherwise.
const newMemberJoinTimeout = 5 * time.Minute

// SetConfig is the command that replaces the configuration. Deadlines that are already set stay.
type SetConfig struct{ Config Config }

// parseMillis reads a group's own value; the controller has validated it.
func parseMillis(s string) (time.Duration, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return time.Duration(n) * time.Millisecond, err == nil
}

// knownAssignors are those that can be served. Kafka also knows its own by their classes.
func knownAssignors(names []string) []string {
	var known []string
	for _, name := range names {
		switch name {
		case "org.apache.kafka.coordinator.group.assignor.UniformAssignor":
			name = uniformName
		case "org.apache.kafka.coordinator.group.assignor.RangeAssignor":
			name = rangeName
		}
		if (name == uniformName || name == rangeName) && !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	return known
}
