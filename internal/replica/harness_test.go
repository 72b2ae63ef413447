package replica

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/isr"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const self = 1

// broker is a Set over real logs in memory, told of its partitions by records as the publisher does.
type broker struct {
	t        testing.TB
	fs       vfs.FS
	dirs     *logdir.Dirs
	set      *Set
	sessions *fetch.Cache
	image    *metadata.Image
	config   TopicConfig
	offset   int64
}

func newBroker(t testing.TB) *broker { return newBrokerOn(t, vfs.NewMem(nil), "/d") }

func newBrokerOn(t testing.TB, fs vfs.FS, dir string) *broker {
	t.Helper()
	b := &broker{t: t, fs: fs, image: metadata.Empty(), config: TopicConfig{MinISR: 1, Log: storage.Config{
		Delete: true, RetentionAge: -1, RetentionBytes: -1, KeepCodec: true,
		TimestampBefore: 1<<63 - 1, TimestampAfter: 1<<63 - 1}}}
	if _, err := logdir.Format(fs, []string{dir}, logdir.Meta{Version: 1, ClusterID: "c", NodeID: self}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return b.open(dir)
}

// open opens the directory and makes a set that has yet to hear of its partitions.
func (b *broker) open(dir string) *broker {
	b.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	dirs, err := logdir.Open(logdir.Config{FS: b.fs, Dirs: []string{dir}, NodeID: self, Logger: quiet,
		TopicConfig: func(string) storage.Config { return b.config.Log }, OnRecovered: func(id schema.UUID, index int32) { b.set.Recovered(id, index) }})
	if err == nil {
		err = dirs.Load(context.Background())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.dirs = dirs
	b.set = New(Config{Self: self, Dirs: dirs, Codecs: record.NewCodecs(), Logger: quiet, Now: time.Now,
		Topic: func(string) TopicConfig { return b.config }})
	var last int32
	b.sessions = fetch.NewCache(100, fetch.DefaultEviction, func() int32 { last++; return last })
	return b
}

func (b *broker) close() {
	b.t.Helper()
	b.sessions.Close()
	b.set.Close()
	if err := b.dirs.Close(-1); err != nil {
		b.t.Fatal(err)
	}
}

// apply tells the set what records say.
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
	if err := b.set.Apply(d, b.image); err != nil {
		b.t.Fatal(err)
	}
}

func topicID(n byte) schema.UUID { return schema.UUID{15: n} }

// topic makes a topic of partitions that this broker leads, alone or with others.
func (b *broker) topic(name string, id byte, partitions int, replicas ...int32) {
	b.t.Helper()
	if len(replicas) == 0 {
		replicas = []int32{self}
	}
	records := []schema.Record{&schema.Topic{Name: name, TopicID: topicID(id)}}
	for p := range int32(partitions) {
		records = append(records, &schema.Partition{PartitionID: p, TopicID: topicID(id), Replicas: replicas, ISR: replicas, Leader: replicas[0]})
	}
	b.apply(records...)
}

// change changes a partition's leader (-2: none) or ISR (nil: as it is).
func (b *broker) change(id byte, partition, leader int32, isr []int32) {
	b.t.Helper()
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.ISR = topicID(id), partition, isr
	r.Leader = leader
	b.apply(r)
}

const same = -2 // leader of change: as it is

func (b *broker) partition(name string, index int32) *Partition {
	b.t.Helper()
	p, err := b.set.Named(name, index)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// followed says that a follower has everything below offset.
func (p *Partition) followed(replica int32, offset int64) {
	p.mu.Lock()
	hw, rose := p.leader.Fetched(isr.Fetch{Replica: replica, BrokerEpoch: -1, Offset: offset}, time.Now())
	epoch := p.leader.Assignment().LeaderEpoch
	p.mu.Unlock()
	if rose && p.raise(epoch, hw) {
		p.changed()
	}
}

var codecs = record.NewCodecs()

// batch makes one of records with values of a size.
func batch(records, size int, change ...func(*record.Builder)) record.Batch {
	b := codecs.NewBuilder()
	for _, f := range change {
		f(b)
	}
	for i := range records {
		b.Add(int64(1000+i), nil, make([]byte, size), nil)
	}
	return b.Bytes()
}

func producer(id int64, epoch int16, sequence int32) func(*record.Builder) {
	return func(b *record.Builder) { b.ProducerID, b.ProducerEpoch, b.BaseSequence = id, epoch, sequence }
}

func (b *broker) produce(name string, index int32, batches ...record.Batch) storage.Appended {
	b.t.Helper()
	var a storage.Appended
	for _, x := range batches {
		var err error
		if a, err = b.partition(name, index).Produce(x, ProduceOptions{Acks: 1, Version: 9, Now: time.Now()}); err != nil {
			b.t.Fatal(err)
		}
	}
	return a
}

// client fetches over a session.
type client struct {
	b         *broker
	id, epoch int32
	o         FetchOptions

	mu      sync.Mutex // guards:
	answers []string
}

func (b *broker) client(o FetchOptions) *client {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	return &client{b: b, o: o, epoch: fetch.InitialEpoch}
}

func at(name string, partition int32, offset int64) fetch.Wanted {
	return fetch.Wanted{Key: fetch.Key{Topic: name, Partition: partition}, Offset: offset, LogStart: -1, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1}
}

// fetch asks; says what the answer is, "" while there is none.
func (c *client) fetch(wanted ...fetch.Wanted) string {
	c.b.t.Helper()
	s, full, err := c.b.sessions.Begin(fetch.Request{SessionID: c.id, Epoch: c.epoch, Wanted: wanted}, time.Now())
	if err != nil {
		c.b.t.Fatal(err)
	}
	if c.epoch != fetch.FinalEpoch {
		c.id, c.epoch = s.ID, c.epoch+1
	}
	o := c.o
	o.Full = full
	n := c.count()
	now := c.b.set.Fetch(s, o, func(fs []Fetched) { c.answered(s, fs) })
	if now != (c.count() > n) && now {
		c.b.t.Fatal("Fetch says that it has answered, and it has not")
	}
	if !now {
		return ""
	}
	return c.last()
}

func (c *client) answered(s *fetch.Session, fs []Fetched) {
	out := ""
	for _, f := range fs {
		if out != "" {
			out += " | "
		}
		name := f.Part.Topic
		if name == "" {
			name = f.Part.ID.String()
		}
		out += fmt.Sprintf("%s-%d", name, f.Part.Partition)
		hw, start := int64(-1), int64(-1)
		switch {
		case f.Err != nil:
			out += fmt.Sprintf(" %v", f.Err)
		default:
			hw, start = f.View.HighWatermark, f.View.LogStart
			out += fmt.Sprintf(" hw %d", hw)
			if start > 0 {
				out += fmt.Sprintf(" start %d", start)
			}
			if f.Slice.Size > 0 {
				next, err := nextOffset(f.Slice)
				if err != nil {
					out += err.Error()
				}
				out += fmt.Sprintf(" [%d,%d)", f.Slice.First, next)
			}
			if f.Diverging {
				out += fmt.Sprintf(" diverging at epoch %d end %d", f.DivergeAt, f.DivergeEnd)
			}
			for _, a := range f.Aborted {
				out += fmt.Sprintf(" aborted %d from %d", a.ProducerID, a.FirstOffset)
			}
		}
		f.Part.Answered(hw, start, f.Err != nil)
		f.Slice.Release()
	}
	if out == "" {
		out = "nothing"
	}
	s.Done()
	c.mu.Lock()
	c.answers = append(c.answers, out)
	c.mu.Unlock()
}

func (c *client) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers)
}

func (c *client) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) == 0 {
		return ""
	}
	return c.answers[len(c.answers)-1]
}

func (b *broker) watchers(name string, index int32) int {
	w := b.partition(name, index).watchers.Load()
	if w == nil {
		return 0
	}
	return len(*w)
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// delta is a leader's record that was not applied yet.
func (b *broker) delta(id byte, partition, leader int32) *metadata.Delta {
	b.t.Helper()
	d := metadata.NewDelta(b.image)
	r := schema.NewPartitionChange()
	r.TopicID, r.PartitionID, r.Leader = topicID(id), partition, leader
	if err := d.Apply(r); err != nil {
		b.t.Fatal(err)
	}
	return d
}
