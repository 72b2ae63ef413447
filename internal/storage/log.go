package storage

import (
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// recentAppends positions are remembered, so that the high watermark's place in the file is known without a search.
const recentAppends = 64

// Log is one partition's log. Every method is safe for concurrent use; see the package comment for the locks.
type Log struct {
	fs        disk
	topic     string
	partition int32
	codecs    *record.Codecs
	maxTxn    time.Duration

	dir    atomic.Pointer[string]
	config atomic.Pointer[Config]
	view   atomic.Pointer[View]

	// cleaning is held by Clean, and taken by Close, which waits for it. It is taken before files.
	cleaning sync.Mutex

	// files serialises changes to the set of files; it is taken before mu. It guards:
	files   sync.Mutex
	deleted []deletedFile

	// epochFile serialises writing leader-epoch-checkpoint. It is taken after files and before mu.
	epochFile sync.Mutex

	// mu guards everything below. While frozen is set, only the holder of files changes the fields that an append changes.
	mu     sync.Mutex
	frozen bool
	closed bool
	failed error // the first failed write or fsync

	topicID schema.UUID

	segments    []*segment // ascending, the last one is act.segment; never changed in place
	sealedBytes int64
	act         active

	start int64 // log start offset
	end   int64 // offset of the next record
	hw    position
	epoch int32 // of the leader that appends; -1 until it is known

	epochs      epochs
	epochsDirty bool
	// epochBegun: the last epoch has no record yet, and stands in no file.
	epochBegun bool

	producers producers
	staged    staged

	recent  [recentAppends]position // where appends began
	appends int                     // how often, ever

	recoveryPoint int64
	cleaned       int64   // below it the log was compacted; truncation moves it down
	keptAt        int64   // where the log ended when KeepProducers looked last
	unsure        int64   // base of the first segment that Open has repaired and no flush has made durable since
	truncations   int     // how often; a flush that crosses one must not move the recovery point
	dirDirty      bool    // names changed since the directory was synced
	freshSnaps    []int64 // snapshots that are not durable yet
	lastFlush     time.Time
}

// deletedFile waits for its removal.
type deletedFile struct {
	h   *handle // nil for a snapshot, which has only a path
	at  string
	due time.Time
}

// Topic is the topic's name.
func (l *Log) Topic() string { return l.topic }

// Partition is the partition's number.
func (l *Log) Partition() int32 { return l.partition }

// TopicID is the topic's id, zero if it is not known yet.
func (l *Log) TopicID() schema.UUID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topicID
}

// Dir is the directory's present path.
func (l *Log) Dir() string { return *l.dir.Load() }

// Config is the configuration in force.
func (l *Log) Config() Config { return *l.config.Load() }

// SetConfig replaces the configuration; the next append obeys it.
func (l *Log) SetConfig(c Config) {
	c = c.withDefaults()
	l.config.Store(&c)
}

// View is the log as readers see it: a snapshot, never nil.
func (l *Log) View() *View { return l.view.Load() }

// RecoveryPoint is the offset below which everything is durable.
func (l *Log) RecoveryPoint() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recoveryPoint
}

// Size is the bytes of all segments' batches.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sealedBytes + l.act.size
}

// SegmentCount counts the segments; there is always one.
func (l *Log) SegmentCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments)
}

// LatestEpoch is the last leader epoch that has records, or was begun.
func (l *Log) LatestEpoch() (int32, bool) {
	e := l.View().epochs.latest()
	return e, e != NoEpoch
}

// EpochAt is the leader epoch of an offset, NoEpoch if it is not known.
func (l *Log) EpochAt(offset int64) int32 { return l.View().epochs.at(offset) }

// EpochEndOffset answers OffsetForLeaderEpoch; see View.EpochEndOffset.
func (l *Log) EpochEndOffset(epoch int32) (int32, int64) { return l.View().EpochEndOffset(epoch) }

// refuse says why nothing may be appended or changed. mu is held.
func (l *Log) refuse() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// Failed says why the log refuses appends since something failed; nil if it does not. Such a log is checked at the next start.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// freeze keeps appends out until thaw. files is held, mu is not.
func (l *Log) freeze() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuse(); err != nil {
		return err
	}
	l.frozen = true
	return nil
}

func (l *Log) thaw() {
	l.mu.Lock()
	l.frozen = false
	l.mu.Unlock()
}

// doom makes the log refuse appends after a failed write. mu is not held.
func (l *Log) doom(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doomed(err)
}

// doomed is doom with mu held.
func (l *Log) doomed(err error) error {
	if err != nil && l.failed == nil {
		l.failed = err
	}
	return err
}

// wanting is doom for what leaves the log as it was if the disk is only full, or too many files are open. mu is not held.
func (l *Log) wanting(err error) error {
	if vfs.Exhausted(err) {
		return err
	}
	return l.doom(err)
}

// fileError gives an error of a file that has no handle its place.
func (l *Log) fileError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &StorageError{Dir: l.Dir(), File: filepath.Base(name), Offset: -1, Err: err}
}

// publish shows the present state to readers. mu is held.
func (l *Log) publish() {
	a := &l.act
	if a.shown == nil {
		x := a.indexes
		a.shown = &x
	}
	stable := l.hw
	if u, ok := l.producers.firstUnstable(); ok {
		if u.offset < l.start {
			u = offsetOnly(l.start)
		}
		if u.offset < l.hw.offset {
			stable = u
		}
	}
	l.view.Store(&View{
		LogStart: l.start, HighWatermark: l.hw.offset, LastStable: stable.offset, LogEnd: l.end, LeaderEpoch: l.epoch,
		log: l, segments: l.segments, idx: a.shown, size: a.size, hw: l.hw, stable: stable, epochs: l.epochs,
		last: l.recentFrom(0),
	})
}

// remember notes where an append begins. mu is held.
func (l *Log) remember(p position) {
	l.recent[l.appends%recentAppends] = p
	l.appends++
}

// recentFrom gives the n-th last append's position. mu is held.
func (l *Log) recentFrom(n int) position {
	if n >= min(l.appends, recentAppends) {
		return offsetOnly(-1)
	}
	return l.recent[(l.appends-1-n)%recentAppends]
}

// place finds an offset among the recent appends. mu is held.
func (l *Log) place(offset int64) position {
	if offset == l.end {
		return position{offset, l.act.base, l.act.size}
	}
	n := min(l.appends, recentAppends)
	i := sort.Search(n, func(i int) bool { return l.recentFrom(n-1-i).offset >= offset })
	if i < n {
		if p := l.recentFrom(n - 1 - i); p.offset == offset {
			return p
		}
	}
	return offsetOnly(offset)
}

// AdvanceHighWatermark moves the high watermark up, as the leader of an epoch, and gives what it was and is. A call for
// another epoch than the current one changes nothing; neither does one that would move it down. It never passes the
// log's end.
func (l *Log) AdvanceHighWatermark(epoch int32, hw int64) (before, after int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.hw.offset
	hw = min(hw, l.end)
	if epoch != l.epoch || hw <= before || l.closed {
		return before, before
	}
	l.setHighWatermark(hw)
	return before, hw
}

// SetHighWatermark takes the leader's high watermark, as a follower. It may go down after a truncation; it stays within
// the log.
func (l *Log) SetHighWatermark(hw int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	hw = min(max(hw, l.start), l.end)
	if hw != l.hw.offset && !l.closed {
		l.setHighWatermark(hw)
	}
	return l.hw.offset
}

// setHighWatermark also lets go of the transactions whose end is replicated now. mu is held.
func (l *Log) setHighWatermark(hw int64) {
	l.hw = l.place(hw)
	l.producers.replicated(hw)
	l.publish()
}

// BecomeLeader begins a leader epoch: appends of older ones are refused from now on. It costs no I/O: nothing depends on an
// epoch without records, and where it has some, recovery finds it in them until a flush has written the epoch's start
// before it moves the recovery point. So a node with many partitions is their leader at once. Asking again for the current epoch is
// fine.
func (l *Log) BecomeLeader(epoch int32) error {
	l.mu.Lock()
	if err := l.refuse(); err != nil {
		l.mu.Unlock()
		return err
	}
	if epoch < l.epoch {
		l.mu.Unlock()
		return ErrFenced
	}
	l.epoch = epoch
	if e, changed := l.epochs.assign(epoch, l.end); changed && epoch >= 0 {
		l.epochs, l.epochBegun = e, true
	}
	l.publish()
	l.mu.Unlock()
	return nil
}

// assignEpoch notes the epoch that a record at start has. mu is held, or the log frozen.
func (l *Log) assignEpoch(epoch int32, start int64) {
	if epoch < 0 {
		return
	}
	e, changed := l.epochs.assign(epoch, start)
	if changed || l.epochBegun {
		l.epochs, l.epochsDirty, l.epochBegun = e, true, false
	}
}

// writeEpochs makes leader-epoch-checkpoint what it should be. mu is not held.
func (l *Log) writeEpochs() error {
	l.epochFile.Lock()
	defer l.epochFile.Unlock()
	l.mu.Lock()
	e, dirty, path := l.epochs, l.epochsDirty, filepath.Join(l.Dir(), fileEpochs)
	l.epochsDirty = false
	l.mu.Unlock()
	if !dirty {
		return nil
	}
	err := writeWhole(l.fs, path, e.encode())
	if err == nil {
		err = l.fs.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.epochsDirty = true
		return l.fileError(fileEpochs, err)
	}
	return nil
}

// SetTopicID gives a log without an id its topic's, durably; a different one is an error.
func (l *Log) SetTopicID(id schema.UUID) error {
	l.files.Lock()
	defer l.files.Unlock()
	l.mu.Lock()
	have := l.topicID
	l.mu.Unlock()
	switch {
	case have == id:
		return nil
	case have != schema.ZeroUUID:
		return &InconsistentTopicID{Dir: l.Dir(), Have: have, Want: id}
	}
	if err := l.writePartitionFile(id); err != nil {
		return err
	}
	l.mu.Lock()
	l.topicID = id
	l.mu.Unlock()
	return nil
}

// writePartitionFile writes partition.metadata, durably: before the first record is. DETAILS 28.
func (l *Log) writePartitionFile(id schema.UUID) error {
	err := writeWhole(l.fs, filepath.Join(l.Dir(), filePartition), encodePartition(id))
	if err == nil {
		err = l.fs.SyncDir(l.Dir())
	}
	return l.fileError(filePartition, err)
}

// ProducerInfo is an active producer, as DescribeProducers shows it.
type ProducerInfo struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1 if none is known
	LastTimestamp    int64
	CoordinatorEpoch int32 // -1 if no marker was seen
	TxnFirst         int64 // first offset of the open transaction, -1 if there is none
}

// Producers lists the producers that are not expired, by id.
func (l *Log) Producers(now time.Time) []ProducerInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]ProducerInfo, 0, len(l.producers.byID))
	for _, e := range l.producers.byID {
		if !l.producers.expired(e, now.UnixMilli()) {
			out = append(out, ProducerInfo{e.id, e.epoch, e.lastSequence(), e.lastTimestamp, e.coordinatorEpoch, e.txnFirst})
		}
	}
	slices.SortFunc(out, func(a, b ProducerInfo) int {
		if a.ProducerID < b.ProducerID {
			return -1
		}
		return 1
	})
	return out
}

// ProducerCount counts the producers that the log remembers.
func (l *Log) ProducerCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.producers.byID)
}

// ExpireProducers forgets the producers that were silent for producer.id.expiration.ms, and says how many.
func (l *Log) ExpireProducers(now time.Time) int {
	l.files.Lock() // a roll reads the producers without mu
	defer l.files.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.expire(now.UnixMilli())
}

// SetProducerExpiry changes producer.id.expiration.ms; the next ExpireProducers obeys it.
func (l *Log) SetProducerExpiry(d time.Duration) {
	l.files.Lock()
	defer l.files.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers.expiry = d
}

// HasLateTransaction says whether the oldest open transaction is so old that its coordinator must have lost it: its
// producer was silent for the largest transaction timeout and five minutes more. (KIP-664)
func (l *Log) HasLateTransaction(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.producers.ongoing) == 0 {
		return false
	}
	e := l.producers.byID[l.producers.ongoing[0].producerID]
	return e != nil && e.lastTimestamp > 0 &&
		now.UnixMilli()-e.lastTimestamp > (l.maxTxn+lateTransactionBuffer).Milliseconds()
}

// OpenFiles counts the segment files that hold a descriptor.
func (l *Log) OpenFiles() (n int) {
	for _, s := range l.View().segments {
		for _, f := range s.files() {
			if f.h.open() {
				n++
			}
		}
	}
	return n
}

// CloseIdle closes the files of sealed segments, and the index files, that nobody uses at the moment; they are opened
// again when they are needed. It says how many it closed.
func (l *Log) CloseIdle() (n int) {
	segments := l.View().segments
	for i, s := range segments {
		for _, f := range s.files() {
			if f.h == s.log && i == len(segments)-1 {
				continue // the next append needs it
			}
			if f.h.idle() {
				n++
			}
		}
	}
	return n
}
