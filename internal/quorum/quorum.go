// Package quorum drives raft and the controller on the metadata log, and publishes what is committed.
//
// One goroutine (the driver) owns the log, the raft core and the controller machine. It drains its mailbox, decides every
// command of the batch, appends what they write, and fsyncs once for all of them: nothing is answered and nothing is
// published before it is durable. A second goroutine (the publisher) turns committed records into images and tells the
// publishers in the order in which they are given, so that a slow disk under a publisher never holds up the log.
//
// Order that callers may rely on: a command that wrote records is answered after its records were published on
// this node. So whoever creates a topic here finds it here. Publishers must therefore never wait for an answer. A command
// that wrote none is answered when everything before it is committed, but without waiting for publishers: a broker's
// heartbeat gets through while they work.
//
// A failed write or fsync of the metadata log is fatal (Config.Fatal): what the disk holds is not known any more. So is a
// committed record that cannot be taken in. Every command is refused from then on, and nothing more is published.
package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/controller"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/raft"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// ErrClosed refuses commands of a node that shuts down.
var ErrClosed = errors.New("quorum: the controller is shutting down")

// ErrBusy refuses commands when the mailbox is full.
var ErrBusy = errors.New("quorum: too many commands wait for the controller")

// Publisher hears of every committed change, one call at a time, in log order. Delta leads from the image of the call
// before (the empty one at first) to image.
type Publisher interface {
	Publish(delta *metadata.Delta, image *metadata.Image)
}

// PublisherFunc is a Publisher of one function.
type PublisherFunc func(*metadata.Delta, *metadata.Image)

// Publish calls f.
func (f PublisherFunc) Publish(d *metadata.Delta, i *metadata.Image) { f(d, i) }

// Config of a quorum. Fields without a word about their zero value are needed.
type Config struct {
	FS        vfs.FS
	Dir       string // metadata.log.dir
	NodeID    int32
	Directory schema.UUID // directory.id of Dir
	Clean     bool        // the last shutdown was clean: damage in the log is refused, not cut off
	Log       storage.Config
	// Controller's Bootstrap and KRaftVersion are filled in from the disk.
	Controller controller.Options
	Publishers []Publisher
	Codecs     *record.Codecs
	Logger     *slog.Logger
	Now        func() time.Time
	Rand       *rand.Rand // the driver's own
	// Fatal hears, at most once from each goroutine, why the quorum cannot go on. It must not wait for Close.
	Fatal func(error)

	SnapshotBytes    int64         // metadata.log.max.record.bytes.between.snapshots; 0: no snapshot by size
	SnapshotInterval time.Duration // metadata.log.max.snapshot.interval.ms; 0: no snapshot by time
	RetentionBytes   int64         // metadata.max.retention.bytes; -1: none
	RetentionAge     time.Duration // metadata.max.retention.ms; -1: none
	MailboxMax       int           // commands that may wait; 0: 10,000
}

// Quorum is the metadata log of one node.
type Quorum struct {
	c      Config
	dir    string // of the log
	log    *storage.Log
	core   *raft.Core
	ctl    *controller.Controller
	loader *loader // the publisher's, once it runs
	image  atomic.Pointer[metadata.Image]
	status atomic.Pointer[raft.Status]

	voters       *schema.KRaftVoters // with kraft.version 1
	votersOffset int64               // of the record that names them, -1 if only a snapshot at offset 0 does
	kraftVersion int16

	lastSnapshot snapshotID
	snapshotAt   time.Time
	broken       error // the publisher's: the committed record that could not be taken in
	runner
}

// Open reads the newest snapshot and the log behind it. It decides nothing yet.
func Open(c Config) (*Quorum, error) {
	if c.MailboxMax == 0 {
		c.MailboxMax = 10_000
	}
	q := &Quorum{c: c, dir: filepath.Join(c.Dir, LogDir), loader: newLoader(c.Codecs), votersOffset: -1, snapshotAt: c.Now()}
	q.runner.init()
	q.image.Store(q.loader.image)
	bootstrap, err := readBootstrap(c.FS, c.Dir, c.Codecs)
	if err != nil {
		return nil, err
	}
	if bootstrap == nil {
		bootstrap = Bootstrap(metadata.LatestMetadataVersion)
	}
	if err := makeLogDir(c.FS, q.dir); err != nil {
		return nil, err
	}
	if c.Clean {
		if err := verify(c.FS, q.dir); err != nil {
			return nil, err
		}
	}
	var rec storage.Recovery
	q.log, rec, err = storage.Open(storage.Options{FS: c.FS, Dir: q.dir, Topic: "__cluster_metadata", TopicID: schema.MetadataTopic, Config: c.Log, Now: c.Now()})
	if err != nil {
		return nil, err
	}
	if rec.BytesTruncated > 0 || rec.SegmentsDeleted > 0 {
		c.Logger.Warn("the metadata log was cut where it is torn or corrupt; nothing that was answered is lost unless the disk lost what it had confirmed",
			"dir", q.dir, "bytes", rec.BytesTruncated, "segments", rec.SegmentsDeleted, "end", q.log.View().LogEnd, "error", rec.Corruption)
	}
	if err := q.load(bootstrap); err != nil {
		return nil, errors.Join(err, q.log.Close(false))
	}
	status := q.core.Status()
	q.status.Store(&status)
	return q, nil
}

// load replays the disk into the loader and the controller, then makes the raft core.
func (q *Quorum) load(bootstrap []schema.Record) error {
	ids, err := snapshots(q.c.FS, q.dir)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		id := ids[len(ids)-1]
		name := filepath.Join(q.dir, id.name())
		b, err := vfs.ReadWhole(q.c.FS, name, maxSnapshot)
		if err != nil {
			return err
		}
		err = eachBatch(b, func(batch record.Batch) error {
			return q.loader.batch(batch, func(r schema.Record, _ int64) error { return q.control(r, -1) })
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		q.loader.offset, q.loader.epoch, q.loader.bytes = id.End-1, id.Epoch, 0
		q.lastSnapshot = id
	}
	v := q.log.View()
	from := max(q.loader.offset+1, v.LogStart)
	if from > q.loader.offset+1 {
		return fmt.Errorf("quorum: %s begins at offset %d, and no snapshot holds what was before", q.dir, v.LogStart)
	}
	if v.LogEnd < from { // the log lost what the snapshot holds: it begins anew behind it
		if err := q.log.TruncateFully(from, q.c.Now()); err != nil {
			return err
		}
		v = q.log.View()
	}
	if err := q.replay(from, v, func(b record.Batch) error { return q.loader.batch(b, q.control) }); err != nil {
		return err
	}
	// The controller starts from the same image as the publishers, so the two cannot differ, and nothing is replayed twice.
	// Its own offsets of brokers' registrations are not known then: who is fenced must catch up with all of the log.
	l := q.loader
	base := metadata.Empty()
	if l.offset >= 0 {
		base = l.delta.Image(l.offset, l.epoch) // the delta goes on: publishers hear of everything at once
		q.image.Store(base)                     // for those who load logs before that: which topics are compacted, where replicas are
	}
	o := q.c.Controller
	o.Bootstrap, o.KRaftVersion = bootstrap, q.kraftVersion
	q.ctl = controller.Load(o, base)
	for _, r := range l.pending() {
		if err := q.ctl.Apply(r, machine.Position{Offset: l.offset, Epoch: l.epoch}); err != nil {
			return err
		}
	}
	return q.elect(v)
}

// replay reads the log from an offset to its end.
func (q *Quorum) replay(from int64, v *storage.View, f func(record.Batch) error) error {
	for from < v.LogEnd {
		s, err := v.Read(from, 4<<20, storage.LogEnd, true)
		if err != nil {
			return err
		}
		b, err := s.Bytes()
		s.Release()
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("quorum: %s holds nothing at offset %d, its end is %d", q.dir, from, v.LogEnd)
		}
		err = eachBatch(b, func(batch record.Batch) error {
			if batch.LastOffset() < from {
				return nil
			}
			from = batch.LastOffset() + 1
			return f(batch)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// control takes in a control record of the log (offset -1: of a snapshot).
func (q *Quorum) control(r schema.Record, offset int64) error {
	switch r := r.(type) {
	case *schema.KRaftVersion:
		q.kraftVersion = r.KRaftVersion
	case *schema.KRaftVoters:
		q.voters, q.votersOffset = r, offset
	}
	return nil
}

// elect makes the raft core and this node the leader of a new epoch.
func (q *Quorum) elect(v *storage.View) error {
	state, err := readState(q.c.FS, q.dir)
	if err != nil {
		return err
	}
	voters := []raft.Voter{{ID: q.c.NodeID}}
	if q.kraftVersion > 0 {
		if q.voters == nil {
			return fmt.Errorf("quorum: kraft.version is %d, but neither the log nor a snapshot in %s names the voters", q.kraftVersion, q.dir)
		}
		voters = voters[:0]
		for _, w := range q.voters.Voters {
			voters = append(voters, raft.Voter{ID: w.VoterID, Directory: w.VoterDirectoryID})
		}
	}
	epoch := q.lastSnapshot.Epoch // all there is of it when the log begins anew behind the snapshot
	if e, ok := q.log.LatestEpoch(); ok {
		epoch = max(epoch, e)
	}
	q.core, err = raft.New(raft.Options{ID: q.c.NodeID, Directory: q.c.Directory, Voters: voters, KRaftVersion: q.kraftVersion,
		State: state, LogEnd: v.LogEnd, LogEpoch: epoch, Committed: max(q.lastSnapshot.End, v.LogStart)})
	return err
}

// Start elects this node, activates its controller, publishes everything once and then serves Request.
func (q *Quorum) Start() error {
	if err := q.core.Start(); err != nil {
		return err
	}
	if err := writeState(q.c.FS, q.dir, q.core.Ready().State); err != nil {
		return err
	}
	if err := q.core.Voted(); err != nil {
		return err
	}
	r := q.core.Ready()
	if err := writeState(q.c.FS, q.dir, r.State); err != nil {
		return err
	}
	if err := q.log.BecomeLeader(r.Epoch); err != nil {
		return err
	}
	if q.kraftVersion > 0 && q.votersOffset < 0 { // Kafka writes the voters into the log once (KIP-853)
		r.Control = append(r.Control, &schema.KRaftVersion{KRaftVersion: q.kraftVersion}, q.voters)
	}
	b := controlBatch(q.c.Codecs, r.Control, q.c.Now().UnixMilli())
	if _, err := q.append(b, r.Epoch); err != nil {
		return err
	}
	if err := q.committed(b); err != nil {
		return err
	}
	var failure error
	step := q.decide([]submission{{cmd: machine.Command{Token: 1, Body: controller.Activate{NextOffset: q.log.View().LogEnd}}, reply: func(v any) {
		failure, _ = v.(error)
	}}})
	if err := q.settle(&step); err != nil {
		return err
	}
	for _, a := range step.early { // with nothing to write: also when it refuses
		a.reply(a.value)
	}
	if failure != nil {
		return failure
	}
	q.publish(step)
	if failure == nil {
		failure = q.broken
	}
	if failure == nil {
		q.start()
	}
	return failure
}

// append writes one batch as the leader of the epoch and tells the core. On a full disk it waits.
func (q *Quorum) append(b record.Batch, epoch int32) (storage.Appended, error) {
	var a storage.Appended
	err := q.patiently(func() (err error) {
		a, err = q.log.Append([]record.Batch{b}, storage.AppendOptions{LeaderEpoch: epoch, RequireEpoch: true, Now: q.c.Now(), Origin: storage.RaftLeader})
		return err
	})
	if err == nil {
		q.core.Appended(a.LastOffset + 1)
	}
	return a, err
}

// committed gives a committed batch to the publisher's loader.
func (q *Quorum) committed(b record.Batch) error {
	return q.loader.batch(b, q.control)
}

// Request decides a controller API. reply gets the response, at the request's version, once what it says is committed
// and published here. It is called once, on the driver's or the publisher's goroutine, or on this one where the request is
// refused at once, and must not block.
func (q *Quorum) Request(client machine.Client, req kmsg.Request, reply func(kmsg.Response)) {
	cmd := machine.Command{Token: 1, Body: req, Client: client}
	done := func(v any) {
		if resp, ok := v.(kmsg.Response); ok {
			reply(resp)
			return
		}
		panic(fmt.Sprintf("quorum: the controller answered %T to %T", v, req))
	}
	if err := q.submit(submission{cmd: cmd, reply: done}); err != nil {
		done(q.ctl.Refuse(cmd, err))
	}
}

// Image is what was published last; before Start, what the disk has.
func (q *Quorum) Image() *metadata.Image { return q.image.Load() }

// Status is the raft core's view, as of the last commit, or of the start.
func (q *Quorum) Status() raft.Status { return *q.status.Load() }

// Log is the metadata log, for those who show or serve it.
func (q *Quorum) Log() *storage.Log { return q.log }
