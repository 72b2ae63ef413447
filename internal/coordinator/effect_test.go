package coordinator

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/machine"
)

// effector is a store whose puts and gets have effects.
type effector struct{ *store }

func (e effector) Handle(in machine.Input, cmd machine.Command) machine.Result[machine.Record] {
	res := e.store.Handle(in, cmd)
	switch c := cmd.Body.(type) {
	case put:
		res.Effects = []any{"do " + c.key, "do more"}
	case get:
		res.Effects = []any{"read " + c.key}
	}
	return res
}

// done is what OnEffect got.
type done struct {
	mu  sync.Mutex
	all []string
}

func (d *done) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.all
	d.all = nil
	return all
}

func newEffectFixture(t *testing.T) (*fixture, *done) {
	d := &done{}
	return newFixture(t, func(c *Config) {
		c.CommitTimeout = time.Second
		c.NewMachine = func(int32) machine.Machine[machine.Record] { return effector{newStore()} }
		c.OnEffect = func(partition int32, effect any) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.all = append(d.all, fmt.Sprintf("%d: %v", partition, effect))
		}
	}), d
}

func wantEffects(t *testing.T, d *done, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.take()); diff != "" {
		t.Fatalf("effects: -want +got:\n%s", diff)
	}
}

func TestEffects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := newEffectFixture(t)
		defer f.close()
		f.elect(0, 1)
		f.want(f.submit(put{"a", "1"}), "")
		wantEffects(t, d, "0: do a", "0: do more")
		f.want(f.submit(get{"a"}), "1")
		wantEffects(t, d, "0: read a")

		// Above the high watermark they wait, those without records behind the others; longer than their callers do.
		f.log.set(func(l *memLog) { l.manualHW = true })
		b := f.submit(put{"b", "1"})
		wantEffects(t, d)
		read := f.submit(get{"c"})
		wantEffects(t, d)
		time.Sleep(2 * time.Second)
		f.want(b, ErrTimeout)
		f.want(read, ErrTimeout)
		wantEffects(t, d)
		f.log.commit(0)
		wantEffects(t, d, "0: do b", "0: do more", "0: read c")

		// What was not written has no effect.
		f.log.set(func(l *memLog) { l.failWith = errors.New("disk") })
		f.submit(put{"a", "2"})
		wantEffects(t, d)
		f.log.set(func(l *memLog) { l.failWith = nil })

		// Nor has what another leader may have cut off.
		f.submit(put{"a", "3"})
		wantEffects(t, d)
		f.h.Resigned(0, 2)
		f.log.commit(0)
		wantEffects(t, d)
	})
}

// TestEffectsAfterLoading has a machine that wants something while what it was loaded from is not yet committed.
func TestEffectsAfterLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := newEffectFixture(t)
		defer f.close()
		f.elect(0, 1)
		f.log.set(func(l *memLog) { l.manualHW = true })
		f.submit(put{"a", "1"})
		wantEffects(t, d)
		f.elect(0, 2)
		f.submit(get{"a"})
		wantEffects(t, d)
		f.log.commit(0)
		wantEffects(t, d, "0: read a")
	})
}
