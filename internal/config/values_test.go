package config

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGetters(t *testing.T) {
	v, warnings, err := Parse(Broker, map[string]string{
		"num.partitions": " 7 ", "offsets.topic.replication.factor": "2", "log.retention.minutes": "5", "log.dirs": "/a , /b",
		"auto.create.topics.enable": "False", "log.cleaner.min.cleanable.ratio": "1e-5", "connections.max.idle.ms": "-1",
		"listener.name.Ext.max.connections": "9", "listener.name.ext.max.connections": "8",
	})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	raw, set := v.Raw("num.partitions")
	text, _ := v.Text("log.cleaner.min.cleanable.ratio")
	_, hasMs := v.Text("log.retention.ms")
	got := []any{v.Int("num.partitions"), v.Int("offsets.topic.replication.factor"), v.Duration("log.retention.minutes"), v.List("log.dirs"),
		v.Bool("auto.create.topics.enable"), v.Float("log.cleaner.min.cleanable.ratio"), text, raw, set, v.IsSet("log.dir"), v.Null("log.retention.ms"), hasMs,
		v.String("compression.type"), v.Int64("message.max.bytes"), v.Duration("log.flush.interval.ms"), v.Duration("server.max.startup.time.ms"),
		v.Duration("connections.max.idle.ms"), v.Duration("leader.imbalance.check.interval.seconds"), v.Duration("log.retention.hours"),
		v.Listener("EXT").Int("max.connections"), v.Listener("other").Int("max.connections")}
	want := []any{7, 2, 5 * time.Minute, []string{"/a", "/b"}, false, 1e-5, "1.0E-5", " 7 ", true, false, true, false,
		"producer", int64(1048588), time.Duration(0), time.Duration(math.MaxInt64),
		-time.Millisecond, 300 * time.Second, 168 * time.Hour, 8, math.MaxInt32}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	for name, f := range map[string]func(){
		"unknown": func() { v.Int("nope") }, "other type": func() { v.Int("log.dirs") }, "other scope": func() { v.Int64("retention.ms") },
		"not a time": func() { v.Duration("num.partitions") }, "empty": func() { Values{}.Int("num.partitions") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic on a bug")
				}
			}()
			f()
		})
	}
}

func TestParseErrors(t *testing.T) {
	_, warnings, err := Parse(Broker, map[string]string{"num.partitions": "0", "log.dirs": "", "ssl.key.password": "x", "nope": "1",
		"broker.id": "abc", "listener.name.x.max.connections": "-1", "process.roles": "broker,worker", "log.cleanup.policy": "delete, delete",
		"controller.quorum.voters": "1@a", "security.inter.broker.protocol": "TLS", "create.topic.policy.class.name": " "})
	want := []string{
		"Invalid value abc for configuration broker.id: Not a number of type INT (allowed: a 32-bit integer)",
		"Failed to parse host name from entry 1@a for the configuration controller.quorum.voters. Each entry should be in the form `{id}@{host}:{port}`. (controller.quorum.voters=1@a; allowed: a comma-separated list, {id}@{host}:{port},...)",
		"Invalid value   for configuration create.topic.policy.class.name: Class   could not be found. (allowed: a class name)",
		"Invalid value -1 for configuration listener.name.x.max.connections: Value must be at least 0 (allowed: a 32-bit integer, [0,...])",
		"Configuration 'log.dirs' must not be empty. Valid values include: any non-empty value (log.dirs=; allowed: a comma-separated list)",
		"Invalid value 0 for configuration num.partitions: Value must be at least 1 (allowed: a 32-bit integer, [1,...])",
		"Invalid value worker for configuration process.roles: String must be one of: broker, controller (process.roles=broker,worker; allowed: a comma-separated list, [broker, controller])",
		"Invalid value TLS for configuration security.inter.broker.protocol: String must be one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL (allowed: text, [PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL])",
	}
	if d := cmp.Diff(want, Explain(err)); d != "" {
		t.Fatalf("errors (-want +got):\n%s", d)
	}
	var e *Error
	if !errors.As(err, &e) || e.Key != "broker.id" || e.Value != "abc" {
		t.Fatalf("first error: %+v", e)
	}
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.Text)
	}
	if d := cmp.Diff([]string{
		"log.cleanup.policy names something twice, which counts once: delete",
		"nope is ignored: it is not a known broker configuration",
		"ssl.key.password is set, but has no effect: TLS is not there yet",
	}, texts); d != "" {
		t.Fatalf("warnings (-want +got):\n%s", d)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	k := Key{Name: "x", Type: Password, Sensitive: true}
	if e := k.invalid("pw", "pw", "no"); strings.Contains(e.Error()+e.Value, "pw") {
		t.Fatalf("%v %v", e, e.Value)
	}
}

func TestJavaDouble(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 0.5: "0.5", 1: "1.0", 1234567: "1234567.0", 12345678: "1.2345678E7", 1e7: "1.0E7",
		0.001: "0.001", 0.0001: "1.0E-4", -2.5e-7: "-2.5E-7", math.MaxFloat64: "1.7976931348623157E308", math.Inf(1): "Infinity", math.Inf(-1): "-Infinity"} {
		if got := javaDouble(f); got != want {
			t.Errorf("%g: %s, want %s", f, got, want)
		}
	}
}

func TestLayers(t *testing.T) {
	l := Layers{Static: map[string]string{"log.retention.hours": "2", "log.roll.hours": "3", "log.flush.scheduler.interval.ms": "50"}}
	topic := func() Values {
		t.Helper()
		v, err := l.Topic(map[string]string{"max.message.bytes": "5"})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := topic()
	got := []any{v.Duration("retention.ms"), v.IsSet("retention.ms"), v.Duration("segment.ms"), v.Duration("flush.ms"), v.Int("max.message.bytes"), v.IsSet("max.message.bytes")}
	if d := cmp.Diff([]any{2 * time.Hour, false, 3 * time.Hour, 50 * time.Millisecond, 5, true}, got); d != "" {
		t.Fatal(d)
	}
	l.Static["log.retention.minutes"] = "7" // minutes go before hours
	if d := topic().Duration("retention.ms"); d != 7*time.Minute {
		t.Fatal(d)
	}
	l.Static["log.retention.ms"] = "-5" // any negative number means for ever
	if n := topic().Int64("retention.ms"); n != -1 {
		t.Fatal(n)
	}
	before, _ := l.Broker()
	l.DefaultBroker = map[string]string{"log.retention.ms": "9", "num.partitions": "4", "listeners": "X://:1", "message.max.bytes": "abc", "group.consumer.assignment.interval.ms": "99999"}
	l.ThisBroker = map[string]string{"log.flush.interval.ms": "11"}
	after, err := l.Broker()
	if d := cmp.Diff([]string{
		"Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
		"Invalid value abc for configuration message.max.bytes: Not a number of type INT (allowed: a 32-bit integer, [0,...])",
		"Cannot update these configs dynamically: [num.partitions]"}, Explain(err)); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff([]string{"group.consumer.assignment.interval.ms", "log.flush.interval.ms", "log.flush.scheduler.interval.ms", "log.retention.hours", "log.retention.minutes", "log.retention.ms"},
		after.Changed(before)); d != "" {
		t.Fatal(d)
	}
	if n := after.Int("group.consumer.assignment.interval.ms"); n != 15000 {
		t.Fatalf("clamped to %d", n)
	}
	changed := after.TopicDefaults().Changed(before.TopicDefaults())
	if d := cmp.Diff([]string{"flush.ms", "retention.ms"}, changed); d != "" {
		t.Fatal(d)
	}
	g, err := Layers{Static: map[string]string{"group.share.delivery.count.limit": "7"}}.Group(map[string]string{"share.isolation.level": "read_committed"})
	if err != nil || g.Int("share.delivery.count.limit") != 7 || g.String("share.isolation.level") != "read_committed" {
		t.Fatal(err, g)
	}
}
