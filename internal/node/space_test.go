package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A full disk: producers hear of it, consumers do not, the metadata waits, and all goes on when there is room again. What was
// acknowledged is there, also after a restart, and nothing else.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	s.props["log.dirs"] = "/a"
	s.up()
	s.fill("t")
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		want := []string{"1", "2"}
		send := func(value string) error {
			err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(value)}).FirstErr()
			if err == nil {
				want = append(want, value)
			}
			return err
		}
		noise := make([]byte, 100_000) // clients compress
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		large := string(noise)
		s.capacity(50_000)
		if err := send(large); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("a record without room: %w", err)
		}
		if err := send("small"); err != nil { // the file's tail was cut off
			return err
		}
		s.capacity(0)
		if err := send("nothing"); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("a record without any room: %w", err)
		}
		s.wantRecords(ctx, "t", want)
		created := make(chan error, 1)
		go func() {
			_, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "new")
			created <- err
		}()
		select {
		case err := <-created:
			return fmt.Errorf("a topic without room: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
		s.capacity(10 << 20)
		if err := <-created; err != nil {
			return err
		}
		if err := send(large); err != nil {
			return err
		}
		s.wantRecords(ctx, "t", want)
		s.stop()
		s.up()
		s.wantRecords(ctx, "t", want)
		return send("after")
	}, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
}

// capacity leaves so many bytes of room on the disk.
func (s *site) capacity(room int64) {
	s.t.Helper()
	s.mem.SetCapacity(1 << 40)
	u, err := s.mem.Usage("/a")
	if err != nil {
		s.t.Fatal(err)
	}
	s.mem.SetCapacity(u.Total - u.Free + room)
}

// wantRecords expects the values of a topic's only partition.
func (s *site) wantRecords(ctx context.Context, topic string, want []string) {
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
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Fatalf("%.200q, want %.200q", got, want)
	}
}
