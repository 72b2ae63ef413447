package fetch

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/schema"
)

var epoch0 = time.UnixMilli(1_000_000)

// cache with ids 1, 2, 3, ...
func cache(slots int) *Cache {
	var last int32
	return NewCache(slots, DefaultEviction, func() int32 { last++; return last })
}

func named(topic string, partitions ...int32) []Wanted {
	var out []Wanted
	for _, p := range partitions {
		out = append(out, Wanted{Key: Key{Topic: topic, Partition: p}, LogStart: -1, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1})
	}
	return out
}

func keys(partitions ...int32) []Key {
	var out []Key
	for _, p := range partitions {
		out = append(out, Key{Topic: "t", Partition: p})
	}
	return out
}

func taken(s *Session) []int32 {
	out := []int32{}
	for _, p := range s.Take(nil) {
		out = append(out, p.Partition)
	}
	return out
}

// KIP-227's rules, one request after the other over one cache. DETAILS 20.
func TestSessionRules(t *testing.T) {
	c := cache(10)
	steps := []struct {
		what    string
		request Request
		err     error
		id      int32
		full    bool
		looks   []int32 // at these partitions, in this order
	}{
		{"no session asked for", Request{Epoch: FinalEpoch, Wanted: named("t", 2, 0)}, nil, 0, true, []int32{2, 0}},
		{"a new one", Request{Epoch: InitialEpoch, Wanted: named("t", 3, 1, 2)}, nil, 1, true, []int32{3, 1, 2}},
		{"an epoch too early", Request{SessionID: 1, Epoch: 2}, ErrSessionEpoch, 0, false, nil},
		{"nothing new", Request{SessionID: 1, Epoch: 1}, nil, 1, false, []int32{}},
		{"the same epoch again", Request{SessionID: 1, Epoch: 1}, ErrSessionEpoch, 0, false, nil},
		{"one moved, one added", Request{SessionID: 1, Epoch: 2, Wanted: named("t", 1, 9)}, nil, 1, false, []int32{1, 9}},
		{"one forgotten, one not there", Request{SessionID: 1, Epoch: 3, Forgotten: keys(1, 7), Wanted: named("t", 2)}, nil, 1, false, []int32{2}},
		{"added and forgotten at once", Request{SessionID: 1, Epoch: 4, Wanted: named("t", 4), Forgotten: keys(4)}, nil, 1, false, []int32{}},
		{"by ids instead of names", Request{SessionID: 1, Epoch: 5, UsesIDs: true}, ErrSessionTopicIDs, 0, false, nil},
		{"an unknown session", Request{SessionID: 77, Epoch: 5}, ErrSessionNotFound, 0, false, nil},
		{"a negative epoch that means nothing", Request{SessionID: 1, Epoch: -7}, ErrSessionEpoch, 0, false, nil},
		{"the errors did no harm", Request{SessionID: 1, Epoch: 5}, nil, 1, false, []int32{}},
		{"a full one in its place", Request{SessionID: 1, Epoch: InitialEpoch, Wanted: named("t", 5)}, nil, 2, true, []int32{5}},
		{"the one before is closed", Request{SessionID: 1, Epoch: 6}, ErrSessionNotFound, 0, false, nil},
		{"closed by the client", Request{SessionID: 2, Epoch: FinalEpoch}, nil, 0, true, []int32{}},
		{"and gone", Request{SessionID: 2, Epoch: 1}, ErrSessionNotFound, 0, false, nil},
		{"by ids", Request{Epoch: InitialEpoch, UsesIDs: true, Wanted: []Wanted{{Key: Key{ID: schema.UUID{1}}}}}, nil, 3, true, []int32{0}},
		{"by names instead of ids", Request{SessionID: 3, Epoch: 1}, ErrSessionTopicIDs, 0, false, nil},
		{"emptied: closed, the answer has no id", Request{SessionID: 3, Epoch: 1, UsesIDs: true, Forgotten: []Key{{ID: schema.UUID{1}}}}, nil, 0, false, []int32{}},
		{"gone after that", Request{SessionID: 3, Epoch: 2, UsesIDs: true}, ErrSessionNotFound, 0, false, nil},
	}
	for _, step := range steps {
		s, full, err := c.Begin(step.request, epoch0)
		if err != step.err {
			t.Fatalf("%s: error %v, want %v", step.what, err, step.err)
		}
		if err != nil {
			continue
		}
		if s.ID != step.id || full != step.full {
			t.Fatalf("%s: session %d, full %v", step.what, s.ID, full)
		}
		if d := cmp.Diff(step.looks, taken(s)); d != "" {
			t.Fatalf("%s: %s", step.what, d)
		}
		s.Done()
	}
	if st := c.Stats(); st.Sessions != 0 || st.Partitions != 0 {
		t.Fatalf("left: %+v", st)
	}
}

func TestEpochWrapsToOne(t *testing.T) {
	c := cache(1)
	s, _, _ := c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", 0)}, epoch0)
	s.Done()
	s.epoch = math.MaxInt32
	for _, epoch := range []int32{math.MaxInt32, 1, 2} {
		s, _, err := c.Begin(Request{SessionID: 1, Epoch: epoch}, epoch0)
		if err != nil {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
		s.Done()
	}
}

func TestOneFetchAtATime(t *testing.T) {
	c := cache(1)
	s, _, _ := c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", 0)}, epoch0)
	if _, _, err := c.Begin(Request{SessionID: 1, Epoch: 1}, epoch0); err != ErrSessionBusy {
		t.Fatalf("a second fetch: %v", err)
	}
	s.Done()
	if _, _, err := c.Begin(Request{SessionID: 1, Epoch: 1}, epoch0); err != nil {
		t.Fatal(err)
	}
}

// Who may push out whom: FetchSessionCacheShard.tryEvict.
func TestEviction(t *testing.T) {
	type session struct {
		follower bool
		size     int
		created  time.Duration // before now
		used     time.Duration // before now
	}
	const long = DefaultEviction + time.Second
	cases := []struct {
		what string
		have []session
		new  session
		out  int // index in have, -1: the new one gets none
	}{
		{"nothing may go for an equal one", []session{{size: 3}}, session{size: 3}, -1},
		{"a young one stays", []session{{size: 1}}, session{size: 9}, -1},
		{"a settled smaller one goes", []session{{size: 5, created: long}, {size: 2, created: long}}, session{size: 3}, 1},
		{"settled counts when it was used", []session{{size: 1, created: long, used: 2 * time.Second}}, session{size: 3}, -1},
		{"not for one of its size", []session{{size: 3, created: long}}, session{size: 3}, -1},
		{"a settled one goes though a smaller one is young", []session{{size: 1}, {size: 2, created: long}}, session{size: 3}, 1},
		{"an unused one goes for any", []session{{size: 50, used: long, created: long}, {size: 1}}, session{size: 1}, 0},
		{"the longest unused first", []session{{used: long, created: long}, {size: 5, used: 2 * long, created: 2 * long}}, session{size: 1}, 1},
		{"not when just at the limit", []session{{size: 1, used: DefaultEviction, created: DefaultEviction}}, session{size: 2}, -1},
		{"a follower pushes a young consumer out", []session{{size: 90}, {size: 80}}, session{follower: true, size: 1}, 1},
		{"a consumer never pushes a follower out", []session{{follower: true, size: 1, created: long}}, session{size: 90}, -1},
		{"a follower pushes a settled smaller follower out", []session{{follower: true, size: 1, created: long}}, session{follower: true, size: 2}, 0},
		{"a follower leaves a young follower alone", []session{{follower: true, size: 1}}, session{follower: true, size: 2}, -1},
		{"a consumer before a follower", []session{{follower: true, size: 1, created: long}, {size: 70}}, session{follower: true, size: 2}, 1},
	}
	now := epoch0.Add(time.Hour)
	for _, tc := range cases {
		t.Run(tc.what, func(t *testing.T) {
			c := cache(len(tc.have))
			begin := func(s session) *Session {
				var wanted []Wanted
				for p := range s.size {
					wanted = append(wanted, named("t", int32(p))...)
				}
				made, _, err := c.Begin(Request{Epoch: InitialEpoch, Privileged: s.follower, Wanted: wanted}, now)
				if err != nil {
					t.Fatal(err)
				}
				made.Done()
				made.created, made.used = now.Add(-s.created), now.Add(-s.used)
				return made
			}
			var before []*Session
			for _, h := range tc.have {
				before = append(before, begin(h))
			}
			made := begin(tc.new)
			out := -1
			for i, s := range before {
				if c.sessions[s.ID] != s {
					out = i
				}
			}
			if out != tc.out || (made.ID != 0) != (tc.out >= 0) {
				t.Fatalf("went %d, want %d; the new session's id is %d, %+v", out, tc.out, made.ID, c.Stats())
			}
			if st := c.Stats(); (st.Evicted == 1) != (tc.out >= 0) || st.Sessions != len(tc.have) {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestNoSlots(t *testing.T) {
	c := cache(0)
	s, full, err := c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", 0)}, epoch0)
	if err != nil || !full || s.ID != 0 {
		t.Fatal(s.ID, full, err)
	}
}

// watch counts who watches.
type watch struct{ n *int }

func (w watch) Unwatch(*Part) { *w.n-- }

func watchAll(s *Session, n *int) {
	for _, p := range s.parts {
		if p.Watched == nil {
			p.Watched = watch{n}
			*n++
		}
	}
}

// Every way in which a part or its session ends lets go of what was watched for it.
func TestNobodyIsWatchedForGoneParts(t *testing.T) {
	three := Request{Epoch: InitialEpoch, Wanted: named("t", 0, 1, 2)}
	cases := map[string]struct {
		end  func(c *Cache, s *Session)
		left int
	}{
		"forgotten":        {func(c *Cache, s *Session) { c.Begin(Request{SessionID: 1, Epoch: 1, Forgotten: keys(1)}, epoch0) }, 2},
		"emptied":          {func(c *Cache, s *Session) { c.Begin(Request{SessionID: 1, Epoch: 1, Forgotten: keys(0, 1, 2)}, epoch0) }, 0},
		"closed by client": {func(c *Cache, s *Session) { c.Begin(Request{SessionID: 1, Epoch: FinalEpoch}, epoch0) }, 0},
		"replaced": {func(c *Cache, s *Session) {
			c.Begin(Request{SessionID: 1, Epoch: InitialEpoch, Wanted: named("t", 0)}, epoch0)
		}, 0},
		"evicted": {func(c *Cache, s *Session) {
			c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", 0)}, epoch0.Add(time.Hour))
		}, 0},
		"cache closed": {func(c *Cache, s *Session) { c.Close() }, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := cache(1)
			s, _, _ := c.Begin(three, epoch0)
			n := 0
			watchAll(s, &n)
			s.Done()
			if n != 3 {
				t.Fatalf("a live session watches %d", n)
			}
			tc.end(c, s)
			if n != tc.left {
				t.Fatalf("%d are still watched, want %d", n, tc.left)
			}
		})
	}
	t.Run("no session", func(t *testing.T) {
		c := cache(0)
		s, _, _ := c.Begin(three, epoch0)
		n := 0
		watchAll(s, &n)
		if s.Done(); n != 0 {
			t.Fatalf("%d are still watched", n)
		}
	})
	t.Run("evicted while its fetch runs", func(t *testing.T) {
		c := cache(1)
		s, _, _ := c.Begin(three, epoch0)
		n := 0
		watchAll(s, &n)
		c.Close()
		if n != 3 || !s.Ended() {
			t.Fatalf("%d watched, ended %v: the fetch that runs owns its watches", n, s.Ended())
		}
		if s.Done(); n != 0 {
			t.Fatalf("%d are still watched", n)
		}
	})
}

// waiter counts wakes.
type waiter int

func (w *waiter) Wake()   { *w++ }
func (w *waiter) Resume() { *w++ }

// changed does what whoever changes a partition does.
func changed(p *Part) {
	if w := p.Changed(); w != nil {
		w.Resume()
	}
}

func parked(t *testing.T, partitions ...int32) (*Cache, *Session, *waiter, []*Part) {
	t.Helper()
	c := cache(1)
	s, _, _ := c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", partitions...)}, epoch0)
	return c, s, new(waiter), s.Take(nil)
}

func TestParkRefusesAfterNews(t *testing.T) {
	_, s, w, parts := parked(t, 0, 1)
	changed(parts[1])
	if s.Park(nil, w) {
		t.Fatal("parked over news")
	}
	if d := cmp.Diff([]int32{1}, taken(s)); d != "" {
		t.Fatal(d)
	}
	if !s.Park(nil, w) {
		t.Fatal("did not park")
	}
	changed(parts[0])
	changed(parts[0])
	changed(parts[1])
	if *w != 1 {
		t.Fatalf("%d wakes", *w)
	}
}

// A session that ends between the look and the wait would leave its fetch waiting for its time limit.
func TestParkRefusesAfterTheEnd(t *testing.T) {
	c, s, w, _ := parked(t, 0)
	c.Close()
	if s.Park(nil, w) {
		t.Fatal("parked in a session that has ended")
	}
}

func TestEndWakes(t *testing.T) {
	c, s, w, _ := parked(t, 0)
	s.Park(nil, w)
	c.Close()
	if *w != 1 || !s.Ended() {
		t.Fatalf("%d wakes, ended %v", *w, s.Ended())
	}
}

// A part that is kept because it has some bytes, but fewer than min_bytes, must wake its fetch when it gets more.
func TestWhatIsHeldStillWakes(t *testing.T) {
	_, s, w, parts := parked(t, 0, 1, 2)
	if !s.Park(parts[:2], w) {
		t.Fatal("held parts are no news")
	}
	changed(parts[1])
	if *w != 1 {
		t.Fatal("not woken")
	}
	changed(parts[2])
	if d := cmp.Diff([]int32{0, 1, 2}, taken(s)); d != "" { // each once
		t.Fatal(d)
	}
}

func TestUnparkTakesOnlyItsOwn(t *testing.T) {
	_, s, w, parts := parked(t, 0)
	var other waiter
	s.Park(nil, w)
	if s.Unpark(&other) {
		t.Fatal("took another's fetch")
	}
	if !s.Unpark(w) || s.Unpark(w) {
		t.Fatal("taken never or twice")
	}
	if changed(parts[0]); *w != 0 {
		t.Fatal("woken after it was taken back")
	}
}

func TestForgottenPartsAreQuiet(t *testing.T) {
	c, s, w, parts := parked(t, 0, 1)
	s.Hold(parts[:1])
	s.Done()
	s, _, err := c.Begin(Request{SessionID: 1, Epoch: 1, Forgotten: keys(0)}, epoch0)
	if err != nil {
		t.Fatal(err)
	}
	changed(parts[0])
	s.Again(parts[0])
	s.Hold(parts[:1])
	if got := taken(s); len(got) != 0 {
		t.Fatalf("looks at %v", got)
	}
	s.Park(nil, w)
	if changed(parts[0]); *w != 0 {
		t.Fatal("a forgotten part wakes")
	}
}

func TestOrderOfLooks(t *testing.T) {
	_, s, _, parts := parked(t, 0, 1, 2, 3, 4)
	changed(parts[4])
	s.Hold(parts[2:4]) // had no room in the answer
	s.Again(parts[0])  // was served
	changed(parts[1])
	if d := cmp.Diff([]int32{2, 3, 4, 0, 1}, taken(s)); d != "" {
		t.Fatal(d)
	}
}

func TestIdleFetchAllocatesNothing(t *testing.T) {
	c := cache(1)
	var all []int32
	for p := range int32(10_000) {
		all = append(all, p)
	}
	s, _, _ := c.Begin(Request{Epoch: InitialEpoch, Wanted: named("t", all...)}, epoch0)
	parts := s.Take(nil)
	buf := make([]*Part, 0, 8)
	s.Done()
	epoch, looked := int32(1), 0
	allocs := testing.AllocsPerRun(1000, func() {
		s, _, err := c.Begin(Request{SessionID: 1, Epoch: epoch}, epoch0)
		if err != nil {
			panic(err)
		}
		epoch++
		changed(parts[int(epoch)%len(parts)])
		buf = s.Take(buf[:0])
		looked += len(buf)
		s.Done()
	})
	// One part changed each time: that is what is looked at, of 10,000.
	if looked != 1001 || allocs > 0 && !raceEnabled {
		t.Fatalf("%d looks in 1001 fetches, %v allocations each", looked, allocs)
	}
}

func ExampleCache() {
	c := NewCache(1000, DefaultEviction, func() int32 { return 42 })
	s, full, _ := c.Begin(Request{Epoch: InitialEpoch, Wanted: []Wanted{{Key: Key{Topic: "t"}}}}, time.UnixMilli(0))
	fmt.Println(s.ID, full, s.Len())
	s.Done()
	// Output: 42 true 1
}
