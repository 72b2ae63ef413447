package config

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shape is what a Node comes to, without its values.
type shape struct {
	ID                                       int32
	Roles                                    Roles
	LogDirs                                  []string
	Metadata                                 string
	Listeners, Advertised, Controllers, Told []string
	ControllerNames                          []string
	InterBroker                              string
	Voters                                   []Voter
	Bootstrap                                []Address
	SelfFormat                               bool
	Warnings                                 []string
}

func shapeOf(n Node, warnings []Warning) shape {
	texts := func(ends []Endpoint) []string {
		var l []string
		for _, e := range ends {
			l = append(l, e.String())
		}
		return l
	}
	s := shape{n.NodeID, n.Roles, n.LogDirs, n.MetadataLogDir, texts(n.Listeners), texts(n.Advertised), texts(n.ControllerEndpoints),
		texts(n.AdvertisedControllers), n.ControllerListeners, n.InterBroker, n.Voters, n.BootstrapServers, n.SelfFormat, nil}
	for _, w := range warnings {
		s.Warnings = append(s.Warnings, w.String())
	}
	return s
}

func props(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func with(base map[string]string, kv ...string) map[string]string {
	m := maps.Clone(base)
	for k, v := range props(kv...) {
		if v == "-" {
			delete(m, k)
			continue
		}
		m[k] = v
	}
	return m
}

const replicasWarning = "offsets.topic.replication.factor, transaction.state.log.replication.factor, transaction.state.log.min.isr, " +
	"share.coordinator.state.topic.replication.factor, share.coordinator.state.topic.min.isr: 1 on this single node, as not set"

// kafkas are the keys of the config/server.properties that Apache Kafka 4.3.1 ships, with its values.
var kafkas = props(
	"process.roles", "broker,controller",
	"node.id", "1",
	"controller.quorum.bootstrap.servers", "localhost:9093",
	"listeners", "PLAINTEXT://:9092,CONTROLLER://:9093",
	"inter.broker.listener.name", "PLAINTEXT",
	"advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
	"controller.listener.names", "CONTROLLER",
	"listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
	"num.network.threads", "3",
	"num.io.threads", "8",
	"socket.send.buffer.bytes", "102400",
	"socket.receive.buffer.bytes", "102400",
	"socket.request.max.bytes", "104857600",
	"log.dirs", "/tmp/kraft-combined-logs",
	"num.partitions", "1",
	"num.recovery.threads.per.data.dir", "2",
	"offsets.topic.replication.factor", "1",
	"share.coordinator.state.topic.replication.factor", "1",
	"share.coordinator.state.topic.min.isr", "1",
	"transaction.state.log.replication.factor", "1",
	"transaction.state.log.min.isr", "1",
	"log.retention.hours", "168",
	"log.segment.bytes", "1073741824",
	"log.retention.check.interval.ms", "300000",
)

func TestNewNode(t *testing.T) {
	both := Roles{Broker: true, Controller: true}
	local := []Address{{"localhost", 9093}}
	standalone := shape{ID: 1, Roles: both, LogDirs: []string{"./data"}, Metadata: "./data", Listeners: []string{"PLAINTEXT://localhost:9092"},
		Advertised: []string{"PLAINTEXT://localhost:9092"}, ControllerNames: []string{"CONTROLLER"}, InterBroker: "PLAINTEXT", SelfFormat: true,
		Warnings: []string{replicasWarning}}
	change := func(s shape, f func(*shape)) shape { f(&s); return s }
	kafka := shape{ID: 1, Roles: both, LogDirs: []string{"/tmp/kraft-combined-logs"}, Metadata: "/tmp/kraft-combined-logs",
		Listeners: []string{"PLAINTEXT://:9092"}, Advertised: []string{"PLAINTEXT://localhost:9092"}, Controllers: []string{"CONTROLLER://:9093"},
		Told: []string{"CONTROLLER://localhost:9093"}, ControllerNames: []string{"CONTROLLER"}, InterBroker: "PLAINTEXT", Bootstrap: local}
	for _, c := range []struct {
		name  string
		props map[string]string
		want  shape
	}{
		{"Apache Kafka's server.properties", kafkas, kafka},
		{"nothing", nil, standalone},
		{"Compose file of ZooKeeper's days", FromEnv([]string{"KAFKA_BROKER_ID=3", "KAFKA_ZOOKEEPER_CONNECT=zookeeper:2181",
			"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092", "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1", "PATH=/bin", "KAFKA_HEAP_OPTS=-Xmx1G"}),
			change(standalone, func(s *shape) {
				s.ID, s.Listeners = 3, []string{"PLAINTEXT://0.0.0.0:9092"}
				s.Warnings = []string{"zookeeper.connect: no ZooKeeper is needed; the built-in quorum is used instead",
					strings.TrimPrefix(replicasWarning, "offsets.topic.replication.factor, ")}
			})},
		{"a file of ZooKeeper's days", props("broker.id", "-1", "zookeeper.connect", "a:2181", "zookeeper.connection.timeout.ms", "18000", "log.dirs", "/a,/b",
			"log.message.format.version", "2.8"),
			change(standalone, func(s *shape) {
				s.LogDirs, s.Metadata = []string{"/a", "/b"}, "/a"
				s.Warnings = []string{"zookeeper.connect, zookeeper.connection.timeout.ms: no ZooKeeper is needed; the built-in quorum is used instead",
					replicasWarning, "log.message.format.version is ignored: Kafka 4 has no such configuration any more"}
			})},
		{"two advertised listeners", props("advertised.listeners", "PLAINTEXT://broker:29092,HOST://localhost:9092",
			"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,host:plaintext"),
			change(standalone, func(s *shape) {
				s.Listeners = []string{"PLAINTEXT://0.0.0.0:29092", "HOST://0.0.0.0:9092"}
				s.Advertised = []string{"PLAINTEXT://broker:29092", "HOST://localhost:9092"}
			})},
		{"listeners alone", props("listeners", "plaintext://:0", "log.dir", "/d", "metadata.log.dir", "/m", "node.id", "7"),
			change(standalone, func(s *shape) {
				s.ID, s.Listeners, s.Advertised = 7, []string{"PLAINTEXT://:0"}, []string{"PLAINTEXT://:0"}
				s.LogDirs, s.Metadata = []string{"/d"}, "/m"
			})},
		{"a controller listener without process.roles", props("listeners", "PLAINTEXT://localhost:1,CONTROLLER://localhost:2"),
			change(standalone, func(s *shape) {
				s.Listeners, s.Advertised = []string{"PLAINTEXT://localhost:1"}, []string{"PLAINTEXT://localhost:1"}
				s.Controllers, s.Told = []string{"CONTROLLER://localhost:2"}, []string{"CONTROLLER://localhost:2"}
			})},
		{"its own voter", with(kafkas, "controller.quorum.bootstrap.servers", "-", "controller.quorum.voters", "1@[::1]:9093", "advertised.listeners", "PLAINTEXT://h:1"),
			change(kafka, func(s *shape) {
				s.Bootstrap, s.Voters, s.Advertised, s.Told = nil, []Voter{{1, "::1", 9093}}, []string{"PLAINTEXT://h:1"}, []string{"CONTROLLER://[::1]:9093"}
			})},
		{"one port on IPv4 and IPv6", with(kafkas, "listeners", "PLAINTEXT://127.0.0.1:9092,B://[::1]:9092,CONTROLLER://:9093", "listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,B:PLAINTEXT,CONTROLLER:PLAINTEXT"),
			change(kafka, func(s *shape) { s.Listeners = []string{"PLAINTEXT://127.0.0.1:9092", "B://[::1]:9092"} })},
		{"heartbeats that are too rare", with(kafkas, "broker.heartbeat.interval.ms", "6000"), change(kafka, func(s *shape) {
			s.Warnings = []string{"broker.heartbeat.interval.ms (6000 ms) should be at most half of broker.session.timeout.ms (9000 ms), or the broker loses its lease between two heartbeats"}
		})},
		{"an authorizer", with(kafkas, "authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "num.io.threads", "64"), change(kafka, func(s *shape) {
			s.Warnings = []string{"authorizer.class.name is set, but has no effect: authorization is not there yet: every client may do everything"}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := maps.Clone(c.props)
			n, warnings, err := NewNode(c.props)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, shapeOf(n, warnings)); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(given, c.props); d != "" {
				t.Fatalf("the caller's map changed:\n%s", d)
			}
			for _, name := range internalTopics {
				if n.Int(name) != 1 {
					t.Errorf("%s is %d", name, n.Int(name))
				}
			}
		})
	}
}

func TestInternalTopicsObeyWhatIsSet(t *testing.T) {
	n, warnings, err := NewNode(props("offsets.topic.replication.factor", "3", "transaction.state.log.min.isr", "2", "broker.rack", "r1"))
	if err != nil || n.Int("offsets.topic.replication.factor") != 3 || n.Int("transaction.state.log.min.isr") != 2 ||
		n.Int("transaction.state.log.replication.factor") != 1 || len(warnings) != 1 || n.Rack == nil || *n.Rack != "r1" {
		t.Fatal(n.Static, warnings, err)
	}
}

func TestRulesAcrossKeys(t *testing.T) {
	for _, c := range []struct {
		kv   []string
		want string
	}{
		{[]string{"node.id", "-"}, `Missing required configuration "node.id" which has no default value.`},
		{[]string{"controller.listener.names", "-"}, `Missing required configuration "controller.listener.names" which has no default value.`},
		{[]string{"broker.id", "2"}, "You must set `node.id` to the same value as `broker.id`."},
		{[]string{"log.roll.ms", "0"}, "log.roll.ms must be greater than or equal to 1"},
		{[]string{"log.roll.jitter.ms", "-1"}, "log.roll.jitter.ms must be greater than or equal to 0"},
		{[]string{"log.retention.hours", "0"}, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"},
		{[]string{"log.retention.minutes", "0"}, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"},
		{[]string{"log.cleaner.threads", "0"}, "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."},
		{[]string{"log.cleaner.dedupe.buffer.size", "2097152", "log.cleaner.threads", "2"}, "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."},
		{[]string{"replica.socket.timeout.ms", "499"}, "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts"},
		{[]string{"replica.lag.time.max.ms", "499"}, "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR"},
		{[]string{"log.cleaner.min.compaction.lag.ms", "9", "log.cleaner.max.compaction.lag.ms", "8"}, "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (8)"},
		{[]string{"remote.log.storage.system.enable", "true", "log.local.retention.bytes", "5", "log.retention.bytes", "4"}, "Invalid value 5 for configuration log.local.retention.bytes: Value must not be more than log.retention.bytes property value: 4"},
		{[]string{"queued.max.request.bytes", "5"}, "queued.max.request.bytes must be larger or equal to socket.request.max.bytes"},
		{[]string{"max.connections.per.ip", "0"}, "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set."},
		{[]string{"connections.max.idle.ms", "100"}, "connection.failed.authentication.delay.ms=100 should always be less than connections.max.idle.ms=100 to prevent failed authentication responses from timing out"},
		{[]string{"offsets.topic.compression.codec", "9"}, "Unknown compression type id: 9"},
		{[]string{"cordoned.log.dirs", "/x"}, "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /x"},
		{[]string{"cordoned.log.dirs", "*,/x"}, "When cordoned.log.dirs is set to *, it must not contain other values"},
		{[]string{"group.coordinator.rebalance.protocols", "consumer"}, "Disabling the 'classic' protocol is not supported."},
		{[]string{"group.consumer.heartbeat.interval.ms", "4999"}, "group.consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms"},
		{[]string{"group.consumer.max.session.timeout.ms", "44999"}, "group.consumer.max.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"},
		{[]string{"group.streams.assignment.interval.ms", "15001"}, "group.streams.assignment.interval.ms must be less than or equal to group.streams.max.assignment.interval.ms"},
		{[]string{"group.share.heartbeat.interval.ms", "45000", "group.share.max.heartbeat.interval.ms", "45000"}, "group.share.heartbeat.interval.ms must be less than group.share.session.timeout.ms"},
		{[]string{"group.share.assignors", "simple,other"}, "group.share.assignors must contain exactly one assignor, but found 2"},
		{[]string{"group.streams.num.standby.replicas", "3"}, "group.streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas"},
		{[]string{"group.share.max.delivery.count.limit", "5", "group.share.delivery.count.limit", "6"}, "group.share.max.delivery.count.limit must be greater than or equal to group.share.delivery.count.limit"},
		{[]string{"group.share.max.share.sessions", "199"}, "group.share.max.share.sessions must be greater than or equal to group.share.max.size"},

		{[]string{"listeners", "PLAINTEXT//:9092"}, "Error creating broker listeners from '[PLAINTEXT//:9092]': Unable to parse PLAINTEXT//:9092 to a broker endpoint"},
		{[]string{"listeners", "A://:1,CONTROLLER://:2"}, "Error creating broker listeners from '[A://:1, CONTROLLER://:2]': No security protocol defined for listener A"},
		{[]string{"listeners", "PLAINTEXT://:1,plaintext://:2"}, "Error creating broker listeners from '[PLAINTEXT://:1, plaintext://:2]': Each listener must have a different name, listeners: [PLAINTEXT://:1, plaintext://:2]"},
		{[]string{"listeners", "PLAINTEXT://:1,CONTROLLER://:1"}, "Error creating broker listeners from '[PLAINTEXT://:1, CONTROLLER://:1]': Each listener must have a different port, listeners: [PLAINTEXT://:1, CONTROLLER://:1]"},
		{[]string{"listeners", "PLAINTEXT://1.2.3.4:1,CONTROLLER://1.2.3.5:1"}, "Error creating broker listeners from '[PLAINTEXT://1.2.3.4:1, CONTROLLER://1.2.3.5:1]': If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, listeners: [PLAINTEXT://1.2.3.4:1, CONTROLLER://1.2.3.5:1], port: 1"},
		{[]string{"listeners", "PLAINTEXT://1.2.3.4:1,CONTROLLER://:1"}, "Error creating broker listeners from '[PLAINTEXT://1.2.3.4:1, CONTROLLER://:1]': Each listener must have a different port unless exactly one listener has an IPv4 address and the other IPv6 address, listeners: [PLAINTEXT://1.2.3.4:1, CONTROLLER://:1], port: 1"},
		{[]string{"listeners", "PLAINTEXT://:70000"}, "Error creating broker listeners from '[PLAINTEXT://:70000]': the port of PLAINTEXT://:70000 is not between 0 and 65535"},
		{[]string{"listener.security.protocol.map", "PLAINTEXT:TLS"}, "Invalid security protocol `TLS` defined in listener.security.protocol.map"},
		{[]string{"listener.security.protocol.map", "PLAINTEXT"}, "Error parsing configuration property 'listener.security.protocol.map': 'PLAINTEXT' is not of the form name:value"},
		{[]string{"security.inter.broker.protocol", "PLAINTEXT"}, "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set."},
		{[]string{"inter.broker.listener.name", "X"}, "Listener with name X defined in inter.broker.listener.name not found in listener.security.protocol.map."},
		{[]string{"inter.broker.listener.name", "SSL"}, "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are PLAINTEXT"},
		{[]string{"advertised.listeners", "PLAINTEXT://h:1,SSL://h:2"}, "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found PLAINTEXT,SSL. The valid options based on the current configuration are PLAINTEXT,CONTROLLER"},
		{[]string{"advertised.listeners", "PLAINTEXT://0.0.0.0:1"}, "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."},
		{[]string{"listeners", "CONTROLLER://:9093", "advertised.listeners", "-"}, "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?"},
		{[]string{"controller.quorum.bootstrap.servers", "-"}, "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers."},
		{[]string{"controller.quorum.voters", "2@h:9093"}, "If process.roles contains the 'controller' role, the node id 1 must be included in the set of voters controller.quorum.voters=Set(2)"},
		{[]string{"controller.quorum.voters", "h:9093"}, "Invalid configuration value for controller.quorum.voters. Each entry should be in the form `{id}@{host}:{port}`."},
		{[]string{"controller.quorum.voters", "x@h:9093"}, "Failed to parse voter ID as an integer from x"},
		{[]string{"controller.quorum.bootstrap.servers", "h"}, `Failed to parse host name from h for the configuration controller.quorum.bootstrap.servers. Each entry should be in the form "{host}:{port}"`},
		{[]string{"listeners", "PLAINTEXT://:9092", "advertised.listeners", "-"}, "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the KRaft controller role"},
		{[]string{"controller.listener.names", "CONTROLLER,C2"}, "controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller role"},
		{[]string{"process.roles", "broker"}, "controller.listener.names must not contain a value appearing in the 'listeners' configuration when running KRaft with just the broker role"},
		{[]string{"process.roles", "broker", "listeners", "PLAINTEXT://:1", "advertised.listeners", "-", "controller.quorum.voters", "1@h:2"}, "If process.roles contains just the 'broker' role, the node id 1 must not be included in the set of voters controller.quorum.voters=Set(1)"},
		{[]string{"process.roles", "broker", "listeners", "PLAINTEXT://:1", "advertised.listeners", "-", "controller.listener.names", "C9"}, "Controller listener with name C9 defined in controller.listener.names not found in listener.security.protocol.map  (an explicit security mapping for each controller listener is required if listener.security.protocol.map is non-empty, or if there are security protocols other than PLAINTEXT in use)"},
		{[]string{"process.roles", "broker", "listeners", "PLAINTEXT://:1", "advertised.listeners", "-", "controller.quorum.auto.join.enable", "true"}, "controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' role."},
		{[]string{"process.roles", "controller"}, "The listeners config must only contain KRaft controller listeners from controller.listener.names when process.roles=controller"},
		{[]string{"process.roles", "controller", "listeners", "CONTROLLER://:1", "inter.broker.listener.name", "CONTROLLER"}, "controller.listener.names must not contain an explicitly set inter.broker.listener.name configuration value when process.roles=controller'"},

		{[]string{"process.roles", "broker", "listeners", "PLAINTEXT://:1", "advertised.listeners", "-"}, "process.roles=broker: this version runs a single node, broker and controller at once; clusters come later. Set process.roles=broker,controller"},
		{[]string{"controller.quorum.voters", "1@a:1,2@b:1", "offsets.topic.replication.factor", "-"}, "controller.quorum.voters=1@a:1,2@b:1: this version runs a single node; clusters come later. Name this node alone"},
		{[]string{"controller.quorum.bootstrap.servers", "a:1,b:1"}, "controller.quorum.bootstrap.servers=a:1,b:1: this version runs a single node; clusters come later. Name this node alone"},
		{[]string{"listeners", "PLAINTEXT://:9092,SSL://:9094,CONTROLLER://:9093"}, "listeners: SSL://:9094 speaks SSL, and only PLAINTEXT is there yet"},
	} {
		_, _, err := NewNode(with(kafkas, c.kv...))
		if err == nil || !slices.Contains(plain(err), c.want) {
			t.Errorf("%v\nwant %s\ngot  %v", c.kv, c.want, err)
		}
	}
}

// plain gives the joined messages without Explain's additions.
func plain(err error) []string {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range j.Unwrap() {
			all = append(all, plain(e)...)
		}
		return all
	}
	return []string{err.Error()}
}

// An untouched protocol map makes controller listeners PLAINTEXT, unless a TLS or SASL listener is named.
func TestProtocolMapThatIsNotSet(t *testing.T) {
	base := with(kafkas, "listener.security.protocol.map", "-", "controller.listener.names", "CTL", "listeners", "PLAINTEXT://:1,CTL://:2", "advertised.listeners", "-")
	if n, _, err := NewNode(base); err != nil || n.ControllerEndpoints[0].Protocol != "PLAINTEXT" {
		t.Fatal(n.ControllerEndpoints, err)
	}
	_, _, err := NewNode(with(base, "listeners", "PLAINTEXT://:1,CTL://:2,SASL_SSL://:3"))
	if err == nil || !strings.Contains(err.Error(), "No security protocol defined for listener CTL") {
		t.Fatal(err)
	}
}

func TestGoneKeysAreGone(t *testing.T) {
	for name := range gone {
		if _, ok := Lookup(Broker, name); ok {
			t.Errorf("%s is a key of 4.3.1", name)
		}
	}
}

func BenchmarkNewNode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := NewNode(kafkas); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTopicValues(b *testing.B) {
	n, _, _ := NewNode(kafkas)
	defaults := n.TopicDefaults()
	overrides := props("retention.ms", "5", "cleanup.policy", "compact")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := defaults.With(overrides); err != nil {
			b.Fatal(err)
		}
	}
}
