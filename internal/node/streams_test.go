package node_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/klammtest"
)

// streamsPeer gives connections to a new cluster whose streams groups assign at once and hold three members, or to the
// broker that KLAMM_STREAMS_PEER names: Apache Kafka, to compare with.
func streamsPeer(t *testing.T) func() *conn {
	if address := os.Getenv("KLAMM_STREAMS_PEER"); address != "" {
		return func() *conn {
			n, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { n.Close() })
			return &conn{t: t, Conn: n, r: bufio.NewReaderSize(n, 1<<20)}
		}
	}
	c := klammtest.Start(t, klammtest.WithConfig("group.streams.initial.rebalance.delay.ms", "0"), klammtest.WithConfig("group.streams.assignment.interval.ms", "0"),
		klammtest.WithConfig("group.streams.max.size", "3"))
	return func() *conn { return dial(t, c) }
}

// streamsApp is a client with a word count's topology: sub-topology 0 reads the input and writes a repartition topic,
// sub-topology 1 counts.
type streamsApp struct {
	*conn
	name string
}

func newStreamsApp(t *testing.T, connect func() *conn, partitions int32) *streamsApp {
	a := &streamsApp{connect(), fmt.Sprintf("app-%d", time.Now().UnixNano())}
	a.create(a.name+"-in", partitions)
	return a
}

func (a *streamsApp) create(topic string, partitions int32) {
	a.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, one)
	if err := kerr.ErrorForCode(a.request(req).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode); err != nil {
		a.t.Fatal(err)
	}
}

func (a *streamsApp) topology() *kmsg.StreamsGroupHeartbeatRequestTopology {
	return &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{
		{SubtopologyID: "0", SourceTopics: []string{a.name + "-in"}, RepartitionSinkTopics: []string{a.name + "-repartition"}},
		{SubtopologyID: "1", RepartitionSourceTopics: []kmsg.TopicInfo{{Topic: a.name + "-repartition"}},
			StateChangelogTopics: []kmsg.TopicInfo{{Topic: a.name + "-changelog", Configs: []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}}}},
	}}
}

// joining is what a member says first.
func (a *streamsApp) joining(member, process string) *kmsg.StreamsGroupHeartbeatRequest {
	r := a.beating(member, 0)
	r.RebalanceTimeoutMillis, r.ProcessID, r.Topology = 60_000, &process, a.topology()
	r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	r.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{}
	return r
}

func (a *streamsApp) beating(member string, epoch int32) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch = a.name, member, epoch
	return r
}

// heartbeat sends a request until a coordinator answers it.
func (a *streamsApp) heartbeat(r *kmsg.StreamsGroupHeartbeatRequest) *kmsg.StreamsGroupHeartbeatResponse {
	a.t.Helper()
	for begun := time.Now(); ; {
		resp := a.request(r).(*kmsg.StreamsGroupHeartbeatResponse)
		switch resp.ErrorCode {
		case kerr.NotCoordinator.Code, kerr.CoordinatorNotAvailable.Code, kerr.CoordinatorLoadInProgress.Code:
			if time.Since(begun) < 20*time.Second {
				a.findCoordinator()
				continue
			}
		}
		return resp
	}
}

func (a *streamsApp) findCoordinator() {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKeys = 6, []string{a.name}
	a.request(req)
}

// ready joins a member and beats until it has tasks.
func (a *streamsApp) ready(member string) *kmsg.StreamsGroupHeartbeatResponse {
	a.t.Helper()
	resp := a.heartbeat(a.joining(member, member+"-process"))
	for begun := time.Now(); len(resp.ActiveTasks) == 0; {
		if resp.ErrorCode != 0 || time.Since(begun) > 20*time.Second {
			a.t.Fatalf("%s is not given tasks: %+v", member, resp)
		}
		r := a.beating(member, resp.MemberEpoch)
		r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
		resp = a.heartbeat(r)
	}
	return resp
}

func tasksText(list []kmsg.TaskIDs) string {
	var s []string
	for _, t := range list {
		s = append(s, fmt.Sprintf("%s%v", t.SubtopologyID, t.Partitions))
	}
	return strings.Join(s, " ")
}

func codeName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return "NONE"
}

// What hostile or late clients are answered. The same table runs against Apache Kafka 4.3.1 (KLAMM_STREAMS_PEER); apache
// is its code where it is another one.
func TestHostileStreamsHeartbeats(t *testing.T) {
	a := newStreamsApp(t, streamsPeer(t), 2)
	first := a.ready("m1")
	epoch := first.MemberEpoch
	text := func(s string) *string { return &s }
	sub := func(r *kmsg.StreamsGroupHeartbeatRequest, i int) *kmsg.StreamsGroupHeartbeatRequestTopologySubtopology {
		return &r.Topology.Subtopologies[i]
	}
	type request = kmsg.StreamsGroupHeartbeatRequest
	join := func(change func(*request)) *request { r := a.joining("m2", "p2"); change(r); return r }
	// other is a join of a group that does not exist.
	others := 0
	other := func(change func(*request)) *request {
		r := a.joining("m2", "p2")
		others++
		r.Group = fmt.Sprintf("%s-%d", a.name, others)
		change(r)
		return r
	}
	beat := func(change func(*request)) *request { r := a.beating("m1", epoch); change(r); return r }
	owns := func(active ...kmsg.TaskIDs) func(*request) {
		return func(r *request) {
			r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = active, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
		}
	}
	for _, c := range []struct {
		name         string
		r            *request
		want, apache string
	}{
		{"nothing is wrong", beat(func(*request) {}), "NONE", ""},
		{"no group id", join(func(r *request) { r.Group = "" }), "INVALID_REQUEST", ""},
		{"a blank group id", join(func(r *request) { r.Group = "  " }), "INVALID_REQUEST", ""},
		{"no member id", join(func(r *request) { r.MemberID = "" }), "INVALID_REQUEST", ""},
		{"a blank rack", join(func(r *request) { r.RackID = text(" ") }), "INVALID_REQUEST", ""},
		{"an instance id", join(func(r *request) { r.InstanceID = text("i") }), "INVALID_REQUEST", ""},
		{"an empty instance id", join(func(r *request) { r.InstanceID = text("") }), "INVALID_REQUEST", ""},
		{"epoch -2 of a dynamic member", beat(func(r *request) { r.MemberEpoch = -2 }), "INVALID_REQUEST", ""},
		{"epoch -2 of a static member", beat(func(r *request) { r.MemberEpoch = -2; r.InstanceID = text("i") }), "INVALID_REQUEST", ""},
		{"epoch -3", beat(func(r *request) { r.MemberEpoch = -3 }), "INVALID_REQUEST", ""},
		{"no rebalance timeout", join(func(r *request) { r.RebalanceTimeoutMillis = -1 }), "INVALID_REQUEST", ""},
		{"no topology", join(func(r *request) { r.Topology = nil }), "INVALID_REQUEST", ""},
		{"null active tasks at a join", join(func(r *request) { r.ActiveTasks = nil }), "INVALID_REQUEST", ""},
		{"null standby tasks at a join", join(func(r *request) { r.StandbyTasks = nil }), "INVALID_REQUEST", ""},
		{"null warm-up tasks at a join", join(func(r *request) { r.WarmupTasks = nil }), "INVALID_REQUEST", ""},
		{"tasks at a join", join(func(r *request) { r.ActiveTasks = []kmsg.TaskIDs{{SubtopologyID: "0", Partitions: []int32{0}}} }), "INVALID_REQUEST", ""},
		{"a topology without a join", beat(func(r *request) { r.Topology = a.topology() }), "INVALID_REQUEST", ""},
		{"task offsets", beat(func(r *request) { r.TaskOffsets = []kmsg.TaskOffset{} }), "INVALID_REQUEST", ""},
		{"task end offsets", beat(func(r *request) { r.TaskEndOffsets = []kmsg.TaskOffset{} }), "INVALID_REQUEST", ""},
		{"warm-up tasks", beat(func(r *request) {
			owns()(r)
			r.ActiveTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{{SubtopologyID: "1", Partitions: []int32{0}}}
		}), "INVALID_REQUEST", ""},
		{"active tasks alone", beat(func(r *request) { r.ActiveTasks = []kmsg.TaskIDs{} }), "INVALID_REQUEST", ""},
		{"standby tasks alone", beat(func(r *request) { r.StandbyTasks = []kmsg.TaskIDs{} }), "INVALID_REQUEST", ""},
		{"a sub-topology that is not there", beat(owns(kmsg.TaskIDs{SubtopologyID: "7", Partitions: []int32{0}})), "INVALID_REQUEST", ""},
		{"a task beyond the partitions", beat(owns(kmsg.TaskIDs{SubtopologyID: "0", Partitions: []int32{2}})), "INVALID_REQUEST", ""},
		{"a negative task", beat(owns(kmsg.TaskIDs{SubtopologyID: "0", Partitions: []int32{-1}})), "INVALID_REQUEST", ""},
		{"a sub-topology's tasks twice", beat(owns(kmsg.TaskIDs{SubtopologyID: "0", Partitions: []int32{0}}, kmsg.TaskIDs{SubtopologyID: "0", Partitions: []int32{1}})), "NONE", ""},
		{"a group that is not there", func() *request { r := a.beating("m1", 1); r.Group += "-none"; return r }(), "GROUP_ID_NOT_FOUND", ""},
		{"leaving a group that is not there", func() *request { r := a.beating("m1", -1); r.Group += "-none"; return r }(), "GROUP_ID_NOT_FOUND", ""},
		{"a member that is not there", a.beating("nobody", 1), "UNKNOWN_MEMBER_ID", ""},
		{"leaving of a member that is not there", a.beating("nobody", -1), "UNKNOWN_MEMBER_ID", ""},
		{"a later epoch", beat(func(r *request) { r.MemberEpoch += 10 }), "FENCED_MEMBER_EPOCH", ""},
		{"an earlier epoch without tasks", beat(func(r *request) { r.MemberEpoch-- }), "FENCED_MEMBER_EPOCH", ""},
		{"a much earlier epoch", func() *request { r := a.beating("m1", 1); owns()(r); r.ActiveTasks = []kmsg.TaskIDs{}; return r }(), "FENCED_MEMBER_EPOCH", ""},
		{"a newer topology", join(func(r *request) { r.Topology.Epoch = 1 }), "INVALID_REQUEST", ""},
		{"another topology of the epoch", join(func(r *request) { sub(r, 0).SourceTopics = []string{a.name + "-other"} }), "INVALID_REQUEST", ""},
		{"another order of topics", other(func(r *request) { r.Group = a.name; sub(r, 0).RepartitionSinkTopics = []string{"b", "a"} }), "INVALID_REQUEST", ""},
		{"a negative topology epoch", other(func(r *request) { r.Topology.Epoch = -1 }), "STREAMS_INVALID_TOPOLOGY_EPOCH", "UNKNOWN_SERVER_ERROR"},
		{"regular expressions", other(func(r *request) { sub(r, 0).SourceTopicRegex = []string{".*"} }), "INVALID_REQUEST", ""},
		{"a changelog with partitions", other(func(r *request) { sub(r, 1).StateChangelogTopics[0].NumPartitions = 3 }), "STREAMS_INVALID_TOPOLOGY", ""},
		{"a topic of Kafka's own", other(func(r *request) { sub(r, 0).SourceTopics = []string{"__consumer_offsets"} }), "STREAMS_INVALID_TOPOLOGY", ""},
		{"an illegal topic", other(func(r *request) { sub(r, 0).SourceTopics = []string{"a/b"} }), "STREAMS_INVALID_TOPOLOGY", ""},
		{"an illegal changelog", other(func(r *request) { sub(r, 1).StateChangelogTopics[0].Topic = "" }), "STREAMS_INVALID_TOPOLOGY", ""},
		{"a sub-topology without sources", other(func(r *request) {
			sub(r, 0).SourceTopics = nil
			sub(r, 0).RepartitionSinkTopics = nil
			sub(r, 1).RepartitionSourceTopics[0].NumPartitions = 1
		}), "STREAMS_INVALID_TOPOLOGY", ""},
		{"a repartition topic that nobody writes", other(func(r *request) { sub(r, 0).RepartitionSinkTopics = nil }), "STREAMS_INVALID_TOPOLOGY", ""},
		{"a loop", other(func(r *request) {
			sub(r, 0).SourceTopics, sub(r, 0).RepartitionSourceTopics = nil, []kmsg.TopicInfo{{Topic: a.name + "-loop"}}
			sub(r, 1).RepartitionSinkTopics = []string{a.name + "-loop"}
		}), "STREAMS_INVALID_TOPOLOGY", ""},
		{"a sub-topology twice", other(func(r *request) { sub(r, 1).SubtopologyID = "0" }), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"a changelog twice", other(func(r *request) {
			s := sub(r, 1)
			s.StateChangelogTopics = append(s.StateChangelogTopics, s.StateChangelogTopics[0])
		}), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"a negative number of partitions", other(func(r *request) { sub(r, 1).RepartitionSourceTopics[0].NumPartitions = -5 }), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"a copartition group of nothing", other(func(r *request) {
			sub(r, 0).CopartitionGroups = []kmsg.StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup{{SourceTopics: []int16{9}}}
		}), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"a negative place in a copartition group", other(func(r *request) {
			sub(r, 0).CopartitionGroups = []kmsg.StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup{{RepartitionSourceTopics: []int16{-1}}}
		}), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"a client tag twice", other(func(r *request) {
			r.ClientTags = []kmsg.StreamsGroupHeartbeatRequestClientTag{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}
		}), "INVALID_REQUEST", "UNKNOWN_SERVER_ERROR"},
		{"an oversize topology", other(func(r *request) {
			for i := range 60 {
				sub(r, 1).StateChangelogTopics[0].Configs = append(sub(r, 1).StateChangelogTopics[0].Configs, kmsg.TopicInfoConfig{Key: fmt.Sprint(i), Value: strings.Repeat("x", 30_000)})
			}
		}), "STREAMS_INVALID_TOPOLOGY", "UNKNOWN_SERVER_ERROR"},
		{"no sub-topology at all", other(func(r *request) { r.Topology.Subtopologies = nil }), "NONE", ""},
		{"no process id", other(func(r *request) { r.ProcessID = nil }), "NONE", ""},
		{"source topics that are missing", other(func(r *request) { sub(r, 0).SourceTopics = []string{a.name + "-none"} }), "NONE", ""},
		{"a second member", join(func(*request) {}), "NONE", ""},
		{"a third member", join(func(r *request) { r.MemberID = "m3" }), "NONE", ""},
		{"one member too many", join(func(r *request) { r.MemberID = "m4" }), "GROUP_MAX_SIZE_REACHED", ""},
		{"a member that joins again where there is no room for another", join(func(r *request) { r.MemberID = "m3" }), "NONE", "GROUP_MAX_SIZE_REACHED"},
	} {
		want := c.want
		if os.Getenv("KLAMM_STREAMS_PEER") != "" && c.apache != "" {
			want = c.apache
		}
		resp := a.heartbeat(c.r)
		if got := codeName(resp.ErrorCode); got != want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, want, textOf(resp.ErrorMessage))
		} else if testing.Verbose() {
			t.Logf("%s: %s %s %v", c.name, got, textOf(resp.ErrorMessage), resp.Status)
		}
	}
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// beat sends a heartbeat with what the member says that it has, and gives the answer in a line.
func (a *streamsApp) beat(member string, epoch int32, active ...kmsg.TaskIDs) (string, int32) {
	a.t.Helper()
	r := a.beating(member, epoch)
	r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = append([]kmsg.TaskIDs{}, active...), []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	resp := a.heartbeat(r)
	return fmt.Sprintf("%s %s", codeName(resp.ErrorCode), tasksText(resp.ActiveTasks)), resp.MemberEpoch
}

func (a *streamsApp) describe() kmsg.StreamsGroupDescribeResponseGroup {
	req := kmsg.NewPtrStreamsGroupDescribeRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{a.name}, true
	return a.request(req).(*kmsg.StreamsGroupDescribeResponse).Groups[0]
}

func (a *streamsApp) listed() string {
	req := kmsg.NewPtrListGroupsRequest()
	req.Version, req.TypesFilter = 5, []string{"streams"}
	resp := a.request(req).(*kmsg.ListGroupsResponse)
	for end := time.Now().Add(10 * time.Second); resp.ErrorCode == kerr.CoordinatorLoadInProgress.Code && time.Now().Before(end); {
		resp = a.request(req).(*kmsg.ListGroupsResponse) // the other partitions of the young topic
	}
	for _, g := range resp.Groups {
		if g.Group == a.name {
			return g.ProtocolType + " " + g.GroupType + " " + g.GroupState
		}
	}
	return ""
}

func (a *streamsApp) want(what, got, want string) {
	a.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		a.t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// A group from its first member to its removal: internal topics are made, tasks go from one member to the other.
func TestStreamsGroup(t *testing.T) {
	a := newStreamsApp(t, streamsPeer(t), 2)
	first := a.ready("m1")
	a.want("the first has all", tasksText(first.ActiveTasks), "0[0 1] 1[0 1]")

	meta := kmsg.NewPtrMetadataRequest()
	meta.Version = 12
	for _, name := range []string{a.name + "-repartition", a.name + "-changelog"} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		meta.Topics = append(meta.Topics, topic)
	}
	for _, topic := range a.request(meta).(*kmsg.MetadataResponse).Topics {
		if topic.ErrorCode != 0 || len(topic.Partitions) != 2 {
			t.Fatalf("%s: %s, %d partitions", *topic.Topic, codeName(topic.ErrorCode), len(topic.Partitions))
		}
	}
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = 2, a.name+"-changelog", []string{"cleanup.policy"}
	configs.Resources = append(configs.Resources, resource)
	a.want("the changelog", textOf(a.request(configs).(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value), "compact")

	joined := a.heartbeat(a.joining("m2", "p2"))
	a.want("the second waits", tasksText(joined.ActiveTasks), "")
	got, epoch := a.beat("m1", first.MemberEpoch, first.ActiveTasks...)
	a.want("the first gives up half", got, "NONE 0[0] 1[0]")
	got, _ = a.beat("m2", joined.MemberEpoch)
	a.want("the second still waits", got, "NONE ")
	got, epoch = a.beat("m1", epoch, kmsg.TaskIDs{SubtopologyID: "0", Partitions: []int32{0}}, kmsg.TaskIDs{SubtopologyID: "1", Partitions: []int32{0}})
	a.want("the first has given up", got, "NONE ")
	got, second := a.beat("m2", joined.MemberEpoch)
	a.want("the second has the rest", got, "NONE 0[1] 1[1]")

	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.MemberID, commit.Generation = 9, a.name, "m1", epoch
	topic, partition := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	topic.Topic, partition.Offset = a.name+"-in", 7
	topic.Partitions = append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	committed := func() string {
		return codeName(a.request(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	a.want("a commit", committed(), "NONE")
	commit.Generation++
	a.want("a commit of a later epoch", committed(), "STALE_MEMBER_EPOCH")

	d := a.describe()
	a.want("described", fmt.Sprintln(d.State, len(d.Members), d.Topology.Subtopologies[1].StateChangelogTopics[0].NumPartitions), "Stable 2 2\n")
	a.want("listed", a.listed(), "streams streams Stable")
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Version, remove.Groups = 2, []string{a.name}
	removed := func() string { return codeName(a.request(remove).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode) }
	a.want("removal", removed(), "NON_EMPTY_GROUP")
	for _, m := range []string{"m1", "m2"} {
		if resp := a.heartbeat(a.beating(m, -1)); resp.ErrorCode != 0 || resp.MemberEpoch != -1 {
			t.Fatalf("%s leaves: %+v", m, resp)
		}
	}
	got, _ = a.beat("m2", second)
	a.want("a heartbeat of one that left", got, "UNKNOWN_MEMBER_ID ")
	a.want("listed", a.listed(), "streams streams Empty")
	a.want("removal", removed(), "NONE")
	a.want("described", codeName(a.describe().ErrorCode), "GROUP_ID_NOT_FOUND")
}

// Members hear why an internal topic could not be created.
func TestInternalTopicsThatCannotBe(t *testing.T) {
	a := newStreamsApp(t, streamsPeer(t), 2)
	r := a.joining("m", "p")
	r.Topology.Subtopologies[1].StateChangelogTopics[0].Configs[0].Value = "nonsense"
	resp := a.heartbeat(r)
	for begun := time.Now(); ; resp = a.heartbeat(a.beating("m", resp.MemberEpoch)) {
		if resp.ErrorCode != 0 {
			t.Fatalf("%+v", resp)
		}
		for _, status := range resp.Status {
			if strings.Contains(status.StatusDetail, "Creation failed: "+a.name+"-changelog (") && strings.Contains(status.StatusDetail, "nonsense") && status.StatusCode == 3 {
				return
			}
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("status: %+v", resp.Status)
		}
	}
}
