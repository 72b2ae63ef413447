package node_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
)

// A session that waits at the end of a partition hears that retention has moved its start.
// DETAILS 20.
func TestSessionHearsOfTheLogStart(t *testing.T) {
	b := newBench(t)
	b.mustSend(100, time.Now().Add(-time.Hour), time.Now().Add(-time.Hour))
	topics, err := b.admin.ListTopics(b.ctx, b.topic)
	if err != nil {
		t.Fatal(err)
	}
	c := b.client()
	var session, epoch int32
	// fetch gives the log start that the answer tells of the partition, -1 where it does not name it.
	fetch := func(end int64) int64 {
		t.Helper()
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionID, req.SessionEpoch = 10, 1, 1<<20, session, epoch
		if epoch == 0 {
			topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
			topic.Topic, topic.TopicID = b.topic, topics[b.topic].ID
			p.FetchOffset, p.PartitionMaxBytes = end, 1<<20
			topic.Partitions = append(topic.Partitions, p)
			req.Topics = append(req.Topics, topic)
		}
		answer, err := c.Broker(1).Request(b.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		resp := answer.(*kmsg.FetchResponse)
		if resp.ErrorCode != 0 || resp.SessionID == 0 {
			t.Fatalf("%+v", resp)
		}
		session, epoch = resp.SessionID, epoch+1
		if len(resp.Topics) == 0 {
			return -1
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || len(p.RecordBatches) > 0 || p.HighWatermark != end {
			t.Fatalf("%+v", p)
		}
		return p.LogStartOffset
	}
	if full, none := fetch(2), fetch(2); full != 0 || none != -1 {
		t.Fatalf("log starts told before anything happened: %d, %d", full, none)
	}
	b.set(config.Topic)("retention.ms", "60000")
	b.until("news of the log start", func() bool {
		start := fetch(2)
		if start > 0 && start != 2 {
			t.Fatalf("log start %d", start)
		}
		return start == 2
	})
	if none := fetch(2); none != -1 {
		t.Fatalf("told again: %d", none)
	}
}
