package logdir

import (
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/storage"
)

// producerExpiry is producer.id.expiration.ms where it was changed live; 0: as configured.
type producerExpiry struct{ d atomic.Int64 }

// SetProducerIDExpiry changes producer.id.expiration.ms for all logs, those to come included.
func (d *Dirs) SetProducerIDExpiry(expiry time.Duration) {
	d.expiry.d.Store(int64(expiry))
	for _, l := range d.Logs() {
		d.expiry.apply(l)
	}
}

func (p *producerExpiry) apply(l *storage.Log) {
	if d := time.Duration(p.d.Load()); d > 0 {
		l.SetProducerExpiry(d)
	}
}
