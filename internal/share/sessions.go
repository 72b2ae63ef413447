package share

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Epochs of a request that are no numbers of a session.
const (
	InitialEpoch = 0  // open a session, in place of the member's old one
	FinalEpoch   = -1 // close it
)

// sessions are the share sessions of a node: one for each member of a group that fetches here.
type sessions struct {
	mu      sync.Mutex // guards all below, and what of Session says so
	all     map[memberKey]*Session
	members map[string]int  // sessions by group
	heard   map[uint64]bool // connections whose end is heard of
	limbo   map[*Session]bool
	drained bool // nothing waits any more
}

type memberKey struct{ group, member string }

// Session is what one member of a share group fetches.
type Session struct {
	Group, Member string

	set        *Set
	connection uint64
	ended      atomic.Bool // closed, replaced, or its connection is gone

	// Guarded by sessions.mu.
	epoch   int32 // that the next request must carry
	parts   map[TopicPartition]*part
	order   []TopicPartition // of parts, as they came
	fetches []*waitingFetch  // that run or wait
}

// part is one partition of a session. due: the next answer names it, with or without records.
type part struct{ due bool }

func (s *sessions) init() {
	s.all, s.members = map[memberKey]*Session{}, map[string]int{}
	s.heard, s.limbo = map[uint64]bool{}, map[*Session]bool{}
}

func (s *sessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Request is what a ShareFetch says about its session.
type Request struct {
	Group, Member   string
	Epoch           int32
	Connection      uint64
	Add, Forget     []TopicPartition
	Acknowledgement bool         // it acknowledges something, too
	OnClose         func(func()) // has a function run when the connection has closed
}

// maxPartitions is how many partitions a session may have. Kafka has no limit; nobody is assigned as many.
const maxPartitions = 100_000

// Begin finds the session of a request, or opens it. Errors are Kafka's: SHARE_SESSION_NOT_FOUND,
// INVALID_SHARE_SESSION_EPOCH, INVALID_REQUEST for acknowledgements of a session that only begins and for too many
// partitions, and SHARE_SESSION_LIMIT_REACHED.
func (s *Set) Begin(r Request) (*Session, error) {
	if r.Epoch == InitialEpoch && r.Acknowledgement || len(r.Add) > maxPartitions {
		return nil, kerr.InvalidRequest
	}
	most := s.MaxSessions()
	ss := &s.sessions
	ss.mu.Lock()
	key := memberKey{r.Group, r.Member}
	old := ss.all[key]
	if r.Epoch != InitialEpoch {
		defer ss.mu.Unlock()
		switch {
		case old == nil:
			return nil, kerr.ShareSessionNotFound
		case r.Epoch == FinalEpoch:
			return old, nil
		case r.Epoch != old.epoch:
			return nil, kerr.InvalidShareSessionEpoch
		case len(r.Add)+len(old.parts) > maxPartitions && len(r.Add) > len(r.Forget):
			return nil, kerr.InvalidRequest
		}
		old.add(r.Add, true)
		old.forget(r.Forget)
		old.epoch = nextEpoch(old.epoch)
		return old, nil
	}
	var woken []*waitingFetch
	if old != nil { // what the member holds stays its own
		woken = ss.remove(old)
	}
	var session *Session
	var err error = kerr.ShareSessionLimitReached
	if len(ss.all) < most {
		session = &Session{Group: r.Group, Member: r.Member, set: s, connection: r.Connection, epoch: 1, parts: map[TopicPartition]*part{}}
		session.add(r.Add, false)
		ss.all[key], err = session, nil
		ss.members[r.Group]++
	}
	news := session != nil && ss.listen(r.Connection)
	ss.mu.Unlock()
	wakeAll(woken)
	if news {
		r.OnClose(func() { s.disconnected(r.Connection) })
	}
	return session, err
}

// nextEpoch skips 0 when it wraps.
func nextEpoch(e int32) int32 {
	if e == math.MaxInt32 {
		return 1
	}
	return e + 1
}

func (x *Session) add(tps []TopicPartition, due bool) {
	for _, tp := range tps {
		if x.parts[tp] == nil {
			x.parts[tp] = &part{due: due}
			x.order = append(x.order, tp)
		}
	}
}

func (x *Session) forget(tps []TopicPartition) {
	if len(tps) == 0 {
		return
	}
	for _, tp := range tps {
		delete(x.parts, tp)
	}
	x.order = slices.DeleteFunc(x.order, func(tp TopicPartition) bool { return x.parts[tp] == nil })
}

// Acknowledging finds the session of a ShareAcknowledge, checks the epoch and moves it on.
func (s *Set) Acknowledging(group, member string, epoch int32) (*Session, error) {
	if epoch == InitialEpoch {
		return nil, kerr.InvalidShareSessionEpoch
	}
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	switch x := s.sessions.all[memberKey{group, member}]; {
	case x == nil:
		return nil, kerr.ShareSessionNotFound
	case epoch == FinalEpoch:
		return x, nil
	case epoch != x.epoch:
		return nil, kerr.InvalidShareSessionEpoch
	default:
		x.epoch = nextEpoch(x.epoch)
		return x, nil
	}
}

// Partitions are those of the session; each request begins with another one of them.
func (x *Session) Partitions(epoch int32) []TopicPartition {
	x.set.sessions.mu.Lock()
	defer x.set.sessions.mu.Unlock()
	n := 0
	if len(x.order) > 1 && epoch > 0 {
		n = int(epoch) % len(x.order)
	}
	return append(slices.Clone(x.order[n:]), x.order[:n]...)
}

// Tell says whether the answer to the request of an epoch names a partition: the first answer of a session names all,
// others those that have records, an error or had one before, or are new.
func (x *Session) Tell(epoch int32, tp TopicPartition, records, failed bool) bool {
	if epoch == InitialEpoch {
		return true
	}
	x.set.sessions.mu.Lock()
	defer x.set.sessions.mu.Unlock()
	p := x.parts[tp]
	if p == nil {
		return records || failed
	}
	told := records || failed || p.due
	p.due = failed
	return told
}

// enter lets a fetch be woken when the session ends. The session's earlier fetches wait no longer: a member that goes on over
// another connection does not hear them.
func (x *Session) enter(f *waitingFetch) {
	x.set.sessions.mu.Lock()
	earlier := slices.Clone(x.fetches)
	x.fetches = append(x.fetches, f)
	drained := x.set.sessions.drained
	x.set.sessions.mu.Unlock()
	for _, e := range earlier {
		e.expire()
	}
	if drained {
		f.expired.Store(true)
	}
}

func (x *Session) leave(f *waitingFetch) {
	x.set.sessions.mu.Lock()
	defer x.set.sessions.mu.Unlock()
	delete(x.set.sessions.limbo, x)
	if i := slices.Index(x.fetches, f); i >= 0 {
		x.fetches = slices.Delete(x.fetches, i, i+1)
	}
}

// remove takes a session out. mu is held; the caller wakes what it gives.
func (s *sessions) remove(x *Session) []*waitingFetch {
	key := memberKey{x.Group, x.Member}
	if s.all[key] != x {
		return nil
	}
	delete(s.all, key)
	if s.members[x.Group]--; s.members[x.Group] == 0 {
		delete(s.members, x.Group)
	}
	x.ended.Store(true)
	return slices.Clone(x.fetches)
}

func wakeAll(fs []*waitingFetch) {
	for _, f := range fs {
		f.wake()
	}
}

// End closes the session, unless it is closed, and makes what its member holds available again. The share partitions of a group
// that has no session any more are given up, as soon as nothing of them is held or being written.
func (x *Session) End() {
	s, ss := x.set, &x.set.sessions
	key := memberKey{x.Group, x.Member}
	ss.mu.Lock()
	if ss.all[key] != x { // the member may have another one
		ss.mu.Unlock()
		return
	}
	woken := ss.remove(x)
	ss.mu.Unlock()
	wakeAll(woken)
	for _, p := range s.of(x.Group) { // a partition may have left the session and still be held
		ss.mu.Lock()
		again := ss.all[key] != nil
		ss.mu.Unlock()
		if again { // what is held is the new session's
			return
		}
		p.release(x.Member)
		if !s.populated(x.Group) {
			p.retire()
		}
	}
}

// populated says whether a group has sessions.
func (s *Set) populated(group string) bool {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return s.sessions.members[group] > 0
}

// disconnected ends the sessions that a connection has.
func (s *Set) disconnected(connection uint64) {
	ss := &s.sessions
	ss.mu.Lock()
	delete(ss.heard, connection)
	var gone []*Session
	for _, x := range ss.all { // order does not matter: each ends for itself
		if x.connection == connection {
			gone = append(gone, x)
		}
	}
	var woken []*waitingFetch
	for x := range ss.limbo { // order does not matter: all end
		if x.connection == connection {
			x.ended.Store(true)
			woken = append(woken, x.fetches...)
		}
	}
	ss.mu.Unlock()
	wakeAll(woken)
	for _, x := range gone {
		x.End()
	}
}

// Linger answers a request that found no room for a session when its wait is over, or its connection closed: the client must
// not come again at once.
func (s *Set) Linger(r Request, wait time.Duration, done func()) {
	x := &Session{set: s, connection: r.Connection}
	s.sessions.mu.Lock()
	s.sessions.limbo[x] = true
	news := s.sessions.listen(r.Connection)
	s.sessions.mu.Unlock()
	if news {
		r.OnClose(func() { s.disconnected(r.Connection) })
	}
	s.Fetch(x, FetchOptions{Wait: wait, linger: true}, nil, func([]Fetched) { done() })
}

// listen says whether the end of a connection is yet to be heard of. mu is held.
func (s *sessions) listen(connection uint64) bool {
	news := !s.heard[connection]
	s.heard[connection] = true
	return news
}

// Drain answers what waits with what there is. Nothing waits from then on, so that a server need not wait for it.
func (s *Set) Drain() {
	ss := &s.sessions
	ss.mu.Lock()
	ss.drained = true
	var fetches []*waitingFetch
	for _, x := range ss.all { // order does not matter: none waits
		fetches = append(fetches, x.fetches...)
	}
	for x := range ss.limbo { // order does not matter: none waits
		fetches = append(fetches, x.fetches...)
	}
	ss.mu.Unlock()
	for _, f := range fetches {
		f.expire()
	}
}

// close ends every session.
func (s *sessions) close() {
	s.mu.Lock()
	var woken []*waitingFetch
	for _, x := range s.all { // order does not matter: all end
		woken = append(woken, s.remove(x)...)
	}
	for x := range s.limbo { // order does not matter: all end
		x.ended.Store(true)
		woken = append(woken, x.fetches...)
	}
	s.mu.Unlock()
	wakeAll(woken)
}
