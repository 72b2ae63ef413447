package client

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestOptionsTakeEffect reads the settings back from a client made with them.
func TestOptionsTakeEffect(t *testing.T) {
	tests := []struct {
		name  string
		kind  Kind
		props map[string]string
		opt   any
		want  any
	}{
		{"client id", Admin, map[string]string{"client.id": "me"}, kgo.ClientID, "me"},
		{"servers", Admin, map[string]string{"bootstrap.servers": "a:1, [::1]:2,PLAINTEXT://c:3"}, kgo.SeedBrokers, []string{"a:1", "[::1]:2", "c:3"}},
		{"api timeout covers all attempts", Admin, map[string]string{"retries": "7"}, kgo.RequestRetries, 7},
		{"linger", Producer, map[string]string{"linger.ms": "20"}, kgo.ProducerLinger, 20 * time.Millisecond},
		{"idempotent by default", Producer, nil, kgo.DisableIdempotentWrite, false},
		{"acks below all give up idempotence", Producer, map[string]string{"acks": "1"}, kgo.DisableIdempotentWrite, true},
		{"many in flight give up idempotence", Producer, map[string]string{"max.in.flight.requests.per.connection": "6"}, kgo.MaxProduceRequestsInflightPerBroker, 6},
		{"a batch may hold a request", Producer, map[string]string{"batch.size": "1"}, kgo.ProducerBatchMaxBytes, int32(1 << 20)},
		{"broker's time for acks", Producer, map[string]string{"request.timeout.ms": "1500"}, kgo.ProduceRequestTimeout, 1500 * time.Millisecond},
		{"topics come to be", Producer, nil, kgo.AllowAutoTopicCreation, true},
		{"transactional id", Producer, map[string]string{"transactional.id": "t"}, kgo.TransactionalID, "t"},
		{"retries", Producer, nil, kgo.RecordRetries, int64(math.MaxInt32)},
		{"group", Consumer, map[string]string{"group.id": "g"}, kgo.ConsumerGroup, "g"},
		{"instance", Consumer, map[string]string{"group.id": "g", "group.instance.id": "i"}, kgo.InstanceID, "i"},
		{"commits off", Consumer, map[string]string{"group.id": "g", "enable.auto.commit": "FALSE"}, kgo.DisableAutoCommit, true},
		{"commits follow marks", Consumer, map[string]string{"group.id": "g"}, kgo.AutoCommitMarks, true},
		{"rebalance timeout", Consumer, map[string]string{"group.id": "g", "max.poll.interval.ms": "9000"}, kgo.RebalanceTimeout, 9 * time.Second},
		{"isolation", Consumer, map[string]string{"isolation.level": "read_committed"}, kgo.FetchIsolationLevel, int8(1)},
		{"partition bytes stay below the whole", Consumer, map[string]string{"fetch.max.bytes": "1000"}, kgo.FetchMaxPartitionBytes, int32(1000)},
		{"topics are not created on request", Consumer, map[string]string{"allow.auto.create.topics": "false"}, kgo.AllowAutoTopicCreation, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts, warnings, err := Options(tt.props, tt.kind)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Options: %v, warnings %q", err, warnings)
			}
			cl, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatalf("NewClient refuses the options: %v", err)
			}
			defer cl.Close()
			got := cl.OptValue(tt.opt)
			if want, ok := tt.want.(int); ok { // kgo keeps some of its ints as int64
				if _, ok := got.(int64); ok {
					tt.want = int64(want)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestOptionsRefuse holds Kafka's words for values that it refuses.
func TestOptionsRefuse(t *testing.T) {
	tests := []struct {
		kind  Kind
		props map[string]string
		want  string
	}{
		{Producer, map[string]string{"linger.ms": "abc"}, "Invalid value abc for configuration linger.ms: Not a number of type LONG"},
		{Producer, map[string]string{"linger.ms": "-1"}, "Invalid value -1 for configuration linger.ms: Value must be at least 0"},
		{Producer, map[string]string{"batch.size": "9999999999"}, "Invalid value 9999999999 for configuration batch.size: Not a number of type INT"},
		{Producer, map[string]string{"compression.lz4.level": "18"}, "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17"},
		{Producer, map[string]string{"acks": "7"}, "Invalid value 7 for configuration acks: String must be one of: all, -1, 0, 1"},
		{Producer, map[string]string{"compression.type": "foo"}, "Invalid value foo for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd"},
		{Producer, map[string]string{"acks": "1", "enable.idempotence": "true"}, "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."},
		{Producer, map[string]string{"retries": "0", "enable.idempotence": "true"}, "Must set retries to non-zero when using the idempotent producer."},
		{Producer, map[string]string{"transactional.id": "t", "enable.idempotence": "false"}, "Cannot set a transactional.id without also enabling idempotence."},
		{Producer, map[string]string{"delivery.timeout.ms": "10"}, "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms"},
		{Consumer, map[string]string{"isolation.level": "foo"}, "Invalid value foo for configuration isolation.level: String must be one of: read_committed, read_uncommitted"},
		{Consumer, map[string]string{"enable.auto.commit": "maybe"}, "Invalid value maybe for configuration enable.auto.commit: Expected value to be either true or false"},
		{Consumer, map[string]string{"auto.offset.reset": "foo"}, "Invalid value foo for configuration auto.offset.reset: Invalid value `foo` for configuration auto.offset.reset. The value must be either 'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'."},
		{Admin, map[string]string{"bootstrap.servers": "foo"}, "Invalid url in bootstrap.servers: foo"},
		{Admin, map[string]string{"bootstrap.servers": " , "}, "No bootstrap urls given in bootstrap.servers"},
		{Admin, map[string]string{"security.protocol": "SASL_SSL"}, "security.protocol=SASL_SSL is not supported yet: this build connects by PLAINTEXT only"},
	}
	for _, tt := range tests {
		_, _, err := Options(tt.props, tt.kind)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%v %v:\n got %v\nwant %s", tt.kind, tt.props, err, tt.want)
		}
	}
}

func TestOptionsWarn(t *testing.T) {
	_, warnings, err := Options(map[string]string{"foo": "x", "ssl.truststore.type": "PEM", "key.serializer": "y", "group.id": "g"}, Producer)
	if err != nil {
		t.Fatal(err)
	}
	want := []Warning{"The configuration 'foo' was supplied but isn't a known producer config."}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

func TestParseISODuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"P1D": 24 * time.Hour, "PT1H30M": 90 * time.Minute, "pt0.5s": 500 * time.Millisecond, "P1DT2S": 24*time.Hour + 2*time.Second} {
		if got, err := ParseISODuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "1h", "P99999999999999D", "PT-1S"} {
		if got, err := ParseISODuration(text); err == nil {
			t.Errorf("%s: %v, want an error", text, got)
		}
	}
}

func TestBackoffStaysInBounds(t *testing.T) {
	f := backoff(100*time.Millisecond, time.Second)
	for failures, want := range map[int]time.Duration{0: 100 * time.Millisecond, 1: 100 * time.Millisecond, 3: 400 * time.Millisecond, 1000: time.Second} {
		if got := f(failures); got < want*8/10 || got > want*12/10 {
			t.Errorf("after %d failures: %v, want %v give or take a fifth", failures, got, want)
		}
	}
}

func TestReadProperties(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("# c\nclient.id = x\nacks:all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadProperties(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"client.id": "x", "acks": "all"}, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if _, err := ReadProperties(path + ".none"); err == nil {
		t.Fatal("a file that is not there is read")
	}
}

func TestErrorWords(t *testing.T) {
	own := "Topic 'x' already exists."
	if got := Error(36, &own).Error(); got != own {
		t.Errorf("the broker's message gives way to %q", got)
	}
	if got := Error(3, nil).Error(); got != "This server does not host this topic-partition." {
		t.Errorf("default text: %q", got)
	}
	if err := Error(0, nil); err != nil {
		t.Errorf("no error is %v", err)
	}
	if got := Error(12345, nil).Error(); got != javaErrors[-1].message {
		t.Errorf("unknown code: %q", got)
	}
}
