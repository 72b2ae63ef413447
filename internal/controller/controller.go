// Package controller is the active controller of a cluster: the pure machine that decides what stands in the metadata
// log. It creates and deletes topics, places and reassigns replicas, elects leaders, keeps ISR and ELR, validates and
// stores dynamic configurations, registers, fences and unfences brokers, finalises features and hands out producer ids.
//
// # State
//
// The machine's only durable state is the image of everything that was applied, committed or not: Apply advances it,
// Handle reads it. Input.Image (what is published) is not consulted. Beside it stands an index that is derived from the
// image, and soft state that a new controller starts without: when each broker was last heard from, how far it has
// read the metadata log, and from which offset on a controlled shutdown is complete.
//
// Apply is cheap: it collects records in a metadata.Delta, and the next Handle turns them into an image at once. A host
// that loads a long log record by record pays for one image per few thousand records, so there is no batch variant of
// Apply. Standbys keep a Controller warm by applying what is committed, or start one from their image with Load.
//
// # Commands
//
// Command.Body is one of
//
//   - Activate, once, after the host became leader and applied all that the log holds, before anything else;
//   - a kmsg request: CreateTopics, DeleteTopics, CreatePartitions, AlterConfigs, IncrementalAlterConfigs,
//     BrokerRegistration, BrokerHeartbeat, UnregisterBroker, ControllerRegistration, AlterPartition, ElectLeaders,
//     AllocateProducerIDs, UpdateFeatures, AlterPartitionAssignments, ListPartitionReassignments, AssignReplicasToDirs.
//     The reply is the kmsg response at the request's version. Envelope, authorisation and quotas are the host's;
//   - machine.Tick at NextDeadline.
//
// Keys is nil for every command: decisions read across the cluster (names collide, placement and elections see all
// brokers), so each command sees all that was decided before it, and each Result is its own batch of the log.
//
// # Batches
//
// Kafka's limit holds: a request whose effect needs more than MaxRecordsPerOperation records is refused with
// POLICY_VIOLATION. What follows from a broker's end cannot be refused; when it needs more, the records stand between
// BeginTransaction and EndTransaction, and the host may write a Result that holds a BeginTransaction as several
// batches. Every other Result is one batch.
package controller

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Kafka's limits.
const (
	// MaxRecordsPerOperation is the most records that one request may write, and the most in one batch.
	MaxRecordsPerOperation = 10000
	// maxPartitionsPerRequest is checked before anything is laid out for a CreateTopics request.
	maxPartitionsPerRequest = 10000
	// maxElectionsPerCheck bounds the elections of one periodic check; the next one follows at once.
	maxElectionsPerCheck = 1000
)

// Configs is what the controller asks of the definitions of dynamic configurations. t is Kafka's resource type:
// 2 topic, 4 broker (name "" is the default of all brokers), 16 client metrics, 32 group.
type Configs interface {
	// Validate checks all dynamic values that a resource would have; old are those it has. An error is INVALID_CONFIG
	// with the error's text, or the code of the *kerr.Error that it wraps. Names of resources are checked already.
	Validate(t int8, name string, values, old map[string]string) error
	// IsList says whether a key is of type LIST, which APPEND and SUBTRACT need.
	IsList(t int8, key string) bool
	// Default is the default of a key by definition, which APPEND and SUBTRACT start from; false without one.
	Default(t int8, key string) (string, bool)
	// Static is the value that the controller's own configuration file gives a topic's key through its broker synonym,
	// or the default.
	Static(key string) string
	// Topic lists, sorted by name, every configuration of a topic with its effective value and source. Dynamic values
	// are given from the weakest to the strongest: all brokers, this node, the topic.
	Topic(cluster, node, topic map[string]string) []kmsg.CreateTopicsResponseTopicConfig
}

// FeatureRange is the versions of a feature that this controller's software supports.
type FeatureRange struct {
	Min, Max int16
}

// Options is the controller's surroundings. Zero durations turn a periodic task off.
type Options struct {
	NodeID    int32
	ClusterID string
	// Voters are the ids of the quorum's nodes: a feature changes only when each is known to support the new version.
	Voters []int32
	// Configs is required.
	Configs Configs
	// Bootstrap are the records of bootstrap.checkpoint, which become the start of an empty log. They must finalise
	// metadata.version.
	Bootstrap []schema.Record
	// Features overrides what this software supports; nil means all that Klamm knows.
	Features map[string]FeatureRange
	// KRaftVersion is the quorum's kraft.version, which stands in control records and not in the image.
	KRaftVersion int16

	DefaultPartitions        int32         // num.partitions; 0 means 1
	DefaultReplicationFactor int16         // default.replication.factor; 0 means 1
	DisableTopicDeletion     bool          // delete.topic.enable=false
	SessionTimeout           time.Duration // broker.session.timeout.ms; 0 means 9 s
	MaxIdle                  time.Duration // metadata.max.idle.interval.ms
	ImbalanceCheck           time.Duration // leader.imbalance.check.interval.seconds, if auto.leader.rebalance.enable
	UncleanElectionCheck     time.Duration // unclean.leader.election.interval.ms
}

// Controller is the machine. One goroutine owns it.
type Controller struct {
	options  Options
	state    overlay
	sessions map[int32]*session
	active   bool
	schedule schedule
}

var _ machine.Machine[schema.Record] = (*Controller)(nil)

// New gives a controller that has applied nothing.
func New(options Options) *Controller {
	return Load(options, metadata.Empty())
}

// Load gives a controller that starts from an image instead of from the log's records. Brokers registered in it must
// catch up to the image's offset before they are unfenced, for their registrations' own offsets are not known.
func Load(options Options, image *metadata.Image) *Controller {
	if options.DefaultPartitions == 0 {
		options.DefaultPartitions = 1
	}
	if options.DefaultReplicationFactor == 0 {
		options.DefaultReplicationFactor = 1
	}
	if options.SessionTimeout == 0 {
		options.SessionTimeout = 9 * time.Second
	}
	if options.Features == nil {
		options.Features = supportedFeatures()
	}
	return &Controller{options: options, state: newOverlay(image), sessions: map[int32]*session{}}
}

// Keys implements machine.Machine.
func (c *Controller) Keys(machine.Command) []string { return nil }

// Apply implements machine.Machine.
func (c *Controller) Apply(r schema.Record, at machine.Position) error { return c.state.apply(r, at) }

// Image is the state that the next command will see. Tests and standbys look at it.
func (c *Controller) Image() *metadata.Image {
	c.state.settle()
	return c.state.image
}

// Refuse implements machine.Machine. Errors that wrap no *kerr.Error are UNKNOWN_SERVER_ERROR.
func (c *Controller) Refuse(cmd machine.Command, err error) any {
	if request, ok := cmd.Body.(kmsg.Request); ok {
		if resp := errorResponse(request, err); resp != nil {
			return resp
		}
	}
	return err
}

// operation is one command while it is decided.
type operation struct {
	machine.Input
	records []schema.Record
	split   bool // the records may be more than a batch: see the package comment
	events  []machine.Event
}

func (op *operation) add(records ...schema.Record) { op.records = append(op.records, records...) }

func (op *operation) event(name string, attrs ...machine.Attr) {
	op.events = append(op.events, machine.Event{Name: name, Attrs: attrs})
}

// Handle implements machine.Machine.
func (c *Controller) Handle(in machine.Input, cmd machine.Command) machine.Result[schema.Record] {
	op := &operation{Input: in}
	value, err := c.decide(op, cmd)
	if err == nil && len(op.records) > MaxRecordsPerOperation {
		if op.split {
			op.records = c.inTransaction(op.records)
		} else {
			err = excessive()
		}
	}
	if err != nil {
		op.records = nil
		value = c.Refuse(cmd, err)
	}
	result := machine.Result[schema.Record]{Records: op.records, Events: op.events}
	if cmd.Token != 0 {
		result.Replies = []machine.Reply{{Token: cmd.Token, Value: value}}
	}
	return result
}

// inTransaction makes records that span batches one unit for everybody who reads them. Before metadata transactions
// Kafka wrote such records as separate batches, too. Bootstrap records have their transaction already.
func (c *Controller) inTransaction(records []schema.Record) []schema.Record {
	isBegin := func(r schema.Record) bool { _, ok := r.(*schema.BeginTransaction); return ok }
	if slices.ContainsFunc(records[:2], isBegin) || c.metadataVersion() < metadata.MVTransactions {
		return records
	}
	name := "Large operation"
	framed := make([]schema.Record, 0, len(records)+2)
	framed = append(framed, &schema.BeginTransaction{Name: &name})
	framed = append(framed, records...)
	return append(framed, &schema.EndTransaction{})
}

func (c *Controller) decide(op *operation, cmd machine.Command) (any, error) {
	c.settle()
	if activate, ok := cmd.Body.(Activate); ok {
		return c.activate(op, activate)
	}
	if !c.active {
		return nil, bare(kerr.NotController)
	}
	switch req := cmd.Body.(type) {
	case machine.Tick:
		return c.tick(op)
	case *kmsg.CreateTopicsRequest:
		return c.createTopics(op, req)
	case *kmsg.DeleteTopicsRequest:
		return c.deleteTopics(op, req)
	case *kmsg.CreatePartitionsRequest:
		return c.createPartitions(op, req)
	case *kmsg.AlterConfigsRequest:
		return c.alterConfigs(op, req)
	case *kmsg.IncrementalAlterConfigsRequest:
		return c.incrementalAlterConfigs(op, req)
	case *kmsg.BrokerRegistrationRequest:
		return c.registerBroker(op, req)
	case *kmsg.BrokerHeartbeatRequest:
		return c.heartbeat(op, req)
	case *kmsg.UnregisterBrokerRequest:
		return c.unregisterBroker(op, req)
	case *kmsg.ControllerRegistrationRequest:
		return c.registerController(op, req)
	case *kmsg.AlterPartitionRequest:
		return c.alterPartition(op, req)
	case *kmsg.ElectLeadersRequest:
		return c.electLeaders(op, req)
	case *kmsg.AllocateProducerIDsRequest:
		return c.allocateProducerIDs(op, req)
	case *kmsg.UpdateFeaturesRequest:
		return c.updateFeatures(op, req)
	case *kmsg.AlterPartitionAssignmentsRequest:
		return c.alterPartitionReassignments(op, req)
	case *kmsg.ListPartitionReassignmentsRequest:
		return c.listPartitionReassignments(req)
	case *kmsg.AssignReplicasToDirsRequest:
		return c.assignReplicasToDirs(op, req)
	}
	return nil, bare(kerr.UnsupportedVersion)
}
