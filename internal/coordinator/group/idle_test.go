package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// crowd is a machine with groups of one member each, loaded from a log.
func crowd(t testing.TB, groups int) *harness {
	h := newHarness(t, Config{RetentionCheckInterval: time.Hour})
	for i := range groups {
		g := newClassic(fmt.Sprintf("g%05d", i), h.now.UnixMilli())
		protocol := "range"
		g.protocolType, g.protocol, g.generation, g.leader = "consumer", &protocol, 1, "m"
		g.members = []*member{{id: "m", sessionTimeout: 1800000, rebalanceTimeout: 1000}}
		h.log = append(h.log, logged{record: metadataRecord(g, currentAssignment)})
	}
	h.m = h.reload()
	return h
}

func (h *harness) beat(group string) {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 4, group, "m", 1
	h.do(machine.Command{Body: r})
}

// TestIdleGroups shows that 10,000 groups cost nothing between their deadlines: no Tick, no move in the heap.
func TestIdleGroups(t *testing.T) {
	h := crowd(t, 10000)
	h.advance(time.Millisecond) // sessions begin
	h.ticks = 0
	for minute := range 9 {
		for i := range 100 {
			h.beat(fmt.Sprintf("g%05d", i))
		}
		at, _ := h.m.NextDeadline()
		if want := h.began.Add(30 * time.Minute); !at.Equal(want) {
			t.Fatalf("after %d minutes the next deadline is %v, want the first session's end at %v", minute, at, want)
		}
		h.advance(time.Minute)
	}
	if h.ticks != 0 {
		t.Fatalf("%d ticks in nine idle minutes", h.ticks)
	}
	h.advance(21 * time.Minute)
	if len(h.m.groups) != 10000 {
		t.Fatalf("%d groups are left", len(h.m.groups))
	}
	for _, l := range h.log[10000:] {
		id, v, err := decodeGroup(l.record)
		if err != nil || v.Generation != 2 || id < "g00100" {
			t.Fatalf("record of %s: %+v %v", id, v, err)
		}
	}
	if n := len(h.log); n != 10000+9900 {
		t.Fatalf("%d groups lost their member, want 9900", n-10000)
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	h := crowd(b, 10000)
	h.advance(time.Millisecond)
	r := kmsg.NewPtrHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 4, "g05000", "m", 1
	in := machine.Input{Now: h.now, Rand: h.rand}
	b.ReportAllocs()
	for b.Loop() {
		in.Now = in.Now.Add(time.Microsecond)
		h.m.Handle(in, machine.Command{Token: 1, Body: r})
	}
}
