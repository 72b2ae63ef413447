package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-io/klamm/internal/record"
)

// row is one thing that is measured.
type row struct {
	name  string
	title string
	units []string // of what a leg shows, one for each of figure.Values
	goal  []float64
	leg   func(ctx context.Context, b *broker, n int64) (figure, error)
}

// asked are rows that take minutes, and are measured only when --rows names them.
var asked = map[string]bool{"connections-10k": true, "partitions-10k": true, "partitions-50k": true, "recovery": true}

// long are rows that take Apache Kafka nearly a minute: more than a run with one pair of each row has for them.
var long = map[string]bool{"produce-1000-partitions": true, "idle": true, "offsets-1m": true}

const (
	perGiB     = "CPU-s/GiB"
	perMillion = "CPU-s/M requests"
)

// rows are all of them. Limits are those of Apache's clients: 1 MiB for a batch, and what a consumer fetches.
func rows() []row {
	full := producing{size: 1 << 10, batch: 1<<20 - 1024, acks: 1, clients: 4, window: 2}
	with := func(change func(*producing)) producing {
		p := full
		change(&p)
		return p
	}
	one := func(acks int16, clients int) producing {
		return producing{size: 1 << 10, acks: acks, clients: clients, window: 1}
	}
	flushed := one(-1, 64)
	flushed.durable = true
	return []row{
		bytesRow("produce-1k", "produce 1 KiB, acks=1, 16 partitions, 1 MiB batches", 0.55, full),
		bytesRow("produce-100", "produce 100 B, likewise", 0.45, with(func(p *producing) { p.size = 100 })),
		bytesRow("produce-10k", "produce 10 KiB, likewise", 0.7, with(func(p *producing) { p.size = 10 << 10 })),
		bytesRow("produce-16k", "produce 1 KiB, 16 KiB batches, each a request", 0.6, with(func(p *producing) { p.batch, p.window = 16<<10, 5 })),
		bytesRow("produce-1-partition", "likewise, 1 partition", 0.6, with(func(p *producing) { p.batch, p.window, p.parts = 16<<10, 5, 1 })),
		bytesRow("produce-100-partitions", "likewise, 100 partitions", 0.6, with(func(p *producing) { p.batch, p.window, p.parts = 16<<10, 5, 100 })),
		bytesRow("produce-1000-partitions", "likewise, 1,000 partitions", 0.6, with(func(p *producing) { p.batch, p.window, p.parts = 16<<10, 5, 1000 })),
		bytesRow("produce-lz4", "produce JSON of 1 KiB, lz4, 1 MiB batches", 0.6, with(func(p *producing) { p.json, p.codec = true, record.LZ4 })),
		bytesRow("produce-zstd", "produce JSON of 1 KiB, zstd, 1 MiB batches", 0.6, with(func(p *producing) { p.json, p.codec = true, record.Zstd })),
		bytesRow("produce-lz4-header", "produce JSON, lz4, likewise; Klamm with produce.validation=header", 0.3, with(func(p *producing) { p.json, p.codec, p.header = true, record.LZ4, true })),
		bytesRow("produce-zstd-header", "produce JSON, zstd, likewise; Klamm with produce.validation=header", 0.3, with(func(p *producing) { p.json, p.codec, p.header = true, record.Zstd, true })),
		{"consume", "consume 1 KiB from the page cache, 16 partitions, 1 MiB of each at once", []string{perGiB}, []float64{0.5},
			func(ctx context.Context, b *broker, n int64) (figure, error) { return consumeLeg(ctx, b, full, n) }},
		{"consume-16k", "consume 1 KiB in batches of 16 KiB, likewise", []string{perGiB}, []float64{0.5},
			func(ctx context.Context, b *broker, n int64) (figure, error) {
				return consumeLeg(ctx, b, with(func(p *producing) { p.batch, p.window = 16<<10, 5 }), n)
			}},
		requestsRow("requests-1", "one record of 1 KiB a request, acks=1, 1 connection", 0.4, one(1, 1)),
		requestsRow("requests-16", "likewise, 16 connections", 0.4, one(1, 16)),
		requestsRow("requests-100", "likewise, 100 connections", 0.4, one(1, 100)),
		requestsRow("requests-16-none", "likewise, 16 connections, acks=0", 0.4, one(0, 16)),
		requestsRow("requests-16-all", "likewise, 16 connections, acks=all", 0.4, one(-1, 16)),
		requestsRow("requests-64-flush", "likewise, 64 connections, acks=all, flush.messages=1", 0.4, flushed),
		connectionsRow("connections-1000", "1,000 connections, 10 records of 1 KiB a second on each, a request each", 1000, 10),
		connectionsRow("connections-10k", "10,000 connections, one such request a second on each", 10_000, 1),
		latencyRow("latency", "end to end, 1 KiB at 1,000 records/s, acks=all, linger 0", 1000, false, 0.4, 0.3),
		latencyRow("latency-20m", "likewise, 20,000 records/s", 20_000, false, 0.4, 0.3),
		latencyRow("latency-flush", "likewise, 1,000 records/s and flush.messages=1", 1000, true, 0.5, 0.5),
		tailRow("tail-1", "a consumer at the tail, beside a writer of 100 MiB/s in batches of 64 KiB", 1, 0.6),
		tailRow("tail-5", "likewise, 5 consumers of all", 5, 0.6),
		{"cold", "read 512 MiB that is not in memory, while 50 MiB/s are written", []string{"s/GiB read", "ms p99 of a write"}, []float64{1.25, 0.5}, coldLeg},
		{"create-topic", "create topics of one partition, one after the other", []string{"ms p50", "CPU-ms/topic"}, []float64{0.33, 0.4}, createLeg},
		idleRow("idle", "1,000 partitions and 100 consumers, nothing to do", 100, 100, 0.2),
		transactionsRow("transactions-1", "transactions one after the other, a record of 1 KiB each", 1),
		transactionsRow("transactions-10", "likewise, a record in each of 10 partitions", 10),
		transactionsRow("transactions-100", "likewise, 100 partitions", 100),
		transactionalBytesRow("transactions-bytes", "produce 1 KiB in transactions of 1 MiB, 16 partitions", 0.4),
		commitsRow("commits", "commit 10 offsets a request, 16 groups on 16 connections", 16),
		shareRow("share", "deliver records of 1 KiB to the 4 members of a share group, who acknowledge all; 16 partitions", 4),
		rebalanceRow("join-classic", "members join a classic group (Kafka's initial delay is 3 s); one leaves (heartbeats every 3 s)", classic),
		rebalanceRow("join-consumer", "members join a consumer group (KIP-848); one leaves (heartbeats every 5 s)", consumer),
		offsetsRow("offsets-1m", "start with a million offsets, of 5,000 groups", 5000, 200, 0.4, 0.4),
		offsetsRow("groups-10k", "start with 10,000 groups of 10 offsets", 10_000, 10, 0.4, 0.4),
		partitionsRow("partitions-10k", "10,000 partitions in 1,000 topics", 1000, 10, 0.33, 0.15, 0.3),
		partitionsRow("partitions-50k", "50,000 partitions in 1,000 topics", 1000, 50, 0.33, 0.15, 0.3),
		recoveryRow("recovery", "start after kill -9 with 4 GiB that were never flushed", 4, 0.4, 0.2),
		{"start", "start of a formatted directory", []string{"ms to the first acknowledged record", "MiB RSS, idle for 3 s"}, []float64{0.06, 0.12}, startLeg},
	}
}

// figure is what a leg showed.
type figure struct {
	Values  []float64 `json:"values"` // in the row's units
	Seconds float64   `json:"seconds"`
	Rate    float64   `json:"mib_s,omitempty"`
	Client  float64   `json:"client_cpu_s"`
	Foreign float64   `json:"foreign"` // share of the machine that other programs used
	Stolen  float64   `json:"stolen"`  // share of the machine that the machine below did not give
	RSS     float64   `json:"rss_mib"`
}

func bytesRow(name, title string, goal float64, p producing) row {
	return row{name, title, []string{perGiB}, []float64{goal}, func(ctx context.Context, b *broker, n int64) (figure, error) {
		return produceLeg(ctx, b, p, n)
	}}
}

// round is how much is written between two preparations: less than the machine takes back of its memory meanwhile.
const round = 256 << 20

func produceLeg(ctx context.Context, b *broker, p producing, n int64) (f figure, err error) {
	err = withTopicOf(ctx, b, cmp.Or(p.parts, partitions), func(topic string) error {
		if p.header && b.name == klammName {
			if err := configure(ctx, b, topic, "produce.validation", "header"); err != nil {
				return err
			}
		}
		rs := p.requests(topic)
		first := p // what the first write to a log costs is not meant
		first.clients = 1
		if err := first.send(ctx, b.address, rs, int64(len(rs.frames))); err != nil {
			return err
		}
		cpu, written := 0.0, int64(0)
		for written < n {
			count := max(min(n-written, round)/rs.payload, 1)
			if err := prepare(b, count*rs.payload); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			if err := p.send(ctx, b.address, rs, count); err != nil {
				return err
			}
			used, err := m.end(&f)
			if err != nil {
				return err
			}
			cpu += used
			written += count * rs.payload
		}
		f.bytes(cpu, written)
		return nil
	})
	return f, err
}

func consumeLeg(ctx context.Context, b *broker, p producing, n int64) (f figure, err error) {
	err = withTopic(ctx, b, func(topic string) error {
		rs := p.requests(topic)
		count := max(n/rs.payload, 1)
		if err := prepare(b, n); err != nil {
			return err
		}
		if err := p.send(ctx, b.address, rs, count); err != nil {
			return err
		}
		syscall.Sync()
		m, err := begin(b)
		if err != nil {
			return err
		}
		const passes = 2
		for range passes {
			if err := consume(ctx, b.address, topic, partitions, count*rs.payload); err != nil {
				return err
			}
		}
		cpu, err := m.end(&f)
		f.bytes(cpu, passes*count*rs.payload)
		return err
	})
	return f, err
}

func (f *figure) bytes(cpu float64, n int64) {
	gib := float64(n) / (1 << 30)
	f.Values, f.Rate = []float64{cpu / gib}, gib*1024/f.Seconds
}

// requestsRow counts requests: one for every 4 KiB that other rows write, or fewer where each is flushed or waits for the one before.
func requestsRow(name, title string, goal float64, p producing) row {
	units, goals := []string{perMillion}, []float64{goal}
	if p.durable {
		units, goals = append(units, "s/M requests"), append(goals, 0.2)
	}
	return row{name, title, units, goals, func(ctx context.Context, b *broker, n int64) (f figure, err error) {
		err = withTopic(ctx, b, func(topic string) error {
			rs, count := p.requests(topic), n>>12
			if p.clients == 1 {
				count = n >> 14
			}
			if p.durable {
				count = n >> 16
				if err := configure(ctx, b, topic, "flush.messages", "1"); err != nil {
					return err
				}
			}
			if err := p.send(ctx, b.address, rs, count/10); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			if err := p.send(ctx, b.address, rs, count); err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.Values = []float64{cpu / float64(count) * 1e6, f.Seconds / float64(count) * 1e6}[:len(units)]
			return err
		})
		return f, err
	}}
}

// prepare makes the machine the same for every leg.
func prepare(b *broker, n int64) error {
	syscall.Sync()
	return warmMemory(b.dir, n+n/4)
}

// measured runs a leg, and again where others used too much of the machine meanwhile, or of the one below.
func measured(ctx context.Context, r row, b *broker, s settings) (f figure, err error) {
	for i := 0; ; i++ {
		if f, err = r.leg(ctx, b, s.bytes); err != nil || f.Foreign < 0.15 && f.Stolen < 0.15 || i == s.again {
			return f, err
		}
		fmt.Fprintf(os.Stderr, "%s on %s: other programs used %.0f %% of the machine, %.0f %% were stolen; once more\n", r.name, b.name, 100*f.Foreign, 100*f.Stolen)
	}
}

var topics atomic.Int64

// newTopic is a name that no other topic has.
func newTopic() string { return fmt.Sprintf("bench-%d", topics.Add(1)) }

func withTopic(ctx context.Context, b *broker, f func(topic string) error) error {
	return withTopicOf(ctx, b, partitions, f)
}

func withTopicOf(ctx context.Context, b *broker, parts int, f func(topic string) error) error {
	topic := newTopic()
	if err := createTopic(ctx, b.address, topic, parts); err != nil {
		return err
	}
	if err := f(topic); err != nil {
		return err
	}
	return deleteTopic(ctx, b.address, topic)
}

// klammName is what a broker is called where the two differ.
const klammName = "Klamm"

// configure sets a key of a topic.
func configure(ctx context.Context, b *broker, topic, key, value string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return err
	}
	defer c.Close()
	set, err := kadm.NewClient(c).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	if err != nil {
		return err
	}
	_, err = set.On(topic, nil)
	return err
}

// ledPatience is for 10,000 partitions, which Kafka makes one after the other.
const ledPatience = 3 * time.Minute

// led waits until a topic's partitions have their leader.
func led(ctx context.Context, admin *kadm.Client, topic string, parts int) error {
	for end := time.Now().Add(ledPatience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err == nil && offsets.Error() == nil && len(offsets[topic]) == parts {
			return nil
		}
	}
	return fmt.Errorf("topic %s has no leaders after %v", topic, ledPatience)
}

// warm lets a broker's hot paths run: records of mixed sizes, then reads, then single records.
func warm(ctx context.Context, b *broker, records int64) error {
	p := producing{size: 512, batch: 256 << 10, acks: 1, clients: 4, window: 2}
	err := withTopic(ctx, b, func(topic string) error {
		rs := p.requests(topic)
		count := max(records/rs.records, 1)
		if err := p.send(ctx, b.address, rs, count); err != nil {
			return err
		}
		return consume(ctx, b.address, topic, partitions, count*rs.payload)
	})
	if err != nil {
		return err
	}
	return withTopic(ctx, b, func(topic string) error {
		p := producing{size: 512, acks: -1, clients: 16, window: 1}
		return p.send(ctx, b.address, p.requests(topic), records/10)
	})
}
