package group

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// streamsHeartbeat is StreamsGroupHeartbeat (key 88, version 0; KIP-1071).
//
//   - Epoch 0 joins and brings the topology, -1 leaves, others are the member's.
//   - Each change of a member, the topology, its topics or the assignor's settings raises the group's epoch; the target
//     follows the group's epoch, not more often than the assignment interval allows and not within the initial delay;
//     the member is then taken a step towards its target.
//   - The answer has the member's tasks when it joins, or has others than before; where other members can be asked
//     (interactive queries), when that has changed; and the status of the group, which is no error.
//   - Internal topics that are missing are created meanwhile (CreateInternalTopics).
//   - A member whose epoch or tasks cannot be right is fenced: it gives everything up and joins again. One with the
//     epoch before its own, and tasks that it may have, has missed an answer and goes on.
func (m *Machine) streamsHeartbeat(t *turn, r *kmsg.StreamsGroupHeartbeatRequest) {
	answer := &kmsg.StreamsGroupHeartbeatResponse{Version: r.Version, Status: []kmsg.StreamsGroupHeartbeatResponseStatus{}}
	err := checkStreamsHeartbeat(r)
	switch {
	case err != nil:
	case r.MemberEpoch == leaveEpoch:
		err = m.streamsLeave(t, r, answer)
	default:
		err = m.streamsBeat(t, r, answer)
	}
	if err != nil {
		t.out = machine.Result[machine.Record]{}
		t.answer(streamsError(r, codeOf(err), messageOf(err)))
		return
	}
	t.answer(answer)
}

func streamsError(r *kmsg.StreamsGroupHeartbeatRequest, code int16, message *string) *kmsg.StreamsGroupHeartbeatResponse {
	return &kmsg.StreamsGroupHeartbeatResponse{
		Version: r.Version, ErrorCode: code, ErrorMessage: message, Status: []kmsg.StreamsGroupHeartbeatResponseStatus{},
	}
}

// streamsFor finds the group, or the one that is to be: it is made when its records are applied.
func (m *Machine) streamsFor(t *turn, id string, join bool) (*streams, error) {
	switch g := m.groups[id].(type) {
	case *streams:
		return g, nil
	case nil:
		if !join {
			return nil, refuse(kerr.GroupIDNotFound, "Streams group %s not found.", id)
		}
		return newStreams(id), nil
	case *classic:
		if join && g.state == empty {
			t.write(g.tombstones()...)
			return newStreams(id), nil
		}
	}
	return nil, refuse(kerr.GroupIDNotFound, "Group %s is not a streams group.", id)
}

// streamsMember finds the member, or makes one for who joins.
func (m *Machine) streamsMember(g *streams, r *kmsg.StreamsGroupHeartbeatRequest) (*streamsMember, error) {
	member := g.members[r.MemberID]
	switch {
	case r.MemberEpoch == 0 && member != nil:
		return member, nil
	case r.MemberEpoch == 0:
		if len(g.members) >= m.config.StreamsMaxSize {
			return nil, refuse(kerr.GroupMaxSizeReached, "The streams group has reached its maximum capacity of %d members.", m.config.StreamsMaxSize)
		}
		return newStreamsMember(r.MemberID), nil
	case member == nil:
		return g.member(r.MemberID)
	case r.MemberEpoch > member.epoch:
		return nil, refuse(kerr.FencedMemberEpoch, "The streams group member has a greater member epoch (%d) than the one known by "+
			"the group coordinator (%d). The member must abandon all its partitions and rejoin.", r.MemberEpoch, member.epoch)
	case r.MemberEpoch < member.epoch:
		if reported := reportedBy88(r); r.MemberEpoch != member.previous || reported == nil || !member.assigned.contains(*reported) {
			return nil, refuse(kerr.FencedMemberEpoch, "The streams group member has a smaller member epoch (%d) than the one known by "+
				"the group coordinator (%d). The member must abandon all its partitions and rejoin.", r.MemberEpoch, member.epoch)
		}
	}
	return member, nil
}

// reportedBy88 is what a member says that it has; nil if it does not say.
func reportedBy88(r *kmsg.StreamsGroupHeartbeatRequest) *tasks {
	if r.ActiveTasks == nil || r.StandbyTasks == nil || r.WarmupTasks == nil {
		return nil
	}
	return &tasks{reportedTasks(r.ActiveTasks), reportedTasks(r.StandbyTasks), reportedTasks(r.WarmupTasks)}
}

func (m *Machine) streamsBeat(t *turn, r *kmsg.StreamsGroupHeartbeatRequest, answer *kmsg.StreamsGroupHeartbeatResponse) error {
	g, err := m.streamsFor(t, r.Group, r.MemberEpoch == 0)
	if err != nil {
		return err
	}
	member, err := m.streamsMember(g, r)
	if err != nil {
		return err
	}
	updated := *member
	updateStreams(&updated, r)
	updated.clientID, updated.clientHost = t.cmd.Client.ID, t.cmd.Client.Host

	status := func(code int8, text string) {
		answer.Status = append(answer.Status, kmsg.StreamsGroupHeartbeatResponseStatus{StatusCode: code, StatusDetail: text})
	}
	changed := !updated.sameMetadata(member)
	if changed {
		t.write(streamsMemberRecord(g.id, &updated))
	}
	topology, err := g.topologyWith(t, r.Topology)
	if err != nil {
		return err
	}
	if g.topology != nil && updated.topologyEpoch < g.topology.epoch {
		status(statusStaleTopology, fmt.Sprintf("The member's topology epoch %d is behind the group's topology epoch %d.", updated.topologyEpoch, g.topology.epoch))
	}
	s, err := m.refreshStreams(t, g, topology, changed, r)
	if err != nil {
		return err
	}
	targetEpoch, target := m.streamsTarget(t, g, s, &updated, status)
	final, err := m.reconcileStreams(t, g, &updated, targetEpoch, target, reportedBy88(r))
	if err != nil {
		return err
	}
	m.setClock(streamsSessionEnds, g.id, final.id, t.now+m.streamsSessionTimeout(t, g.id))
	if r.ShutdownApplication && g.shutdownBy == "" {
		g.shutdownBy = final.id
		t.event("group.streams.shutdown", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "member", Value: final.id})
	}

	answer.MemberID, answer.MemberEpoch = final.id, final.epoch
	answer.HeartbeatIntervalMillis = int32(min(m.streamsHeartbeatInterval(t, g.id), math.MaxInt32))
	// A member to which an answer did not come tells what it has, and hears again what it is to have. Kafka 4.3 says nothing then, and
	// the member waits for the next of its tasks that change. Where it is only on its way, it takes the same once more.
	news := r.MemberEpoch == 0 || !final.assigned.equal(member.assigned)
	if reported := reportedBy88(r); news || reported != nil && !final.assigned.same(*reported) {
		answer.ActiveTasks, answer.StandbyTasks, answer.WarmupTasks = final.assigned.active.wire(), final.assigned.standby.wire(), final.assigned.warmup.wire()
	}
	if news && final.endpoint != nil {
		g.endpoints++
	}
	if g.endpoints != r.EndpointInformationEpoch {
		answer.PartitionsByUserEndpoint = g.byEndpoint(t.Image, s.configured, final)
	}
	if m.groups[g.id] == group(g) { // else the count is not kept
		answer.EndpointInformationEpoch = g.endpoints
	}
	if p := s.configured.problem; p != nil {
		status(p.status, p.text+m.createInternal(t, g.id, s.configured.missing))
	}
	if g.shutdownBy != "" {
		status(statusShutdownApplication, fmt.Sprintf("Streams group member %s encountered a fatal error and requested a shutdown for the entire application.", g.shutdownBy))
	}
	return nil
}

func updateStreams(m *streamsMember, r *kmsg.StreamsGroupHeartbeatRequest) {
	if r.RackID != nil {
		m.rackID = r.RackID
	}
	if r.RebalanceTimeoutMillis != -1 {
		m.rebalanceTimeout = r.RebalanceTimeoutMillis
	}
	if r.Topology != nil {
		m.topologyEpoch = r.Topology.Epoch
	}
	if r.ProcessID != nil {
		m.processID = *r.ProcessID
	}
	if r.UserEndpoint != nil {
		m.endpoint = &schema.StreamsEndpoint{Host: r.UserEndpoint.Host, Port: r.UserEndpoint.Port}
	}
	if r.ClientTags != nil {
		m.tags = nil
		for _, tag := range r.ClientTags {
			m.tags = append(m.tags, schema.KeyValue{Key: tag.Key, Value: tag.Value})
		}
		slices.SortFunc(m.tags, func(a, b schema.KeyValue) int { return compareStrings(a.Key, b.Key) })
	}
}

// topologyWith is the group's topology once a member has come with one. The first that comes stays: a member with an
// older epoch takes part and is told, any other topology is refused.
func (g *streams) topologyWith(t *turn, r *kmsg.StreamsGroupHeartbeatRequestTopology) (*topology, error) {
	if r == nil {
		if g.topology == nil {
			return nil, fmt.Errorf("group: streams group %q has no topology: %w", g.id, kerr.UnknownServerError)
		}
		return g.topology, nil
	}
	came, err := topologyOf(r)
	switch {
	case err != nil:
		return nil, err
	case g.topology == nil:
		t.write(streamsTopologyRecord(g.id, came))
		return came, nil
	case g.topology.epoch > came.epoch, g.topology.equal(came):
		return g.topology, nil
	}
	return nil, refuse(kerr.InvalidRequest, "Topology updates are not supported yet.")
}

// streamsState is what a heartbeat finds, or has made of, the group.
type streamsState struct {
	epoch      int32
	configured *configuredTopology
	settings   map[string]string
}

// refreshStreams looks at the topology's topics and raises the group's epoch where anything has changed that the
// assignment depends on; changed says that the member has.
func (m *Machine) refreshStreams(t *turn, g *streams, topology *topology, changed bool, r *kmsg.StreamsGroupHeartbeatRequest) (streamsState, error) {
	s := streamsState{epoch: g.epoch, configured: g.configured, settings: m.streamsSettings(t, g.id)}
	hash := g.hash
	if c := g.configured; c == nil || c.epoch != topology.epoch || !g.checked || g.epoch < g.checkedAt || g.topology == nil {
		hash = m.groupHash(t.Image, topology.required)
		if c == nil || c.epoch != topology.epoch || c.hash != hash || g.topology == nil {
			var err error
			if s.configured, err = configure(t.Image, topology, hash); err != nil {
				return s, err
			}
			g.configured = s.configured
		}
	}
	validated := int32(-1)
	if s.configured.ready() {
		validated = topology.epoch
		if err := s.configured.checkTasks(r.ActiveTasks, r.StandbyTasks, r.WarmupTasks); err != nil {
			return s, err
		}
	}
	if changed || hash != g.hash || validated != g.validated || !maps.Equal(s.settings, g.settings) {
		s.epoch++
		t.write(streamsEpochRecord(g.id, s.epoch, hash, validated, s.settings))
		t.event("group.rebalance", machine.Attr{Key: "group", Value: g.id}, machine.Attr{Key: "epoch", Value: s.epoch})
	}
	g.checked, g.checkedAt = true, s.epoch
	return s, nil
}

// checkTasks refuses tasks that the topology does not have.
func (c *configuredTopology) checkTasks(lists ...[]kmsg.TaskIDs) error {
	for _, list := range lists {
		for _, t := range list {
			s := c.find(t.SubtopologyID)
			if s == nil {
				return refuse(kerr.InvalidRequest, "Subtopology %s does not exist in the topology.", t.SubtopologyID)
			}
			for _, p := range t.Partitions {
				if p < 0 || p >= s.tasks {
					return refuse(kerr.InvalidRequest, "Task %d for subtopology %s is invalid. Number of tasks for this subtopology: %d", p, t.SubtopologyID, s.tasks)
				}
			}
		}
	}
	return nil
}

// streamsTarget is the member's target and its epoch, after a new one is worked out where it is due.
func (m *Machine) streamsTarget(t *turn, g *streams, s streamsState, updated *streamsMember, status func(int8, string)) (int32, tasks) {
	if delay := m.streamsInitialDelay(t, g.id); len(g.members) == 0 && delay > 0 {
		m.setClockIfStopped(streamsInitialEnds, g.id, "", t.now+delay)
	}
	if c := m.clocks[clockKey{streamsInitialEnds, g.id, ""}]; c != nil && c.due != 0 {
		status(statusAssignmentDelayed, "Assignment delayed due to the configured initial rebalance delay.")
		return g.targetEpoch, tasks{}
	}
	if g.targetEpoch >= s.epoch {
		return g.targetEpoch, g.targets[updated.id]
	}
	if interval := m.streamsAssignmentInterval(t, g.id); g.targetAt != 0 && interval > 0 && t.now < g.targetAt+interval {
		status(statusAssignmentDelayed, "Assignment delayed due to the configured assignment interval.")
		return g.targetEpoch, g.targets[updated.id]
	}
	return s.epoch, m.assignStreams(t, g, s.epoch, s.configured, s.settings, updated)
}

// reconcileStreams takes the member a step towards its target, writes it, and watches that it gives tasks up in time.
func (m *Machine) reconcileStreams(t *turn, g *streams, member *streamsMember, targetEpoch int32, target tasks, reported *tasks) (*streamsMember, error) {
	if member.reconciledTo(targetEpoch) {
		return member, nil
	}
	r := taskReconciliation{group: g, targetEpoch: targetEpoch, target: target, reported: reported}
	next, err := r.step(member)
	if err != nil {
		return nil, err
	}
	if next.sameCurrent(member) {
		return next, nil
	}
	t.write(streamsCurrentRecord(g.id, next))
	if next.state == memberUnrevoked {
		m.setStreamsRebalanceClock(t, g.id, next)
	} else {
		m.stopClock(streamsRevokesTooLong, g.id, next.id)
	}
	return next, nil
}
