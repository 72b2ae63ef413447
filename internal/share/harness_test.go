package share

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/share/delivery"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a Set over real logs in memory. It runs in a bubble of virtual time.
type broker struct {
	t      *testing.T
	dirs   *logdir.Dirs
	logs   *replica.Set
	set    *Set
	disk   *persister
	image  *metadata.Image
	offset int64
	group  Group
	most   int // sessions

	connections int
	closing     map[uint64]func()
	fetches     []*fetching
}

var topic = schema.UUID{15: 7}

// run runs a test with a broker that leads partitions 0 and 1 of a topic.
func run(t *testing.T, f func(t *testing.T, b *broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		f(t, b)
		b.set.Close()
		b.logs.Close()
		if err := b.dirs.Close(-1); err != nil {
			t.Fatal(err)
		}
		for _, x := range b.fetches {
			if x.answers != 1 {
				t.Fatalf("%s was answered %d times", x.member, x.answers)
			}
		}
	})
}

func newBroker(t *testing.T) *broker {
	b := &broker{t: t, image: metadata.Empty(), disk: &persister{states: map[string]*state{}}, most: 10, closing: map[uint64]func(){},
		group: Group{Reset: Earliest, Config: delivery.Config{MaxDeliveries: 5, MaxLocks: 1000, Lock: 30 * time.Second, Renew: true}}}
	quiet, fs := slog.New(slog.DiscardHandler), vfs.NewMem(nil)
	config := replica.TopicConfig{MinISR: 1, Log: storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: -1, KeepCodec: true,
		TimestampBefore: 1<<63 - 1, TimestampAfter: 1<<63 - 1}}
	if _, err := logdir.Format(fs, []string{"/d"}, logdir.Meta{Version: 1, ClusterID: "c", NodeID: 1}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	var err error
	b.dirs, err = logdir.Open(logdir.Config{FS: fs, Dirs: []string{"/d"}, NodeID: 1, Logger: quiet, TopicConfig: func(string) storage.Config { return config.Log }})
	if err == nil {
		err = b.dirs.Load(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	b.logs = replica.New(replica.Config{Self: 1, Dirs: b.dirs, Codecs: record.NewCodecs(), Logger: quiet, Now: time.Now,
		Topic: func(string) replica.TopicConfig { return config }})
	b.set = New(Config{Replicas: b.logs, Persister: b.disk, Group: func(string) Group { return b.group }, MaxSessions: func() int { return b.most },
		Now: time.Now, Logger: quiet})
	records := []schema.Record{&schema.Topic{Name: "t", TopicID: topic}}
	for p := range int32(2) {
		records = append(records, &schema.Partition{PartitionID: p, TopicID: topic, Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1})
	}
	b.apply(records...)
	return b
}

func (b *broker) apply(records ...schema.Record) {
	b.t.Helper()
	d := metadata.NewDelta(b.image)
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			b.t.Fatal(err)
		}
		b.offset++
	}
	b.image = d.Image(b.offset, 1)
	if err := b.logs.Apply(d, b.image); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

// lead makes a broker the leader of partition 0.
func (b *broker) lead(leader int32) {
	b.t.Helper()
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.ISR, r.Leader = topic, 0, []int32{leader}, leader
	b.apply(r)
}

// produce appends batches of so many records.
func (b *broker) produce(partition int32, batches ...int) {
	b.t.Helper()
	p, err := b.logs.Named("t", partition)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, n := range batches {
		x := record.NewCodecs().NewBuilder()
		for range n {
			x.Add(1000, nil, make([]byte, 100), nil)
		}
		if _, err := p.Produce(x.Bytes(), replica.ProduceOptions{Acks: 1, Version: 9, Now: time.Now()}); err != nil {
			b.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// member is a consumer with its session on a connection of its own.
type member struct {
	*broker
	name       string
	connection uint64
	session    *Session
	epoch      int32
}

func (b *broker) member(name string, partitions ...int32) *member {
	b.t.Helper()
	b.connections++
	m := &member{broker: b, name: name, connection: uint64(b.connections)}
	if err := m.open(partitions...); err != nil {
		b.t.Fatal(err)
	}
	return m
}

func at(index int32) TopicPartition { return TopicPartition{topic, index} }

func (m *member) open(partitions ...int32) (err error) {
	r := Request{Group: "g", Member: m.name, Epoch: InitialEpoch, Connection: m.connection, OnClose: func(f func()) { m.closing[m.connection] = f }}
	for _, p := range partitions {
		r.Add = append(r.Add, at(p))
	}
	m.session, err = m.set.Begin(r)
	return err
}

// fetching is a fetch and its answer.
type fetching struct {
	member string

	mu      sync.Mutex // guards:
	answers int
	text    string
	got     []Fetched
}

func (x *fetching) answer() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text
}

// fetch fetches with a wait of ten seconds, unless the options say otherwise.
func (m *member) fetch(change ...func(*FetchOptions)) *fetching {
	o := FetchOptions{Group: "g", Member: m.name, MinBytes: 1, MaxBytes: 1 << 20, Wait: 10 * time.Second, MaxRecords: 500, BatchSize: 500, Config: m.group}
	for _, f := range change {
		f(&o)
	}
	x := &fetching{member: m.name, text: "waits"}
	m.fetches = append(m.fetches, x)
	m.set.Fetch(m.session, o, m.session.Partitions(m.epoch), func(got []Fetched) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.answers++
		x.got, x.text = got, ""
		for _, r := range got {
			if x.text != "" {
				x.text += "; "
			}
			x.text += fmt.Sprintf("%d:", r.Index)
			if r.Err != nil {
				x.text += " " + r.Err.Error()
			}
			for _, a := range r.Acquired {
				x.text += fmt.Sprintf(" %d-%d x%d", a.First, a.Last, a.Deliveries)
			}
			if r.Slice.Size > 0 {
				x.text += " of" + bounds(m.t, r)
			}
			r.Slice.Release()
		}
		if x.text == "" {
			x.text = "nothing"
		}
	})
	synctest.Wait()
	return x
}

// bounds lists the batches that are sent.
func bounds(t *testing.T, r Fetched) string {
	b, err := r.Slice.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for len(b) > 0 {
		var x record.Batch
		if x, b, err = record.Next(b); err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf(" [%d %d]", x.BaseOffset(), x.LastOffset())
	}
	return out
}

func (x *fetching) want(t *testing.T, want string) {
	t.Helper()
	if got := x.answer(); got != want {
		t.Fatalf("%s:\n got %s\nwant %s", x.member, got, want)
	}
}

// ack acknowledges offsets of partition 0. What it gives is filled in when the answer is there.
func (m *member) ack(first, last int64, kind int8) *string {
	answer := "waits"
	m.set.Acknowledge("g", m.name, at(0), []delivery.Acknowledgement{{First: first, Last: last, Types: []int8{kind}}}, func(err error) {
		if answer != "waits" {
			m.t.Errorf("%s was answered twice", m.name)
		}
		if answer = "ok"; err != nil {
			answer = err.Error()
		}
	})
	synctest.Wait()
	return &answer
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// persister is a share coordinator of few words.
type persister struct {
	mu     sync.Mutex // guards all below
	states map[string]*state
	codes  []int16                 // the next answers' errors
	hold   bool                    // answers wait
	held   []func()                // answers that wait
	delay  map[int32]time.Duration // of a partition's answers
	always map[int32]*kerr.Error   // of a partition's answers
	called func()                  // by the next call, before its answer
	log    []string
}

type state struct {
	start   int64
	epoch   int32
	batches map[int64]delivery.StateBatch // by offset
}

func (p *persister) of(group string, id [16]byte, index int32) *state {
	key := fmt.Sprint(group, id, index)
	if p.states[key] == nil {
		p.states[key] = &state{start: -1, batches: map[int64]delivery.StateBatch{}}
	}
	return p.states[key]
}

func (p *persister) Call(req kmsg.Request, reply func(kmsg.Response)) {
	answer := func() { reply(p.answer(req)) }
	p.mu.Lock()
	called := p.called
	p.called = nil
	p.mu.Unlock()
	if called != nil {
		called()
	}
	p.mu.Lock()
	hold, delay := p.hold, p.delay[indexOf(req)]
	if hold {
		p.held = append(p.held, answer)
	}
	p.mu.Unlock()
	switch {
	case hold:
	case delay > 0:
		time.AfterFunc(delay, answer)
	default:
		answer()
	}
}

func indexOf(req kmsg.Request) int32 {
	switch r := req.(type) {
	case *kmsg.ReadShareGroupStateRequest:
		return r.Topics[0].Partitions[0].Partition
	case *kmsg.WriteShareGroupStateRequest:
		return r.Topics[0].Partitions[0].Partition
	}
	return -1
}

// fail gives the next answers errors; hold has them wait.
func (p *persister) fail(codes ...*kerr.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range codes {
		p.codes = append(p.codes, e.Code)
	}
}

func (p *persister) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = true
}

// release lets the answers come.
func (p *persister) release() {
	p.mu.Lock()
	held := p.held
	p.hold, p.held = false, nil
	p.mu.Unlock()
	for _, f := range held {
		f()
	}
	synctest.Wait()
}

func (p *persister) answer(req kmsg.Request) kmsg.Response {
	p.mu.Lock()
	defer p.mu.Unlock()
	var code int16
	if len(p.codes) > 0 {
		code, p.codes = p.codes[0], p.codes[1:]
	}
	if e := p.always[indexOf(req)]; e != nil {
		code = e.Code
	}
	switch r := req.(type) {
	case *kmsg.ReadShareGroupStateRequest:
		in := r.Topics[0].Partitions[0]
		x := kmsg.NewReadShareGroupStateResponseTopicPartition()
		x.Partition, x.ErrorCode = in.Partition, code
		p.log = append(p.log, fmt.Sprintf("read %d epoch %d", in.Partition, in.LeaderEpoch))
		if code == 0 {
			s := p.of(r.GroupID, r.Topics[0].TopicID, in.Partition)
			x.StartOffset, x.StateEpoch = s.start, s.epoch
			for o := max(s.start, 0); o < 1000; o++ {
				if b, ok := s.batches[o]; ok {
					if n := len(x.StateBatches); n > 0 {
						if l := &x.StateBatches[n-1]; l.LastOffset == o-1 && l.DeliveryState == int8(b.State) && l.DeliveryCount == b.Deliveries {
							l.LastOffset = o
							continue
						}
					}
					y := kmsg.NewReadShareGroupStateResponseTopicPartitionStateBatch()
					y.FirstOffset, y.LastOffset, y.DeliveryState, y.DeliveryCount = o, o, int8(b.State), b.Deliveries
					x.StateBatches = append(x.StateBatches, y)
				}
			}
		}
		resp := kmsg.NewPtrReadShareGroupStateResponse()
		resp.Topics = []kmsg.ReadShareGroupStateResponseTopic{{TopicID: r.Topics[0].TopicID, Partitions: []kmsg.ReadShareGroupStateResponseTopicPartition{x}}}
		return resp
	case *kmsg.WriteShareGroupStateRequest:
		in := r.Topics[0].Partitions[0]
		text := fmt.Sprintf("write %d start %d complete %d", in.Partition, in.StartOffset, in.DeliveryCompleteCount)
		s := p.of(r.GroupID, r.Topics[0].TopicID, in.Partition)
		if code == 0 && in.StateEpoch != s.epoch {
			code = kerr.FencedStateEpoch.Code
		}
		for _, b := range in.StateBatches {
			text += fmt.Sprintf(" %d-%d %s x%d", b.FirstOffset, b.LastOffset, delivery.State(b.DeliveryState), b.DeliveryCount)
			for o := b.FirstOffset; o <= b.LastOffset && code == 0; o++ {
				s.batches[o] = delivery.StateBatch{First: o, Last: o, State: delivery.State(b.DeliveryState), Deliveries: b.DeliveryCount}
			}
		}
		if code == 0 {
			s.start = in.StartOffset
		}
		p.log = append(p.log, text)
		x := kmsg.NewWriteShareGroupStateResponseTopicPartition()
		x.Partition, x.ErrorCode = in.Partition, code
		resp := kmsg.NewPtrWriteShareGroupStateResponse()
		resp.Topics = []kmsg.WriteShareGroupStateResponseTopic{{TopicID: r.Topics[0].TopicID, Partitions: []kmsg.WriteShareGroupStateResponseTopicPartition{x}}}
		return resp
	}
	panic(fmt.Sprintf("%T", req))
}

func (p *persister) took() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.log, "; ")
	p.log = nil
	return s
}
