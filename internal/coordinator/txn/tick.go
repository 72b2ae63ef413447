package txn

import (
	"math"

	"github.com/klamm-io/klamm/internal/machine"
)

// noTimeout is the timeout of transactions that an outer two-phase commit holds open; they are never aborted.
const noTimeout = math.MaxInt32

// tickBytesMax bounds a Tick's records, well below the largest batch.
const tickBytesMax = 256 << 10

// abortAt is the first look for transactions out of time at or after a time. Like Kafka, the machine looks at fixed
// intervals, so a producer that is a little late finds its transaction still open.
func (m *Machine) abortAt(at int64) int64 {
	interval := m.config.AbortInterval.Milliseconds()
	n := (at - m.began + interval - 1) / interval
	return m.began + max(n, 1)*interval
}

// tick lets the timers that ended have their effect.
//
// Markers that are asked for again come in a result without records: those of a failed append are dropped with its
// effects, and nothing would ask for the markers any more. So a Tick does the one or the other; what is left over
// keeps its deadline and is done in the Tick that follows at once.
func (m *Machine) tick(t *turn) {
	var later []*timer
	resent := false
	for {
		ended := m.timers.pop(t.now)
		if ended == nil {
			break
		}
		e := ended.owner
		writing := len(t.out.Records) > 0
		if e.state.preparing() {
			e.markers.dropDeleted(t.Image)
			if len(e.markers.again) > 0 && !writing {
				resent = m.resend(t, e)
				continue
			}
		}
		if resent || writing && (len(e.markers.again) > 0 || m.full(t)) {
			later = append(later, ended)
			continue
		}
		switch {
		case e.state.preparing():
			m.maybeComplete(t, e)
		case e.state == Ongoing:
			m.timeOut(t, e)
		}
	}
	for _, l := range later {
		m.timers.set(l, l.at)
	}
	if t.now >= m.expiry.due && !resent && len(t.out.Records) == 0 {
		m.expire(t)
	}
}

func (m *Machine) full(t *turn) bool {
	size := 0
	for _, r := range t.out.Records {
		size += len(r.Key) + len(r.Value)
	}
	return len(t.out.Records) >= m.config.ResultRecordsMax || size >= tickBytesMax
}

// timeOut aborts an open transaction and fences its producer. If the append fails, or there is no producer id to go on
// with, the next look tries again.
func (m *Machine) timeOut(t *turn, e *entry) {
	m.timers.set(&e.timer, m.abortAt(t.now+1))
	if m.fence(t, e) == nil {
		t.event(false, "txn.timeout", machine.Attr{Key: "id", Value: e.id}, machine.Attr{Key: "producer", Value: e.producerID},
			machine.Attr{Key: "epoch", Value: e.epoch})
	}
}

// expiry is the search for transactional ids that nobody has used for long.
type expiry struct {
	due int64    // ms
	ids []string // what the last look found and is not yet removed
}

// expire removes expired ids, some in each result. What could not be removed is found by the next look.
func (m *Machine) expire(t *turn) {
	if len(m.expiry.ids) == 0 {
		clear(m.staged) // leftovers of failed appends: nothing is under way when a Tick is handled
		for _, id := range m.sortedIDs() {
			if m.expired(m.ids[id], t.now) {
				m.expiry.ids = append(m.expiry.ids, id)
			}
		}
	}
	removed := 0
	for len(m.expiry.ids) > 0 && !m.full(t) {
		id := m.expiry.ids[0]
		m.expiry.ids = m.expiry.ids[1:]
		if m.expired(m.ids[id], t.now) {
			t.out.Records = append(t.out.Records, tombstone(id))
			removed++
		}
	}
	m.expiry.due = t.now + m.config.ExpirationInterval.Milliseconds()
	if len(m.expiry.ids) > 0 {
		m.expiry.due = t.now
	} else {
		m.expiry.ids = nil
	}
	if removed > 0 {
		t.event(false, "txn.expired", machine.Attr{Key: "ids", Value: removed})
	}
}

func (m *Machine) expired(e *entry, now int64) bool {
	return e != nil && e.state.resting() && e.updated <= now-m.config.Expiration.Milliseconds()
}
