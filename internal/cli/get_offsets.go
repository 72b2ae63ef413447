package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/client"
)

func getOffsetsOptions() *options {
	return newOptions(
		option{name: "bootstrap-server", arity: required, value: "HOST1:PORT1,...,HOST3:PORT3", help: "REQUIRED. Brokers to start from."},
		option{name: "topic-partitions", arity: required, value: "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3", help: "Topics, as regular expressions, each with a partition or a range of partitions whose end does not count; what is left out does not limit."},
		option{name: "topic", arity: required, value: "topic", help: "Regular expression for topics; all if left out. Not with --topic-partitions."},
		option{name: "partitions", arity: required, value: "partition ids", help: "Partitions, separated by commas; all if left out. Not with --topic-partitions."},
		option{name: "time", arity: required, value: "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload", fallback: "latest", help: "Which offset: of the first record at or after a timestamp in milliseconds, or one of the names. Partitions without one are left out."},
		option{name: "command-config", arity: required, value: "config file", help: "File of properties for the admin client."},
		option{name: "exclude-internal-topics", help: "Leave out the internal topics."},
	)
}

var offsetTimes = map[string]int64{"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5, "earliest-pending-upload": -6}

// getOffsets is kafka-get-offsets. A partition that answers with an error is told on standard error and left out.
func getOffsets(ctx context.Context, c *call) error {
	o := getOffsetsOptions()
	if len(c.args) == 0 {
		return o.wrong("Print the offsets of partitions.")
	}
	err := o.parse(c.args)
	if err == nil {
		if err := o.start(c, "Print the offsets of partitions."); err != nil {
			return err
		}
		if err := o.requireAll("bootstrap-server"); err != nil {
			return err
		}
		for _, s := range strings.Split(strings.TrimRight(o.values("bootstrap-server")[0], ","), ",") {
			if !client.ValidAddress(s) {
				return o.wrong("Please provide valid host:port like host1:9091,host2:9092\n")
			}
		}
		err = printOffsets(ctx, c, o)
	}
	if err != nil {
		return fmt.Errorf("Error occurred: %w", err)
	}
	return nil
}

func printOffsets(ctx context.Context, c *call, o *options) error {
	if o.has("topic-partitions") && (o.has("topic") || o.has("partitions")) {
		return errors.New("--topic-partitions cannot be used with --topic or --partitions")
	}
	at, err := readTime(o)
	if err != nil {
		return err
	}
	rules, err := readRules(o)
	if err != nil {
		return err
	}
	props, err := commandProperties(o)
	if err != nil {
		return err
	}
	props["client.id"] = "GetOffsetShell"
	a, err := newAdmin(ctx, c, props)
	if err != nil {
		return err
	}
	defer a.close()
	all, err := listTopics(ctx, a)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for name, topic := range all {
		if topic.internal && o.has("exclude-internal-topics") {
			continue
		}
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, id := range topic.partitions {
			if slices.ContainsFunc(rules, func(r partitionRule) bool { return r.allows(name, id) }) {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp = id, at
				t.Partitions = append(t.Partitions, p)
			}
		}
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	if len(req.Topics) == 0 {
		return errors.New("Could not match any topic-partitions with the specified filters")
	}
	var rows []string
	skip := func(tp topicPartition, err error) {
		c.errln(fmt.Sprintf("Skip getting offsets for topic-partition %s due to error: %s", tp, executionText(err)))
	}
	err = askEach(ctx, a, "listOffsets", req, func(resp *kmsg.ListOffsetsResponse) {
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				tp := topicPartition{t.Topic, p.Partition}
				if err := client.Error(p.ErrorCode, nil); err != nil {
					skip(tp, err)
				} else if p.Offset >= 0 {
					rows = append(rows, tp.String()+"\x00"+fmt.Sprintf("%s:%d:%d", t.Topic, p.Partition, p.Offset))
				}
			}
		}
	}, func(part *kmsg.ListOffsetsRequest, err error) {
		for _, t := range part.Topics {
			for _, p := range t.Partitions {
				skip(topicPartition{t.Topic, p.Partition}, err)
			}
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(rows) // by the partition's text, so that 10 comes before 2
	for _, r := range rows {
		_, line, _ := strings.Cut(r, "\x00")
		c.println(line)
	}
	return nil
}

// executionText is the message of Java's ExecutionException around an error.
func executionText(err error) string {
	var k *client.KafkaError
	if errors.As(err, &k) {
		return "org.apache.kafka.common.errors." + k.Class + ": " + k.Message
	}
	return err.Error()
}

func readTime(o *options) (int64, error) {
	s, err := o.text("time")
	if err != nil {
		return 0, err
	}
	if t, ok := offsetTimes[s]; ok {
		return t, nil
	}
	t, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Malformed time argument %s. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp", s)
	}
	return t, nil
}

// partitionRule allows partitions from low to below high, or those in only, of the topics that match.
type partitionRule struct {
	topics    *topicFilter
	low, high int64
	only      []int32
}

func (r partitionRule) allows(topic string, partition int32) bool {
	return r.topics.allows(topic, false) && int64(partition) >= r.low && int64(partition) < r.high &&
		(len(r.only) == 0 || slices.Contains(r.only, partition))
}

var ruleSpec = regexp.MustCompile(`^([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?$`)

func readRules(o *options) ([]partitionRule, error) {
	if !o.has("topic-partitions") {
		return readOneRule(o)
	}
	list, err := o.text("topic-partitions")
	if err != nil {
		return nil, err
	}
	var rules []partitionRule
	for _, spec := range strings.Split(strings.TrimRight(list, ","), ",") {
		m := ruleSpec.FindStringSubmatch(spec)
		if m == nil {
			return nil, fmt.Errorf("org.apache.kafka.tools.TerseException: Invalid rule specification: %s", spec)
		}
		r := partitionRule{low: 0, high: math.MaxInt32}
		if r.topics, err = newTopicFilter(orAll(m[1])); err != nil {
			return nil, err
		}
		for _, bound := range []struct {
			text string
			at   *int64
		}{{m[3], &r.low}, {m[4], &r.high}, {m[2], &r.low}} {
			if bound.text == "" {
				continue
			}
			if *bound.at, err = strconv.ParseInt(bound.text, 10, 32); err != nil {
				return nil, fmt.Errorf("For input string: %q", bound.text)
			}
		}
		if m[2] != "" {
			r.high = r.low + 1
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func orAll(pattern string) string {
	if pattern == "" {
		return ".*"
	}
	return pattern
}

func readOneRule(o *options) ([]partitionRule, error) {
	pattern, err := o.text("topic")
	if err != nil {
		return nil, err
	}
	if !o.has("topic") {
		pattern = ".*"
	}
	r := partitionRule{high: math.MaxInt64}
	if r.topics, err = newTopicFilter(pattern); err != nil {
		return nil, err
	}
	list, err := o.text("partitions")
	if err != nil || list == "" {
		return []partitionRule{r}, err
	}
	for _, s := range strings.Split(strings.TrimRight(list, ","), ",") {
		id, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--partitions expects a comma separated list of numeric partition ids, but received: %s", list)
		}
		r.only = append(r.only, int32(id))
	}
	return []partitionRule{r}, nil
}
