package share

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/share/delivery"
)

func TestSessionEpochs(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.most = 2
		fetch := func(member string, epoch int32, ack bool) error {
			_, err := b.set.Begin(Request{Group: "g", Member: member, Epoch: epoch, Connection: 1, Acknowledgement: ack, OnClose: func(func()) {}})
			return err
		}
		ack := func(member string, epoch int32) error {
			_, err := b.set.Acknowledging("g", member, epoch)
			return err
		}
		for i, x := range []struct{ got, want error }{
			{fetch("a", 1, false), kerr.ShareSessionNotFound},
			{fetch("a", -1, false), kerr.ShareSessionNotFound},
			{ack("a", 1), kerr.ShareSessionNotFound},
			{ack("a", 0), kerr.InvalidShareSessionEpoch},
			{fetch("a", 0, true), kerr.InvalidRequest},
			{fetch("a", 0, false), nil},
			{fetch("a", 2, false), kerr.InvalidShareSessionEpoch},
			{fetch("a", 1, true), nil},
			{fetch("a", 1, false), kerr.InvalidShareSessionEpoch},
			{ack("a", 1), kerr.InvalidShareSessionEpoch},
			{ack("a", 2), nil},
			{ack("a", -1), nil},
			{fetch("a", 3, false), nil},
			{fetch("a", math.MinInt32, false), kerr.InvalidShareSessionEpoch},
			{fetch("b", 0, false), nil},
			{fetch("c", 0, false), kerr.ShareSessionLimitReached},
			{fetch("a", 0, false), nil},
			{fetch("a", 4, false), kerr.InvalidShareSessionEpoch},
			{fetch("a", 1, false), nil},
			{fetch("a", -1, true), nil},
		} {
			if !errors.Is(x.got, x.want) {
				t.Fatalf("step %d: got %v, want %v", i, x.got, x.want)
			}
		}
		if nextEpoch(math.MaxInt32) != 1 {
			t.Fatal("an epoch that is exhausted goes on with 1")
		}
	})
}

// A session that a member opens anew on another connection does not end with the old connection.
func TestSessionMoves(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		waits := a.fetch()
		again := b.member("a", 0)
		synctest.Wait()
		waits.want(t, "nothing")
		b.closing[a.connection]()
		if n := b.set.Stats().Sessions; n != 1 {
			t.Fatalf("%d sessions", n)
		}
		want(t, "what it held before", *again.ack(0, 9, 1), "ok")
		b.closing[again.connection]()
		if n := b.set.Stats().Sessions; n != 0 {
			t.Fatalf("%d sessions", n)
		}
	})
}

func TestPartitionsOfASession(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		a := b.member("a", 0, 1, 2)
		step := func(epoch int32, add, forget []TopicPartition) string {
			s, err := b.set.Begin(Request{Group: "g", Member: "a", Epoch: epoch, Add: add, Forget: forget})
			if err != nil {
				t.Fatal(err)
			}
			out := ""
			for _, tp := range s.Partitions(epoch) {
				out += fmt.Sprint(" ", tp.Index)
			}
			return out
		}
		want(t, "each begins elsewhere", step(1, nil, nil), " 1 2 0")
		want(t, "added", step(2, []TopicPartition{at(1), at(5)}, nil), " 2 5 0 1")
		want(t, "forgotten", step(3, nil, []TopicPartition{at(0), at(9)}), " 1 2 5")

		told := func(tp TopicPartition, records, failed bool) string {
			return fmt.Sprint(a.session.Tell(4, tp, records, failed))
		}
		want(t, "nothing", told(at(1), false, false), "false")
		want(t, "new to the session", told(at(5), false, false), "true")
		want(t, "told", told(at(5), false, false), "false")
		want(t, "records", told(at(1), true, false), "true")
		want(t, "an error", told(at(1), false, true), "true")
		want(t, "no error any more", told(at(1), false, false), "true")
		want(t, "told", told(at(1), false, false), "false")
		if !a.session.Tell(InitialEpoch, at(1), false, false) {
			t.Fatal("the first answer names every partition")
		}
	})
}

func TestLinger(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		var n atomic.Int32
		r := Request{Connection: 9, OnClose: func(f func()) { b.closing[9] = f }}
		b.set.Linger(r, 5*time.Second, func() { n.Add(1) })
		synctest.Wait()
		if n.Load() != 0 {
			t.Fatal("answered at once")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		b.set.Linger(r, -1, func() { n.Add(1) })
		if n.Load() != 2 {
			t.Fatalf("%d answers", n.Load())
		}
		b.set.Linger(r, time.Hour, func() { n.Add(1) })
		b.closing[9]()
		synctest.Wait()
		if n.Load() != 3 || len(b.set.sessions.limbo) > 0 || len(b.set.sessions.heard) > 0 {
			t.Fatalf("%d answers, %d wait", n.Load(), len(b.set.sessions.limbo))
		}
	})
}

// A group that goes while the state of its share partitions is read leaves nothing behind.
func TestAGroupGoesWhileItLoads(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.disk.wait()
		a := b.member("a", 0)
		f := a.fetch()
		b.closing[a.connection]()
		synctest.Wait()
		f.want(t, "nothing")
		b.disk.release()
		if st := b.set.Stats(); st != (Stats{}) {
			t.Fatalf("%+v", st)
		}
	})
}

// The end of a session is not that of the one that its member has opened since.
func TestEndOfAnOldSession(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		old := a.session
		if err := a.open(0); err != nil {
			t.Fatal(err)
		}
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		old.End()
		if n := b.set.Stats().Sessions; n != 1 {
			t.Fatalf("%d sessions", n)
		}
		want(t, "what the new session holds", *a.ack(0, 9, delivery.Accept), "ok")
	})
}

// Members that come while the last session of their group ends: nothing that they hold or fetch goes with it.
func TestMembersComeAtTheEnd(t *testing.T) {
	t.Run("another one", func(t *testing.T) {
		run(t, func(t *testing.T, b *broker) {
			b.produce(0, 10)
			a := b.member("a", 0)
			a.fetch().want(t, "0: 0-9 x1 of [0 9]")
			b.disk.called = func() { b.member("c", 0) } // while what a held is written
			a.session.End()
			if st := b.set.Stats(); st != (Stats{1, 1}) {
				t.Fatalf("%+v", st)
			}
		})
	})
	t.Run("the same", func(t *testing.T) {
		run(t, func(t *testing.T, b *broker) {
			b.produce(0, 10)
			b.produce(1, 10)
			a := b.member("a", 0, 1)
			a.fetch().want(t, "0: 0-9 x1 of [0 9]; 1: 0-9 x1 of [0 9]")
			b.disk.took()
			b.disk.called = func() { b.member("a", 0, 1) } // while one of its partitions is released
			a.session.End()
			if st := b.set.Stats(); st != (Stats{1, 2}) {
				t.Fatalf("%+v", st)
			}
			if got := b.disk.took(); strings.Count(got, "available") != 1 {
				t.Fatal(got)
			}
		})
	})
	t.Run("just after it was seen to be the last", func(t *testing.T) {
		run(t, func(t *testing.T, b *broker) {
			b.produce(0, 10)
			a := b.member("a", 0)
			a.fetch().want(t, "0: 0-9 x1 of [0 9]")
			want(t, "release", *a.ack(0, 9, delivery.Release), "ok")
			c := b.member("c", 0)
			c.fetch().want(t, "0: 0-9 x2 of [0 9]")
			b.set.find("g", at(0)).retire()
			want(t, "what it holds", *c.ack(0, 8, delivery.Accept), "ok")
			want(t, "what it holds", *c.ack(9, 9, delivery.Accept), "ok")
			if n := b.set.Stats().SharePartitions; n != 0 {
				t.Fatalf("%d share partitions", n)
			}
		})
	})
}

// A fetch that runs while the last session of its group ends leaves no share partition behind.
func TestAFetchRunsAtTheEnd(t *testing.T) {
	for _, held := range []bool{true, false} {
		run(t, func(t *testing.T, b *broker) {
			b.produce(0, 10)
			a := b.member("a", 0, 1)
			b.disk.called = func() {
				a.session.End()
				if held {
					b.disk.wait()
				}
			}
			a.fetch().want(t, "nothing")
			b.disk.release()
			if st := b.set.Stats(); st != (Stats{}) {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// Waits end: a session's last fetch alone waits, no longer than a fetch may, and not while the node closes.
func TestWaitsEnd(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		long := func(o *FetchOptions) { o.Wait = 24 * 24 * time.Hour }
		a := b.member("a", 0)
		first := a.fetch(long)
		second := a.fetch(long)
		first.want(t, "0:")
		second.want(t, "waits")
		lingered := 0
		linger := func() {
			b.set.Linger(Request{OnClose: func(func()) {}}, 24*24*time.Hour, func() { lingered++ })
			synctest.Wait()
		}
		linger()
		time.Sleep(maxWait)
		synctest.Wait()
		second.want(t, "0:")
		if lingered != 1 {
			t.Fatal("it lingers")
		}

		third := a.fetch(long)
		linger()
		b.set.Drain()
		synctest.Wait()
		third.want(t, "0:")
		a.fetch(long).want(t, "0:")
		linger()
		if lingered != 3 {
			t.Fatalf("%d of 3", lingered)
		}
	})
}
