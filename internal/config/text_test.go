package config

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestParseProperties(t *testing.T) {
	for _, c := range []struct {
		in   string
		want map[string]string
	}{
		{"", map[string]string{}},
		{"# c\n! c\n  # c\n\n \t\f\n", map[string]string{}},
		{"a=1\nb:2\nc 3\nd\t=\t4\n e  :  5 \nf", map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5 ", "f": ""}},
		{"a==1\nb=:2\nc = = 3", map[string]string{"a": "=1", "b": ":2", "c": "= 3"}},
		{"a=1\r\nb=2\rc=3", map[string]string{"a": "1", "b": "2", "c": "3"}},
		{"a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y", map[string]string{"a": "1,2,3", "b": `x\`, "c": "y"}},
		{"a=1\\\n# not a comment", map[string]string{"a": "1# not a comment"}},
		{"a=1\\", map[string]string{"a": "1"}},
		{`a\=b\:c\ d=e\tf\ng\rh\fi\z`, map[string]string{"a=b:c d": "e\tf\ng\rh\fiz"}},
		{`k\u0041=\u00e9\u4e2d\uD83D\ude00`, map[string]string{"kA": "é中😀"}},
		{"a=1\na=2", map[string]string{"a": "2"}},
		{"dir=/tmp/ö", map[string]string{"dir": "/tmp/ö"}},
		{"dir=/tmp/\xf6", map[string]string{"dir": "/tmp/ö"}},
		{"listeners=PLAINTEXT://:9092", map[string]string{"listeners": "PLAINTEXT://:9092"}},
		{"=x", map[string]string{"": "x"}},
	} {
		got, err := ParseProperties(strings.NewReader(c.in))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		} else if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q:\n%s", c.in, d)
		}
	}
	for _, in := range []string{`a=\u12`, `a=\u12g4`, "ok=1\nb=\\\n\\u"} {
		if _, err := ParseProperties(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, err := ParseProperties(strings.NewReader(strings.Repeat("#", propertiesMax+1))); err == nil {
		t.Error("no limit")
	}
	broken := errors.New("broken")
	if _, err := ParseProperties(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzProperties(f *testing.F) {
	for _, s := range []string{"a=1\nb:2\n", "a\\\n=\\u0041", "\\", "x\\\\\\", "a=\\ud83d\\ude00", "\xff=\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		props, err := ParseProperties(strings.NewReader(in))
		if err != nil {
			return
		}
		// What was read, written with every separator hidden, reads back the same.
		var out strings.Builder
		for k, v := range props {
			out.WriteString(escape(k) + "=" + escape(v) + "\n")
		}
		again, err := ParseProperties(strings.NewReader(out.String()))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(props, again); d != "" {
			t.Fatal(d)
		}
	})
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, " ", `\ `, "=", `\=`, ":", `\:`, "#", `\#`, "!", `\!`).Replace(s)
}

// FuzzNode: no configuration panics, and one that is accepted says where it listens.
func FuzzNode(f *testing.F) {
	f.Add("advertised.listeners=PLAINTEXT://localhost:9092")
	f.Add("process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@[::1]:9093\nlisteners=A://:1,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER")
	f.Add("listener.security.protocol.map=A:SSL,:\nlisteners=A://0.0.0.0:1")
	f.Add("max.connections.per.ip.overrides=a:b:1,c\nlog.roll.ms=-9223372036854775808\nlog.cleaner.threads=0")
	f.Fuzz(func(t *testing.T, in string) {
		props, err := ParseProperties(strings.NewReader(in))
		if err != nil {
			return
		}
		n, _, err := NewNode(props)
		if err != nil {
			if len(Explain(err)) == 0 {
				t.Fatal("an error without a line")
			}
			return
		}
		if len(n.Listeners) == 0 || len(n.Advertised) == 0 || len(n.LogDirs) == 0 {
			t.Fatalf("%+v", n)
		}
		n.Layers(props, props).Describe(Broker, nil)
		n.Layers(props, nil).Describe(Topic, props)
		_ = n.Layers(nil, nil).ValidateBroker(props, true)
		_ = n.Layers(nil, nil).ValidateGroup(props)
	})
}

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want map[string]string
	}{
		{nil, map[string]string{}},
		{[]string{"KAFKA_LOG_DIRS=/a=b", "KAFKA_A__B=1", "KAFKA_A___B=2", "KAFKA_A____B=3", "KAFKA_LISTENER_NAME_EXT_SASL_JAAS_CONFIG=x"},
			map[string]string{"log.dirs": "/a=b", "a_b": "1", "a-b": "2", "a-.b": "3", "listener.name.ext.sasl.jaas.config": "x"}},
		{[]string{"KAFKA_HEAP_OPTS=-Xmx1G", "KAFKA_OPTS=x", "KAFKA_LOG4J_OPTS=x", "KAFKA_LOG4J_LOGGERS=x", "KAFKA_LOG4J_ROOT_LOGLEVEL=x", "KAFKA_JMX_PORT=1",
			"KAFKA_JMX_OPTS=x", "KAFKA_JMX_HOSTNAME=x", "KAFKA_HOME=/opt/kafka", "KAFKA_VERSION=4.3.1", "KAFKA_TOOLS_LOG4J_LOGLEVEL=x", "KAFKA_CLUSTER_ID=x",
			"KAFKA_GC_LOG_OPTS=x", "KAFKA_JVM_PERFORMANCE_OPTS=x", "CLUSTER_ID=x", "PATH=/bin", "KAFKA_", "KAFKA_=x", "NOTKAFKA_X=1", "KAFKA_LONELY"},
			map[string]string{}},
		{[]string{"KAFKA_PORT=tcp://10.0.0.1:9092", "KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "KAFKA_SERVICE_HOST=10.0.0.1", "KAFKA_SERVICE_PORT_CLIENT=9092"}, map[string]string{}},
		{[]string{"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://broker:29092,EXT://[::1]:9092"},
			map[string]string{"advertised.listeners": "PLAINTEXT://broker:29092,EXT://[::1]:9092", "listeners": "PLAINTEXT://0.0.0.0:29092,EXT://0.0.0.0:9092"}},
		{[]string{"KAFKA_ADVERTISED_LISTENERS=A://b:1", "KAFKA_LISTENERS=A://:1"}, map[string]string{"advertised.listeners": "A://b:1", "listeners": "A://:1"}},
	} {
		if d := cmp.Diff(c.want, FromEnv(c.env)); d != "" {
			t.Errorf("%v:\n%s", c.env, d)
		}
	}
}
