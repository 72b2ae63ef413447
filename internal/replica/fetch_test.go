package replica

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// bubble runs a test over a broker in virtual time.
func bubble(t *testing.T, f func(t *testing.T, b *broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		f(t, b)
		b.close()
	})
}

func TestFetchWithoutASession(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		b.produce("t", 0, batch(3, 10), batch(2, 10))
		c := b.client(FetchOptions{MinBytes: 1})
		c.epoch = fetch.FinalEpoch
		want(t, "from the start", c.fetch(at("t", 0, 0), at("t", 1, 0)), "t-0 hw 5 [0,5) | t-1 hw 0")
		want(t, "inside a batch", c.fetch(at("t", 0, 1)), "t-0 hw 5 [0,5)")
		want(t, "at the end", c.fetch(at("t", 0, 5)), "t-0 hw 5")
		want(t, "beyond", c.fetch(at("t", 0, 6)), "t-0 offset 6 is outside the log, which is [0, 5]")
		want(t, "unknown", c.fetch(at("t", 2, 0), at("x", 0, 0)), "t-2 "+ErrUnknownPartition.Error()+" | x-0 "+ErrUnknownPartition.Error())
	})
}

func TestLongPoll(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		for _, session := range []bool{false, true} {
			base := b.partition("t", 0).log.View().LogEnd
			c := b.client(FetchOptions{MinBytes: 1, Wait: 500 * time.Millisecond})
			if !session {
				c.epoch = fetch.FinalEpoch
			}
			begun := time.Now()
			want(t, "nothing yet", c.fetch(at("t", 0, base), at("t", 1, 0)), "")
			time.Sleep(100 * time.Millisecond)
			b.produce("t", 0, batch(2, 10))
			synctest.Wait()
			full := fmt.Sprintf("t-0 hw %d [%d,%d)", base+2, base, base+2)
			other := " | t-1 hw 0"
			if got := c.last(); got != full+other && got != "t-1 hw 0 | "+full {
				t.Fatalf("woken: %q", got)
			}
			want(t, "time", time.Since(begun).String(), "100ms")
			again := at("t", 0, base+2)
			if !session {
				c.fetch(again)
			} else {
				want(t, "nothing again", c.fetch(again), "")
			}
			time.Sleep(499 * time.Millisecond)
			n := c.count()
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if c.count() != n+1 {
				t.Fatalf("session %v: %d answers at the time limit, %d before", session, c.count(), n)
			}
			if session {
				want(t, "no news", c.last(), "nothing")
				want(t, "again", c.fetch(), "")
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if n := b.watchers("t", 0); n != map[bool]int{false: 0, true: 1}[session] {
				t.Fatalf("session %v: %d watchers", session, n)
			}
		}
	})
}

// A partition that has some bytes already must still wake its fetch when it gets the rest.
func TestMinBytesOfOnePartition(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		c := b.client(FetchOptions{MinBytes: 1000, Wait: time.Minute})
		want(t, "nothing", c.fetch(at("t", 0, 0)), "")
		for range 3 {
			b.produce("t", 0, batch(1, 200))
			synctest.Wait()
			want(t, "too little", c.last(), "")
		}
		b.produce("t", 0, batch(1, 500))
		synctest.Wait()
		want(t, "enough", c.last(), "t-0 hw 4 [0,4)")
	})
}

func TestMinBytesOverManyPartitions(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		const n = 20
		b.topic("t", 1, n)
		c := b.client(FetchOptions{MinBytes: n * 100, Wait: time.Minute})
		var wanted []fetch.Wanted
		for p := range int32(n) {
			wanted = append(wanted, at("t", p, 0))
		}
		want(t, "nothing", c.fetch(wanted...), "")
		for p := range int32(n) {
			want(t, "too little", c.last(), "")
			b.produce("t", p, batch(1, 34)) // 102 bytes with its header
			synctest.Wait()
		}
		if c.count() != 1 {
			t.Fatalf("%d answers", c.count())
		}
	})
}

// What one request appends to several partitions is one piece of news: who waits looks when all is there. One fetch looks on the
// goroutine that tells, the others beside it; one that has not enough waits on.
func TestNewsOfOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		clients := []*client{b.client(FetchOptions{MinBytes: 1, Wait: time.Minute}), b.client(FetchOptions{MinBytes: 1, Wait: time.Minute}),
			b.client(FetchOptions{MinBytes: 10_000, Wait: time.Minute})}
		var news News
		write := func(size int) {
			for p := range int32(2) {
				if _, err := b.partition("t", p).Produce(batch(1, size), ProduceOptions{Acks: 1, Version: 9, Now: time.Now(), News: &news}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for _, c := range clients {
					want(t, "not told", c.last(), "")
				}
			}
			news.Tell()
		}
		for _, c := range clients {
			want(t, "nothing", c.fetch(at("t", 0, 0), at("t", 1, 0)), "")
		}
		write(100)
		if clients[0].count()+clients[1].count() == 0 {
			t.Fatal("nobody looked on the goroutine that told")
		}
		synctest.Wait()
		for _, c := range clients[:2] {
			want(t, "told", c.last(), "t-0 hw 1 [0,1) | t-1 hw 1 [0,1)")
		}
		want(t, "too little", clients[2].last(), "")
		clients = clients[2:]
		write(10_000)
		want(t, "enough", clients[0].last(), "t-0 hw 2 [0,2) | t-1 hw 2 [0,2)")
		if news.Tell(); clients[0].count() != 1 {
			t.Fatal("the same news twice")
		}
	})
}

// News that are not told yet, because their request still works at another partition, hold no fetch: other news answer it, and its time
// limit does.
func TestNewsThatAreNotTold(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		c := b.client(FetchOptions{MinBytes: 1})
		want(t, "at first both", c.fetch(at("t", 0, 0), at("t", 1, 0)), "t-0 hw 0 | t-1 hw 0")
		c.o.Wait = time.Second
		want(t, "nothing", c.fetch(), "")
		var news News
		if _, err := b.partition("t", 0).Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now(), News: &news}); err != nil {
			t.Fatal(err)
		}
		b.produce("t", 1, batch(1, 10))
		synctest.Wait()
		want(t, "the other partition's", c.last(), "t-1 hw 1 [0,1)")
		want(t, "nothing", c.fetch(at("t", 1, 1)), "")
		time.Sleep(c.o.Wait) // in virtual time
		synctest.Wait()
		want(t, "the time limit", c.last(), "nothing")
		want(t, "nothing", c.fetch(), "")
		news.Tell()
		want(t, "told", c.last(), "t-0 hw 1 [0,1)")
	})
}

// watched is a file system that tells what is read.
type watched struct {
	vfs.FS
	read func(name string)
}

func (w *watched) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := w.FS.OpenFile(name, flag, perm)
	return watchedFile{f, w}, err
}

type watchedFile struct {
	vfs.File
	of *watched
}

func (f watchedFile) ReadAt(b []byte, at int64) (int, error) {
	if f.of.read != nil {
		f.of.read(f.Name())
	}
	return f.File.ReadAt(b, at)
}

// A fetch that looks on the goroutine of a request, and has more news meanwhile, goes on beside it. One of many partitions does not
// look there at all: the request is over before it has read.
func TestResumedFetchGoesOnBeside(t *testing.T) {
	for _, partitions := range []int32{2, resumeMax + 1} {
		synctest.Test(t, func(t *testing.T) {
			disk := &watched{FS: vfs.NewMem(nil)}
			b := newBrokerOn(t, disk, "/d")
			defer b.close()
			b.topic("t", 1, int(partitions))
			c := b.client(FetchOptions{MinBytes: 150, Wait: time.Minute})
			var wanted []fetch.Wanted
			for p := range partitions {
				wanted = append(wanted, at("t", p, 0))
			}
			want(t, "nothing", c.fetch(wanted...), "")
			var news News
			if _, err := b.partition("t", 0).Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now(), News: &news}); err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			meanwhile := sync.OnceFunc(func() {
				if partitions > resumeMax {
					<-over
				}
				b.produce("t", 1, batch(1, 10))
			})
			disk.read = func(name string) {
				if strings.Contains(name, "/t-0/") {
					meanwhile()
				}
			}
			news.Tell()
			close(over)
			synctest.Wait()
			if got := c.last(); !strings.HasPrefix(got, "t-0 hw 1 [0,1) | t-1 hw 1 [0,1)") {
				t.Errorf("%d partitions: %s", partitions, got)
			}
		})
	}
}

// DETAILS 22: more would not come from the segment that the fetch reads.
func TestOlderSegmentAnswersAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.config.Log.SegmentBytes = 300
		b.topic("t", 1, 1)
		b.produce("t", 0, batch(1, 200), batch(1, 200))
		c := b.client(FetchOptions{MinBytes: 10_000, Wait: time.Minute})
		want(t, "the first segment", c.fetch(at("t", 0, 0)), "t-0 hw 2 [0,1)")
		want(t, "the last one", c.fetch(at("t", 0, 1)), "")
		b.produce("t", 0, batch(1, 200))
		synctest.Wait()
		want(t, "rolled under the fetch", c.last(), "t-0 hw 3 [1,2)")
	})
}

// An answer that is full cannot get fuller.
func TestFullAnswerDoesNotWaitForMinBytes(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		b.produce("t", 0, batch(1, 300), batch(1, 300))
		c := b.client(FetchOptions{MinBytes: 10_000, MaxBytes: 200, Wait: time.Minute})
		want(t, "one batch", c.fetch(at("t", 0, 0)), "t-0 hw 2 [0,1)") // DETAILS 19
	})
}

// A partition that an answer had no room for comes in the next one, although nothing happens to it and the client does
// not name it again. DETAILS 19, 20.
func TestNobodyStarves(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 3)
		for p := range int32(3) {
			b.produce("t", p, batch(1, 300))
		}
		c := b.client(FetchOptions{MinBytes: 1, MaxBytes: 500, Wait: time.Minute})
		want(t, "room for one", c.fetch(at("t", 0, 0), at("t", 1, 0), at("t", 2, 0)), "t-0 hw 1 [0,1) | t-1 hw 1 | t-2 hw 1")
		want(t, "the second", c.fetch(at("t", 0, 1)), "t-1 hw 1 [0,1)")
		want(t, "the third", c.fetch(at("t", 1, 1)), "t-2 hw 1 [0,1)")
		want(t, "the third, which the client did not take", c.fetch(), "t-2 hw 1 [0,1)")
		want(t, "nothing left", c.fetch(at("t", 2, 1)), "")
	})
}

func TestPartitionLimit(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		b.produce("t", 0, batch(1, 100), batch(1, 100), batch(1, 100))
		b.produce("t", 1, batch(1, 100), batch(1, 100))
		small := func(p int32, offset int64) fetch.Wanted {
			w := at("t", p, offset)
			w.MaxBytes = 20
			return w
		}
		c := b.client(FetchOptions{MinBytes: 1})
		want(t, "only the first goes beyond its limit", c.fetch(small(0, 0), small(1, 0)), "t-0 hw 3 [0,1) | t-1 hw 2")
		want(t, "then the other", c.fetch(small(0, 1)), "t-1 hw 2 [0,1)")
	})
}

func TestParkedFetchEnds(t *testing.T) {
	notLeader := func(epoch int32, leader int32) string {
		return "t-0 " + (&NotLeader{Leader: leader, Epoch: epoch}).Error()
	}
	cases := map[string]struct {
		event func(b *broker, c *client)
		want  string
	}{
		"no leader":      {func(b *broker, c *client) { b.change(1, 0, -1, nil) }, notLeader(1, -1)},
		"another leader": {func(b *broker, c *client) { b.change(1, 0, 2, nil) }, notLeader(1, 2)},
		"deleted":        {func(b *broker, c *client) { b.apply(&schema.RemoveTopic{TopicID: topicID(1)}) }, "t-0 " + ErrUnknownPartition.Error()},
		"fenced epoch":   {func(b *broker, c *client) { b.change(1, 0, self, nil) }, "t-0 " + ErrFencedEpoch.Error()},
		"session closed": {func(b *broker, c *client) { b.sessions.Close() }, "t-0 hw 0"},
		"set closed":     {func(b *broker, c *client) { b.set.Close() }, notLeader(0, self)},
		"deleted and made again": {func(b *broker, c *client) {
			b.apply(&schema.RemoveTopic{TopicID: topicID(1)}, &schema.Topic{Name: "t", TopicID: topicID(2)},
				&schema.Partition{TopicID: topicID(2), Replicas: []int32{self}, ISR: []int32{self}, Leader: self})
		}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *broker) {
				b.topic("t", 1, 1, self, 2)
				c := b.client(FetchOptions{MinBytes: 1, Wait: time.Hour})
				w := at("t", 0, 0)
				if name == "fenced epoch" {
					w.LeaderEpoch = 0
				}
				begun := time.Now()
				want(t, "parked", c.fetch(w), "")
				tc.event(b, c)
				synctest.Wait()
				if tc.want != "" && c.last() != tc.want || time.Since(begun) > 0 {
					t.Fatalf("answer %q after %v, want %q", c.last(), time.Since(begun), tc.want)
				}
				if name == "deleted and made again" {
					// By name it is the same to the client: the new log's end, or that there was none for a moment.
					if c.count() == 0 {
						b.produce("t", 0, batch(1, 10))
						synctest.Wait()
					} else if c.fetch() == "" {
						b.produce("t", 0, batch(1, 10))
						synctest.Wait()
					}
					if c.count() == 0 || b.watchers("t", 0) != 1 {
						t.Fatalf("%d answers, the new partition has %d watchers", c.count(), b.watchers("t", 0))
					}
				}
			})
		})
	}
}

// By id the topic that has the name now is another one.
func TestSessionByIDOfARecreatedTopic(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		s, full, err := b.sessions.Begin(fetch.Request{UsesIDs: true, Wanted: []fetch.Wanted{{Key: fetch.Key{ID: topicID(1)}, LeaderEpoch: -1, LastEpoch: -1}}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c := b.client(FetchOptions{})
		b.set.Fetch(s, FetchOptions{MinBytes: 1, MaxBytes: 1, Wait: time.Hour, Full: full}, func(f []Fetched) { c.answered(s, f) })
		b.apply(&schema.RemoveTopic{TopicID: topicID(1)})
		b.topic("t", 2, 1)
		synctest.Wait()
		want(t, "answer", c.last(), topicID(1).String()+"-0 "+ErrUnknownTopicID.Error())
		if b.watchers("t", 0) != 0 {
			t.Fatal("the new topic is watched")
		}
	})
}

// An evicted session's fetch ends, and lets go of its partitions.
func TestEvictedWhileParked(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.sessions = fetch.NewCache(1, time.Minute, func() int32 { return int32(time.Now().Unix() & 0xffff) })
		b.topic("t", 1, 1)
		c := b.client(FetchOptions{MinBytes: 1, Wait: time.Hour})
		want(t, "parked", c.fetch(at("t", 0, 0)), "")
		time.Sleep(2 * time.Minute)
		o := b.client(FetchOptions{})
		want(t, "pushes it out", o.fetch(at("t", 0, 0)), "t-0 hw 0")
		synctest.Wait()
		want(t, "ended", c.last(), "t-0 hw 0")
		if b.watchers("t", 0) != 1 {
			t.Fatalf("%d watchers", b.watchers("t", 0))
		}
	})
}

// News that come while the timer fires, again and again: each fetch is answered once, and nothing stays behind.
func TestTimerAgainstNews(t *testing.T) {
	b := newBroker(t)
	b.topic("t", 1, 4)
	c := b.client(FetchOptions{MinBytes: 1 << 20, Wait: 50 * time.Microsecond})
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := int32(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				b.produce("t", i%4, batch(1, 1))
			}
		}
	}()
	wanted := []fetch.Wanted{at("t", 0, 0), at("t", 1, 0), at("t", 2, 0), at("t", 3, 0)}
	answered := make(chan struct{}, 1)
	for i := range 150 {
		s, full, err := b.sessions.Begin(fetch.Request{SessionID: c.id, Epoch: c.epoch, Wanted: wanted}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		wanted = nil
		c.id, c.epoch = s.ID, c.epoch+1
		o := c.o
		o.Full = full
		b.set.Fetch(s, o, func(f []Fetched) { c.answered(s, f); answered <- struct{}{} })
		<-answered
		if c.count() != i+1 {
			t.Fatalf("%d answers to %d fetches", c.count(), i+1)
		}
	}
	close(stop)
	<-done
	b.close()
}

// A time limit that is over before the fetch parks is not lost.
func TestShortestWait(t *testing.T) {
	b := newBroker(t)
	b.topic("t", 1, 1)
	c := b.client(FetchOptions{MinBytes: 1})
	answered := make(chan struct{}, 1)
	wanted := []fetch.Wanted{at("t", 0, 0)}
	for i := range 3000 {
		s, _, err := b.sessions.Begin(fetch.Request{SessionID: c.id, Epoch: c.epoch, Wanted: wanted}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		wanted = nil
		c.id, c.epoch = s.ID, c.epoch+1
		o := c.o
		o.Wait = time.Duration(i%3000) * 3
		b.set.Fetch(s, o, func(f []Fetched) { c.answered(s, f); answered <- struct{}{} })
		<-answered
	}
	b.close()
}

// DETAILS 18
func TestFetchAboveTheHighWatermark(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1, self, 2)
		b.produce("t", 0, batch(5, 10), batch(5, 10))
		p := b.partition("t", 0)
		p.followed(2, 5)
		c := b.client(FetchOptions{MinBytes: 1})
		want(t, "below", c.fetch(at("t", 0, 0)), "t-0 hw 5 [0,5)")
		want(t, "between it and the end", c.fetch(at("t", 0, 7)), "nothing")
		c.o.Wait = time.Hour
		want(t, "waits", c.fetch(), "")
		p.followed(2, 10)
		synctest.Wait()
		want(t, "replicated", c.last(), "t-0 hw 10 [5,10)")
	})
}

// DETAILS 21
func TestFetchEpochs(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		b.produce("t", 0, batch(5, 10)) // epoch 0
		b.change(1, 0, self, nil)
		b.produce("t", 0, batch(5, 10)) // epoch 1
		ask := func(current, last int32, offset int64) string {
			w := at("t", 0, offset)
			w.LeaderEpoch, w.LastEpoch = current, last
			c := b.client(FetchOptions{MinBytes: 1})
			c.epoch = fetch.FinalEpoch
			return c.fetch(w)
		}
		want(t, "old", ask(0, -1, 0), "t-0 "+ErrFencedEpoch.Error())
		want(t, "new", ask(2, -1, 0), "t-0 "+ErrUnknownEpoch.Error())
		want(t, "in line", ask(1, 0, 5), "t-0 hw 10 [5,10)")
		want(t, "parted in epoch 0", ask(1, 0, 7), "t-0 hw 10 diverging at epoch 0 end 5")
		want(t, "an epoch that nobody led", ask(1, 3, 7), "t-0 offset 7 is outside the log, which is [0, 10]")
		b.change(1, 0, 2, nil)
		want(t, "old at a broker that leads no more", ask(1, -1, 0), "t-0 "+ErrFencedEpoch.Error())
		want(t, "current there", ask(2, -1, 0), "t-0 "+(&NotLeader{Leader: 2, Epoch: 2}).Error())
	})
}

// transact writes a batch of a transaction, of which the coordinator knows.
func (b *broker) transact(name string, index int32, id int64, x record.Batch) {
	b.t.Helper()
	p := b.partition(name, index)
	r, log, err := p.leads()
	if err != nil {
		b.t.Fatal(err)
	}
	guard, err := log.StartVerification(id, 0, 0, false, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := log.Append([]record.Batch{x}, storage.AppendOptions{LeaderEpoch: r.Epoch, RequireEpoch: true, Now: time.Now(), Guard: guard})
	if err != nil {
		b.t.Fatal(err)
	}
	p.appended(r.Epoch, a.LastOffset+1, nil)
}

func transactional(id int64) func(*record.Builder) {
	return func(b *record.Builder) {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = id, 0, 0, true
	}
}

// end writes a transaction's marker, as the coordinator's request will.
func (b *broker) end(name string, index int32, id int64, commit bool) {
	b.t.Helper()
	x := codecs.NewBuilder()
	x.ProducerID, x.ProducerEpoch, x.Transactional, x.Control = id, 0, true, true
	kind := schema.ControlAbort
	if commit {
		kind = schema.ControlCommit
	}
	x.Add(1000, schema.AppendControlKey(nil, kind), make([]byte, 6), nil)
	p := b.partition(name, index)
	r, log, err := p.leads()
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := p.append(r, log, x.Bytes(), storage.AppendOptions{Now: time.Now(), Origin: storage.Coordinator}, nil); err != nil {
		b.t.Fatal(err)
	}
}

// read_committed ends at the last stable offset, and names the aborted transactions of what it gives, no others.
func TestReadCommitted(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		for i := range int64(20) { // 20 aborted transactions: 0-1, marker 2; 3-4, marker 5; ...
			b.transact("t", 0, 100+i, batch(2, 300, transactional(100+i)))
			b.end("t", 0, 100+i, false)
		}
		b.produce("t", 0, batch(1, 10)) // 60
		b.transact("t", 0, 7, batch(2, 10, transactional(7)))
		c := b.client(FetchOptions{MinBytes: 1, Committed: true, MaxBytes: 1600})
		want(t, "the first two, of twenty", c.fetch(at("t", 0, 0)), "t-0 hw 63 [0,6) aborted 100 from 0 aborted 101 from 3")
		c.o.MaxBytes = 1 << 20
		want(t, "the last one and what is decided", c.fetch(at("t", 0, 57)), "t-0 hw 63 [57,61) aborted 119 from 57")
		c.o.Wait = time.Hour
		want(t, "an open transaction", c.fetch(at("t", 0, 61)), "")
		b.produce("t", 0, batch(2, 10)) // behind it, 63 and 64
		synctest.Wait()
		want(t, "more behind it", c.last(), "t-0 hw 63 [57,61) aborted 119 from 57")
		b.end("t", 0, 7, true)
		synctest.Wait()
		want(t, "committed", c.last(), "t-0 hw 66 [61,66)")
	})
}

func TestFollowersAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		c := b.client(FetchOptions{MinBytes: 1, Follower: true})
		want(t, "answer", c.fetch(at("t", 0, 0)), "t-0 "+(&NotLeader{Leader: self}).Error())
	})
}

// Sessions look only at partitions with news. DETAILS 20.
func TestLooksAtWhatChanged(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		const n = 300
		b.topic("t", 1, n)
		c := b.client(FetchOptions{MinBytes: 1})
		var wanted []fetch.Wanted
		for p := range int32(n) {
			wanted = append(wanted, at("t", p, 0))
		}
		c.fetch(wanted...)
		looked := func(produce ...int32) (parts int) {
			for _, p := range produce {
				b.produce("t", p, batch(1, 10))
			}
			s, _, err := b.sessions.Begin(fetch.Request{SessionID: c.id, Epoch: c.epoch}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			c.epoch++
			f := &waitingFetch{set: b.set, session: s, o: c.o, done: func(f []Fetched) { c.answered(s, f) }, watching: true}
			f.run(true)
			return len(f.parts)
		}
		if n := looked(); n != 0 {
			t.Fatalf("an idle fetch looks at %d partitions", n)
		}
		if n := looked(7, 250); n != 2 {
			t.Fatalf("looks at %d partitions for 2 changes", n)
		}
		want(t, "answer", c.last(), "t-7 hw 1 [0,1) | t-250 hw 1 [0,1)")
	})
}

// Every look takes references to files; every one is given back, so that deletion can remove them.
func TestReferencesAreGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		b.produce("t", 0, batch(1, 100))
		log := b.partition("t", 0).log
		c := b.client(FetchOptions{MinBytes: 10_000, Wait: time.Minute})
		c.fetch(at("t", 0, 0)) // parks with bytes in hand
		b.produce("t", 0, batch(1, 100))
		synctest.Wait()
		time.Sleep(time.Minute) // its time limit
		synctest.Wait()
		want(t, "answer", c.last(), "t-0 hw 2 [0,2)")
		if err := log.Close(true); err != nil {
			t.Fatal(err)
		}
		if n := log.OpenFiles(); n != 0 {
			t.Fatalf("%d files are still referred to", n)
		}
	})
}
