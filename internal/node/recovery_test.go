package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-io/klamm/internal/vfs"
)

// crash stops the node and leaves its directories as a kill does: not marked as clean, and without recovery points.
func (s *site) crash() {
	s.t.Helper()
	s.stop()
	for _, dir := range []string{"/a", "/b"} {
		s.write(dir+"/recovery-point-offset-checkpoint", []byte("0\n0\n"))
		if err := s.mem.Remove(dir + "/.kafka_cleanshutdown"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// After a kill a node serves the partitions of which there is little to read, while it recovers the others: those can be produced to,
// and groups used, as soon as they are recovered. Clients wait for that.
func TestServesWhileItRecovers(t *testing.T) {
	s := newSite(t).up()
	s.fill("little")
	s.fill("much")
	commit := func(ctx context.Context, cl *kgo.Client, at int64, metadata string) error {
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: "much", At: at, LeaderEpoch: -1, Metadata: metadata})
		return kadm.NewClient(cl).CommitAllOffsets(ctx, "readers", offsets)
	}
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		for range 40 {
			large := &kgo.Record{Topic: "much", Value: make([]byte, 3000)}
			if err := errors.Join(cl.ProduceSync(ctx, large).FirstErr(), commit(ctx, cl, 1, strings.Repeat("m", 4000))); err != nil {
				return err
			}
		}
		return commit(ctx, cl, 17, "")
	}, kgo.ProducerBatchCompression(kgo.NoCompression()))
	place, _ := s.assigned("much")
	s.crash()
	from, to := "/a/much-0", "/b/much-0" // somebody moves it by hand
	if _, err := s.mem.Stat(from); err != nil {
		from, to = to, from
	}
	if err := s.mem.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	open := make(chan bool)
	pass := sync.OnceFunc(func() { close(open) })
	defer pass()
	s.faults.Set(func(op vfs.Op) error {
		much := strings.Contains(op.Path, "/much-0/") || strings.Contains(op.Path, "/__consumer_offsets-0/")
		if op.Kind == vfs.OpRead && op.Length > 64<<10 && much {
			return &vfs.Slow{Wait: func() { <-open }}
		}
		return nil
	})
	s.up()
	s.wantFilled("little")
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		if err := s.produce(ctx, "little"); err != nil {
			return err
		}
		if err := s.produce(ctx, "much"); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("a record for a partition that is being recovered: %w", err)
		}
		patient := make(chan error, 1)
		consumed := make(chan error, 1)
		go func() {
			patient <- cl.ProduceSync(ctx, &kgo.Record{Topic: "much", Value: []byte("patient")}).FirstErr()
		}()
		go func() {
			f := cl.PollRecords(ctx, 1)
			err := f.Err0()
			if err == nil && (f.NumRecords() != 1 || string(f.Records()[0].Value) != "1") {
				err = fmt.Errorf("%d records", f.NumRecords())
			}
			consumed <- err
		}()
		s.fill("new")
		select {
		case err := <-patient:
			return fmt.Errorf("a record for a partition that is being recovered: %w", err)
		case err := <-consumed:
			return fmt.Errorf("a consumer of a partition that is being recovered: %w", err)
		default:
		}
		pass()
		offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, "readers")
		if o, _ := offsets.Lookup("much", 0); err != nil || o.At != 17 {
			return fmt.Errorf("the group's offset is %d, %w", o.At, err)
		}
		if err := errors.Join(<-patient, <-consumed); err != nil {
			return err
		}
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "much")
		if o, _ := ends.Lookup("much", 0); err != nil || o.Offset != 43 {
			return fmt.Errorf("the topic ends at %d, %w", o.Offset, err)
		}
		s.await(ctx, "the controller hears where the log is", func() bool {
			now, known := s.assigned("much")
			return known && now != place
		})
		return nil
	}, kgo.ConsumeTopics("much"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
}

// Where too many files are open at the start, not even whose logs there are can be read. They are not set aside as strays, and there when
// files can be opened.
func TestTooManyFilesAtTheStart(t *testing.T) {
	s := newSite(t)
	s.props["replica.high.watermark.checkpoint.interval.ms"] = "20"
	s.up()
	s.fill("kept")
	s.crash()
	s.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpOpen && strings.Contains(op.Path, "/kept-0/") {
			return syscall.EMFILE
		}
		return nil
	})
	s.up()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		if err := s.produce(ctx, "kept"); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("a record for a log that cannot be opened: %w", err)
		}
		s.faults.Set(nil)
		s.await(ctx, "the log is there", func() bool { return s.produce(ctx, "kept") == nil })
		s.wantFirst(ctx, "kept", []string{"1", "2"})
		return nil
	})
}
