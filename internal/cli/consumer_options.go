package cli

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-io/klamm/internal/client"
)

const formatterPropertyHelp = "A property of the formatter, key=value; may be repeated:\n" +
	" print.timestamp=true|false\n print.key=true|false\n print.offset=true|false\n print.epoch=true|false\n" +
	" print.partition=true|false\n print.headers=true|false\n print.value=true|false\n" +
	" key.separator=<key.separator>\n line.separator=<line.separator>\n headers.separator=<headers.separator>\n" +
	" null.literal=<null.literal>\n key.deserializer=<key.deserializer>\n value.deserializer=<value.deserializer>\n" +
	" headers.deserializer=<headers.deserializer>\n" +
	"Deserializers go by the Java names of Kafka's own classes. What begins with key.deserializer., value.deserializer. or headers.deserializer. is a property of theirs."

func consumerOptions() *options {
	return newOptions(
		option{name: "topic", arity: required, value: "topic", help: "The topic to read."},
		option{name: "include", arity: required, value: "Java regex (String)", help: "Regular expression for the topics to read."},
		option{name: "partition", arity: required, kind: "Integer", value: "partition", help: "Read this partition alone, without a group, from its end unless --offset says otherwise."},
		option{name: "offset", arity: required, value: "consume offset", fallback: "latest", help: "Where to begin in --partition: an offset, 'earliest' or 'latest'."},
		option{name: "consumer-property", arity: required, value: "consumer_prop", help: "(Deprecated) Use --command-property."},
		option{name: "command-property", arity: required, value: "consumer_prop", help: "A property of the consumer, key=value; may be repeated."},
		option{name: "consumer.config", arity: required, value: "config file", help: "(Deprecated) Use --command-config."},
		option{name: "command-config", arity: required, value: "config file", help: "File of properties for the consumer; --command-property goes before it."},
		option{name: "formatter", arity: required, value: "class", fallback: formatters + "DefaultMessageFormatter", help: "How records print, by the Java name of one of Kafka's formatters."},
		option{name: "property", arity: required, value: "prop", help: "(Deprecated) Use --formatter-property."},
		option{name: "formatter-property", arity: required, value: "prop", help: formatterPropertyHelp},
		option{name: "formatter-config", arity: required, value: "config file", help: "File of properties for the formatter; --formatter-property goes before it."},
		option{name: "from-beginning", help: "Where the group has no offset: begin with the earliest record instead of the next."},
		option{name: "max-messages", arity: required, kind: "Integer", value: "num_messages", help: "End after so many records."},
		option{name: "timeout-ms", arity: required, kind: "Long", value: "timeout_ms", help: "End when no record comes for so long."},
		option{name: "skip-message-on-error", help: "Go on behind a record that cannot be printed."},
		option{name: "bootstrap-server", arity: required, value: "server to connect to", help: "REQUIRED: Brokers to start from, host:port separated by commas."},
		option{name: "key-deserializer", arity: required, value: "deserializer for keys", help: "Java name of the keys' deserializer."},
		option{name: "value-deserializer", arity: required, value: "deserializer for values", help: "Java name of the values' deserializer."},
		option{name: "enable-systest-events", help: "Print a line when the consumer has shut down."},
		option{name: "isolation-level", arity: required, fallback: "read_uncommitted", help: "read_committed leaves out what belongs to open and aborted transactions; read_uncommitted does not."},
		option{name: "group", arity: required, value: "consumer group id", help: "The consumer group; one of its own if left out, without commits."},
	)
}

// consumption is what a console consumer has been asked to do.
type consumption struct {
	topic, include string
	partition      int32 // -1: subscribe
	from           kgo.Offset
	max            int64         // -1: no limit
	timeout        time.Duration // 0: none
	skipErrors     bool
	props          map[string]string
	formatter      formatter
}

func readConsumption(c *call, o *options) (*consumption, error) {
	if err := checkConsumer(c, o); err != nil {
		return nil, err
	}
	r := &consumption{partition: -1, max: -1, skipErrors: o.has("skip-message-on-error")}
	var err error
	if r.topic, err = o.text("topic"); err != nil {
		return nil, err
	}
	if r.include, err = o.text("include"); err != nil {
		return nil, err
	}
	if n, ok, err := o.integer("partition", 32); err != nil {
		return nil, err
	} else if ok {
		r.partition = int32(n)
	}
	if n, ok, err := o.integer("max-messages", 32); err != nil {
		return nil, err
	} else if ok {
		r.max = n
	}
	if n, ok, err := o.integer("timeout-ms", 64); err != nil {
		return nil, err
	} else if ok && n >= 0 {
		r.timeout = max(time.Duration(n)*time.Millisecond, time.Nanosecond)
	}
	if err := r.readProperties(o); err != nil {
		return nil, err
	}
	if r.from, err = readOffset(o); err != nil {
		return nil, err
	}
	return r, r.readFormatter(c, o)
}

func checkConsumer(c *call, o *options) error {
	if err := o.start(c, "Read records from topics and print them to standard output."); err != nil {
		return err
	}
	if err := o.requireOneOf("topic", "include"); err != nil {
		return err
	}
	switch {
	case o.has("partition") && !o.has("topic"):
		return o.wrong("The topic is required when partition is specified.")
	case o.has("partition") && o.has("from-beginning") && o.has("offset"):
		return o.wrong("Options from-beginning and offset cannot be specified together.")
	case !o.has("partition") && o.has("offset"):
		return o.wrong("The partition is required when offset is specified.")
	}
	if err := o.requireAll("bootstrap-server"); err != nil {
		return err
	}
	for _, d := range []struct{ old, current string }{{"consumer-property", "command-property"}, {"consumer.config", "command-config"}} {
		if o.has(d.old) && o.has(d.current) {
			return o.wrong("Options --%s and --%s cannot be specified together.", d.old, d.current)
		}
	}
	for _, d := range []struct{ old, current string }{{"consumer-property", "command-property"}, {"consumer.config", "command-config"}} {
		if o.has(d.old) {
			c.println("Option --" + d.old + " is deprecated and will be removed in a future version. Use --" + d.current + " instead.")
			o.given[d.current] = o.given[d.old]
		}
	}
	return nil
}

// readProperties joins file, properties and options. A group may be named in several places if they agree; without one
// the consumer makes up a group that commits nothing.
func (r *consumption) readProperties(o *options) error {
	props, err := commandProperties(o)
	if err != nil {
		return err
	}
	extra := keyValues(o.given["command-property"])
	groups := slices.Clone(o.given["group"])
	for _, p := range []map[string]string{props, extra} {
		if g, ok := p["group.id"]; ok {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if len(groups) > 1 {
		return o.wrong("The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: '%s'", strings.Join(groups, "', '"))
	}
	if len(groups) > 0 && r.partition >= 0 {
		return o.wrong("Options group and partition cannot be specified together.")
	}
	server := props["bootstrap.servers"]
	maps.Copy(props, extra)
	props["bootstrap.servers"] = server
	if reset, ok := props["auto.offset.reset"]; !ok {
		props["auto.offset.reset"] = "latest"
		if o.has("from-beginning") {
			props["auto.offset.reset"] = "earliest"
		}
	} else if o.has("from-beginning") && reset != "earliest" {
		return &usage{message: "Can't simultaneously specify --from-beginning and 'auto.offset.reset=" + reset + "', please remove one option"}
	}
	if props["client.id"] == "" {
		props["client.id"] = "console-consumer"
	}
	if _, ok := props["isolation.level"]; !ok || o.has("isolation-level") {
		if props["isolation.level"], err = o.text("isolation-level"); err != nil {
			return err
		}
	}
	switch {
	case len(groups) > 0:
		props["group.id"] = groups[0]
	default:
		props["group.id"] = fmt.Sprintf("console-consumer-%d", rand.IntN(100000))
		if _, ok := props["enable.auto.commit"]; !ok {
			props["enable.auto.commit"] = "false"
		}
	}
	r.props = props
	return nil
}

func readOffset(o *options) (kgo.Offset, error) {
	if !o.has("offset") {
		if o.has("from-beginning") {
			return kgo.NewOffset().AtStart(), nil
		}
		return kgo.NewOffset().AtEnd(), nil
	}
	s, err := o.text("offset")
	if err != nil {
		return kgo.Offset{}, err
	}
	switch strings.ToLower(s) {
	case "earliest":
		return kgo.NewOffset().AtStart(), nil
	case "latest":
		return kgo.NewOffset().AtEnd(), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return kgo.Offset{}, o.wrong("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", s)
	}
	return kgo.NewOffset().At(n), nil
}

func (r *consumption) readFormatter(c *call, o *options) error {
	class, err := o.text("formatter")
	if err != nil {
		return err
	}
	if o.has("property") && o.has("formatter-property") {
		return o.wrong("Options --property and --formatter-property cannot be specified together.")
	}
	if o.has("property") {
		c.println("Option --property is deprecated and will be removed in a future version. Use --formatter-property instead.")
		o.given["formatter-property"] = o.given["property"]
	}
	props := map[string]string{}
	file, err := o.text("formatter-config")
	if err != nil {
		return err
	}
	if file != "" {
		if props, err = client.ReadProperties(file); err != nil {
			return o.wrong("%s", err)
		}
	}
	for option, name := range map[string]string{"key-deserializer": "key.deserializer", "value-deserializer": "value.deserializer"} {
		d, err := o.text(option)
		if err != nil {
			return err
		}
		if d != "" {
			props[name] = d
		}
	}
	maps.Copy(props, keyValues(o.given["formatter-property"]))
	if r.formatter, err = newFormatter(c, class, props); err != nil {
		return o.wrong("%s", err)
	}
	return nil
}
