package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

func errorText(code int16) string {
	if code == 0 {
		return "ok"
	}
	if e, ok := kerr.ErrorForCode(code).(*kerr.Error); ok {
		return e.Message
	}
	return fmt.Sprint(code)
}

// answered shows the codes of an answer of the coordinators' half of share groups.
func answered(resp kmsg.Response) string {
	var out []string
	add := func(what any, code int16) { out = append(out, fmt.Sprintf("%v:%s", what, errorText(code))) }
	switch r := resp.(type) {
	case *kmsg.ShareGroupHeartbeatResponse:
		out = append(out, errorText(r.ErrorCode))
		if r.ErrorMessage != nil {
			out = append(out, *r.ErrorMessage)
		}
	case *kmsg.ShareGroupDescribeResponse:
		for _, g := range r.Groups {
			out = append(out, errorText(g.ErrorCode)+" "+g.GroupState)
		}
	case *kmsg.DescribeShareGroupOffsetsResponse:
		for _, g := range r.Groups {
			out = append(out, errorText(g.ErrorCode))
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					out = append(out, fmt.Sprintf("%d:%s start=%d lag=%d", p.Partition, errorText(p.ErrorCode), p.StartOffset, p.Lag))
				}
			}
		}
	case *kmsg.AlterShareGroupOffsetsResponse:
		out = append(out, errorText(r.ErrorCode))
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.DeleteShareGroupOffsetsResponse:
		out = append(out, errorText(r.ErrorCode))
		for i, t := range r.Topics {
			add(i, t.ErrorCode)
		}
	case *kmsg.InitializeShareGroupStateResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.ReadShareGroupStateResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				out = append(out, fmt.Sprintf("%d:%s state=%d start=%d", p.Partition, errorText(p.ErrorCode), p.StateEpoch, p.StartOffset))
			}
		}
	case *kmsg.WriteShareGroupStateResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.DeleteShareGroupStateResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				add(p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.ReadShareGroupStateSummaryResponse:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				out = append(out, fmt.Sprintf("%d:%s state=%d leader=%d start=%d done=%d", p.Partition, errorText(p.ErrorCode), p.StateEpoch, p.LeaderEpoch,
					p.StartOffset, p.DeliveryCompleteCount))
			}
		}
	case *kmsg.FindCoordinatorResponse:
		for i, c := range r.Coordinators {
			add(i, c.ErrorCode)
		}
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

// Hostile and stale input to the group coordinator and the share coordinator is answered with Kafka's codes. The same file is
// what Apache Kafka 4.3.1 answers (KLAMM_ORACLE=host:port go test -run TestHostileShareAdministration).
func TestHostileShareAdministration(t *testing.T) {
	b := newShareBroker(t)
	suffix := fmt.Sprintf("-%d", time.Now().UnixNano())
	topic, group := "admin"+suffix, "admin"+suffix
	id := b.topic(topic, 5)
	c := b.conn()
	sh := &sharer{conn: c, group: group, id: "m", topic: id}
	var out strings.Builder
	show := func(what string, req kmsg.Request) {
		t.Helper()
		text := answered(c.request(req))
		for deadline := time.Now().Add(20 * time.Second); strings.Contains(text, "COORDINATOR_LOAD_IN_PROGRESS") && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond) // a name may belong to a partition of the young topic that is not loaded
			text = answered(c.request(req))
		}
		text = strings.NewReplacer(topic, "T", group, "G").Replace(text)
		fmt.Fprintf(&out, "%-58s %s\n", what, text)
	}

	find := func(version int16, keys ...string) kmsg.Request {
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.Version, r.CoordinatorType, r.CoordinatorKeys = version, 2, keys
		return r
	}
	key := fmt.Sprintf("%s:%s:0", group, schema.UUID(id).String())
	for deadline := time.Now().Add(20 * time.Second); answered(c.request(find(6, key))) != "0:ok" && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // the topic is being created
	}
	show("find: version 5", find(5, key))
	show("find: keys", find(6, key, "a:"+key, "", ":"+key, group, group+":x:0", group+":"+schema.UUID(id).String()+":x", group+":"+schema.UUID(id).String()))

	beat := func(epoch int32, change func(*kmsg.ShareGroupHeartbeatRequest)) kmsg.Request {
		r := kmsg.NewPtrShareGroupHeartbeatRequest()
		r.Version, r.GroupID, r.MemberID, r.MemberEpoch = 1, group, "m", epoch
		if epoch == 0 {
			r.SubscribedTopicNames = []string{topic}
		}
		if change != nil {
			change(r)
		}
		return r
	}
	empty := ""
	sh.find(t)
	_ = sh.patiently(func() int16 {
		return c.request(beat(1, nil)).(*kmsg.ShareGroupHeartbeatResponse).ErrorCode
	})
	show("heartbeat: no member", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.MemberID = "" }))
	show("heartbeat: blank member", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.MemberID = " " }))
	show("heartbeat: member of 37 characters", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.MemberID = strings.Repeat("m", 37) }))
	show("heartbeat: no group", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.GroupID = "" }))
	show("heartbeat: empty rack", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.RackID = &empty }))
	show("heartbeat: joins without topics", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }))
	show("heartbeat: joins with no topic", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} }))
	show("heartbeat: epoch -2", beat(-2, nil))
	show("heartbeat: no such group", beat(1, nil))
	show("leave: no such group", beat(-1, nil))
	show("heartbeat: topics that are not there", beat(0, func(r *kmsg.ShareGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{topic + "-none"} }))
	show("heartbeat: another member, not joining", beat(2, func(r *kmsg.ShareGroupHeartbeatRequest) { r.MemberID = "other" }))
	show("leave: another member", beat(-1, func(r *kmsg.ShareGroupHeartbeatRequest) { r.MemberID = "other" }))
	show("heartbeat: epoch ahead", beat(9, nil))
	show("heartbeat: epoch behind", beat(1, nil))
	show("heartbeat: its epoch", beat(2, nil))

	describe := func(groups ...string) kmsg.Request {
		r := kmsg.NewPtrShareGroupDescribeRequest()
		r.Version, r.GroupIDs = 1, groups
		return r
	}
	show("describe", describe(group))
	show("describe: nobody", describe(group+"-none"))
	show("describe: no name", describe(""))
	show("describe: no groups", describe())

	alter := func(name, topic string, partitions ...int32) kmsg.Request {
		r := kmsg.NewPtrAlterShareGroupOffsetsRequest()
		r.GroupID = name
		at := kmsg.AlterShareGroupOffsetsRequestTopic{Topic: topic}
		for _, p := range partitions {
			at.Partitions = append(at.Partitions, kmsg.AlterShareGroupOffsetsRequestTopicPartition{Partition: p, StartOffset: 2})
		}
		r.Topics = append(r.Topics, at)
		return r
	}
	forget := func(name string, topics ...string) kmsg.Request {
		r := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
		r.GroupID, r.Topics = name, []kmsg.DeleteShareGroupOffsetsRequestTopic{}
		for _, topic := range topics {
			r.Topics = append(r.Topics, kmsg.DeleteShareGroupOffsetsRequestTopic{Topic: topic})
		}
		return r
	}
	show("alter: a group with a member", alter(group, topic, 0))
	show("forget: a group with a member", forget(group, topic))
	show("leave", beat(-1, nil))
	show("heartbeat: after leaving", beat(2, nil))
	show("alter: no group", alter("", topic, 0))
	show("alter: no such topic", alter(group, topic+"-none", 0, 1))
	show("alter: partitions", alter(group, topic, 0, 7))
	show("alter: no partitions", alter(group, topic))
	show("forget: no group", forget("", topic))
	show("forget: no such group", forget(group+"-none", topic))
	show("forget: no topics", forget(group))
	show("forget: no such topic", forget(group, topic+"-none"))

	offsets := func(name string, topics ...kmsg.DescribeShareGroupOffsetsRequestGroupTopic) kmsg.Request {
		r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		r.Version, r.Groups = 1, []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: name, Topics: topics}}
		return r
	}
	one := func(topic string, partitions ...int32) kmsg.DescribeShareGroupOffsetsRequestGroupTopic {
		return kmsg.DescribeShareGroupOffsetsRequestGroupTopic{Topic: topic, Partitions: partitions}
	}
	show("offsets: all", offsets(group))
	show("offsets: a partition", offsets(group, one(topic, 0)))
	show("offsets: no such topic", offsets(group, one(topic+"-none", 0)))
	show("offsets: all of no such group", offsets(group+"-none"))
	show("offsets: of no such group", offsets(group+"-none", one(topic, 0)))
	none := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	none.Version, none.Groups = 1, []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: group, Topics: []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{}}}
	show("offsets: of no topics", none)
	show("forget", forget(group, topic))
	show("forget: once more", forget(group, topic))

	showStates(show, "s"+suffix, id)

	golden := filepath.Join("testdata", "share_admin_hostile.txt")
	if os.Getenv("KLAMM_REWRITE") != "" {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Fatal(d)
	}
}

// showStates asks the share coordinator.
func showStates(show func(string, kmsg.Request), group string, id [16]byte) {
	initialize := func(group string, topic [16]byte, partition, state int32, start int64) *kmsg.InitializeShareGroupStateRequest {
		return &kmsg.InitializeShareGroupStateRequest{GroupID: group, Topics: []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: topic,
			Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: partition, StateEpoch: state, StartOffset: start}}}}}
	}
	read := func(partition, leader int32) *kmsg.ReadShareGroupStateRequest {
		return &kmsg.ReadShareGroupStateRequest{GroupID: group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: id,
			Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: partition, LeaderEpoch: leader}}}}}
	}
	write := func(partition, state, leader int32, start int64, done int32) *kmsg.WriteShareGroupStateRequest {
		return &kmsg.WriteShareGroupStateRequest{Version: 1, GroupID: group, Topics: []kmsg.WriteShareGroupStateRequestTopic{{TopicID: id,
			Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{{Partition: partition, StateEpoch: state, LeaderEpoch: leader, StartOffset: start, DeliveryCompleteCount: done}}}}}
	}
	remove := func(partition int32) *kmsg.DeleteShareGroupStateRequest {
		return &kmsg.DeleteShareGroupStateRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: id,
			Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: partition}}}}}
	}
	summary := func(partition int32) *kmsg.ReadShareGroupStateSummaryRequest {
		return &kmsg.ReadShareGroupStateSummaryRequest{Version: 1, GroupID: group, Topics: []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: id,
			Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: partition}}}}}
	}
	show("read: not initialized", read(0, 0))
	show("write: not initialized", write(0, 0, 0, 0, 0))
	show("summary: not initialized", summary(0))
	show("delete: not initialized", remove(0))
	show("initialize: no group", initialize("", id, 0, 1, -1))
	show("initialize: no topics", &kmsg.InitializeShareGroupStateRequest{GroupID: group})
	show("initialize: no such topic", initialize(group, [16]byte{1}, 0, 1, -1))
	show("initialize: a partition that is not there", initialize(group, id, 7, 1, -1))
	show("initialize: partition -1", initialize(group, id, -1, 1, -1))
	show("initialize", initialize(group, id, 0, 3, -1))
	show("initialize: an older state epoch", initialize(group, id, 0, 2, -1))
	show("initialize: once more", initialize(group, id, 0, 3, 5))
	show("read: partition -1", read(-1, 0))
	show("read: leader epoch 4", read(0, 4))
	show("read: an older leader", read(0, 3))
	show("read: without a leader epoch", read(0, -1))
	show("write: an older leader", write(0, 3, 3, 6, 0))
	show("write: an older state", write(0, 2, 4, 6, 0))
	show("write: a newer leader", write(0, 3, 6, 6, 0))
	show("write: a newer state", write(0, 4, 4, 7, 2))
	show("write: without epochs", write(0, -1, -1, 8, 3))
	show("write: partition -1", write(-1, 3, 4, 8, 3))
	show("summary", summary(0))
	show("summary: partition -1", summary(-1))
	show("summary: a partition that is not there", summary(7))
	old := write(0, 3, 4, 9, 0)
	old.Version = 0
	show("write: version 0", old)
	show("summary: after version 0", summary(0))
	show("delete: partition -1", remove(-1))
	show("delete: a partition that is not there", remove(7))
	show("read: no partitions", &kmsg.ReadShareGroupStateRequest{GroupID: group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: id}}})
	show("write: no topics", &kmsg.WriteShareGroupStateRequest{Version: 1, GroupID: group})
	show("delete: no group", &kmsg.DeleteShareGroupStateRequest{Topics: remove(0).Topics})
	show("delete", remove(0))
	show("read: deleted", read(0, 4))
	show("initialize: begins again with a lower epoch", initialize(group, id, 0, 1, 0))
	show("read: begun again", read(0, 0))
}
