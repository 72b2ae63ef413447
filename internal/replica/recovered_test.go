package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// restart kills the broker and starts another one on its disk. What dirs.Start begins waits for it.
func (b *broker) restart(faults *vfs.Faults) *broker {
	b.t.Helper()
	b.sessions.Close()
	b.set.Close()
	faults.Set(func(vfs.Op) error { return errors.New("killed") })
	b.dirs.Close(-1)
	faults.Set(nil)
	return (&broker{t: b.t, fs: b.fs, config: b.config, image: metadata.Empty()}).open("/d")
}

// A replica whose log is recovered behind the start is offline until then, for those who wait, too. Its topic may be deleted before.
func TestRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := vfs.NewFaults(vfs.NewMem(nil), nil)
		b := newBrokerOn(t, faults, "/d")
		b.topic("much", 1, 1)
		b.topic("gone", 2, 1)
		b.topic("little", 3, 1)
		for _, name := range []string{"much", "gone"} {
			b.produce(name, 0, batch(1, 100_000), batch(2, 100_000))
		}
		b.produce("little", 0, batch(1, 10))
		b = b.restart(faults)
		defer b.close()
		b.topic("much", 1, 1)
		b.topic("gone", 2, 1)
		b.topic("little", 3, 1)
		b.produce("little", 0, batch(1, 10))
		_, err := b.partition("much", 0).Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now()})
		want(t, "Produce", fmt.Sprint(errors.Is(err, ErrOffline)), "true")
		b.set.Retry() // does not help
		want(t, "offline", fmt.Sprint(b.set.Stats().Offline), "2")

		b.apply(&schema.RemoveTopic{TopicID: topicID(2)})
		if names, err := faults.List("/d"); err != nil || slices.Contains(names, "gone-0") {
			t.Fatalf("%v, %v", names, err)
		}
		b.topic("gone", 4, 1)
		want(t, "a topic of the name", fmt.Sprint(b.produce("gone", 0, batch(1, 10)).FirstOffset), "0")

		c := b.client(FetchOptions{Wait: time.Hour, MinBytes: 1})
		want(t, "a fetch", c.fetch(at("much", 0, 0)), "")
		short := b.client(FetchOptions{Wait: time.Second, MinBytes: 1})
		want(t, "a short fetch", short.fetch(at("much", 0, 0)), "")
		time.Sleep(time.Second)
		synctest.Wait()
		want(t, "the short fetch", short.last(), "much-0 "+ErrRecovering.Error())
		want(t, "a short fetch with others", short.fetch(at("little", 0, 0)), "much-0 "+ErrRecovering.Error()+" | little-0 hw 2 [0,2)")
		b.dirs.Start()
		synctest.Wait()
		want(t, "the fetch that waits", c.last(), "much-0 hw 3 [0,3)")
		want(t, "Produce", fmt.Sprint(b.produce("much", 0, batch(1, 10)).FirstOffset), "3")
		want(t, "the next fetch", short.fetch(), "much-0 hw 4 [0,4) | little-0 hw 2 [0,2)")
		want(t, "offline", fmt.Sprint(b.set.Stats().Offline), "0")
	})
}

// A log that is recovered before its replica is known is found when that comes.
func TestRecoveredBeforeTheMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := vfs.NewFaults(vfs.NewMem(nil), nil)
		b := newBrokerOn(t, faults, "/d")
		b.topic("much", 1, 1)
		b.produce("much", 0, batch(1, 100_000), batch(2, 100_000))
		b = b.restart(faults)
		defer b.close()
		b.dirs.Start()
		synctest.Wait()
		if b.dirs.Log(topicID(1), 0) == nil {
			t.Fatal("the log is not recovered")
		}
		b.topic("much", 1, 1)
		want(t, "Produce", fmt.Sprint(b.produce("much", 0, batch(1, 10)).FirstOffset), "3")
	})
}

// A replica whose log cannot be recovered is offline, and nobody waits for it any more.
func TestRecoveryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := vfs.NewFaults(vfs.NewMem(nil), nil)
		b := newBrokerOn(t, faults, "/d")
		b.topic("much", 1, 1)
		b.produce("much", 0, batch(1, 100_000), batch(2, 100_000))
		b = b.restart(faults)
		defer func() { b.sessions.Close(); b.set.Close(); b.dirs.Close(-1) }()
		b.topic("much", 1, 1)
		faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		})
		b.dirs.Start()
		synctest.Wait()
		c := b.client(FetchOptions{Wait: time.Hour, MinBytes: 1})
		want(t, "a fetch", c.fetch(at("much", 0, 0)), "much-0 "+ErrOffline.Error())
	})
}
