package metadata

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// changes collects keys; the values stand in base and next.
type changes struct {
	topics      map[schema.UUID]map[int32]struct{} // partitions
	brokers     map[int32]struct{}
	controllers map[int32]struct{}
	configs     map[ConfigResource]struct{}
	quotas      map[string][]schema.QuotaEntity
	acls        map[schema.UUID]struct{}
	scram       map[ScramUser]struct{}
	tokens      map[string]struct{}
	features    bool
}

func newChanges() changes {
	return changes{topics: map[schema.UUID]map[int32]struct{}{}, brokers: map[int32]struct{}{}, controllers: map[int32]struct{}{},
		configs: map[ConfigResource]struct{}{}, quotas: map[string][]schema.QuotaEntity{}, acls: map[schema.UUID]struct{}{},
		scram: map[ScramUser]struct{}{}, tokens: map[string]struct{}{}}
}

func (c *changes) topic(id schema.UUID) map[int32]struct{} {
	partitions, ok := c.topics[id]
	if !ok {
		partitions = map[int32]struct{}{}
		c.topics[id] = partitions
	}
	return partitions
}

func (c *changes) partition(topic schema.UUID, id int32) { c.topic(topic)[id] = struct{}{} }

// TopicChanges says which topics a delta changed. A topic that was deleted and made again under its name stands in both
// lists, with two ids; one that was made and deleted stands in neither. Handle Deleted first.
type TopicChanges struct {
	Deleted []schema.UUID // by the names they had
	Changed []TopicChange // by name
}

// TopicChange is a topic that is there after the delta.
type TopicChange struct {
	ID         schema.UUID
	Name       string
	Created    bool
	Partitions []int32 // new or changed ones, sorted
}

// Topics says which topics changed.
func (d *Delta) Topics() TopicChanges {
	var out TopicChanges
	var deleted []*Topic
	for id, partitions := range d.changed.topics { // sorted below
		old, had := d.base.topicsByID.get(id)
		now, has := d.next.topicsByID.get(id)
		switch {
		case has:
			ids := sortedKeys(partitions)
			ids = slices.DeleteFunc(ids, func(p int32) bool { return int(p) >= len(now.Partitions) })
			out.Changed = append(out.Changed, TopicChange{ID: id, Name: now.Name, Created: !had, Partitions: ids})
		case had:
			deleted = append(deleted, old)
		}
	}
	slices.SortFunc(out.Changed, func(a, b TopicChange) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(deleted, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range deleted {
		out.Deleted = append(out.Deleted, t.ID)
	}
	return out
}

// Brokers are the ids of the brokers that were registered, changed or unregistered, sorted. Base and the new image
// hold their states.
func (d *Delta) Brokers() []int32 { return sortedKeys(d.changed.brokers) }

// Controllers are the ids of the controllers that registered, sorted.
func (d *Delta) Controllers() []int32 { return sortedKeys(d.changed.controllers) }

// Configs are the resources whose configuration changed, sorted; a deleted topic's is among them if it had one.
func (d *Delta) Configs() []ConfigResource {
	return slices.SortedFunc(maps.Keys(d.changed.configs), ConfigResource.compare)
}

// Quotas are the entities whose quotas changed, in a fixed order.
func (d *Delta) Quotas() [][]schema.QuotaEntity {
	var entities [][]schema.QuotaEntity
	for _, key := range sortedKeys(d.changed.quotas) {
		entities = append(entities, d.changed.quotas[key])
	}
	return entities
}

// ACLs are the ids of the access control entries that came or went, sorted.
func (d *Delta) ACLs() []schema.UUID {
	return slices.SortedFunc(maps.Keys(d.changed.acls), compareUUID)
}

// SCRAMs are the credentials that came, changed or went, sorted.
func (d *Delta) SCRAMs() []ScramUser {
	return slices.SortedFunc(maps.Keys(d.changed.scram), ScramUser.compare)
}

// DelegationTokens are the ids of the tokens that came, changed or went, sorted.
func (d *Delta) DelegationTokens() []string { return sortedKeys(d.changed.tokens) }

// FeaturesChanged says whether a feature level was set.
func (d *Delta) FeaturesChanged() bool { return d.changed.features }

// ProducerIDsChanged says whether a block of producer ids was taken.
func (d *Delta) ProducerIDsChanged() bool { return d.next.producerID != d.base.producerID }

// Diff gives the delta from one image to another, however the other came about: after a snapshot it tells publishers
// what is different. It compares everything.
func Diff(from, to *Image) *Delta {
	d := &Delta{base: from, next: to.forked(), ownTopics: map[schema.UUID]*Topic{},
		ownConfig: map[ConfigResource]map[string]string{}, changed: newChanges()}
	different(from.topicsByID, to.topicsByID, func(id schema.UUID) { diffTopic(&d.changed, from, to, id) })
	different(from.brokers, to.brokers, func(id int32) { d.changed.brokers[id] = struct{}{} })
	different(from.controllers, to.controllers, func(id int32) { d.changed.controllers[id] = struct{}{} })
	different(from.configs, to.configs, func(r ConfigResource) { d.changed.configs[r] = struct{}{} })
	different(from.acls, to.acls, func(id schema.UUID) { d.changed.acls[id] = struct{}{} })
	different(from.scram, to.scram, func(u ScramUser) { d.changed.scram[u] = struct{}{} })
	different(from.tokens, to.tokens, func(id string) { d.changed.tokens[id] = struct{}{} })
	different(from.features, to.features, func(string) { d.changed.features = true })
	different(from.quotas, to.quotas, func(key string) {
		q, ok := to.quotas.get(key)
		if !ok {
			q, _ = from.quotas.get(key)
		}
		d.changed.quotas[key] = q.Entity
	})
	return d
}

// different calls f for every key whose values are not equal or that only one tree has.
func different[K, V any](a, b tree[K, V], f func(K)) {
	for key, value := range a.all() {
		if other, ok := b.get(key); !ok || !reflect.DeepEqual(value, other) {
			f(key)
		}
	}
	for key := range b.all() {
		if _, ok := a.get(key); !ok {
			f(key)
		}
	}
}

func diffTopic(c *changes, from, to *Image, id schema.UUID) {
	c.topic(id)
	now, ok := to.topicsByID.get(id)
	if !ok {
		return
	}
	old, had := from.topicsByID.get(id)
	for p, partition := range now.Partitions {
		if !had || p >= len(old.Partitions) || !reflect.DeepEqual(old.Partitions[p], partition) {
			c.partition(id, int32(p))
		}
	}
}
