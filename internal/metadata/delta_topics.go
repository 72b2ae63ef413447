package metadata

import (
	"fmt"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

func (d *Delta) createTopic(r *schema.Topic) error {
	if old, ok := d.next.topics.get(r.Name); ok {
		return fmt.Errorf("topic %q exists with id %s", r.Name, old.ID)
	}
	if old, ok := d.next.topicsByID.get(r.TopicID); ok {
		return fmt.Errorf("id %s belongs to topic %q", r.TopicID, old.Name)
	}
	t := &Topic{Name: r.Name, ID: r.TopicID}
	d.ownTopics[t.ID] = t
	d.putTopic(t)
	d.changed.topic(t.ID)
	return nil
}

func (d *Delta) putTopic(t *Topic) {
	d.next.topics.set(t.Name, t)
	d.next.topicsByID.set(t.ID, t)
}

func (d *Delta) removeTopic(r *schema.RemoveTopic) error {
	t, ok := d.next.topicsByID.get(r.TopicID)
	if !ok {
		return fmt.Errorf("no topic has id %s", r.TopicID)
	}
	d.next.topics.delete(t.Name)
	d.next.topicsByID.delete(t.ID)
	d.next.partitions -= len(t.Partitions)
	delete(d.ownTopics, t.ID)
	d.changed.topic(t.ID)
	resource := ConfigResource{TopicConfig, t.Name}
	if _, ok := d.next.configs.get(resource); ok {
		d.next.configs.delete(resource)
		delete(d.ownConfig, resource)
		d.changed.configs[resource] = struct{}{}
	}
	return nil
}

// own gives the topic for changing: a copy, unless the delta has made one already.
func (d *Delta) own(id schema.UUID) (*Topic, error) {
	if t, ok := d.ownTopics[id]; ok {
		return t, nil
	}
	t, ok := d.next.topicsByID.get(id)
	if !ok {
		return nil, fmt.Errorf("no topic has id %s", id)
	}
	t = &Topic{Name: t.Name, ID: t.ID, Partitions: slices.Clone(t.Partitions), ahead: slices.Clone(t.ahead)}
	d.ownTopics[id] = t
	d.putTopic(t)
	return t, nil
}

func (d *Delta) setPartition(r *schema.Partition) error {
	if r.PartitionID < 0 {
		return fmt.Errorf("partition %d of topic %s", r.PartitionID, r.TopicID)
	}
	directories, err := directoriesOf(r.Directories, len(r.Replicas))
	if err != nil {
		return fmt.Errorf("partition %d of topic %s: %w", r.PartitionID, r.TopicID, err)
	}
	t, err := d.own(r.TopicID)
	if err != nil {
		return err
	}
	d.put(t, r.PartitionID, &Partition{
		Replicas: orNil(r.Replicas), ISR: orNil(r.ISR), Removing: orNil(r.RemovingReplicas), Adding: orNil(r.AddingReplicas),
		ELR: orNil(r.EligibleLeaderReplicas), LastKnownELR: orNil(r.LastKnownELR), Directories: directories,
		Leader: r.Leader, LeaderEpoch: r.LeaderEpoch, PartitionEpoch: r.PartitionEpoch, Recovery: r.LeaderRecoveryState,
	})
	return nil
}

// directoriesOf fills in what records before directory assignment do not say.
func directoriesOf(directories []schema.UUID, replicas int) ([]schema.UUID, error) {
	switch len(directories) {
	case replicas:
		return directories, nil
	case 0:
		return make([]schema.UUID, replicas), nil // DirectoryMigrating
	}
	return nil, fmt.Errorf("%d directories for %d replicas", len(directories), replicas)
}

// put sets a partition of a topic that the delta owns; partitions are never changed in place.
func (d *Delta) put(t *Topic, id int32, p *Partition) {
	d.changed.partition(t.ID, id)
	switch at := int(id); {
	case at < len(t.Partitions):
		t.Partitions[at] = p
		return
	case at > len(t.Partitions):
		t.ahead = insertNumbered(t.ahead, numbered{id, p})
		return
	}
	t.Partitions = append(t.Partitions, p)
	d.next.partitions++
	for len(t.ahead) > 0 && int(t.ahead[0].id) == len(t.Partitions) {
		d.changed.partition(t.ID, t.ahead[0].id)
		t.Partitions = append(t.Partitions, t.ahead[0].partition)
		t.ahead = t.ahead[1:]
		d.next.partitions++
	}
}

// lookup finds a partition, also one that still waits for its lower neighbours.
func (t *Topic) lookup(id int32) (*Partition, bool) {
	if p, ok := t.Partition(id); ok {
		return p, true
	}
	for _, n := range t.ahead {
		if n.id == id {
			return n.partition, true
		}
	}
	return nil, false
}

func (d *Delta) changePartition(r *schema.PartitionChange) error {
	t, ok := d.next.topicsByID.get(r.TopicID)
	if !ok {
		return fmt.Errorf("no topic has id %s", r.TopicID)
	}
	old, ok := t.lookup(r.PartitionID)
	if !ok {
		return fmt.Errorf("topic %q has no partition %d", t.Name, r.PartitionID)
	}
	p, err := old.merge(r)
	if err != nil {
		return fmt.Errorf("partition %d of topic %q: %w", r.PartitionID, t.Name, err)
	}
	if t, err = d.own(r.TopicID); err != nil {
		return err
	}
	d.put(t, r.PartitionID, p)
	return nil
}

// Merge gives the partition after a change record: whatever the record is silent about stays, the partition epoch
// rises by one, and the leader epoch rises whenever the record names a leader, even the present one.
func (p *Partition) Merge(r *schema.PartitionChange) (*Partition, error) { return p.merge(r) }

func (p *Partition) merge(r *schema.PartitionChange) (*Partition, error) {
	next := *p
	for _, c := range []struct{ field, value *[]int32 }{
		{&next.ISR, &r.ISR}, {&next.Replicas, &r.Replicas}, {&next.Removing, &r.RemovingReplicas},
		{&next.Adding, &r.AddingReplicas}, {&next.ELR, &r.EligibleLeaderReplicas}, {&next.LastKnownELR, &r.LastKnownELR},
	} {
		if *c.value != nil {
			*c.field = orNil(*c.value)
		}
	}
	if r.Directories != nil {
		next.Directories = r.Directories
	} else if len(next.Directories) != len(next.Replicas) && allMigrating(next.Directories) {
		next.Directories = nil
	}
	var err error
	if next.Directories, err = directoriesOf(next.Directories, len(next.Replicas)); err != nil {
		return nil, err
	}
	if r.Leader < -2 {
		return nil, fmt.Errorf("leader %d", r.Leader)
	}
	if r.Leader != leaderUnchanged {
		next.Leader = r.Leader
		next.LeaderEpoch++
	}
	switch r.LeaderRecoveryState {
	case -1:
	case 0, 1:
		next.Recovery = r.LeaderRecoveryState
	default:
		return nil, fmt.Errorf("leader recovery state %d", r.LeaderRecoveryState)
	}
	next.PartitionEpoch++
	return &next, nil
}

// orNil makes empty lists nil, so that equal partitions look equal however they came about.
func orNil(ids []int32) []int32 {
	if len(ids) == 0 {
		return nil
	}
	return ids
}

// leaderUnchanged in a PartitionChange leaves leader and leader epoch alone.
const leaderUnchanged int32 = -2

func allMigrating(directories []schema.UUID) bool {
	return !slices.ContainsFunc(directories, func(id schema.UUID) bool { return id != DirectoryMigrating })
}

// clearELR empties the ELR of the partitions that have one, in one topic or in all.
func (d *Delta) clearELR(r *schema.ClearElr) error {
	if r.TopicName != "" {
		t, ok := d.next.topics.get(r.TopicName)
		if !ok {
			return fmt.Errorf("no topic has name %q", r.TopicName)
		}
		return d.clearTopicELR(t)
	}
	for _, t := range slices.Collect(d.next.Topics()) { // collected: owning a topic changes the tree
		if err := d.clearTopicELR(t); err != nil {
			return err
		}
	}
	return nil
}

func (d *Delta) clearTopicELR(t *Topic) error {
	for id, p := range t.Partitions {
		if len(p.ELR) == 0 && len(p.LastKnownELR) == 0 {
			continue
		}
		change := schema.NewPartitionChange()
		change.TopicID, change.PartitionID = t.ID, int32(id)
		change.EligibleLeaderReplicas, change.LastKnownELR = []int32{}, []int32{}
		if err := d.changePartition(change); err != nil {
			return err
		}
	}
	return nil
}
