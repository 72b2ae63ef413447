// Package share leads share partitions (KIP-932): it reads the log for the members of share groups, keeps their sessions,
// lets fetches wait, ends holds in time, and has the state written. What becomes of records is decided by package
// share/delivery; this package is the runtime around it.
//
// Who calls what: package api opens sessions (Set.Begin), fetches and acknowledges from any goroutine; package replica
// tells of appends and of changes of leaders (Changed); the Persister answers on any goroutine; connections that close end
// their sessions. No call waits: what is not there yet comes through a callback, once, without a lock.
//
// A share partition comes into being with the first fetch of its group: its state is read from the persister, and fetches
// wait for that. It is given up when this node no longer leads the partition in the same epoch, when the persister
// knows of a newer leader or state, and when no session of its group is left and nothing is held. Giving up loses no promise:
// what was acknowledged is persisted; what was held comes again.
//
// # Locks
//
// sessions.mu, Set.mu, partition.mu and waitingFetch.mu are leaves: nothing is called under them but package
// delivery, and timers are set. No I/O and no callback runs under one; what is to be woken or answered is collected first.
package share

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/background"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/share/delivery"
)

// Persister keeps the state of share partitions: the share coordinator. req is a *kmsg.ReadShareGroupStateRequest or a
// *kmsg.WriteShareGroupStateRequest for one partition of one topic. reply comes exactly once, on any goroutine;
// errors are Kafka's codes in the response.
type Persister interface {
	Call(req kmsg.Request, reply func(kmsg.Response))
}

// TopicPartition names a partition by its topic's id.
type TopicPartition struct {
	ID    schema.UUID
	Index int32
}

// Group is a share group's configuration.
type Group struct {
	delivery.Config
	Committed bool          // share.isolation.level=read_committed
	Reset     Reset         // share.auto.offset.reset: where a group begins that has no state
	Ago       time.Duration // with ByDuration
}

// Reset is a way to begin.
type Reset int8

// The ways to begin.
const (
	Latest Reset = iota
	Earliest
	ByDuration
)

// Config says what a Set works with. All fields are needed.
type Config struct {
	Replicas    *replica.Set
	Persister   Persister
	Group       func(name string) Group // now; called without a lock
	MaxSessions func() int              // group.share.max.share.sessions
	Now         func() time.Time
	Logger      *slog.Logger
}

// Set is the share partitions that this node leads, and the sessions of their consumers.
type Set struct {
	Config
	sessions sessions

	mu     sync.Mutex // guards:
	groups map[string]map[TopicPartition]*partition
	closed bool

	tasks background.Group // fetches that were woken, time limits, and what must not run on the goroutine of others
}

// New makes an empty set.
func New(c Config) *Set {
	s := &Set{Config: c, groups: map[string]map[TopicPartition]*partition{}}
	s.sessions.init()
	return s
}

var (
	errRetired = errors.New("share: nobody of the group was left")
	errClosed  = fmt.Errorf("share: the node is shutting down: %w", kerr.NotLeaderForPartition)
)

// find gives a share partition that is there already.
func (s *Set) find(group string, tp TopicPartition) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[group][tp]
}

// lead gives the share partition of a group, and makes it if this node leads the partition.
func (s *Set) lead(group string, tp TopicPartition) (*partition, error) {
	r, err := s.Replicas.Identified(tp.ID, tp.Index)
	if err != nil {
		return nil, err
	}
	_, epoch := r.LeaderAndEpoch()
	if _, err := r.View(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	old := s.groups[group][tp]
	if old != nil && old.replica == r && old.epoch == epoch {
		s.mu.Unlock()
		return old, nil
	}
	p := &partition{set: s, group: group, TopicPartition: tp, replica: r, epoch: epoch, waiting: map[*waitingFetch]uint64{}}
	if s.groups[group] == nil {
		s.groups[group] = map[TopicPartition]*partition{}
	}
	s.groups[group][tp] = p
	s.mu.Unlock()
	if old != nil {
		old.drop(&replica.NotLeader{Leader: -1, Epoch: epoch})
	}
	p.load()
	return p, nil
}

// forget takes a share partition out of the set.
func (s *Set) forget(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[p.group]; g[p.TopicPartition] == p {
		if delete(g, p.TopicPartition); len(g) == 0 {
			delete(s.groups, p.group)
		}
	}
}

func (s *Set) of(group string) []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*partition
	for _, p := range s.groups[group] { // order does not matter: each for itself
		all = append(all, p)
	}
	return all
}

// Stats are gauges over the set.
type Stats struct {
	Sessions, SharePartitions int
}

// Stats of the set now.
func (s *Set) Stats() Stats {
	st := Stats{Sessions: s.sessions.len()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups { // order does not matter: a sum
		st.SharePartitions += len(g)
	}
	return st
}
