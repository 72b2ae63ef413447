package group

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// streamsConfig reads what the command config says of streams groups.
func (a args) streamsConfig(c *Config) {
	c.StreamsInitialRebalanceDelay, c.StreamsAssignmentInterval = a.duration("streams-delay", 0), a.duration("streams-assignment", -1)
	c.StreamsMaxSize, c.StreamsStandbyReplicas = a.num("streams-max-size", 0), a.num("standbys", 0)
}

// topologySpec reads a topology: (0:t+>r,1:*r/4+!c,2:a+b+~a&b) is sub-topology 0 that reads t and writes the repartition
// topic r, 1 that reads r, which wants four partitions, and has the changelog c, and 2 that reads a and b, copartitioned.
func topologySpec(epoch int, spec []string) *kmsg.StreamsGroupHeartbeatRequestTopology {
	out := &kmsg.StreamsGroupHeartbeatRequestTopology{Epoch: int32(epoch)}
	for _, one := range spec {
		id, what, _ := strings.Cut(one, ":")
		s := kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{SubtopologyID: id}
		for _, item := range strings.Split(what, "+") {
			name, count, _ := strings.Cut(strings.TrimLeft(item, ">*!~"), "/")
			n, _ := strconv.Atoi(count)
			switch {
			case item == "":
			case item[0] == '>':
				s.RepartitionSinkTopics = append(s.RepartitionSinkTopics, name)
			case item[0] == '*':
				s.RepartitionSourceTopics = append(s.RepartitionSourceTopics, kmsg.TopicInfo{Topic: name, NumPartitions: int32(n)})
			case item[0] == '!':
				s.StateChangelogTopics = append(s.StateChangelogTopics, kmsg.TopicInfo{Topic: name, ReplicationFactor: int16(n),
					Configs: []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}})
			case item[0] == '~':
				s.CopartitionGroups = append(s.CopartitionGroups, copartitionSpec(&s, strings.Split(name, "&")))
			default:
				s.SourceTopics = append(s.SourceTopics, name)
			}
		}
		out.Subtopologies = append(out.Subtopologies, s)
	}
	return out
}

func copartitionSpec(s *kmsg.StreamsGroupHeartbeatRequestTopologySubtopology, names []string) (g kmsg.StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup) {
	for _, name := range names {
		for i, source := range s.SourceTopics {
			if source == name {
				g.SourceTopics = append(g.SourceTopics, int16(i))
			}
		}
		for i, source := range s.RepartitionSourceTopics {
			if source.Topic == name {
				g.RepartitionSourceTopics = append(g.RepartitionSourceTopics, int16(i))
			}
		}
	}
	return g
}

func (a args) tasks(key string) []kmsg.TaskIDs {
	out := []kmsg.TaskIDs{}
	for _, id := range a.list(key) {
		subtopology, partition := a.partition(id)
		out = append(out, kmsg.TaskIDs{SubtopologyID: subtopology, Partitions: []int32{partition}})
	}
	return out
}

func (a args) streamsRequest(group string, version func(int) int16) kmsg.Request {
	switch a.d.Cmd {
	case "streams":
		r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
		r.Version, r.Group, r.MemberID = version(0), group, a.member()
		if a.str("epoch", "") != "now" {
			r.MemberEpoch = int32(a.num("epoch", 0))
		} else if g, ok := a.h.m.groups[group].(*streams); ok && g.members[r.MemberID] != nil {
			r.MemberEpoch = g.members[r.MemberID].epoch // what the last answer said
		}
		r.InstanceID, r.RackID, r.ProcessID = a.opt("instance"), a.opt("rack"), a.opt("process")
		r.RebalanceTimeoutMillis, r.EndpointInformationEpoch = int32(a.num("timeout", -1)), int32(a.num("endpoints", 0))
		r.ShutdownApplication = a.has("shutdown")
		if a.has("owns") || a.has("active") || a.has("standby") {
			r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = a.tasks("active"), a.tasks("standby"), []kmsg.TaskIDs{}
		}
		if host, port, ok := strings.Cut(a.str("endpoint", ""), ":"); ok {
			n, _ := strconv.Atoi(port)
			r.UserEndpoint = &kmsg.StreamsGroupHeartbeatRequestUserEndpoint{Host: host, Port: uint16(n)}
		}
		for _, tag := range a.list("tags") {
			k, v, _ := strings.Cut(tag, ":")
			r.ClientTags = append(r.ClientTags, kmsg.StreamsGroupHeartbeatRequestClientTag{Key: k, Value: v})
		}
		if a.has("topology") {
			r.Topology = topologySpec(a.num("topology-epoch", 0), a.list("topology"))
		}
		if r.MemberEpoch == 0 && !a.has("bare") {
			// What clients send when they join.
			r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = a.tasks("active"), a.tasks("standby"), []kmsg.TaskIDs{}
			r.RebalanceTimeoutMillis = int32(a.num("timeout", 60000))
			if process := "p-" + r.MemberID; r.ProcessID == nil {
				r.ProcessID = &process
			}
			if r.Topology == nil {
				r.Topology = topologySpec(a.num("topology-epoch", 0), []string{"0:t+>r", "1:*r+!c"})
			}
		}
		return r
	case "streams-describe":
		r := kmsg.NewPtrStreamsGroupDescribeRequest()
		r.Version, r.Groups = version(0), strings.Split(group, ",")
		return r
	}
	return nil
}

// created is what the node tells of topics that it was to create: (r,c:why not).
func (a args) created() any {
	done := InternalTopicsCreated{Backoff: a.duration("backoff", 0)}
	for _, topic := range a.list("topics") {
		name, failed, _ := strings.Cut(topic, ":")
		done.Topics = append(done.Topics, InternalTopic{Name: name, Error: failed})
	}
	return done
}

func effectText(e any) string {
	if ask, ok := e.(AskShare); ok {
		return askText(ask)
	}
	c, ok := e.(CreateInternalTopics)
	if !ok {
		return fmt.Sprintf("%T", e)
	}
	var s []string
	for _, t := range c.Topics {
		one := fmt.Sprintf("%s(%d", t.Topic, t.NumPartitions)
		if t.ReplicationFactor != -1 {
			one += fmt.Sprintf(" rf=%d", t.ReplicationFactor)
		}
		for _, kv := range t.Configs {
			one += fmt.Sprintf(" %s=%s", kv.Name, *kv.Value)
		}
		s = append(s, one+")")
	}
	return fmt.Sprintf("create for %s, again after %v: %s", c.Client.ID, c.Backoff, strings.Join(s, " "))
}

func tasksText(list []kmsg.TaskIDs) string {
	var s []string
	for _, t := range list {
		s = append(s, fmt.Sprintf("%s%v", t.SubtopologyID, t.Partitions))
	}
	return strings.Join(s, "+")
}

func assignmentText(active, standby []kmsg.TaskIDs) string {
	return tasksText(active) + ifSet(" standby=", tasksText(standby), "")
}

func (h *harness) streamsText(r *kmsg.StreamsGroupHeartbeatResponse) string {
	var s strings.Builder
	fmt.Fprintf(&s, "streams %s", codeText(r.ErrorCode))
	if r.ErrorMessage != nil {
		fmt.Fprintf(&s, " %q", *r.ErrorMessage)
	}
	if r.MemberID != "" {
		fmt.Fprintf(&s, " member=%s epoch=%d", r.MemberID, r.MemberEpoch)
	}
	if r.HeartbeatIntervalMillis != 0 {
		fmt.Fprintf(&s, " every=%dms", r.HeartbeatIntervalMillis)
	}
	if r.ActiveTasks != nil {
		s.WriteString(strings.TrimRight(" assigned: "+assignmentText(r.ActiveTasks, r.StandbyTasks), " "))
	}
	if r.EndpointInformationEpoch != 0 {
		fmt.Fprintf(&s, " endpoints=%d", r.EndpointInformationEpoch)
	}
	for _, e := range r.PartitionsByUserEndpoint {
		fmt.Fprintf(&s, "\n  %s:%d", e.UserEndpoint.Host, e.UserEndpoint.Port)
		for _, t := range e.ActivePartitions {
			fmt.Fprintf(&s, " %s%v", t.Topic, t.Partitions)
		}
		for _, t := range e.StandbyPartitions {
			fmt.Fprintf(&s, " standby=%s%v", t.Topic, t.Partitions)
		}
	}
	for _, status := range r.Status {
		fmt.Fprintf(&s, "\n  status %d: %s", status.StatusCode, status.StatusDetail)
	}
	return s.String()
}

func (h *harness) streamsDescribeText(r *kmsg.StreamsGroupDescribeResponse) string {
	var s strings.Builder
	s.WriteString("describe")
	infos := func(prefix string, list []kmsg.TopicInfo) {
		for _, t := range list {
			fmt.Fprintf(&s, " %s%s/%d", prefix, t.Topic, t.NumPartitions)
		}
	}
	for _, g := range r.Groups {
		fmt.Fprintf(&s, " {%s %s", g.Group, codeText(g.ErrorCode))
		if g.ErrorMessage != nil {
			fmt.Fprintf(&s, " %q", *g.ErrorMessage)
		}
		if g.ErrorCode == 0 {
			fmt.Fprintf(&s, " %s epoch=%d target=%d", g.State, g.Epoch, g.AssignmentEpoch)
		}
		if g.Topology != nil {
			fmt.Fprintf(&s, " topology=%d", g.Topology.Epoch)
			for _, t := range g.Topology.Subtopologies {
				fmt.Fprintf(&s, "\n  %s: %s", t.SubtopologyID, strings.Join(t.SourceTopics, " "))
				for _, sink := range t.RepartitionSinkTopics {
					s.WriteString(" >" + sink)
				}
				infos("*", t.RepartitionSourceTopics)
				infos("!", t.StateChangelogTopics)
			}
		}
		for _, m := range g.Members {
			fmt.Fprintf(&s, "\n  %s epoch=%d process=%s topology=%d client=%s host=%s", m.MemberID, m.MemberEpoch, m.ProcessID, m.TopologyEpoch, m.ClientID, m.ClientHost)
			if m.UserEndpoint != nil {
				fmt.Fprintf(&s, " endpoint=%s:%d", m.UserEndpoint.Host, m.UserEndpoint.Port)
			}
			for _, tag := range m.ClientTags {
				fmt.Fprintf(&s, " %s=%s", tag.Key, tag.Value)
			}
			fmt.Fprintf(&s, "%s has=%s target=%s", ifSet(" rack=", text(m.RackID), ""), assignmentText(m.Assignment.ActiveTasks, m.Assignment.StandbyTasks),
				assignmentText(m.TargetAssignment.ActiveTasks, m.TargetAssignment.StandbyTasks))
		}
		s.WriteString("}")
	}
	return s.String()
}

func (h *harness) streamsRecordText(r machine.Record) string {
	key, value, err := decodeConsumer(r)
	if err != nil {
		return err.Error()
	}
	who := streamsGroupOf(key)
	switch k := key.(type) {
	case *schema.StreamsGroupMemberMetadataKey:
		who += "/" + k.MemberID
	case *schema.StreamsGroupTargetAssignmentMemberKey:
		who += "/" + k.MemberID
	case *schema.StreamsGroupCurrentMemberAssignmentKey:
		who += "/" + k.MemberID
	}
	kind := map[int16]string{17: "epoch", 19: "member", 20: "target-epoch", 21: "target", 22: "current", 23: "topology"}[key.Type()]
	if value == nil {
		return fmt.Sprintf("%s %s removed", kind, who)
	}
	return fmt.Sprintf("%s %s%s", kind, who, streamsValueText(value))
}

func streamsValueText(value schema.Record) string {
	var s strings.Builder
	assigned := func(name string, list []schema.AssignedTasks) {
		if len(list) == 0 {
			return
		}
		s.WriteString(" " + name + "=")
		for i, t := range list {
			s.WriteString(ifSet("", strings.Repeat("+", min(i, 1)), "") + t.SubtopologyID + "[")
			for i, p := range t.Partitions {
				s.WriteString(strings.Repeat(" ", min(i, 1)) + strconv.Itoa(int(p)))
				if len(t.AssignmentEpochs) > 0 {
					fmt.Fprintf(&s, "@%d", t.AssignmentEpochs[i])
				}
			}
			s.WriteString("]")
		}
	}
	switch v := value.(type) {
	case *schema.StreamsGroupMetadataValue:
		fmt.Fprintf(&s, " %d validated=%d", v.Epoch, v.ValidatedTopologyEpoch)
		var settings []string
		for _, kv := range v.LastAssignmentConfigs {
			settings = append(settings, kv.Key+"="+kv.Value)
		}
		sort.Strings(settings)
		s.WriteString(" " + strings.Join(settings, " "))
	case *schema.StreamsGroupMemberMetadataValue:
		fmt.Fprintf(&s, " process=%s topology=%d", v.ProcessID, v.TopologyEpoch)
		if v.UserEndpoint != nil {
			fmt.Fprintf(&s, " endpoint=%s:%d", v.UserEndpoint.Host, v.UserEndpoint.Port)
		}
		for _, kv := range v.ClientTags {
			fmt.Fprintf(&s, " %s=%s", kv.Key, kv.Value)
		}
		s.WriteString(ifSet(" rack=", text(v.RackID), ""))
	case *schema.StreamsGroupTargetAssignmentMetadataValue:
		fmt.Fprintf(&s, " %d", v.AssignmentEpoch)
	case *schema.StreamsGroupTargetAssignmentMemberValue:
		ids := func(list []schema.TaskIDs) string {
			var out []string
			for _, t := range list {
				out = append(out, fmt.Sprintf("%s%v", t.SubtopologyID, t.Partitions))
			}
			return strings.Join(out, "+")
		}
		s.WriteString(ifSet(" ", ids(v.ActiveTasks), "") + ifSet(" standby=", ids(v.StandbyTasks), ""))
	case *schema.StreamsGroupCurrentMemberAssignmentValue:
		fmt.Fprintf(&s, " epoch=%d<-%d %s", v.MemberEpoch, v.PreviousMemberEpoch, map[int8]string{1: "stable", 2: "unrevoked", 3: "unreleased"}[v.State])
		assigned("has", v.ActiveTasks)
		assigned("standby", v.StandbyTasks)
		assigned("revoking", v.ActiveTasksPendingRevocation)
		assigned("revoking-standby", v.StandbyTasksPendingRevocation)
	case *schema.StreamsGroupTopologyValue:
		fmt.Fprintf(&s, " %d", v.Epoch)
		for _, t := range v.Subtopologies {
			s.WriteString(" " + t.SubtopologyID)
		}
	}
	return s.String()
}
