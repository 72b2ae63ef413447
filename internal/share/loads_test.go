package share

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/share/delivery"
)

// What cannot be loaded is loaded once by a fetch, which tells why.
func TestLoadsThatFail(t *testing.T) {
	failed := kerr.UnknownServerError.Description
	for _, x := range []struct {
		name   string
		bad    map[int32]*kerr.Error
		answer string
		reads  string
	}{
		{"both, one after the other", map[int32]*kerr.Error{0: kerr.InvalidRequest, 1: kerr.InvalidRequest}, "0: " + failed + "; 1: " + failed, "read 0 epoch 0; read 1 epoch 0"},
		{"one, and the other has nothing", map[int32]*kerr.Error{1: kerr.InvalidRequest}, "1: " + failed + "; 0:", "read 0 epoch 0; read 1 epoch 0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *broker) {
				b.disk.always, b.disk.delay = x.bad, map[int32]time.Duration{0: time.Millisecond, 1: 1500 * time.Microsecond}
				f := b.member("a", 0, 1).fetch()
				time.Sleep(11 * time.Second)
				synctest.Wait()
				f.want(t, x.answer)
				want(t, "persister", b.disk.took(), x.reads)
			})
		})
	}
}

// A share partition whose state is gone goes, too.
func TestStateIsGone(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		b.disk.fail(kerr.InvalidRequest)
		want(t, "accept", *a.ack(0, 9, delivery.Accept), kerr.UnknownServerError.Description)
		if n := b.set.Stats().SharePartitions; n != 0 {
			t.Fatalf("%d share partitions", n)
		}
	})
}

// The persister is asked for so long, and then its error is told.
func TestPatience(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		a := b.member("a", 0)
		a.fetch().want(t, "0: 0-9 x1 of [0 9]")
		b.disk.always = map[int32]*kerr.Error{0: kerr.NotCoordinator}
		ack := a.ack(0, 9, delivery.Accept)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := strings.Count(b.disk.took(), "write"); n < 5 {
			t.Fatalf("it was asked %d times", n)
		}
		want(t, "accept", *ack, kerr.CoordinatorNotAvailable.Description)
	})
}

// A leadership that is lost before anybody watches for it.
func TestLostBeforeTheWatch(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		r, err := b.logs.Identified(topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := &partition{set: b.set, group: "g", TopicPartition: at(0), replica: r, waiting: map[*waitingFetch]uint64{}}
		b.set.groups["g"] = map[TopicPartition]*partition{at(0): p}
		b.lead(2)
		p.load()
		if n := b.set.Stats().SharePartitions; n != 0 {
			t.Fatalf("%d share partitions", n)
		}
		want(t, "persister", b.disk.took(), "")
	})
}

// The log is not read by the goroutine that the persister answers on.
func TestBeginsBesideThePersister(t *testing.T) {
	run(t, func(t *testing.T, b *broker) {
		b.produce(0, 10)
		b.group.Reset, b.group.Ago = ByDuration, time.Hour
		slow := make(chan struct{})
		var wait atomic.Bool
		b.set.Now = func() time.Time {
			if wait.CompareAndSwap(true, false) {
				<-slow
			}
			return time.Now()
		}
		b.disk.wait()
		f := b.member("a", 0).fetch()
		wait.Store(true)
		b.disk.release()
		f.want(t, "waits")
		close(slow)
		synctest.Wait()
		b.produce(0, 5)
		f.want(t, "0: 10-14 x1 of [10 14]")
	})
}
