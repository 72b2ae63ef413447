// Package fetch holds incremental fetch sessions (KIP-227) with dirty sets.
//
// A session remembers which partitions a client reads, from where, and what it was told last. An incremental request
// names only what changed for the client; the answer names only partitions with news. Kafka looks at every partition
// of the session for that. Here a partition tells its watchers when its log end, high watermark, last stable offset,
// leader or existence changes, and a session looks only at the partitions that are marked: an idle poll of 10,000
// partitions costs what an idle poll of one costs.
//
// A fetch without a session runs over a Session too, one that no cache knows and nobody watches until it has to wait.
//
// Who calls what: package api begins and ends a fetch (Cache.Begin, Session.Told), package replica reads
// (Session.Take, Session.Park, Session.Requeue) and calls Part.Changed. One fetch at a time runs over a session, which
// the session's epoch ensures for clients that obey the protocol and busy ensures for the others; Changed may come from
// any goroutine at any time. Session.mu is a leaf: nothing is called under it.
package fetch

import (
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
)

// Key names a partition in a session: by topic id from Fetch v13 on, by name before.
type Key struct {
	ID        schema.UUID
	Topic     string
	Partition int32
}

// Wanted is what a client asks of one partition.
type Wanted struct {
	Key
	Offset      int64
	LogStart    int64 // a follower's log start, -1 from consumers
	MaxBytes    int32
	LeaderEpoch int32 // current leader epoch that the client knows, -1 if none
	LastEpoch   int32 // epoch of the last record it fetched, -1 if none (KIP-595)
}

// Part is one partition of a session.
type Part struct {
	Wanted
	// Watched is what package replica watches for this part, nil if nothing. It belongs to the fetch that runs.
	Watched interface{ Unwatch(*Part) }

	session   *Session
	toldHW    int64 // what the client knows; -1 before the first answer and after an error
	toldStart int64
	dirty     bool // guarded by session.mu: it stands in session.dirty
	gone      bool // guarded by session.mu: forgotten, must not be queued again
}

// Session is the state of one client's fetches.
type Session struct {
	ID         int32
	Privileged bool // a follower's
	UsesIDs    bool

	mu    sync.Mutex
	parts map[Key]*Part
	dirty []*Part // first in, first read
	wake  func()  // called once when something becomes dirty; nil while no fetch waits
	busy  bool    // a fetch runs or waits
	ended bool    // evicted or closed while a fetch was under way

	epoch   int32     // guarded by the cache's lock: the epoch that the next request must carry
	created time.Time // guarded by the cache's lock
	used    time.Time // guarded by the cache's lock
	size    int       // guarded by the cache's lock: partitions, for eviction
}

func newSession(usesIDs, privileged bool) *Session {
	return &Session{UsesIDs: usesIDs, Privileged: privileged, parts: map[Key]*Part{}}
}

// Changed marks the part and wakes the fetch that waits on its session.
func (p *Part) Changed() {
	s := p.session
	s.mu.Lock()
	if p.dirty || p.gone {
		s.mu.Unlock()
		return
	}
	p.dirty = true
	s.dirty = append(s.dirty, p)
	wake := s.wake
	s.wake = nil
	s.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// Told says what the client knows of the partition.
func (p *Part) Told() (highWatermark, logStart int64) { return p.toldHW, p.toldStart }

// Answered notes what an answer says of the partition. failed forgets it, so that the next answer names it again.
func (p *Part) Answered(highWatermark, logStart int64, failed bool) {
	if failed {
		highWatermark = -1
	}
	p.toldHW, p.toldStart = highWatermark, logStart
}

// update takes in what a request says; new and changed parts become dirty. The caller holds the session's lock.
func (s *Session) update(w Wanted) {
	p := s.parts[w.Key]
	if p == nil {
		p = &Part{Wanted: w, session: s, toldHW: -1, toldStart: -1}
		s.parts[w.Key] = p
	} else {
		p.Wanted = w
	}
	if !p.dirty {
		p.dirty = true
		s.dirty = append(s.dirty, p)
	}
}

func (s *Session) forget(k Key) *Part {
	p := s.parts[k]
	if p != nil {
		p.gone = true
		delete(s.parts, k)
	}
	return p
}

// Len is the number of partitions.
func (s *Session) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts)
}

// Take gives the parts to look at, oldest news first, and marks them clean. It appends to buf.
func (s *Session) Take(buf []*Part) []*Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.dirty {
		p.dirty = false
		if !p.gone {
			buf = append(buf, p)
		}
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	return buf
}

// Requeue marks parts that Take gave and that still have news: in front of what became dirty since when first is set
// (they were not looked at), behind it otherwise.
func (s *Session) Requeue(parts []*Part, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeue(parts, first)
}

func (s *Session) requeue(parts []*Part, first bool) {
	fresh := make([]*Part, 0, len(parts)+len(s.dirty))
	if !first {
		fresh = append(fresh, s.dirty...)
	}
	for _, p := range parts {
		if !p.dirty && !p.gone {
			p.dirty = true
			fresh = append(fresh, p)
		}
	}
	if first {
		fresh = append(fresh, s.dirty...)
	}
	s.dirty = fresh
}

// Park lets the fetch wait: wake is called once when a part changes. It refuses when something changed since Take, and
// then the fetch must look again. keep are parts that Take gave and that still have news of their own.
//
// Without the check the following would sleep through news: the fetch reads a part and finds nothing; the part
// changes, nobody waits yet, so nobody is woken; the fetch parks.
func (s *Session) Park(keep []*Part, wake func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := len(s.dirty) > 0
	s.requeue(keep, true)
	if changed {
		return false
	}
	s.wake = wake
	return true
}

// Unpark takes the wake function back, so that a fetch that ends for another reason is not woken.
func (s *Session) Unpark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = nil
}

// Ended says that the session was closed or evicted while its fetch waited.
func (s *Session) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// end unwatches everything. A fetch that waits is woken, so that it ends at once.
func (s *Session) end() {
	s.mu.Lock()
	wake := s.wake
	s.wake = nil
	s.ended = true
	busy := s.busy
	var parts []*Part
	if !busy {
		parts = s.drain()
	}
	s.mu.Unlock()
	unwatch(parts)
	if wake != nil {
		wake()
	}
}

// drain forgets every part. The caller holds the lock and unwatches what it gets after giving the lock back.
func (s *Session) drain() []*Part {
	parts := make([]*Part, 0, len(s.parts))
	for _, p := range s.parts { // order does not matter: every part is unwatched
		p.gone = true
		parts = append(parts, p)
	}
	clear(s.parts)
	s.dirty = nil
	return parts
}

func unwatch(parts []*Part) {
	for _, p := range parts {
		if p != nil && p.Watched != nil {
			p.Watched.Unwatch(p)
			p.Watched = nil
		}
	}
}

// Done ends a fetch over the session. Sessions that no cache holds, or no longer, let go of everything.
func (s *Session) Done() {
	s.mu.Lock()
	s.busy = false
	s.wake = nil
	var parts []*Part
	if s.ended || s.ID == 0 {
		s.ended = true
		parts = s.drain()
	}
	s.mu.Unlock()
	unwatch(parts)
}
