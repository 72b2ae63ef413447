package metadata

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/schema"
)

// model is the metadata in plain maps of plain values, changed in place: what the image must say, without sharing.
type model struct {
	topics   map[schema.UUID]string
	parts    map[schema.UUID][]string // partitions as text
	brokers  map[int32]string
	epochs   map[int32]int64
	configs  map[string]string
	features map[string]int16
	acls     map[schema.UUID]bool
	scram    map[ScramUser]bool
	tokens   map[string]bool
	quotas   map[string]float64
	producer int64
}

func newModel() *model {
	return &model{topics: map[schema.UUID]string{}, parts: map[schema.UUID][]string{}, brokers: map[int32]string{}, epochs: map[int32]int64{},
		configs: map[string]string{}, features: map[string]int16{}, acls: map[schema.UUID]bool{}, scram: map[ScramUser]bool{},
		tokens: map[string]bool{}, quotas: map[string]float64{}}
}

func text(v any) string { return fmt.Sprintf("%+v", v) }

// read makes a model of an image through its read API.
func read(i *Image) *model {
	m := newModel()
	for t := range i.Topics() {
		m.topics[t.ID] = t.Name
		var parts []string
		for _, p := range t.Partitions {
			parts = append(parts, text(*p))
		}
		m.parts[t.ID] = parts
		for _, kind := range []int8{TopicConfig} {
			for k, v := range i.Config(kind, t.Name) {
				m.configs[fmt.Sprint(kind, t.Name, k)] = v
			}
		}
	}
	for name := range i.ConfigResources(BrokerConfig) {
		for k, v := range i.Config(BrokerConfig, name) {
			m.configs[fmt.Sprint(BrokerConfig, name, k)] = v
		}
	}
	for b := range i.Brokers() {
		m.brokers[b.ID], m.epochs[b.ID] = fmt.Sprint(b.Fenced, b.InControlledShutdown, b.LogDirs, b.CordonedLogDirs), b.Epoch
	}
	maps.Insert(m.features, i.Features())
	for a := range i.ACLs() {
		m.acls[a.ID] = true
	}
	for s := range i.SCRAMs() {
		m.scram[ScramUser{s.Mechanism, s.Name}] = true
	}
	for t := range i.DelegationTokens() {
		m.tokens[t.TokenID] = true
	}
	for q := range i.Quotas() {
		for k, v := range q.Values {
			m.quotas[entityText(q.Entity)+k] = v
		}
	}
	m.producer = i.NextProducerID()
	return m
}

func entityText(entity []schema.QuotaEntity) string {
	var out string
	for _, e := range slices.SortedFunc(slices.Values(entity), func(a, b schema.QuotaEntity) int { return cmp.Compare(a.EntityType, b.EntityType) }) {
		name := "<default>"
		if e.EntityName != nil {
			name = *e.EntityName
		}
		out += e.EntityType + "=" + name + ","
	}
	return out
}

func (m *model) diff(t *rapid.T, i *Image) {
	if d := gocmp.Diff(m, read(i), gocmp.AllowUnexported(model{})); d != "" {
		t.Fatalf("model and image differ (-model +image):\n%s", d)
	}
}

// step draws a record that fits the model and applies it to the model.
func (m *model) step(t *rapid.T) schema.Record {
	topics := slices.SortedFunc(maps.Keys(m.topics), compareUUID)
	ids := rapid.SliceOfNDistinct(rapid.Int32Range(1, 5), 1, 3, rapid.ID)
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
	switch kind := rapid.IntRange(0, 15).Draw(t, "kind"); kind {
	case 0, 1:
		r := &schema.Topic{Name: name.Draw(t, "name"), TopicID: schema.UUID{byte(rapid.IntRange(1, 200).Draw(t, "id"))}}
		if _, ok := m.topics[r.TopicID]; ok || slices.Contains(slices.Collect(maps.Values(m.topics)), r.Name) {
			return &schema.NoOp{}
		}
		m.topics[r.TopicID], m.parts[r.TopicID] = r.Name, nil
		return r
	case 2, 3, 4, 5, 6:
		if len(topics) == 0 {
			return &schema.NoOp{}
		}
		id := rapid.SampledFrom(topics).Draw(t, "topic")
		parts := m.parts[id]
		replicas := ids.Draw(t, "replicas")
		p := Partition{Replicas: replicas, ISR: replicas[:1], Leader: replicas[0], Directories: make([]schema.UUID, len(replicas)),
			LeaderEpoch: rapid.Int32Range(0, 9).Draw(t, "epoch")}
		if rapid.Bool().Draw(t, "elr") {
			p.ELR = []int32{9}
		}
		at := int32(rapid.IntRange(0, len(parts)).Draw(t, "partition"))
		if int(at) == len(parts) {
			m.parts[id] = append(parts, text(p))
		} else {
			parts[at] = text(p)
		}
		return p.record(id, at)
	case 7:
		if len(topics) == 0 {
			return &schema.NoOp{}
		}
		id := rapid.SampledFrom(topics).Draw(t, "topic")
		maps.DeleteFunc(m.configs, func(k, _ string) bool {
			prefix := fmt.Sprint(TopicConfig, m.topics[id], "")
			return len(k) > len(prefix) && k[:len(prefix)] == prefix
		})
		delete(m.topics, id)
		delete(m.parts, id)
		return &schema.RemoveTopic{TopicID: id}
	case 8:
		r := &schema.RegisterBroker{BrokerID: rapid.Int32Range(1, 5).Draw(t, "broker"), BrokerEpoch: rapid.Int64Range(1, 99).Draw(t, "epoch"), Fenced: true}
		m.brokers[r.BrokerID], m.epochs[r.BrokerID] = fmt.Sprint(true, false, r.LogDirs, r.CordonedLogDirs), r.BrokerEpoch
		return r
	case 9:
		for _, id := range sortedKeys(m.epochs) {
			r := &schema.BrokerRegistrationChange{BrokerID: id, BrokerEpoch: m.epochs[id], Fenced: -1, InControlledShutdown: 1,
				LogDirs: []schema.UUID{{1}}, CordonedLogDirs: []schema.UUID{}}
			m.brokers[id] = fmt.Sprint(false, true, r.LogDirs, r.CordonedLogDirs)
			return r
		}
	case 10:
		for _, id := range sortedKeys(m.epochs) {
			r := &schema.UnregisterBroker{BrokerID: id, BrokerEpoch: m.epochs[id]}
			delete(m.brokers, id)
			delete(m.epochs, id)
			return r
		}
	case 11, 12:
		r := &schema.Config{ResourceType: BrokerConfig, ResourceName: name.Draw(t, "resource"), Name: name.Draw(t, "key")}
		if len(topics) > 0 && kind == 12 {
			r.ResourceType, r.ResourceName = TopicConfig, m.topics[rapid.SampledFrom(topics).Draw(t, "topic")]
		}
		key := fmt.Sprint(r.ResourceType, r.ResourceName, r.Name)
		delete(m.configs, key)
		if rapid.IntRange(0, 3).Draw(t, "set") > 0 {
			v := name.Draw(t, "value")
			r.Value, m.configs[key] = &v, v
		}
		return r
	case 13:
		user, client := name.Draw(t, "user"), name.Draw(t, "client")
		r := &schema.ClientQuota{Entity: []schema.QuotaEntity{{EntityType: "user", EntityName: &user}, {EntityType: "client-id", EntityName: &client}},
			Key: name.Draw(t, "key"), Value: rapid.Float64Range(1, 9).Draw(t, "value"), Remove: rapid.Bool().Draw(t, "remove")}
		key := entityText(r.Entity) + r.Key
		if r.Remove {
			delete(m.quotas, key)
		} else {
			m.quotas[key] = r.Value
		}
		return r
	case 14:
		m.producer += 1000
		return &schema.ProducerIds{NextProducerID: m.producer}
	case 15:
		return m.security(t)
	}
	return &schema.NoOp{}
}

func (m *model) security(t *rapid.T) schema.Record {
	id, add := schema.UUID{byte(rapid.IntRange(1, 9).Draw(t, "acl"))}, rapid.IntRange(0, 2).Draw(t, "add") > 0
	user, token := ScramUser{int8(rapid.IntRange(1, 2).Draw(t, "mechanism")), "u"}, fmt.Sprint("t", id[0])
	switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
	case what == 0 && add:
		m.acls[id] = true
		return &schema.AccessControlEntry{ID: id}
	case what == 0 && m.acls[id]:
		delete(m.acls, id)
		return &schema.RemoveAccessControlEntry{ID: id}
	case what == 1 && add:
		m.scram[user] = true
		return &schema.UserScramCredential{Name: user.Name, Mechanism: user.Mechanism}
	case what == 1 && m.scram[user]:
		delete(m.scram, user)
		return &schema.RemoveUserScramCredential{Name: user.Name, Mechanism: user.Mechanism}
	case what == 2 && add:
		m.tokens[token] = true
		return &schema.DelegationToken{TokenID: token}
	case what == 2 && m.tokens[token]:
		delete(m.tokens, token)
		return &schema.RemoveDelegationToken{TokenID: token}
	case what == 3 && add:
		m.features["group.version"] = 1
		return &schema.FeatureLevel{Name: "group.version", FeatureLevel: 1}
	case what == 3:
		delete(m.features, "group.version")
		return &schema.FeatureLevel{Name: "group.version"}
	}
	return &schema.NoOp{}
}

// TestModel applies random legal records in deltas of random length. The image must always say what the model says,
// every older image must still say what it said, and its snapshot must make it again.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		m.features[MetadataVersionFeature] = LatestMetadataVersion
		d := NewDelta(Empty())
		if err := d.Apply(&schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: LatestMetadataVersion}); err != nil {
			t.Fatal(err)
		}
		image := d.Image(0, 1)
		d = NewDelta(image)
		type past struct {
			image *Image
			dump  []string
		}
		var history []past
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r := m.step(t)
			if err := d.Apply(r); err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
			switch rapid.IntRange(0, 3).Draw(t, "after") {
			case 0: // a new delta
				image = d.Image(0, 1)
				d = NewDelta(image)
			case 1: // the same delta goes on behind its image
				image = d.Image(0, 1)
			default:
				continue
			}
			m.diff(t, image)
			history = append(history, past{image, dump(image)})
		}
		for _, p := range history {
			if diff := gocmp.Diff(p.dump, dump(p.image)); diff != "" {
				t.Fatalf("an image changed after it was given:\n%s", diff)
			}
			loaded := NewDelta(Empty())
			for r := range p.image.Records() {
				if err := loaded.Apply(r); err != nil {
					t.Fatal(err)
				}
			}
			again := loaded.Image(0, 1)
			if diff := gocmp.Diff(p.dump, dump(again)); diff != "" {
				t.Fatalf("a snapshot made another image:\n%s", diff)
			}
			if again.PartitionCount() != p.image.PartitionCount() {
				t.Fatalf("%d partitions, counted %d", p.image.PartitionCount(), again.PartitionCount())
			}
			checkChanges(t, Diff(history[0].image, p.image), history[0].image, p.image)
		}
	})
}

// checkChanges: whatever differs between two images is among the changes.
func checkChanges(t *rapid.T, d *Delta, from, to *Image) {
	changes := d.Topics()
	changed := map[schema.UUID]TopicChange{}
	for _, c := range changes.Changed {
		changed[c.ID] = c
	}
	for topic := range to.Topics() {
		old, had := from.TopicByID(topic.ID)
		for id, p := range topic.Partitions {
			same := had && id < len(old.Partitions) && text(*old.Partitions[id]) == text(*p)
			if slices.Contains(changed[topic.ID].Partitions, int32(id)) == same {
				t.Fatalf("%s-%d: same %v, changes %+v", topic.Name, id, same, changed[topic.ID])
			}
		}
	}
	for topic := range from.Topics() {
		if _, ok := to.TopicByID(topic.ID); ok == slices.Contains(changes.Deleted, topic.ID) {
			t.Fatalf("topic %s: there %v, deleted %v", topic.Name, ok, changes.Deleted)
		}
	}
}

// TestReadersNeedNoLock reads one image from many goroutines while two deltas grow out of it (run with -race).
func TestReadersNeedNoLock(t *testing.T) {
	d := NewDelta(Empty())
	for n := range 100 {
		mustApply(t, d, &schema.Topic{Name: fmt.Sprint("t", n), TopicID: schema.UUID{byte(n), 1}},
			(&Partition{Replicas: []int32{1}, Directories: []schema.UUID{{}}}).record(schema.UUID{byte(n), 1}, 0))
	}
	image := d.Image(1, 1)
	want := dump(image)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if got := dump(image); !slices.Equal(got, want) {
					t.Error("the image changed")
				}
			}
		})
	}
	for w := range 2 {
		wg.Go(func() {
			shared, image := image, image
			d := NewDelta(image)
			for n := range 200 {
				NewDelta(shared) // the common base again and again: forking must not write to it
				id := schema.UUID{byte(n % 100), 1}
				change := schema.NewPartitionChange()
				change.TopicID, change.PartitionID, change.Leader = id, 0, int32(w)
				mustApply(t, d, change, &schema.Topic{Name: fmt.Sprint("n", w, n), TopicID: schema.UUID{byte(n), 2}})
				if n%10 == 0 {
					image = d.Image(2, 1)
					d = NewDelta(image)
				}
			}
		})
	}
	wg.Wait()
}

func mustApply(t *testing.T, d *Delta, records ...schema.Record) {
	t.Helper()
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			t.Error(err)
		}
	}
}
