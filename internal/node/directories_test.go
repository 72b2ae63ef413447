package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// directories asks the node for its directories.
func (s *site) directories(ctx context.Context) map[string]kmsg.DescribeLogDirsResponseDir {
	s.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version, req.Topics = 5, nil
	resp := s.raw(ctx, req).(*kmsg.DescribeLogDirsResponse)
	out := map[string]kmsg.DescribeLogDirsResponseDir{}
	for _, d := range resp.Dirs {
		out[d.Dir] = d
	}
	return out
}

// has finds a topic's partition 0 in a directory.
func has(d kmsg.DescribeLogDirsResponseDir, topic string) (p kmsg.DescribeLogDirsResponseDirTopicPartition, there bool) {
	for _, t := range d.Topics {
		if t.Topic == topic {
			return t.Partitions[0], true
		}
	}
	return p, false
}

// assigned is the directory in which the metadata has a topic's partition 0, and whether it is one of the node's.
func (s *site) assigned(topic string) (dir schema.UUID, known bool) {
	s.t.Helper()
	image := s.node.Image()
	p, ok := image.Partition(topic, 0)
	b, registered := image.Broker(1)
	if !ok || !registered {
		s.t.Fatalf("the metadata has no %s, or no broker", topic)
	}
	dir, _ = p.Directory(1)
	return dir, slices.Contains(b.LogDirs, dir)
}

// alter asks for a topic's partition 0 to be in a directory.
func (s *site) alter(ctx context.Context, topic, dir string) error {
	s.t.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: []int32{0}}}}}
	req.Version = 2
	return kerr.ErrorForCode(s.raw(ctx, req).(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions[0].ErrorCode)
}

// raw asks the node, and nobody in between.
func (s *site) raw(ctx context.Context, req kmsg.Request) kmsg.Response {
	s.t.Helper()
	n, err := s.net.Dial(ctx, "tcp", s.node.Bootstrap()[0])
	if err != nil {
		s.t.Fatal(err)
	}
	defer n.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = n.SetDeadline(deadline)
	}
	c := &conn{t: s.t, Conn: n, r: bufio.NewReaderSize(n, 1<<20)}
	return c.request(req)
}

// await waits until something is so.
func (s *site) await(ctx context.Context, what string, so func() bool) {
	s.t.Helper()
	for !so() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited in vain for: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// placed creates topics until there is one in each directory, and says which. Each has two records.
func (s *site) placed(ctx context.Context, dirs ...string) (topics []string) {
	s.t.Helper()
	topics = make([]string, len(dirs))
	for n := 0; slices.Contains(topics, ""); n++ {
		name := fmt.Sprintf("t%d", n)
		s.fill(name)
		for i, dir := range dirs {
			if _, there := has(s.directories(ctx)[dir], name); there {
				topics[i] = name
			}
		}
	}
	return topics
}

// One directory fails while the node serves: its partitions answer KAFKA_STORAGE_ERROR or have no leader any more, the others go on,
// and the node lives. After the next start with a sound disk all is there.
func TestOneDirectoryFails(t *testing.T) {
	for name, c := range map[string]struct {
		kind vfs.OpKind
		err  error
		part string // of the path
	}{
		"append: EIO":     {vfs.OpWrite, syscall.EIO, ".log"},
		"append: EROFS":   {vfs.OpWrite, syscall.EROFS, ".log"},
		"flush: EIO":      {vfs.OpSync, syscall.EIO, ".log"},
		"checkpoint: EIO": {vfs.OpRename, syscall.EIO, "offset-checkpoint"},
		"all: ENOENT":     {"", syscall.ENOENT, "/b"},
		"it is gone":      {vfs.OpStat, syscall.ENOENT, "meta.properties"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.props["log.flush.offset.checkpoint.interval.ms"] = "10"
			s.props["log.initial.task.delay.ms"] = "0"
			s.props["replica.high.watermark.checkpoint.interval.ms"] = "20"
			s.props["log.flush.interval.messages"] = "1"
			s.up()
			s.with(func(ctx context.Context, cl *kgo.Client) error {
				topics := s.placed(ctx, "/a", "/b")
				s.faults.Set(func(op vfs.Op) error {
					if strings.HasPrefix(op.Path, "/b") && strings.Contains(op.Path, c.part) && (c.kind == "" || op.Kind == c.kind) {
						return c.err
					}
					return nil
				})
				err := cl.ProduceSync(ctx, &kgo.Record{Topic: topics[1], Value: []byte("lost")}).FirstErr()
				if c.kind != vfs.OpRename && c.kind != vfs.OpStat && err == nil {
					return errors.New("a write that failed is acknowledged")
				}
				s.await(ctx, "the directory's error", func() bool { return s.directories(ctx)["/b"].ErrorCode == kerr.KafkaStorageError.Code })
				s.await(ctx, "the partition has no leader", func() bool {
					m, err := kadm.NewClient(cl).Metadata(ctx, topics[1])
					p := m.Topics[topics[1]].Partitions[0]
					return err == nil && p.Leader == -1 && len(p.OfflineReplicas) == 1
				})
				if err := s.produce(ctx, topics[1]); !errors.Is(err, kerr.KafkaStorageError) {
					return fmt.Errorf("a record for an offline partition: %w", err)
				}
				if err := s.alter(ctx, topics[0], "/b"); !errors.Is(err, kerr.KafkaStorageError) {
					return fmt.Errorf("a move to an offline directory: %w", err)
				}
				s.fill("new")
				if _, there := has(s.directories(ctx)["/a"], "new"); !there {
					return errors.New("the new topic is elsewhere")
				}
				s.wantRecords(ctx, topics[0], []string{"1", "2"})
				s.stop()
				s.faults.Set(nil)
				s.up()
				s.await(ctx, "the partition is led again", func() bool { return s.produce(ctx, topics[1]) == nil })
				s.wantFirst(ctx, topics[1], []string{"1", "2"})
				s.wantRecords(ctx, topics[0], []string{"1", "2"})
				return nil
			}, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.MetadataMinAge(10*time.Millisecond))
		})
	}
}

// produce sends a record to partition 0 as if the node led it, whatever the metadata says.
func (s *site) produce(ctx context.Context, topic string) error {
	s.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch(1)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return kerr.ErrorForCode(s.raw(ctx, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// wantFirst expects a topic to begin with these values.
func (s *site) wantFirst(ctx context.Context, topic string, want []string) {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.node.Bootstrap()...), kgo.Dialer(s.net.Dial), kgo.ConsumeTopics(topic))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	var got []string
	for len(got) < len(want) {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			s.t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
		s.t.Fatalf("%q, want %q", got, want)
	}
}

// The metadata's directory, or the last one, ends the node, with one line that says which and why.
func TestNeededDirectoryFails(t *testing.T) {
	for name, c := range map[string]struct{ metadata, fails, want string }{
		"the metadata's": {"", "/a", "the metadata log directory /a has failed"},
		"the last one":   {"/m", "/a/b", "all log directories are offline"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.props["log.flush.offset.checkpoint.interval.ms"] = "10"
			s.props["log.initial.task.delay.ms"] = "0"
			if c.metadata != "" {
				s.props["metadata.log.dir"] = c.metadata
			}
			s.up()
			s.with(func(ctx context.Context, cl *kgo.Client) error {
				topics := s.placed(ctx, "/a", "/b")
				s.faults.Set(func(op vfs.Op) error {
					if strings.Contains(c.fails, op.Path[:2]) && op.Kind != vfs.OpRead {
						return syscall.EIO
					}
					return nil
				})
				for _, topic := range topics {
					_ = s.produce(ctx, topic)
				}
				select {
				case err := <-s.node.Failed():
					if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), c.want) {
						return fmt.Errorf("the node ends with: %w", err)
					}
				case <-ctx.Done():
					return errors.New("the node lives")
				}
				return nil
			})
			stopped := s.node
			s.node = nil
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = stopped.Close(ctx)
			s.faults.Set(nil)
			s.up()
		})
	}
}

// A directory that is missing at the start: an empty mount point is not taken for a new directory, its replicas stay where they are.
func TestDirectoryIsMissingAtTheStart(t *testing.T) {
	s := newSite(t).up()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		topics := s.placed(ctx, "/a", "/b")
		s.stop()
		if err := s.mem.Rename("/b", "/unmounted"); err != nil {
			return err
		}
		s.up()
		if code := s.directories(ctx)["/b"].ErrorCode; code != kerr.KafkaStorageError.Code {
			return fmt.Errorf("code %d", code)
		}
		if _, err := s.mem.Stat("/b"); err == nil {
			return errors.New("the missing directory was formatted")
		}
		if err := s.produce(ctx, topics[1]); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("a record for an offline partition: %w", err)
		}
		s.wantRecords(ctx, topics[0], []string{"1", "2"})
		s.stop()
		if err := s.mem.Rename("/unmounted", "/b"); err != nil {
			return err
		}
		s.up().wantFilled(topics...)
		return nil
	})
}

// A replica moves while it is written: the copy is shown on its way, the metadata follows, nothing is lost or doubled, also over a
// restart.
func TestReplicaMoves(t *testing.T) {
	s := newSite(t)
	s.up()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		topics := s.placed(ctx, "/a")
		topic, admin := topics[0], kadm.NewClient(cl)
		var sent atomic.Int64
		stop, done := make(chan struct{}), make(chan error, 1)
		want := []string{"1", "2"}
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				value := fmt.Sprint("v", sent.Load())
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
					done <- err
					return
				}
				want = append(want, value)
				sent.Add(1)
			}
		}()
		s.await(ctx, "records", func() bool { return sent.Load() > 50 })
		rate := func(value string) {
			v := &value
			resp, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "replica.alter.log.dirs.io.max.bytes.per.second", Value: v}}, 1)
			if err != nil || resp[0].Err != nil {
				t.Fatal(err, resp)
			}
		}
		rate("1")
		for _, bad := range []struct {
			topic, dir string
			want       error
		}{{topic, "/none", kerr.LogDirNotFound}, {"none", "/b", kerr.UnknownTopicOrPartition}} {
			if err := s.alter(ctx, bad.topic, bad.dir); !errors.Is(err, bad.want) {
				return fmt.Errorf("%v: %w", bad, err)
			}
		}
		if err := s.alter(ctx, topic, "/b"); err != nil {
			return err
		}
		s.await(ctx, "the copy", func() bool {
			p, there := has(s.directories(ctx)["/b"], topic)
			return there && p.IsFuture && p.Size > 0
		})
		before := sent.Load()
		s.await(ctx, "records beside the copy", func() bool { return sent.Load() > before+50 })
		if p, there := has(s.directories(ctx)["/b"], topic); !there || !p.IsFuture || p.OffsetLag <= 0 {
			return fmt.Errorf("the copy does not keep to its rate: %+v", p)
		}
		if err := s.alter(ctx, topic, "/a"); err != nil { // given up
			return err
		}
		if _, there := has(s.directories(ctx)["/b"], topic); there {
			return errors.New("the copy is still there")
		}
		rate("9223372036854775807")
		if err := s.alter(ctx, topic, "/b"); err != nil {
			return err
		}
		s.await(ctx, "the move", func() bool {
			p, there := has(s.directories(ctx)["/b"], topic)
			_, still := has(s.directories(ctx)["/a"], topic)
			return there && !p.IsFuture && !still
		})
		before = sent.Load()
		s.await(ctx, "records behind the move", func() bool { return sent.Load() > before+50 })
		close(stop)
		if err := <-done; err != nil {
			return err
		}
		s.wantRecords(ctx, topic, want)
		s.stop()
		s.up()
		if _, there := has(s.directories(ctx)["/b"], topic); !there {
			return errors.New("after a start it is elsewhere")
		}
		s.wantRecords(ctx, topic, want)
		return nil
	})
}

// gatedDisk lets nobody flush the log of a copy until pass is called, and tells that somebody waits.
type gatedDisk struct {
	vfs.FS
	reached, open chan bool
	pass          func()
}

type gatedFile struct {
	vfs.File
	disk *gatedDisk
}

func (d *gatedDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.Contains(name, "-future/") || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return gatedFile{f, d}, nil
}

func (f gatedFile) Sync() error {
	select {
	case f.disk.reached <- true:
	default:
	}
	<-f.disk.open
	return f.File.Sync()
}

// A replica that has moved is where the metadata has it: the directory that it left may fail, and it is led as before. The end of
// the move takes a while, in which the controller's answer is published.
func TestReplicaHasMoved(t *testing.T) {
	s := newSite(t)
	disk := &gatedDisk{FS: s.mem, reached: make(chan bool, 1), open: make(chan bool)}
	disk.pass = sync.OnceFunc(func() { close(disk.open) })
	t.Cleanup(disk.pass)
	s.faults = vfs.NewFaults(disk, nil)
	s.props["log.initial.task.delay.ms"] = "0"
	s.props["replica.high.watermark.checkpoint.interval.ms"] = "20"
	s.up()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		topics := s.placed(ctx, "/b")
		topic, stays := topics[0], "stays"
		for n := 0; ; n++ {
			stays = fmt.Sprint("u", n)
			s.fill(stays)
			if _, there := has(s.directories(ctx)["/b"], stays); there {
				break
			}
		}
		from, _ := s.assigned(topic)
		if err := s.alter(ctx, topic, "/a"); err != nil {
			return err
		}
		select {
		case <-disk.reached:
		case <-ctx.Done():
			return errors.New("the copy is not flushed")
		}
		if at, known := s.assigned(topic); at == from || !known {
			return fmt.Errorf("the move ends while the metadata has the replica in %v", at)
		}
		publish := func() error { // what was decided before is published when this is answered
			value := "1"
			resp, err := kadm.NewClient(cl).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "flush.messages", Value: &value}}, stays)
			if err != nil {
				return err
			}
			return resp[0].Err
		}
		if err := publish(); err != nil {
			return err
		}
		disk.pass()
		s.await(ctx, "the move", func() bool {
			p, there := has(s.directories(ctx)["/a"], topic)
			return there && !p.IsFuture
		})
		s.fill("later") // a wrong word to the controller comes before the one on this topic's place
		s.await(ctx, "the controller knows the place of a later topic", func() bool {
			_, known := s.assigned("later")
			return known
		})
		s.faults.Set(func(op vfs.Op) error {
			if strings.HasPrefix(op.Path, "/b") {
				return syscall.EIO
			}
			return nil
		})
		led := func(topic string) bool {
			m, err := kadm.NewClient(cl).Metadata(ctx, topic)
			return err != nil || m.Topics[topic].Partitions[0].Leader == 1
		}
		s.await(ctx, "a partition of the failed directory has no leader", func() bool { return !led(stays) })
		if !led(topic) {
			return errors.New("a partition goes offline with the directory that it has left")
		}
		return s.produce(ctx, topic)
	}, kgo.MetadataMinAge(10*time.Millisecond))
}

// Cordoned directories get no new replicas, live; with all cordoned no topic is created.
func TestCordonedDirectories(t *testing.T) {
	s := newSite(t)
	s.props["cordoned.log.dirs"] = "/b"
	s.up()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		admin := kadm.NewClient(cl)
		for i := range 4 {
			s.fill(fmt.Sprint("a", i))
		}
		if d := s.directories(ctx); len(d["/b"].Topics) > 0 || !d["/b"].IsCordoned || d["/a"].IsCordoned {
			return fmt.Errorf("%+v", d)
		}
		if err := s.alter(ctx, "a0", "/b"); !errors.Is(err, kerr.InvalidReplicaAssignment) {
			return fmt.Errorf("a move to a cordoned directory: %w", err)
		}
		cordon := func(value string) {
			resp, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cordoned.log.dirs", Value: &value}}, 1)
			if err != nil || resp[0].Err != nil {
				t.Fatal(err, resp)
			}
		}
		cordon("/a")
		s.fill("b0")
		if _, there := has(s.directories(ctx)["/b"], "b0"); !there {
			return errors.New("the topic is in the cordoned directory")
		}
		cordon("*")
		s.await(ctx, "the controller's refusal", func() bool {
			_, err := admin.CreateTopic(ctx, 1, 1, nil, fmt.Sprint("c", time.Now().UnixNano()))
			return errors.Is(err, kerr.InvalidReplicationFactor)
		})
		return nil
	})
}
