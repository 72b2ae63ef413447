// Package replica holds the partitions of a node: append and read at the leader, the waits of acks=all and of
// fetches that want more than there is, and the change of leaders as the metadata says.
//
// Who calls what:
//   - the publisher of the metadata calls Set.Apply, one call at a time, in the order of the log;
//   - package api calls Produce, Await, Fetch and the offset look-ups from any goroutine;
//   - package coordinator appends to and reads its own partitions through Set.Append and Set.Read.
//
// No call waits: what is not there yet is answered through a callback, once. Callbacks run on the goroutine that made the
// news or on one of their own, without a lock but changing.
//
// Lock order: Set.changing, then Set.mu or Partition.mu, then nothing; the log's view is read under Partition.mu, the
// log's own locks are taken under neither. Set.changing is held over the I/O of creating, fencing and removing logs, and
// while producers that wait are told that their leader resigned: what they do then must not change roles.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klamm-io/klamm/internal/background"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Config says what a Set works with. All fields are needed.
type Config struct {
	Self   int32 // this broker's id
	Dirs   *logdir.Dirs
	Codecs *record.Codecs
	Logger *slog.Logger
	Now    func() time.Time
	// Topic gives the parts of a topic's configuration that are not the log's own.
	Topic func(name string) TopicConfig
}

// TopicConfig is what a partition needs to know of its topic beside storage.Config.
type TopicConfig struct {
	Log    storage.Config
	MinISR int // min.insync.replicas
}

// Set is all partitions of a node.
type Set struct {
	self   int32
	dirs   *logdir.Dirs
	codecs *record.Codecs
	logger *slog.Logger
	now    func() time.Time
	topic  func(string) TopicConfig

	// changing serialises what changes roles: Apply, Configure, Retry, Recovered, DirectoryFailed and Close. It guards:
	changing sync.Mutex
	closed   bool
	image    *metadata.Image // of the last Apply

	mu     sync.RWMutex // guards the maps; what they hold guards itself
	byID   map[schema.UUID]*topicSet
	byName map[string]*topicSet

	tasks background.Group // fetches that were woken, and time limits
}

type topicSet struct {
	name       string
	id         schema.UUID
	partitions map[int32]*Partition
}

// New makes an empty set; Apply fills it.
func New(c Config) *Set {
	return &Set{self: c.Self, dirs: c.Dirs, codecs: c.Codecs, logger: c.Logger, now: c.Now, topic: c.Topic,
		byID: map[schema.UUID]*topicSet{}, byName: map[string]*topicSet{}}
}

// Named finds a partition of this node by topic name: ErrUnknownPartition if it has none.
func (s *Set) Named(topic string, partition int32) (*Partition, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.byName[topic]; t != nil {
		if p := t.partitions[partition]; p != nil {
			return p, nil
		}
	}
	return nil, ErrUnknownPartition
}

// Identified finds a partition of this node by topic id: ErrUnknownTopicID if no such topic has a replica here,
// ErrUnknownPartition if the topic has no such partition here.
func (s *Set) Identified(id schema.UUID, partition int32) (*Partition, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.byID[id]
	if t == nil {
		return nil, ErrUnknownTopicID
	}
	if p := t.partitions[partition]; p != nil {
		return p, nil
	}
	return nil, ErrUnknownPartition
}

// Partitions lists every partition of this node, in no order.
func (s *Set) Partitions() []*Partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*Partition
	for _, t := range s.byID { // order does not matter to callers
		for _, p := range t.partitions {
			all = append(all, p)
		}
	}
	return all
}

// Apply takes in new metadata: partitions of this node are created, change their role, or go. It does all it can and gives
// the first error; the partitions concerned are offline.
func (s *Set) Apply(d *metadata.Delta, image *metadata.Image) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return nil
	}
	now := s.now()
	s.image = image
	changes := d.Topics()
	for _, t := range changes.Deleted {
		s.delete(t)
	}
	type change struct {
		topic *metadata.Topic
		index int32
		err   error
	}
	var all []change
	for _, c := range changes.Changed {
		if t, ok := image.TopicByID(c.ID); ok {
			for _, index := range c.Partitions {
				all = append(all, change{topic: t, index: index})
			}
		}
	}
	each(len(all), func(i int) { all[i].err = s.place(all[i].topic, all[i].index, now) })
	for _, c := range all {
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

// place makes this node's replica of a partition what the metadata says. Several are placed at once.
func (s *Set) place(t *metadata.Topic, index int32, now time.Time) error {
	m := t.Partitions[index]
	mine := false
	var dir schema.UUID
	for i, id := range m.Replicas {
		if id == s.self {
			mine = true
			if i < len(m.Directories) {
				dir = m.Directories[i]
			}
		}
	}
	p, err := s.Identified(t.ID, index)
	if !mine {
		if err == nil {
			s.remove(p)
		}
		return nil
	}
	c := s.topic(t.Name)
	before := p
	if p == nil || p.log == nil && !p.failed {
		p = s.create(t, index, dir, before)
	}
	if err := p.become(m, c.MinISR, now); err != nil {
		return fmt.Errorf("replica %s-%d: %w", t.Name, index, err)
	}
	if before != nil && before != p {
		before.changed() // who watches it finds the other one
	}
	return nil
}

// create makes a replica with its log, or without one where that cannot be. Before is such a replica of an earlier try, which stays
// if this one fails, too: a Partition's log never changes, for it is read without a lock.
func (s *Set) create(t *metadata.Topic, index int32, dir schema.UUID, before *Partition) *Partition {
	log := s.dirs.Log(t.ID, index)
	var err error
	if log == nil {
		log, err = s.dirs.Create(t.Name, t.ID, index, dir)
	}
	if err != nil {
		level := slog.LevelError
		// That was said once: for the directory, for all that is recovered, or for the replica.
		if errors.Is(err, logdir.ErrOffline) || errors.Is(err, logdir.ErrRecovering) || before != nil {
			level = slog.LevelDebug
		}
		s.logger.Log(context.Background(), level, "a replica could not be created", "topic", t.Name, "partition", index, "error", err)
	} else if before != nil && !errors.Is(before.wanting, logdir.ErrRecovering) {
		s.logger.Info("a replica that could not be created before is there", "topic", t.Name, "partition", index)
	}
	if log == nil && before != nil {
		before.wanting = comes(err)
		return before
	}
	p := &Partition{Topic: t.Name, ID: t.ID, Index: index, name: fmt.Sprintf("%s-%d", t.Name, index), set: s, log: log, wanting: comes(err)}
	p.role.Store(&role{Leader: -1, Epoch: -1, Offline: log == nil})
	s.add(p)
	return p
}

// comes is an error of a log that may be there another time; otherwise nil.
func comes(err error) error {
	var other *storage.InconsistentTopicID // until that one is set aside
	if vfs.Exhausted(err) || errors.Is(err, logdir.ErrRecovering) || errors.As(err, &other) {
		return err
	}
	return nil
}

// Retry creates the replicas whose logs could not be created because a disk was full, too many files were open, or another log had the
// name. The directories ask for it when it may be different now (logdir.Config.OnRetry). The first one that finds no room or no file ends
// it, until the directories ask again: there may be thousands, and who calls has more to do. Metadata and Close get in between.
func (s *Set) Retry() {
	s.changing.Lock()
	var wanting []*Partition
	for _, p := range s.Partitions() { // in no order, so that no single one is in the others' way for ever
		if p.wanting != nil {
			wanting = append(wanting, p)
		}
	}
	s.changing.Unlock()
	for _, p := range wanting {
		if !s.retry(p) {
			return
		}
	}
}

// Recovered takes in what became of the log of a replica that was being recovered (logdir.Config.OnRecovered).
func (s *Set) Recovered(topic schema.UUID, partition int32) {
	s.changing.Lock() // whoever found it being recovered has noted that
	defer s.changing.Unlock()
	if p, err := s.Identified(topic, partition); err == nil {
		s.again(p)
	}
}

// retry tries one of them, and says whether to go on with others.
func (s *Set) retry(p *Partition) bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.again(p)
}

// again creates a replica that has no log. False says that no other one can be created now. changing is held.
func (s *Set) again(p *Partition) bool {
	if s.closed || s.image == nil {
		return false
	}
	if now, err := s.Identified(p.ID, p.Index); err != nil || now != p || p.log != nil || p.failed {
		return true
	}
	t, ok := s.image.TopicByID(p.ID)
	if !ok || int(p.Index) >= len(t.Partitions) {
		return true
	}
	if err := s.place(t, p.Index, s.now()); err != nil {
		s.logger.Error("a replica could not be created", "topic", t.Name, "partition", p.Index, "error", err)
	}
	now, err := s.Identified(p.ID, p.Index)
	return err != nil || !vfs.Exhausted(now.wanting)
}

func (s *Set) add(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byID[p.ID]
	if t == nil {
		t = &topicSet{name: p.Topic, id: p.ID, partitions: map[int32]*Partition{}}
		s.byID[p.ID] = t
		s.byName[p.Topic] = t
	}
	t.partitions[p.Index] = p
}

// delete removes a topic's replicas and their logs.
func (s *Set) delete(id schema.UUID) {
	s.mu.RLock()
	var gone []*Partition
	if t := s.byID[id]; t != nil {
		for _, p := range t.partitions { // order does not matter: each goes for itself
			gone = append(gone, p)
		}
	}
	s.mu.RUnlock()
	for _, p := range gone {
		s.remove(p)
	}
}

// remove takes one replica out of the set, ends its waiters and removes its log.
func (s *Set) remove(p *Partition) {
	s.mu.Lock()
	if t := s.byID[p.ID]; t != nil {
		delete(t.partitions, p.Index)
		if len(t.partitions) == 0 {
			delete(s.byID, p.ID)
			if s.byName[p.Topic] == t {
				delete(s.byName, p.Topic)
			}
		}
	}
	s.mu.Unlock()
	r := *p.role.Load()
	r.Leads, r.Deleted = false, true
	p.role.Store(&r)
	p.resign(ErrUnknownPartition)
	if p.failed { // what the disk has of it, the next start finds
		return
	}
	err := s.dirs.Delete(p.ID, p.Index)
	if p.log == nil && (errors.Is(err, logdir.ErrUnknownLog) || errors.Is(err, logdir.ErrOffline)) {
		return
	}
	if err != nil {
		s.logger.Error("a replica's log could not be removed", "topic", p.Topic, "partition", p.Index, "error", err)
	}
}

// DirectoryFailed takes the replicas offline whose logs are in a directory that failed, and closes those logs: who waits for them
// hears KAFKA_STORAGE_ERROR.
func (s *Set) DirectoryFailed(dir schema.UUID) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return
	}
	for _, p := range s.Partitions() {
		if p.log != nil && !p.failed && s.dirs.DirID(p.log) == dir {
			p.offline()
		}
	}
	s.dirs.Abandon(dir)
	for _, p := range s.Partitions() { // what was being recovered there is not any more
		if errors.Is(p.wanting, logdir.ErrRecovering) {
			s.again(p)
		}
	}
}

// Configure takes in a live change of a topic's configuration.
func (s *Set) Configure(topic string) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return
	}
	c := s.topic(topic)
	s.dirs.SetTopicConfig(topic, c.Log)
	s.mu.RLock()
	var ps []*Partition
	if t := s.byName[topic]; t != nil {
		for _, p := range t.partitions { // order does not matter: each for itself
			ps = append(ps, p)
		}
	}
	s.mu.RUnlock()
	for _, p := range ps {
		p.setMinISR(c.MinISR)
	}
}

// Names lists the topics that have a replica here, in no order.
func (s *Set) Names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.byName))
	for n := range s.byName { // order does not matter to callers
		names = append(names, n)
	}
	return names
}

// Stats are gauges over all partitions (the metrics ReplicaManager names).
type Stats struct {
	Partitions, Leaders, Offline, UnderReplicated, UnderMinISR, AtMinISR int
}

// Stats of the set now.
func (s *Set) Stats() Stats {
	var st Stats
	for _, p := range s.Partitions() {
		r := p.role.Load()
		st.Partitions++
		if r.Offline {
			st.Offline++
		}
		if !r.Leads {
			continue
		}
		st.Leaders++
		p.mu.Lock()
		if l := p.leader; l != nil {
			a := l.Assignment()
			if len(a.ISR) < len(a.Replicas) {
				st.UnderReplicated++
			}
			switch min := l.EffectiveMinISR(); {
			case len(a.ISR) < min:
				st.UnderMinISR++
			case len(a.ISR) == min:
				st.AtMinISR++
			}
		}
		p.mu.Unlock()
	}
	return st
}
