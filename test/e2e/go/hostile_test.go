//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// TestClientHostile asks what nobody should: stale and future epochs, other people's members, ids that are not there, wrong states,
// things too large. The codes are Apache Kafka's: the same table passes there (KLAMM_E2E_NODE=apache).
func TestClientHostile(t *testing.T) {
	h := newHostile(t)
	for _, c := range h.cases() {
		resp, err := h.broker.Request(t.Context(), c.req)
		got := fmt.Sprint(err)
		if err == nil {
			got = codes(resp)
		}
		if want := c.wanted(); got != want {
			t.Errorf("%s: %s answers %s, want %s", kmsg.NameForKey(c.req.Key()), c.name, got, want)
		}
	}
}

// codes gives the error codes of an answer, each once, sorted; "NONE" if there are none.
func codes(resp kmsg.Response) string {
	var found []string
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).Name == "ErrorCode" {
					if e := kerr.TypedErrorForCode(int16(v.Field(i).Int())); e != nil && !slices.Contains(found, e.Message) {
						found = append(found, e.Message)
					}
					continue
				}
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(resp))
	if found == nil {
		return "NONE"
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

// hostile is what the cases are about: a topic, a classic group and a consumer group with a member each, a group without
// members that has offsets, a transactional id with an open transaction, and one without.
type hostile struct {
	t      *testing.T
	broker *kgo.Broker
	topic  string

	classic, consumer, simple string // groups
	member                    string // of the classic group
	generation                int32
	memberEpoch               int32  // of "member" in the consumer group
	open, idle                string // transactional ids
	openID, idleID            int64  // their producer ids
	openEpoch, idleEpoch      int16
}

func newHostile(t *testing.T) *hostile {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.AddPartitionsToTxn), 3) // later ones are the brokers'
	c := newClient(t, broker(t), kgo.MaxVersions(v))
	meta, err := c.Request(t.Context(), kmsg.NewPtrMetadataRequest())
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{t: t, broker: c.Broker(int(meta.(*kmsg.MetadataResponse).Brokers[0].NodeID)), topic: createTopic(t, 1, nil),
		classic: unique("classic"), consumer: unique("consumer"), simple: unique("simple"), open: unique("open"), idle: unique("idle")}
	for _, coordinator := range []struct {
		kind int8
		key  string
	}{{0, h.classic}, {0, h.consumer}, {0, h.simple}, {1, h.open}, {1, h.idle}} {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKeys = coordinator.kind, []string{coordinator.key}
		h.well(find)
	}
	joined := h.joined(h.join(h.classic, ""))
	h.member, h.generation = joined.MemberID, joined.Generation
	h.well(h.sync(h.classic, h.member, h.generation))
	h.memberEpoch = h.well(h.beat(h.consumer, "member", 0)).(*kmsg.ConsumerGroupHeartbeatResponse).MemberEpoch
	h.well(h.commit(h.simple, "", -1))
	h.openID, h.openEpoch = h.init(h.open)
	h.idleID, h.idleEpoch = h.init(h.idle)
	h.well(h.addPartitions(h.open, h.openID, h.openEpoch))
	return h
}

func (h *hostile) ask(req kmsg.Request) kmsg.Response {
	h.t.Helper()
	resp, err := h.broker.Request(h.t.Context(), req)
	if err != nil {
		h.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp
}

// well asks until the coordinator is there.
func (h *hostile) well(req kmsg.Request) kmsg.Response {
	h.t.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(20 * time.Millisecond) {
		resp := h.ask(req)
		got := codes(resp)
		if got == "NONE" {
			return resp
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: %s", kmsg.NameForKey(req.Key()), got)
		}
	}
}

// joined joins with the member id that the coordinator, once it is there, gives.
func (h *hostile) joined(join *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	h.t.Helper()
	for deadline := time.Now().Add(waitMax); join.MemberID == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		join.MemberID = h.ask(join).(*kmsg.JoinGroupResponse).MemberID
	}
	return h.well(join).(*kmsg.JoinGroupResponse)
}

func (h *hostile) join(group, member string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = group, member, "consumer", 30_000, 30_000
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{h.topic}
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: m.AppendTo(nil)}}
	return r
}

func (h *hostile) sync(group, member string, generation int32) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	kind, protocol := "consumer", "range"
	r.Group, r.MemberID, r.Generation, r.ProtocolType, r.Protocol = group, member, generation, &kind, &protocol
	return r
}

func (h *hostile) heartbeat(group, member string, generation int32) *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = group, member, generation
	return r
}

func (h *hostile) beat(group, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch = group, member, epoch
	if epoch == 0 {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 30_000, []string{h.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	return r
}

func (h *hostile) commit(group, member string, generation int32) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group, r.MemberID, r.Generation = 9, group, member, generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 1
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: h.topic, TopicID: h.topicID(), Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return r
}

// topicID is what versions name topics by that have no names.
func (h *hostile) topicID() [16]byte {
	r := kmsg.NewPtrMetadataRequest()
	r.Topics = []kmsg.MetadataRequestTopic{{Topic: &h.topic}}
	return h.ask(r).(*kmsg.MetadataResponse).Topics[0].TopicID
}

func (h *hostile) leave(group string, members ...string) *kmsg.LeaveGroupRequest {
	r := kmsg.NewPtrLeaveGroupRequest()
	r.Group = group
	for _, m := range members {
		r.Members = append(r.Members, kmsg.LeaveGroupRequestMember{MemberID: m})
	}
	return r
}

func (h *hostile) fetch(group, member string, epoch int32) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = group, epoch
	if member != "" {
		g.MemberID = &member
	}
	r.Groups = []kmsg.OffsetFetchRequestGroup{g}
	return r
}

func (h *hostile) init(id string) (int64, int16) {
	resp := h.well(h.initRequest(id, 30_000, -1, -1)).(*kmsg.InitProducerIDResponse)
	return resp.ProducerID, resp.ProducerEpoch
}

func (h *hostile) initRequest(id string, timeout int32, producer int64, epoch int16) *kmsg.InitProducerIDRequest {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.TransactionalID, r.TransactionTimeoutMillis, r.ProducerID, r.ProducerEpoch = &id, timeout, producer, epoch
	return r
}

func (h *hostile) addPartitions(id string, producer int64, epoch int16, topics ...string) *kmsg.AddPartitionsToTxnRequest {
	r := kmsg.NewPtrAddPartitionsToTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch = id, producer, epoch
	if topics == nil {
		topics = []string{h.topic}
	}
	for _, t := range topics {
		r.Topics = append(r.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: t, Partitions: []int32{0}})
	}
	return r
}

func (h *hostile) addOffsets(id string, producer int64, epoch int16, group string) *kmsg.AddOffsetsToTxnRequest {
	r := kmsg.NewPtrAddOffsetsToTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = id, producer, epoch, group
	return r
}

func (h *hostile) commitIn(id string, producer int64, epoch int16, group, member string, generation int32) *kmsg.TxnOffsetCommitRequest {
	r := kmsg.NewPtrTxnOffsetCommitRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group, r.MemberID, r.Generation = id, producer, epoch, group, member, generation
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = 1
	r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: h.topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return r
}

func (h *hostile) end(id string, producer int64, epoch int16, commit bool) *kmsg.EndTxnRequest {
	r := kmsg.NewPtrEndTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = id, producer, epoch, commit
	return r
}

type hostileCase struct {
	name string
	req  kmsg.Request
	want string
}

// differs are the cases in which Apache Kafka answers another code, and why ours stands.
var differs = map[string]struct{ apache, why string }{
	"JoinGroup: a subscription that cannot be read in a consumer group": {"UNKNOWN_SERVER_ERROR",
		"4.3.1 takes it for a bug of its own; the sources of its branch answer as we do"},
}

// wanted is what the node that runs has to answer.
func (c hostileCase) wanted() string {
	if d, ok := differs[kmsg.NameForKey(c.req.Key())+": "+c.name]; ok && os.Getenv("KLAMM_E2E_NODE") == "apache" {
		return d.apache
	}
	return c.want
}

func (h *hostile) cases() []hostileCase {
	const nobody = "nobody"
	describe := func(groups ...string) kmsg.Request {
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.Groups = groups
		return r
	}
	describeConsumer := func(groups ...string) kmsg.Request {
		r := kmsg.NewPtrConsumerGroupDescribeRequest()
		r.Groups = groups
		return r
	}
	deleteGroups := func(groups ...string) kmsg.Request {
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = groups
		return r
	}
	deleteOffsets := func(group string, partition int32) kmsg.Request {
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = group
		r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: h.topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}}}
		return r
	}
	describeTransactions := func(ids ...string) kmsg.Request {
		r := kmsg.NewPtrDescribeTransactionsRequest()
		r.TransactionalIDs = ids
		return r
	}
	describeProducers := func(topic string, partition int32) kmsg.Request {
		r := kmsg.NewPtrDescribeProducersRequest()
		r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
		return r
	}
	joinWith := func(change func(*kmsg.JoinGroupRequest)) kmsg.Request {
		r := h.join(h.classic, "")
		change(r)
		return r
	}
	beatWith := func(group, member string, epoch int32, change func(*kmsg.ConsumerGroupHeartbeatRequest)) kmsg.Request {
		r := h.beat(group, member, epoch)
		change(r)
		return r
	}
	commitWith := func(change func(*kmsg.OffsetCommitRequestTopicPartition)) kmsg.Request {
		r := h.commit(h.simple, "", -1)
		change(&r.Topics[0].Partitions[0])
		return r
	}
	long := strings.Repeat("x", 5000)
	instance := "instance"
	return []hostileCase{
		{"no group", h.join("", ""), "INVALID_GROUP_ID"},
		{"a member that is not there", h.join(h.classic, nobody), "UNKNOWN_MEMBER_ID"},
		{"a session timeout too short", joinWith(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 }), "INVALID_SESSION_TIMEOUT"},
		{"a session timeout too long", joinWith(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 }), "INVALID_SESSION_TIMEOUT"},
		{"another kind of protocol", joinWith(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"a protocol that others do not know", joinWith(func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "other" }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"no protocol", joinWith(func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"a static member that is not there", joinWith(func(r *kmsg.JoinGroupRequest) { r.InstanceID, r.MemberID = &instance, nobody }), "UNKNOWN_MEMBER_ID"},

		{"a group that is not there", h.sync(nobody, h.member, 1), "UNKNOWN_MEMBER_ID"},
		{"a member that is not there", h.sync(h.classic, nobody, h.generation), "UNKNOWN_MEMBER_ID"},
		{"an old generation", h.sync(h.classic, h.member, h.generation-1), "ILLEGAL_GENERATION"},
		{"a generation to come", h.sync(h.classic, h.member, h.generation+1), "ILLEGAL_GENERATION"},

		{"a group that is not there", h.heartbeat(nobody, h.member, 1), "UNKNOWN_MEMBER_ID"},
		{"a member that is not there", h.heartbeat(h.classic, nobody, h.generation), "UNKNOWN_MEMBER_ID"},
		{"an old generation", h.heartbeat(h.classic, h.member, h.generation-1), "ILLEGAL_GENERATION"},
		{"a member of a consumer group", h.heartbeat(h.consumer, "member", h.memberEpoch), "UNKNOWN_MEMBER_ID"},

		{"a group that is not there", h.leave(nobody, "m"), "UNKNOWN_MEMBER_ID"},
		{"a member that is not there", h.leave(h.classic, nobody), "UNKNOWN_MEMBER_ID"},

		{"no group", h.beat("", "member", 0), "INVALID_REQUEST"},
		{"no member", h.beat(h.consumer, "", 0), "INVALID_REQUEST"},
		{"a group that is not there", h.beat(nobody, "member", 1), "GROUP_ID_NOT_FOUND"},
		{"a member that is not there", h.beat(h.consumer, nobody, 1), "UNKNOWN_MEMBER_ID"},
		{"an epoch to come", h.beat(h.consumer, "member", h.memberEpoch+1), "FENCED_MEMBER_EPOCH"},
		{"a negative epoch", h.beat(h.consumer, "member", -3), "INVALID_REQUEST"},
		{"static leave without an instance", h.beat(h.consumer, "member", -2), "INVALID_REQUEST"},
		{"no rebalance timeout", beatWith(h.consumer, "other", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }), "INVALID_REQUEST"},
		{"no subscription", beatWith(h.consumer, "other", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }), "INVALID_REQUEST"},
		{"partitions of one who joins", beatWith(h.consumer, "other", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: [16]byte{1}, Partitions: []int32{0}}}
		}), "INVALID_REQUEST"},
		{"an assignor that is not there", beatWith(h.consumer, "other", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &instance }), "UNSUPPORTED_ASSIGNOR"},
		{"a regular expression that is none", beatWith(h.consumer, "other", 0, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			bad := "("
			r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, &bad
		}), "INVALID_REGULAR_EXPRESSION"},
		{"an instance of nobody leaves", beatWith(h.consumer, "member", -1, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &instance }), "UNKNOWN_MEMBER_ID"},
		{"a classic group with a member of another protocol", h.beat(h.classic, "member", 1), "GROUP_ID_NOT_FOUND"},

		{"no member", h.commit(h.classic, "", -1), "UNKNOWN_MEMBER_ID"},
		{"a member that is not there", h.commit(h.classic, nobody, h.generation), "UNKNOWN_MEMBER_ID"},
		{"an old generation", h.commit(h.classic, h.member, h.generation-1), "ILLEGAL_GENERATION"},
		{"a generation of a group that is not there", h.commit(nobody, "m", 1), "GROUP_ID_NOT_FOUND"},
		{"an epoch to come", h.commit(h.consumer, "member", h.memberEpoch+1), "STALE_MEMBER_EPOCH"},
		{"no member of a consumer group", h.commit(h.consumer, "", -1), "UNKNOWN_MEMBER_ID"},
		{"metadata too long", commitWith(func(p *kmsg.OffsetCommitRequestTopicPartition) { p.Metadata = &long }), "OFFSET_METADATA_TOO_LARGE"},
		{"a partition that is not there", commitWith(func(p *kmsg.OffsetCommitRequestTopicPartition) { p.Partition = 9 }), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"a negative offset", commitWith(func(p *kmsg.OffsetCommitRequestTopicPartition) { p.Offset = -5 }), "NONE"},

		{"a group that is not there", h.fetch(nobody, "", -1), "NONE"},
		{"a member that is not there", h.fetch(h.consumer, nobody, h.memberEpoch), "UNKNOWN_MEMBER_ID"},
		{"an epoch to come", h.fetch(h.consumer, "member", h.memberEpoch+1), "STALE_MEMBER_EPOCH"},

		{"a group that is not there", describe(nobody), "GROUP_ID_NOT_FOUND"},
		{"a consumer group", describe(h.consumer), "GROUP_ID_NOT_FOUND"},
		{"a group that is not there", describeConsumer(nobody), "GROUP_ID_NOT_FOUND"},
		{"a classic group", describeConsumer(h.classic), "GROUP_ID_NOT_FOUND"},
		{"a group that is not there", deleteGroups(nobody), "GROUP_ID_NOT_FOUND"},
		{"a group with members", deleteGroups(h.classic), "NON_EMPTY_GROUP"},
		{"a consumer group with members", deleteGroups(h.consumer), "NON_EMPTY_GROUP"},
		{"a group that is not there", deleteOffsets(nobody, 0), "GROUP_ID_NOT_FOUND"},
		{"a topic that members read", deleteOffsets(h.classic, 0), "GROUP_SUBSCRIBED_TO_TOPIC"},
		{"a topic that members of a consumer group read", deleteOffsets(h.consumer, 0), "GROUP_SUBSCRIBED_TO_TOPIC"},
		{"a partition without an offset", deleteOffsets(h.simple, 0), "NONE"},

		{"an empty transactional id", h.initRequest("", 30_000, -1, -1), "INVALID_REQUEST"},
		{"a timeout too long", h.initRequest(h.idle, 1<<30, -1, -1), "INVALID_TRANSACTION_TIMEOUT"},
		{"a timeout of nothing", h.initRequest(h.idle, 0, -1, -1), "INVALID_TRANSACTION_TIMEOUT"},
		{"an epoch without a producer", h.initRequest(h.idle, 30_000, -1, 1), "INVALID_REQUEST"},
		{"a producer without an epoch", h.initRequest(h.idle, 30_000, h.idleID, -1), "INVALID_REQUEST"},
		{"another producer's id", h.initRequest(h.idle, 30_000, h.idleID+1000, 0), "PRODUCER_FENCED"},
		{"an epoch to come", h.initRequest(h.idle, 30_000, h.idleID, h.idleEpoch+5), "PRODUCER_FENCED"},

		{"an id that is not there", h.addPartitions(nobody, 1, 0), "INVALID_PRODUCER_ID_MAPPING"},
		{"another producer's id", h.addPartitions(h.open, h.openID+1000, h.openEpoch), "INVALID_PRODUCER_ID_MAPPING"},
		{"an epoch to come", h.addPartitions(h.open, h.openID, h.openEpoch+1), "PRODUCER_FENCED"},
		{"a topic that is not there", h.addPartitions(h.open, h.openID, h.openEpoch, h.topic, nobody), "OPERATION_NOT_ATTEMPTED UNKNOWN_TOPIC_OR_PARTITION"},
		{"an id that is not there", h.addOffsets(nobody, 1, 0, h.simple), "INVALID_PRODUCER_ID_MAPPING"},
		{"an epoch to come", h.addOffsets(h.open, h.openID, h.openEpoch+1, h.simple), "PRODUCER_FENCED"},

		{"a member that is not there", h.commitIn(h.open, h.openID, h.openEpoch, h.classic, nobody, h.generation), "UNKNOWN_MEMBER_ID"},
		{"an old generation", h.commitIn(h.open, h.openID, h.openEpoch, h.classic, h.member, h.generation-1), "ILLEGAL_GENERATION"},
		{"a stale member of a consumer group", h.commitIn(h.open, h.openID, h.openEpoch, h.consumer, "member", h.memberEpoch+1), "ILLEGAL_GENERATION"},

		{"an id that is not there", h.end(nobody, 1, 0, true), "INVALID_PRODUCER_ID_MAPPING"},
		{"another producer's id", h.end(h.open, h.openID+1000, h.openEpoch, true), "INVALID_PRODUCER_ID_MAPPING"},
		{"an epoch to come", h.end(h.open, h.openID, h.openEpoch+1, true), "PRODUCER_FENCED"},
		{"a commit of nothing", h.end(h.idle, h.idleID, h.idleEpoch, true), "INVALID_TXN_STATE"},

		{"an id that is not there", describeTransactions(nobody), "TRANSACTIONAL_ID_NOT_FOUND"},
		{"an empty id", describeTransactions(""), "INVALID_REQUEST"},
		{"a topic that is not there", describeProducers(nobody, 0), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"a partition that is not there", describeProducers(h.topic, 9), "UNKNOWN_TOPIC_OR_PARTITION"},
	}
}
