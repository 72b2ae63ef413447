package coordinator

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/group"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

func groups(c *Config) {
	c.Topic = "__consumer_offsets"
	c.ImageCommand = group.ImageCommand
	c.NewMachine = func(int32) machine.Machine[machine.Record] {
		return group.New(group.Config{InitialRebalanceDelay: 3 * time.Second})
	}
}

// call submits a request and waits for its response in virtual time.
func call[R kmsg.Response](f *fixture, partition int32, req kmsg.Request) R {
	f.t.Helper()
	done := make(chan any, 1)
	f.h.Submit(partition, machine.Command{Body: req, Client: machine.Client{ID: "c", Host: "/127.0.0.1"}}, func(v any) { done <- v })
	r, ok := (<-done).(R)
	if !ok {
		f.t.Fatalf("response to %T has another type", req)
	}
	return r
}

// TestGroup takes a group through the host: join, sync, commit, a new coordinator, the session's end.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, groups)
		defer f.close()
		f.elect(0, 1)
		join := kmsg.NewPtrJoinGroupRequest()
		join.Version, join.Group, join.ProtocolType = 9, "g", "consumer"
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 10000, 10000
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255}}}
		join.MemberID = call[*kmsg.JoinGroupResponse](f, 0, join).MemberID
		began := time.Now()
		joined := call[*kmsg.JoinGroupResponse](f, 0, join)
		if joined.ErrorCode != 0 || joined.Generation != 1 || time.Since(began) != 3*time.Second {
			t.Fatalf("join after %v: %+v", time.Since(began), joined)
		}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Version, sync.Group, sync.MemberID, sync.Generation = 4, "g", join.MemberID, 1
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: join.MemberID, MemberAssignment: []byte("mine")}}
		if r := call[*kmsg.SyncGroupResponse](f, 0, sync); string(r.MemberAssignment) != "mine" {
			t.Fatalf("sync: %+v", r)
		}
		commit := commitRequest("g", join.MemberID, 1, 42)
		if r := call[*kmsg.OffsetCommitResponse](f, 0, commit); r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("commit: %+v", r)
		}

		f.elect(0, 2)
		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Version, beat.Group, beat.MemberID, beat.Generation = 4, "g", join.MemberID, 1
		if r := call[*kmsg.HeartbeatResponse](f, 0, beat); r.ErrorCode != 0 {
			t.Fatalf("heartbeat at the new coordinator: %+v", r)
		}
		time.Sleep(10*time.Second + 1)
		describe := &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"g"}}
		if r := call[*kmsg.DescribeGroupsResponse](f, 0, describe); r.Groups[0].State != "Empty" {
			t.Fatalf("describe after the session: %+v", r)
		}
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version, fetch.Group = 7, "g"
		if r := call[*kmsg.OffsetFetchResponse](f, 0, fetch); r.Topics[0].Partitions[0].Offset != 42 {
			t.Fatalf("fetch: %+v", r)
		}
	})
}

// TestApacheLog loads a partition of __consumer_offsets that Apache Kafka 4.3.1 wrote.
func TestApacheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, groups)
		defer f.close()
		b, err := os.ReadFile("testdata/apache-4.3.1-consumer-offsets-29.log")
		if err != nil {
			t.Fatal(err)
		}
		p := f.log.part(29)
		for len(b) > 0 {
			var batch record.Batch
			if batch, b, err = record.Next(b); err != nil {
				t.Fatal(err)
			}
			p.batches = append(p.batches, batch)
			p.end = batch.LastOffset() + 1
		}
		p.hw = p.end
		f.elect(29, 1)
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version, fetch.Group = 7, "cli-gk"
		if r := call[*kmsg.OffsetFetchResponse](f, 29, fetch); len(r.Topics) != 1 || r.Topics[0].Topic != "cli-p" || r.Topics[0].Partitions[0].Offset != 24 {
			t.Fatalf("fetch: %+v", r)
		}
		describe := &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"cli-gk"}}
		if r := call[*kmsg.DescribeGroupsResponse](f, 29, describe); r.Groups[0].State != "Empty" || r.Groups[0].ProtocolType != "consumer" {
			t.Fatalf("describe: %+v", r)
		}
	})
}

// TestImage deletes a topic: its offsets go, those of the topic made under its name stay. The offsets topic's own
// partitions say where groups are.
func TestImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := metadata.Empty()
		f := newFixture(t, func(c *Config) {
			groups(c)
			c.PartitionCount = 7
			c.Image = func() *metadata.Image { return image }
		})
		defer f.close()
		change := func(records ...schema.Record) {
			d := metadata.NewDelta(image)
			for _, r := range records {
				if err := d.Apply(r); err != nil {
					t.Fatal(err)
				}
			}
			image = d.Image(1, 1)
			f.h.ImageChanged(d)
		}
		if got, want := f.h.Partition("cli-gk"), PartitionFor("cli-gk", 7); got != want {
			t.Fatalf("partition before the topic is there: %d, want %d", got, want)
		}
		offsets := schema.UUID{9}
		change(&schema.Topic{Name: "topic", TopicID: schema.UUID{1}}, &schema.Topic{Name: "__consumer_offsets", TopicID: offsets},
			&schema.Partition{TopicID: offsets, PartitionID: 0, Leader: 1, Replicas: []int32{1}, ISR: []int32{1}},
			&schema.Partition{TopicID: offsets, PartitionID: 1, Leader: 1, Replicas: []int32{1}, ISR: []int32{1}})
		if got, want := f.h.Partition("cli-gk"), PartitionFor("cli-gk", 2); got != want {
			t.Fatalf("partition: %d, want %d", got, want)
		}
		f.elect(0, 1)
		for i := range byte(2) {
			commit := commitRequest(fmt.Sprint("g", i), "", -1, 42)
			commit.Topics[0].TopicID = schema.UUID{1 + i}
			call[*kmsg.OffsetCommitResponse](f, 0, commit)
		}
		change(&schema.RemoveTopic{TopicID: schema.UUID{1}}, &schema.Topic{Name: "topic", TopicID: schema.UUID{2}})
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Version, fetch.Groups = 8, []kmsg.OffsetFetchRequestGroup{{Group: "g0"}, {Group: "g1"}}
		r := call[*kmsg.OffsetFetchResponse](f, 0, fetch)
		if len(r.Groups[0].Topics) != 0 || len(r.Groups[1].Topics) != 1 {
			t.Fatalf("offsets: %+v", r.Groups)
		}
	})
}

func commitRequest(groupID, member string, generation int32, at int64) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 9, groupID, member, generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = at
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "topic", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return r
}

// BenchmarkOffsetCommit is a commit of one partition's offset through host and machine, by groups on one shard. Each
// group has one commit on the way, as a consumer has.
func BenchmarkOffsetCommit(b *testing.B) {
	for _, groupCount := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("groups=%d", groupCount), func(b *testing.B) {
			log := newMemLog()
			log.lead(0, 1)
			f := newFixture(nil, func(c *Config) {
				groups(c)
				c.Log = discard{log}
			})
			f.h.Elected(0, 1)
			for len(f.h.Active()) == 0 {
				time.Sleep(time.Millisecond)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for i := range groupCount {
				wg.Add(1)
				req := commitRequest(fmt.Sprint("group-", i), "", -1, 1)
				var next func(any)
				next = func(any) {
					if left.Add(-1) < 0 {
						wg.Done()
						return
					}
					f.h.Submit(0, machine.Command{Body: req}, next)
				}
				next(nil)
			}
			wg.Wait()
			b.StopTimer()
			log.mu.Lock()
			b.ReportMetric(float64(b.N)/float64(max(log.part(0).start, 1)), "commits/append")
			log.mu.Unlock()
			_ = f.h.Close(b.Context())
		})
	}
}

// discard counts batches and keeps none.
type discard struct{ *memLog }

func (d discard) Append(_ string, p, _ int32, b record.Batch, _ uint64, _ int16) (base, next int64, err error) {
	d.mu.Lock()
	part := d.part(p)
	base = part.end
	part.end += int64(b.Count())
	part.start++
	next = part.end
	subs := part.subs
	d.mu.Unlock()
	binary.BigEndian.PutUint64(b, uint64(base))
	for _, f := range subs {
		f(next)
	}
	return base, next, nil
}
