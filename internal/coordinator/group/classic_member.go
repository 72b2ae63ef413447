package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members of the classic protocol in a consumer group: their generation is their member epoch, JoinGroup brings their
// subscription and owned partitions as a heartbeat with epoch 0 would, SyncGroup fetches their partitions, Heartbeat
// tells them when to join again. Nobody leads, and nobody waits for others.

// joinConsumer is JoinGroup to a consumer group with members.
func (m *Machine) joinConsumer(t *turn, g *consumer, r *kmsg.JoinGroupRequest) {
	answer, err := m.classicJoins(t, g, r)
	if err != nil {
		t.out.Records, t.out.Jobs, t.out.Events = nil, nil, nil
		t.answer(joinError(r.Version, r.MemberID, codeOf(err)))
		return
	}
	t.answer(answer)
}

func (m *Machine) classicJoins(t *turn, g *consumer, r *kmsg.JoinGroupRequest) (*kmsg.JoinGroupResponse, error) {
	if m.config.MigrationPolicy == MigrateNone {
		return nil, kerr.InconsistentGroupProtocol
	}
	id, isNew := r.MemberID, r.MemberID == ""
	if isNew {
		id = t.uuid()
	}
	if err := m.checkSize(g, id, r.InstanceID); err != nil {
		return nil, err
	}
	if !g.supports(r.ProtocolType, r.Protocols) {
		return nil, kerr.InconsistentGroupProtocol
	}
	if isNew && r.Version >= 4 && r.InstanceID == nil {
		return joinError(r.Version, id, kerr.MemberIDRequired.Code), nil
	}
	sub, err := parseSubscription(r.Protocols[0].Metadata)
	if err != nil {
		return nil, kerr.InconsistentGroupProtocol
	}
	if g.members[id] == nil && r.InstanceID == nil && !isNew && len(sub.owned) > 0 {
		// Ids that were given out are not kept, so an unknown one is let in. But one that goes on with partitions was
		// removed, and others may have them: it has to hear of that. Apache's coordinator lets it in with them.
		return nil, kerr.UnknownMemberID
	}
	join := r.InstanceID == nil || isNew
	member, err := m.consumerMember(t, g, comer{id: id, instanceID: r.InstanceID, epoch: -1, join: join, classic: true})
	if err != nil {
		return nil, err
	}
	updated := *member
	updated.topics, updated.regex = distinctSorted(sub.topics), ""
	updated.clientID, updated.clientHost = t.cmd.Client.ID, t.cmd.Client.Host
	updated.classic = classicMetadata(r.SessionTimeoutMillis, r.Protocols)
	if r.InstanceID != nil {
		updated.instanceID = r.InstanceID
	}
	if sub.rack != nil {
		updated.rackID = sub.rack
	}
	if r.RebalanceTimeoutMillis != -1 {
		updated.rebalanceTimeout = r.RebalanceTimeoutMillis
	}
	final, downgraded, err := m.classicReconciles(t, g, member, &updated, reportedBy(sub.owned, t.Image))
	if err != nil {
		return nil, err
	}
	m.stopClock(memberJoinsTooLate, g.id, id)
	if !downgraded {
		m.setClock(memberSessionEnds, g.id, id, t.now+int64(r.SessionTimeoutMillis))
		m.setClock(memberSyncsTooLate, g.id, id, t.now+int64(r.RebalanceTimeoutMillis))
	}
	protocolType, protocol := consumerProtocol, r.Protocols[0].Name
	return joinResponse(r.Version, kmsg.JoinGroupResponse{
		MemberID: final.id, Generation: final.epoch, ProtocolType: &protocolType, Protocol: &protocol,
	}), nil
}

// classicReconciles writes what the member brings, and takes it towards its target. If it took the place of the last
// member of the consumer protocol, the group becomes a classic one.
func (m *Machine) classicReconciles(t *turn, g *consumer, member, updated *consumerMember,
	reported []kmsg.ConsumerGroupHeartbeatRequestTopic) (final *consumerMember, downgraded bool, err error) {
	if updated.instanceID != nil {
		downgraded = m.mayDowngradeBy(g, g.staticMember(*updated.instanceID))
	}
	change := m.changeMember(t, g, member, updated)
	if change.err != nil {
		return nil, false, change.err
	}
	bump := change.names || change.regex != regexSame
	epoch, subs := m.refresh(t, g, bump, member, updated)
	if !downgraded {
		targetEpoch, target := m.targetOfMember(t, g, epoch, member, updated, subs)
		final, err = m.reconcile(t, g, updated, targetEpoch, target, bump, reported)
		return final, false, err
	}
	final = updated
	rebalance := g.targetEpoch < epoch
	if !rebalance {
		if final, err = m.reconcile(t, g, updated, g.targetEpoch, g.targetFor(updated), bump, reported); err != nil {
			return nil, false, err
		}
	}
	return final, true, m.downgrade(t, g, nil, final, rebalance)
}

// supports says that a classic member with these protocols can be in the group.
func (g *consumer) supports(protocolType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if protocolType != consumerProtocol {
		return false
	}
	return slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return g.protocols[p.Name] == g.classics })
}

// classicMember finds who sends SyncGroup or Heartbeat.
func (g *consumer) classicMember(id string, instanceID *string, generation int32) (*consumerMember, error) {
	member := g.members[id]
	if instanceID != nil {
		member = g.staticMember(*instanceID)
		if err := checkStatic(member, id, *instanceID); err != nil {
			return nil, err
		}
	}
	switch {
	case member == nil, member.classic == nil:
		return nil, kerr.UnknownMemberID
	case member.epoch != generation:
		return nil, kerr.IllegalGeneration
	}
	return member, nil
}

// syncConsumer is SyncGroup to a consumer group.
func (m *Machine) syncConsumer(t *turn, g *consumer, r *kmsg.SyncGroupRequest) {
	member, err := g.classicMember(r.MemberID, r.InstanceID, r.Generation)
	if err == nil {
		switch {
		case r.ProtocolType != nil && *r.ProtocolType != consumerProtocol,
			r.Protocol != nil && *r.Protocol != member.classicProtocol():
			err = kerr.InconsistentGroupProtocol
		case g.targetEpoch > member.epoch && member.state != memberUnrevoked:
			// There is a newer target: it has to join again. While it has partitions to give up it must learn of that first.
			m.setClockIfStopped(memberJoinsTooLate, g.id, member.id, t.now+int64(member.rebalanceTimeout))
			err = kerr.RebalanceInProgress
		}
	}
	if err != nil {
		t.answer(&kmsg.SyncGroupResponse{Version: r.Version, ErrorCode: codeOf(err)})
		return
	}
	m.stopClock(memberSyncsTooLate, g.id, member.id)
	m.setClock(memberSessionEnds, g.id, member.id, t.now+int64(member.classic.SessionTimeoutMillis))
	var metadata []byte
	if len(member.classic.SupportedProtocols) > 0 {
		metadata = member.classic.SupportedProtocols[0].Metadata
	}
	version, _ := subscriptionVersion(metadata)
	t.answer(&kmsg.SyncGroupResponse{Version: r.Version, ProtocolType: r.ProtocolType, Protocol: r.Protocol,
		MemberAssignment: assignmentBytes(version, member.assigned, t.Image)})
}

// classicProtocol is the protocol that the member was told at its last JoinGroup.
func (m *consumerMember) classicProtocol() string {
	if m.classic == nil || len(m.classic.SupportedProtocols) == 0 {
		return ""
	}
	return m.classic.SupportedProtocols[0].Name
}

// heartbeatConsumer is Heartbeat to a consumer group. The member is to join again if there is a newer target, if it has
// to give partitions up, or if all that it waits for is free.
func (m *Machine) heartbeatConsumer(t *turn, g *consumer, r *kmsg.HeartbeatRequest) {
	member, err := g.classicMember(r.MemberID, r.InstanceID, r.Generation)
	if err != nil {
		t.answer(&kmsg.HeartbeatResponse{Version: r.Version, ErrorCode: codeOf(err)})
		return
	}
	m.setClock(memberSessionEnds, g.id, member.id, t.now+int64(member.classic.SessionTimeoutMillis))
	answer := &kmsg.HeartbeatResponse{Version: r.Version}
	if member.epoch < g.targetEpoch || member.state == memberUnrevoked || member.state == memberUnreleased && !g.waits(member) {
		answer.ErrorCode = kerr.RebalanceInProgress.Code
		m.setClockIfStopped(memberJoinsTooLate, g.id, member.id, t.now+int64(member.rebalanceTimeout))
	}
	t.answer(answer)
}

// waits says that somebody still has a partition of the member's target.
func (g *consumer) waits(m *consumerMember) bool {
	for _, tp := range g.targets[m.id] {
		had := m.assigned.find(tp.topic)
		for _, p := range tp.partitions {
			if had.index(p) < 0 && g.owner(tp.topic, p) != "" {
				return true
			}
		}
	}
	return false
}

// leaveConsumer is LeaveGroup to a consumer group; it removes members of both protocols.
func (m *Machine) leaveConsumer(t *turn, g *consumer, r *kmsg.LeaveGroupRequest) {
	leaving := leavers(r)
	answers := make([]kmsg.LeaveGroupResponseMember, len(leaving))
	var gone []*consumerMember
	for i, l := range leaving {
		answers[i] = kmsg.LeaveGroupResponseMember{MemberID: l.MemberID, InstanceID: l.InstanceID}
		member, err := g.members[l.MemberID], error(nil)
		if l.InstanceID != nil {
			if member = g.staticMember(*l.InstanceID); member == nil || l.MemberID != "" {
				err = checkStatic(member, l.MemberID, *l.InstanceID)
			}
		} else if member == nil {
			err = kerr.UnknownMemberID
		}
		if err != nil {
			answers[i].ErrorCode = codeOf(err)
			continue
		}
		if !slices.Contains(gone, member) {
			gone = append(gone, member)
		}
	}
	if err := m.fence(t, g, gone, "members left"); err != nil {
		t.out.Records = nil
		t.answer(&kmsg.LeaveGroupResponse{Version: r.Version, ErrorCode: codeOf(err)})
		return
	}
	t.answer(leaveResponse(r.Version, answers))
}
