package group

import (
	"math"
	"time"
)

// ShareConfig is what an operator may set for share groups (group.share.*). A group may have its own session timeout,
// heartbeat interval and assignment interval within the bounds.
type ShareConfig struct {
	// Zero means 45 seconds (45 to 60), 5 seconds (5 to 15), and 1 second (0 to 15); a negative AssignmentInterval means
	// none.
	SessionTimeout, MinSessionTimeout, MaxSessionTimeout             time.Duration
	HeartbeatInterval, MinHeartbeatInterval, MaxHeartbeatInterval    time.Duration
	AssignmentInterval, MinAssignmentInterval, MaxAssignmentInterval time.Duration
	// MaxSize is the number of members that a share group may have. Zero means 200.
	MaxSize int
	// InitializeRetry is after how long a share partition that is being initialized is tried again
	// (group.share.initialize.retry.interval.ms). Zero means 30 seconds.
	InitializeRetry time.Duration
}

func (c ShareConfig) withDefaults() ShareConfig {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&c.SessionTimeout, 45*time.Second)
	def(&c.MinSessionTimeout, 45*time.Second)
	def(&c.MaxSessionTimeout, 60*time.Second)
	def(&c.HeartbeatInterval, 5*time.Second)
	def(&c.MinHeartbeatInterval, 5*time.Second)
	def(&c.MaxHeartbeatInterval, 15*time.Second)
	def(&c.MaxAssignmentInterval, 15*time.Second)
	def(&c.InitializeRetry, 30*time.Second)
	if c.AssignmentInterval == 0 {
		c.AssignmentInterval = time.Second
	}
	if c.MaxSize <= 0 {
		c.MaxSize = 200
	}
	c.MaxSize = min(c.MaxSize, math.MaxInt32)
	return c
}
