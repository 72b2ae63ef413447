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
// A session has two queues of parts to look at:
//
//	held   known to have news (bytes that an answer had no room for, too few bytes for min_bytes); looked at first
//	dirty  marked by Part.Changed, in the order in which they were
//
// Both are looked at by the next Take. Only what becomes dirty wakes a fetch that waits: what is held it has seen.
//
// Who calls what: package api begins and ends a fetch (Cache.Begin, Session.Done), package replica reads
// (Session.Take, Hold, Again, Park, Unpark) and calls Part.Changed. One fetch at a time runs over a session, which
// the session's epoch ensures for clients that obey the protocol and busy ensures for the others; Changed may come from
// any goroutine at any time. Session.mu is a leaf: nothing is called under it.
package fetch

import (
	"sync"
	"sync/atomic"
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
	dirty     atomic.Bool // it stands in session.dirty; written under session.mu
	held      bool        // guarded by session.mu: it stands in session.held
	gone      bool        // guarded by session.mu: forgotten, must not be queued again
}

// Waiter is a fetch that waits. Whoever takes it out of its session lets it go on by one of these, once, without a lock. Neither waits
// for a socket or for another request; Resume may read files.
type Waiter interface {
	Wake()   // on a goroutine of its own
	Resume() // on the caller's, for one look
}

// Session is the state of one client's fetches.
type Session struct {
	ID         int32
	Privileged bool // a follower's
	UsesIDs    bool

	mu     sync.Mutex // guards parts, the queues, waiter, busy and ended
	parts  map[Key]*Part
	held   []*Part
	dirty  []*Part
	waiter Waiter // who takes it out owns the fetch that waits; nil while none does
	busy   bool   // a fetch runs or waits
	ended  bool   // evicted or closed while a fetch was under way

	epoch   int32     // guarded by the cache's lock: the epoch that the next request must carry
	created time.Time // guarded by the cache's lock
	used    time.Time // guarded by the cache's lock
	size    int       // guarded by the cache's lock: partitions, for eviction
}

func newSession(usesIDs, privileged bool) *Session {
	return &Session{UsesIDs: usesIDs, Privileged: privileged, parts: map[Key]*Part{}}
}

// Changed marks the part and takes the fetch that waits on its session, if one does, out of it: the caller lets it go on. It is
// called after the change can be seen.
//
// The look at dirty without the lock loses nothing: dirty is taken back before the part is looked at, so a Changed that
// still finds it set comes before that look, and so does the change.
func (p *Part) Changed() Waiter {
	if p.dirty.Load() {
		return nil
	}
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(p)
	if len(s.dirty) == 0 { // the part is gone
		return nil
	}
	w := s.waiter
	s.waiter = nil
	return w
}

// mark puts a part behind the dirty ones, unless it stands there or is forgotten. The session's lock is held.
func (s *Session) mark(p *Part) {
	if !p.gone && !p.dirty.Load() {
		p.dirty.Store(true)
		s.dirty = append(s.dirty, p)
	}
}

// Told says what the client knows of the partition.
func (p *Part) Told() (highWatermark, logStart int64) { return p.toldHW, p.toldStart }

// Answered notes what an answer says of the partition. failed forgets it, so that the next answer names it again.
// DETAILS 20.
func (p *Part) Answered(highWatermark, logStart int64, failed bool) {
	if failed {
		highWatermark = -1
	}
	p.toldHW, p.toldStart = highWatermark, logStart
}

// update takes in what a request says; new and changed parts become dirty. The caller holds the session's lock, or
// nobody else knows the session.
func (s *Session) update(w Wanted) {
	p := s.parts[w.Key]
	if p == nil {
		p = &Part{Wanted: w, session: s, toldHW: -1, toldStart: -1}
		s.parts[w.Key] = p
	} else {
		p.Wanted = w
	}
	s.mark(p)
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

// Take gives the parts to look at, those that are held first, then oldest news first, and empties both queues. It appends
// to buf.
func (s *Session) Take(buf []*Part) []*Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.held {
		p.held = false
		p.dirty.Store(false)
		if !p.gone {
			buf = append(buf, p)
		}
	}
	for _, p := range s.dirty {
		if !p.dirty.Load() {
			continue // it was held, too
		}
		p.dirty.Store(false)
		if !p.gone {
			buf = append(buf, p)
		}
	}
	s.held, s.dirty = emptied(s.held), emptied(s.dirty)
	return buf
}

func emptied(parts []*Part) []*Part {
	clear(parts)
	return parts[:0]
}

// Hold keeps parts that Take gave for the next Take, in front.
func (s *Session) Hold(parts []*Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold(parts)
}

func (s *Session) hold(parts []*Part) {
	for _, p := range parts {
		if !p.held && !p.gone {
			p.held = true
			s.held = append(s.held, p)
		}
	}
}

// Again marks a part that an answer served: it may have more, and the next fetch looks at it after all others.
func (s *Session) Again(p *Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(p)
}

// Park lets the fetch wait until a part changes or the session ends. It refuses when either happened since Take, and
// then the fetch must look again. keep are parts that Take gave and that still have news of their own; they are held
// either way.
//
// Without the check the following would sleep through news: the fetch reads a part and finds nothing; the part
// changes, nobody waits yet, so nobody is woken; the fetch parks.
//
// After a Park that did not refuse, the fetch belongs to whoever takes w out of the session: Changed for its caller, the
// session's end, which wakes it, or Unpark. The caller touches it no more unless Unpark says that it may.
func (s *Session) Park(keep []*Part, w Waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold(keep)
	if len(s.dirty) > 0 || s.ended {
		return false
	}
	s.waiter = w
	return true
}

// Unpark takes the fetch back. It says whether it still waited; if not, somebody else has it, or it is over.
func (s *Session) Unpark(w Waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiter != w {
		return false
	}
	s.waiter = nil
	return true
}

// Ended says that the session was closed or evicted while its fetch was under way: it answers with what there is.
func (s *Session) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// end unwatches everything, at once or when the fetch that runs is done. A fetch that waits is woken, so that it ends.
func (s *Session) end() {
	s.mu.Lock()
	w := s.waiter
	s.waiter = nil
	s.ended = true
	var parts []*Part
	if !s.busy {
		parts = s.drain()
	}
	s.mu.Unlock()
	unwatch(parts)
	if w != nil {
		w.Wake()
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
	s.held, s.dirty = nil, nil
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
	var parts []*Part
	if s.ended || s.ID == 0 {
		s.ended = true
		parts = s.drain()
	}
	s.mu.Unlock()
	unwatch(parts)
}
