package share

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/share/delivery"
)

func TestWhatIsThereIsAnswered(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10, 5, 5)
		a, c := b.member("a", 0), b.member("c", 0)
		a.fetch(func(o *FetchOptions) { o.MaxRecords = 12 }).want(t, "0: 0-14 x1 of [0 9] [10 14]")
		c.fetch(func(o *FetchOptions) { o.RecordLimit, o.MaxRecords = true, 2 }).want(t, "0: 15-16 x1 of [15 19]")
		c.fetch(func(o *FetchOptions) { o.MaxRecords = 0 }).want(t, "nothing")
		c.fetch(func(o *FetchOptions) { o.MaxBytes = 0 }).want(t, "nothing")
		c.fetch(func(o *FetchOptions) { o.Wait = 0; o.MinBytes = 1 << 20 }).want(t, "0: 17-19 x1 of [15 19]")
		want(t, "persister", b.disk.took(), "read 0 epoch 0")
		want(t, "accept", *a.ack(0, 9, delivery.Accept), "ok")
		want(t, "release", *a.ack(10, 14, delivery.Release), "ok")
		want(t, "persister", b.disk.took(), "write 0 start 0 complete 10 0-9 acknowledged x1; write 0 start 10 complete 0 10-14 available x1")
		c.fetch().want(t, "0: 10-14 x2 of [10 14]")
	})
}

func TestMaxBytesAreSharedOut(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10, 10, 10)
		b.produce(1, 10, 10, 10)
		b.member("a", 0, 1).fetch(func(o *FetchOptions) { o.MaxBytes = 4000 }).want(t, "0: 0-9 x1 of [0 9]; 1: 0-9 x1 of [0 9]")
	})
}

// A fetch waits for bytes, and no longer than it may.
func TestWaits(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		a := b.member("a", 0, 1)
		f := a.fetch()
		f.want(t, "waits")
		b.produce(1, 3)
		f.want(t, "0:; 1: 0-2 x1 of [0 2]")

		f = a.fetch(func(o *FetchOptions) { o.MinBytes = 1500 })
		b.produce(0, 5)
		b.produce(1, 5)
		f.want(t, "waits")
		b.produce(0, 10)
		f.want(t, "0: 0-14 x1 of [0 4] [5 14]; 1: 3-7 x1 of [3 7]")

		f = a.fetch(func(o *FetchOptions) { o.MinBytes = 1500 })
		b.produce(0, 1)
		time.Sleep(10*time.Second - 1)
		f.want(t, "waits")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		f.want(t, "0: 15-15 x1 of [15 15]; 1:")
		f = a.fetch()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		f.want(t, "0:; 1:")
	})
}

// What is free again wakes who waits: a release, the end of a hold, room for more holds.
func TestWakes(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a, c := b.member("a", 0), b.member("c", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		f := c.fetch()
		f.want(t, "waits")
		want(t, "release", *a.ack(3, 4, delivery.Release), "ok")
		f.want(t, "0: 3-4 x2 of [0 9]")

		long := func(o *FetchOptions) { o.Wait = time.Hour }
		time.Sleep(time.Second)
		f = c.fetch(long)
		time.Sleep(29*time.Second - 1)
		f.want(t, "waits")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		// c's own hold has ended, too: whoever looks first.
		if f.answer() == "waits" {
			t.Fatal("nobody woke the fetch when the holds ended")
		}
		b.disk.took()

		b.group.MaxLocks = 10
		d := b.member("d", 0)
		b.produce(0, 5)
		f = d.fetch(long)
		f.want(t, "waits")
	})
}

func TestRoomForHoldsWakes(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.group.MaxLocks = 10
		b.produce(0, 10, 5)
		a, c := b.member("a", 0), b.member("c", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		f := c.fetch()
		f.want(t, "waits")
		a.ack(5, 9, delivery.Accept)
		f.want(t, "waits")
		a.ack(0, 4, delivery.Accept)
		f.want(t, "0: 10-14 x1 of [10 14]")
	})
}

// Records go to one of many.
func TestManyWait(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		var all []*fetching
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			all = append(all, b.member(name, 0, 1).fetch())
		}
		for range 5 {
			b.produce(0, 2)
		}
		seen := map[int64]string{}
		for _, f := range all {
			for _, r := range f.got {
				for _, x := range r.Acquired {
					for o := x.First; o <= x.Last; o++ {
						if seen[o] != "" {
							t.Fatalf("offset %d went to %s and %s", o, seen[o], f.member)
						}
						seen[o] = f.member
					}
				}
			}
		}
		if len(seen) != 10 {
			t.Fatalf("%d of 10 records were acquired: %v", len(seen), seen)
		}
	})
}

// The log's start moves under a share partition.
func TestDeletedRecords(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10, 10)
		a := b.member("a", 0)
		a.fetch(func(o *FetchOptions) { o.MaxRecords = 1 }).want(t, "0: 0-9 x1 of [0 9]")
		p, err := b.logs.Named("t", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.DeleteRecords(15, time.Now()); err != nil {
			t.Fatal(err)
		}
		a.fetch().want(t, "0: 15-19 x1 of [10 19]")
		want(t, "what is gone", *a.ack(0, 9, delivery.Accept), "ok")
		want(t, "what is left", *a.ack(15, 19, delivery.Accept), "ok")
		b.disk.took()
	})
}

// A leader that comes anew begins where the persister is.
func TestLeadership(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0, 1)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]; 1:")
		f := a.fetch()
		b.disk.wait()
		ack := a.ack(0, 3, delivery.Accept)
		want(t, "accept", *ack, "waits")
		b.lead(2)
		want(t, "accept", *ack, "replica: not the leader; broker 2 leads in epoch 1")
		f.want(t, "0: replica: not the leader; broker 2 leads in epoch 1; 1:")
		b.disk.release() // the write arrived all the same
		a.fetch(func(o *FetchOptions) { o.Wait = 0 }).want(t, "0: replica: not the leader; broker 2 leads in epoch 1; 1:")
		want(t, "accept", *a.ack(4, 9, delivery.Accept), kerr.UnknownTopicOrPartition.Description)
		b.lead(1)
		b.disk.took()
		a.fetch().want(t, "0: 4-9 x1 of [0 9]; 1:")
		want(t, "persister", b.disk.took(), "read 0 epoch 2")
	})
}

func TestDeletion(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		a := b.member("a", 0)
		f := a.fetch()
		b.apply(&schema.RemoveTopic{TopicID: topic})
		if f.answer() == "waits" {
			t.Fatal("a fetch waits for a topic that is gone")
		}
		if n := b.set.Stats().SharePartitions; n != 0 {
			t.Fatalf("%d share partitions of a topic that is gone", n)
		}
	})
}

// The persister is late, or loading, or refuses.
func TestLoading(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		b.disk.wait()
		f := a.fetch()
		f.want(t, "waits")
		want(t, "unknown yet", *a.ack(0, 9, delivery.Accept), "Batch record not found. The request batch offsets are not found in the cache.")
		b.disk.fail(kerr.CoordinatorLoadInProgress, kerr.NotCoordinator)
		b.disk.release()
		f.want(t, "waits")
		time.Sleep(time.Second)
		synctest.Wait()
		f.want(t, "0: 0-9 x1 of [0 9]")
		a.session.End()

		a = b.member("a", 0)
		b.disk.fail(kerr.GroupIDNotFound)
		a.fetch().want(t, "0: "+kerr.GroupIDNotFound.Description)
		a.fetch().want(t, "0: 0-9 x2 of [0 9]")
	})
}

func TestPersisterFails(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		b.disk.fail(kerr.UnknownServerError)
		want(t, "failed write", *a.ack(0, 4, delivery.Accept), kerr.UnknownServerError.Description)
		want(t, "the same once more", *a.ack(0, 4, delivery.Accept), "ok")

		// Writes that come meanwhile wait, and go as one.
		b.disk.wait()
		b.disk.took()
		first, second, third := a.ack(5, 5, delivery.Accept), a.ack(6, 7, delivery.Reject), a.ack(8, 8, delivery.Accept)
		want(t, "held", *first+*second+*third, "waitswaitswaits")
		b.disk.release()
		want(t, "released", *first+*second+*third, "okokok")
		want(t, "persister", b.disk.took(), "write 0 start 5 complete 1 5-5 acknowledged x1; write 0 start 6 complete 3 6-7 archived x1 8-8 acknowledged x1")

		// Somebody has changed the offsets: what there is here is void.
		s := b.disk.of("g", topic, 0)
		s.epoch, s.start = 1, 2
		clear(s.batches)
		want(t, "fenced", *a.ack(9, 9, delivery.Accept), kerr.NotLeaderForPartition.Description)
		a.fetch().want(t, "0: 2-9 x1 of [0 9]")
	})
}

// A session that ends lets go of what it holds, and of the fetch that waits over it.
func TestSessionsEnd(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a, c := b.member("a", 0), b.member("c", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		f, g := a.fetch(), c.fetch()
		b.closing[a.connection]()
		synctest.Wait()
		f.want(t, "nothing")
		g.want(t, "0: 0-9 x2 of [0 9]")
		g = c.fetch()
		c.session.End()
		synctest.Wait()
		g.want(t, "nothing")
		if st := b.set.Stats(); st != (Stats{}) {
			t.Fatalf("%+v are left of a group without members", st)
		}
		b.member("d", 0).fetch().want(t, "0: 0-9 x3 of [0 9]")
	})
}

// A closing node answers everybody, and hears the persister no more.
func TestClose(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a, c := b.member("a", 0), b.member("c", 0, 1)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		f := c.fetch()
		b.disk.wait()
		ack := a.ack(0, 9, delivery.Accept)
		lingered := 0
		b.set.Linger(Request{OnClose: func(func()) {}}, time.Hour, func() { lingered++ })
		b.set.Close()
		f.want(t, "nothing")
		if *ack == "waits" || lingered != 1 {
			t.Fatalf("acknowledgement %s, lingered %d", *ack, lingered)
		}
		b.disk.release()
		a.fetch(func(o *FetchOptions) { o.Wait = time.Hour }).want(t, "nothing")
	})
}

// Where a group begins.
func TestReset(t *testing.T) {
	for _, x := range []struct {
		reset Reset
		ago   time.Duration
		want  string
	}{{Latest, 0, "0: 10-14 x1 of [10 14]"}, {Earliest, 0, "0: 0-9 x1 of [0 9]"}, {ByDuration, time.Hour, "0: 10-14 x1 of [10 14]"}} {
		run(t, func(t *testing.T, b *broker) {
			b.group.Reset, b.group.Ago = x.reset, x.ago
			b.produce(0, 10)
			f := b.member("a", 0).fetch()
			b.produce(0, 5)
			f.want(t, x.want)
		})
	}
}

// News reach those who can use them, whoever is woken first: of many who wait for more bytes than there are, one waits for few.
func TestInvitations(t *testing.T) {
	for range 20 {
		run(t, func(t *testing.T, b *broker) {
			much := func(o *FetchOptions) { o.MinBytes, o.Wait = 1<<20, time.Hour }
			one := func(o *FetchOptions) { o.MaxRecords, o.RecordLimit, o.Wait = 1, true, time.Hour }
			var patient, modest []*fetching
			for _, name := range []string{"a", "b", "c"} {
				patient = append(patient, b.member(name, 0, 1).fetch(much))
				modest = append(modest, b.member("m"+name, 0).fetch(one), b.member("n"+name, 0, 1).fetch(one))
			}
			answered := func() (n int) {
				for _, f := range modest {
					if f.answer() != "waits" {
						n++
					}
				}
				return n
			}
			b.produce(0, 4)
			if n := answered(); n != 4 {
				t.Fatalf("%d fetches were answered with one of 4 records each", n)
			}
			b.produce(1, 1)
			b.produce(0, 1)
			if n := answered(); n < 5 {
				t.Fatalf("%d fetches were answered", n)
			}
			b.member("last", 0, 1).fetch() // what nobody took
			for _, f := range patient {
				f.want(t, "waits")
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			for _, f := range append(patient, modest...) {
				if f.answer() == "waits" {
					t.Fatalf("%s waits for ever", f.member)
				}
			}
		})
	}
}
