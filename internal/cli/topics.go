package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

const alterConfigsElsewhere = " (To alter topic configurations, the kafka-configs tool can be used.)"

func topicsOptions() *options {
	return newOptions(
		option{name: "bootstrap-server", arity: required, value: "server to connect to", help: "REQUIRED: Brokers to start from, host:port separated by commas."},
		option{name: "command-config", arity: required, value: "command config property file", help: "File of properties for the admin client."},
		option{name: "list", help: "Print the names of topics."},
		option{name: "create", help: "Create a topic."},
		option{name: "delete", help: "Delete topics."},
		option{name: "alter", help: "Add partitions to topics, with --replica-assignment on chosen brokers." + alterConfigsElsewhere},
		option{name: "describe", help: "Print topics and their partitions."},
		option{name: "topic", arity: required, value: "topic", help: "The topic. Except with --create it is a regular expression, or several of them separated by commas."},
		option{name: "topic-id", arity: required, value: "topic-id", help: "Id of the topic to describe."},
		option{name: "config", arity: required, value: "name=value", help: "A topic configuration for the topic to create; may be repeated." + alterConfigsElsewhere},
		option{name: "delete-config", arity: required, value: "name", help: "Has no effect since Kafka 4.0."},
		option{name: "partitions", arity: required, kind: "Integer", value: "# of partitions", help: "Number of partitions to create or to grow to; the broker's num.partitions if left out with --create. Growing a topic sends the keys of later records to other partitions than those of earlier ones."},
		option{name: "replication-factor", arity: required, kind: "Integer", value: "replication factor", help: "Replicas of each partition; the broker's default.replication.factor if left out."},
		option{name: "replica-assignment", arity: required, value: "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...", help: "Brokers that hold each partition, the preferred leader first."},
		option{name: "under-replicated-partitions", help: "With --describe: only partitions with replicas that are not in sync."},
		option{name: "unavailable-partitions", help: "With --describe: only partitions without a live leader."},
		option{name: "under-min-isr-partitions", help: "With --describe: only partitions with fewer replicas in sync than min.insync.replicas."},
		option{name: "at-min-isr-partitions", help: "With --describe: only partitions with exactly min.insync.replicas replicas in sync."},
		option{name: "topics-with-overrides", help: "With --describe: only topics with a configuration of their own, without their partitions."},
		option{name: "if-exists", help: "With --alter, --delete and --describe: do nothing where the topic does not exist."},
		option{name: "if-not-exists", help: "With --create: do nothing where the topic exists."},
		option{name: "exclude-internal", help: "With --list and --describe: leave out the internal topics."},
		option{name: "partition-size-limit-per-response", arity: required, kind: "Integer", value: "maximum number of partitions per response", help: "How many partitions to ask of the broker at a time."},
	)
}

var topicActions = []string{"list", "create", "delete", "alter", "describe"}

// topics is kafka-topics. A wrong call ends on standard error; a call that fails at the cluster, or with a value that
// cannot be read, prints one line on standard output.
func topics(ctx context.Context, c *call) error {
	o := topicsOptions()
	if err := o.parse(c.args); err != nil {
		return err
	}
	if err := checkTopics(c, o); err != nil {
		return err
	}
	props, err := commandProperties(o)
	if err != nil {
		return err
	}
	a, err := newAdmin(ctx, c, props)
	if err != nil {
		return err
	}
	defer a.close()
	t := &topicCommand{call: c, options: o, admin: a}
	for _, action := range []struct {
		name string
		run  func(context.Context) error
	}{{"create", t.create}, {"alter", t.alter}, {"list", t.list}, {"describe", t.describe}, {"delete", t.delete}} {
		if !o.has(action.name) {
			continue
		}
		if err := action.run(ctx); err != nil {
			return t.failed(err)
		}
		return nil
	}
	return nil
}

func checkTopics(c *call, o *options) error {
	if err := o.start(c, "Create, list, describe, alter and delete topics."); err != nil {
		return err
	}
	n := 0
	for _, a := range topicActions {
		if o.has(a) {
			n++
		}
	}
	if n != 1 {
		return o.wrong("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	}
	if o.has("delete-config") {
		c.errln("delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.")
	}
	if !o.has("bootstrap-server") {
		return errors.New("--bootstrap-server must be specified")
	}
	if o.has("describe") && o.has("if-exists") {
		if !o.has("topic") && !o.has("topic-id") {
			return o.wrong("--topic or --topic-id is required to describe a topic")
		}
		if o.has("topic") && o.has("topic-id") {
			c.println("Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID")
		}
	}
	if !o.has("list") && !o.has("describe") {
		if err := o.requireAll("topic"); err != nil {
			return err
		}
	}
	if o.has("alter") {
		if o.has("config") {
			return o.wrong(`Option combination "[[bootstrap-server], [config]]" can't be used with option "[alter]"%s`, alterConfigsElsewhere)
		}
		if err := o.requireAll("partitions"); err != nil {
			return err
		}
	}
	return checkTopicCombinations(o)
}

func checkTopicCombinations(o *options) error {
	but := func(allowed ...string) []string {
		return slices.DeleteFunc(slices.Clone(topicActions), func(a string) bool { return slices.Contains(allowed, a) })
	}
	report := func(name string) error {
		return o.refuse(name, append(but("describe"), "topics-with-overrides")...)
	}
	checks := []error{
		o.refuse("config", but("alter", "create")...),
		o.refuse("partitions", but("alter", "create")...),
		o.refuse("replication-factor", but("create")...),
		o.refuse("replica-assignment", but("alter", "create")...),
	}
	if o.has("create") {
		checks = append(checks, o.refuse("replica-assignment", "partitions", "replication-factor"))
	}
	return firstError(append(checks,
		report("under-replicated-partitions"), report("under-min-isr-partitions"),
		report("at-min-isr-partitions"), report("unavailable-partitions"),
		o.refuse("topics-with-overrides", append(but("describe"), "under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions")...),
		o.refuse("if-exists", but("alter", "delete", "describe")...),
		o.refuse("if-not-exists", but("create")...),
		o.refuse("exclude-internal", but("list", "describe")...),
	)...)
}

type topicCommand struct {
	*call
	options *options
	admin   *admin
}

func (t *topicCommand) failed(err error) error {
	t.println("Error while executing topic command : " + err.Error())
	class := "java.lang.IllegalArgumentException"
	var k *client.KafkaError
	if errors.As(err, &k) {
		class = "org.apache.kafka.common.errors." + k.Class
	}
	t.log("ERROR", "org.apache.kafka.tools.TopicCommand", class+": "+err.Error()+"\n")
	return exit(1)
}

// names lists the topics that --topic selects, sorted.
func (t *topicCommand) names(ctx context.Context) ([]string, error) {
	list, err := t.options.text("topic")
	if err != nil {
		return nil, err
	}
	all, err := listTopics(ctx, t.admin)
	if err != nil {
		return nil, err
	}
	var filter *topicFilter
	if t.options.has("topic") {
		if filter, err = newTopicFilter(list); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if filter.allows(name, t.options.has("exclude-internal")) {
			names = append(names, name)
		}
	}
	return names, nil
}

// mustExist is the complaint about a pattern that selects nothing.
func (t *topicCommand) mustExist(found []string) error {
	topic, err := t.options.text("topic")
	if err != nil || topic == "" || len(found) > 0 || t.options.has("if-exists") {
		return err
	}
	return fmt.Errorf("Topic '%s' does not exist as expected", topic)
}

func (t *topicCommand) list(ctx context.Context) error {
	names, err := t.names(ctx)
	if err != nil {
		return err
	}
	t.println(strings.Join(names, "\n"))
	return nil
}

func (t *topicCommand) create(ctx context.Context) error {
	n, err := readNewTopic(t.options)
	if err != nil {
		return err
	}
	if strings.ContainsAny(n.topic.Topic, "._") {
		t.println("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	if err := n.check(); err != nil {
		return err
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(t.admin.requestTimeout.Milliseconds())
	req.Topics = []kmsg.CreateTopicsRequestTopic{n.topic}
	resp, err := ask(ctx, t.admin, "createTopics", req)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		if r.ErrorCode == topicAlreadyExists && t.options.has("if-not-exists") {
			return nil
		}
		if err := client.Error(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	t.println("Created topic " + n.topic.Topic + ".")
	return nil
}

const topicAlreadyExists = 36

// newTopic is what --create asks for.
type newTopic struct {
	topic                   kmsg.CreateTopicsRequestTopic
	partitions, replication int64
	hasPartitions, hasRF    bool
}

func readNewTopic(o *options) (*newTopic, error) {
	n := &newTopic{topic: kmsg.NewCreateTopicsRequestTopic()}
	var err error
	if n.topic.Topic, err = o.text("topic"); err != nil {
		return nil, err
	}
	if n.partitions, n.hasPartitions, err = o.integer("partitions", 32); err != nil {
		return nil, err
	}
	if n.replication, n.hasRF, err = o.integer("replication-factor", 32); err != nil {
		return nil, err
	}
	assignment, err := readAssignment(o)
	if err != nil {
		return nil, err
	}
	for p, brokers := range assignment {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(p), brokers
		n.topic.ReplicaAssignment = append(n.topic.ReplicaAssignment, a)
	}
	configs, err := topicConfigs(o.given["config"])
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, kmsg.StringPtr(configs[name])
		n.topic.Configs = append(n.topic.Configs, c)
	}
	n.topic.NumPartitions, n.topic.ReplicationFactor = -1, -1
	return n, nil
}

func (n *newTopic) check() error {
	if n.hasRF && (n.replication < 1 || n.replication > 32767) {
		return errors.New("The replication factor must be between 1 and 32767 inclusive")
	}
	if n.hasPartitions && n.partitions < 1 {
		return errors.New("The partitions must be greater than 0")
	}
	if n.hasRF {
		n.topic.ReplicationFactor = int16(n.replication)
	}
	if n.hasPartitions {
		n.topic.NumPartitions = int32(n.partitions)
	}
	return nil
}

var equalsSign = regexp.MustCompile(`\s*=\s*`)

// topicConfigs reads --config values. A value with an equals sign in it is refused, as by Kafka; names and values are
// the broker's to judge.
func topicConfigs(given []string) (map[string]string, error) {
	configs := map[string]string{}
	for _, g := range given {
		pair := equalsSign.Split(g, -1)
		for len(pair) > 0 && pair[len(pair)-1] == "" { // as Java's split drops trailing empty parts
			pair = pair[:len(pair)-1]
		}
		if len(pair) != 2 {
			return nil, errors.New(`requirement failed: Invalid topic config: all configs to be added must be in the format "key=val".`)
		}
		configs[strings.TrimSpace(pair[0])] = strings.TrimSpace(pair[1])
	}
	return configs, nil
}

// readAssignment reads --replica-assignment: partitions parted by commas, their brokers by colons.
func readAssignment(o *options) ([][]int32, error) {
	list, err := o.text("replica-assignment")
	if err != nil || list == "" {
		return nil, err
	}
	var assignment [][]int32
	for i, partition := range strings.Split(strings.TrimRight(list, ","), ",") {
		var brokers []int32
		var twice []string
		for _, s := range strings.Split(strings.TrimRight(partition, ":"), ":") {
			s = strings.TrimSpace(s)
			id, err := strconv.ParseInt(s, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("For input string: %q", s)
			}
			if slices.Contains(brokers, int32(id)) && !slices.Contains(twice, s) {
				twice = append(twice, s)
			}
			brokers = append(brokers, int32(id))
		}
		if len(twice) > 0 {
			return nil, fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", strings.Join(twice, ","))
		}
		assignment = append(assignment, brokers)
		if len(brokers) != len(assignment[0]) {
			return nil, fmt.Errorf("Partition %d has different replication factor: [%s]", i, joinIDs(brokers, ", "))
		}
	}
	return assignment, nil
}

func joinIDs(ids []int32, sep string) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(strconv.Itoa(int(id)))
	}
	return b.String()
}

func (t *topicCommand) alter(ctx context.Context) error {
	n, err := readNewTopic(t.options)
	if err != nil {
		return err
	}
	names, err := t.names(ctx)
	if err != nil {
		return err
	}
	if err := t.mustExist(names); err != nil || len(names) == 0 {
		return err
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = int32(t.admin.requestTimeout.Milliseconds())
	current, err := t.describeNames(ctx, names)
	if err != nil {
		return err
	}
	for _, d := range current {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = d.name, int32(n.partitions)
		for _, a := range n.topic.ReplicaAssignment {
			if int(a.Partition) >= len(d.partitions) { // the assignment names the existing partitions too
				topic.Assignment = append(topic.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a.Replicas})
			}
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := ask(ctx, t.admin, "createPartitions", req)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		if err := client.Error(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func (t *topicCommand) delete(ctx context.Context) error {
	names, err := t.names(ctx)
	if err != nil {
		return err
	}
	if err := t.mustExist(names); err != nil || len(names) == 0 {
		return err
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(t.admin.requestTimeout.Milliseconds())
	for _, name := range names {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
		req.TopicNames = append(req.TopicNames, name) // versions before 6
	}
	resp, err := ask(ctx, t.admin, "deleteTopics", req)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		if err := client.Error(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// parseUUID reads Kafka's base64 form of an id.
func parseUUID(s string) (id [16]byte, err error) {
	if len(s) > 24 {
		return id, fmt.Errorf("Input string with prefix `%s` is too long to be decoded as a base64 UUID", s[:24])
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return id, fmt.Errorf("Illegal base64 in topic id `%s`", s)
	}
	if len(b) != len(id) {
		return id, fmt.Errorf("Input string `%s` decoded as %d bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID", s, len(b))
	}
	return [16]byte(b), nil
}

func formatUUID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
