package fetch

import (
	"errors"
	"math"
	"sync"
	"time"
)

// Errors of Begin; each stands for one of Kafka's codes.
var (
	ErrSessionNotFound = errors.New("fetch: no such session")                             // FETCH_SESSION_ID_NOT_FOUND
	ErrSessionEpoch    = errors.New("fetch: not the session's next epoch")                // INVALID_FETCH_SESSION_EPOCH
	ErrSessionTopicIDs = errors.New("fetch: the session names topics in the other way")   // FETCH_SESSION_TOPIC_ID_ERROR
	ErrSessionBusy     = errors.New("fetch: another fetch of the session is still there") // INVALID_FETCH_SESSION_EPOCH
)

// Epochs of a request that are no numbers of a session (FetchMetadata).
const (
	InitialEpoch = 0  // make a session
	FinalEpoch   = -1 // no session; close the one that is named
)

// Request is what a Fetch request says about its session.
type Request struct {
	SessionID  int32
	Epoch      int32
	UsesIDs    bool // v13 and later
	Privileged bool // from a follower
	Wanted     []Wanted
	Forgotten  []Key
}

// Cache holds the sessions of a node, at most Slots of them (max.incremental.fetch.session.cache.slots).
type Cache struct {
	slots    int
	evict    time.Duration // min.incremental.fetch.session.eviction.ms
	newID    func() int32
	mu       sync.Mutex // guards sessions and the fields of Session that say so; taken before Session.mu
	sessions map[int32]*Session
	evicted  int64
}

// DefaultEviction is Kafka's min.incremental.fetch.session.eviction.ms.
const DefaultEviction = 120 * time.Second

// NewCache makes an empty cache. newID gives random positive numbers.
func NewCache(slots int, evict time.Duration, newID func() int32) *Cache {
	return &Cache{slots: slots, evict: evict, newID: newID, sessions: map[int32]*Session{}}
}

// Begin finds or makes the session that a request runs over. Full says that the answer names every partition.
// The caller ends it with Session.Done.
func (c *Cache) Begin(r Request, now time.Time) (s *Session, full bool, err error) {
	if r.Epoch == FinalEpoch || r.Epoch == InitialEpoch {
		if r.SessionID != 0 {
			c.close(r.SessionID)
		}
		s := newSession(r.UsesIDs, r.Privileged)
		s.busy = true
		for _, w := range r.Wanted {
			s.update(w)
		}
		if r.Epoch == InitialEpoch {
			c.admit(s, now)
		}
		return s, true, nil
	}
	c.mu.Lock()
	s = c.sessions[r.SessionID]
	if s == nil {
		c.mu.Unlock()
		return nil, false, ErrSessionNotFound
	}
	if r.Epoch != s.epoch {
		c.mu.Unlock()
		return nil, false, ErrSessionEpoch
	}
	if s.UsesIDs != r.UsesIDs {
		c.mu.Unlock()
		return nil, false, ErrSessionTopicIDs
	}
	s.mu.Lock()
	if s.busy {
		s.mu.Unlock()
		c.mu.Unlock()
		return nil, false, ErrSessionBusy
	}
	s.busy = true
	for _, w := range r.Wanted {
		s.update(w)
	}
	forgotten := make([]*Part, 0, len(r.Forgotten))
	for _, k := range r.Forgotten {
		forgotten = append(forgotten, s.forget(k))
	}
	s.size = len(s.parts)
	s.mu.Unlock()
	s.epoch = nextEpoch(s.epoch)
	s.used = now
	if s.size == 0 { // KIP-227: a session without partitions is closed and the answer carries session id 0
		delete(c.sessions, s.ID)
		s.ID = 0
	}
	c.mu.Unlock()
	unwatch(forgotten)
	return s, false, nil
}

// nextEpoch skips 0 when it wraps.
func nextEpoch(e int32) int32 {
	if e == math.MaxInt32 {
		return 1
	}
	return e + 1
}

// admit gives the session an id if there is room, or room can be made.
func (c *Cache) admit(s *Session, now time.Time) {
	c.mu.Lock()
	var victim *Session
	s.size = len(s.parts)
	if len(c.sessions) >= c.slots {
		if victim = c.victim(s, now); victim == nil {
			c.mu.Unlock()
			return
		}
		delete(c.sessions, victim.ID)
		c.evicted++
	}
	id := c.newID()
	for id <= 0 || c.sessions[id] != nil {
		id = c.newID()
	}
	s.ID, s.epoch, s.created, s.used = id, 1, now, now
	c.sessions[id] = s
	c.mu.Unlock()
	if victim != nil {
		victim.end()
	}
}

// victim is the session that a new one may push out (FetchSessionCacheShard.tryEvict): the longest unused one, if that is
// longer than the eviction time; else the one that ranks lowest among those that may be touched at all, if the new one
// ranks above it. A follower's session ranks above a consumer's, then the larger one ranks higher. A session may be
// touched once it was used when older than the eviction time; a consumer's by a follower's at any time.
func (c *Cache) victim(s *Session, now time.Time) *Session {
	var oldest, lowest *Session
	for _, o := range c.sessions { // order does not matter: ties are broken by id
		if oldest == nil || o.used.Before(oldest.used) || o.used.Equal(oldest.used) && o.ID < oldest.ID {
			oldest = o
		}
		settled := o.used.Sub(o.created) > c.evict
		if (settled || s.Privileged && !o.Privileged) && (lowest == nil || lower(o, lowest)) {
			lowest = o
		}
	}
	switch {
	case oldest != nil && now.Sub(oldest.used) > c.evict:
		return oldest
	case lowest != nil && (s.Privileged && !lowest.Privileged || s.Privileged == lowest.Privileged && s.size > lowest.size):
		return lowest
	}
	return nil
}

func lower(a, b *Session) bool {
	if a.Privileged != b.Privileged {
		return b.Privileged
	}
	if a.size != b.size {
		return a.size < b.size
	}
	return a.ID < b.ID
}

func (c *Cache) close(id int32) {
	c.mu.Lock()
	s := c.sessions[id]
	delete(c.sessions, id)
	c.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// Close ends every session.
func (c *Cache) Close() {
	c.mu.Lock()
	all := make([]*Session, 0, len(c.sessions))
	for _, s := range c.sessions { // order does not matter: all end
		all = append(all, s)
	}
	clear(c.sessions)
	c.mu.Unlock()
	for _, s := range all {
		s.end()
	}
}

// Stats counts sessions, their partitions, and evictions so far.
type Stats struct {
	Sessions, Partitions int
	Evicted              int64
}

// Stats of the cache now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Stats{Sessions: len(c.sessions), Evicted: c.evicted}
	for _, s := range c.sessions { // order does not matter: a sum
		st.Partitions += s.size
	}
	return st
}
