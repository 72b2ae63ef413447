package share

import (
	"math"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// change is the record of a change: an update, or a snapshot where enough updates have gone before.
func (m *Machine) change(t *turn, k Key, e *entry, u update) machine.Record {
	if e.updates < m.config.UpdatesPerSnapshot {
		u.snapshotEpoch, u.batches = e.snapshotEpoch, combine(nil, u.batches, u.start)
		return k.update(u)
	}
	s := e.updated(u)
	s.snapshotEpoch++
	s.created, s.written = t.now, t.now
	return k.snapshot(s)
}

// tickBytesMax bounds a Tick's records, well below the largest batch.
const tickBytesMax = 256 << 10

func (t *turn) full(m *Machine) bool {
	size := 0
	for _, r := range t.out.Records {
		size += len(r.Key) + len(r.Value)
	}
	return len(t.out.Records) >= m.config.ResultRecordsMax || size >= tickBytesMax
}

// tick does what is due, one thing at a time: they all look at records that must have been applied.
func (m *Machine) tick(t *turn) {
	switch enabled := t.Image.Feature(metadata.ShareVersionFeature) > 0; {
	case len(m.gone.topics) > 0 && t.now >= m.gone.due:
		m.dropGone(t)
	case t.now >= m.cold.due:
		m.snapshotCold(t, enabled)
	case t.now >= m.log.due:
		m.prune(t, enabled)
	}
}

// cold is the search for share partitions whose last snapshot is old.
type cold struct {
	due  int64 // ms
	keys []Key // what the last look found and is not yet written
}

// snapshotCold gives share partitions that nobody writes a new snapshot, so that what others have written before it may be
// deleted. Where all of them rest there is nothing to be gained. What a failed append leaves out is found by the next look.
func (m *Machine) snapshotCold(t *turn, enabled bool) {
	c := &m.cold
	old := func(e *entry) bool { return e != nil && t.now-e.written >= m.config.ColdInterval.Milliseconds() }
	if len(c.keys) == 0 {
		m.suspectTopics(t)
	}
	if len(c.keys) == 0 && enabled && !m.resting() {
		for _, k := range m.sorted() {
			if old(m.states[k]) {
				c.keys = append(c.keys, k)
			}
		}
	}
	for len(c.keys) > 0 && !t.full(m) {
		k := c.keys[0]
		c.keys = c.keys[1:]
		if e := m.states[k]; old(e) {
			s := e.state
			s.snapshotEpoch++
			s.written = t.now
			t.write(k.snapshot(s))
		}
	}
	if c.due = t.now; len(c.keys) == 0 {
		c.keys, c.due = nil, t.now+m.config.ColdInterval.Milliseconds()
	}
}

// resting says that no share partition has changed since a look for cold ones.
func (m *Machine) resting() bool {
	for _, e := range m.states { // order does not matter: all of them are asked
		if e.created == e.written {
			return false
		}
	}
	return true
}

// retained is what the log must keep.
type retained struct {
	due       int64 // ms
	tombstone int64 // offset of the last tombstone, -1 without one
	pruned    int64 // what was deleted last ended here
}

// DeleteRecords is the effect that wants the records below an offset deleted.
type DeleteRecords struct{ Offset int64 }

// Pruned is the command that tells that the records below an offset were deleted.
type Pruned struct{ Offset int64 }

// prune asks for the records to be deleted that nobody needs: those below the oldest of the share partitions' newest
// snapshots. What is deleted always is the log's beginning, so a share partition never loses its snapshot and keeps an
// update or loses its tombstone and keeps a snapshot: but updates may be left whose snapshot is gone and a newer one
// stands above.
func (m *Machine) prune(t *turn, enabled bool) {
	m.log.due = t.now + m.config.PruneInterval.Milliseconds()
	if offset := m.needed(); enabled && offset > m.log.pruned {
		t.out.Effects = append(t.out.Effects, DeleteRecords{offset})
	}
}

// needed is the least offset that the log must keep.
func (m *Machine) needed() int64 {
	if len(m.states) == 0 {
		return max(m.log.tombstone, 0)
	}
	first := int64(math.MaxInt64)
	for _, e := range m.states { // order does not matter: it is the least of all
		first = min(first, e.snapshot)
	}
	return max(first, 0)
}

// TopicsDeleted is the command that tells of topics that are gone.
type TopicsDeleted struct{ IDs []schema.UUID }

// ImageCommand makes the command that tells machines of a change of metadata; false if it is none of their business.
func ImageCommand(d *metadata.Delta) (any, bool) {
	deleted := d.Topics().Deleted
	return TopicsDeleted{deleted}, len(deleted) > 0
}

// gone are deleted topics whose share partitions are still to be removed.
type gone struct {
	due    int64 // ms
	topics map[schema.UUID]bool
	keys   []Key // what the last look found and is not yet written

	// suspects were not in the metadata at the last look for cold share partitions.
	suspects map[schema.UUID]bool
}

// suspectTopics finds topics that were deleted while nobody was here to be told, or whose removal was lost with the last
// coordinator. Metadata may lag behind, so a topic has to be missing twice.
func (m *Machine) suspectTopics(t *turn) {
	missing := map[schema.UUID]bool{}
	for k := range m.states { // order does not matter: it is a set
		if _, ok := t.Image.TopicByID(k.Topic); !ok {
			missing[k.Topic] = true
		}
	}
	for id := range missing { // each for itself
		if m.gone.suspects[id] {
			m.expectGone(id)
			m.gone.due = t.now
		}
	}
	m.gone.suspects = missing
}

// expectGone notes a topic that was deleted.
func (m *Machine) expectGone(id schema.UUID) {
	if m.gone.topics == nil {
		m.gone.topics = map[schema.UUID]bool{}
	}
	m.gone.topics[id], m.gone.keys = true, nil
}

// retryGone is the pause before the next look for what could not be removed.
const retryGone = 1000 // ms

func (m *Machine) topicsDeleted(t *turn, r TopicsDeleted) {
	for _, id := range r.IDs {
		m.expectGone(id)
	}
	m.dropGone(t)
}

// dropGone removes the share partitions of deleted topics. It looks again until none is left, since appends may fail.
func (m *Machine) dropGone(t *turn) {
	g := &m.gone
	if len(g.keys) == 0 {
		for _, k := range m.sorted() {
			if g.topics[k.Topic] {
				g.keys = append(g.keys, k)
			}
		}
	}
	if len(g.keys) == 0 {
		g.topics = nil
		return
	}
	for len(g.keys) > 0 && !t.full(m) {
		if k := g.keys[0]; m.states[k] != nil {
			t.write(k.tombstone())
		}
		g.keys = g.keys[1:]
	}
	if g.due = t.now; len(g.keys) == 0 {
		g.keys, g.due = nil, t.now+retryGone
	}
}
