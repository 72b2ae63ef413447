package share

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// TestScripts runs the scripts in testdata. Requests are commands with arguments; "5-7:2*1" is a batch of offsets in
// delivery state 2, delivered once. The output is what was written, answered and asked for.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		h := newHarness(t, Config{})
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
	d *datadriven.TestData
}

func (a args) list(key string) []string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) has(key string) bool {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return true
		}
	}
	return false
}

func (a args) str(key, def string) string {
	if !a.has(key) {
		return def
	}
	return strings.Join(a.list(key), ",")
}

func (a args) num(key string, def int64) int64 {
	s := a.str(key, "")
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return n
}

func (a args) duration(s string) time.Duration {
	v, err := time.ParseDuration(s)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return v
}

// key reads "p=t-0" and "group=g".
func (a args) key() Key {
	topic, number, _ := strings.Cut(a.str("p", "t-0"), "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		a.d.Fatalf(a.t, "partition %q", number)
	}
	return Key{Group: a.str("group", "g"), Topic: topicID(topic), Partition: int32(n)}
}

func (a args) batches() []batch {
	var out []batch
	for _, s := range a.list("batches") {
		var b batch
		if _, err := fmt.Sscanf(s, "%d-%d:%d*%d", &b.FirstOffset, &b.LastOffset, &b.DeliveryState, &b.DeliveryCount); err != nil {
			a.d.Fatalf(a.t, "batch %q: %v", s, err)
		}
		out = append(out, b)
	}
	return out
}

func (h *harness) run(t *testing.T, d *datadriven.TestData) {
	a := args{t, d}
	switch d.Cmd {
	case "config":
		h.do(SetConfig{Config{UpdatesPerSnapshot: int(a.num("updates", 0)), ResultRecordsMax: int(a.num("records", 0))}})
	case "advance":
		h.advance(a.duration(d.CmdArgs[0].Key))
	case "feature":
		h.change(&schema.FeatureLevel{Name: metadata.ShareVersionFeature, FeatureLevel: int16(a.num("level", 0))})
	case "delete-topic":
		h.change(&schema.RemoveTopic{TopicID: topicID(d.CmdArgs[0].Key)})
	case "reload":
		h.m = h.reload()
		h.effects = nil
	case "append":
		if h.fail = nil; a.has("fails") {
			h.fail = fmt.Errorf("disk: %w", kerr.NotEnoughReplicas)
		}
		if a.has("leadership") {
			h.fail = kerr.NotLeaderForPartition
		}
	case "prune": // the node deletes the records, and says so
		e := h.effects[len(h.effects)-1]
		h.prune(e)
		if !a.has("unheard") {
			h.do(Pruned(e))
		}
	case "log":
		for _, l := range h.log {
			fmt.Fprintf(&h.out, "%d %s\n", l.pos.Offset, h.recordText(l.record))
		}
	case "unknown": // what a newer release wrote
		h.log = append(h.log, logged{machine.Record{Key: []byte{0, 9}, Value: []byte{0, 0}}, machine.Position{Offset: h.next}})
		h.next++
	case "combine":
		batches := a.batches()
		n := int(a.num("old", 0))
		fmt.Fprintf(&h.out, "combined%s\n", batchesText(combine(batches[:n], batches[n:], a.num("start", -1))))
	default:
		h.do(a.request())
	}
}

func (a args) request() any {
	k := a.key()
	switch a.d.Cmd {
	case "initialize":
		return &kmsg.InitializeShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.InitializeShareGroupStateRequestTopic{{TopicID: k.Topic,
			Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: k.Partition, StateEpoch: int32(a.num("state", 0)), StartOffset: a.num("start", -1)}}}}}
	case "read":
		return &kmsg.ReadShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.ReadShareGroupStateRequestTopic{{TopicID: k.Topic,
			Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{Partition: k.Partition, LeaderEpoch: int32(a.num("leader", 0))}}}}}
	case "write":
		p := kmsg.WriteShareGroupStateRequestTopicPartition{Partition: k.Partition, StateEpoch: int32(a.num("state", 0)), LeaderEpoch: int32(a.num("leader", 0)),
			StartOffset: a.num("start", -1), DeliveryCompleteCount: int32(a.num("done", -1))}
		for _, b := range a.batches() {
			p.StateBatches = append(p.StateBatches, kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{
				FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount})
		}
		return &kmsg.WriteShareGroupStateRequest{Version: int16(a.num("version", 1)), GroupID: k.Group, Topics: []kmsg.WriteShareGroupStateRequestTopic{{
			TopicID: k.Topic, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{p}}}}
	case "delete":
		return &kmsg.DeleteShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: k.Topic,
			Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: k.Partition}}}}}
	case "summary":
		return &kmsg.ReadShareGroupStateSummaryRequest{Version: 1, GroupID: k.Group, Topics: []kmsg.ReadShareGroupStateSummaryRequestTopic{{TopicID: k.Topic,
			Partitions: []kmsg.ReadShareGroupStateSummaryRequestTopicPartition{{Partition: k.Partition, LeaderEpoch: int32(a.num("leader", 0))}}}}}
	case "two-partitions":
		return &kmsg.DeleteShareGroupStateRequest{GroupID: k.Group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{TopicID: k.Topic,
			Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}}
	}
	a.d.Fatalf(a.t, "unknown command %s", a.d.Cmd)
	return nil
}
