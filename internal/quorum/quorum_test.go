package quorum

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
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

// What a new cluster's log begins with, as Apache Kafka 4.3.1 writes it.
const bootstrapped = `0 epoch 1: LeaderChangeMessage
1 epoch 1: BeginTransactionRecord FeatureLevelRecord(metadata.version 30) FeatureLevelRecord(eligible.leader.replicas.version 1) FeatureLevelRecord(group.version 1) FeatureLevelRecord(share.version 1) FeatureLevelRecord(streams.version 1) FeatureLevelRecord(transaction.version 2) ConfigRecord EndTransactionRecord
`

func TestEmptyStart(t *testing.T) {
	n := start(t, vfs.NewMem(nil))
	if d := cmp.Diff(bootstrapped, logged(t, n.q)); d != "" {
		t.Fatal(d)
	}
	if mv := n.q.Image().MetadataVersion(); mv != metadata.LatestMetadataVersion {
		t.Fatalf("metadata.version %d", mv)
	}
	want := raft.Status{Role: raft.Leader, Epoch: 1, Leader: 1, LogEnd: 10, HighWatermark: 10, Voters: []raft.Voter{{ID: 1}}}
	if d := cmp.Diff(want, n.q.Status()); d != "" {
		t.Fatal(d)
	}
	n.close()
}

// With kraft.version 1 the log names the voters once (KIP-853).
func TestVotersAreWrittenOnce(t *testing.T) {
	fs := vfs.NewMem(nil)
	c := config(fs)
	if err := WriteVoters(fs, dir, c.Codecs, []schema.Voter{{VoterID: 1, VoterDirectoryID: schema.UUID{1}}}, 0); err != nil {
		t.Fatal(err)
	}
	for epoch := range 3 {
		n := start(t, fs)
		if got := strings.Count(logged(t, n.q), "LeaderChangeMessage KRaftVersionRecord VotersRecord\n"); got != 1 || n.q.Status().KRaftVersion != 1 {
			t.Fatalf("start %d: voters stand %d times in\n%s", epoch, got, logged(t, n.q))
		}
		n.close()
	}
	if _, err := open(t, fs, func(c *Config) { c.Directory = schema.UUID{2} }); err == nil {
		t.Fatal("opened with another directory's voters")
	}
}

func TestRestart(t *testing.T) {
	fs := vfs.NewMem(nil)
	var before []string
	for i := range 4 {
		n := start(t, fs)
		if i > 0 {
			if d := cmp.Diff(before, contents(n.q.Image())); d != "" {
				t.Fatalf("start %d: %s", i, d)
			}
			if d := cmp.Diff(before, contents(n.q.ctl.Image())); d != "" {
				t.Fatalf("start %d, the controller's: %s", i, d)
			}
		}
		n.join(byte(i))
		n.create(fmt.Sprintf("t%d", i))
		if st := n.q.Status(); int(st.Epoch) != i+1 {
			t.Fatalf("%+v", st)
		}
		before = contents(n.q.Image())
		n.close()
	}
}

// An activation that fails writes nothing, and must not pass for a success.
func TestActivationThatFails(t *testing.T) {
	fs := vfs.NewMem(nil)
	n, err := open(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	n.q.ctl = controller.Load(n.c.Controller, metadata.Empty()) // without bootstrap records
	if err := n.q.Start(); err == nil || !strings.Contains(err.Error(), "metadata.version") {
		t.Fatalf("error %v", err)
	}
	n.close()
}

func TestCloseInEveryState(t *testing.T) {
	refused := func(n *node, when string) {
		t.Helper()
		r := n.do(createTopic("t")).(*kmsg.CreateTopicsResponse)
		if r.Topics[0].ErrorCode == 0 {
			t.Fatalf("%s: created", when)
		}
	}
	n, err := open(t, vfs.NewMem(nil))
	if err != nil {
		t.Fatal(err)
	}
	if st := n.q.Status(); st.Leader != -1 {
		t.Fatalf("before the start: %+v", st)
	}
	early := make(chan kmsg.Response, 1)
	n.q.Request(machine.Client{}, createTopic("t"), func(r kmsg.Response) { early <- r })
	n.close()
	if r := (<-early).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode == 0 {
		t.Fatal("a request before a start that never came succeeded")
	}
	refused(n, "closed before the start")
	n.close() // again

	n = start(t, vfs.NewMem(nil))
	n.close()
	refused(n, "closed")
	n.close()
}

func TestMailboxIsBounded(t *testing.T) {
	n, err := open(t, vfs.NewMem(nil), func(c *Config) { c.MailboxMax = 2 })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n.q.Request(machine.Client{}, createTopic("t"), func(kmsg.Response) {})
	}
	if r := n.do(createTopic("t")).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode == 0 {
		t.Fatal("a third one was taken in")
	}
	n.close()
}

// The vote is durable before the first record of its epoch is written, and every record before anybody hears of it.
func TestFsyncBeforeAnswer(t *testing.T) {
	ops := vfs.NewLog(vfs.NewMem(nil))
	n := start(t, ops)
	votes, record := -1, -1
	for i, op := range ops.Ops() {
		switch {
		case record < 0 && op.Kind == vfs.OpSyncDir && op.Path == filepath.Join(dir, LogDir):
			votes = i
		case record < 0 && op.Kind == vfs.OpWrite && filepath.Ext(op.Path) == ".log":
			record = i
		}
	}
	renamed := false
	for _, op := range ops.Ops()[:votes] {
		renamed = renamed || op.Kind == vfs.OpRename && filepath.Base(op.To) == stateFile
	}
	if votes < 0 || record < votes || !renamed {
		t.Fatalf("the first record is operation %d, the vote is durable with %d", record, votes)
	}
	n.join(1)
	durable := func() error {
		written := map[string]int{}
		for i, op := range ops.Ops(vfs.OpWrite, vfs.OpSync) {
			if filepath.Ext(op.Path) != ".log" {
				continue
			}
			if op.Kind == vfs.OpSync {
				delete(written, op.Path)
			} else {
				written[op.Path] = i
			}
		}
		if len(written) > 0 {
			return fmt.Errorf("not synced: %v", written)
		}
		return nil
	}
	for i := range 20 {
		answer := make(chan error, 1)
		n.q.Request(machine.Client{}, createTopic(fmt.Sprintf("t%d", i)), func(r kmsg.Response) { answer <- durable() })
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
	}
	n.close()
}

// Commands that wait together share one fsync.
func TestFsyncIsShared(t *testing.T) {
	ops := vfs.NewLog(vfs.NewMem(nil))
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n := start(t, ops)
	n.join(1)
	// The driver is held in an early answer while the mailbox fills.
	n.q.Request(machine.Client{}, createTopic("bad/name"), func(kmsg.Response) {
		once.Do(func() { close(blocked) })
		<-release
	})
	<-blocked
	var wg sync.WaitGroup
	before := len(ops.Ops(vfs.OpSync))
	for i := range 50 {
		wg.Add(1)
		n.q.Request(machine.Client{}, createTopic(fmt.Sprintf("t%d", i)), func(kmsg.Response) { wg.Done() })
	}
	close(release)
	wg.Wait()
	if got := len(ops.Ops(vfs.OpSync)) - before; got > 3 {
		t.Fatalf("%d fsyncs for 50 commands", got)
	}
	n.close()
}

// Whoever hears that a topic was made finds it; a command that writes nothing does not wait for publishers.
func TestRepliesFollowPublication(t *testing.T) {
	hold := make(chan struct{})
	reached := make(chan struct{}, 100)
	slow := false
	n := start(t, vfs.NewMem(nil), func(c *Config) {
		c.Publishers = append(c.Publishers, PublisherFunc(func(_ *metadata.Delta, i *metadata.Image) {
			if _, there := i.Topic("slow"); there && !slow {
				slow = true
				reached <- struct{}{}
				<-hold
			}
		}))
	})
	epoch := n.join(1)
	created := make(chan bool, 1)
	n.q.Request(machine.Client{}, createTopic("slow"), func(kmsg.Response) {
		_, there := n.q.Image().Topic("slow")
		created <- there
	})
	<-reached
	if h := n.do(heartbeat(epoch, n.q.Image().Offset)).(*kmsg.BrokerHeartbeatResponse); h.ErrorCode != 0 || h.IsFenced {
		t.Fatalf("%+v", h)
	}
	select {
	case <-created:
		t.Fatal("answered before its publication was over")
	default:
	}
	close(hold)
	if !<-created {
		t.Fatal("not there when it was answered")
	}
	n.close()
}

// While a publisher works for longer than a broker's session lasts, and more steps wait than the driver may be ahead, a
// broker that heartbeats as one does stays unfenced.
func TestSlowPublisherDoesNotExpireBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		n := start(t, vfs.NewMem(nil), func(c *Config) {
			c.Controller.SessionTimeout, c.Controller.MaxIdle = 9*time.Second, 500*time.Millisecond
			c.Publishers = append(c.Publishers, PublisherFunc(func(_ *metadata.Delta, i *metadata.Image) {
				if _, there := i.Topic("slow"); there && !slow {
					slow = true
					time.Sleep(time.Minute)
				}
			}))
		})
		epoch := n.join(1)
		stop := make(chan struct{})
		var alive sync.WaitGroup
		alive.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Second):
					n.do(heartbeat(epoch, n.q.Image().Offset))
				}
			}
		})
		n.create("slow")
		time.Sleep(20 * time.Second)
		close(stop)
		alive.Wait()
		if n.said("session.expired") || n.said("broker.fenced") {
			t.Fatalf("the broker was fenced:\n%s", n.events.String())
		}
		time.Sleep(20 * time.Second)
		if !n.said("session.expired") {
			t.Fatal("a broker that is silent is not fenced")
		}
		n.close()
	})
}

// A disk that fails ends the quorum: everybody hears an error, nobody is promised anything, and Close works.
func TestFailedFsyncIsFatal(t *testing.T) {
	mem := vfs.NewMem(nil)
	faults := vfs.NewFaults(mem, nil)
	n := start(t, faults)
	n.join(1)
	n.create("before")
	faults.Set(vfs.Schedule(vfs.Rule{Kind: vfs.OpSync, Times: -1, Err: syscall.EIO}))
	for _, name := range []string{"during", "after"} {
		if r := n.do(createTopic(name)).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode == 0 {
			t.Fatalf("topic %s: created on a failed disk", name)
		}
	}
	if _, there := n.q.Image().Topic("during"); there {
		t.Fatal("published what is not durable")
	}
	n.q.Close()
	if len(n.fatal) != 1 || !errors.Is(n.fatal[0], syscall.EIO) {
		t.Fatalf("fatal: %v", n.fatal)
	}
	faults.Set(nil)
	n = start(t, faults)
	if _, there := n.q.Image().Topic("before"); !there {
		t.Fatal("lost")
	}
	n.close()
}

// A committed record that cannot be taken in stops publication: what comes after it would stand on something else.
func TestUnreadableRecordStopsPublication(t *testing.T) {
	n, err := open(t, vfs.NewMem(nil))
	if err != nil {
		t.Fatal(err)
	}
	good := dataBatch(n.c.Codecs, []schema.Record{&schema.FeatureLevel{Name: metadata.MetadataVersionFeature, FeatureLevel: 30}}, 30, 0)
	bad := dataBatch(n.c.Codecs, []schema.Record{&schema.RemoveTopic{TopicID: schema.UUID{9}}}, 30, 0)
	var answers []bool
	step := func(b record.Batch) step {
		return step{batches: []record.Batch{b}, replies: []answer{{submission{cmd: machine.Command{Body: createTopic("t")}, reply: func(v any) {
			r := v.(*kmsg.CreateTopicsResponse)
			answers = append(answers, len(r.Topics) > 0 && r.Topics[0].ErrorCode != 0)
		}}, kmsg.NewPtrCreateTopicsResponse()}}}
	}
	n.q.publish(step(good))
	n.q.publish(step(bad))
	n.q.publish(step(good))
	if fmt.Sprint(answers) != "[false true true]" || len(n.fatal) != 1 || len(n.published) != 1 {
		t.Fatalf("refused %v, fatal %v, %d publications", answers, n.fatal, len(n.published))
	}
	n.q.Close()
}

func files(t testing.TB, fs vfs.FS, suffix string) (out []string) {
	t.Helper()
	names, err := fs.List(filepath.Join(dir, LogDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			out = append(out, name)
		}
	}
	return out
}

func small(c *Config) {
	c.Log.SegmentBytes = 4096
	c.SnapshotBytes, c.RetentionBytes = 2048, 6000
}

func TestSnapshotsAndTrimming(t *testing.T) {
	fs := vfs.NewMem(nil)
	n := start(t, fs, small)
	n.join(1)
	for i := range 200 {
		n.create(fmt.Sprintf("t%03d", i))
	}
	v := n.q.log.View()
	ids := files(t, fs, ".checkpoint")
	if v.LogStart == 0 || len(ids) == 0 || n.q.log.Size() > 12_000 {
		t.Fatalf("the log is [%d, %d), %d bytes; snapshots %v", v.LogStart, v.LogEnd, n.q.log.Size(), ids)
	}
	if left := files(t, fs, ".deleted"); len(left) > 0 {
		t.Fatalf("left over: %v", left)
	}
	before := contents(n.q.Image())
	n.close()
	n = start(t, fs, small)
	if d := cmp.Diff(before, contents(n.q.Image())); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff(before, contents(n.q.ctl.Image())); d != "" {
		t.Fatalf("the controller's: %s", d)
	}
	n.close()

	// The log is lost, the snapshot is not: the quorum goes on behind it, in a later epoch.
	for _, name := range append(files(t, fs, ".log"), "leader-epoch-checkpoint", stateFile) {
		if err := fs.Remove(filepath.Join(dir, LogDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ids = files(t, fs, ".checkpoint")
	newest, _ := parseSnapshot(ids[len(ids)-1])
	n = start(t, fs, small)
	if st := n.q.Status(); st.Epoch <= newest.Epoch || n.q.log.View().LogStart != newest.End {
		t.Fatalf("%+v after snapshot %+v, the log begins at %d", st, newest, n.q.log.View().LogStart)
	}
	if _, there := n.q.Image().Topic("t100"); !there {
		t.Fatal("lost")
	}
	n.close()

	// Without the snapshot there is nothing to stand on.
	for _, name := range files(t, fs, ".checkpoint") {
		if err := fs.Remove(filepath.Join(dir, LogDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, fs, small); err == nil {
		t.Fatal("a log without its beginning was taken for the whole")
	}
}

func TestSnapshotByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem(nil)
		n := start(t, fs, func(c *Config) {
			c.SnapshotInterval, c.Controller.MaxIdle = time.Hour, 10*time.Minute
		})
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if got := files(t, fs, ".checkpoint"); len(got) != 0 {
			t.Fatalf("%v", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := files(t, fs, ".checkpoint"); len(got) != 1 {
			t.Fatalf("%v", got)
		}
		n.close()
	})
}

func damage(t *testing.T, fs vfs.FS, name string, off int64, b []byte) {
	t.Helper()
	f, err := fs.OpenFile(filepath.Join(dir, LogDir, name), vfs.ReadWrite, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if off < 0 {
		size, _ := f.Size()
		off += size + 1
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestTornTail(t *testing.T) {
	fs := vfs.NewMem(nil)
	n := start(t, fs)
	n.join(1)
	n.create("t")
	before := contents(n.q.Image())
	whole := dataBatch(n.c.Codecs, []schema.Record{&schema.NoOp{}}, 30, 0)
	whole.SetBaseOffset(n.q.log.View().LogEnd)
	n.close()
	damage(t, fs, files(t, fs, ".log")[0], -1, whole[:len(whole)-1])
	n = start(t, fs)
	if d := cmp.Diff(before, contents(n.q.Image())); d != "" {
		t.Fatal(d)
	}
	if !n.said("cut") {
		t.Fatalf("nobody was told:\n%s", n.events.String())
	}
	n.create("u")
	n.close()
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	fs := vfs.NewMem(nil)
	n := start(t, fs, small)
	n.join(1)
	for i := range 50 {
		n.create(fmt.Sprint(i))
	}
	n.close()
	ids := files(t, fs, ".checkpoint")
	name := ids[len(ids)-1]
	damage(t, fs, name, 300, []byte{0xff, 0xff, 0xff})
	if _, err := open(t, fs, small); err == nil || !strings.Contains(err.Error(), name) {
		t.Fatalf("error %v", err)
	}
}

// A transaction that a crash left open is dropped by readers and ended by the next leader (KIP-868).
func TestOpenTransactionIsAborted(t *testing.T) {
	fs := vfs.NewMem(nil)
	n := start(t, fs)
	n.join(1)
	n.create("whole")
	before := contents(n.q.Image())
	n.close()
	n, err := open(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	id := schema.UUID{7}
	b := dataBatch(n.c.Codecs, []schema.Record{&schema.BeginTransaction{}, &schema.Topic{Name: "half", TopicID: id}}, 30, 0)
	if _, err := n.q.log.Append([]record.Batch{b}, storage.AppendOptions{LeaderEpoch: 1, Origin: storage.RaftLeader}); err != nil {
		t.Fatal(err)
	}
	n.close()
	for i := range 2 {
		n = start(t, fs, func(c *Config) { c.SnapshotBytes = 1 })
		if d := cmp.Diff(before, contents(n.q.Image())); d != "" {
			t.Fatal(d)
		}
		if got := strings.Count(logged(t, n.q), "AbortTransaction"); got != 1 {
			t.Fatalf("start %d: %d aborts in\n%s", i, got, logged(t, n.q))
		}
		n.create(fmt.Sprint("after", i))
		before = contents(n.q.Image())
		n.close()
	}
}

// Nobody sees half of a transaction, and no snapshot is made of half of one.
func TestLoaderHoldsTransactions(t *testing.T) {
	c := config(vfs.NewMem(nil))
	l := newLoader(c.Codecs)
	offset := int64(0)
	take := func(records ...schema.Record) (seen string) {
		t.Helper()
		b := dataBatch(c.Codecs, records, 30, 0)
		b.SetBaseOffset(offset)
		offset += int64(len(records))
		if err := l.batch(b, nil); err != nil {
			t.Fatal(err)
		}
		_, image := l.next()
		if image == nil {
			return "nothing"
		}
		for t := range image.Topics() {
			seen += t.Name
		}
		return fmt.Sprintf("%d:%s", image.Offset, seen)
	}
	topic := func(n byte) schema.Record { return &schema.Topic{Name: string('a' + n), TopicID: schema.UUID{15: n}} }
	steps := []struct {
		records []schema.Record
		want    string
	}{
		{[]schema.Record{&schema.FeatureLevel{Name: metadata.MetadataVersionFeature, FeatureLevel: 30}, topic(0)}, "1:a"},
		{[]schema.Record{topic(1), &schema.BeginTransaction{}, topic(2)}, "nothing"},
		{[]schema.Record{topic(3)}, "nothing"},
		{[]schema.Record{topic(4), &schema.EndTransaction{}}, "7:abcde"},
		{[]schema.Record{&schema.BeginTransaction{}, topic(5)}, "nothing"},
		{[]schema.Record{&schema.AbortTransaction{}, topic(6)}, "11:abcdeg"},
	}
	for i, s := range steps {
		if got := take(s.records...); got != s.want {
			t.Fatalf("step %d: %s, want %s", i, got, s.want)
		}
	}
}

// A transaction larger than a batch is written as several, and comes out as one change.
func TestLargeOperation(t *testing.T) {
	fs := vfs.NewMem(nil)
	n := start(t, fs, func(c *Config) { c.Log.SegmentBytes = 8 << 20 })
	epoch := n.join(1)
	for i := range 3 { // 12,000 partitions that the broker leads
		req := createTopic(fmt.Sprintf("big%d", i))
		req.Topics[0].NumPartitions = 4000
		if r := n.do(req).(*kmsg.CreateTopicsResponse); r.Topics[0].ErrorCode != 0 {
			t.Fatal(kerr.ErrorForCode(r.Topics[0].ErrorCode))
		}
	}
	published := len(n.published)
	fence := heartbeat(epoch, n.q.Image().Offset)
	fence.WantFence = true
	if r := n.do(fence).(*kmsg.BrokerHeartbeatResponse); r.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(r.ErrorCode))
	}
	log := logged(t, n.q)
	if !strings.Contains(log[strings.LastIndex(log, "BeginTransaction"):], "\n") || strings.Count(log, "EndTransaction") != 2 {
		t.Fatal("not written in a transaction of several batches")
	}
	if got := len(n.published) - published; got != 1 {
		t.Fatalf("%d publications", got)
	}
	before := contents(n.q.Image())
	n.close()
	n = start(t, fs)
	if d := cmp.Diff(before, contents(n.q.Image())); d != "" {
		t.Fatal(d)
	}
	n.close()
}

// quorum-state from another time than the log is refused.
func TestStateBehindTheLog(t *testing.T) {
	fs := vfs.NewMem(nil)
	for range 3 {
		start(t, fs).close()
	}
	if err := writeState(fs, filepath.Join(dir, LogDir), &schema.QuorumState{LeaderID: 1, LeaderEpoch: 2, VotedID: -1, CurrentVoters: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, fs); err == nil {
		t.Fatal("accepted")
	}
}
