package group

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// changeImage makes another image, and tells the machine of it as the host does:
//
//	topics set=(t:3,u:1) drop=(v)      create topics, or add partitions to them; drop topics
//	group-config group=g key=value     a configuration of a group
func (h *harness) changeImage(a args) {
	delta := metadata.NewDelta(h.image)
	apply := func(r schema.Record) {
		if err := delta.Apply(r); err != nil {
			h.t.Fatalf("image: %v", err)
		}
	}
	for _, name := range a.list("drop") {
		apply(&schema.RemoveTopic{TopicID: topicID(name)})
	}
	for _, set := range a.list("set") {
		name, n, _ := strings.Cut(set, ":")
		count, _ := strconv.Atoi(n)
		h.setTopic(delta, name, count)
	}
	if a.d.Cmd == "group-config" {
		value := a.str("value", "")
		apply(&schema.Config{ResourceType: groupResource, ResourceName: a.str("group", "g"), Name: a.str("key", ""), Value: &value})
	}
	h.publish(delta)
}

func (h *harness) setTopic(delta *metadata.Delta, name string, count int) {
	have := 0
	if t, ok := h.image.Topic(name); ok {
		have = len(t.Partitions)
	} else if err := delta.Apply(&schema.Topic{Name: name, TopicID: topicID(name)}); err != nil {
		h.t.Fatalf("image: %v", err)
	}
	for p := have; p < count; p++ {
		if err := delta.Apply(&schema.Partition{PartitionID: int32(p), TopicID: topicID(name), Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}); err != nil {
			h.t.Fatalf("image: %v", err)
		}
	}
}

func (h *harness) publish(delta *metadata.Delta) {
	h.image = delta.Image(h.image.Offset+10, 1)
	if body, ok := ImageCommand(delta); ok {
		h.do(machine.Command{Body: body})
	}
}

func (a args) consumerRequest(group string, version func(int) int16) kmsg.Request {
	switch a.d.Cmd {
	case "consumer":
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.MemberEpoch, r.InstanceID = version(1), group, a.member(), int32(a.num("epoch", 0)), a.opt("instance")
		r.RackID, r.ServerAssignor, r.SubscribedTopicRegex = a.opt("rack"), a.opt("assignor"), a.opt("regex")
		r.RebalanceTimeoutMillis = int32(a.num("rebalance", -1))
		if a.has("topics") {
			r.SubscribedTopicNames = append([]string{}, a.list("topics")...)
		}
		if a.has("owned") {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		for _, tp := range a.list("owned") {
			name, partition := a.partition(tp)
			r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topicID(name), Partitions: []int32{partition}})
		}
		if r.MemberEpoch == 0 && !a.has("bare") {
			// What clients send when they join.
			r.Topics = append([]kmsg.ConsumerGroupHeartbeatRequestTopic{}, r.Topics...)
			r.RebalanceTimeoutMillis = int32(a.num("rebalance", 60000))
			if !a.has("topics") && !a.has("regex") {
				r.SubscribedTopicNames = []string{"t"}
			}
		}
		return r
	case "consumer-describe":
		r := kmsg.NewPtrConsumerGroupDescribeRequest()
		r.Version, r.Groups = version(1), strings.Split(group, ",")
		return r
	}
	return nil
}

func topicName(id [16]byte) string { return string(bytes.TrimRight(id[:], "\x00")) }

func (h *harness) consumerText(r *kmsg.ConsumerGroupHeartbeatResponse) string {
	var s strings.Builder
	fmt.Fprintf(&s, "consumer %s", codeText(r.ErrorCode))
	if r.ErrorMessage != nil {
		words := strings.Fields(*r.ErrorMessage)
		for i, w := range words {
			words[i] = h.name(strings.TrimSuffix(w, "."))
		}
		fmt.Fprintf(&s, " %q", strings.Join(words, " "))
	}
	if r.MemberID != nil {
		fmt.Fprintf(&s, " member=%s epoch=%d", h.name(*r.MemberID), r.MemberEpoch)
	}
	if r.HeartbeatIntervalMillis != 0 {
		fmt.Fprintf(&s, " every=%dms", r.HeartbeatIntervalMillis)
	}
	if r.Assignment != nil {
		s.WriteString(" assigned:")
		for _, t := range r.Assignment.Topics {
			fmt.Fprintf(&s, " %s%v", topicName(t.TopicID), t.Partitions)
		}
	}
	return s.String()
}

func (h *harness) consumerDescribeText(r *kmsg.ConsumerGroupDescribeResponse) string {
	var s strings.Builder
	s.WriteString("describe")
	assigned := func(a kmsg.Assignment) string {
		var out []string
		for _, t := range a.TopicPartitions {
			out = append(out, fmt.Sprintf("%s%v", t.Topic, t.Partitions))
		}
		return strings.Join(out, "+")
	}
	for _, g := range r.Groups {
		fmt.Fprintf(&s, " {%s %s", g.Group, codeText(g.ErrorCode))
		if g.ErrorMessage != nil {
			fmt.Fprintf(&s, " %q", *g.ErrorMessage)
		} else {
			fmt.Fprintf(&s, " %s epoch=%d target=%d %s", g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName)
		}
		for _, m := range g.Members {
			fmt.Fprintf(&s, "\n  %s%s epoch=%d type=%d client=%s host=%s topics=%v regex=%q has=%s target=%s", h.name(m.MemberID), ifSet("(", text(m.InstanceID), ")"),
				m.MemberEpoch, m.MemberType, m.ClientID, m.ClientHost, m.SubscribedTopics, text(m.SubscribedTopicRegex), assigned(m.Assignment), assigned(m.TargetAssignment))
		}
		s.WriteString("}")
	}
	return s.String()
}

func (h *harness) consumerRecordText(r machine.Record) string {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err.Error()
	}
	who := consumerGroupOf(key)
	switch k := key.(type) {
	case *schema.ConsumerGroupMemberMetadataKey:
		who += "/" + h.name(k.MemberID)
	case *schema.ConsumerGroupTargetAssignmentMemberKey:
		who += "/" + h.name(k.MemberID)
	case *schema.ConsumerGroupCurrentMemberAssignmentKey:
		who += "/" + h.name(k.MemberID)
	case *schema.ConsumerGroupRegularExpressionKey:
		who += "/" + k.RegularExpression
	}
	kind := map[int16]string{3: "epoch", 4: "subscription", 5: "member", 6: "target-epoch", 7: "target", 8: "current", 16: "regex"}[key.Type()]
	if value == nil {
		return fmt.Sprintf("%s %s removed", kind, who)
	}
	return fmt.Sprintf("%s %s%s", kind, who, h.consumerValueText(value))
}

func (h *harness) consumerValueText(value schema.Record) string {
	var s strings.Builder
	owned := func(name string, list []schema.AssignedPartitions) {
		if len(list) == 0 {
			return
		}
		s.WriteString(" " + name + "=")
		for _, tp := range list {
			s.WriteString(topicName(tp.TopicID) + "[")
			for i, p := range tp.Partitions {
				fmt.Fprintf(&s, "%s%d@%d", ifSet("", strings.Repeat(" ", min(i, 1)), ""), p, tp.AssignmentEpochs[i])
			}
			s.WriteString("]")
		}
	}
	switch v := value.(type) {
	case *schema.ConsumerGroupMetadataValue:
		fmt.Fprintf(&s, " %d", v.Epoch)
	case *schema.ConsumerGroupMemberMetadataValue:
		fmt.Fprintf(&s, " topics=%v", v.SubscribedTopicNames)
		fmt.Fprintf(&s, "%s%s%s%s", ifSet(" instance=", text(v.InstanceID), ""), ifSet(" rack=", text(v.RackID), ""),
			ifSet(" regex=", text(v.SubscribedTopicRegex), ""), ifSet(" assignor=", text(v.ServerAssignor), ""))
		if v.ClassicMemberMetadata != nil {
			s.WriteString(" classic")
			for _, p := range v.ClassicMemberMetadata.SupportedProtocols {
				s.WriteString(":" + p.Name)
			}
		}
	case *schema.ConsumerGroupTargetAssignmentMetadataValue:
		fmt.Fprintf(&s, " %d", v.AssignmentEpoch)
	case *schema.ConsumerGroupTargetAssignmentMemberValue:
		for _, tp := range v.TopicPartitions {
			fmt.Fprintf(&s, " %s%v", topicName(tp.TopicID), tp.Partitions)
		}
	case *schema.ConsumerGroupCurrentMemberAssignmentValue:
		fmt.Fprintf(&s, " epoch=%d<-%d %s", v.MemberEpoch, v.PreviousMemberEpoch,
			map[int8]string{0: "stable", 1: "unrevoked", 2: "unreleased"}[v.State])
		owned("has", v.AssignedPartitions)
		owned("revoking", v.PartitionsPendingRevocation)
	case *schema.ConsumerGroupRegularExpressionValue:
		fmt.Fprintf(&s, " %v", v.Topics)
	}
	return s.String()
}
