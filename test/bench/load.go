package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/record"
)

// The load comes from a client that builds its requests once and sends their bytes again and again: it costs next to
// nothing, and both brokers get the same requests however slow the machine is at the moment. A client library fills its
// batches by the clock, so that the slower broker would get larger ones.

// requests are Produce requests of one kind, one for each partition.
type requests struct {
	frames  [][]byte
	payload int64 // bytes of keys and values in one of them
	records int64
}

// producing says what requests look like.
type producing struct {
	size    int // bytes of a record's value
	batch   int // bytes of a batch before compression; 0 = one record
	codec   record.Codec
	json    bool
	acks    int16
	clients int  // connections
	window  int  // requests on their way on each
	parts   int  // partitions; 0 = 16
	header  bool // Klamm's own produce.validation=header, where the broker knows it
	durable bool // flush.messages=1
}

const partitions = 16

var codecs = record.NewCodecs()

func (p producing) requests(topic string) requests {
	var rs requests
	random := rand.New(rand.NewPCG(1, 2))
	for i := range cmp.Or(p.parts, partitions) {
		b := codecs.NewBuilder()
		b.Codec = p.codec
		for now := time.Now().UnixMilli(); ; {
			v := p.value(random)
			if b.Count() > 0 && b.SizeWith(nil, v, nil) > p.batch {
				break
			}
			b.Add(now, nil, v, nil)
			if i == 0 {
				rs.payload += int64(len(v))
				rs.records++
			}
		}
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = 12, p.acks, 30_000
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = int32(i), b.Bytes()
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{part}}}
		rs.frames = append(rs.frames, frame(req))
	}
	return rs
}

func (p producing) value(random *rand.Rand) []byte {
	if p.json {
		return document(random, p.size)
	}
	v := make([]byte, p.size)
	for i := range v {
		v[i] = byte('a' + i%26)
	}
	return v
}

// document gives something like what applications send: about size bytes that compress to a quarter.
func document(random *rand.Rand, size int) []byte {
	names := [...]string{"order.created", "order.paid", "order.shipped", "customer.updated"}
	b := fmt.Appendf(nil, `{"event":%q,"id":"%016x%016x","timestamp":%d,"customer":{"id":%d,"segment":"retail","country":"DE"},"items":[`,
		names[random.IntN(len(names))], random.Uint64(), random.Uint64(), 1_700_000_000_000+random.Int64N(1e9), random.IntN(1e6))
	for len(b) < size-90 {
		b = fmt.Appendf(b, `{"sku":"SKU-%06d","quantity":%d,"price":%d.%02d,"currency":"EUR","taxClass":"standard"},`,
			random.IntN(1e6), 1+random.IntN(9), random.IntN(500), random.IntN(100))
	}
	b[len(b)-1] = ']'
	return append(b, '}')
}

func frame(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// send writes n requests in all, and checks every answer.
func (p producing) send(ctx context.Context, address string, rs requests, n int64) error {
	left := atomic.Int64{}
	left.Store(n)
	return each(p.clients, func(i int) error {
		c, err := dial(ctx, address)
		if err != nil {
			return err
		}
		defer c.Close()
		next, flying := i, 0
		for {
			for flying < p.window && left.Add(-1) >= 0 {
				if _, err := c.Write(rs.frames[next%len(rs.frames)]); err != nil {
					return err
				}
				next++
				if p.acks != 0 {
					flying++
				}
			}
			if flying == 0 && p.acks == 0 {
				return c.metadata() // when that is answered, all before it is done
			} else if flying == 0 {
				return nil
			}
			if err := c.acknowledged(); err != nil {
				return err
			}
			flying--
		}
	})
}

// each runs f for 0 to n-1 at once.
func each(n int, f func(int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		wg.Go(func() { errs <- f(i) })
	}
	wg.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

type conn struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func dial(ctx context.Context, address string) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 4096)}, nil
}

// answer reads a response's body, which is valid until the next one. header is the length of the response's header.
func (c *conn) answer(header int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n > cap(c.body) {
		c.body = make([]byte, n+n/8)
	}
	c.body = c.body[:n]
	if _, err := io.ReadFull(c.r, c.body); err != nil {
		return nil, err
	}
	if n < header {
		return nil, kbin.ErrNotEnoughData
	}
	return c.body[header:], nil
}

const flexibleHeader = 5 // correlation id, no tags

func (c *conn) acknowledged() error {
	b, err := c.answer(flexibleHeader)
	if err != nil {
		return err
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = 12
	if err := resp.ReadFrom(b); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// metadata asks for no topic.
func (c *conn) metadata() error {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.Topics = 12, []kmsg.MetadataRequestTopic{}
	return c.ask(req, kmsg.NewPtrMetadataResponse())
}

// consume reads a topic from its start to the given number of bytes, as a consumer with default settings does: 1 MiB of
// each partition in a request, which a session holds.
func consume(ctx context.Context, address, topic string, parts int, bytes int64) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 12, 500, 1, 50<<20
	req.SessionID, req.SessionEpoch = 0, 0
	next, want := make([]int64, parts), make([]int32, parts)
	for i := range want {
		want[i] = int32(i)
	}
	for bytes > 0 {
		t := kmsg.NewFetchRequestTopic()
		t.Topic = topic
		for _, i := range want {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.PartitionMaxBytes = i, next[i], 1<<20
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = []kmsg.FetchRequestTopic{t}
		if _, err := c.Write(frame(req)); err != nil {
			return err
		}
		b, err := c.answer(flexibleHeader)
		if err != nil {
			return err
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = req.Version
		if err := resp.ReadFrom(b); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		req.SessionID, req.SessionEpoch = resp.SessionID, req.SessionEpoch+1
		want = want[:0]
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
				bytes -= int64(len(p.RecordBatches))
				if advance(p.RecordBatches, &next[p.Partition]) {
					want = append(want, p.Partition)
				}
			}
		}
	}
	return nil
}

// advance moves an offset behind the last whole batch, and says whether it did.
func advance(b []byte, offset *int64) bool {
	moved := false
	for {
		batch, rest, err := record.Next(b)
		if err != nil {
			return moved
		}
		*offset, moved, b = batch.LastOffset()+1, true, rest
	}
}
