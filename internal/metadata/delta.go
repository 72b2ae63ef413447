package metadata

import (
	"fmt"
	"maps"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// Delta is an image being changed. One goroutine owns it; the images that it came from and that it gives are safe
// everywhere. It knows what changed since its base: see Topics, Brokers and so on.
type Delta struct {
	base *Image
	next Image

	// What the delta itself has made since the last Image and may still change in place.
	ownTopics map[schema.UUID]*Topic
	ownConfig map[ConfigResource]map[string]string

	changed changes
}

// NewDelta begins with what base says. A snapshot is loaded into NewDelta(Empty()); Diff then says what it changed
// for those who know an older image.
func NewDelta(base *Image) *Delta {
	return &Delta{base: base, next: base.forked(), ownTopics: map[schema.UUID]*Topic{},
		ownConfig: map[ConfigResource]map[string]string{}, changed: newChanges()}
}

// Base is the image that the delta began with.
func (d *Delta) Base() *Image { return d.base }

// Image gives what base and the records applied so far say. The delta may go on afterwards.
func (d *Delta) Image(offset int64, epoch int32) *Image {
	image := d.next.frozen()
	image.Offset, image.Epoch = offset, epoch
	clear(d.ownTopics)
	clear(d.ownConfig)
	return image
}

// Apply takes in one record, which must not be changed afterwards. After an error the delta is as it was before.
func (d *Delta) Apply(r schema.Record) error {
	var err error
	switch r := r.(type) {
	case *schema.NoOp, *schema.ZkMigrationState:
	case *schema.Topic:
		err = d.createTopic(r)
	case *schema.RemoveTopic:
		err = d.removeTopic(r)
	case *schema.Partition:
		err = d.setPartition(r)
	case *schema.PartitionChange:
		err = d.changePartition(r)
	case *schema.ClearElr:
		err = d.clearELR(r)
	case *schema.RegisterBroker:
		d.next.brokers.set(r.BrokerID, brokerOf(r))
		d.changed.brokers[r.BrokerID] = struct{}{}
	case *schema.UnregisterBroker:
		err = d.unregister(r)
	case *schema.FenceBroker:
		err = d.changeBroker(r.ID, r.Epoch, func(b *Broker) { b.Fenced = true })
	case *schema.UnfenceBroker:
		err = d.changeBroker(r.ID, r.Epoch, func(b *Broker) { b.Fenced = false })
	case *schema.BrokerRegistrationChange:
		err = d.changeRegistration(r)
	case *schema.RegisterController:
		d.next.controllers.set(r.ControllerID, controllerOf(r))
		d.changed.controllers[r.ControllerID] = struct{}{}
	case *schema.Config:
		d.setConfig(r)
	case *schema.FeatureLevel:
		err = d.setFeature(r)
	case *schema.ProducerIds:
		d.next.producerID = r.NextProducerID
	default:
		err = d.applySecurity(r)
	}
	if err != nil {
		return fmt.Errorf("metadata: %s: %w", r.RecordName(), err)
	}
	return nil
}

func (d *Delta) applySecurity(r schema.Record) error {
	switch r := r.(type) {
	case *schema.ClientQuota:
		d.setQuota(r)
	case *schema.AccessControlEntry:
		d.next.acls.set(r.ID, r)
		d.changed.acls[r.ID] = struct{}{}
	case *schema.RemoveAccessControlEntry:
		if _, ok := d.next.acls.get(r.ID); !ok {
			return fmt.Errorf("no ACL has id %s", r.ID)
		}
		d.next.acls.delete(r.ID)
		d.changed.acls[r.ID] = struct{}{}
	case *schema.UserScramCredential:
		u := ScramUser{r.Mechanism, r.Name}
		d.next.scram.set(u, r)
		d.changed.scram[u] = struct{}{}
	case *schema.RemoveUserScramCredential:
		u := ScramUser{r.Mechanism, r.Name}
		if _, ok := d.next.scram.get(u); !ok {
			return fmt.Errorf("user %q has no credential of mechanism %d", r.Name, r.Mechanism)
		}
		d.next.scram.delete(u)
		d.changed.scram[u] = struct{}{}
	case *schema.DelegationToken:
		d.next.tokens.set(r.TokenID, r)
		d.changed.tokens[r.TokenID] = struct{}{}
	case *schema.RemoveDelegationToken:
		if _, ok := d.next.tokens.get(r.TokenID); !ok {
			return fmt.Errorf("no delegation token has id %q", r.TokenID)
		}
		d.next.tokens.delete(r.TokenID)
		d.changed.tokens[r.TokenID] = struct{}{}
	case *schema.BeginTransaction, *schema.EndTransaction, *schema.AbortTransaction:
		return fmt.Errorf("belongs to the reader of the log, which resolves metadata transactions")
	default:
		return fmt.Errorf("unknown record of type %d", r.Type())
	}
	return nil
}

func (d *Delta) setFeature(r *schema.FeatureLevel) error {
	if r.Name == KRaftVersionFeature {
		return nil
	}
	if r.Name == MetadataVersionFeature && (r.FeatureLevel < MinimumMetadataVersion || r.FeatureLevel > LatestMetadataVersion) {
		return fmt.Errorf("metadata.version %d is not supported: this release knows %d (%s) to %d (%s)", r.FeatureLevel,
			MinimumMetadataVersion, MetadataVersionName(MinimumMetadataVersion),
			LatestMetadataVersion, MetadataVersionName(LatestMetadataVersion))
	}
	if r.FeatureLevel == 0 {
		d.next.features.delete(r.Name)
	} else {
		d.next.features.set(r.Name, r.FeatureLevel)
	}
	d.changed.features = true
	return nil
}

func (d *Delta) unregister(r *schema.UnregisterBroker) error {
	b, ok := d.next.brokers.get(r.BrokerID)
	if err := checkBroker(b, ok, r.BrokerID, r.BrokerEpoch); err != nil {
		return err
	}
	d.next.brokers.delete(r.BrokerID)
	d.changed.brokers[r.BrokerID] = struct{}{}
	return nil
}

func checkBroker(b *Broker, ok bool, id int32, epoch int64) error {
	if !ok {
		return fmt.Errorf("broker %d is not registered", id)
	}
	if b.Epoch != epoch {
		return fmt.Errorf("broker %d has epoch %d, the record says %d", id, b.Epoch, epoch)
	}
	return nil
}

func (d *Delta) changeBroker(id int32, epoch int64, change func(*Broker)) error {
	b, ok := d.next.brokers.get(id)
	if err := checkBroker(b, ok, id, epoch); err != nil {
		return err
	}
	changed := *b
	change(&changed)
	d.next.brokers.set(id, &changed)
	d.changed.brokers[id] = struct{}{}
	return nil
}

func (d *Delta) changeRegistration(r *schema.BrokerRegistrationChange) error {
	if r.Fenced < -1 || r.Fenced > 1 {
		return fmt.Errorf("fenced is %d, which is none of -1, 0, 1", r.Fenced)
	}
	if r.InControlledShutdown < 0 || r.InControlledShutdown > 1 {
		return fmt.Errorf("inControlledShutdown is %d, which is neither 0 nor 1", r.InControlledShutdown)
	}
	return d.changeBroker(r.BrokerID, r.BrokerEpoch, func(b *Broker) {
		if r.Fenced != 0 {
			b.Fenced = r.Fenced > 0
		}
		if r.InControlledShutdown != 0 {
			b.InControlledShutdown = true
		}
		if len(r.LogDirs) > 0 {
			b.LogDirs = r.LogDirs
		}
		if r.CordonedLogDirs != nil {
			b.CordonedLogDirs = r.CordonedLogDirs
		}
	})
}

func (d *Delta) setConfig(r *schema.Config) {
	resource := ConfigResource{r.ResourceType, r.ResourceName}
	values, own := d.ownConfig[resource]
	if !own {
		values, _ = d.next.configs.get(resource)
		values = maps.Clone(values)
		if values == nil {
			values = map[string]string{}
		}
	}
	if r.Value == nil {
		delete(values, r.Name)
	} else {
		values[r.Name] = *r.Value
	}
	if len(values) == 0 {
		d.next.configs.delete(resource)
		delete(d.ownConfig, resource)
	} else {
		d.next.configs.set(resource, values)
		d.ownConfig[resource] = values
	}
	d.changed.configs[resource] = struct{}{}
}

func (d *Delta) setQuota(r *schema.ClientQuota) {
	entity := sortedEntity(r.Entity)
	key := quotaKey(entity)
	q := &Quota{Entity: entity, Values: map[string]float64{}}
	if old, ok := d.next.quotas.get(key); ok {
		maps.Copy(q.Values, old.Values)
	}
	if r.Remove {
		delete(q.Values, r.Key)
	} else {
		q.Values[r.Key] = r.Value
	}
	if len(q.Values) == 0 {
		d.next.quotas.delete(key)
	} else {
		d.next.quotas.set(key, q)
	}
	d.changed.quotas[key] = entity
}

// insertNumbered keeps ahead sorted; a partition that comes twice keeps its last state.
func insertNumbered(ahead []numbered, n numbered) []numbered {
	at, found := slices.BinarySearchFunc(ahead, n.id, func(a numbered, id int32) int { return int(a.id) - int(id) })
	if found {
		ahead[at] = n
		return ahead
	}
	return slices.Insert(ahead, at, n)
}
