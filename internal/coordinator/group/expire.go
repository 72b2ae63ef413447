package group

import (
	"slices"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// sweep is the search for expired offsets, group by group. It stops where a result is full and goes on in the next.
type sweep struct {
	timer timer
	ids   []string // groups that are still to be looked at
}

// sweepOffsets removes offsets whose retention is over, and groups of which nothing is left.
func (m *Machine) sweepOffsets(t *turn) {
	if m.sweep.ids == nil {
		m.sweep.ids = m.ids()
	}
	for len(m.sweep.ids) > 0 && len(t.out.Records) < m.config.ResultRecordsMax {
		id := m.sweep.ids[0]
		if g := m.groups[id]; g != nil && !m.sweepGroup(t, id, g) {
			break // full: this group is looked at again
		}
		m.sweep.ids = m.sweep.ids[1:]
	}
	if n := len(t.out.Records); n > 0 {
		t.event("group.offsets.expired", machine.Attr{Key: "tombstones", Value: n})
	}
	if len(m.sweep.ids) > 0 {
		m.timers.set(&m.sweep.timer, t.now)
		return
	}
	m.sweep.ids = nil
	m.timers.set(&m.sweep.timer, t.now+m.config.RetentionCheckInterval.Milliseconds())
}

// sweepGroup is false if the result became full before the group was done.
func (m *Machine) sweepGroup(t *turn, id string, g group) bool {
	if _, ok := g.(*shareGroup); ok {
		return true // it stays until it is deleted
	}
	from, ok := g.expiry()
	all := true
	for _, k := range m.offsets.partitions(id) {
		if len(t.out.Records) >= m.config.ResultRecordsMax {
			return false
		}
		o, _ := m.offsets.get(k)
		if ok && !g.subscribes(k.topic) && !m.offsets.unstable(k) && m.expired(o, from, t.now) {
			t.out.Records = append(t.out.Records, offsetTombstone(k))
		} else {
			all = false
		}
	}
	if c, isClassic := g.(*classic); isClassic && len(c.pending) > 0 {
		return true // somebody is about to join
	}
	if all && m.offsets.openGroups[id] == 0 && g.check(access{verb: deleteGroup}) == nil {
		t.out.Records = append(t.out.Records, g.tombstones()...)
	}
	return true
}

// expired follows KIP-211; an expiry that was committed with the offset (old clients) comes first.
func (m *Machine) expired(o offset, from func(offset) int64, now int64) bool {
	if o.expires != -1 {
		return now >= o.expires
	}
	return now-from(o) >= m.config.OffsetsRetention.Milliseconds()
}

// TopicsChanged is the command that tells of changed topics. Offsets of deleted ones go, too; consumer groups look at
// the metadata of their topics again. Every partition's machine gets it.
type TopicsChanged struct {
	Deleted []Topic
	Changed []string // names of topics that were created or changed
	Created bool     // some were created: regular expressions may match them
}

// Topic is a topic with the id that it had.
type Topic struct {
	Name string
	ID   [16]byte
}

// ImageCommand makes the command that tells machines of a change of metadata; false if it is none of their business.
// Topics that were made again under their name are among the deleted ones, under their old id.
func ImageCommand(d *metadata.Delta) (any, bool) {
	var r TopicsChanged
	changes := d.Topics()
	for _, id := range changes.Deleted {
		if t, ok := d.Base().TopicByID(id); ok {
			r.Deleted = append(r.Deleted, Topic{Name: t.Name, ID: id})
		}
	}
	for _, c := range changes.Changed {
		r.Changed = append(r.Changed, c.Name)
		r.Created = r.Created || c.Created
	}
	return r, len(r.Deleted) > 0 || len(r.Changed) > 0
}

// cleanup removes the offsets of deleted topics, as much as one result holds at a time.
type cleanup struct {
	timer  timer
	topics []Topic
	ids    []string // groups that are still to be looked at for all of topics
}

func (m *Machine) topicsChanged(t *turn, r TopicsChanged) {
	if r.Created {
		m.newTopics = t.Image.Offset
	}
	names := slices.Clone(r.Changed)
	for _, topic := range r.Deleted {
		names = append(names, topic.Name)
		delete(m.hashes, topic.Name)
	}
	for _, g := range m.groups { // each on its own
		if c, ok := g.(*consumer); ok && slices.ContainsFunc(names, c.subscribes) {
			c.checked = false
		}
		if s, ok := g.(*streams); ok && slices.ContainsFunc(names, s.needs) {
			s.checked = false
		}
		if s, ok := g.(*shareGroup); ok && slices.ContainsFunc(names, s.subscribes) {
			s.checked = false
		}
	}
	if len(r.Deleted) > 0 {
		m.cleanup.topics = append(m.cleanup.topics, r.Deleted...)
		m.cleanup.ids = nil // groups that were done have to be looked at for the new topics
		m.cleanupOffsets(t)
	}
	t.answer(nil)
}

func (m *Machine) cleanupOffsets(t *turn) {
	if m.cleanup.ids == nil {
		m.cleanup.ids = m.ids()
	}
	deleted := make(map[string][][16]byte, len(m.cleanup.topics))
	for _, topic := range m.cleanup.topics {
		deleted[topic.Name] = append(deleted[topic.Name], topic.ID)
	}
	for len(m.cleanup.ids) > 0 {
		if !m.cleanupGroup(t, m.cleanup.ids[0], deleted) {
			m.timers.set(&m.cleanup.timer, t.now)
			return
		}
		m.cleanup.ids = m.cleanup.ids[1:]
	}
	m.cleanup.ids, m.cleanup.topics = nil, nil
}

// cleanupGroup is false if the result became full before the group was done.
func (m *Machine) cleanupGroup(t *turn, id string, deleted map[string][][16]byte) bool {
	gone := func(o offset, topic string) bool {
		for _, deletedID := range deleted[topic] {
			if o.topicID == deletedID || o.topicID == [16]byte{} {
				return true
			}
		}
		return false
	}
	keys := m.offsets.partitions(id)
	if m.offsets.openGroups[id] > 0 {
		keys = append(keys, m.offsets.openPartitions(func(k partitionKey) bool {
			_, committed := m.offsets.get(k)
			return k.group == id && !committed
		})...)
	}
	if g, ok := m.groups[id].(*shareGroup); ok && !m.forgetTopics(t, g, deleted) {
		return false
	}
	for _, k := range keys {
		o, _ := m.offsets.get(k)
		if !gone(o, k.topic) {
			continue
		}
		if len(t.out.Records) >= m.config.ResultRecordsMax {
			return false
		}
		t.out.Records = append(t.out.Records, offsetTombstone(k))
	}
	return true
}
