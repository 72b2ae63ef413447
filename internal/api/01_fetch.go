package api

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/wire"
)

// Fetch: v4-18
//
// Behaviour:
//   - Consumers read up to the high watermark, with isolation_level 1 up to the last stable offset, and then learn
//     which transactions were aborted.
//   - The first partition with data gives at least one whole batch, beyond every limit (DETAILS 19, KIP-74).
//   - Answers when min_bytes are there, an error is, or max_wait_ms is over; in between the request is parked.
//   - Sessions (v7, KIP-227): see package fetch. Errors of the session stand at the top of the answer.
//   - Bytes of the log are never read here: the answer refers to them.
//
// Version notes:
//   - v5: log start offset. v7: sessions. v9: leader epochs (KIP-320). v11: racks and preferred replicas (KIP-392).
//   - v12: last fetched epoch, diverging epochs (KIP-595). v13: topic ids (KIP-516). v16: hints of the leader (KIP-951).
func (h *Handler) fetch(c *call, req *kmsg.FetchRequest) server.Outcome {
	follower := req.ReplicaID >= 0 || req.ReplicaState.ID >= 0
	r := fetch.Request{SessionID: req.SessionID, Epoch: req.SessionEpoch, UsesIDs: req.Version >= 13, Privileged: follower}
	if req.Version < 7 {
		r.SessionID, r.Epoch = 0, fetch.FinalEpoch
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w := fetch.Wanted{Key: fetch.Key{ID: t.TopicID, Topic: t.Topic, Partition: p.Partition}, Offset: p.FetchOffset,
				LogStart: p.LogStartOffset, MaxBytes: p.PartitionMaxBytes, LeaderEpoch: p.CurrentLeaderEpoch, LastEpoch: p.LastFetchedEpoch}
			r.Wanted = append(r.Wanted, w)
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			r.Forgotten = append(r.Forgotten, fetch.Key{ID: t.TopicID, Topic: t.Topic, Partition: p})
		}
	}
	session, full, err := h.Sessions.Begin(r, h.Now())
	if err != nil {
		e := fetchEncoder{version: req.Version}
		e.begin(c, Code(err), 0)
		e.results(nil)
		c.Reply(e.end(nil))
		return server.Done
	}
	o := replica.FetchOptions{
		MinBytes: int(req.MinBytes), MaxBytes: min(int(req.MaxBytes), h.Settings().Int("fetch.max.bytes")),
		Wait: time.Duration(req.MaxWaitMillis) * time.Millisecond, Committed: req.IsolationLevel == 1, Full: full, Follower: follower,
	}
	if h.Replicas.Fetch(session, o, func(results []replica.Fetched) { h.fetched(c, req, session, results) }) {
		return server.Done
	}
	return server.Parked
}

// fetched encodes an answer and ends the fetch over its session, in this order: the next request of the session may
// come as soon as the answer is out.
func (h *Handler) fetched(c *call, req *kmsg.FetchRequest, session *fetch.Session, results []replica.Fetched) {
	e := fetchEncoder{version: req.Version, committed: req.IsolationLevel == 1}
	e.begin(c, 0, session.ID)
	e.results(results)
	resp := e.end(h.hints(req.Version, results))
	session.Done()
	c.Reply(resp)
}

// hints lists the brokers that the answer names as leaders (KIP-951).
func (h *Handler) hints(version int16, results []replica.Fetched) []kmsg.FetchResponseBroker {
	if version < 16 {
		return nil
	}
	var brokers []kmsg.FetchResponseBroker
	for i := range results {
		r := &results[i]
		if !hinted(r) || slices.ContainsFunc(brokers, func(b kmsg.FetchResponseBroker) bool { return b.NodeID == r.Leader }) {
			continue
		}
		if b, ok := h.Image().Broker(r.Leader); ok && len(b.Endpoints) > 0 {
			brokers = append(brokers, kmsg.FetchResponseBroker{NodeID: b.ID, Host: b.Endpoints[0].Host, Port: int32(b.Endpoints[0].Port), Rack: b.Rack})
		}
	}
	return brokers
}

func hinted(r *replica.Fetched) bool {
	if r.Err == nil || r.Leader < 0 {
		return false
	}
	code := Code(r.Err)
	return code == kerr.NotLeaderForPartition.Code || code == kerr.FencedLeaderEpoch.Code
}

// fetchEncoder builds a Fetch response by hand, so that records stay in their files: everything else goes into one
// buffer, and cuts say where in it which range belongs.
type fetchEncoder struct {
	version   int16
	committed bool
	b         []byte
	cuts      []cut
}

type cut struct {
	at   int // in b
	part wire.Part
}

func (e *fetchEncoder) flexible() bool { return e.version >= 12 }

func (e *fetchEncoder) begin(c *call, code int16, session int32) {
	e.b = wire.Begin(make([]byte, 0, 512), c.Header.Key, c.Header.Version, c.Header.CorrelationID)
	e.int32(0) // throttle time
	if e.version >= 7 {
		e.int16(code)
		e.int32(session)
	}
}

// results writes the topics. Neighbours of one topic share its entry.
func (e *fetchEncoder) results(results []replica.Fetched) {
	topics := 0
	for i := range results {
		if i == 0 || !sameTopic(&results[i], &results[i-1]) {
			topics++
		}
	}
	e.array(topics)
	for i := 0; i < len(results); {
		n := i + 1
		for n < len(results) && sameTopic(&results[n], &results[i]) {
			n++
		}
		if e.version >= 13 {
			e.b = append(e.b, results[i].Part.ID[:]...)
		} else {
			e.string(results[i].Part.Topic)
		}
		e.array(n - i)
		for ; i < n; i++ {
			e.partition(&results[i])
		}
		e.noTags()
	}
}

func sameTopic(a, b *replica.Fetched) bool {
	return a.Part.ID == b.Part.ID && a.Part.Topic == b.Part.Topic
}

func (e *fetchEncoder) partition(r *replica.Fetched) {
	hw, stable, start := int64(-1), int64(-1), int64(-1)
	if r.Err == nil && r.View != nil {
		hw, stable, start = r.View.HighWatermark, r.View.LastStable, r.View.LogStart
	}
	e.int32(r.Part.Partition)
	e.int16(Code(r.Err))
	e.int64(hw)
	e.int64(stable)
	if e.version >= 5 {
		e.int64(start)
	}
	if !e.committed || r.Err != nil {
		e.nullArray()
	} else {
		e.array(len(r.Aborted))
		for _, t := range r.Aborted {
			e.int64(t.ProducerID)
			e.int64(t.FirstOffset)
			e.noTags()
		}
	}
	if e.version >= 11 {
		e.int32(-1) // preferred read replica
	}
	if e.flexible() {
		e.b = binary.AppendUvarint(e.b, uint64(r.Slice.Size)+1)
	} else {
		e.int32(int32(r.Slice.Size))
	}
	for _, f := range r.Slice.Ranges {
		e.cuts = append(e.cuts, cut{len(e.b), wire.Part{File: f}})
	}
	e.partitionTags(r)
	r.Part.Answered(hw, start, r.Err != nil)
}

func (e *fetchEncoder) partitionTags(r *replica.Fetched) {
	if !e.flexible() {
		return
	}
	diverging, leader := r.Diverging, e.version >= 12 && hinted(r)
	n := 0
	if diverging {
		n++
	}
	if leader {
		n++
	}
	e.b = binary.AppendUvarint(e.b, uint64(n))
	if diverging { // tag 0: epoch, end offset, no tags
		e.b = append(e.b, 0, 13)
		e.int32(r.DivergeAt)
		e.int64(r.DivergeEnd)
		e.noTags()
	}
	if leader { // tag 1: leader, epoch, no tags
		e.b = append(e.b, 1, 9)
		e.int32(r.Leader)
		e.int32(r.Epoch)
		e.noTags()
	}
}

// end closes the message and puts the ranges in their places.
func (e *fetchEncoder) end(brokers []kmsg.FetchResponseBroker) wire.Response {
	if e.flexible() {
		e.tail(brokers)
	}
	resp := make(wire.Response, 0, 2*len(e.cuts)+1)
	from := 0
	for _, c := range e.cuts {
		if c.at > from {
			resp = append(resp, wire.Part{Bytes: e.b[from:c.at]})
		}
		resp = append(resp, c.part)
		from = c.at
	}
	if from < len(e.b) {
		resp = append(resp, wire.Part{Bytes: e.b[from:]})
	}
	resp.Seal()
	return resp
}

// tail writes the top level's tags: tag 0 holds the endpoints of leaders.
func (e *fetchEncoder) tail(brokers []kmsg.FetchResponseBroker) {
	if len(brokers) == 0 {
		e.noTags()
		return
	}
	var body fetchEncoder
	body.version = e.version
	body.array(len(brokers))
	for _, b := range brokers {
		body.int32(b.NodeID)
		body.string(b.Host)
		body.int32(b.Port)
		if b.Rack == nil {
			body.b = append(body.b, 0)
		} else {
			body.string(*b.Rack)
		}
		body.noTags()
	}
	e.b = append(e.b, 1, 0)
	e.b = binary.AppendUvarint(e.b, uint64(len(body.b)))
	e.b = append(e.b, body.b...)
}

func (e *fetchEncoder) int16(v int16) { e.b = binary.BigEndian.AppendUint16(e.b, uint16(v)) }
func (e *fetchEncoder) int32(v int32) { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *fetchEncoder) int64(v int64) { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }

func (e *fetchEncoder) string(s string) {
	if e.flexible() {
		e.b = binary.AppendUvarint(e.b, uint64(len(s))+1)
	} else {
		e.int16(int16(len(s)))
	}
	e.b = append(e.b, s...)
}

func (e *fetchEncoder) array(n int) {
	if e.flexible() {
		e.b = binary.AppendUvarint(e.b, uint64(n)+1)
	} else {
		e.int32(int32(n))
	}
}

func (e *fetchEncoder) nullArray() {
	if e.flexible() {
		e.b = append(e.b, 0)
	} else {
		e.int32(-1)
	}
}

func (e *fetchEncoder) noTags() {
	if e.flexible() {
		e.b = append(e.b, 0)
	}
}
