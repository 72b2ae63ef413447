package cli

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		args string
		want map[string][]string
		err  string
	}{
		{"--name a --on", map[string][]string{"name": {"a"}, "on": {""}}, ""},
		{"--name=a=b -name c", map[string][]string{"name": {"a=b", "c"}}, ""},
		{"--name= a", map[string][]string{"name": {"a"}}, ""},      // an empty value is none
		{"--name --on", map[string][]string{"name": {"--on"}}, ""}, // a required value may look like an option
		{"--maybe --on", map[string][]string{"maybe": {""}, "on": {""}}, ""},
		{"--maybe x", map[string][]string{"maybe": {"x"}}, ""},
		{"--maybe", map[string][]string{"maybe": {""}}, ""},
		{"stray --on=x - more", map[string][]string{"on": {""}}, ""},
		{"--on -- --name a", map[string][]string{"on": {""}}, ""},
		{"--foo", nil, "foo is not a recognized option"},
		{"-foo", nil, "f is not a recognized option"},
		{"--nam a", nil, "nam is not a recognized option"}, // no abbreviations
		{"--name", nil, "Option name requires an argument"},
	}
	for _, tt := range tests {
		o := newOptions(option{name: "name", arity: required}, option{name: "maybe", arity: optional}, option{name: "on"})
		err := o.parse(strings.Fields(tt.args))
		if got := errText(err); got != tt.err {
			t.Errorf("%s: error %q, want %q", tt.args, got, tt.err)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(tt.want, o.given); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tt.args, diff)
			}
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHelpLayout compares the columns with joptsimple's, for options whose texts are the same.
func TestHelpLayout(t *testing.T) {
	o := newOptions(
		option{name: "bootstrap-server", arity: required, value: "server to connect to", help: "REQUIRED: The Kafka server to connect to."},
		option{name: "replica-assignment", arity: required, value: "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...", help: "Which brokers."},
		option{name: "compression-codec", arity: optional, value: "codec", fallback: "gzip", help: "one\n two"},
	)
	var b strings.Builder
	o.printHelp(&b)
	want := `Option                                   Description                            
------                                   -----------                            
--bootstrap-server <String: server to    REQUIRED: The Kafka server to connect  
  connect to>                              to.                                  
--compression-codec [String: codec]      one                                    
                                          two (default: gzip)                   
--help                                   Print this text.                       
--replica-assignment <String:            Which brokers.                         
  broker_id_for_part1_replica1 :                                                
  broker_id_for_part1_replica2 ,                                                
  broker_id_for_part2_replica1 :                                                
  broker_id_for_part2_replica2 , ...>                                           
--version                                Print the version of Kafka that this   
                                           tool answers to.                     
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// TestHashMapOrder holds orders that Java's HashMap gave.
func TestHashMapOrder(t *testing.T) {
	tests := []struct {
		put, want string
		expected  int
	}{
		{"t cfgx-t cli-x cli_a.b", "t cfgx-t cli-x cli_a.b", 3},
		{"cleanup.policy max.message.bytes min.insync.replicas retention.ms segment.ms follower.replication.throttled.replicas compression.type " +
			"delete.retention.ms file.delete.delay.ms flush.messages flush.ms index.interval.bytes preallocate retention.bytes segment.bytes",
			"compression.type file.delete.delay.ms max.message.bytes min.insync.replicas preallocate index.interval.bytes delete.retention.ms " +
				"retention.bytes cleanup.policy flush.ms follower.replication.throttled.replicas retention.ms segment.ms segment.bytes flush.messages", 0},
	}
	for _, tt := range tests {
		if got := strings.Join(hashMapOrder(strings.Fields(tt.put), tt.expected, javaHash), " "); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	for s, want := range map[string]int32{"a": 97, "ab": 3105, "polygenelubricants": math.MinInt32, "\U0001F600": 1772899} {
		if got := javaHash(s); got != want {
			t.Errorf("javaHash(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestDeserializers(t *testing.T) {
	tests := []struct{ class, in, want, err string }{
		{"StringDeserializer", "h\xffi", "h\uFFFDi", ""},
		{"IntegerDeserializer", "\xff\xff\xff\xfe", "-2", ""},
		{"IntegerDeserializer", "abc", "", "org.apache.kafka.common.errors.SerializationException: Size of data received by IntegerDeserializer is not 4"},
		{"LongDeserializer", "\x00\x00\x00\x01\x00\x00\x00\x00", "4294967296", ""},
		{"ShortDeserializer", "\x80\x00", "-32768", ""},
		{"FloatDeserializer", "\x3f\x80\x00\x00", "1.0", ""},
		{"DoubleDeserializer", "\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1", ""},
		{"DoubleDeserializer", "", "", "org.apache.kafka.common.errors.SerializationException: Size of data received by Deserializer is not 8"},
		{"BooleanDeserializer", "\x01", "true", ""},
		{"BooleanDeserializer", "\xff", "", "org.apache.kafka.common.errors.SerializationException: Unexpected byte received by BooleanDeserializer: -1"},
		{"BytesDeserializer", "a\\\n~\xff", `a\x5C\x0A~\xFF`, ""},
		{"ByteBufferDeserializer", "abc", "java.nio.HeapByteBuffer[pos=0 lim=3 cap=3]", ""},
		{"UUIDDeserializer", "1-2-3-4-ABC", "00000001-0002-0003-0004-000000000abc", ""},
		{"UUIDDeserializer", "x", "", "org.apache.kafka.common.errors.SerializationException: Error parsing data into UUID"},
	}
	for _, tt := range tests {
		d, err := newDeserializer(serialization+tt.class, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := d([]byte(tt.in))
		if got != tt.want || errText(err) != tt.err {
			t.Errorf("%s %q: %q, %v; want %q, %q", tt.class, tt.in, got, err, tt.want, tt.err)
		}
	}
	d, err := newDeserializer(serialization+"StringDeserializer", "iso-8859-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := d([]byte("\xe9")); got != "é" {
		t.Errorf("ISO-8859-1: %q", got)
	}
	if _, err := newDeserializer(serialization+"StringDeserializer", "EBCDIC"); err == nil {
		t.Error("EBCDIC is read")
	}
}

// TestJavaFloat holds what Double.toString and Float.toString print.
func TestJavaFloat(t *testing.T) {
	for want, f := range map[string]float64{
		"0.0": 0, "1.0": 1, "-0.001": -1e-3, "1.0E-4": 1e-4, "9999999.0": 9999999, "1.0E7": 1e7, "1.2345678E8": 123456780,
		"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1), "1.7976931348623157E308": math.MaxFloat64,
	} {
		if got := javaFloat(f, 64); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
	if got := javaFloat(float64(float32(0.1)), 32); got != "0.1" {
		t.Errorf("float 0.1: %s", got)
	}
}

func TestLineReader(t *testing.T) {
	tests := []struct {
		props map[string]string
		line  string
		want  *kgo.Record
		err   string
	}{
		{nil, "a\tb", &kgo.Record{Topic: "t", Value: []byte("a\tb")}, ""},
		{map[string]string{"parse.key": " TRUE "}, "a\tb\tc", &kgo.Record{Topic: "t", Key: []byte("a"), Value: []byte("b\tc")}, ""},
		{map[string]string{"parse.key": "true"}, "\t", &kgo.Record{Topic: "t", Key: []byte(""), Value: []byte("")}, ""},
		{map[string]string{"parse.key": "true", "ignore.error": "true"}, "a", &kgo.Record{Topic: "t", Value: []byte("a")}, ""},
		{map[string]string{"parse.headers": "true"}, "h:1,i:2:3\tv", &kgo.Record{Topic: "t", Value: []byte("v"),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "i", Value: []byte("2:3")}}}, ""},
		{map[string]string{"parse.headers": "true", "ignore.error": "true"}, "h\tv", &kgo.Record{Topic: "t", Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h"}}}, ""},
		{map[string]string{"parse.headers": "true"}, "v", nil, "org.apache.kafka.common.KafkaException: No headers delimiter found on line number 1: 'v'"},
		{map[string]string{"null.marker": "N"}, "N", &kgo.Record{Topic: "t"}, ""},
		{map[string]string{"null.marker": "\t"}, "", nil, "org.apache.kafka.common.KafkaException: null.marker and key.separator may not be equal"},
		{map[string]string{"headers.delimiter": ","}, "", nil, "org.apache.kafka.common.KafkaException: headers.delimiter and headers.separator may not be equal"},
	}
	for _, tt := range tests {
		props := map[string]string{"topic": "t"}
		for k, v := range tt.props {
			props[k] = v
		}
		r, err := newLineReader(props)
		var got *kgo.Record
		if err == nil {
			got, err = r.record(tt.line)
		}
		if errText(err) != tt.err {
			t.Errorf("%v %q: %v, want %q", tt.props, tt.line, err, tt.err)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(kgo.Record{}, kgo.RecordAttrs{})); diff != "" {
				t.Errorf("%v %q: -want +got:\n%s", tt.props, tt.line, diff)
			}
		}
	}
}

func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	in := readLines(strings.NewReader("a\r\nb\rc\n\n" + long + "\nlast"))
	var got []string
	for {
		line, err := in.next(t.Context())
		if err != nil {
			break
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "", long, "last"}, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// TestReplicationFactor: replicas that are being added do not count, unless the reassignment is over already.
func TestReplicationFactor(t *testing.T) {
	p := &partitionDescription{replicas: []int32{1, 2, 3}}
	moving := &reassignment{replicas: []int32{1, 2, 3}, adding: []int32{3}}
	if got := p.replicationFactor(moving); got != 2 {
		t.Errorf("while moving: %d, want 2", got)
	}
	if got := p.replicationFactor(&reassignment{replicas: []int32{4, 5}, adding: []int32{4}}); got != 3 {
		t.Errorf("after it: %d, want 3", got)
	}
	p = &partitionDescription{partition: 3, leader: -1, replicas: []int32{1, 2}, isr: []int32{2}}
	want := "\tTopic: t\tPartition: 3\tLeader: none\tReplicas: 1,2\tIsr: 2\tAdding Replicas: 3\tRemoving Replicas: \tElr: N/A\tLastKnownElr: N/A"
	if got := p.line("t", moving); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFind(t *testing.T) {
	for _, name := range []string{"kafka-topics", "/x/bin/kafka-topics.sh", "topics"} {
		if _, ok := find(name); !ok {
			t.Errorf("%s is not found", name)
		}
		if cmd, ok := Command(name); !ok || cmd.Name() != "topics" {
			t.Errorf("%s is no command", name)
		}
	}
	if _, ok := find("klamm"); ok {
		t.Error("klamm is a tool")
	}
	if _, handled := Run(t.Context(), "klamm", nil, nil, nil, nil); handled {
		t.Error("klamm is handled")
	}
}

func TestExitCode(t *testing.T) {
	cmd, _ := Command("topics")
	cmd.SetArgs([]string{"--list"})
	cmd.SetErr(new(strings.Builder))
	cmd.SetOut(new(strings.Builder))
	if code, ok := ExitCode(cmd.Execute()); !ok || code != 1 {
		t.Errorf("exit code %d, %v; want 1", code, ok)
	}
	if _, ok := ExitCode(errors.New("x")); ok {
		t.Error("a foreign error has an exit code")
	}
}

// TestLinks: every tool has its two names in bin/.
func TestLinks(t *testing.T) {
	for _, name := range Names() {
		for _, link := range []string{name, name + ".sh"} {
			if to, err := os.Readlink(filepath.Join("..", "..", "bin", link)); err != nil || to != "kafka-run.sh" {
				t.Errorf("bin/%s: %q, %v; want a link to kafka-run.sh", link, to, err)
			}
		}
	}
}
