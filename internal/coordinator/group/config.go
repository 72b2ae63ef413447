package group

import (
	"math"
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
