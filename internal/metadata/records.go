package metadata

import (
	"iter"

	"github.com/klamm-io/klamm/internal/schema"
)

// RecordVersion is the version in which a record is written at a metadata.version: the newest one that brokers of that
// version read. A BrokerRegistrationChange has the lowest version that can say what it says, as Kafka writes it.
func RecordVersion(r schema.Record, metadataVersion int16) int16 {
	switch r := r.(type) {
	case *schema.RegisterBroker:
		switch {
		case metadataVersion >= MVCordonedLogDirs:
			return 4
		case metadataVersion >= MVDirectoryAssignment:
			return 3
		case metadataVersion >= MVZkMigration:
			return 2
		}
		return 1
	case *schema.Partition, *schema.PartitionChange:
		switch {
		case metadataVersion >= MVELR:
			return 2
		case metadataVersion >= MVDirectoryAssignment:
			return 1
		}
		return 0
	case *schema.BrokerRegistrationChange:
		switch {
		case r.CordonedLogDirs != nil:
			return 3
		case len(r.LogDirs) > 0:
			return 2
		case r.InControlledShutdown != 0:
			return 1
		}
		return 0
	}
	return 0
}

// Records gives the records of a snapshot of this image with their versions: features (metadata.version first),
// brokers, controllers, topics each before its partitions, configs, quotas, producer ids, ACLs, SCRAM credentials,
// delegation tokens. Applied to an empty image they make this one again, as far as its metadata.version can say it:
// older ones lack directories, ELR, cordoned directories, controllers, credentials and tokens.
func (i *Image) Records() iter.Seq2[schema.Record, int16] {
	return func(yield func(schema.Record, int16) bool) {
		version := i.MetadataVersion()
		for r := range i.records(version) {
			if !yield(r, RecordVersion(r, version)) {
				return
			}
		}
	}
}

func (i *Image) records(version int16) iter.Seq[schema.Record] {
	parts := []iter.Seq[schema.Record]{i.featureRecords(), i.clusterRecords(version), i.topicRecords(), i.configRecords(),
		i.securityRecords(version)}
	return func(yield func(schema.Record) bool) {
		for _, part := range parts {
			for r := range part {
				if !yield(r) {
					return
				}
			}
		}
	}
}

func (i *Image) featureRecords() iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		if v := i.MetadataVersion(); v > 0 && !yield(&schema.FeatureLevel{Name: MetadataVersionFeature, FeatureLevel: v}) {
			return
		}
		for name, level := range i.features.all() {
			if name != MetadataVersionFeature && !yield(&schema.FeatureLevel{Name: name, FeatureLevel: level}) {
				return
			}
		}
	}
}

func (i *Image) clusterRecords(version int16) iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		for b := range i.Brokers() {
			if !yield(b.record()) {
				return
			}
		}
		if version < MVControllerRegistration {
			return
		}
		for c := range i.Controllers() {
			if !yield(c.record()) {
				return
			}
		}
	}
}

func (i *Image) topicRecords() iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		for t := range i.Topics() {
			if !yield(&schema.Topic{Name: t.Name, TopicID: t.ID}) {
				return
			}
			for id, p := range t.Partitions {
				if !yield(p.record(t.ID, int32(id))) {
					return
				}
			}
			for _, n := range t.ahead {
				if !yield(n.partition.record(t.ID, n.id)) {
					return
				}
			}
		}
	}
}

func (i *Image) configRecords() iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		for r, values := range i.configs.all() {
			for _, name := range sortedKeys(values) {
				value := values[name]
				if !yield(&schema.Config{ResourceType: r.Type, ResourceName: r.Name, Name: name, Value: &value}) {
					return
				}
			}
		}
		for _, q := range i.quotas.all() {
			for _, key := range sortedKeys(q.Values) {
				if !yield(&schema.ClientQuota{Entity: q.Entity, Key: key, Value: q.Values[key]}) {
					return
				}
			}
		}
		if i.producerID >= 0 {
			yield(&schema.ProducerIds{BrokerID: -1, BrokerEpoch: -1, NextProducerID: i.producerID})
		}
	}
}

func (i *Image) securityRecords(version int16) iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		for a := range i.ACLs() {
			if !yield(a) {
				return
			}
		}
		for s := range i.SCRAMs() {
			if version >= MVScram && !yield(s) {
				return
			}
		}
		for t := range i.DelegationTokens() {
			if version >= MVDelegationTokens && !yield(t) {
				return
			}
		}
	}
}

// record gives the partition's record. Empty ELR fields are null, which costs no bytes.
func (p *Partition) record(topic schema.UUID, id int32) *schema.Partition {
	r := &schema.Partition{PartitionID: id, TopicID: topic, Replicas: p.Replicas, ISR: p.ISR, RemovingReplicas: p.Removing,
		AddingReplicas: p.Adding, Leader: p.Leader, LeaderRecoveryState: p.Recovery, LeaderEpoch: p.LeaderEpoch,
		PartitionEpoch: p.PartitionEpoch, Directories: p.Directories}
	if len(p.ELR) > 0 {
		r.EligibleLeaderReplicas = p.ELR
	}
	if len(p.LastKnownELR) > 0 {
		r.LastKnownELR = p.LastKnownELR
	}
	return r
}
