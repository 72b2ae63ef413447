package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/record"
)

// txnClient is a transactional producer, and a consumer of what it wrote, of which the test sees every request.
type txnClient struct {
	*site
	*conn
	id    string
	pid   int64
	epoch int16
	seq   map[int32]int32
	v2    bool // transaction version 2: partitions are added by writing, epochs rise
}

func (s *site) producer(id string, v2 bool) *txnClient {
	s.t.Helper()
	return &txnClient{site: s, conn: s.dial(), id: id, v2: v2, seq: map[int32]int32{}}
}

func (s *site) dial() *conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n, err := s.net.Dial(ctx, "tcp", s.node.Bootstrap()[0])
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { n.Close() })
	return &conn{t: s.t, Conn: n, r: bufio.NewReaderSize(n, 1<<20)}
}

// either gives what the producer's generation of clients sends.
func either[T any](c *txnClient, v2, before T) T {
	if c.v2 {
		return v2
	}
	return before
}

// patiently sends a request again while the coordinator loads, or ends the transaction before.
func (c *txnClient) patiently(send func() int16) error {
	c.conn.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		code := send()
		switch code {
		case kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code, kerr.NotCoordinator.Code, kerr.ConcurrentTransactions.Code, kerr.NotEnoughReplicas.Code:
			if time.Now().Before(deadline) {
				continue
			}
		}
		return kerr.ErrorForCode(code)
	}
}

// init is InitProducerId as a new producer sends it.
func (c *txnClient) init() error {
	c.conn.t.Helper()
	for kind := range int8(2) {
		find := kmsg.NewPtrFindCoordinatorRequest() // makes the topics
		find.Version, find.CoordinatorType, find.CoordinatorKeys = 4, kind, []string{c.id}
		if code := c.request(find).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode; code != 0 {
			c.conn.t.Fatal(kerr.ErrorForCode(code))
		}
	}
	return c.patiently(func() int16 {
		r := kmsg.NewPtrInitProducerIDRequest()
		r.Version, r.TransactionalID, r.TransactionTimeoutMillis = either(c, int16(5), 4), &c.id, 60_000
		resp := c.request(r).(*kmsg.InitProducerIDResponse)
		if resp.ErrorCode == 0 {
			c.pid, c.epoch = resp.ProducerID, resp.ProducerEpoch
			clear(c.seq)
		}
		return resp.ErrorCode
	})
}

// add is AddPartitionsToTxn.
func (c *txnClient) add(topic string, partitions ...int32) error {
	c.conn.t.Helper()
	return c.patiently(func() int16 {
		r := kmsg.NewPtrAddPartitionsToTxnRequest()
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch = 3, c.id, c.pid, c.epoch
		r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
		return c.request(r).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode
	})
}

// write is Produce of one record in a transaction.
func (c *txnClient) write(topic string, partition int32, value string) error {
	c.conn.t.Helper()
	return c.patiently(func() int16 {
		b := record.NewCodecs().NewBuilder()
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = c.pid, c.epoch, c.seq[partition], true
		b.Add(time.Now().UnixMilli(), nil, []byte(value), nil)
		r := kmsg.NewPtrProduceRequest()
		r.Version, r.TransactionID, r.Acks, r.TimeoutMillis = either(c, int16(12), 11), &c.id, -1, 10_000
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = partition, b.Bytes()
		r.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
		code := c.request(r).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
		if code == 0 {
			c.seq[partition]++
		}
		return code
	})
}

// commitOffset is TxnOffsetCommit, after AddOffsetsToTxn where the producer has to send that.
func (c *txnClient) commitOffset(group, topic string, offset int64) error {
	c.conn.t.Helper()
	if !c.v2 {
		err := c.patiently(func() int16 {
			r := kmsg.NewPtrAddOffsetsToTxnRequest()
			r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = 3, c.id, c.pid, c.epoch, group
			return c.request(r).(*kmsg.AddOffsetsToTxnResponse).ErrorCode
		})
		if err != nil {
			return err
		}
	}
	return c.offsetOnly(group, topic, offset)
}

func (c *txnClient) offsetOnly(group, topic string, offset int64) error {
	c.conn.t.Helper()
	return c.patiently(func() int16 {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.TransactionalID, r.Group, r.ProducerID, r.ProducerEpoch, r.Generation = either(c, int16(5), 4), c.id, group, c.pid, c.epoch, -1
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Offset = offset
		r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
		return c.request(r).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	})
}

// end is EndTxn.
func (c *txnClient) end(commit bool) error {
	c.conn.t.Helper()
	return c.patiently(func() int16 {
		r := kmsg.NewPtrEndTxnRequest()
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = either(c, int16(5), 4), c.id, c.pid, c.epoch, commit
		resp := c.request(r).(*kmsg.EndTxnResponse)
		if resp.ErrorCode == 0 && c.v2 {
			c.pid, c.epoch = resp.ProducerID, resp.ProducerEpoch
			clear(c.seq)
		}
		return resp.ErrorCode
	})
}

// offset is OffsetFetch that wants stable offsets.
func (c *txnClient) offset(group, topic string) (int64, error) {
	c.conn.t.Helper()
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.RequireStable = 8, true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{0}}}
	r.Groups = []kmsg.OffsetFetchRequestGroup{g}
	answer := c.request(r).(*kmsg.OffsetFetchResponse).Groups[0]
	if answer.ErrorCode != 0 { // the coordinator loads
		return -1, kerr.ErrorForCode(answer.ErrorCode)
	}
	p := answer.Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}

// fetched is what a read_committed Fetch brings: last stable offset, aborted transactions, values of all records below it.
func (c *txnClient) fetched(topic string) (stable int64, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction, values []string) {
	c.conn.t.Helper()
	r := kmsg.NewPtrFetchRequest()
	r.Version, r.MaxBytes, r.IsolationLevel, r.MaxWaitMillis = 12, 1<<20, 1, 0
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 1 << 20
	r.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	got := c.request(r).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	codecs := record.NewCodecs()
	for rest := got.RecordBatches; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			break
		}
		rest = after
		if b.Control() {
			continue
		}
		records, err := codecs.Records(b)
		if err != nil {
			c.conn.t.Fatal(err)
		}
		var one record.Record
		for ok, err := records.Next(&one); ok; ok, err = records.Next(&one) {
			if err != nil {
				c.conn.t.Fatal(err)
			}
			values = append(values, string(one.Value))
		}
		records.Close()
	}
	return got.LastStableOffset, got.AbortedTransactions, values
}

func (c *txnClient) want(what string, err error, want *kerr.Error) {
	c.conn.t.Helper()
	if want == nil && err != nil || want != nil && err != want {
		c.conn.t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (c *txnClient) wantStable(topic string, stable int64, values ...string) {
	c.conn.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // markers are written after the answer
		got, _, v := c.fetched(topic)
		if got == stable && fmt.Sprint(v) == fmt.Sprint(values) {
			return
		}
		if time.Now().After(deadline) {
			c.conn.t.Fatalf("%v up to %d, want %v up to %d", v, got, values, stable)
		}
	}
}

// Transactions of producers of both generations: nothing is seen before its end, a restart in the middle loses nothing, and late
// requests change nothing (DETAILS 35, 36).
func TestTransactions(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("version 2 %v", v2), func(t *testing.T) {
			s := newSite(t)
			s.props["transaction.state.log.num.partitions"] = "3"
			s.up()
			s.with(func(ctx context.Context, cl *kgo.Client) error {
				_, err := kadm.NewClient(cl).CreateTopics(ctx, 2, 1, nil, "t")
				return err
			})
			c := s.producer("x", v2)
			c.want("init", c.init(), nil)
			if !v2 {
				c.want("a write that was not announced", c.write("t", 0, "?"), kerr.TransactionAbortable)
				c.want("offsets that were not announced", c.offsetOnly("g", "t", 1), kerr.TransactionAbortable)
				c.want("add", c.add("t", 0, 1), nil)
			}
			c.want("write", c.write("t", 0, "a"), nil)
			c.want("write", c.write("t", 1, "b"), nil)
			c.want("offset", c.commitOffset("g", "t", 7), nil)
			c.wantStable("t", 0)
			if _, err := c.offset("g", "t"); err != kerr.UnstableOffsetCommit {
				t.Fatal(err)
			}

			s.stop()
			s.up()
			c.conn = s.dial()
			late := *c // a request of the transaction that comes after its end
			c.want("commit", c.end(true), nil)
			c.wantStable("t", 2, "a")
			offset, err := int64(-1), error(nil)
			c.want("offset fetch", c.patiently(func() int16 {
				offset, err = c.offset("g", "t")
				var e *kerr.Error
				if err == kerr.UnstableOffsetCommit {
					e = kerr.ConcurrentTransactions
				} else if !errors.As(err, &e) {
					return 0
				}
				return e.Code
			}), nil)
			if offset != 7 || err != nil {
				t.Fatal(offset, err)
			}
			c.want("the commit again", (&late).end(true), nil)
			if late.epoch != c.epoch {
				t.Fatalf("epoch %d after the repetition, %d before", late.epoch, c.epoch)
			}
			if v2 {
				late.epoch--
				c.want("a late write", late.write("t", 0, "late"), kerr.InvalidProducerEpoch)
			}

			if !v2 {
				c.want("add", c.add("t", 0), nil)
			}
			c.want("write", c.write("t", 0, "c"), nil)
			c.want("abort", c.end(false), nil)
			c.wantStable("t", 4, "a", "c") // the consumer drops what the answer names as aborted
			if _, aborted, _ := c.fetched("t"); len(aborted) != 1 || aborted[0].ProducerID != c.pid || aborted[0].FirstOffset != 2 {
				t.Fatalf("%+v", aborted)
			}

			// A second producer with the same id ends what the first left open, and fences it.
			if !v2 {
				c.want("add", c.add("t", 0), nil)
			}
			c.want("write", c.write("t", 0, "d"), nil)
			next := s.producer("x", v2)
			c.want("init of the next", next.init(), nil)
			if next.pid == c.pid && next.epoch <= c.epoch {
				t.Fatalf("epoch %d after %d", next.epoch, c.epoch)
			}
			c.want("a write of the first", c.write("t", 0, "e"), kerr.InvalidProducerEpoch)
			c.want("a commit of the first", c.end(true), kerr.ProducerFenced)
			c.wantStable("t", 6, "a", "c", "d")

			// What no coordinator knows.
			c.want("add to an unknown topic", next.add("nowhere", 0), kerr.UnknownTopicOrPartition)
			c.want("add an internal topic", next.add("__consumer_offsets", 0), kerr.TopicAuthorizationFailed)
			stranger := s.producer("y", v2)
			stranger.pid, stranger.epoch = next.pid, next.epoch
			c.want("a write of a stranger", stranger.write("t", 0, "f"), kerr.InvalidProducerIDMapping)
		})
	}
}

// A transactional batch without a transactional id, and batches of two producers in one request.
func TestTransactionalBatchesOfNobody(t *testing.T) {
	s := newSite(t).up()
	s.fill("t")
	c := s.dial()
	one := func(pid int64) []byte {
		b := record.NewCodecs().NewBuilder()
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = pid, 0, 0, true
		b.Add(time.Now().UnixMilli(), nil, []byte("x"), nil)
		return b.Bytes()
	}
	send := func(id *string, pids ...int64) error {
		r := kmsg.NewPtrProduceRequest()
		r.Version, r.TransactionID, r.Acks, r.TimeoutMillis = 11, id, -1, 10_000
		for _, pid := range pids {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Records = one(pid)
			r.Topics = append(r.Topics, kmsg.ProduceRequestTopic{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{p}})
		}
		return kerr.ErrorForCode(c.request(r).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
	}
	if err := send(nil, 1); err != kerr.TransactionalIDAuthorizationFailed {
		t.Fatal(err)
	}
	id := "x"
	if err := send(&id, 1, 2); err != kerr.InvalidProducerIDMapping {
		t.Fatal(err)
	}
	if err := send(&id, 1); err != kerr.NotEnoughReplicas { // there is no coordinator; old producers try this one again
		t.Fatal(err)
	}
}
