//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestClientHostileStale asks what those ask who were somebody once: members that others replaced, producers with the epoch before,
// wrong states; and what the coordinators cannot read. The codes are Apache Kafka's: the same table passes there
// (KLAMM_E2E_NODE=apache).
func TestClientHostileStale(t *testing.T) {
	ranges := versions(t)
	for _, c := range newStale(newHostile(t)).cases() {
		if c.req.GetVersion() == 0 {
			c.req.SetVersion(ranges[c.req.Key()].MaxVersion)
		}
		if got, want := exchange(t, frame(c.req), c.req), c.wanted(); got != want {
			t.Errorf("%s: %s answers %s, want %s", kmsg.NameForKey(c.req.Key()), c.name, got, want)
		}
	}
}

// stale adds to what hostile has: a classic group with a static member, a second member that has raised the consumer group's
// epoch, a producer that another of its id has replaced, and a transaction that was committed.
type stale struct {
	*hostile
	static, instance, staticMember string
	staticGeneration               int32
	beforeEpoch                    int32 // "member" of the consumer group had it
	replaced, done                 string
	replacedID, doneID             int64
	replacedEpoch, doneEpoch       int16 // the first's before it was replaced
}

func newStale(h *hostile) *stale {
	s := &stale{hostile: h, static: unique("static"), instance: "instance", replaced: unique("replaced"), done: unique("done")}
	for _, coordinator := range []struct {
		kind int8
		key  string
	}{{0, s.static}, {1, s.replaced}, {1, s.done}} {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKeys = coordinator.kind, []string{coordinator.key}
		h.well(find)
	}
	join := h.join(s.static, "")
	join.InstanceID = &s.instance
	joined := h.joined(join)
	s.staticMember, s.staticGeneration = joined.MemberID, joined.Generation
	sync := h.sync(s.static, s.staticMember, s.staticGeneration)
	sync.InstanceID = &s.instance
	h.well(sync)

	s.beforeEpoch = h.memberEpoch
	h.well(h.beat(h.consumer, "second", 0))
	for deadline := time.Now().Add(waitMax); h.memberEpoch == s.beforeEpoch; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal("a second member does not raise the group's epoch")
		}
		h.memberEpoch = h.well(h.beat(h.consumer, "member", h.memberEpoch)).(*kmsg.ConsumerGroupHeartbeatResponse).MemberEpoch
	}

	s.replacedID, s.replacedEpoch = h.init(s.replaced)
	h.init(s.replaced)
	s.doneID, s.doneEpoch = h.init(s.done)
	h.well(h.addPartitions(s.done, s.doneID, s.doneEpoch))
	end := h.well(h.end(s.done, s.doneID, s.doneEpoch, true)).(*kmsg.EndTxnResponse)
	if end.ProducerID >= 0 {
		s.doneID, s.doneEpoch = end.ProducerID, end.ProducerEpoch
	}
	return s
}

func with[R any](r R, change func(R)) R {
	change(r)
	return r
}

func (s *stale) cases() []hostileCase {
	const nobody = "nobody"
	empty, garbage, long := "", "(", strings.Repeat("x", 5000)
	impostor := &s.instance
	find := func(version int16, kind int8, keys ...string) kmsg.Request {
		return &kmsg.FindCoordinatorRequest{Version: version, CoordinatorType: kind, CoordinatorKeys: keys, CoordinatorKey: nobody}
	}
	list := func(change func(*kmsg.ListGroupsRequest)) kmsg.Request {
		return with(kmsg.NewPtrListGroupsRequest(), change)
	}
	listTransactions := func(change func(*kmsg.ListTransactionsRequest)) kmsg.Request {
		return with(kmsg.NewPtrListTransactionsRequest(), change)
	}
	joinConsumer := func(change func(*kmsg.ConsumerGroupHeartbeatRequest)) kmsg.Request {
		return with(s.beat(s.consumer, "third", 0), change)
	}
	commitIn := func(change func(*kmsg.TxnOffsetCommitRequest)) kmsg.Request {
		return with(s.commitIn(s.open, s.openID, s.openEpoch, s.simple, "", -1), change)
	}
	add := func(id string, producer int64, epoch int16, topics ...string) kmsg.Request {
		r := s.addPartitions(id, producer, epoch, topics...)
		r.Version = 3
		return r
	}
	verify := func(id string, producer int64, epoch int16, only bool, topic string) kmsg.Request {
		return &kmsg.AddPartitionsToTxnRequest{Version: 5, Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: id, ProducerID: producer,
			ProducerEpoch: epoch, VerifyOnly: only, Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: []int32{0}}}}}}
	}
	marker := func(topic string, partition int32, producer int64, epoch int16, coordinator int32) kmsg.Request {
		return &kmsg.WriteTxnMarkersRequest{Version: 1, Markers: []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: producer, ProducerEpoch: epoch, CoordinatorEpoch: coordinator,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{partition}}}}}}
	}
	describe := func(groups ...string) kmsg.Request {
		return with(kmsg.NewPtrDescribeGroupsRequest(), func(r *kmsg.DescribeGroupsRequest) { r.Groups = groups })
	}
	describeConsumer := func(groups ...string) kmsg.Request {
		return with(kmsg.NewPtrConsumerGroupDescribeRequest(), func(r *kmsg.ConsumerGroupDescribeRequest) { r.Groups = groups })
	}
	deleteGroups := func(version int16, groups ...string) kmsg.Request {
		return &kmsg.DeleteGroupsRequest{Version: version, Groups: groups}
	}
	deleteOffsets := func(group, topic string) kmsg.Request {
		return &kmsg.OffsetDeleteRequest{Group: group, Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}}
	}
	return []hostileCase{
		{"a coordinator of an unknown kind", find(6, 7, nobody), "INVALID_REQUEST"},
		{"a coordinator of an unknown kind, version 3", find(3, 7), "INVALID_REQUEST"},
		{"no keys", find(6, 0), "NONE"},
		{"an empty key", find(6, 0, ""), "NONE"},
		{"an empty transactional id", find(6, 1, ""), "NONE"},

		{"a static member whom another replaced", with(s.join(s.static, nobody), func(r *kmsg.JoinGroupRequest) { r.InstanceID = impostor }), "FENCED_INSTANCE_ID"},
		{"another kind of protocol in a consumer group", with(s.join(s.consumer, "second"), func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"a subscription that cannot be read in a consumer group", with(s.join(s.consumer, "second"), func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = []byte{0, 1, 0} }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"a kind of protocol without a name", with(s.join(nobody, ""), func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }), "INCONSISTENT_GROUP_PROTOCOL"},

		{"a static member whom another replaced", with(s.sync(s.static, nobody, s.staticGeneration), func(r *kmsg.SyncGroupRequest) { r.InstanceID = impostor }), "FENCED_INSTANCE_ID"},
		{"another protocol", with(s.sync(s.classic, s.member, s.generation), func(r *kmsg.SyncGroupRequest) { r.Protocol = &long }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"another kind of protocol", with(s.sync(s.classic, s.member, s.generation), func(r *kmsg.SyncGroupRequest) { r.ProtocolType = &long }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"no protocol", with(s.sync(s.classic, s.member, s.generation), func(r *kmsg.SyncGroupRequest) { r.ProtocolType, r.Protocol = nil, nil }), "INCONSISTENT_GROUP_PROTOCOL"},
		{"a member of the consumer protocol", s.sync(s.consumer, "second", s.memberEpoch), "UNKNOWN_MEMBER_ID"},
		{"no group", s.sync("", s.member, s.generation), "INVALID_GROUP_ID"},

		{"a static member whom another replaced", with(s.heartbeat(s.static, nobody, s.staticGeneration), func(r *kmsg.HeartbeatRequest) { r.InstanceID = impostor }), "FENCED_INSTANCE_ID"},
		{"a generation to come", s.heartbeat(s.classic, s.member, s.generation+1), "ILLEGAL_GENERATION"},
		{"no group", s.heartbeat("", s.member, s.generation), "INVALID_GROUP_ID"},
		{"no member", s.heartbeat(s.classic, "", s.generation), "UNKNOWN_MEMBER_ID"},

		{"a static member whom another replaced", &kmsg.LeaveGroupRequest{Group: s.static, Members: []kmsg.LeaveGroupRequestMember{{MemberID: nobody, InstanceID: impostor}}}, "FENCED_INSTANCE_ID"},
		{"an instance that is not there", &kmsg.LeaveGroupRequest{Group: s.static, Members: []kmsg.LeaveGroupRequestMember{{InstanceID: &long}}}, "UNKNOWN_MEMBER_ID"},
		{"a stranger of a consumer group", s.leave(s.consumer, nobody), "UNKNOWN_MEMBER_ID"},
		{"a member of the consumer protocol", s.leave(s.consumer, "second"), "NONE"},
		{"no members", s.leave(s.classic), "NONE"},
		{"no group", s.leave("", nobody), "INVALID_GROUP_ID"},

		{"a static member whom another replaced", with(s.commit(s.static, nobody, s.staticGeneration), func(r *kmsg.OffsetCommitRequest) { r.InstanceID = impostor }), "FENCED_INSTANCE_ID"},
		{"a generation to come", s.commit(s.classic, s.member, s.generation+1), "ILLEGAL_GENERATION"},
		{"an epoch before", s.commit(s.consumer, "member", s.beforeEpoch), "NONE"},
		{"no group", s.commit("", "", -1), "NONE"},
		{"a topic that is not there", with(s.commit(s.simple, "", -1), func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = nobody }), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"a topic id that is not there", with(s.commit(s.simple, "", -1), func(r *kmsg.OffsetCommitRequest) { r.Version, r.Topics[0].TopicID = 10, [16]byte{1} }), "UNKNOWN_TOPIC_ID"},
		{"a group of members, nobody named", s.commit(s.static, "", -1), "UNKNOWN_MEMBER_ID"},

		{"an epoch before", s.fetch(s.consumer, "member", s.beforeEpoch), "STALE_MEMBER_EPOCH"},
		{"no group", s.fetch("", "", -1), "NONE"},
		{"a topic id that is not there", with(s.fetch(s.simple, "", -1), func(r *kmsg.OffsetFetchRequest) {
			r.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{{TopicID: [16]byte{1}, Partitions: []int32{0}}}
		}), "UNKNOWN_TOPIC_ID"},
		{"a member of a classic group", s.fetch(s.classic, nobody, 5), "NONE"},

		{"no group", describe(""), "NONE"},
		{"no group", describeConsumer(""), "INVALID_GROUP_ID"},
		{"no group", &kmsg.StreamsGroupDescribeRequest{Groups: []string{""}}, "INVALID_GROUP_ID"},
		{"a consumer group", &kmsg.StreamsGroupDescribeRequest{Groups: []string{s.consumer}}, "GROUP_ID_NOT_FOUND"},
		{"no group", &kmsg.ShareGroupDescribeRequest{Version: 1, GroupIDs: []string{""}}, "INVALID_GROUP_ID"},
		{"a consumer group", &kmsg.ShareGroupDescribeRequest{Version: 1, GroupIDs: []string{s.consumer}}, "GROUP_ID_NOT_FOUND"},
		{"a state that there is not", list(func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{nobody} }), "NONE"},
		{"a type that there is not", list(func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{nobody} }), "NONE"},
		{"no group", deleteGroups(2, ""), "NONE"},
		{"one group twice", deleteGroups(2, nobody, nobody), "NONE"},
		{"no group", deleteOffsets("", s.topic), "INVALID_GROUP_ID"},
		{"a topic that is not there", deleteOffsets(s.simple, nobody), "UNKNOWN_TOPIC_OR_PARTITION"},

		{"an epoch before", s.beat(s.consumer, "member", s.beforeEpoch), "FENCED_MEMBER_EPOCH"},
		{"an instance with a name of nothing", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &empty }), "INVALID_REQUEST"},
		{"a rack with a name of nothing", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = &empty }), "INVALID_REQUEST"},
		{"an assignor with a name of nothing", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &empty }), "UNSUPPORTED_ASSIGNOR"},
		{"partitions of one who joins, unsaid", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }), "INVALID_REQUEST"},
		{"a static leave of a member without an instance", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch, r.InstanceID = -2, impostor }), "UNKNOWN_MEMBER_ID"},
		{"an epoch of the lowest kind", joinConsumer(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 << 31 }), "INVALID_REQUEST"},

		{"the epoch before", s.initRequest(s.replaced, 30_000, s.replacedID, s.replacedEpoch), "PRODUCER_FENCED"},
		{"a negative timeout", s.initRequest(s.replaced, -1, -1, -1), "INVALID_TRANSACTION_TIMEOUT"},
		{"an epoch below all", s.initRequest(s.replaced, 30_000, s.replacedID, -5), "PRODUCER_FENCED"},

		{"the epoch before", add(s.replaced, s.replacedID, s.replacedEpoch), "PRODUCER_FENCED"},
		{"no id", add("", s.replacedID, s.replacedEpoch), "INVALID_REQUEST"},
		{"an internal topic", add(s.open, s.openID, s.openEpoch, "__consumer_offsets"), "TOPIC_AUTHORIZATION_FAILED"},
		{"the epoch before, of a broker", verify(s.replaced, s.replacedID, s.replacedEpoch, true, s.topic), "PRODUCER_FENCED"},
		{"an epoch to come, of a broker", verify(s.open, s.openID, s.openEpoch+1, true, s.topic), "PRODUCER_FENCED"},
		{"an id that is not there, of a broker", verify(nobody, 1, 0, true, s.topic), "INVALID_PRODUCER_ID_MAPPING"},
		{"a transaction that is not open, of a broker", verify(s.idle, s.idleID, s.idleEpoch, true, s.topic), "TRANSACTION_ABORTABLE"},
		{"a topic that is not there, of a broker", verify(s.open, s.openID, s.openEpoch, true, nobody), "UNKNOWN_TOPIC_OR_PARTITION"},

		{"the epoch before", s.addOffsets(s.replaced, s.replacedID, s.replacedEpoch, s.simple), "PRODUCER_FENCED"},
		{"another producer's id", s.addOffsets(s.open, s.openID+1000, s.openEpoch, s.simple), "INVALID_PRODUCER_ID_MAPPING"},
		{"no id", s.addOffsets("", 1, 0, s.simple), "INVALID_REQUEST"},

		{"metadata too long", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = &long }), "OFFSET_METADATA_TOO_LARGE"},
		{"a topic that is not there", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Topic = nobody }), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"a partition that is not there", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 9 }), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"no group", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.Group = "" }), "INVALID_GROUP_ID"},
		{"a generation of a group that is not there", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.Group, r.MemberID, r.Generation = nobody, nobody, 1 }), "ILLEGAL_GENERATION"},
		{"a static member whom another replaced", commitIn(func(r *kmsg.TxnOffsetCommitRequest) {
			r.Group, r.MemberID, r.Generation, r.InstanceID = s.static, nobody, s.staticGeneration, impostor
		}), "FENCED_INSTANCE_ID"},
		{"the epoch before", commitIn(func(r *kmsg.TxnOffsetCommitRequest) {
			r.TransactionalID, r.ProducerID, r.ProducerEpoch = s.replaced, s.replacedID, s.replacedEpoch
		}), "INVALID_PRODUCER_EPOCH"},
		{"another producer's id", commitIn(func(r *kmsg.TxnOffsetCommitRequest) { r.ProducerID += 1000 }), "INVALID_PRODUCER_ID_MAPPING"},

		{"the epoch before", s.end(s.replaced, s.replacedID, s.replacedEpoch, true), "PRODUCER_FENCED"},
		{"an abort after the commit", with(s.end(s.done, s.doneID, s.doneEpoch, false), func(r *kmsg.EndTxnRequest) { r.Version = 4 }), "INVALID_TXN_STATE"},
		{"no id", s.end("", 1, 0, true), "INVALID_REQUEST"},
		{"the epoch before, version 1", with(s.end(s.replaced, s.replacedID, s.replacedEpoch, true), func(r *kmsg.EndTxnRequest) { r.Version = 1 }), "INVALID_PRODUCER_EPOCH"},

		{"a topic that is not there", marker(nobody, 0, s.doneID, s.doneEpoch, 0), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"a partition that is not there", marker(s.topic, 9, s.doneID, s.doneEpoch, 0), "UNKNOWN_TOPIC_OR_PARTITION"},
		{"an epoch before all", marker(s.topic, 0, s.doneID, 0, 0), "INVALID_PRODUCER_EPOCH"},
		{"a coordinator before", marker(s.topic, 0, s.doneID, s.doneEpoch+5, -1), "TRANSACTION_COORDINATOR_FENCED"},

		{"a state that there is not", listTransactions(func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{nobody} }), "NONE"},
		{"a pattern that is none", listTransactions(func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = &garbage }), "INVALID_REGULAR_EXPRESSION"},
	}
}
