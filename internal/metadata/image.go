// Package metadata is the cluster's metadata as values: an Image is what the records of __cluster_metadata up to an
// offset say, a Delta is an Image being changed by further records.
//
//	delta := metadata.NewDelta(image)
//	for each committed record { err := delta.Apply(record) }
//	next := delta.Image(lastOffset, lastEpoch)
//	publishers look at delta.Topics(), delta.Brokers(), ... and at next
//
// An Image never changes once Delta.Image has given it: any number of goroutines read it without a lock, and it stays
// valid for ever. It shares what did not change with the image it came from, so a step costs what it changes. What
// callers get from it (topics, partitions, brokers, maps, records) is shared: read it, never write it. All walks are in
// one fixed order.
//
// Delta.Apply takes single records in log order. Metadata transactions (KIP-868) are not its matter: who reads the log
// holds back the records between BeginTransactionRecord and EndTransactionRecord, applies them when the latter
// comes, and drops them on AbortTransactionRecord. Apply refuses the three.
//
// Records are applied strictly: one that does not fit (a change of a partition that is not there, a fence with
// another broker epoch) is an error, since it means that the log or its reader is broken. What Kafka 4 ignores is
// ignored: NoOp, ZkMigrationState, and feature levels of kraft.version, which control records decide.
package metadata

import (
	"cmp"
	"iter"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// Types of config resources (org.apache.kafka.common.config.ConfigResource.Type).
const (
	TopicConfig         int8 = 2
	BrokerConfig        int8 = 4 // name "" is the cluster-wide default
	BrokerLoggerConfig  int8 = 8
	ClientMetricsConfig int8 = 16
	GroupConfig         int8 = 32
)

// Directory ids with a meaning of their own (org.apache.kafka.common.DirectoryId).
var (
	DirectoryMigrating  = schema.UUID{}      // not known: the record is older than directory assignment
	DirectoryUnassigned = schema.UUID{15: 1} // the broker has not chosen yet
	DirectoryLost       = schema.UUID{15: 2} // offline
)

// NoLeader is the leader of a partition without one.
const NoLeader int32 = -1

// Image is the metadata up to and including Offset, whose record was written in Epoch (-1 for none).
type Image struct {
	Offset int64
	Epoch  int32

	topics      tree[string, *Topic]
	topicsByID  tree[schema.UUID, *Topic]
	partitions  int
	brokers     tree[int32, *Broker]
	controllers tree[int32, *Controller]
	configs     tree[ConfigResource, map[string]string]
	features    tree[string, int16]
	producerID  int64 // -1: no record yet
	quotas      tree[string, *Quota]
	acls        tree[schema.UUID, *schema.AccessControlEntry]
	scram       tree[ScramUser, *schema.UserScramCredential]
	tokens      tree[string, *schema.DelegationToken]
}

// Empty is the image before the first record.
func Empty() *Image {
	return &Image{
		Offset:      -1,
		Epoch:       -1,
		topics:      newTree[string, *Topic](cmp.Compare),
		topicsByID:  newTree[schema.UUID, *Topic](compareUUID),
		brokers:     newTree[int32, *Broker](cmp.Compare),
		controllers: newTree[int32, *Controller](cmp.Compare),
		configs:     newTree[ConfigResource, map[string]string](ConfigResource.compare),
		features:    newTree[string, int16](cmp.Compare),
		producerID:  -1,
		quotas:      newTree[string, *Quota](cmp.Compare),
		acls:        newTree[schema.UUID, *schema.AccessControlEntry](compareUUID),
		scram:       newTree[ScramUser, *schema.UserScramCredential](ScramUser.compare),
		tokens:      newTree[string, *schema.DelegationToken](cmp.Compare),
	}
}

func compareUUID(a, b schema.UUID) int { return slices.Compare(a[:], b[:]) }

// forked gives an image to change, frozen one to keep of an image that goes on changing.
func (i *Image) forked() Image {
	next := *i
	next.topics, next.topicsByID = i.topics.fork(), i.topicsByID.fork()
	next.brokers, next.controllers = i.brokers.fork(), i.controllers.fork()
	next.configs, next.features = i.configs.fork(), i.features.fork()
	next.quotas, next.acls = i.quotas.fork(), i.acls.fork()
	next.scram, next.tokens = i.scram.fork(), i.tokens.fork()
	return next
}

func (i *Image) frozen() *Image {
	next := *i
	next.topics, next.topicsByID = i.topics.freeze(), i.topicsByID.freeze()
	next.brokers, next.controllers = i.brokers.freeze(), i.controllers.freeze()
	next.configs, next.features = i.configs.freeze(), i.features.freeze()
	next.quotas, next.acls = i.quotas.freeze(), i.acls.freeze()
	next.scram, next.tokens = i.scram.freeze(), i.tokens.freeze()
	return &next
}

// Topic is one topic. Partitions' index is the partition's id.
type Topic struct {
	Name       string
	ID         schema.UUID
	Partitions []*Partition

	// ahead holds partitions whose lower neighbours have not come yet, by id. Kafka numbers partitions without gaps
	// but a snapshot may list them in any order.
	ahead []numbered
}

type numbered struct {
	id        int32
	partition *Partition
}

// Partition gives the partition with that id.
func (t *Topic) Partition(id int32) (*Partition, bool) {
	if id < 0 || int(id) >= len(t.Partitions) {
		return nil, false
	}
	return t.Partitions[id], true
}

// Partition is one partition. Directories has one entry a replica, in the order of Replicas.
type Partition struct {
	Replicas, ISR, Removing, Adding, ELR, LastKnownELR []int32

	Directories    []schema.UUID
	Leader         int32 // NoLeader for none
	LeaderEpoch    int32
	PartitionEpoch int32
	Recovery       int8 // 1 while the leader recovers from an unclean election, else 0
}

// Directory gives the log directory of a broker's replica.
func (p *Partition) Directory(broker int32) (schema.UUID, bool) {
	at := slices.Index(p.Replicas, broker)
	if at < 0 || at >= len(p.Directories) {
		return schema.UUID{}, false
	}
	return p.Directories[at], true
}

// Topic finds a topic by name.
func (i *Image) Topic(name string) (*Topic, bool) { return i.topics.get(name) }

// TopicByID finds a topic by id.
func (i *Image) TopicByID(id schema.UUID) (*Topic, bool) { return i.topicsByID.get(id) }

// Partition finds a partition by its topic's name.
func (i *Image) Partition(topic string, id int32) (*Partition, bool) {
	t, ok := i.topics.get(topic)
	if !ok {
		return nil, false
	}
	return t.Partition(id)
}

// Topics walks the topics in the order of their names.
func (i *Image) Topics() iter.Seq[*Topic] { return i.topics.values() }

// TopicsFrom walks the topics whose names are name or behind it.
func (i *Image) TopicsFrom(name string) iter.Seq2[string, *Topic] { return i.topics.from(name) }

// TopicCount is the number of topics.
func (i *Image) TopicCount() int { return i.topics.len() }

// PartitionCount is the number of partitions of all topics.
func (i *Image) PartitionCount() int { return i.partitions }

// Broker finds a registered broker, fenced or not.
func (i *Image) Broker(id int32) (*Broker, bool) { return i.brokers.get(id) }

// Brokers walks the registered brokers in the order of their ids.
func (i *Image) Brokers() iter.Seq[*Broker] { return i.brokers.values() }

// Controller finds a registered controller (KIP-919; the active one need not be).
func (i *Image) Controller(id int32) (*Controller, bool) { return i.controllers.get(id) }

// Controllers walks the registered controllers in the order of their ids.
func (i *Image) Controllers() iter.Seq[*Controller] { return i.controllers.values() }

// NextProducerID is the first id of the next block of producer ids.
func (i *Image) NextProducerID() int64 { return max(i.producerID, 0) }

// Feature is the finalized level of a feature, 0 if it has none.
func (i *Image) Feature(name string) int16 {
	level, _ := i.features.get(name)
	return level
}

// Features walks the finalized features in the order of their names. kraft.version is not among them.
func (i *Image) Features() iter.Seq2[string, int16] { return i.features.all() }

// MetadataVersion is the level of metadata.version, 0 before its first record.
func (i *Image) MetadataVersion() int16 { return i.Feature(MetadataVersionFeature) }
