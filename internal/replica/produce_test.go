package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func (b *broker) try(name string, x record.Batch, acks int16) (storage.Appended, error) {
	b.t.Helper()
	return b.partition(name, 0).Produce(x, ProduceOptions{Acks: acks, Version: 9, Now: time.Now()})
}

// await waits for offsets of partition 0 of topics; answers holds what came of it.
func (b *broker) await(timeout time.Duration, answers *[]string, waits ...*Waiting) bool {
	return b.set.Await(waits, timeout, func() {
		out := ""
		for _, w := range waits {
			out += fmt.Sprintf("%s:%v ", w.Partition.Topic, w.Err)
		}
		*answers = append(*answers, out)
	})
}

func (b *broker) waiting(name string, offset int64) *Waiting {
	return &Waiting{Partition: b.partition(name, 0), Offset: offset}
}

func TestAcks(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("alone", 1, 1)
		b.topic("pair", 2, 1, self, 2)
		for _, acks := range []int16{0, 1, -1} {
			if _, err := b.try("alone", batch(2, 10), acks); err != nil {
				t.Fatal(err)
			}
		}
		if !b.partition("alone", 0).Replicated(6) || b.partition("alone", 0).Replicated(7) {
			t.Fatal("a partition alone is replicated when it is appended")
		}
		a, err := b.try("pair", batch(3, 10), -1)
		if err != nil || b.partition("pair", 0).Replicated(3) {
			t.Fatal(err, "replicated without the follower")
		}
		var got []string
		if b.await(time.Minute, &got, b.waiting("alone", 6), b.waiting("pair", a.LastOffset+1)) {
			t.Fatal("answered without the follower")
		}
		b.partition("pair", 0).followed(2, 2)
		want(t, "not yet", fmt.Sprint(got), "[]")
		b.partition("pair", 0).followed(2, 3)
		want(t, "all", fmt.Sprint(got), "[alone:<nil> pair:<nil> ]")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		if !b.await(time.Minute, &got, b.waiting("alone", 6)) {
			t.Fatal("parked with nothing to wait for")
		}
	})
}

func TestAcksTimeOut(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("a", 1, 1, self, 2)
		b.topic("b", 2, 1, self, 2)
		b.produce("a", 0, batch(1, 10))
		b.produce("b", 0, batch(1, 10))
		var got []string
		begun := time.Now()
		b.await(time.Second, &got, b.waiting("a", 1), b.waiting("b", 1))
		b.partition("a", 0).followed(2, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "answer", fmt.Sprint(got), fmt.Sprintf("[a:<nil> b:%v ]", ErrTimedOut))
		b.partition("b", 0).followed(2, 1)
		want(t, "once", fmt.Sprint(len(got), time.Since(begun)), "1 1s")
		if n := len(b.partition("b", 0).waiting); n != 0 {
			t.Fatalf("%d waits are left", n)
		}
	})
}

// DETAILS 15
func TestNotEnoughReplicas(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.config.MinISR = 2
		b.topic("t", 1, 1, self, 2)
		a, err := b.try("t", batch(1, 10), -1)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		b.await(time.Minute, &got, b.waiting("t", a.LastOffset+1))
		b.change(1, 0, same, []int32{self})
		want(t, "below the minimum the high watermark stands still", fmt.Sprint(got), "[]") // DETAILS 14
		if _, err := b.try("t", batch(1, 10), -1); !errors.Is(err, ErrNotEnough) {
			t.Fatalf("before the append: %v", err)
		}
		if _, err := b.try("t", batch(1, 10), 1); err != nil {
			t.Fatalf("acks=1: %v", err)
		}
		b.config.MinISR = 1
		b.set.Configure("t")
		want(t, "a live change of min.insync.replicas", fmt.Sprint(got), "[t:<nil> ]")
		b.config.MinISR = 2
		b.set.Configure("t")
		if b.await(time.Minute, &got, b.waiting("t", 1)); got[len(got)-1] != fmt.Sprintf("t:%v ", ErrNotEnoughAfter) {
			t.Fatalf("after the append: %v", got)
		}
		if b.partition("t", 0).Replicated(1) {
			t.Fatal("too few in sync are no promise")
		}
	})
}

func TestWaitingProducersHearOfTheEnd(t *testing.T) {
	cases := map[string]struct {
		event func(b *broker)
		want  string
	}{
		"another leader":        {func(b *broker) { b.change(1, 0, 2, nil) }, (&NotLeader{Leader: 2, Epoch: 1}).Error()},
		"no leader":             {func(b *broker) { b.change(1, 0, -1, nil) }, (&NotLeader{Leader: -1, Epoch: 1}).Error()},
		"deleted":               {func(b *broker) { b.apply(&schema.RemoveTopic{TopicID: topicID(1)}) }, ErrUnknownPartition.Error()},
		"closed":                {func(b *broker) { b.set.Close() }, ErrClosed.Error()},
		"a new epoch as leader": {func(b *broker) { b.change(1, 0, self, []int32{self}) }, "<nil>"},
		"the ISR shrinks":       {func(b *broker) { b.change(1, 0, same, []int32{self}) }, "<nil>"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *broker) {
				b.topic("t", 1, 1, self, 2)
				b.produce("t", 0, batch(1, 10))
				p := b.partition("t", 0)
				var got []string
				b.await(time.Hour, &got, b.waiting("t", 1))
				tc.event(b)
				want(t, "answer", fmt.Sprint(got), "[t:"+tc.want+" ]")
				if tc.want != "<nil>" {
					if _, err := p.Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now()}); err == nil {
						t.Fatal("appended")
					}
				}
			})
		})
	}
}

// DETAILS 5, 6, 7
func TestIdempotence(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1, self, 2)
		p := b.partition("t", 0)
		first := b.produce("t", 0, batch(3, 10, producer(9, 1, 0)))
		b.produce("t", 0, batch(2, 10, producer(9, 1, 3)))
		again, err := b.try("t", batch(3, 10, producer(9, 1, 0)), -1)
		if err != nil || !again.Duplicate || again.FirstOffset != first.FirstOffset || again.LastOffset != first.LastOffset {
			t.Fatalf("%+v, %v", again, err)
		}
		var got []string
		if b.await(time.Minute, &got, b.waiting("t", again.LastOffset+1)) {
			t.Fatal("a duplicate is answered before its original is replicated")
		}
		p.followed(2, 3)
		want(t, "then", fmt.Sprint(got), "[t:<nil> ]")
		var sequence *OutOfOrderSequence
		if _, err := b.try("t", batch(1, 10, producer(9, 1, 9)), 1); !errors.As(err, &sequence) {
			t.Fatal(err)
		}
		var epoch *InvalidProducerEpoch
		if _, err := b.try("t", batch(1, 10, producer(9, 0, 5)), 1); !errors.As(err, &epoch) {
			t.Fatal(err)
		}
		if end := p.log.View().LogEnd; end != 5 {
			t.Fatalf("the log ends at %d", end)
		}
	})
}

// The look-up of the role and the append are two steps: an append of an epoch that is over is refused by the log.
func TestFencedAppend(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		p := b.partition("t", 0)
		r, log, _ := p.leads()
		b.change(1, 0, self, nil)
		if _, err := p.append(r, log, batch(1, 10), storage.AppendOptions{Now: time.Now(), Origin: storage.Client}, nil); !errors.Is(err, ErrFencedAppend) {
			t.Fatal(err)
		}
		if _, _, err := b.set.Append("t", 0, 0, batch(1, 10), 0, 0); err == nil {
			t.Fatal("a coordinator appends in an epoch that is over")
		}
	})
}

func TestRefusedBatches(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.config.Log.MaxMessageBytes = 200
		b.topic("t", 1, 1)
		if _, err := b.try("t", batch(1, 300), 1); err == nil {
			t.Fatal("too large")
		}
		broken := batch(1, 10)
		broken[len(broken)-1]++
		if _, err := b.try("t", broken, 1); err == nil {
			t.Fatal("CRC")
		}
		two := append(batch(1, 10), batch(1, 10)...)
		if _, err := b.try("t", two, 1); err == nil { // DETAILS 3
			t.Fatal("two batches")
		}
		if end := b.partition("t", 0).log.View().LogEnd; end != 0 {
			t.Fatalf("the log ends at %d", end)
		}
	})
}

// flush.messages: what is acknowledged is durable, and not visible before.
func TestFlushMessages(t *testing.T) {
	ops := vfs.NewLog(vfs.NewMem(nil))
	synctest.Test(t, func(t *testing.T) {
		b := newBrokerOn(t, ops, "/d")
		b.config.Log.FlushMessages = 2
		b.topic("t", 1, 1)
		synced := func() (n int) {
			for _, op := range ops.Ops(vfs.OpSync) {
				if path.Ext(op.Path) == ".log" {
					n++
				}
			}
			return n
		}
		before := synced()
		for i, wantSyncs := range []int{0, 1, 1, 2} {
			b.produce("t", 0, batch(1, 10))
			if got := synced() - before; got != wantSyncs {
				t.Fatalf("after record %d: %d syncs, want %d", i, got, wantSyncs)
			}
		}
		b.close()
	})
}

// A leader whose log cannot begin the epoch is offline; it does not go on in the old one.
func TestFailedEpochIsOffline(t *testing.T) {
	faults := vfs.NewFaults(vfs.NewMem(nil), nil)
	synctest.Test(t, func(t *testing.T) {
		b := newBrokerOn(t, faults, "/d")
		b.topic("t", 1, 1, self, 2)
		b.produce("t", 0, batch(1, 10))
		var got []string
		b.await(time.Hour, &got, b.waiting("t", 1))
		c := b.client(FetchOptions{MinBytes: 1, Wait: time.Hour})
		want(t, "parked", c.fetch(at("t", 0, 1)), "")
		faults.Set(vfs.Schedule(vfs.Rule{Kind: vfs.OpSync, Times: -1, Err: syscall.EIO}))
		if log := b.partition("t", 0).log; log.Flush(log.View().LogEnd) == nil {
			t.Fatal("the disk did not fail")
		}
		d := b.delta(1, 0, self)
		if err := b.set.Apply(d, d.Image(b.offset+1, 1)); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait()
		want(t, "fetch", c.last(), "t-0 "+ErrOffline.Error())
		want(t, "produce", fmt.Sprint(got), fmt.Sprintf("[t:%v ]", ErrOffline))
		if st := b.set.Stats(); st.Offline != 1 || st.Leaders != 0 {
			t.Fatalf("%+v", st)
		}
		b.sessions.Close()
		b.set.Close()
		b.dirs.Close(-1)
	})
}

// Appends, a moving ISR, waits and time limits at once: every wait ends once, none before its offset is replicated.
func TestAwaitUnderLoad(t *testing.T) {
	b := newBroker(t)
	b.topic("t", 1, 1, self, 2)
	p := b.partition("t", 0)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var follower sync.WaitGroup
	follower.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.followed(2, p.log.View().LogEnd)
			}
		}
	})
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 200 {
				a, err := p.Produce(batch(1, 10), ProduceOptions{Acks: -1, Version: 9, Now: time.Now()})
				if err != nil {
					t.Error(err)
					return
				}
				w := &Waiting{Partition: p, Offset: a.LastOffset + 1}
				done := make(chan struct{})
				b.set.Await([]*Waiting{w}, time.Duration(r.IntN(200))*time.Microsecond, func() { close(done) })
				<-done
				if w.Err == nil && p.log.View().HighWatermark < w.Offset || w.Err != nil && !errors.Is(w.Err, ErrTimedOut) {
					t.Errorf("offset %d: %v at high watermark %d", w.Offset, w.Err, p.log.View().HighWatermark)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	follower.Wait()
	if len(p.waiting) != 0 {
		t.Fatalf("%d waits are left", len(p.waiting))
	}
	b.close()
}

// Roles that change while Close runs must not come back.
func TestNothingLeadsAfterClose(t *testing.T) {
	b := newBroker(t)
	b.topic("t", 1, 1)
	b.set.Close()
	b.change(1, 0, self, nil)
	b.set.Configure("t")
	if _, err := b.try("t", batch(1, 10), 1); err == nil {
		t.Fatal("appended after Close")
	}
	b.close()
}
