package node_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/node"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/vfs"
)

// bench is a node over a disk that tells what was done to it.
type bench struct {
	t     *testing.T
	disk  *vfs.Log
	net   server.MemNet
	admin *kadm.Client
	ctx   context.Context
	topic string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, disk: vfs.NewLog(vfs.NewMem(time.Now)), topic: "t"}
	conf, _, err := config.NewNode(map[string]string{
		"log.dirs": "/data", "listeners": "PLAINTEXT://klamm:9092", "log.retention.check.interval.ms": "1", "log.initial.task.delay.ms": "1",
		"producer.id.expiration.check.interval.ms": "1", "log.flush.offset.checkpoint.interval.ms": "1",
	})
	if err != nil {
		t.Fatal(config.Explain(err))
	}
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithTimeout(context.Background(), 30*time.Second)
	n, err := node.Start(b.ctx, node.Options{Config: conf, FS: b.disk, Listen: b.net.Listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	b.admin = kadm.NewClient(b.client())
	if _, err := b.admin.CreateTopic(b.ctx, 1, 1, nil, b.topic); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers("klamm:9092"), kgo.Dialer(b.net.Dial), kgo.DefaultProduceTopic(b.topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.RecordRetries(1)}, opts...)
	c, err := kgo.NewClient(opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// setter changes one key live: of the topic, or the cluster's default for brokers.
type setter func(key, value string)

func (b *bench) set(scope config.Scope) setter {
	return func(key, value string) {
		b.t.Helper()
		change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}
		var resp kadm.AlterConfigsResponses
		var err error
		if scope == config.Topic {
			resp, err = b.admin.AlterTopicConfigs(b.ctx, change, b.topic)
		} else {
			resp, err = b.admin.AlterBrokerConfigs(b.ctx, change)
		}
		if err == nil {
			_, err = resp.On("", func(r *kadm.AlterConfigsResponse) error { return r.Err })
			if scope == config.Topic {
				_, err = resp.On(b.topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
			}
		}
		if err != nil {
			b.t.Fatalf("%s=%s: %v", key, value, err)
		}
	}
}

// send produces a record for each time, one batch each.
func (b *bench) send(size int, times ...time.Time) error {
	b.t.Helper()
	c := b.client()
	for _, at := range times {
		value := words(size)
		if err := c.ProduceSync(b.ctx, &kgo.Record{Key: []byte("k"), Value: value, Timestamp: at}).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// words is text that compresses as texts do: better at higher levels.
func words(size int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < size {
		b = fmt.Appendf(b, "word-%d ", rng.IntN(2000)*rng.IntN(50))
	}
	return b[:size]
}

func (b *bench) mustSend(size int, times ...time.Time) {
	b.t.Helper()
	if err := b.send(size, times...); err != nil {
		b.t.Fatal(err)
	}
}

// now gives n times that lie apart from each other and end now.
func times(n int, apart time.Duration) []time.Time {
	out := make([]time.Time, n)
	for i := range out {
		out[i] = time.Now().Add(-time.Duration(n-1-i) * apart)
	}
	return out
}

// files counts the partition's files with a suffix, and the bytes in them.
func (b *bench) files(suffix string) (n int, bytes int64) {
	b.t.Helper()
	names, err := b.disk.List("/data/t-0")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			n++
			if i, err := b.disk.Stat("/data/t-0/" + name); err == nil {
				bytes += i.Size()
			}
		}
	}
	return n, bytes
}

// until waits for a condition that the node brings about by itself.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			b.t.Fatalf("%s: did not happen", what)
		}
	}
}

func (b *bench) start() int64 {
	b.t.Helper()
	o, err := b.admin.ListStartOffsets(b.ctx, b.topic)
	if err != nil {
		b.t.Fatal(err)
	}
	l, _ := o.Lookup(b.topic, 0)
	return l.Offset
}

// stored gives the batches of the partition's first segment.
func (b *bench) stored() []record.Batch {
	b.t.Helper()
	raw, err := vfs.ReadWhole(b.disk, "/data/t-0/00000000000000000000.log", 1<<30)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []record.Batch
	for len(raw) > 0 {
		batch, rest, err := record.Next(raw)
		if err != nil {
			b.t.Fatal(err)
		}
		out, raw = append(out, batch), rest
	}
	return out
}

func (b *bench) refused(err error, want *kerr.Error) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Fatalf("got %v, want %v", err, want)
	}
}

// level shows that a codec's level changes what is stored.
func level(codec, low, high string) func(*bench, setter, string) {
	return func(b *bench, set setter, key string) {
		set("compression.type", codec)
		set(key, low)
		b.mustSend(100_000, time.Now())
		set(key, high)
		b.mustSend(100_000, time.Now())
		s := b.stored()
		if len(s) != 2 || len(s[0]) == len(s[1]) {
			b.t.Fatalf("level %s and level %s give %d batches of the same size", low, high, len(s))
		}
	}
}

// effects shows for each topic key, and for the broker key that stands behind it, that a live change acts.
var effects = map[string]func(b *bench, set setter, key string){
	"cleanup.policy": func(b *bench, set setter, key string) {
		set(key, "compact")
		c := b.client()
		b.refused(c.ProduceSync(b.ctx, &kgo.Record{Value: []byte("no key")}).FirstErr(), kerr.InvalidRecord)
	},
	"compression.type": func(b *bench, set setter, key string) {
		set(key, "lz4")
		b.mustSend(1000, time.Now())
		if c := b.stored()[0].Codec(); c != record.LZ4 {
			b.t.Fatalf("stored with %v", c)
		}
	},
	"compression.gzip.level": level("gzip", "1", "9"),
	"compression.lz4.level":  level("lz4", "1", "9"),
	"compression.zstd.level": level("zstd", "1", "22"),
	"file.delete.delay.ms": func(b *bench, set setter, key string) {
		set(key, "1")
		b.fill(set, 3)
		set(b.broker(set, "retention.bytes"), "1")
		b.until("segments removed", func() bool { n, _ := b.files(".deleted"); return n == 0 && b.start() > 0 })
	},
	"flush.messages": func(b *bench, set setter, key string) {
		set(key, "1")
		before := b.syncs()
		b.mustSend(100, times(5, 0)...)
		if n := b.syncs() - before; n < 5 {
			b.t.Fatalf("%d fsyncs for 5 acknowledged records", n)
		}
	},
	"flush.ms": func(b *bench, set setter, key string) {
		set(key, "1")
		before := b.syncs()
		b.mustSend(100, time.Now())
		b.until("flush", func() bool { return b.syncs() > before })
	},
	"index.interval.bytes": func(b *bench, set setter, key string) {
		set(key, "1")
		b.mustSend(100, times(20, 0)...)
		set(b.broker(set, "segment.ms"), "1")
		b.mustSend(100, time.Now().Add(time.Second)) // rolls, which writes the index
		b.until("index entries", func() bool { _, n := b.files(".index"); return n >= 19*8 })
	},
	"max.message.bytes": func(b *bench, set setter, key string) {
		set(key, "500")
		b.refused(b.send(1000, time.Now()), kerr.MessageTooLarge)
	},
	"message.timestamp.type": func(b *bench, set setter, key string) {
		set(key, "LogAppendTime")
		b.mustSend(100, time.Now().Add(-time.Hour))
		if s := b.stored()[0]; s.TimestampType() != record.LogAppendTime || time.Since(time.UnixMilli(s.MaxTimestamp())) > time.Minute {
			b.t.Fatalf("stored with %v, %v", s.TimestampType(), s.MaxTimestamp())
		}
	},
	"message.timestamp.before.max.ms": func(b *bench, set setter, key string) {
		set(key, "1000")
		b.refused(b.send(100, time.Now().Add(-time.Hour)), kerr.InvalidTimestamp)
	},
	"message.timestamp.after.max.ms": func(b *bench, set setter, key string) {
		b.refused(b.send(100, time.Now().Add(2*time.Hour)), kerr.InvalidTimestamp)
		set(key, "86400000")
		b.mustSend(100, time.Now().Add(2*time.Hour))
	},
	"produce.validation": func(b *bench, set setter, key string) {
		lying := func() error { // it says gzip, and is not compressed
			x := record.NewCodecs().NewBuilder()
			x.Add(time.Now().UnixMilli(), nil, []byte("x"), nil)
			batch := x.Bytes()
			batch[22] |= byte(record.Gzip)
			binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli)))
			r := produceRequest(b.topic, [16]byte{}, -1, batch)
			r.Version = 11
			resp, err := r.RequestWith(b.ctx, b.client(kgo.MaxVersions(kversion.V3_8_0())))
			if err != nil {
				b.t.Fatal(err)
			}
			return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		if lying() == nil {
			b.t.Fatal("a batch that cannot be read was taken")
		}
		set(key, "header")
		if err := lying(); err != nil {
			b.t.Fatal(err)
		}
		set(key, "full")
		if lying() == nil {
			b.t.Fatal("a batch that cannot be read was taken again")
		}
	},
	"retention.bytes": func(b *bench, set setter, key string) {
		b.fill(set, 3)
		set(key, "1")
		b.until("segments removed", func() bool { return b.start() > 0 })
	},
	"retention.ms": func(b *bench, set setter, key string) {
		b.mustSend(100, time.Now().Add(-time.Hour))
		set(key, "60000")
		b.until("records removed", func() bool { return b.start() == 1 })
	},
	"segment.bytes": func(b *bench, set setter, key string) {
		set(key, "1048576")
		b.mustSend(600_000, times(4, 0)...)
		if n, _ := b.files(".log"); n != 4 {
			b.t.Fatalf("%d segments", n)
		}
	},
	"segment.ms": func(b *bench, set setter, key string) {
		set(key, "1000")
		b.mustSend(100, times(4, time.Minute)...)
		if n, _ := b.files(".log"); n != 4 {
			b.t.Fatalf("%d segments", n)
		}
	},
	"segment.jitter.ms": func(b *bench, set setter, key string) {
		// Records lie a minute apart and segments roll after 100 s: every second record without jitter, and earlier where a
		// segment's own jitter is above 40 s.
		set(b.broker(set, "segment.ms"), "100000")
		set(key, "99000")
		b.mustSend(100, times(60, time.Minute)...)
		if n, _ := b.files(".log"); n <= 31 {
			b.t.Fatalf("%d segments of 60 records: no jitter", n)
		}
	},
	"segment.index.bytes": func(b *bench, set setter, key string) {
		set(b.broker(set, "index.interval.bytes"), "1")
		set(key, "24")
		b.mustSend(100, times(20, 0)...)
		if n, _ := b.files(".log"); n < 5 {
			b.t.Fatalf("%d segments with indexes of 24 bytes", n)
		}
	},
}

// brokerOnly are the keys of brokers that have no topic key.
var brokerOnly = map[string]func(b *bench, set setter, key string){
	"max.connections": func(b *bench, set setter, key string) {
		set(key, "1")
		b.until("connections above the limit wait", func() bool { return !b.answers() })
	},
	"max.connections.per.ip": func(b *bench, set setter, key string) {
		set(key, "1")
		b.until("connections are refused", func() bool { return !b.answers() })
	},
	"max.connections.per.ip.overrides": func(b *bench, set setter, key string) {
		set(key, "127.0.0.1:0")
		b.until("connections are refused", func() bool { return !b.answers() })
	},
	"producer.id.expiration.ms": func(b *bench, set setter, key string) {
		b.mustSend(100, time.Now().Add(-time.Hour))
		producers := func() int {
			b.t.Helper()
			d, err := b.admin.DescribeProducers(b.ctx, kadm.TopicsSet{b.topic: {0: {}}})
			if err != nil {
				b.t.Fatal(err)
			}
			return len(d.SortedProducers())
		}
		if producers() != 1 {
			b.t.Fatal("the idempotent producer is not known")
		}
		set(key, "1")
		b.until("the producer is forgotten", func() bool { return producers() == 0 })
	},
	"transaction.partition.verification.enable": func(b *bench, set setter, key string) {
		write := func(sequence int32) error { // in a transaction that no coordinator knows
			x := record.NewCodecs().NewBuilder()
			x.ProducerID, x.ProducerEpoch, x.BaseSequence, x.Transactional = 77, 0, sequence, true
			x.Add(time.Now().UnixMilli(), nil, []byte("x"), nil)
			p, t, r := kmsg.NewProduceRequestTopicPartition(), kmsg.NewProduceRequestTopic(), kmsg.NewPtrProduceRequest()
			p.Records = x.Bytes()
			t.Topic, t.Partitions = b.topic, []kmsg.ProduceRequestTopicPartition{p}
			id := "nobody's"
			r.Version, r.TransactionID, r.Acks, r.TimeoutMillis, r.Topics = 11, &id, -1, 10_000, []kmsg.ProduceRequestTopic{t}
			c := b.client(kgo.MaxVersions(kversion.V3_8_0()))
			resp, err := r.RequestWith(b.ctx, c)
			if err != nil {
				b.t.Fatal(err)
			}
			return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		find := kmsg.NewPtrFindCoordinatorRequest() // makes the topic of transactions
		find.CoordinatorType, find.CoordinatorKeys, find.CoordinatorKey = 1, []string{"nobody's"}, "nobody's"
		if _, err := find.RequestWith(b.ctx, b.client()); err != nil {
			b.t.Fatal(err)
		}
		b.refused(write(0), kerr.InvalidProducerIDMapping)
		set(key, "false")
		b.until("nobody is asked", func() bool { return write(0) == nil })
	},
}

// elsewhere says for keys whose effect one node cannot show where it is shown.
var elsewhere = map[string]string{
	"min.insync.replicas":                            "a topic of one replica needs one (KIP-966): package isr's tests",
	"unclean.leader.election.enable":                 "one node has no other replica to elect: package controller's scripts",
	"cordoned.log.dirs":                              "it needs several directories: TestCordonedDirectories",
	"replica.alter.log.dirs.io.max.bytes.per.second": "the same: TestReplicaMoves",
	"num.recovery.threads.per.data.dir":              "it needs a crash: package logdir's TestRecoveryThreadsChange",
	"listeners":                                      "not live here: refused, TestListenersAreNotLive",
	"listener.security.protocol.map":                 "not live here: refused, TestListenersAreNotLive",
}

// laterKeys are those of the consumer, share and streams protocols and of compaction, which have tests of their own where they are decided.
func laterKey(name string) bool {
	return strings.HasPrefix(name, "group.consumer.") || strings.HasPrefix(name, "consumer.") || strings.HasPrefix(name, "log.cleaner.") ||
		strings.HasPrefix(name, "group.share.") || strings.HasPrefix(name, "share.") || strings.HasPrefix(name, "group.streams.") || strings.HasPrefix(name, "streams.") ||
		name == "delete.retention.ms" || name == "min.cleanable.dirty.ratio" || strings.HasSuffix(name, "compaction.lag.ms")
}

// broker gives the name that a topic key has for the scope of the setter under test.
func (b *bench) broker(_ setter, topicKey string) string {
	if !strings.Contains(b.t.Name(), "/broker/") {
		return topicKey
	}
	k, _ := config.Lookup(config.Topic, topicKey)
	return k.BrokerKeys[0]
}

// fill makes n segments of about 600 KB.
func (b *bench) fill(set setter, n int) {
	b.t.Helper()
	set(b.broker(set, "segment.bytes"), "1048576")
	b.mustSend(600_000, times(n, 0)...)
}

// syncs counts the fsyncs of the partition's log files so far.
func (b *bench) syncs() (n int) {
	for _, op := range b.disk.Ops(vfs.OpSync) {
		if strings.Contains(op.Path, "/t-0/") && strings.HasSuffix(op.Path, ".log") {
			n++
		}
	}
	return n
}

// answers says whether a new connection gets an answer.
func (b *bench) answers() bool {
	ctx, cancel := context.WithTimeout(b.ctx, 200*time.Millisecond)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers("klamm:9092"), kgo.Dialer(b.net.Dial), kgo.RequestRetries(0))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	err = c.Ping(ctx)
	if b.ctx.Err() != nil {
		b.t.Fatal("the test's time is over")
	}
	return err == nil
}

func TestDynamicKeysActLive(t *testing.T) {
	run := func(name string, scope config.Scope, key string, effect func(*bench, setter, string)) {
		t.Run(fmt.Sprintf("%s/%s", name, key), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			set := b.set(scope)
			if scope == config.Broker { // helpers name topic keys
				plain := set
				set = func(k, v string) {
					if tk, ok := config.Lookup(config.Topic, k); ok {
						k = tk.BrokerKeys[0]
					}
					plain(k, v)
				}
			}
			effect(b, set, key)
		})
	}
	shown := map[string]bool{}
	for _, k := range config.Keys(config.Topic) {
		effect := effects[k.Name]
		switch {
		case !k.Acts || k.Internal || elsewhere[k.Name] != "" || laterKey(k.Name):
			continue
		case effect == nil:
			t.Errorf("topic key %s acts, and nothing here shows it", k.Name)
			continue
		}
		run("topic", config.Topic, k.Name, effect)
		for _, name := range k.BrokerKeys {
			if bk, ok := config.Lookup(config.Broker, name); ok && bk.Dynamic != config.ReadOnly {
				shown[name] = true
				run("broker", config.Broker, name, effect)
			}
		}
	}
	for _, k := range config.Keys(config.Broker) {
		switch {
		case !k.Acts || k.Dynamic == config.ReadOnly || k.Internal || shown[k.Name] || elsewhere[k.Name] != "" || laterKey(k.Name):
		case brokerOnly[k.Name] == nil:
			t.Errorf("broker key %s is dynamic and acts, and nothing here shows it", k.Name)
		default:
			run("broker", config.Broker, k.Name, brokerOnly[k.Name])
		}
	}
}

func TestListenersAreNotLive(t *testing.T) {
	b := newBench(t)
	value := "PLAINTEXT://klamm:9999"
	resp, err := b.admin.AlterBrokerConfigs(b.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "listeners", Value: &value}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := resp.On("1", nil); err != nil || !errors.Is(r.Err, kerr.InvalidRequest) {
		t.Fatalf("answer %+v, %v", r, err)
	}
}
