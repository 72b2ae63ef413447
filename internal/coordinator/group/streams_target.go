package group

import (
	"maps"
	"slices"
	"strconv"
)

// standbyReplicas is the assignor's one setting, by the name that the group's record has.
const standbyReplicas = "num.standby.replicas"

// assignStreams works out the target for a group epoch, writes what changes, and gives the target of one member, which
// is nil where nobody has come (the initial delay is over).
func (m *Machine) assignStreams(t *turn, g *streams, epoch int32, c *configuredTopology, settings map[string]string, updated *streamsMember) tasks {
	members := maps.Clone(g.members)
	if updated != nil {
		members[updated.id] = updated
	}
	spec := &taskSpec{}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		spec.members = append(spec.members, taskMember{id: id, process: members[id].processID, current: g.targets[id]})
	}
	targets := make([]tasks, len(spec.members)) // nothing, while the topology does not fit the topics
	if c.ready() {
		for _, s := range c.subtopologies {
			spec.subtopologies = append(spec.subtopologies, taskSubtopology{id: s.SubtopologyID, tasks: s.tasks, stateful: len(s.changelogs) > 0})
		}
		spec.standbys, _ = strconv.Atoi(settings[standbyReplicas])
		targets = assignSticky(spec)
	}
	var own tasks
	for i, member := range spec.members {
		if updated != nil && member.id == updated.id {
			own = targets[i]
		}
		if had, ok := g.targets[member.id]; !ok || !had.equal(targets[i]) {
			t.write(streamsTargetRecord(g.id, member.id, targets[i]))
		}
	}
	t.write(streamsTargetEpochRecord(g.id, epoch, t.now))
	return own
}

// streamsSettings are the assignor's settings as of now.
func (m *Machine) streamsSettings(t *turn, group string) map[string]string {
	n := m.config.StreamsStandbyReplicas
	if v, ok := t.Image.Config(groupResource, group)["streams.num.standby.replicas"]; ok {
		if own, err := strconv.Atoi(v); err == nil {
			n = min(own, max(m.config.StreamsMaxStandbyReplicas, 0))
		}
	}
	return map[string]string{standbyReplicas: strconv.Itoa(n)}
}

func (m *Machine) streamsSessionTimeout(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "streams.session.timeout.ms", c.StreamsSessionTimeout, c.MinStreamsSessionTimeout, c.MaxStreamsSessionTimeout)
}

func (m *Machine) streamsHeartbeatInterval(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "streams.heartbeat.interval.ms", c.StreamsHeartbeatInterval, c.MinStreamsHeartbeatInterval, c.MaxStreamsHeartbeatInterval)
}

func (m *Machine) streamsAssignmentInterval(t *turn, group string) int64 {
	c := &m.config
	return m.groupDuration(t, group, "streams.assignment.interval.ms", c.StreamsAssignmentInterval, c.MinStreamsAssignmentInterval, c.MaxStreamsAssignmentInterval)
}

// streamsInitialDelay is how long an empty group waits for more members before its first assignment.
func (m *Machine) streamsInitialDelay(t *turn, group string) int64 {
	d := m.config.StreamsInitialRebalanceDelay
	if v, ok := t.Image.Config(groupResource, group)["streams.initial.rebalance.delay.ms"]; ok {
		if own, ok := parseMillis(v); ok {
			d = own
		}
	}
	return d.Milliseconds()
}
