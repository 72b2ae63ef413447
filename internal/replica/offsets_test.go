package replica

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
)

func stamped(ts ...int64) record.Batch {
	b := codecs.NewBuilder()
	for _, at := range ts {
		b.Add(at, nil, []byte("v"), nil)
	}
	return b.Bytes()
}

// DETAILS 17
func TestListOffsets(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1, self, 2)
		p := b.partition("t", 0)
		b.produce("t", 0, stamped(100, 300, 200), stamped(250, 260), stamped(900))
		p.followed(2, 5)
		ask := func(ts int64, iso Isolation) string {
			o, found, err := p.OffsetFor(ts, iso, -1)
			if err != nil {
				return err.Error()
			}
			if !found {
				return "none"
			}
			return fmt.Sprintf("%d at %d epoch %d", o.Offset, o.Timestamp, o.LeaderEpoch)
		}
		cases := []struct {
			ts   int64
			iso  Isolation
			want string
		}{
			{LatestTimestamp, Uncommitted, "5 at -1 epoch 0"},
			{LatestTimestamp, Committed, "5 at -1 epoch 0"},
			{LatestTimestamp, Replica, "6 at -1 epoch 0"},
			{EarliestTimestamp, Uncommitted, "0 at -1 epoch 0"},
			{EarliestLocalTimestamp, Uncommitted, "0 at -1 epoch 0"},
			{LatestTieredTimestamp, Uncommitted, "none"},
			{EarliestPendingUpload, Uncommitted, "none"},
			{MaxTimestamp, Replica, "5 at 900 epoch 0"},
			{MaxTimestamp, Uncommitted, "none"}, // it stands above the high watermark
			{0, Uncommitted, "0 at 100 epoch 0"},
			{101, Uncommitted, "1 at 300 epoch 0"}, // inside the batch
			{301, Uncommitted, "none"},             // only above the high watermark
			{301, Replica, "5 at 900 epoch 0"},
			{901, Replica, "none"},
		}
		for _, tc := range cases {
			want(t, fmt.Sprintf("%d, isolation %d", tc.ts, tc.iso), ask(tc.ts, tc.iso), tc.want)
		}
		p.followed(2, 6)
		want(t, "largest", ask(MaxTimestamp, Uncommitted), "5 at 900 epoch 0")
		b.transact("t", 0, 7, batch(1, 10, transactional(7)))
		p.followed(2, 7)
		want(t, "latest with an open transaction", ask(LatestTimestamp, Uncommitted), "7 at -1 epoch 0")
		want(t, "latest stable", ask(LatestTimestamp, Committed), "6 at -1 epoch 0")

		b.produce("t", 0, stamped(1500)) // offset 7, not replicated
		b.change(1, 0, self, nil)        // the new epoch begins at 8, the high watermark is 7
		want(t, "latest of a lagging leader", ask(LatestTimestamp, Uncommitted), ErrNotAvailable.Error())
		want(t, "what a lagging leader can tell", ask(101, Uncommitted), "1 at 300 epoch 0")
		want(t, "what it cannot", ask(1500, Uncommitted), ErrNotAvailable.Error())
		want(t, "nor that there is none", ask(9999, Uncommitted), ErrNotAvailable.Error())
		want(t, "earliest", ask(EarliestTimestamp, Uncommitted), "0 at -1 epoch 0")
		want(t, "a follower's question", ask(LatestTimestamp, Replica), "8 at -1 epoch 1")
		p.followed(2, 8)
		want(t, "caught up", ask(LatestTimestamp, Uncommitted), "8 at -1 epoch 1")
		if _, _, err := p.OffsetFor(LatestTimestamp, Uncommitted, 0); !errors.Is(err, ErrFencedEpoch) {
			t.Fatal(err)
		}
		if _, _, err := p.OffsetFor(LatestTimestamp, Uncommitted, 2); !errors.Is(err, ErrUnknownEpoch) {
			t.Fatal(err)
		}
	})
}

func TestEpochEnd(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		p := b.partition("t", 0)
		b.produce("t", 0, batch(5, 10))
		for range 3 {
			b.change(1, 0, self, nil)
		}
		b.produce("t", 0, batch(2, 10))
		for _, tc := range [][3]int64{{0, 0, 5}, {1, 0, 5}, {2, 0, 5}, {3, 3, 7}, {4, -1, -1}, {-1, -1, -1}} {
			epoch, end, err := p.EpochEnd(int32(tc[0]), -1)
			if err != nil || int64(epoch) != tc[1] || end != tc[2] {
				t.Fatalf("epoch %d: %d, %d, %v; want %d, %d", tc[0], epoch, end, err, tc[1], tc[2])
			}
		}
		if _, _, err := p.EpochEnd(0, 2); !errors.Is(err, ErrFencedEpoch) {
			t.Fatal(err)
		}
	})
}

func TestDeleteRecords(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1, self, 2)
		p := b.partition("t", 0)
		b.produce("t", 0, batch(5, 10), batch(5, 10))
		p.followed(2, 8)
		c := b.client(FetchOptions{MinBytes: 1})
		c.fetch(at("t", 0, 8))
		var out *OffsetOutOfRange
		for _, offset := range []int64{-2, 9, 11} {
			if _, err := p.DeleteRecords(offset, time.Now()); !errors.As(err, &out) {
				t.Fatalf("offset %d: %v", offset, err)
			}
		}
		for _, tc := range [][2]int64{{3, 3}, {2, 3}, {-1, 8}} {
			if low, err := p.DeleteRecords(tc[0], time.Now()); err != nil || low != tc[1] {
				t.Fatalf("offset %d: low watermark %d, %v", tc[0], low, err)
			}
		}
		want(t, "the session hears of the new start", c.fetch(), "t-0 hw 8 start 8") // DETAILS 20
		want(t, "and once", c.fetch(), "nothing")
		want(t, "below it", c.fetch(at("t", 0, 7)), "t-0 offset 7 is outside the log, which is [8, 10]")
		b.config.Log.Delete, b.config.Log.Compact = false, true
		b.set.Configure("t")
		if p.Deletes() {
			t.Fatal("a compacted topic's records may be deleted")
		}
	})
}

// What is asked of a partition whose log was removed under the question is an answer that the client can act on.
func TestQuestionsToARemovedLog(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 1)
		b.produce("t", 0, batch(1, 10))
		p := b.partition("t", 0)
		p.log.Close(false)
		var notLeader *NotLeader
		if _, err := p.Produce(batch(1, 10), ProduceOptions{Acks: 1, Version: 9, Now: time.Now()}); !errors.As(err, &notLeader) {
			t.Fatal(err)
		}
		if _, _, err := p.OffsetFor(5, Uncommitted, -1); !errors.As(err, &notLeader) {
			t.Fatal(err)
		}
		want(t, "fetch", b.client(FetchOptions{}).fetch(at("t", 0, 0)), "t-0 "+(&NotLeader{Leader: self}).Error())
		b.apply(&schema.RemoveTopic{TopicID: topicID(1)})
		if err := p.settled(fmt.Errorf("x: %w", storage.ErrClosed)); !errors.Is(err, ErrUnknownPartition) {
			t.Fatal(err)
		}
	})
}

func TestCoordinatorsOwnPartitions(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("g", 1, 1, self, 2)
		var heard []int64
		stop := b.set.OnHighWatermark("g", 0, func(hw int64) { heard = append(heard, hw) })
		base, next, err := b.set.Append("g", 0, 0, batch(3, 10), 0, 0)
		if err != nil || base != 0 || next != 3 {
			t.Fatal(base, next, err)
		}
		start, hw, end, _ := b.set.Offsets("g", 0)
		want(t, "offsets", fmt.Sprint(start, hw, end), "0 0 3")
		p := b.partition("g", 0)
		p.followed(2, 2)
		p.followed(2, 3)
		stop()
		b.set.Append("g", 0, 0, batch(1, 10), 0, 0)
		p.followed(2, 4)
		want(t, "high watermarks", fmt.Sprint(heard), "[2 3]")
		bytes, err := b.set.Read("g", 0, 1, 10)
		if err != nil || record.Batch(bytes).Count() != 3 {
			t.Fatal(err)
		}
		b.change(1, 0, 2, nil)
		if _, _, err := b.set.Append("g", 0, 0, batch(1, 10), 0, 0); err == nil {
			t.Fatal("appended at a broker that does not lead")
		}
		synctest.Wait()
	})
}

// Names and ids of topics that come, go, and come again.
func TestPlacement(t *testing.T) {
	bubble(t, func(t *testing.T, b *broker) {
		b.topic("t", 1, 2)
		b.topic("elsewhere", 9, 1, 2, 3)
		if _, err := b.set.Named("elsewhere", 0); !errors.Is(err, ErrUnknownPartition) {
			t.Fatal(err)
		}
		b.produce("t", 0, batch(1, 10))
		b.apply(&schema.RemoveTopic{TopicID: topicID(1)}, &schema.Topic{Name: "t", TopicID: topicID(2)},
			&schema.Partition{TopicID: topicID(2), Replicas: []int32{self}, ISR: []int32{self}, Leader: self})
		if end := b.partition("t", 0).log.View().LogEnd; end != 0 {
			t.Fatalf("the new topic has the old one's records, up to %d", end)
		}
		if _, err := b.set.Identified(topicID(1), 0); !errors.Is(err, ErrUnknownTopicID) {
			t.Fatal(err)
		}
		if _, err := b.set.Identified(topicID(2), 1); !errors.Is(err, ErrUnknownPartition) {
			t.Fatal(err)
		}
		r := schema.NewPartitionChange() // reassigned away
		r.TopicID, r.PartitionID, r.Leader, r.Replicas, r.ISR = topicID(2), 0, 2, []int32{2}, []int32{2}
		b.apply(r)
		if _, err := b.set.Named("t", 0); !errors.Is(err, ErrUnknownPartition) {
			t.Fatal(err)
		}
		want(t, "stats", fmt.Sprintf("%+v", b.set.Stats()), fmt.Sprintf("%+v", Stats{}))
	})
}
