package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func static(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/describe.properties")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	props, err := ParseProperties(f)
	if err != nil {
		t.Fatal(err)
	}
	return props
}

func line(e Entry) string {
	null := func(s string, isNull bool) string {
		if isNull {
			return `\N`
		}
		return s
	}
	flags := ""
	if e.ReadOnly {
		flags = "r"
	}
	if e.Key.Sensitive {
		flags += "s"
	}
	if flags == "" {
		flags = "-"
	}
	var synonyms []string
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, fmt.Sprintf("%s=%s@%d", s.Name, null(s.Value, s.Null), s.Source))
	}
	return fmt.Sprintf("%d\t%s\t%d\t%s\t%s", e.Key.Type, null(e.Value, e.Null), e.Source, flags, strings.Join(synonyms, " ; "))
}

// DETAILS 10: DescribeConfigs carries values, sources, synonyms, types and flags as Kafka's does. The broker was started
// with describe.properties; its format had stored min.insync.replicas as a default of the cluster.
func TestDescribeIsKafkas(t *testing.T) {
	want := map[string]map[string]string{}
	for _, stage := range []string{"static.", "dynamic."} {
		for _, r := range rows(t, "describe.tsv") {
			if strings.HasPrefix(r[0], "static.") {
				at := stage + strings.TrimPrefix(r[0], "static.")
				if want[at] == nil {
					want[at] = map[string]string{}
				}
				want[at][r[1]] = strings.Join(r[2:], "\t")
			}
		}
	}
	for _, r := range rows(t, "describe.tsv") {
		if strings.HasPrefix(r[0], "dynamic.") {
			want[r[0]][r[1]] = strings.Join(r[2:], "\t")
		}
	}

	node, _, err := NewNode(static(t))
	if err != nil {
		t.Fatal(err)
	}
	before := node.Layers(map[string]string{"min.insync.replicas": "1"}, nil)
	after := node.Layers(map[string]string{"min.insync.replicas": "1", "message.max.bytes": "2000000", "log.retention.ms": "1000000",
		"leader.replication.throttled.rate": "1000", "some.plugin.key": "x"},
		map[string]string{"message.max.bytes": "3000000", "log.index.interval.bytes": "8192"})
	topic := map[string]string{"cleanup.policy": "compact", "retention.ms": "5", "internal.segment.bytes": "1000",
		"leader.replication.throttled.replicas": "0:1, 1:1", "min.cleanable.dirty.ratio": "0.25"}
	group := map[string]string{"consumer.session.timeout.ms": "48000", "share.auto.offset.reset": "earliest"}

	for at, entries := range map[string][]Entry{
		"static.broker":   before.Describe(Broker, nil),
		"static.default":  before.DescribeDefault(),
		"static.topic":    before.Describe(Topic, nil),
		"static.topic0":   before.Describe(Topic, nil),
		"static.group":    before.Describe(Group, nil),
		"dynamic.broker":  after.Describe(Broker, nil),
		"dynamic.default": after.DescribeDefault(),
		"dynamic.topic":   after.Describe(Topic, topic),
		"dynamic.topic0":  after.Describe(Topic, nil),
		"dynamic.group":   after.Describe(Group, group),
	} {
		got := map[string]string{}
		last := ""
		for _, e := range entries {
			if e.Key.Name <= last {
				t.Errorf("%s: %s does not follow %s", at, e.Key.Name, last)
			}
			last = e.Key.Name
			if !ours[e.Key.Name] {
				got[e.Key.Name] = line(e)
			}
		}
		if d := cmp.Diff(want[at], got); d != "" {
			t.Errorf("%s (-Kafka +ours):\n%s", at, d)
		}
	}
}

// DETAILS 10, 26: what Kafka refuses is refused, in its words and under its code.
func TestMessagesAreKafkas(t *testing.T) {
	l := Layers{Static: static(t), DefaultBroker: map[string]string{"log.retention.ms": "1000000"}}
	for _, r := range rows(t, "alter.tsv") {
		props := map[string]string{}
		for _, kv := range strings.Split(r[2], "|") {
			k, v, _ := strings.Cut(kv, "=")
			props[k] = v
		}
		var err error
		code := "40"
		switch r[0] {
		case "2":
			err = l.ValidateTopic(nil, props)
		case "32":
			err = l.ValidateGroup(props)
		case "4":
			err, code = l.ValidateBroker(props, r[1] != ""), "42"
		}
		got := "0\t"
		if err != nil {
			got = code + "\t" + err.Error()
		}
		if want := r[3] + "\t" + r[4]; want != got {
			t.Errorf("%s %s\nKafka: %s\nours:  %s", r[0], r[2], want, got)
		}
	}
}

func TestMessagesOfOurOwn(t *testing.T) {
	l := Layers{Static: static(t)}
	for _, c := range []struct {
		props map[string]string
		want  string
	}{
		{map[string]string{"num.io.threads": "17"}, "Invalid dynamic configuration: Dynamic thread count update validation failed for num.io.threads=17, value should not be greater than double the current value 8"},
		{map[string]string{"num.io.threads": "3"}, "Invalid dynamic configuration: Dynamic thread count update validation failed for num.io.threads=3, value should be at least half the current value 8"},
		{map[string]string{"num.io.threads": "16"}, ""},
		{map[string]string{"log.cleaner.threads": "3"}, "Invalid dynamic configuration: Log cleaner threads cannot be increased to more than double the current value 1"},
		{map[string]string{"log.local.retention.ms": "90000000"}, "Invalid dynamic configuration: Invalid value 90000000 for configuration log.local.retention.ms: Value must not be more than log.retention.ms property value: 86400000"},
		{map[string]string{"log.local.retention.ms": "-1"}, "Invalid dynamic configuration: Invalid value -1 for configuration log.local.retention.ms: Value must not be -1 as log.retention.ms value is set as 86400000."},
		{map[string]string{"max.connections.per.ip.overrides": "1.2.3.4"}, "Error parsing configuration property 'max.connections.per.ip.overrides': '1.2.3.4' is not of the form name:value"},
		{map[string]string{"max.connections.per.ip.overrides": "a b:4"}, "max.connections.per.ip.overrides contains invalid addresses : a b"},
		{map[string]string{"max.connections.per.ip": "0", "max.connections.per.ip.overrides": "::1:4"}, ""},
		{map[string]string{"log.cleaner.min.compaction.lag.ms": "2", "log.cleaner.max.compaction.lag.ms": "1"}, "conflict topic config setting min.compaction.lag.ms (2) > max.compaction.lag.ms (1)"},
		{map[string]string{"leader.replication.throttled.rate": "-1"}, "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0"},
		{map[string]string{"log.produce.validation": "lazy"}, "Invalid value lazy for configuration log.produce.validation: String must be one of: full, header"},
	} {
		got := ""
		if err := l.ValidateBroker(c.props, true); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v\nwant %s\ngot  %s", c.props, c.want, got)
		}
	}
	tiered := Layers{Static: map[string]string{"remote.log.storage.system.enable": "true"}}
	on := func(kv ...string) map[string]string {
		m := map[string]string{"remote.storage.enable": "true"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, c := range []struct {
		existing, props map[string]string
		want            string
	}{
		{nil, on(), ""},
		{nil, on("cleanup.policy", "compact"), "Remote log storage only supports topics"},
		{nil, on("retention.bytes", "5", "local.retention.bytes", "6"), "Value must not be more than retention.bytes property value: 5"},
		{nil, on("retention.ms", "5", "local.retention.ms", "-1"), "Value must not be -1 as retention.ms value is set as 5."},
		{nil, on("remote.log.copy.disable", "true", "local.retention.ms", "7"), "the `local.retention.ms` and `retention.ms` must be set to the identical value"},
		{on(), map[string]string{}, "It is invalid to disable remote storage without deleting remote data."},
		{on(), map[string]string{"remote.log.delete.on.disable": "true"}, ""},
	} {
		err := tiered.ValidateTopic(c.existing, c.props)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: want %q, got %v", c.props, c.want, err)
		}
	}
	if ValidateTopic(map[string]string{"internal.segment.bytes": "100"}) != nil || ValidateGroup(nil) != nil || ValidateBroker(nil, false) != nil {
		t.Error("valid changes are refused")
	}
}
