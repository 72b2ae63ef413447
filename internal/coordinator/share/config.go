package share

import "time"

// Config is what an operator may set. It can change while the machine runs, by the command SetConfig.
type Config struct {
	// UpdatesPerSnapshot is how many updates follow a snapshot before the next one
	// (share.coordinator.snapshot.update.records.per.snapshot). Zero means 500, less than zero none at all.
	UpdatesPerSnapshot int
	// ColdInterval is the time between two looks for share partitions whose last snapshot is as old as that
	// (share.coordinator.cold.partition.snapshot.interval.ms). Zero means 5 minutes.
	ColdInterval time.Duration
	// PruneInterval is the time between two looks for records that are not needed
	// (share.coordinator.state.topic.prune.interval.ms). Zero means 5 minutes.
	PruneInterval time.Duration
	// ResultRecordsMax bounds the records of one result of a Tick. Zero means 1000.
	ResultRecordsMax int
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration) {
		if *d <= 0 {
			*d = 5 * time.Minute
		}
	}
	def(&c.ColdInterval)
	def(&c.PruneInterval)
	switch {
	case c.UpdatesPerSnapshot == 0:
		c.UpdatesPerSnapshot = 500
	case c.UpdatesPerSnapshot < 0:
		c.UpdatesPerSnapshot = 0
	}
	if c.ResultRecordsMax <= 0 {
		c.ResultRecordsMax = 1000
	}
	return c
}

// SetConfig is the command that replaces the configuration. Deadlines that are already set stay.
type SetConfig struct{ Config Config }
