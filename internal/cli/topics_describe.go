package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

// topicDescription is one topic as --describe prints it, from DescribeTopicPartitions or, by id or from a broker
// without it, from Metadata, which has no eligible leader replicas.
type topicDescription struct {
	name       string
	id         [16]byte
	partitions []partitionDescription
}

type partitionDescription struct {
	partition     int32
	leader        int32 // -1: none, or not among the live brokers
	replicas, isr []int32
	hasELR        bool
	elr, lastELR  []int32
}

// reassignment is a partition's replicas while they move.
type reassignment struct{ replicas, adding, removing []int32 }

// replicationFactor leaves out replicas that are only being added. A reassignment that ended between two answers is
// told by none of its replicas being there.
func (p *partitionDescription) replicationFactor(r *reassignment) int {
	if r != nil && slices.ContainsFunc(p.replicas, func(id int32) bool { return slices.Contains(r.adding, id) || slices.Contains(r.removing, id) }) {
		return len(r.replicas) - len(r.adding)
	}
	return len(p.replicas)
}

type topicPartition struct {
	topic     string
	partition int32
}

func (t *topicCommand) describe(ctx context.Context) error {
	found, err := t.describeSelected(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, d := range found {
		names = append(names, d.name)
	}
	configs, err := t.topicConfigs(ctx, names)
	if err != nil {
		return err
	}
	live, err := t.liveBrokers(ctx)
	if err != nil {
		return err
	}
	moving, err := t.reassignments(ctx, found)
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := t.print(d, configs[d.name], live, moving); err != nil {
			return err
		}
	}
	return nil
}

// describeSelected finds what --topic-id, unless it is the zero id, or else --topic selects.
func (t *topicCommand) describeSelected(ctx context.Context) ([]topicDescription, error) {
	var id [16]byte
	if t.options.has("topic-id") {
		s, err := t.options.text("topic-id")
		if err != nil {
			return nil, err
		}
		if id, err = parseUUID(s); err != nil {
			return nil, err
		}
	}
	if id != [16]byte{} {
		all, err := listTopics(ctx, t.admin)
		if err != nil {
			return nil, err
		}
		for name, topic := range all {
			if topic.id == id && !(t.options.has("exclude-internal") && internalTopics[name]) {
				return t.describeMetadata(ctx, []string{""}, id)
			}
		}
		if t.options.has("if-exists") {
			return nil, nil
		}
		return nil, fmt.Errorf("TopicId '%s' does not exist as expected", formatUUID(id))
	}
	names, err := t.names(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.mustExist(names); err != nil || len(names) == 0 {
		return nil, err
	}
	found, err := t.describeNames(ctx, names)
	if err != nil {
		return nil, err
	}
	return hashMapOrder(found, len(found), func(d topicDescription) int32 { return javaHash(d.name) }), nil
}

// describeNames asks DescribeTopicPartitions page by page, or Metadata where the broker does not have it.
func (t *topicCommand) describeNames(ctx context.Context, names []string) ([]topicDescription, error) {
	limit, ok, err := t.options.integer("partition-size-limit-per-response", 32)
	if err != nil {
		return nil, err
	}
	if !ok {
		limit = 2000
	}
	live, err := t.liveBrokers(ctx)
	if err != nil {
		return nil, err
	}
	var found []topicDescription
	var cursor *kmsg.DescribeTopicPartitionsRequestCursor
	names = slices.Sorted(slices.Values(names))
	for {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = int32(limit), cursor
		for _, name := range names {
			if cursor == nil || name >= cursor.Topic {
				topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
				topic.Topic = name
				req.Topics = append(req.Topics, topic)
			}
		}
		resp, err := ask(ctx, t.admin, "describeTopicPartitions", req)
		var k *client.KafkaError
		if errors.As(err, &k) && k.Class == "UnsupportedVersionException" {
			return t.describeMetadata(ctx, names, [16]byte{})
		}
		if err != nil {
			return nil, err
		}
		for _, topic := range resp.Topics {
			if err := client.Error(topic.ErrorCode, nil); err != nil {
				return nil, err
			}
			found = appendPage(found, topic, live)
		}
		if resp.NextCursor == nil {
			return found, nil
		}
		next := kmsg.NewDescribeTopicPartitionsRequestCursor()
		next.Topic, next.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		if cursor != nil && cursor.Topic == next.Topic && cursor.Partition == next.Partition {
			return nil, fmt.Errorf("The broker repeats the cursor %s-%d", next.Topic, next.Partition)
		}
		cursor = &next
	}
}

// appendPage adds a page's topic; a topic may come in several pages.
func appendPage(found []topicDescription, topic kmsg.DescribeTopicPartitionsResponseTopic, live []int32) []topicDescription {
	name := ""
	if topic.Topic != nil {
		name = *topic.Topic
	}
	if len(found) == 0 || found[len(found)-1].name != name {
		found = append(found, topicDescription{name: name, id: topic.TopicID})
	}
	d := &found[len(found)-1]
	for _, p := range topic.Partitions {
		leader := p.LeaderID
		if !slices.Contains(live, leader) {
			leader = -1
		}
		d.partitions = append(d.partitions, partitionDescription{
			partition: p.Partition, leader: leader, replicas: p.Replicas, isr: p.ISR,
			hasELR: true, elr: p.EligibleLeaderReplicas, lastELR: p.LastKnownELR,
		})
	}
	return found
}

// describeMetadata describes by names or, where id is set, by id.
func (t *topicCommand) describeMetadata(ctx context.Context, names []string, id [16]byte) ([]topicDescription, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		if id != [16]byte{} {
			topic.TopicID = id
		} else {
			topic.Topic = kmsg.StringPtr(name)
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := ask(ctx, t.admin, "describeTopics", req)
	if err != nil {
		return nil, err
	}
	var live []int32
	for _, b := range resp.Brokers {
		live = append(live, b.NodeID)
	}
	var found []topicDescription
	for _, topic := range resp.Topics {
		if err := client.Error(topic.ErrorCode, nil); err != nil {
			return nil, err
		}
		d := topicDescription{id: topic.TopicID}
		if topic.Topic != nil {
			d.name = *topic.Topic
		}
		for _, p := range topic.Partitions {
			leader := p.Leader
			if !slices.Contains(live, leader) {
				leader = -1
			}
			d.partitions = append(d.partitions, partitionDescription{partition: p.Partition, leader: leader, replicas: p.Replicas, isr: p.ISR})
		}
		found = append(found, d)
	}
	return found, nil
}

// liveBrokers asks DescribeCluster as Java does, or Metadata of brokers that are older.
func (t *topicCommand) liveBrokers(ctx context.Context) ([]int32, error) {
	var live []int32
	resp, err := ask(ctx, t.admin, "listNodes", kmsg.NewPtrDescribeClusterRequest())
	var k *client.KafkaError
	if errors.As(err, &k) && k.Class == "UnsupportedVersionException" {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		meta, err := ask(ctx, t.admin, "listNodes", req)
		if err != nil {
			return nil, err
		}
		for _, b := range meta.Brokers {
			live = append(live, b.NodeID)
		}
		return live, nil
	}
	if err != nil {
		return nil, err
	}
	if err := client.Error(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	for _, b := range resp.Brokers {
		live = append(live, b.NodeID)
	}
	return live, nil
}

// configEntry is one configuration of a topic.
type configEntry struct {
	name, value string
	isDefault   bool
}

// topicConfigs fetches the topics' configurations, in the order in which Java prints them.
func (t *topicCommand) topicConfigs(ctx context.Context, names []string) (map[string][]configEntry, error) {
	configs := map[string][]configEntry{}
	if len(names) == 0 {
		return configs, nil
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, name := range names {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, name
		req.Resources = append(req.Resources, r)
	}
	resp, err := ask(ctx, t.admin, "describeConfigs", req)
	if err != nil {
		return nil, err
	}
	for _, r := range resp.Resources {
		if err := client.Error(r.ErrorCode, r.ErrorMessage); err != nil {
			return nil, err
		}
		var entries []configEntry
		for _, c := range r.Configs {
			e := configEntry{name: c.Name, value: "null", isDefault: c.Source == kmsg.ConfigSourceDefaultConfig}
			if c.Value != nil {
				e.value = *c.Value
			}
			entries = append(entries, e)
		}
		configs[r.ResourceName] = hashMapOrder(entries, 0, func(e configEntry) int32 { return javaHash(e.name) })
	}
	return configs, nil
}

// reassignments lists what moves; a broker that cannot say moves nothing.
func (t *topicCommand) reassignments(ctx context.Context, found []topicDescription) (map[topicPartition]*reassignment, error) {
	moving := map[topicPartition]*reassignment{}
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = int32(t.admin.requestTimeout.Milliseconds())
	req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{}
	for _, d := range found {
		topic := kmsg.NewListPartitionReassignmentsRequestTopic()
		topic.Topic = d.name
		for _, p := range d.partitions {
			topic.Partitions = append(topic.Partitions, p.partition)
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := ask(ctx, t.admin, "listPartitionReassignments", req)
	if err == nil {
		err = client.Error(resp.ErrorCode, resp.ErrorMessage)
	}
	var k *client.KafkaError
	if errors.As(err, &k) && (k.Class == "UnsupportedVersionException" || k.Class == "ClusterAuthorizationException") {
		return moving, nil
	}
	if err != nil {
		return nil, err
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			moving[topicPartition{topic.Topic, p.Partition}] = &reassignment{p.Replicas, p.AddingReplicas, p.RemovingReplicas}
		}
	}
	return moving, nil
}

func (t *topicCommand) print(d topicDescription, configs []configEntry, live []int32, moving map[topicPartition]*reassignment) error {
	o := t.options
	slices.SortFunc(d.partitions, func(a, b partitionDescription) int { return int(a.partition) - int(b.partition) })
	report := o.has("unavailable-partitions") || o.has("under-replicated-partitions") || o.has("under-min-isr-partitions") || o.has("at-min-isr-partitions")
	if !report {
		var overrides []string
		for _, e := range configs {
			if !e.isDefault {
				overrides = append(overrides, e.name+"="+e.value)
			}
		}
		if (!o.has("topics-with-overrides") || len(overrides) > 0) && len(d.partitions) > 0 {
			t.printf("Topic: %s", d.name)
			if d.id != [16]byte{} {
				t.printf("\tTopicId: %s", formatUUID(d.id))
			}
			first := &d.partitions[0]
			t.printf("\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n", len(d.partitions),
				first.replicationFactor(moving[topicPartition{d.name, first.partition}]), strings.Join(overrides, ","))
		}
	}
	if o.has("topics-with-overrides") {
		return nil
	}
	minISR := 0
	if i := slices.IndexFunc(configs, func(e configEntry) bool { return e.name == "min.insync.replicas" }); i >= 0 {
		var err error
		if minISR, err = strconv.Atoi(configs[i].value); err != nil {
			return fmt.Errorf("For input string: %q", configs[i].value)
		}
	}
	for i := range d.partitions {
		p := &d.partitions[i]
		r := moving[topicPartition{d.name, p.partition}]
		if !report ||
			o.has("under-replicated-partitions") && p.replicationFactor(r) > len(p.isr) ||
			o.has("unavailable-partitions") && !slices.Contains(live, p.leader) ||
			o.has("under-min-isr-partitions") && (p.leader < 0 || len(p.isr) < minISR) ||
			o.has("at-min-isr-partitions") && len(p.isr) == minISR {
			t.println(p.line(d.name, r))
		}
	}
	return nil
}

func (p *partitionDescription) line(topic string, r *reassignment) string {
	leader := "none"
	if p.leader >= 0 {
		leader = strconv.Itoa(int(p.leader))
	}
	line := fmt.Sprintf("\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s", topic, p.partition, leader, joinIDs(p.replicas, ","), joinIDs(p.isr, ","))
	if r != nil {
		line += "\tAdding Replicas: " + joinIDs(r.adding, ",") + "\tRemoving Replicas: " + joinIDs(r.removing, ",")
	}
	if !p.hasELR {
		return line + "\tElr: N/A\tLastKnownElr: N/A"
	}
	return line + "\tElr: " + joinIDs(p.elr, ",") + "\tLastKnownElr: " + joinIDs(p.lastELR, ",")
}
