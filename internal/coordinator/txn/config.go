package txn

import "time"

// Config is what an operator may set. It can change while the machine runs, by the command SetConfig.
type Config struct {
	// MaxTimeout is the longest transaction timeout that a producer may ask for (transaction.max.timeout.ms). Zero
	// means 15 minutes.
	MaxTimeout time.Duration
	// Expiration is how long an id without an open transaction is remembered (transactional.id.expiration.ms). Zero
	// means 7 days.
	Expiration time.Duration
	// AbortInterval is the time between two looks for transactions that ran out of time
	// (transaction.abort.timed.out.transaction.cleanup.interval.ms). Zero means 10 seconds.
	AbortInterval time.Duration
	// ExpirationInterval is the time between two looks for expired ids
	// (transaction.remove.expired.transaction.cleanup.interval.ms). Zero means one hour.
	ExpirationInterval time.Duration
	// RetryBackoff and RetryBackoffMax are the first and the longest pause before markers that could not be written are
	// tried again. Zero means 50 milliseconds and 1 second. Errors that are not expected to pass wait 30 seconds.
	RetryBackoff, RetryBackoffMax time.Duration
	// ResultRecordsMax bounds the records of one result of a Tick. Zero means 1000.
	ResultRecordsMax int
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&c.MaxTimeout, 15*time.Minute)
	def(&c.Expiration, 7*24*time.Hour)
	def(&c.AbortInterval, 10*time.Second)
	def(&c.ExpirationInterval, time.Hour)
	def(&c.RetryBackoff, 50*time.Millisecond)
	def(&c.RetryBackoffMax, time.Second)
	if c.ResultRecordsMax <= 0 {
		c.ResultRecordsMax = 1000
	}
	return c
}

// hopelessBackoff is the pause after an error that is not expected to pass by itself.
const hopelessBackoff = 30 * time.Second

// SetConfig is the command that replaces the configuration. Deadlines that are already set stay.
type SetConfig struct{ Config Config }
