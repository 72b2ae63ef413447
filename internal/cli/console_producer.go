package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/term"

	"github.com/klamm-io/klamm/internal/client"
)

const lineMessageReader = "org.apache.kafka.tools.LineMessageReader"

const readerPropertyHelp = "A property of the line reader, key=value; may be repeated. With their defaults:\n" +
	" parse.key=false\n parse.headers=false\n ignore.error=false\n key.separator=\\t\n headers.delimiter=\\t\n" +
	" headers.separator=,\n headers.key.separator=:\n null.marker=   What stands for null in a key, a value or a header.\n" +
	"A line is then \"h1:v1,h2:v2...\\tkey\\tvalue\", without the parts that are not parsed."

func producerOptions() *options {
	return newOptions(
		option{name: "topic", arity: required, value: "topic", help: "REQUIRED: The topic to write to."},
		option{name: "bootstrap-server", arity: required, value: "server to connect to", help: "REQUIRED: Brokers to start from, host:port separated by commas."},
		option{name: "sync", help: "Wait for each record's acknowledgement before the next is read."},
		option{name: "compression-codec", arity: optional, value: "compression-codec", help: "none, gzip, snappy, lz4 or zstd; gzip if no value follows."},
		option{name: "batch-size", arity: required, kind: "Integer", value: "size", fallback: "16384", help: "Property batch.size."},
		option{name: "message-send-max-retries", arity: required, kind: "Integer", fallback: "3", help: "Property retries."},
		option{name: "retry-backoff-ms", arity: required, kind: "Long", fallback: "100", help: "Property retry.backoff.ms."},
		option{name: "timeout", arity: required, kind: "Long", value: "timeout_ms", fallback: "1000", help: "How long a record may wait for others to share its batch: property linger.ms."},
		option{name: "request-required-acks", arity: required, value: "request required acks", fallback: "-1", help: "Property acks."},
		option{name: "request-timeout-ms", arity: required, kind: "Integer", value: "request timeout ms", fallback: "1500", help: "Property request.timeout.ms."},
		option{name: "metadata-expiry-ms", arity: required, kind: "Long", value: "metadata expiration interval", fallback: "300000", help: "Property metadata.max.age.ms."},
		option{name: "max-block-ms", arity: required, kind: "Long", value: "max block on send", fallback: "60000", help: "How long to wait for a topic to be known: property max.block.ms."},
		option{name: "max-memory-bytes", arity: required, kind: "Long", value: "total memory in bytes", fallback: "33554432", help: "Property buffer.memory."},
		option{name: "max-partition-memory-bytes", arity: required, kind: "Integer", value: "memory in bytes per partition", fallback: "16384", help: "(Deprecated) Use --batch-size, which it overrides."},
		option{name: "line-reader", arity: required, value: "reader_class", fallback: lineMessageReader, help: "How lines become records; the default is the only reader that exists here."},
		option{name: "socket-buffer-size", arity: required, kind: "Integer", value: "size", fallback: "102400", help: "Has no effect: the operating system sizes socket buffers."},
		option{name: "property", arity: required, value: "prop", help: "(Deprecated) Use --reader-property."},
		option{name: "reader-property", arity: required, value: "prop", help: readerPropertyHelp},
		option{name: "reader-config", arity: required, value: "config file", help: "File of properties for the line reader; --reader-property goes before it."},
		option{name: "producer-property", arity: required, value: "producer_prop", help: "(Deprecated) Use --command-property."},
		option{name: "command-property", arity: required, value: "producer_prop", help: "A property of the producer, key=value; may be repeated."},
		option{name: "producer.config", arity: required, value: "config file", help: "(Deprecated) Use --command-config."},
		option{name: "command-config", arity: required, value: "config file", help: "File of properties for the producer; --command-property goes before it."},
	)
}

// consoleProducer is kafka-console-producer. A record that could not be sent is told on standard error and does not
// change the exit code, unless --sync is given; a line that cannot be read as a record ends the tool.
func consoleProducer(ctx context.Context, c *call) error {
	o := producerOptions()
	if err := o.parse(c.args); err != nil {
		return o.wrong("%s", err)
	}
	if err := checkProducer(c, o); err != nil {
		return err
	}
	reader, err := producerReader(o)
	if err != nil {
		return err
	}
	props, err := producerProperties(o)
	if err != nil {
		return err
	}
	cl, err := newClient(ctx, c, props, client.Producer, "[Producer clientId="+props["client.id"]+"]")
	var bad *client.ConfigError
	switch {
	case errors.As(err, &bad) && strings.Contains(bad.Message, "bootstrap"):
		return &exception{"org.apache.kafka.common.KafkaException", "Failed to construct kafka producer\nCaused by: org.apache.kafka.common.config.ConfigException: " + bad.Message}
	case errors.As(err, &bad):
		return &exception{"org.apache.kafka.common.config.ConfigException", bad.Message}
	case err != nil:
		return kafkaException("Failed to construct kafka producer\nCaused by: %s", err)
	}
	defer cl.Close()
	s := &sender{call: c, cl: cl, topic: reader.topic, sync: o.has("sync"), maxBlock: millis(props["max.block.ms"], time.Minute)}
	err = s.loop(ctx, reader)
	// What was read is delivered, also on the way out after an interrupt; delivery.timeout.ms bounds it.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), millis(props["delivery.timeout.ms"], 2*time.Minute))
	defer cancel()
	if flushErr := cl.Flush(closing); flushErr != nil && err == nil {
		err = fmt.Errorf("records are left that could not be delivered: %w", flushErr)
	}
	return err
}

func checkProducer(c *call, o *options) error {
	if err := o.start(c, "Read lines from standard input and publish them to a topic."); err != nil {
		return err
	}
	if err := o.requireAll("topic"); err != nil {
		return err
	}
	for _, pair := range [][2]string{{"command-config", "producer.config"}, {"command-property", "producer-property"}, {"reader-property", "property"}} {
		if o.has(pair[0]) && o.has(pair[1]) {
			return o.wrong("Options --%s and --%s cannot be specified together.", pair[0], pair[1])
		}
	}
	for _, d := range []struct{ old, current string }{{"producer-property", "command-property"}, {"producer.config", "command-config"}, {"property", "reader-property"}} {
		if o.has(d.old) {
			c.println("Warning: --" + d.old + " is deprecated and will be removed in a future version. Use --" + d.current + " instead.")
			o.given[d.current] = o.given[d.old]
		}
	}
	if o.has("max-partition-memory-bytes") {
		c.println("Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead.")
	}
	servers, err := o.text("bootstrap-server")
	if err != nil {
		return err
	}
	if strings.TrimSpace(servers) == "" {
		return o.wrong("Error while validating the bootstrap address\n")
	}
	for _, s := range strings.Split(strings.TrimRight(servers, ","), ",") {
		if !client.ValidAddress(s) {
			return o.wrong("Please provide valid host:port like host1:9091,host2:9092\n")
		}
	}
	return nil
}

func producerReader(o *options) (*lineReader, error) {
	class, err := o.text("line-reader")
	if err != nil {
		return nil, err
	}
	if class != lineMessageReader {
		return nil, &exception{"java.lang.ClassNotFoundException", class}
	}
	props := map[string]string{}
	file, err := o.text("reader-config")
	if err != nil {
		return nil, err
	}
	if file != "" {
		if props, err = client.ReadProperties(file); err != nil {
			return nil, err
		}
	}
	if props["topic"], err = o.text("topic"); err != nil {
		return nil, err
	}
	maps.Copy(props, keyValues(o.given["reader-property"]))
	return newLineReader(props)
}

// producerProperties lays the options over the properties: an option that is given goes first, then a property, then
// the option's default. The codec is the option's in any case.
func producerProperties(o *options) (map[string]string, error) {
	props, err := commandProperties(o)
	if err != nil {
		return nil, err
	}
	server := props["bootstrap.servers"]
	maps.Copy(props, keyValues(o.given["command-property"]))
	props["bootstrap.servers"] = server
	props["compression.type"] = "none"
	if o.has("compression-codec") {
		if props["compression.type"], err = o.text("compression-codec"); err != nil {
			return nil, err
		}
		if props["compression.type"] == "" {
			props["compression.type"] = "gzip"
		}
	}
	if props["client.id"] == "" {
		props["client.id"] = "console-producer"
	}
	for _, m := range []struct {
		property, option string
		bits             int // 0: text
	}{
		{"linger.ms", "timeout", 64}, {"acks", "request-required-acks", 0}, {"request.timeout.ms", "request-timeout-ms", 32},
		{"retries", "message-send-max-retries", 32}, {"retry.backoff.ms", "retry-backoff-ms", 64},
		{"send.buffer.bytes", "socket-buffer-size", 32}, {"buffer.memory", "max-memory-bytes", 64},
		{"batch.size", "batch-size", 32}, {"batch.size", "max-partition-memory-bytes", 32},
		{"metadata.max.age.ms", "metadata-expiry-ms", 64}, {"max.block.ms", "max-block-ms", 64},
	} {
		if _, set := props[m.property]; set && !o.has(m.option) {
			continue
		}
		if m.bits > 0 {
			if _, _, err := o.integer(m.option, m.bits); err != nil {
				return nil, err
			}
		}
		if props[m.property], err = o.text(m.option); err != nil {
			return nil, err
		}
	}
	return props, nil
}

// sender publishes lines.
type sender struct {
	*call
	cl       *kgo.Client
	topic    string
	sync     bool
	maxBlock time.Duration
	known    bool // the topic has been seen
}

func (s *sender) loop(ctx context.Context, reader *lineReader) error {
	prompt := isTerminal(s.stdin)
	in := readLines(s.stdin)
	for {
		if prompt {
			s.out.WriteByte('>')
			s.out.Flush()
		}
		line, err := in.next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return kafkaException("%s", err)
		}
		rec, err := reader.record(line)
		if err != nil {
			return err
		}
		if err := s.send(ctx, rec); err != nil {
			return err
		}
	}
}

func (s *sender) send(ctx context.Context, rec *kgo.Record) error {
	if err := s.awaitTopic(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return s.undelivered(rec, err)
	}
	delivery := context.WithoutCancel(ctx) // an interrupt stops reading, not what was read
	if s.sync {
		if err := s.cl.ProduceSync(delivery, rec).FirstErr(); err != nil {
			return s.undelivered(rec, err)
		}
		return nil
	}
	s.cl.Produce(delivery, rec, func(rec *kgo.Record, err error) {
		if err != nil {
			_ = s.undelivered(rec, err) // told; without --sync it ends nothing
		}
	})
	return nil
}

// undelivered tells of a record that was not delivered; with --sync it is the error that ends the tool.
func (s *sender) undelivered(rec *kgo.Record, err error) error {
	cause := javaException(err)
	if s.sync {
		return &exception{"java.util.concurrent.ExecutionException", cause.Error()}
	}
	size := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%d bytes", len(b))
	}
	s.log("ERROR", "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback",
		fmt.Sprintf("Error when sending message to topic %s with key: %s, value: %s with error:", rec.Topic, size(rec.Key), size(rec.Value)))
	s.errln(cause.Error())
	return nil
}

// awaitTopic waits until the cluster knows the topic, creating it where the broker allows that, for max.block.ms: Java's
// producer blocks in send for as long. franz-go would count attempts instead.
func (s *sender) awaitTopic(ctx context.Context) error {
	if s.known {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.maxBlock)
	defer cancel()
	for {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = true
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(s.topic)
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(bounded, s.cl)
		if err == nil && len(resp.Topics) > 0 {
			code := resp.Topics[0].ErrorCode
			switch {
			case code == 0 && len(resp.Topics[0].Partitions) > 0:
				s.known = true
				return nil
			case code == kerr.InvalidTopicException.Code:
				return &exception{"org.apache.kafka.common.errors.InvalidTopicException", "Invalid topics: [" + s.topic + "]"}
			case code == kerr.TopicAuthorizationFailed.Code:
				return &exception{"org.apache.kafka.common.errors.TopicAuthorizationException", "Not authorized to access topics: [" + s.topic + "]"}
			}
		}
		if pause(bounded, 100*time.Millisecond) != nil {
			return &exception{"org.apache.kafka.common.errors.TimeoutException",
				fmt.Sprintf("Topic %s not present in metadata after %d ms.", s.topic, s.maxBlock.Milliseconds())}
		}
	}
}

// javaException words any client error as the Java client's exception.
func javaException(err error) error {
	var e *exception
	var code *kerr.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &code):
		var k *client.KafkaError
		if errors.As(client.Error(code.Code, nil), &k) {
			return &exception{"org.apache.kafka.common.errors." + k.Class, k.Message}
		}
	case errors.Is(err, kgo.ErrRecordTimeout):
		return &exception{"org.apache.kafka.common.errors.TimeoutException", "The record could not be delivered within delivery.timeout.ms"}
	case errors.Is(err, kgo.ErrRecordRetries):
		return &exception{"org.apache.kafka.common.errors.TimeoutException", "The record could not be delivered within its retries"}
	}
	return kafkaException("%s", err)
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
