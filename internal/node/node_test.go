package node_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/wire"
	"github.com/klamm-io/klamm/klammtest"
)

// conn is a client that sees every byte.
type conn struct {
	t testing.TB
	net.Conn
	r    *bufio.Reader
	last int32
}

func dial(t testing.TB, c *klammtest.Cluster) *conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n, err := c.Dial(ctx, "tcp", c.Bootstrap()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return &conn{t: t, Conn: n, r: bufio.NewReaderSize(n, 1<<20)}
}

// frame encodes a request.
func frame(req kmsg.Request, correlation int32) []byte {
	id := "raw"
	b := wire.AppendRequestHeader(make([]byte, 4), wire.RequestHeader{Key: req.Key(), Version: req.GetVersion(), CorrelationID: correlation, ClientID: &id})
	b = req.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// body reads one answer's frame and gives what follows the header.
func (c *conn) body(req kmsg.Request) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	b = b[4:]
	if req.IsFlexible() && req.Key() != 18 {
		b = b[1:] // no tags
	}
	return b, nil
}

func (c *conn) request(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.last++
	if _, err := c.Write(frame(req, c.last)); err != nil {
		c.t.Fatal(err)
	}
	b, err := c.body(req)
	if err != nil {
		c.t.Fatalf("%T version %d: %v", req, req.GetVersion(), err)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(b); err != nil {
		c.t.Fatalf("%T version %d: the answer cannot be read: %v", req, req.GetVersion(), err)
	}
	return resp
}

func createTopic(t testing.TB, c *klammtest.Cluster, name string) [16]byte {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, topic)
	resp := dial(t, c).request(req).(*kmsg.CreateTopicsResponse)
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].TopicID
}

// Every API that is advertised answers every version with a message of that version; the table of APIs and the handlers
// agree.
func TestEveryAdvertisedAPIAnswersInEveryVersion(t *testing.T) {
	c := klammtest.Start(t)
	for _, api := range wire.APIs() {
		least, most, ok := api.Advertised(false)
		if !ok {
			continue
		}
		for v := max(least, api.Min); v <= most; v++ {
			req := kmsg.RequestForKey(api.Key)
			req.SetVersion(v)
			if d, ok := req.(interface{ Default() }); ok {
				d.Default()
			}
			switch r := req.(type) {
			case *kmsg.ApiVersionsRequest:
				r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1"
			case *kmsg.ProduceRequest:
				r.Acks = 1
			case *kmsg.FetchRequest:
				r.SessionEpoch = -1
			case *kmsg.FindCoordinatorRequest:
				r.CoordinatorKeys = []string{"g"}
			}
			dial(t, c).request(req)
		}
	}
}

// DETAILS 1
func TestUnknownApiVersionsVersionIsAnsweredInVersion0(t *testing.T) {
	c := dial(t, klammtest.Start(t))
	b := []byte{0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 7, 0, 2, 'm', 'e', 0, 0}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrApiVersionsRequest()
	body, err := c.body(req)
	if err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 {
		t.Fatalf("answer %+v", resp)
	}
}

func batch(n int) []byte {
	b := record.NewCodecs().NewBuilder()
	for i := range n {
		b.Add(time.Now().UnixMilli(), fmt.Appendf(nil, "key-%d", i), []byte("a value of some length, as they come"), nil)
	}
	return b.Bytes()
}

func produceRequest(topic string, id [16]byte, acks int16, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 13, acks, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic, pt.TopicID, pt.Partitions = topic, id, append(pt.Partitions, p)
	req.Topics = append(req.Topics, pt)
	return req
}

// DETAILS 2: with acks=0 nothing is answered, and an error closes the connection.
func TestAcks0(t *testing.T) {
	cluster := klammtest.Start(t)
	id := createTopic(t, cluster, "t")
	c := dial(t, cluster)
	if _, err := c.Write(frame(produceRequest("t", id, 0, batch(3)), 1)); err != nil {
		t.Fatal(err)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version, list.ReplicaID = 7, -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic, lt.Partitions = "t", append(lt.Partitions, p)
	list.Topics = append(list.Topics, lt)
	if resp := c.request(list).(*kmsg.ListOffsetsResponse); resp.Topics[0].Partitions[0].Offset != 3 {
		t.Fatalf("the next answer is %+v", resp.Topics[0])
	}
	if _, err := c.Write(frame(produceRequest("t", [16]byte{9}, 0, batch(3)), 2)); err != nil {
		t.Fatal(err)
	}
	if b, err := c.body(list); err == nil {
		t.Fatalf("an answer of %d bytes to a failed produce with acks=0", len(b))
	}
}

// A fetch that waits hears of what a produce request appends however that request ends: with and without an answer, and by an error of
// another partition, which with acks=0 closes the connection that both share.
func TestParkedFetchHearsOfProduce(t *testing.T) {
	cluster := klammtest.Start(t)
	for _, acks := range []int16{1, -1, 0} {
		for _, failing := range []bool{false, true} {
			name := fmt.Sprintf("acks%d-%v", acks, failing)
			id := createTopic(t, cluster, name)
			get := fetchRequest(id)
			get.MaxWaitMillis = 60_000
			put := produceRequest(name, id, acks, batch(1))
			if failing {
				put.Topics = append(put.Topics, produceRequest("unknown", [16]byte{9}, acks, batch(1)).Topics...)
			}
			c := dial(t, cluster)
			if _, err := c.Write(slices.Concat(frame(get, 1), frame(put, 2))); err != nil { // one after the other: the fetch waits when it is written
				t.Fatal(err)
			}
			b, err := c.body(get)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			resp := get.ResponseKind().(*kmsg.FetchResponse)
			if resp.SetVersion(get.Version); resp.ReadFrom(b) != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
				t.Fatalf("%s: %+v", name, resp)
			}
		}
	}
}

// fetchRequest asks for a topic's first partition from its start, without a session.
func fetchRequest(id [16]byte) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.SessionEpoch = 13, 1, 10<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 1 << 20
	ft := kmsg.NewFetchRequestTopic()
	ft.TopicID, ft.Partitions = id, append(ft.Partitions, p)
	req.Topics = append(req.Topics, ft)
	return req
}

// One Produce and one Fetch through the whole node allocate as much for 10,000 records as for 10.
func TestAllocationsDoNotGrowWithRecords(t *testing.T) {
	cluster := klammtest.Start(t)
	cost := func(records int) (produce, fetch float64) {
		name := fmt.Sprint("t", records)
		id := createTopic(t, cluster, name)
		c := dial(t, cluster)
		send := frame(produceRequest(name, id, 1, batch(records)), 1)
		ask := frame(fetchRequest(id), 2)
		answer := make([]byte, 4<<20)
		round := func(request []byte) {
			if _, err := c.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.r, answer[:4]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.r, answer[:binary.BigEndian.Uint32(answer)]); err != nil {
				t.Fatal(err)
			}
		}
		measure := func(request []byte) float64 {
			const rounds = 200
			for range 20 {
				round(request)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rounds {
				round(request)
			}
			runtime.ReadMemStats(&after)
			return float64(after.Mallocs-before.Mallocs) / rounds
		}
		return measure(send), measure(ask)
	}
	fewProduce, fewFetch := cost(10)
	manyProduce, manyFetch := cost(10_000)
	t.Logf("allocations for 10 and 10,000 records: produce %.1f and %.1f, fetch %.1f and %.1f", fewProduce, manyProduce, fewFetch, manyFetch)
	// Memory files grow by pages, and the collector runs more often with large requests: a hundredth of the records would be
	// 100 allocations.
	if manyProduce > fewProduce+60 || manyFetch > fewFetch+60 {
		t.Fatalf("allocations grow with the records: produce %.1f to %.1f, fetch %.1f to %.1f", fewProduce, manyProduce, fewFetch, manyFetch)
	}
}
