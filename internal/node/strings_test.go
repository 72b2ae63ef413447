package node_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Compact lengths can announce strings that no record can hold. As with Kafka they are malformed: the connection ends, and
// the node goes on.
func TestLongStringsAreRefused(t *testing.T) {
	s := newSite(t).up()
	long := strings.Repeat("x", 1<<15)
	join := func(change func(*kmsg.JoinGroupRequest)) kmsg.Request {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Group, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = "g", "consumer", 10_000, 10_000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		change(r)
		r.Version = 9
		return r
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	topic, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, p.Metadata = "t", &long
	topic.Partitions = append(topic.Partitions, p)
	commit.Version, commit.Group, commit.Topics = 9, "g", append(commit.Topics, topic)
	create := kmsg.NewPtrCreateTopicsRequest()
	made := kmsg.NewCreateTopicsRequestTopic()
	made.Topic, made.NumPartitions, made.ReplicationFactor = "t", 1, 1
	made.Configs = append(made.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: "follower.replication.throttled.replicas", Value: &long})
	create.Version, create.Topics = 7, append(create.Topics, made)
	producer := kmsg.NewPtrInitProducerIDRequest()
	producer.Version, producer.TransactionalID = 5, &long
	for name, req := range map[string]kmsg.Request{
		"group id":          join(func(r *kmsg.JoinGroupRequest) { r.Group = long }),
		"member id":         join(func(r *kmsg.JoinGroupRequest) { r.MemberID = long }),
		"group instance id": join(func(r *kmsg.JoinGroupRequest) { r.InstanceID = &long }),
		"protocol type":     join(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = long }),
		"protocol name":     join(func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = long }),
		"reason":            join(func(r *kmsg.JoinGroupRequest) { r.Reason = &long }),
		"metadata":          commit, "topic config": create, "transactional id": producer,
	} {
		c, err := s.net.Dial(context.Background(), "tcp", "klamm:9092")
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err == nil {
			_, err = io.ReadFull(c, make([]byte, 4))
			if err != io.EOF {
				t.Errorf("%s of %d bytes: %v, want a closed connection", name, len(long), err)
			}
		}
		c.Close()
	}
	if _, in := s.admitted(); !in {
		t.Fatal("the node does not answer any more")
	}
}
