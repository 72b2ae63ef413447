package client

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// settings are the properties of one client, with Java's defaults until a property says otherwise.
type settings struct {
	kind  Kind
	given map[string]bool

	servers                            []string
	clientID, rack                     string
	requestTimeout, apiTimeout         time.Duration
	backoff, backoffMax                time.Duration
	metadataMaxAge, connIdle           time.Duration
	dialTimeout                        time.Duration
	retries                            int64
	acks                               kgo.Acks
	acksAll, idempotence               bool
	linger, maxBlock, deliveryTimeout  time.Duration
	batchSize, maxRequest              int64
	bufferMemory, inFlight             int64
	compression                        string
	gzipLevel, lz4Level, zstdLevel     int64
	transactionalID                    string
	txnTimeout                         time.Duration
	ignoreKeys, adaptive               bool
	partitioner                        kgo.Partitioner
	group, instance                    string
	serverSide, autoCommit             bool
	commitInterval, sessionTimeout     time.Duration
	heartbeat, pollInterval            time.Duration
	balancers                          []kgo.GroupBalancer
	reset                              kgo.Offset
	isolation                          string
	fetchMin, fetchMax, fetchPartition int64
	fetchWait                          time.Duration
	checkCRCs, autoCreate              bool
}

func newSettings(kind Kind) *settings {
	s := &settings{
		kind: kind, given: map[string]bool{},
		requestTimeout: 30 * time.Second, apiTimeout: 60 * time.Second,
		backoff: 100 * time.Millisecond, backoffMax: time.Second,
		metadataMaxAge: 5 * time.Minute, connIdle: 9 * time.Minute, dialTimeout: 10 * time.Second,
		retries: math.MaxInt32,
		acks:    kgo.AllISRAcks(), acksAll: true, idempotence: true,
		linger: 5 * time.Millisecond, maxBlock: time.Minute, deliveryTimeout: 2 * time.Minute,
		batchSize: 16 << 10, maxRequest: 1 << 20, bufferMemory: 32 << 20, inFlight: 5,
		compression: "none", gzipLevel: -1, lz4Level: 9, zstdLevel: 3,
		txnTimeout: time.Minute, adaptive: true,
		autoCommit: true, commitInterval: 5 * time.Second, sessionTimeout: 45 * time.Second,
		heartbeat: 3 * time.Second, pollInterval: 5 * time.Minute,
		balancers: []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()},
		reset:     kgo.NewOffset().AtEnd(), isolation: "read_uncommitted",
		fetchMin: 1, fetchMax: 50 << 20, fetchPartition: 1 << 20, fetchWait: 500 * time.Millisecond,
		checkCRCs: true, autoCreate: true,
	}
	if kind == Admin {
		s.connIdle = 5 * time.Minute
	}
	return s
}

func (s *settings) options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.RequestTimeoutOverhead(clamp(s.requestTimeout, 100*time.Millisecond, 15*time.Minute)),
		kgo.DialTimeout(s.dialTimeout),
		kgo.RetryBackoffFn(backoff(s.backoff, s.backoffMax)),
		kgo.MetadataMaxAge(clamp(s.metadataMaxAge, 10*time.Millisecond, math.MaxInt64)),
		kgo.MetadataMinAge(min(max(s.backoff, 10*time.Millisecond), s.metadataMaxAge)),
		kgo.DisableClientMetrics(),
	}
	if len(s.servers) > 0 {
		opts = append(opts, kgo.SeedBrokers(s.servers...))
	}
	if s.connIdle >= time.Second {
		opts = append(opts, kgo.ConnIdleTimeout(min(s.connIdle, 15*time.Minute)))
	}
	if s.clientID != "" {
		opts = append(opts, kgo.ClientID(s.clientID))
	}
	if s.rack != "" {
		opts = append(opts, kgo.Rack(s.rack))
	}
	switch s.kind {
	case Admin:
		// The whole call ends by default.api.timeout.ms, however many attempts fit into it.
		return append(opts, kgo.RetryTimeout(s.apiTimeout), kgo.RequestRetries(int(s.retries))), nil
	case Producer:
		more, err := s.producer()
		return append(opts, more...), err
	case Consumer:
		more, err := s.consumer()
		return append(opts, more...), err
	}
	return opts, nil
}

// producer keeps Java's rules between acks, retries and idempotence: idempotence that nobody asked for gives way to a
// setting it cannot live with, one that was asked for makes that setting an error.
func (s *settings) producer() ([]kgo.Opt, error) {
	asked := s.given["enable.idempotence"] && s.idempotence
	if s.transactionalID != "" && !s.idempotence {
		return nil, &ConfigError{"Cannot set a transactional.id without also enabling idempotence."}
	}
	asked = asked || s.transactionalID != ""
	switch {
	case !s.idempotence:
	case !s.acksAll && asked:
		return nil, &ConfigError{"Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."}
	case s.retries == 0 && asked:
		return nil, &ConfigError{"Must set retries to non-zero when using the idempotent producer."}
	case s.inFlight > 5 && asked:
		return nil, &ConfigError{"Must set max.in.flight.requests.per.connection to at most 5 to use the idempotent producer."}
	case !s.acksAll, s.retries == 0, s.inFlight > 5:
		s.idempotence = false
	}
	if s.given["delivery.timeout.ms"] && s.deliveryTimeout < s.linger+s.requestTimeout {
		return nil, &ConfigError{"delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms"}
	}
	partitioner := s.partitioner
	if partitioner == nil {
		partitioner = kgo.UniformBytesPartitioner(int(max(s.batchSize, 1)), s.adaptive, !s.ignoreKeys, nil)
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(s.acks),
		kgo.ProducerLinger(s.linger),
		kgo.ProducerBatchMaxBytes(int32(clamp(s.maxRequest, 1024, 100<<20))),
		kgo.MaxBufferedBytes(int(max(s.bufferMemory, 1))),
		kgo.MaxBufferedRecords(math.MaxInt32), // Java bounds memory, not records
		kgo.ProducerBatchCompression(s.codec()),
		kgo.ProduceRequestTimeout(max(s.requestTimeout, 100*time.Millisecond)),
		kgo.RecordDeliveryTimeout(max(s.deliveryTimeout, s.linger+s.requestTimeout, time.Second)),
		kgo.RecordRetries(int(s.retries)),
		kgo.RecordPartitioner(partitioner),
		kgo.AllowAutoTopicCreation(),
		kgo.RetryTimeout(s.maxBlock),
	}
	if s.transactionalID != "" {
		opts = append(opts, kgo.TransactionalID(s.transactionalID), kgo.TransactionTimeout(s.txnTimeout))
	}
	if !s.idempotence {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(int(min(s.inFlight, 1<<10))))
	}
	return opts, nil
}

func (s *settings) codec() kgo.CompressionCodec {
	switch s.compression {
	case "gzip":
		c := kgo.GzipCompression()
		if s.gzipLevel > 0 {
			c = c.WithLevel(int(s.gzipLevel))
		}
		return c
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression().WithLevel(int(s.lz4Level))
	case "zstd":
		return kgo.ZstdCompression().WithLevel(int(s.zstdLevel))
	}
	return kgo.NoCompression()
}

func (s *settings) consumer() ([]kgo.Opt, error) {
	isolation := kgo.ReadUncommitted()
	if s.isolation == "read_committed" {
		isolation = kgo.ReadCommitted()
	}
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(s.reset), kgo.ConsumeStartOffset(s.reset),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMinBytes(int32(max(s.fetchMin, 1))),
		kgo.FetchMaxBytes(int32(max(s.fetchMax, 1))),
		kgo.FetchMaxPartitionBytes(int32(clamp(s.fetchPartition, 1, max(s.fetchMax, 1)))),
		kgo.FetchMaxWait(clamp(s.fetchWait, 10*time.Millisecond, math.MaxInt32*time.Millisecond)),
		kgo.BrokerMaxReadBytes(int32(min(2*max(s.fetchMax, 100<<20), math.MaxInt32))),
		kgo.RetryTimeout(s.apiTimeout),
	}
	if !s.checkCRCs {
		opts = append(opts, kgo.DisableFetchCRCValidation())
	}
	if s.autoCreate {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	if s.group == "" {
		return opts, nil
	}
	if s.sessionTimeout < s.heartbeat {
		return nil, &ConfigError{"Heartbeat must be set lower than the session timeout"}
	}
	opts = append(opts, kgo.ConsumerGroup(s.group),
		kgo.RebalanceTimeout(s.pollInterval), kgo.SessionTimeout(s.sessionTimeout), kgo.HeartbeatInterval(s.heartbeat))
	if s.serverSide {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		opts = append(opts, kgo.Balancers(s.balancers...))
	}
	if s.instance != "" {
		opts = append(opts, kgo.InstanceID(s.instance))
	}
	if s.autoCommit {
		// A record counts as consumed when its reader marks it, so one that is polled and not shown is not committed.
		opts = append(opts, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(max(s.commitInterval, 100*time.Millisecond)))
	} else {
		opts = append(opts, kgo.DisableAutoCommit())
	}
	return opts, nil
}

// backoff is Kafka's exponential backoff: doubled per failure up to the maximum, with a fifth of jitter.
func backoff(base, ceiling time.Duration) func(int) time.Duration {
	return func(failures int) time.Duration {
		d := min(float64(base)*math.Pow(2, float64(max(failures-1, 0))), float64(max(base, ceiling)))
		return time.Duration(d * (0.8 + 0.4*rand.Float64()))
	}
}

func clamp[T int64 | time.Duration](v, lo, hi T) T { return max(lo, min(v, hi)) }
