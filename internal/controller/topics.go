package controller

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// maxTopicName is the longest topic name, so that "name-partition" is still a file name.
const maxTopicName = 249

// metadataTopic is the log that this controller writes, which nobody may create.
const metadataTopic = "__cluster_metadata"

// checkTopicName gives what is wrong with a topic's name, in Kafka's words.
func checkTopicName(name string) error {
	var reason string
	switch {
	case name == "":
		reason = "the empty string is not allowed"
	case name == "." || name == "..":
		reason = "'" + name + "' is not allowed"
	case len(name) > maxTopicName && len([]rune(name)) > maxTopicName:
		reason = "the length of '" + name + "' is longer than the max allowed length 249"
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}):
		reason = "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
	default:
		return nil
	}
	return refuse(kerr.InvalidTopicException, "Topic name is invalid: %s", reason)
}

// createTopics answers CreateTopics. Topics are decided one by one; each gets its own result.
//
//   - Names: Kafka's characters and length; two names that differ only in '.' and '_' collide, for metrics.
//   - -1 partitions or replicas are the configured defaults (KIP-464); a manual assignment wants -1 for both.
//   - v5+: the reply carries the effective configuration (KIP-525); v7+ the topic id.
func (c *Controller) createTopics(op *operation, req *kmsg.CreateTopicsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	count := map[string]int{}
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	total := int64(0)
	for i := range req.Topics {
		if t := &req.Topics[i]; count[t.Topic] == 1 && t.Topic != metadataTopic {
			total += c.wantedPartitions(t)
		}
	}
	if total > maxPartitionsPerRequest {
		return nil, refuse(kerr.PolicyViolation, "Excessively large number of partitions per request.")
	}
	var last []kmsg.CreateTopicsResponseTopic // Kafka answers for duplicates and the metadata log after the others
	for i := range req.Topics {
		t := &req.Topics[i]
		switch {
		case count[t.Topic] > 1:
			last = append(last, failedTopicFor(t.Topic, refuse(kerr.InvalidRequest, "Duplicate topic name.")))
			count[t.Topic] = 0
		case count[t.Topic] == 0:
		case t.Topic == metadataTopic:
			last = append(last, failedTopicFor(t.Topic, refuse(kerr.InvalidRequest, "Creation of internal topic %s is prohibited.", metadataTopic)))
		default:
			result, err := c.createTopic(op, t)
			if err != nil {
				result = failedTopicFor(t.Topic, err)
			}
			resp.Topics = append(resp.Topics, result)
		}
		if len(op.records) > MaxRecordsPerOperation {
			return nil, excessive()
		}
	}
	resp.Topics = append(resp.Topics, last...)
	if req.ValidateOnly {
		op.records, op.events = nil, nil
	}
	return resp, nil
}

// wantedPartitions is an upper bound: what a topic asks for, right or wrong.
func (c *Controller) wantedPartitions(t *kmsg.CreateTopicsRequestTopic) int64 {
	switch {
	case len(t.ReplicaAssignment) > 0:
		return int64(len(t.ReplicaAssignment))
	case t.NumPartitions == -1:
		return int64(c.options.DefaultPartitions)
	}
	return int64(max(t.NumPartitions, 0))
}

func failedTopic(name string, code int16, message *string) kmsg.CreateTopicsResponseTopic {
	t := kmsg.NewCreateTopicsResponseTopic()
	t.Topic, t.ErrorCode, t.ErrorMessage = name, code, message
	t.NumPartitions, t.ReplicationFactor, t.Configs = -1, -1, []kmsg.CreateTopicsResponseTopicConfig{}
	return t
}

func failedTopicFor(name string, err error) kmsg.CreateTopicsResponseTopic {
	code, message := codeOf(err)
	return failedTopic(name, code, message)
}

func (c *Controller) createTopic(op *operation, in *kmsg.CreateTopicsRequestTopic) (out kmsg.CreateTopicsResponseTopic, err error) {
	if err := c.checkNewName(op, in.Topic); err != nil {
		return out, err
	}
	values, configs, err := c.newTopicConfigs(in)
	if err != nil {
		return out, err
	}
	var parts []newPartition
	if len(in.ReplicaAssignment) > 0 {
		parts, err = c.assignedPartitions(in)
	} else {
		parts, err = c.placedPartitions(op, in)
	}
	if err != nil {
		return out, err
	}
	id := c.newTopicID(op)
	op.add(&schema.Topic{Name: in.Topic, TopicID: id})
	op.add(configs...)
	for i := range parts {
		op.add(parts[i].record(id, int32(i)))
	}
	op.event("controller.topic.created", machine.Attr{Key: "topic", Value: in.Topic}, machine.Attr{Key: "partitions", Value: len(parts)})
	out = kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.TopicID = in.Topic, id
	out.NumPartitions, out.ReplicationFactor = int32(len(parts)), int16(len(parts[0].replicas))
	out.Configs = c.options.Configs.Topic(c.configs(metadata.BrokerConfig, ""), c.nodeConfigs(), values)
	return out, nil
}

func (c *Controller) checkNewName(op *operation, name string) error {
	if c.topic(name) != nil {
		return refuse(kerr.TopicAlreadyExists, "Topic '%s' already exists.", name)
	}
	if hasCollisionChars(name) {
		if colliding := c.state.index.colliding[unifyCollisionChars(name)]; len(colliding) > 0 {
			return refuse(kerr.InvalidTopicException, "Topic '%s' collides with existing topic: %s", name, colliding[0])
		}
	}
	return checkTopicName(name)
}

// newTopicID draws a random id (a version 4 UUID, as Java's), but none that prints with a leading dash: tools would
// take it for an option.
func (c *Controller) newTopicID(op *operation) schema.UUID {
	for {
		if id := randomUUID(op.Rand); id.String()[0] != '-' && c.topicByID(id) == nil {
			return id
		}
	}
}

func randomUUID(rnd *rand.Rand) schema.UUID {
	var id schema.UUID
	binary.BigEndian.PutUint64(id[:8], rnd.Uint64())
	binary.BigEndian.PutUint64(id[8:], rnd.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// newPartition is a partition that is about to be created.
type newPartition struct {
	replicas, isr []int32
	directories   []schema.UUID
}

func (p *newPartition) record(topic schema.UUID, id int32) schema.Record {
	r := schema.NewPartition()
	r.TopicID, r.PartitionID = topic, id
	r.Replicas, r.ISR, r.Directories = p.replicas, p.isr, p.directories
	r.Leader, r.LeaderEpoch, r.PartitionEpoch = p.isr[0], 0, 0
	return r
}

func (c *Controller) assignedPartitions(in *kmsg.CreateTopicsRequestTopic) ([]newPartition, error) {
	if in.ReplicationFactor != -1 {
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if in.NumPartitions != -1 {
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	parts := make(map[int32]newPartition, len(in.ReplicaAssignment))
	factor := -1
	for i := range in.ReplicaAssignment {
		a := &in.ReplicaAssignment[i]
		if _, twice := parts[a.Partition]; twice {
			return nil, refuse(kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", a.Partition)
		}
		p, err := c.manualPartition(a.Replicas, factor, a.Partition)
		if err != nil {
			return nil, err
		}
		parts[a.Partition], factor = p, len(a.Replicas)
	}
	ordered := make([]newPartition, len(parts))
	for i := range ordered {
		p, ok := parts[int32(i)]
		if !ok {
			return nil, refuse(kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		ordered[i] = p
	}
	return ordered, nil
}

// manualPartition checks one manual assignment; factor is what the partitions before it have, or -1.
func (c *Controller) manualPartition(replicas []int32, factor int, id int32) (p newPartition, err error) {
	if err := c.checkAssignment(replicas, factor); err != nil {
		return p, err
	}
	isr := c.activeOf(replicas)
	if len(isr) == 0 {
		return p, refuse(kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition %d "+
			"are fenced or in controlled shutdown.", id)
	}
	return newPartition{replicas, isr, c.defaultDirectories(replicas)}, nil
}

func (c *Controller) checkAssignment(replicas []int32, factor int) error {
	const of = "The manual partition assignment includes "
	if len(replicas) == 0 {
		return refuse(kerr.InvalidReplicaAssignment, of+"an empty replica list.")
	}
	sorted := slices.Sorted(slices.Values(replicas))
	for i, id := range sorted {
		b := c.broker(id)
		switch {
		case b == nil:
			return refuse(kerr.InvalidReplicaAssignment, of+"broker %d, but no such broker is registered.", id)
		case !hasUncordonedDirectory(b):
			return refuse(kerr.InvalidReplicaAssignment, of+"broker %d, but all its log directories are cordoned.", id)
		case i > 0 && sorted[i-1] == id:
			return refuse(kerr.InvalidReplicaAssignment, of+"the broker %d more than once.", id)
		}
	}
	if factor >= 0 && len(replicas) != factor {
		return refuse(kerr.InvalidReplicaAssignment, of+"a partition with %d replica(s), but this is not consistent with previous "+
			"partitions, which have %d replica(s).", len(replicas), factor)
	}
	return nil
}

func (c *Controller) placedPartitions(op *operation, in *kmsg.CreateTopicsRequestTopic) ([]newPartition, error) {
	if in.ReplicationFactor < -1 || in.ReplicationFactor == 0 {
		return nil, refuse(kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	}
	if in.NumPartitions < -1 || in.NumPartitions == 0 {
		return nil, refuse(kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	}
	partitions, factor := in.NumPartitions, in.ReplicationFactor
	if partitions == -1 {
		partitions = c.options.DefaultPartitions
	}
	if factor == -1 {
		factor = c.options.DefaultReplicationFactor
	}
	unable := func(why string) error {
		return refuse(kerr.InvalidReplicationFactor, "Unable to replicate the partition %d time(s): %s", factor, why)
	}
	placements, err := place(op.Rand, c.usableBrokers(), int(partitions), factor)
	if err != nil {
		_, why := codeOf(err)
		return nil, unable(*why)
	}
	parts := make([]newPartition, len(placements))
	for i, replicas := range placements {
		parts[i] = newPartition{replicas, c.activeOf(replicas), c.defaultDirectories(replicas)}
		if len(parts[i].isr) == 0 {
			return nil, unable("All brokers are currently fenced or in controlled shutdown.")
		}
	}
	return parts, nil
}

// newTopicConfigs checks a new topic's configurations. It gives them as a map and as records, sorted by key.
func (c *Controller) newTopicConfigs(in *kmsg.CreateTopicsRequestTopic) (map[string]string, []schema.Record, error) {
	values := make(map[string]string, len(in.Configs))
	var null []string
	for _, cfg := range in.Configs {
		if cfg.Value == nil {
			null = append(null, cfg.Name)
		} else {
			values[cfg.Name] = *cfg.Value
		}
	}
	if len(null) > 0 {
		return nil, nil, refuse(kerr.InvalidConfig, "Null value not supported for topic configs: %s", strings.Join(null, ","))
	}
	if len(values) == 0 {
		return values, nil, nil
	}
	var changes []*schema.Config
	for key, value := range values {
		changes = append(changes, &schema.Config{ResourceType: metadata.TopicConfig, ResourceName: in.Topic, Name: key, Value: &value})
	}
	slices.SortFunc(changes, func(a, b *schema.Config) int { return cmp.Compare(a.Name, b.Name) })
	if err := c.checkConfigs(resource{Type: metadata.TopicConfig, Name: in.Topic}, changes); err != nil {
		return nil, nil, err
	}
	return values, c.configRecords(changes), nil
}

// deleteTopics answers DeleteTopics, by name or (v6+, KIP-516) by id. A topic that is named twice, in whatever way, is
// not deleted.
func (c *Controller) deleteTopics(op *operation, req *kmsg.DeleteTopicsRequest) (any, error) {
	if c.options.DisableTopicDeletion {
		if req.Version < 3 {
			return nil, refuse(kerr.InvalidRequest, "This version does not support topic deletion.")
		}
		return nil, bare(kerr.TopicDeletionDisabled)
	}
	d := &deletion{names: map[string]int{}, ids: map[schema.UUID]int{}}
	for _, name := range req.TopicNames {
		d.name(name)
	}
	for i := range req.Topics {
		name, id := req.Topics[i].Topic, schema.UUID(req.Topics[i].TopicID)
		switch {
		case name == nil && id == schema.ZeroUUID:
			d.result(nil, id, refuse(kerr.InvalidRequest, "Neither topic name nor id were specified."))
		case name == nil:
			d.id(id)
		case id == schema.ZeroUUID:
			d.name(*name)
		default:
			d.result(name, id, refuse(kerr.InvalidRequest, "You may not specify both topic name and topic id."))
		}
	}
	c.resolveDeletion(d)
	for _, t := range d.topics {
		op.add(&schema.RemoveTopic{TopicID: t.ID})
		op.event("controller.topic.deleted", machine.Attr{Key: "topic", Value: t.Name})
		d.result(&t.Name, t.ID, nil)
	}
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	resp.Topics = append(resp.Topics, d.results...)
	return resp, nil
}

// deletion collects what a DeleteTopics request names, in its order.
type deletion struct {
	names     map[string]int // times named
	nameOrder []string
	ids       map[schema.UUID]int
	idOrder   []schema.UUID
	topics    []*topic
	results   []kmsg.DeleteTopicsResponseTopic
}

func (d *deletion) name(name string) {
	if d.names[name]++; d.names[name] == 1 {
		d.nameOrder = append(d.nameOrder, name)
	}
}

func (d *deletion) id(id schema.UUID) {
	if d.ids[id]++; d.ids[id] == 1 {
		d.idOrder = append(d.idOrder, id)
	}
}

func (d *deletion) result(name *string, id schema.UUID, err error) {
	t := kmsg.NewDeleteTopicsResponseTopic()
	t.Topic, t.TopicID = name, id
	t.ErrorCode, t.ErrorMessage = codeOf(err)
	d.results = append(d.results, t)
}

func (c *Controller) resolveDeletion(d *deletion) {
	byID := map[schema.UUID]bool{}
	var found []*topic
	for _, id := range d.idOrder {
		t := c.topicByID(id)
		switch {
		case d.ids[id] > 1:
			d.result(nil, id, refuse(kerr.InvalidRequest, "Duplicate topic id."))
		case t == nil:
			d.result(nil, id, refuse(kerr.UnknownTopicID, "This server does not host this topic ID."))
		default:
			found, byID[id] = append(found, t), true
		}
	}
	for _, name := range d.nameOrder {
		t := c.topic(name)
		switch {
		case d.names[name] > 1:
			d.result(&name, schema.ZeroUUID, refuse(kerr.InvalidRequest, "Duplicate topic name."))
		case t == nil:
			d.result(&name, schema.ZeroUUID, refuse(kerr.UnknownTopicOrPartition, "This server does not host this topic-partition."))
		case d.ids[t.ID] > 0:
			byID[t.ID] = false
			d.result(&name, t.ID, refuse(kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied."))
		default:
			found, byID[t.ID] = append(found, t), true
		}
	}
	d.topics = slices.DeleteFunc(found, func(t *topic) bool { return !byID[t.ID] })
}
