package quorum

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// submission is a command in the mailbox with whoever waits for it.
type submission struct {
	cmd   machine.Command
	reply func(any) // nil if nobody waits
}

// step is what the driver made of a mailbox full of commands: batches that are written and answers that wait for them.
type step struct {
	batches []record.Batch
	replies []answer // of commands that wrote records: after publication
	early   []answer // of the others: after the commit
	end     int64    // log end after the last batch
	err     error    // the append that failed; the commands after it are refused
}

type answer struct {
	submission
	value any
}

// decide handles and appends. Each command that writes is a batch of its own, as the controller asks (Keys is nil).
func (q *Quorum) decide(subs []submission) step {
	var s step
	for _, sub := range subs {
		if s.err != nil {
			s.answer(sub, q.ctl.Refuse(sub.cmd, s.err), false)
			continue
		}
		now := q.c.Now()
		sub.cmd.Token = 1
		res := q.ctl.Handle(machine.Input{Now: now, Rand: q.c.Rand, Image: q.image.Load(), Epoch: q.core.Status().Epoch}, sub.cmd)
		for _, e := range res.Events {
			q.tell(e)
		}
		if len(res.Records) > 0 {
			if s.err = q.write(&s, res.Records, now); s.err != nil {
				s.answer(sub, q.ctl.Refuse(sub.cmd, s.err), false)
				continue
			}
		}
		for _, r := range res.Replies {
			s.answer(sub, r.Value, len(res.Records) > 0)
		}
	}
	return s
}

func (s *step) answer(sub submission, value any, wrote bool) {
	if sub.reply == nil {
		return
	}
	if wrote {
		s.replies = append(s.replies, answer{sub, value})
	} else {
		s.early = append(s.early, answer{sub, value})
	}
}

// write appends a Result's records as one batch, or as several when they stand in a metadata transaction, and applies
// them to the controller.
func (q *Quorum) write(s *step, records []schema.Record, now time.Time) error {
	epoch := q.core.Status().Epoch
	mv := q.ctl.Image().MetadataVersion()
	if v := versionOf(records); mv < 0 || v > mv {
		mv = max(mv, v)
	}
	_, split := records[0].(*schema.BeginTransaction)
	for len(records) > 0 {
		n := len(records)
		if split {
			n = min(n, batchRecords)
		}
		b := dataBatch(q.c.Codecs, records[:n], mv, now.UnixMilli())
		a, err := q.append(b, epoch)
		if err != nil {
			return err
		}
		for i, r := range records[:n] {
			at := machine.Position{Offset: a.FirstOffset + int64(i), Timestamp: now.UnixMilli(), Epoch: epoch, Producer: machine.Producer{ID: -1}}
			if err := q.ctl.Apply(r, at); err != nil {
				return fmt.Errorf("quorum: the controller's own record at offset %d: %w", at.Offset, err)
			}
		}
		s.batches, s.end = append(s.batches, b), a.LastOffset+1
		records = records[n:]
	}
	return nil
}

// settle makes what was written durable and thereby committed.
func (q *Quorum) settle(s *step) error {
	if s.err != nil {
		return s.err
	}
	if end := q.log.View().LogEnd; end > q.log.RecoveryPoint() {
		if err := q.patiently(func() error { return q.log.Flush(end) }); err != nil {
			return err
		}
		if hw, rose := q.core.Flushed(end); rose {
			q.log.AdvanceHighWatermark(q.core.Status().Epoch, hw)
		}
	}
	status := q.core.Status()
	q.status.Store(&status)
	return nil
}

// publish tells everybody of a committed step, then answers.
func (q *Quorum) publish(s step) {
	for _, b := range s.batches {
		if q.broken == nil {
			if q.broken = q.committed(b); q.broken != nil {
				q.c.Fatal(q.broken)
			}
		}
	}
	if q.broken != nil { // what the others made of the record is not known here
		for _, a := range s.replies {
			a.reply(q.ctl.Refuse(a.cmd, q.broken))
		}
		return
	}
	if delta, image := q.loader.next(); image != nil {
		q.image.Store(image)
		for _, p := range q.c.Publishers {
			p.Publish(delta, image)
		}
	}
	for _, a := range s.replies {
		a.reply(a.value)
	}
	if err := q.snapshot(); err != nil {
		q.c.Logger.Error("the metadata could not be snapshotted; the log keeps growing until it can", "dir", q.dir, "error", err)
	}
}

// snapshot writes one when enough was committed or enough time has passed, and lets go of what it replaces.
func (q *Quorum) snapshot() error {
	l := q.loader
	image := q.image.Load()
	end := image.Offset + 1
	now := q.c.Now()
	due := q.c.SnapshotBytes > 0 && l.bytes >= q.c.SnapshotBytes ||
		q.c.SnapshotInterval > 0 && now.Sub(q.snapshotAt) >= q.c.SnapshotInterval
	if !due || l.open || l.dirty || end <= q.lastSnapshot.End {
		return nil
	}
	started := now
	id := snapshotID{End: end, Epoch: image.Epoch}
	c := checkpoint{codecs: q.c.Codecs, epoch: id.Epoch, now: now.UnixMilli()}
	header := []schema.Record{&schema.SnapshotHeader{LastContainedLogTimestamp: l.time}}
	if q.kraftVersion > 0 {
		header = append(header, &schema.KRaftVersion{KRaftVersion: q.kraftVersion}, q.voters)
	}
	c.control(header...)
	var records []schema.Record
	for r := range image.Records() {
		records = append(records, r)
	}
	c.records(records, image.MetadataVersion())
	c.control(&schema.SnapshotFooter{})
	l.bytes, q.snapshotAt = 0, now // also when it fails: the next try comes when the next one is due
	if err := vfs.Replace(q.c.FS, filepath.Join(q.dir, id.name()), c.out); err != nil {
		return err
	}
	q.lastSnapshot = id
	q.c.Logger.Info("metadata snapshot written", "file", id.name(), "bytes", len(c.out), "took", q.c.Now().Sub(started))
	return q.trim(now)
}

// trim removes the oldest snapshots and the log below the next one, beyond the configured size or age. The newest
// snapshot always stays.
func (q *Quorum) trim(now time.Time) error {
	ids, err := snapshots(q.c.FS, q.dir)
	if err != nil {
		return err
	}
	size := q.log.Size()
	sizes := make([]int64, len(ids))
	ages := make([]time.Duration, len(ids))
	for i, id := range ids {
		info, err := q.c.FS.Stat(filepath.Join(q.dir, id.name()))
		if err != nil {
			return err
		}
		sizes[i], ages[i] = info.Size(), now.Sub(info.ModTime())
		size += info.Size()
	}
	for len(ids) > 1 {
		tooLarge := q.c.RetentionBytes >= 0 && size > q.c.RetentionBytes
		tooOld := q.c.RetentionAge >= 0 && ages[0] > q.c.RetentionAge
		if !tooLarge && !tooOld {
			return nil
		}
		if err := q.c.FS.Remove(filepath.Join(q.dir, ids[0].name())); err != nil {
			return err
		}
		before := q.log.Size()
		if err := q.log.DeleteRecords(ids[1].End, now); err != nil {
			return err
		}
		if _, err := q.log.DeleteOldSegments(now); err != nil {
			return err
		}
		if _, err := q.log.RemoveDeleted(now); err != nil { // nobody else does it for this log
			return err
		}
		size -= sizes[0] + before - q.log.Size()
		ids, sizes, ages = ids[1:], sizes[1:], ages[1:]
	}
	return nil
}

// tell writes an event of the controller into the node's log.
func (q *Quorum) tell(e machine.Event) {
	args := make([]any, 0, 2*len(e.Attrs))
	for _, a := range e.Attrs {
		args = append(args, a.Key, a.Value)
	}
	if e.Warn {
		q.c.Logger.Warn(e.Name, args...)
	} else {
		q.c.Logger.Info(e.Name, args...)
	}
}
