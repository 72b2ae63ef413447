package txn

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// markers is what a preparing transaction waits for. All of it is soft: the next coordinator asks for all markers
// again, which leaders take as the repetitions that they are.
type markers struct {
	sent     []TopicPartition // asked for, not answered; sorted, never changed in place
	again    []TopicPartition // failed, to be asked for when the timer ends; sorted
	attempts int              // repetitions so far
}

// left are the partitions whose markers are not known to be written.
func (w *markers) left() []TopicPartition {
	if len(w.again) == 0 {
		return w.sent
	}
	all := slices.Concat(w.sent, w.again)
	slices.SortFunc(all, compare)
	return all
}

func writeMarkers(x transaction, coordinatorEpoch int32, partitions []TopicPartition) WriteMarkers {
	return WriteMarkers{
		TransactionalID: x.id, ProducerID: x.producerID, ProducerEpoch: x.epoch, CoordinatorEpoch: coordinatorEpoch,
		Commit: x.state == PrepareCommit, TransactionVersion: x.version, Partitions: slices.Clone(partitions),
	}
}

// markersWritten takes in the outcome for some partitions. What belongs to another transaction or another
// coordinator's time is too late and does nothing.
func (m *Machine) markersWritten(t *turn, r MarkersWritten) {
	t.answer(nil)
	e := m.ids[r.TransactionalID]
	if e == nil || !e.state.preparing() || e.producerID != r.ProducerID || e.epoch != r.ProducerEpoch || r.CoordinatorEpoch != t.Epoch ||
		len(r.Errors) != len(r.Partitions) {
		t.event(false, "txn.markers.stale", machine.Attr{Key: "id", Value: r.TransactionalID})
		return
	}
	outcome := make(map[TopicPartition]int16, len(r.Partitions))
	for i, p := range r.Partitions {
		outcome[p] = r.Errors[i]
	}
	var sent []TopicPartition
	w := &e.markers
	for _, p := range w.sent {
		code, answered := outcome[p]
		switch {
		case !answered:
			sent = append(sent, p)
		case !settled(code, p, t.Image):
			m.tryAgain(t, e, p, code)
		}
	}
	w.sent = sent
	slices.SortFunc(w.again, compare)
	m.maybeComplete(t, e)
}

// settled says that a partition needs no marker any more: it has it, it cannot have had records of the transaction, or
// it was deleted.
func settled(code int16, p TopicPartition, image *metadata.Image) bool {
	switch code {
	case 0, kerr.UnsupportedForMessageFormat.Code, kerr.UnsupportedVersion.Code:
		return true
	case kerr.UnknownTopicOrPartition.Code:
		return deleted(p, image)
	}
	return false
}

func deleted(p TopicPartition, image *metadata.Image) bool {
	_, ok := image.Partition(p.Topic, p.Partition)
	return !ok
}

// tryAgain notes a partition whose marker failed. Kafka gives some of the errors up until the next election, and stops
// at others; here they wait longer and are told, since a transactional id that never completes is of no use to
// anybody.
func (m *Machine) tryAgain(t *turn, e *entry, p TopicPartition, code int16) {
	w := &e.markers
	w.again = append(w.again, p)
	pause := m.pause(w.attempts)
	if k, ok := kerr.ErrorForCode(code).(*kerr.Error); code == kerr.InvalidProducerEpoch.Code || code == kerr.TransactionCoordinatorFenced.Code || !ok || !k.Retriable {
		pause = hopelessBackoff
	}
	t.event(pause == hopelessBackoff, "txn.marker.failed", machine.Attr{Key: "id", Value: e.id}, machine.Attr{Key: "topic", Value: p.Topic},
		machine.Attr{Key: "partition", Value: p.Partition}, machine.Attr{Key: "err", Value: kerr.ErrorForCode(code)})
	if at := t.now + pause.Milliseconds(); e.timer.index == 0 || at < e.timer.at {
		m.timers.set(&e.timer, at)
	}
}

// pause is how long to wait before attempt n+1.
func (m *Machine) pause(n int) time.Duration {
	return min(m.config.RetryBackoff<<min(n, 20), m.config.RetryBackoffMax)
}

// maybeComplete writes the end of a transaction whose markers are all written. Whether the append succeeds is not told,
// so the timer comes back to it.
func (m *Machine) maybeComplete(t *turn, e *entry) {
	if w := &e.markers; len(w.sent) == 0 && len(w.again) == 0 {
		m.write(t, e.completed(t.now))
		m.timers.set(&e.timer, t.now+m.pause(w.attempts).Milliseconds())
		w.attempts++
	}
}

// resend asks again for the markers that failed. False says that there are none.
func (m *Machine) resend(t *turn, e *entry) bool {
	w := &e.markers
	if len(w.again) == 0 {
		return false
	}
	t.effect(writeMarkers(e.transaction, t.Epoch, w.again))
	w.sent = w.left()
	w.again = nil
	w.attempts++
	return true
}

// dropDeleted forgets the failed partitions that are not there any more.
func (w *markers) dropDeleted(image *metadata.Image) {
	var again []TopicPartition
	for _, p := range w.again {
		if !deleted(p, image) {
			again = append(again, p)
		}
	}
	w.again = again
}
