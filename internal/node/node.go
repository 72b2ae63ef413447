// Package node composes a broker and its controller: the one place that knows everyone. Everything that varies (file
// system, listeners, clock, randomness) comes in through Options, so that the node that ships is the node that runs in
// tests.
//
// A start goes: listeners are bound, directories are formatted if the configuration allows it, locked and read, the metadata log
// is replayed, logs are opened, this node elects itself, everybody hears of the metadata, the broker registers and
// is unfenced, and only then are connections served. A stop goes the other way.
//
// Publishers of the metadata, in this order: settings (dynamic values of brokers), replicas, configurations of topics,
// coordinators. Each relies on those before it: a coordinator is elected on a partition that is already led.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/api"
	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/controller"
	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/lifecycle"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/quorum"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/share"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

var errNoTelemetry = errors.New("client metrics are not there yet")

// Options of a node. Zero values are the operating system's.
type Options struct {
	Config config.Node
	FS     vfs.FS
	Listen func(address string) (net.Listener, error)
	LookUp func(ctx context.Context, host string) (addresses []string, err error)
	Logger *slog.Logger
	Now    func() time.Time
	NewID  func() schema.UUID
}

// Node is a running broker and controller.
type Node struct {
	config  config.Node
	o       Options
	codecs  *record.Codecs
	cluster string

	dirs         *logdir.Dirs
	quorum       *quorum.Quorum
	replicas     *replica.Set
	groups       *coordinator.Host
	transactions *coordinator.Host
	shares       *coordinator.Host
	shareSet     *share.Set
	handler      *api.Handler
	producerIDs  *api.ProducerIDs
	tasks        tasks // of the coordinators
	sessions     *fetch.Cache
	server       *server.Server
	life         *lifecycle.Lifecycle
	living       atomic.Pointer[lifecycle.Lifecycle] // life, for those who may come before it is there
	places       atomic.Pointer[lifecycle.Assignments]
	faults       tasks // directories that failed

	values        atomic.Pointer[config.Values]
	layered       atomic.Pointer[config.Layers]
	topicDefaults atomic.Pointer[topicDefaults]
	// groupValues are what groups begin with, kept with the settings that they were made from.
	groupValues atomic.Pointer[groupDefaults]
	bound       []bound
	failed      chan error // the first fatal error

	failOnce sync.Once
}

// bound is a listener and what it is called.
type bound struct {
	config.Endpoint
	net        net.Listener
	controller bool
}

// Start brings a node up and returns once it serves. ctx ends the start, not the node.
func Start(ctx context.Context, o Options) (*Node, error) {
	o = o.withDefaults()
	n := &Node{config: o.Config, o: o, codecs: record.NewCodecs(), failed: make(chan error, 1)}
	values := o.Config.Values
	n.values.Store(&values)
	layers := o.Config.Layers(nil, nil)
	n.layered.Store(&layers)
	if err := n.start(ctx); err != nil {
		n.abandon()
		return nil, err
	}
	return n, nil
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Listen == nil {
		o.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if o.LookUp == nil {
		o.LookUp = net.DefaultResolver.LookupHost
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = randomID
	}
	return o
}

// randomID is a random UUID as Kafka makes them: version 4, not starting with a dash.
func randomID() schema.UUID {
	for {
		var u schema.UUID
		_, _ = rand.Read(u[:]) // crypto/rand never fails
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		if u.String()[0] != '-' {
			return u
		}
	}
}

func (n *Node) start(ctx context.Context) error {
	limits, err := n.limits(ctx, n.settings())
	if err != nil {
		return err
	}
	if err := n.bind(); err != nil {
		return err
	}
	if n.config.SelfFormat {
		if err := n.format(); err != nil {
			return err
		}
	}
	if err := n.open(ctx); err != nil {
		return err
	}
	n.replicas = replica.New(replica.Config{Self: n.config.NodeID, Dirs: n.dirs, Codecs: n.codecs, Logger: n.o.Logger, Now: n.o.Now, Topic: n.topicConfig})
	n.sessions = fetch.NewCache(n.settings().Int("max.incremental.fetch.session.cache.slots"), fetch.DefaultEviction, mathrand.Int32)
	n.groups = coordinator.New(coordinator.Config{
		Topic: offsetsTopic, Log: n.replicas, Image: n.image, Codecs: n.codecs, Now: n.o.Now, Logger: n.o.Logger,
		NewMachine:     func(int32) machine.Machine[machine.Record] { return group.New(groupConfig(n.settings())) },
		PartitionCount: int32(n.settings().Int("offsets.topic.num.partitions")),
		KafkaError:     func(err error) error { return api.KafkaError(err) },
		LoadBuffer:     n.settings().Int("offsets.load.buffer.size"),
		CommitTimeout:  n.settings().Duration("offsets.commit.timeout.ms"),
		Codec:          record.Codec(n.settings().Int("offsets.topic.compression.codec")),
		ImageCommand:   group.ImageCommand,
		OnEffect:       n.groupEffect,
	})
	n.transactions = n.transactionHost()
	n.shares = n.shareHost()
	n.shareSet = n.sharePartitionSet()
	n.producerIDs = &api.ProducerIDs{Controller: n.quorum, Broker: func() (int32, int64) { return n.config.NodeID, n.life.Epoch() }}
	if err := n.quorum.Start(); err != nil {
		return err
	}
	n.dirs.Start()
	if err := n.sweepStrays(); err != nil {
		return err
	}
	n.listen(limits)
	n.live()
	if err := n.life.AwaitRunning(ctx); err != nil {
		return err
	}
	n.tasks.begin()
	n.server.Serve()
	return nil
}

// bind opens the sockets first: a port in use must not cost a formatted directory.
func (n *Node) bind() error {
	open := func(e config.Endpoint, controller bool) error {
		l, err := n.o.Listen(net.JoinHostPort(e.Host, strconv.Itoa(e.Port)))
		if err != nil {
			return fmt.Errorf("listener %s on %s cannot be opened: %w (is another broker running there? choose another port with `listeners`)", e.Listener, net.JoinHostPort(e.Host, strconv.Itoa(e.Port)), err)
		}
		n.bound = append(n.bound, bound{e, l, controller})
		return nil
	}
	for _, e := range n.config.Listeners {
		if err := open(e, false); err != nil {
			return err
		}
	}
	for _, e := range n.config.ControllerEndpoints {
		if err := open(e, true); err != nil {
			return err
		}
	}
	return nil
}

// open takes the directories and reads what is on the disk.
func (n *Node) open(ctx context.Context) error {
	v := n.settings()
	cluster := ""
	dirs, err := logdir.Open(logdir.Config{
		FS: n.o.FS, Dirs: n.config.LogDirs, MetadataDir: n.config.MetadataLogDir, ClusterID: cluster, NodeID: n.config.NodeID,
		Logger: n.o.Logger, Now: n.o.Now, NewID: n.o.NewID, Intervals: intervals(v), Cleaner: cleanerConfig(v),
		OpenFiles:             openFiles(),
		RecoveryThreads:       v.Int("num.recovery.threads.per.data.dir"),
		ProducerIDExpiry:      v.Duration("producer.id.expiration.ms"),
		MaxTransactionTimeout: v.Duration("transaction.max.timeout.ms"),
		Defaults:              logConfig(v.TopicDefaults()),
		TopicConfig:           func(topic string) storage.Config { return n.topicConfig(topic).Log },
		OnLogStart:            func(l *storage.Log) { n.replicas.LogStartMoved(l) },
		OnRetry:               n.retryReplicas,
		OnRecovered:           n.logRecovered,
		OnOffline:             n.directoryFailed, Assigned: n.assignedDirectory, Assign: n.assignDirectory, MoveBytesPerSecond: moveRate(v),
	})
	if err != nil {
		return err
	}
	n.dirs = dirs
	n.cluster = dirs.ClusterID()
	q, err := quorum.Open(quorum.Config{
		FS: n.o.FS, Dir: dirs.MetadataDir(), NodeID: n.config.NodeID, Directory: dirs.MetadataDirID(), Clean: dirs.MetadataClean(),
		Log: storage.Config{SegmentBytes: v.Int("metadata.log.segment.bytes"), SegmentAge: v.Duration("metadata.log.segment.ms"), RetentionAge: -1, RetentionBytes: -1,
			Delete: true, MaxMessageBytes: 8 << 20},
		Controller: n.controllerOptions(v),
		Publishers: []quorum.Publisher{
			quorum.PublisherFunc(n.publishSettings), quorum.PublisherFunc(n.publishReplicas),
			quorum.PublisherFunc(n.publishTopics), quorum.PublisherFunc(n.publishCoordinators),
		},
		Codecs: n.codecs, Logger: n.o.Logger, Now: n.o.Now, Rand: mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())), Fatal: n.fail,
		SnapshotBytes:    v.Int64("metadata.log.max.record.bytes.between.snapshots"),
		SnapshotInterval: v.Duration("metadata.log.max.snapshot.interval.ms"),
		RetentionBytes:   v.Int64("metadata.max.retention.bytes"),
		RetentionAge:     v.Duration("metadata.max.retention.ms"),
	})
	if err != nil {
		return err
	}
	n.quorum = q
	if err := n.join(); err != nil {
		return err
	}
	n.cordon()
	return dirs.Load(ctx)
}

func (n *Node) controllerOptions(v config.Values) controller.Options {
	o := controller.Options{
		NodeID: n.config.NodeID, ClusterID: n.cluster, Voters: []int32{n.config.NodeID}, Configs: define(n.config),
		DefaultPartitions: int32(v.Int("num.partitions")), DefaultReplicationFactor: int16(v.Int("default.replication.factor")),
		DisableTopicDeletion: !v.Bool("delete.topic.enable"), SessionTimeout: v.Duration("broker.session.timeout.ms"),
		MaxIdle: v.Duration("metadata.max.idle.interval.ms"), UncleanElectionCheck: v.Duration("unclean.leader.election.interval.ms"),
	}
	if v.Bool("auto.leader.rebalance.enable") {
		o.ImbalanceCheck = v.Duration("leader.imbalance.check.interval.seconds")
	}
	return o
}

// receiveBuffer leaves the size to the system where nobody has set it: Kafka's default is a tenth of what a producer sends at
// once, and each piece costs a wake-up. That default still is what DescribeConfigs tells.
func receiveBuffer(v config.Values) int {
	if !v.IsSet("socket.receive.buffer.bytes") {
		return 0
	}
	return v.Int("socket.receive.buffer.bytes")
}

func (n *Node) listen(limits server.Limits) {
	v := n.settings()
	c := server.Config{
		Limits: limits, RequestMemory: v.Int64("queued.max.request.bytes"),
		SendBuffer: v.Int("socket.send.buffer.bytes"), ReceiveBuffer: receiveBuffer(v), Logger: n.o.Logger, Now: n.o.Now,
	}
	for _, b := range n.bound {
		c.Listeners = append(c.Listeners, server.Listener{Name: b.Listener, Net: b.net, Controller: b.controller})
	}
	n.handler = api.New(api.Config{
		NodeID: n.config.NodeID, ClusterID: n.cluster, Image: n.image, Controller: n.quorum, Quorum: n, Directories: n, Replicas: n.replicas,
		Sessions: n.sessions, Groups: n.groups, Transactions: n.transactions, Shares: n.shares, SharePartitions: n.shareSet, ProducerIDs: n.producerIDs,
		Settings: n.settings, Layers: func() config.Layers { return *n.layered.Load() }, Now: n.o.Now, Logger: n.o.Logger,
	})
	n.server = server.New(c, n.handler)
}

// live registers the controller and the broker, and keeps the broker alive.
func (n *Node) live() {
	n.registerController()
	c := lifecycle.Config{
		ID: n.config.NodeID, ClusterID: n.cluster, Incarnation: n.o.NewID(), Features: metadata.SupportedFeatures(), Rack: n.config.Rack,
		Directories: n.dirs.IDs(), PreviousEpoch: n.dirs.CleanShutdownEpoch(), HeartbeatInterval: n.settings().Duration("broker.heartbeat.interval.ms"),
		FailureTimeout: n.settings().Duration("log.dir.failure.timeout.ms"), Fatal: n.fail,
		Controller: brokerChannel{n.quorum}, Image: n.image, Now: n.o.Now, Logger: n.o.Logger,
	}
	for _, e := range n.advertised() {
		c.Endpoints = append(c.Endpoints, lifecycle.Endpoint{Listener: e.Listener, Host: e.Host, Port: uint16(e.Port)})
	}
	n.life = lifecycle.Start(c)
	n.living.Store(n.life)
	n.places.Store(lifecycle.StartAssignments(c.ID, n.life.Epoch, n.image, brokerChannel{n.quorum}))
	n.tellAllPlaces(n.image())
	n.cordon()
	n.faults.begin()
	n.life.Ready()
}

// brokerChannel is how this node's broker reaches the controller.
type brokerChannel struct{ q *quorum.Quorum }

func (b brokerChannel) Request(req kmsg.Request, reply func(kmsg.Response)) {
	b.q.Request(machine.Client{Principal: "User:ANONYMOUS"}, req, reply)
}

// registerController tells the cluster which listeners and features this controller has (KIP-919).
func (n *Node) registerController() {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID, req.IncarnationID = n.config.NodeID, n.o.NewID()
	for _, e := range n.resolve(n.config.AdvertisedControllers) {
		l := kmsg.NewControllerRegistrationRequestListener()
		l.Name, l.Host, l.Port = e.Listener, e.Host, uint16(e.Port)
		req.Listeners = append(req.Listeners, l)
	}
	for _, f := range metadata.SupportedFeatures() {
		w := kmsg.NewControllerRegistrationRequestFeature()
		w.Name, w.MinSupportedVersion, w.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, w)
	}
	brokerChannel{n.quorum}.Request(req, func(resp kmsg.Response) {
		if r, ok := resp.(*kmsg.ControllerRegistrationResponse); ok && r.ErrorCode != 0 {
			n.o.Logger.Warn("the controller could not register", "error", kerr.ErrorForCode(r.ErrorCode), "message", r.ErrorMessage)
		}
	})
}

// advertised is what clients are told.
func (n *Node) advertised() []config.Endpoint { return n.resolve(n.config.Advertised) }

// resolve fills in what only a running node knows: a port 0 becomes the bound one, an empty host this machine's name.
func (n *Node) resolve(endpoints []config.Endpoint) []config.Endpoint {
	out := append([]config.Endpoint(nil), endpoints...)
	for i := range out {
		if out[i].Port == 0 {
			for _, b := range n.bound {
				if b.Listener == out[i].Listener {
					out[i].Port = port(b.net.Addr())
				}
			}
		}
		if out[i].Host == "" {
			if name, err := os.Hostname(); err == nil {
				out[i].Host = name
			}
		}
	}
	return out
}

func port(a net.Addr) int {
	_, p, err := net.SplitHostPort(a.String())
	if err != nil {
		return 0
	}
	number, _ := strconv.Atoi(p)
	return number
}

// Bootstrap is the addresses that clients may begin with.
func (n *Node) Bootstrap() []string {
	var out []string
	for _, e := range n.advertised() {
		out = append(out, net.JoinHostPort(e.Host, strconv.Itoa(e.Port)))
	}
	return out
}

// ClusterID is the cluster's id.
func (n *Node) ClusterID() string { return n.cluster }

// Failed yields the error after which the node cannot go on. It must be closed then.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	n.o.Logger.Error("the node cannot go on", "error", err)
	n.failOnce.Do(func() {
		n.dirs.MetadataFailed() // which of its writes are on the disk is not known
		n.failed <- err
	})
}

func (n *Node) image() *metadata.Image  { return n.quorum.Image() }
func (n *Node) settings() config.Values { return *n.values.Load() }

// Close shuts the node down: the controller is asked first, clients get their answers, everything is flushed. When ctx
// ends, what is left is cut short; the disk is still left as clean as it can be.
func (n *Node) Close(ctx context.Context) error {
	if n.settings().Bool("controlled.shutdown.enable") {
		if err := n.life.Leave(ctx); err != nil {
			n.o.Logger.Warn("the controlled shutdown was cut short", "error", err)
		}
	}
	var errs []error
	n.shareSet.Drain() // the server waits for its answers
	errs = append(errs, n.server.Close(ctx))
	n.shareSet.Close()
	errs = append(errs, n.transactions.Close(ctx), n.shares.Close(ctx))
	n.tasks.close()
	errs = append(errs, n.groups.Close(ctx))
	n.sessions.Close()
	n.replicas.Close()
	n.faults.close()
	n.places.Load().Close()
	epoch := n.life.Epoch()
	n.life.Close()
	err := n.quorum.Close()
	if err != nil {
		n.dirs.MetadataFailed()
	}
	errs = append(errs, err, n.dirs.Close(epoch))
	return errors.Join(errs...)
}

// abandon gives back what a start that failed had taken.
func (n *Node) abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.faults.close()
	if a := n.places.Load(); a != nil {
		a.Close()
	}
	if n.life != nil {
		n.life.Close()
	}
	if n.server != nil {
		_ = n.server.Close(ctx)
	}
	for _, b := range n.bound {
		_ = b.net.Close()
	}
	if n.transactions != nil {
		_ = n.transactions.Close(ctx)
	}
	if n.shareSet != nil {
		n.shareSet.Close()
	}
	if n.shares != nil {
		_ = n.shares.Close(ctx)
	}
	n.tasks.close()
	if n.groups != nil {
		_ = n.groups.Close(ctx)
	}
	if n.replicas != nil {
		n.replicas.Close()
	}
	if n.quorum != nil && n.quorum.Close() != nil {
		n.dirs.MetadataFailed()
	}
	if n.dirs != nil {
		_ = n.dirs.Close(-1)
	}
}
