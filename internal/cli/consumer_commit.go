package cli

import (
	"context"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beginnings are the places where assigned partitions without a committed offset began. Java's consumer commits its
// position, consumed or not; kgo commits records. Without them a group that starts at the end and is stopped before
// its first record would skip what is written until it comes back.
//
// Sequence: before a partition is read, pin resolves auto.offset.reset to an offset and remembers it; when the partition
// is revoked, as by leaving the group, the marked records are committed, and the beginning where there were none. A
// partition that was lost belongs to another member already, so its beginning is forgotten: to commit it would rewind.
type beginnings struct {
	mu     sync.Mutex
	cl     *kgo.Client                        // guarded by mu, as starts: kgo calls back on its own goroutines
	starts map[topicPartition]kgo.EpochOffset // before newClient has returned, too
}

func (b *beginnings) options(s *session) []kgo.Opt {
	b.starts = map[topicPartition]kgo.EpochOffset{}
	return []kgo.Opt{
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, _ map[string][]int32) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.cl = cl
		}),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			b.pin(ctx, s, offsets)
			return offsets, nil
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, revoked map[string][]int32) {
			err := cl.CommitMarkedOffsets(ctx)
			if err == nil {
				err = b.commit(ctx, cl, revoked)
			}
			if err != nil {
				s.log("WARN", consoleConsumerClass, "Offsets could not be committed: "+err.Error())
			}
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { b.take(lost) }),
	}
}

// take removes the beginnings of these partitions and returns them.
func (b *beginnings) take(partitions map[string][]int32) map[topicPartition]kgo.EpochOffset {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := map[topicPartition]kgo.EpochOffset{}
	for topic, ids := range partitions {
		for _, id := range ids {
			at := topicPartition{topic, id}
			if start, ok := b.starts[at]; ok {
				taken[at] = start
				delete(b.starts, at)
			}
		}
	}
	return taken
}

func (b *beginnings) commit(ctx context.Context, cl *kgo.Client, revoked map[string][]int32) (err error) {
	committed := cl.CommittedOffsets()
	unread := map[string]map[int32]kgo.EpochOffset{}
	for at, start := range b.take(revoked) {
		if has, ok := committed[at.topic][at.partition]; ok && has.Offset > start.Offset {
			continue
		}
		if unread[at.topic] == nil {
			unread[at.topic] = map[int32]kgo.EpochOffset{}
		}
		unread[at.topic][at.partition] = start
	}
	if len(unread) > 0 {
		cl.CommitOffsetsSync(ctx, unread, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, e error) { err = e })
	}
	return err
}

// pin replaces "the start" and "the end" in offsets by the offsets that they are now. Where the cluster does not say,
// the client finds out by itself, and the partition has no beginning to commit.
func (b *beginnings) pin(ctx context.Context, s *session, offsets map[string]map[int32]kgo.Offset) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if s.props["isolation.level"] == "read_committed" {
		req.IsolationLevel = 1
	}
	timestamp := map[string]int64{"earliest": -2, "latest": -1}[strings.ToLower(s.props["auto.offset.reset"])]
	for topic, partitions := range offsets {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for partition, offset := range partitions {
			if offset.EpochOffset().Offset < 0 {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp = partition, timestamp
				t.Partitions = append(t.Partitions, p)
			}
		}
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	if len(req.Topics) == 0 || timestamp == 0 {
		return
	}
	b.mu.Lock()
	cl := b.cl
	b.mu.Unlock()
	if cl == nil {
		return
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.Offset >= 0 {
				offsets[t.Topic][p.Partition] = kgo.NewOffset().At(p.Offset)
				b.starts[topicPartition{t.Topic, p.Partition}] = kgo.EpochOffset{Epoch: p.LeaderEpoch, Offset: p.Offset}
			}
		}
	}
}
