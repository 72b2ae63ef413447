package share

import (
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
