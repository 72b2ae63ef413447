package api

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/share"
	"github.com/klamm-io/klamm/internal/share/delivery"
	"github.com/klamm-io/klamm/internal/wire"
)

// ShareFetch: v1-2
//
// Behaviour:
//   - Acquires records of the partitions of a member's share session, after taking in what the member acknowledges. The
//     answer has both outcomes for each partition.
//   - Sessions: epoch 0 opens one, and must not acknowledge; -1 acknowledges, fetches nothing, and releases what is held;
//     others must come in order. The answer names partitions with news, and the first one all.
//   - Where there is no room for a session, the answer waits for max_wait_ms, 30 s at most, as all do: the client would come again at once.
//   - Records are whole batches, as they stand in the log; AcquiredRecords says which of them are the member's.
//   - Bytes of the log are never read here: the answer refers to them.
//
// Version notes:
//   - v2: record_limit (KIP-1206); renewal of holds (KIP-1222): with IsRenewAck nothing is fetched, and sizes are 0.
//
// See KIP-932.
func (h *Handler) shareFetch(c *call, req *kmsg.ShareFetchRequest) server.Outcome {
	renews := req.Version >= 2 && req.IsRenewAck
	err := h.shareMember(req.GroupID, req.MemberID)
	if err == nil && renews && (req.MaxBytes != 0 || req.MinBytes != 0 || req.MaxRecords != 0 || req.MaxWaitMillis != 0) {
		err = kerr.InvalidRequest
	}
	if err != nil {
		return c.shareFetchError(err)
	}
	r := share.Request{Group: *req.GroupID, Member: *req.MemberID, Epoch: req.ShareSessionEpoch, Connection: c.Conn.ID(), OnClose: c.Conn.OnClose}
	acks := &sharePartitions{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			tp := share.TopicPartition{ID: t.TopicID, Index: p.Partition}
			r.Add = append(r.Add, tp)
			r.Acknowledgement = r.Acknowledgement || len(p.AcknowledgementBatches) > 0
			x := acks.of(tp)
			for _, b := range p.AcknowledgementBatches {
				x.acks = append(x.acks, delivery.Acknowledgement{First: b.FirstOffset, Last: b.LastOffset, Types: b.AcknowledgeTypes})
			}
		}
	}
	for _, t := range req.ForgottenTopicsData {
		for _, p := range t.Partitions {
			r.Forget = append(r.Forget, share.TopicPartition{ID: t.TopicID, Index: p})
		}
	}
	session, err := h.SharePartitions.Begin(r)
	if err == kerr.ShareSessionLimitReached {
		h.SharePartitions.Linger(r, time.Duration(req.MaxWaitMillis)*time.Millisecond, func() { c.shareFetchError(err) })
		return server.Parked
	}
	if err != nil {
		return c.shareFetchError(err)
	}
	f := &shareFetching{c: c, req: req, session: session, group: h.SharePartitions.Group(r.Group), acks: &sharePartitions{}}
	both := newCountdown(2, f.reply)
	if r.Acknowledgement {
		f.acks = acks
		h.acknowledge(r.Group, r.Member, acks, req.Version >= 2, renews, both.done)
	} else {
		both.done()
	}
	if r.Epoch == share.FinalEpoch || renews {
		both.done()
		return server.Parked
	}
	f.fetch(both.done)
	return server.Parked
}

// shareMember checks who asks, and whether share groups are there at all.
func (h *Handler) shareMember(group, member *string) error {
	switch {
	case h.Image().Feature(metadata.ShareVersionFeature) < 1:
		return kerr.UnsupportedVersion
	case group == nil, member == nil, *member == "", len(*member) > maxShareMember:
		return kerr.InvalidRequest
	}
	return nil
}

// maxShareMember is the length of a UUID as text: members make their ids themselves.
const maxShareMember = 36

func (c *call) shareFetchError(err error) server.Outcome {
	resp := kmsg.NewPtrShareFetchResponse()
	resp.ErrorCode = Code(err)
	return c.reply(resp)
}

// shareFetching is one ShareFetch while its two halves are under way.
type shareFetching struct {
	c       *call
	req     *kmsg.ShareFetchRequest
	session *share.Session
	group   share.Group
	acks    *sharePartitions
	fetched []share.Fetched
}

// fetch begins the second half: what the session asks for, but what cannot be fetched at all.
func (f *shareFetching) fetch(done func()) {
	h, req := f.c.h, f.req
	image := h.Image()
	var refused []share.Fetched
	var parts []share.TopicPartition
	for _, tp := range f.session.Partitions(req.ShareSessionEpoch) {
		if err := sharePartitionIn(image, tp); err != nil {
			refused = append(refused, share.Fetched{TopicPartition: tp, Err: err})
		} else {
			parts = append(parts, tp)
		}
	}
	if len(parts) == 0 {
		f.fetched = refused
		done()
		return
	}
	most := min(int(req.MaxBytes), h.Settings().Int("fetch.max.bytes"))
	h.SharePartitions.Fetch(f.session, share.FetchOptions{
		Group: *req.GroupID, Member: *req.MemberID, MinBytes: min(int(req.MinBytes), most), MaxBytes: most,
		Wait: time.Duration(req.MaxWaitMillis) * time.Millisecond, MaxRecords: int(req.MaxRecords), BatchSize: int(req.BatchSize),
		RecordLimit: req.ShareAcquireMode == 1, Config: f.group,
	}, parts, func(fetched []share.Fetched) {
		f.fetched = append(fetched, refused...)
		done()
	})
}

// sharePartitionIn says why a partition cannot be fetched or acknowledged.
func sharePartitionIn(image *metadata.Image, tp share.TopicPartition) error {
	t, ok := image.TopicByID(tp.ID)
	if !ok {
		return kerr.UnknownTopicID
	}
	if _, ok := t.Partition(tp.Index); !ok {
		return kerr.UnknownTopicOrPartition
	}
	return nil
}

// reply answers when both halves are done. A session that is closed ends before the answer, so that what it held is free
// when the client hears.
func (f *shareFetching) reply() {
	epoch := f.req.ShareSessionEpoch
	out := f.acks
	for i := range f.fetched {
		r := &f.fetched[i]
		if f.session.Tell(epoch, r.TopicPartition, r.Slice.Size > 0, r.Err != nil) {
			x := out.of(r.TopicPartition)
			x.err, x.fetched = r.Err, r
		}
	}
	if epoch == share.FinalEpoch {
		f.session.End()
	}
	f.c.Reply(f.c.encodeShareFetch(out, f.group.Lock))
}

// sharePartition is what a request says of a partition, and what the answer will.
type sharePartition struct {
	share.TopicPartition
	acks    []delivery.Acknowledgement
	ackErr  error
	err     error
	fetched *share.Fetched // nil if it was only acknowledged
}

// sharePartitions are those of a request, by topic in the order of their coming.
type sharePartitions struct {
	topics []schema.UUID
	by     map[schema.UUID][]*sharePartition
	index  map[share.TopicPartition]*sharePartition
}

func (s *sharePartitions) of(tp share.TopicPartition) *sharePartition {
	if x := s.index[tp]; x != nil {
		return x
	}
	if s.index == nil {
		s.index, s.by = map[share.TopicPartition]*sharePartition{}, map[schema.UUID][]*sharePartition{}
	}
	x := &sharePartition{TopicPartition: tp}
	if s.by[tp.ID] == nil {
		s.topics = append(s.topics, tp.ID)
	}
	s.by[tp.ID] = append(s.by[tp.ID], x)
	s.index[tp] = x
	return x
}

func (s *sharePartitions) each(f func(*sharePartition)) {
	for _, id := range s.topics {
		for _, x := range s.by[id] {
			f(x)
		}
	}
}

// keep forgets the others.
func (s *sharePartitions) keep(which func(*sharePartition) bool) {
	var rest sharePartitions
	s.each(func(x *sharePartition) {
		if which(x) {
			*rest.of(x.TopicPartition) = *x
		}
	})
	*s = rest
}

// encodeShareFetch builds the response by hand, so that records stay in their files.
func (c *call) encodeShareFetch(s *sharePartitions, lock time.Duration) wire.Response {
	e := fetchEncoder{version: flexibleFetch}
	e.b = wire.Begin(make([]byte, 0, 512), c.Header.Key, c.Header.Version, c.Header.CorrelationID)
	e.int32(0) // throttle time
	e.int16(0)
	e.b = append(e.b, 0) // no message
	e.int32(int32(lock.Milliseconds()))
	e.array(len(s.topics))
	leaders := shareLeaders{h: c.h}
	for _, id := range s.topics {
		e.b = append(e.b, id[:]...)
		e.array(len(s.by[id]))
		for _, x := range s.by[id] {
			e.sharePartition(x, &leaders)
		}
		e.noTags()
	}
	e.array(len(leaders.brokers))
	for _, b := range leaders.brokers {
		e.int32(b.ID)
		e.string(b.Endpoints[0].Host)
		e.int32(int32(b.Endpoints[0].Port))
		e.nullableString(b.Rack)
		e.noTags()
	}
	return e.end(nil)
}

// flexibleFetch is a version of Fetch whose arrays and strings are written as ShareFetch's.
const flexibleFetch = 12

func (e *fetchEncoder) sharePartition(x *sharePartition, leaders *shareLeaders) {
	e.int32(x.Index)
	e.int16(Code(x.err))
	e.b = append(e.b, 0) // no message: Kafka leaves it out here
	e.int16(Code(x.ackErr))
	e.nullableString(message(x.ackErr))
	leader, epoch := leaders.hint(x.TopicPartition, x.err)
	e.int32(leader)
	e.int32(epoch)
	e.noTags()
	var r share.Fetched
	if x.fetched != nil {
		r = *x.fetched
	}
	e.b = binary.AppendUvarint(e.b, uint64(r.Slice.Size)+1)
	for _, f := range r.Slice.Ranges {
		e.cuts = append(e.cuts, cut{len(e.b), wire.Part{File: f}})
	}
	e.array(len(r.Acquired))
	for _, a := range r.Acquired {
		e.int64(a.First)
		e.int64(a.Last)
		e.int16(a.Deliveries)
		e.noTags()
	}
	e.noTags()
}

func (e *fetchEncoder) nullableString(s *string) {
	if s == nil {
		e.b = append(e.b, 0)
		return
	}
	e.string(*s)
}

// message is the text of an error that has more to say than its code.
func message(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	if k, ok := err.(*kerr.Error); ok {
		text = k.Description
	}
	return &text
}

// shareLeaders collects the brokers that an answer names as leaders (KIP-951).
type shareLeaders struct {
	h       *Handler
	brokers []*metadata.Broker
}

// hint tells who leads a partition that is not led here; 0 and 0 where that is not the error, as Kafka has it.
func (l *shareLeaders) hint(tp share.TopicPartition, err error) (leader, epoch int32) {
	if code := Code(err); code != kerr.NotLeaderForPartition.Code && code != kerr.FencedLeaderEpoch.Code {
		return 0, 0
	}
	image := l.h.Image()
	t, ok := image.TopicByID(tp.ID)
	if !ok {
		return -1, -1
	}
	p, ok := t.Partition(tp.Index)
	if !ok {
		return -1, -1
	}
	if b, ok := image.Broker(p.Leader); ok && len(b.Endpoints) > 0 {
		known := false
		for _, o := range l.brokers {
			known = known || o.ID == b.ID
		}
		if !known {
			l.brokers = append(l.brokers, b)
		}
	}
	return p.Leader, p.LeaderEpoch
}
