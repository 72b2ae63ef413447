package group

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// TestScripts runs the scripts in testdata. Requests are commands with arguments; "$1" is the first member id that the
// script has seen. The output is what was written and who was answered.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		h := newHarness(t, Config{InitialRebalanceDelay: 3 * time.Second})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h.t = t
			h.out.Reset()
			h.run(t, d)
			if h.out.Len() == 0 {
				return "-\n"
			}
			return h.out.String()
		})
	})
}

// args reads a command's arguments.
type args struct {
	t *testing.T
	h *harness
	d *datadriven.TestData
}

func (a args) str(key, def string) string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return strings.ReplaceAll(strings.Join(arg.Vals, ","), `""`, "")
		}
	}
	return def
}

func (a args) has(key string) bool {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return true
		}
	}
	return false
}

func (a args) num(key string, def int) int {
	s := a.str(key, "")
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return n
}

func (a args) opt(key string) *string {
	if !a.has(key) {
		return nil
	}
	s := a.str(key, "")
	return &s
}

func (a args) member() string { return a.h.memberID(a.str("member", "")) }

func (a args) list(key string) []string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) duration(key string, def time.Duration) time.Duration {
	s := a.str(key, "")
	if s == "" {
		return def
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return v
}

// partition reads "topic-1".
func (a args) partition(s string) (string, int32) {
	i := strings.LastIndex(s, "-")
	n, err := strconv.Atoi(s[i+1:])
	if err != nil || i < 0 {
		a.d.Fatalf(a.t, "partition %q", s)
	}
	return s[:i], int32(n)
}

func topicID(name string) (id [16]byte) {
	copy(id[:], name)
	return id
}

func (h *harness) run(t *testing.T, d *datadriven.TestData) {
	a := args{t, h, d}
	client := machine.Client{ID: a.str("client", "c"), Host: "/127.0.0.1"}
	switch d.Cmd {
	case "config":
		c := Config{
			ConsumerMaxSize: a.num("consumer-max-size", 0), ReconcilingHeartbeat: a.duration("reconciling", 0),
			AssignmentInterval: a.duration("assignment", 0), Assignors: a.list("assignors"),
			MigrationPolicy:       map[string]MigrationPolicy{"none": MigrateNone, "up": MigrateUp, "down": MigrateDown}[a.str("migrate", "")],
			InitialRebalanceDelay: a.duration("delay", 0), MaxSize: a.num("max-size", 0), MetadataMax: a.num("metadata-max", 0),
			OffsetsRetention: a.duration("retention", 0), RetentionCheckInterval: a.duration("check", 0), ResultRecordsMax: a.num("records", 0),
		}
		a.streamsConfig(&c)
		c.Share = ShareConfig{MaxSize: a.num("share-max-size", 0), AssignmentInterval: a.duration("share-assignment", 0)}
		h.do(machine.Command{Body: SetConfig{c}})
	case "advance":
		v, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		h.advance(v)
	case "reload":
		h.m = h.reload()
	case "append":
		if h.fail = nil; a.has("fails") {
			h.fail = fmt.Errorf("disk: %w", kerr.NotEnoughReplicas)
		}
		if a.has("leadership") {
			h.fail = errors.Join(errors.New("gone"), kerr.NotLeaderForPartition)
		}
	case "ticks":
		fmt.Fprintf(&h.out, "%d\n", h.ticks)
	case "waiting":
		for token := machine.Token(1); token <= h.token; token++ {
			if _, ok := h.open[token]; ok {
				fmt.Fprintf(&h.out, "#%d\n", token)
			}
		}
	case "marker":
		h.do(machine.Command{Body: machine.Marker{Producer: machine.Producer{ID: int64(a.num("producer", 1)), Transactional: true}, Commit: a.has("commit")}})
	case "topics", "group-config":
		h.changeImage(a)
	case "jobs":
		jobs := h.jobs
		h.jobs = nil
		for _, job := range jobs {
			h.do(machine.Command{Body: job()})
		}
	case "share-answer":
		if !h.answerShare(a.failing()) {
			h.out.WriteString("nothing was asked\n")
		}
	case "share-partitions":
		h.do(machine.Command{Body: SharePartitions{a.str("group", "g")}})
	case "created":
		h.do(machine.Command{Body: a.created()})
	case "topics-deleted":
		var deleted []Topic
		for _, name := range a.list("topics") {
			deleted = append(deleted, Topic{Name: name, ID: topicID(a.str("id", name))})
		}
		h.do(machine.Command{Body: TopicsChanged{Deleted: deleted}})
	default:
		h.do(machine.Command{Body: a.request(), Client: client})
	}
}

func (a args) request() kmsg.Request {
	group := a.str("group", "g")
	version := func(newest int) int16 { return int16(a.num("version", newest)) }
	switch a.d.Cmd {
	case "join":
		r := kmsg.NewPtrJoinGroupRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID = version(9), group, a.member(), a.opt("instance")
		r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = int32(a.num("session", 10000)), int32(a.num("rebalance", 60000))
		r.ProtocolType = a.str("type", "consumer")
		for _, p := range strings.Split(a.str("protocols", "range:t"), ",") {
			if p != "" {
				name, topics, _ := strings.Cut(p, ":")
				m := kmsg.ConsumerMemberMetadata{Version: 1, Topics: strings.Split(topics, "+")}
				for _, tp := range a.list("owned") {
					topic, partition := a.partition(tp)
					m.OwnedPartitions = append(m.OwnedPartitions, kmsg.ConsumerMemberMetadataOwnedPartition{Topic: topic, Partitions: []int32{partition}})
				}
				r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: m.AppendTo(nil)})
			}
		}
		return r
	case "sync":
		r := kmsg.NewPtrSyncGroupRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID, r.Generation = version(5), group, a.member(), a.opt("instance"), int32(a.num("gen", 1))
		if r.Version >= 5 && !a.has("no-protocol") {
			typ, protocol := a.str("type", "consumer"), a.str("protocol", "range")
			r.ProtocolType, r.Protocol = &typ, &protocol
		}
		for _, as := range a.list("assign-partitions") {
			id, what, _ := strings.Cut(as, ":")
			m := kmsg.ConsumerMemberAssignment{Version: 1}
			for _, tp := range strings.Split(what, "+") {
				topic, partition := a.partition(tp)
				m.Topics = append(m.Topics, kmsg.ConsumerMemberAssignmentTopic{Topic: topic, Partitions: []int32{partition}})
			}
			r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: a.h.memberID(id), MemberAssignment: m.AppendTo(nil)})
		}
		for _, as := range a.list("assign") {
			id, what, _ := strings.Cut(as, "=")
			id, what2, ok := strings.Cut(id, ":")
			if ok {
				what = what2
			}
			r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: a.h.memberID(id), MemberAssignment: []byte(what)})
		}
		return r
	case "heartbeat":
		r := kmsg.NewPtrHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID, r.Generation = version(4), group, a.member(), a.opt("instance"), int32(a.num("gen", 1))
		return r
	case "leave":
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Version, r.Group = version(5), group
		if r.Version < 3 {
			r.MemberID = a.member()
			return r
		}
		for _, id := range a.list("members") {
			m := kmsg.NewLeaveGroupRequestMember()
			if instance, ok := strings.CutPrefix(id, "@"); ok {
				m.InstanceID = &instance
			} else {
				id, instance, ok := strings.Cut(id, "@")
				if m.MemberID = a.h.memberID(id); ok {
					m.InstanceID = &instance
				}
			}
			r.Members = append(r.Members, m)
		}
		return r
	}
	if r := a.consumerRequest(group, version); r != nil {
		return r
	}
	if r := a.shareRequest(group); r != nil {
		return r
	}
	if r := a.streamsRequest(group, version); r != nil {
		return r
	}
	return a.offsetRequest(group, version)
}

func (a args) offsetRequest(group string, version func(int) int16) kmsg.Request {
	switch a.d.Cmd {
	case "commit":
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID = version(10), group, a.member(), a.opt("instance")
		r.Generation, r.RetentionTimeMillis = int32(a.num("gen", -1)), int64(a.num("retention", -1))
		for _, o := range a.list("offsets") {
			tp, value, _ := strings.Cut(o, ":")
			name, partition := a.partition(tp)
			n, _ := strconv.Atoi(value)
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.Metadata = partition, int64(n), a.opt("metadata")
			r.Topics = append(r.Topics, kmsg.OffsetCommitRequestTopic{Topic: name, TopicID: topicID(a.str("id", name)),
				Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}})
		}
		return r
	case "txn-commit":
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID = version(5), group, a.member(), a.opt("instance")
		r.Generation, r.ProducerID, r.TransactionalID = int32(a.num("gen", -1)), int64(a.num("producer", 1)), "tx"
		for _, o := range a.list("offsets") {
			tp, value, _ := strings.Cut(o, ":")
			name, partition := a.partition(tp)
			n, _ := strconv.Atoi(value)
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset = partition, int64(n)
			r.Topics = append(r.Topics, kmsg.TxnOffsetCommitRequestTopic{Topic: name, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}})
		}
		return r
	case "fetch":
		return a.fetchRequest(group, version(10))
	case "offset-delete":
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = group
		for _, tp := range a.list("partitions") {
			name, partition := a.partition(tp)
			r.Topics = append(r.Topics, kmsg.OffsetDeleteRequestTopic{Topic: name, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}})
		}
		return r
	case "describe":
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.Version, r.Groups = version(6), strings.Split(group, ",")
		return r
	case "list":
		r := kmsg.NewPtrListGroupsRequest()
		r.Version, r.StatesFilter, r.TypesFilter = version(5), a.list("states"), a.list("types")
		return r
	case "delete":
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Version, r.Groups = version(2), strings.Split(group, ",")
		return r
	}
	a.d.Fatalf(a.t, "unknown command %s", a.d.Cmd)
	return nil
}

func (a args) fetchRequest(group string, version int16) kmsg.Request {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.RequireStable = version, a.has("stable")
	if version < 8 {
		r.Group = group
		for _, tp := range a.list("partitions") {
			name, partition := a.partition(tp)
			r.Topics = append(r.Topics, kmsg.OffsetFetchRequestTopic{Topic: name, Partitions: []int32{partition}})
		}
		return r
	}
	for _, id := range strings.Split(group, ",") {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = id
		if a.has("member") {
			member := a.member()
			g.MemberID, g.MemberEpoch = &member, int32(a.num("epoch", -1))
		}
		for _, tp := range a.list("partitions") {
			name, partition := a.partition(tp)
			g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: name, TopicID: topicID(a.str("id", name)), Partitions: []int32{partition}})
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}
