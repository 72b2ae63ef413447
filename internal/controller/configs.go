package controller

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// resource is what dynamic configurations belong to.
type resource = metadata.ConfigResource

func (c *Controller) configs(t int8, name string) map[string]string {
	return c.state.image.Config(t, name)
}

func (c *Controller) nodeConfigs() map[string]string {
	return c.configs(metadata.BrokerConfig, strconv.Itoa(int(c.options.NodeID)))
}

// topicConfig resolves a topic's key: the topic's own value, this node's, that of all brokers, the static one.
func (c *Controller) topicConfig(name, key string) string {
	for _, values := range []map[string]string{c.configs(metadata.TopicConfig, name), c.nodeConfigs(), c.configs(metadata.BrokerConfig, "")} {
		if v, ok := values[key]; ok {
			return v
		}
	}
	return c.options.Configs.Static(key)
}

func (c *Controller) staticMinISR() int {
	return parseMinISR(c.options.Configs.Static(configMinInSync))
}

// parseMinISR reads a value that was validated before it was stored; 1 is Kafka's default.
func parseMinISR(value string) int {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Operations of IncrementalAlterConfigs (KIP-339).
const (
	opSet      = kmsg.IncrementalAlterConfigOpSet
	opDelete   = kmsg.IncrementalAlterConfigOpDelete
	opAppend   = kmsg.IncrementalAlterConfigOpAppend
	opSubtract = kmsg.IncrementalAlterConfigOpSubtract
)

// alteration is one key's change as either request says it.
type alteration struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// alterConfigs answers AlterConfigs: the values given replace all that the resource has.
func (c *Controller) alterConfigs(op *operation, req *kmsg.AlterConfigsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	times := map[resource]int{}
	for i := range req.Resources {
		times[resource{Type: int8(req.Resources[i].ResourceType), Name: req.Resources[i].ResourceName}]++
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		alterations := make([]alteration, len(in.Configs))
		for j := range in.Configs {
			alterations[j] = alteration{in.Configs[j].Name, opSet, in.Configs[j].Value}
		}
		r := resource{Type: int8(in.ResourceType), Name: in.ResourceName}
		err := c.alterResource(op, r, times[r], alterations, true)
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		out.ErrorCode, out.ErrorMessage = codeOf(err)
		resp.Resources = append(resp.Resources, out)
	}
	op.records = c.withClearedELRs(op.records)
	if len(op.records) > MaxRecordsPerOperation {
		return nil, excessive()
	}
	if req.ValidateOnly {
		op.records = nil
	}
	return resp, nil
}

// incrementalAlterConfigs answers IncrementalAlterConfigs (KIP-339): single keys are set, deleted, or, as lists,
// lengthened and shortened. One wrong key refuses its resource, and no other.
func (c *Controller) incrementalAlterConfigs(op *operation, req *kmsg.IncrementalAlterConfigsRequest) (any, error) {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	times := map[resource]int{}
	for i := range req.Resources {
		times[resource{Type: int8(req.Resources[i].ResourceType), Name: req.Resources[i].ResourceName}]++
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		alterations := make([]alteration, len(in.Configs))
		for j := range in.Configs {
			alterations[j] = alteration{in.Configs[j].Name, in.Configs[j].Op, in.Configs[j].Value}
		}
		r := resource{Type: int8(in.ResourceType), Name: in.ResourceName}
		err := c.alterResource(op, r, times[r], alterations, false)
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		out.ErrorCode, out.ErrorMessage = codeOf(err)
		resp.Resources = append(resp.Resources, out)
	}
	op.records = c.withClearedELRs(op.records)
	if len(op.records) > MaxRecordsPerOperation {
		return nil, excessive()
	}
	if req.ValidateOnly {
		op.records = nil
	}
	return resp, nil
}

func (c *Controller) alterResource(op *operation, r resource, times int, alterations []alteration, replace bool) error {
	if err := checkAlterations(r, times, alterations); err != nil {
		return err
	}
	current := c.configs(r.Type, r.Name)
	var changes []*schema.Config
	named := make(map[string]bool, len(alterations))
	for _, a := range alterations {
		named[a.name] = true
		value, err := c.altered(r, current, a)
		if err != nil {
			return err
		}
		// A broker's keys are written even when they are what they were: that makes the broker read files again which
		// they name (KAFKA-14136).
		if have, ok := current[a.name]; r.Type == metadata.BrokerConfig || ok != (value != nil) || ok && have != *value {
			changes = append(changes, &schema.Config{ResourceType: r.Type, ResourceName: r.Name, Name: a.name, Value: value})
		}
	}
	if replace {
		for _, key := range slices.Sorted(maps.Keys(current)) {
			if !named[key] {
				changes = append(changes, &schema.Config{ResourceType: r.Type, ResourceName: r.Name, Name: key})
			}
		}
	}
	if err := c.checkConfigs(r, changes); err != nil {
		return err
	}
	if err := c.checkResourceExists(r); err != nil {
		return err
	}
	for _, change := range changes {
		op.add(change)
	}
	return nil
}

// checkAlterations is what Kafka's brokers refuse before they forward.
func checkAlterations(r resource, times int, alterations []alteration) error {
	if times > 1 {
		return refuse(kerr.InvalidRequest, "Each resource must appear at most once.")
	}
	seen := make(map[string]bool, len(alterations))
	var null []string
	for _, a := range alterations {
		if seen[a.name] {
			return refuse(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		seen[a.name] = true
		if a.value == nil && a.op != opDelete {
			null = append(null, a.name)
		}
	}
	if len(null) > 0 {
		return refuse(kerr.InvalidRequest, "Null value not supported for : %s", strings.Join(null, ", "))
	}
	switch r.Type {
	case metadata.TopicConfig, metadata.BrokerConfig, metadata.ClientMetricsConfig, metadata.GroupConfig:
	default:
		return refuse(kerr.InvalidRequest, "Unknown resource type %d", r.Type)
	}
	for _, a := range alterations {
		if a.op < opSet || a.op > opSubtract {
			return refuse(kerr.InvalidRequest, "Unknown operations type %d", int8(a.op))
		}
	}
	return nil
}

// altered gives a key's new value, nil for none.
func (c *Controller) altered(r resource, current map[string]string, a alteration) (*string, error) {
	switch a.op {
	case opSet:
		return a.value, nil
	case opDelete:
		return nil, nil
	}
	if !c.options.Configs.IsList(r.Type, a.name) {
		verb := "APPEND"
		if a.op == opSubtract {
			verb = "SUBTRACT"
		}
		return nil, refuse(kerr.InvalidConfig, "Can't %s to key %s because its type is not LIST.", verb, a.name)
	}
	old, ok := current[a.name]
	if !ok {
		old, _ = c.options.Configs.Default(r.Type, a.name)
	}
	if len(*a.value) > schema.MaxString {
		return nil, tooLong()
	}
	list := slices.DeleteFunc(strings.Split(old, ","), func(s string) bool { return s == "" })
	times := map[string]int{}
	if a.op == opSubtract {
		for _, item := range splitAsJava(*a.value) {
			times[item]++
		}
		list = slices.DeleteFunc(list, func(item string) bool { times[item]--; return times[item] >= 0 })
	} else {
		for _, item := range list {
			times[item]++
		}
		for _, item := range splitAsJava(*a.value) {
			if times[item]++; times[item] == 1 {
				list = append(list, item)
			}
		}
	}
	value := strings.Join(list, ",")
	return &value, nil
}

// splitAsJava splits at commas and drops empty items at the end, as String.split does; "" is one empty item.
func splitAsJava(s string) []string {
	items := strings.Split(s, ",")
	for len(items) > 1 && items[len(items)-1] == "" {
		items = items[:len(items)-1]
	}
	return items
}

// checkConfigs refuses what the resource must not become.
func (c *Controller) checkConfigs(r resource, changes []*schema.Config) error {
	old := c.configs(r.Type, r.Name)
	values := maps.Clone(old)
	if values == nil {
		values = map[string]string{}
	}
	for _, change := range changes {
		if err := c.checkChange(r, change); err != nil {
			return err
		}
		if change.Value == nil {
			delete(values, change.Name)
		} else {
			values[change.Name] = *change.Value
		}
	}
	if err := checkResourceName(r); err != nil {
		return err
	}
	err := c.options.Configs.Validate(r.Type, r.Name, values, old)
	if err == nil {
		return nil
	}
	if kind, ok := errors.AsType[*kerr.Error](err); ok {
		return refuse(kind, "%s", err.Error())
	}
	return refuse(kerr.InvalidConfig, "%s", err.Error())
}

func (c *Controller) checkChange(r resource, change *schema.Config) error {
	broker := r.Type == metadata.BrokerConfig
	switch {
	case broker && change.Name == configMinInSync && c.elrEnabled() && r.Name != "":
		return refuse(kerr.InvalidConfig, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
	case broker && change.Name == configMinInSync && c.elrEnabled() && change.Value == nil:
		return refuse(kerr.InvalidConfig, "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
	case broker && change.Name == configCordonedLogDirs && c.metadataVersion() < metadata.MVCordonedLogDirs:
		return refuse(kerr.InvalidConfig, "The cordoned.log.dirs configuration value cannot be set because it requires metadata.version >= %s",
			metadata.MetadataVersionName(metadata.MVCordonedLogDirs))
	case change.Value != nil && len(*change.Value) > schema.MaxString:
		return tooLong()
	case len(change.Name) > schema.MaxString:
		return refuse(kerr.InvalidConfig, "The configuration key exceeds %d bytes.", schema.MaxString)
	}
	return nil
}

func tooLong() error {
	return refuse(kerr.InvalidConfig, "The configuration value cannot be added because it exceeds the maximum value size of %d bytes.", schema.MaxString)
}

func checkResourceName(r resource) error {
	switch r.Type {
	case metadata.TopicConfig:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Default topic resources are not allowed.")
		}
		return checkTopicName(r.Name)
	case metadata.BrokerConfig:
		if r.Name == "" {
			return nil
		}
		switch id, err := strconv.ParseInt(r.Name, 10, 32); {
		case err != nil:
			return refuse(kerr.InvalidRequest, "Unable to parse broker name as a base 10 number.")
		case id < 0:
			return refuse(kerr.InvalidRequest, "Invalid negative broker ID.")
		}
	case metadata.GroupConfig:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Default group resources are not allowed.")
		}
	case metadata.ClientMetricsConfig:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Subscription name can't be empty")
		}
	}
	if len(r.Name) > schema.MaxString {
		return refuse(kerr.InvalidRequest, "The resource's name exceeds %d bytes.", schema.MaxString)
	}
	return nil
}

// checkResourceExists wants topics and nodes to be there. Groups and client metrics subscriptions may be configured
// before anybody uses them.
func (c *Controller) checkResourceExists(r resource) error {
	switch r.Type {
	case metadata.TopicConfig:
		if c.topic(r.Name) == nil {
			return refuse(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", r.Name)
		}
	case metadata.BrokerConfig:
		if r.Name == "" {
			return nil
		}
		id, _ := strconv.ParseInt(r.Name, 10, 32)
		if _, controller := c.state.image.Controller(int32(id)); !controller && c.broker(int32(id)) == nil && !slices.Contains(c.options.Voters, int32(id)) {
			return refuse(kerr.BrokerIDNotRegistered, "No node with id %d found.", id)
		}
	}
	return nil
}

// configRecords gives changes as records, with what follows from them.
func (c *Controller) configRecords(changes []*schema.Config) []schema.Record {
	records := make([]schema.Record, len(changes))
	for i, change := range changes {
		records[i] = change
	}
	return c.withClearedELRs(records)
}

// withClearedELRs forgets the ELRs that another min.insync.replicas makes void (KIP-966).
func (c *Controller) withClearedELRs(records []schema.Record) []schema.Record {
	if !c.elrEnabled() {
		return records
	}
	for _, r := range records {
		if change, ok := r.(*schema.Config); ok && change.Name == configMinInSync {
			cleared := &schema.ClearElr{}
			if change.ResourceType == metadata.TopicConfig {
				cleared.TopicName = change.ResourceName
			}
			records = append(records, cleared)
		}
	}
	return records
}

// elrSafety makes min.insync.replicas one value of the whole cluster before ELR begins.
func (c *Controller) elrSafety(op *operation) {
	if _, ok := c.configs(metadata.BrokerConfig, "")[configMinInSync]; !ok {
		value := strconv.Itoa(c.staticMinISR())
		op.add(&schema.Config{ResourceType: metadata.BrokerConfig, Name: configMinInSync, Value: &value})
	}
	var nodes []int
	for name := range c.state.image.ConfigResources(metadata.BrokerConfig) {
		if _, ok := c.configs(metadata.BrokerConfig, name)[configMinInSync]; ok && name != "" {
			id, _ := strconv.Atoi(name)
			nodes = append(nodes, id)
		}
	}
	slices.SortFunc(nodes, cmp.Compare)
	for _, id := range nodes {
		op.add(&schema.Config{ResourceType: metadata.BrokerConfig, ResourceName: strconv.Itoa(id), Name: configMinInSync})
	}
}
