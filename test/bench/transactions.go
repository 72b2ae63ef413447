package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/record"
)

// Transactions are measured as a client with transaction version 2 makes them (KIP-890): partitions are added by what is
// produced to them, and each end gives the epoch of the next.

const perThousand = "CPU-s/1,000 transactions"

// transactionsRow makes one transaction after the other, each with a record in so many partitions.
func transactionsRow(name, title string, parts int) row {
	return row{name, title, []string{"ms p50", "ms p99", perThousand}, []float64{0.4, 0.4, 0.4}, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		count, warming := max(4000/(parts+9), 150), 50
		err = withTopicOf(ctx, b, max(parts, partitions), func(topic string) error {
			p, err := newTransactor(ctx, b.address, topic, parts)
			if err != nil {
				return err
			}
			defer p.Close()
			if _, err := p.run(warming, 1, 1<<10); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			took, err := p.run(count, 1, 1<<10)
			if err != nil {
				return err
			}
			cpu, err := m.end(&f)
			slices.Sort(took)
			f.Values = []float64{percentile(took, 50), percentile(took, 99), cpu / float64(count) * 1000}
			return err
		})
		return f, err
	}}
}

// transactionalBytesRow writes transactions of 1 MiB, 64 KiB to each partition.
func transactionalBytesRow(name, title string, goal float64) row {
	return row{name, title, []string{perGiB}, []float64{goal}, func(ctx context.Context, b *broker, n int64) (f figure, err error) {
		err = withTopic(ctx, b, func(topic string) error {
			if err := prepare(b, n); err != nil {
				return err
			}
			p, err := newTransactor(ctx, b.address, topic, partitions)
			if err != nil {
				return err
			}
			defer p.Close()
			if _, err := p.run(20, 63, 1<<10); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			count := int(n >> 20)
			if _, err := p.run(count, 63, 1<<10); err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.bytes(cpu, int64(count)*partitions*63<<10)
			return err
		})
		return f, err
	}}
}

// transactor is a producer with a transactional id on one connection.
type transactor struct {
	*conn
	topic     string
	parts     int
	id        string
	producer  int64
	epoch     int16
	sequences []int32
	builder   *record.Builder
}

func newTransactor(ctx context.Context, address, topic string, parts int) (*transactor, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	t := &transactor{conn: c, topic: topic, parts: parts, id: "bench-" + topic, sequences: make([]int32, parts), builder: codecs.NewBuilder()}
	if err := t.init(); err != nil {
		c.Close()
		return nil, fmt.Errorf("transactional id %s: %w", t.id, err)
	}
	return t, nil
}

// patience is how long a coordinator may take to make its topic, and a transaction to be over on all partitions.
const patience = time.Minute

// init finds the coordinator, which is the broker itself, and gets the producer id.
func (t *transactor) init() error {
	return eventually(func() error {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.Version, find.CoordinatorType, find.CoordinatorKeys = 4, 1, []string{t.id}
		resp := kmsg.NewPtrFindCoordinatorResponse()
		if err := t.ask(find, resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.Coordinators[0].ErrorCode); err != nil {
			return err
		}
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = 5, &t.id, 60_000, -1, -1
		got := kmsg.NewPtrInitProducerIDResponse()
		if err := t.ask(init, got); err != nil {
			return err
		}
		t.producer, t.epoch = got.ProducerID, got.ProducerEpoch
		return kerr.ErrorForCode(got.ErrorCode)
	})
}

// run makes transactions with so many records in each partition, and gives the milliseconds that each took.
func (t *transactor) run(count, records, size int) (took []float64, err error) {
	value := producing{size: size}.value(nil)
	for range count {
		produce := t.produce(records, value)
		began := time.Now()
		if err := eventually(func() error { return t.write(produce) }); err != nil {
			return nil, fmt.Errorf("produce: %w", err)
		}
		if err := eventually(t.commit); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		took = append(took, time.Since(began).Seconds()*1000)
	}
	return took, nil
}

func (t *transactor) produce(records int, value []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.TransactionID = 12, -1, 30_000, &t.id
	topic, now := kmsg.NewProduceRequestTopic(), time.Now().UnixMilli()
	topic.Topic = t.topic
	for i := range t.parts {
		t.builder.Reset()
		t.builder.ProducerID, t.builder.ProducerEpoch, t.builder.BaseSequence, t.builder.Transactional = t.producer, t.epoch, t.sequences[i], true
		for range records {
			t.builder.Add(now, nil, value, nil)
		}
		t.sequences[i] += int32(records)
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), slices.Clone(t.builder.Bytes())
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req
}

// write repeats the partitions that were refused: the transaction before may not be over there yet.
func (t *transactor) write(req *kmsg.ProduceRequest) error {
	resp := kmsg.NewPtrProduceResponse()
	if err := t.ask(req, resp); err != nil {
		return err
	}
	all := req.Topics[0].Partitions
	req.Topics[0].Partitions = nil
	var refused error
	for _, p := range resp.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			refused = err
			i := slices.IndexFunc(all, func(a kmsg.ProduceRequestTopicPartition) bool { return a.Partition == p.Partition })
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, all[i])
		}
	}
	return refused
}

func (t *transactor) commit() error {
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 5, t.id, t.producer, t.epoch, true
	resp := kmsg.NewPtrEndTxnResponse()
	if err := t.ask(end, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	t.producer, t.epoch = resp.ProducerID, resp.ProducerEpoch
	clear(t.sequences)
	return nil
}

// ask sends a request of a flexible version and reads its answer.
func (c *conn) ask(req kmsg.Request, resp kmsg.Response) error {
	if _, err := c.Write(frame(req)); err != nil {
		return err
	}
	b, err := c.answer(flexibleHeader)
	if err != nil {
		return err
	}
	resp.SetVersion(req.GetVersion())
	return resp.ReadFrom(b)
}

// eventually repeats what a client would repeat, every millisecond: a coordinator still loads, or the transaction before is not
// over on all partitions, which Apache's clients take for no failure either.
func eventually(f func() error) error { return eventuallyEvery(time.Millisecond, f) }

func eventuallyEvery(pause time.Duration, f func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		err := f()
		if err == nil || !kerr.IsRetriable(err) && !errors.Is(err, kerr.ConcurrentTransactions) || time.Now().After(end) {
			return err
		}
	}
}
