package group

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describe is DescribeGroups (key 15, versions 0 to 6). A group that does not exist, or is of another kind, is Dead;
// version 6 says GROUP_ID_NOT_FOUND (KIP-1043).
func (m *Machine) describe(t *turn, r *kmsg.DescribeGroupsRequest) {
	answer := &kmsg.DescribeGroupsResponse{Version: r.Version}
	for _, id := range r.Groups {
		answer.Groups = append(answer.Groups, m.describeGroup(id, r.Version))
	}
	t.answer(answer)
}

func (m *Machine) describeGroup(id string, version int16) kmsg.DescribeGroupsResponseGroup {
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group = id
	g, ok := m.groups[id].(*classic)
	if !ok {
		d.State = string(dead)
		if version >= 6 {
			d.ErrorCode = kerr.GroupIDNotFound.Code
			text := "Group " + id + " not found."
			if m.groups[id] != nil {
				text = "Group " + id + " is not a classic group."
			}
			d.ErrorMessage = &text
		}
		return d
	}
	d.State, d.ProtocolType = string(g.state), g.protocolType
	if g.state == stable {
		d.Protocol = g.protocolName()
	}
	for _, member := range g.members {
		dm := kmsg.DescribeGroupsResponseGroupMember{
			MemberID: member.id, InstanceID: member.instanceID, ClientID: member.clientID, ClientHost: member.clientHost,
			MemberAssignment: member.assignment,
		}
		if g.state == stable {
			dm.ProtocolMetadata = member.metadata(d.Protocol)
		}
		d.Members = append(d.Members, dm)
	}
	return d
}

// list is ListGroups (key 16, versions 0 to 5). The filters ignore case; no filter lets all through (KIP-518, KIP-848).
func (m *Machine) list(t *turn, r *kmsg.ListGroupsRequest) {
	states, types := folded(r.StatesFilter), folded(r.TypesFilter)
	answer := &kmsg.ListGroupsResponse{Version: r.Version}
	for _, id := range m.ids() {
		l := m.groups[id].listed()
		if len(states) > 0 && !slices.Contains(states, strings.ToLower(l.GroupState)) ||
			len(types) > 0 && !slices.Contains(types, l.GroupType) {
			continue
		}
		answer.Groups = append(answer.Groups, l)
	}
	t.answer(answer)
}

func folded(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "") // Kafka calls NotReady not_ready here
	}
	return out
}

// deleteGroups is DeleteGroups (key 42, versions 0 to 3). Only empty groups go, with all their offsets.
func (m *Machine) deleteGroups(t *turn, r *kmsg.DeleteGroupsRequest) {
	if !m.deleteShares(t, r) {
		t.answer(m.deleteAll(t, r, nil))
	}
}

// deleteAll deletes the groups but those that failed already, with the codes given.
func (m *Machine) deleteAll(t *turn, r *kmsg.DeleteGroupsRequest, failed map[string]int16) *kmsg.DeleteGroupsResponse {
	answer := &kmsg.DeleteGroupsResponse{Version: r.Version}
	seen := map[string]bool{}
	for _, id := range r.Groups {
		result := kmsg.DeleteGroupsResponseGroup{Group: id}
		g := m.groups[id]
		var err error = kerr.GroupIDNotFound
		if g != nil {
			err = g.check(access{verb: deleteGroup})
		}
		switch {
		case failed[id] != 0:
			result.ErrorCode = failed[id]
		case err != nil:
			result.ErrorCode = codeOf(err)
		case !seen[id]:
			m.deleteGroup(t, id, g)
		}
		seen[id] = true
		answer.Groups = append(answer.Groups, result)
	}
	return answer
}

func (m *Machine) deleteGroup(t *turn, id string, g group) {
	keys := m.offsets.partitions(id)
	if m.offsets.openGroups[id] > 0 {
		keys = append(keys, m.offsets.openPartitions(func(k partitionKey) bool {
			_, committed := m.offsets.get(k)
			return k.group == id && !committed
		})...)
	}
	for _, k := range keys {
		t.out.Records = append(t.out.Records, offsetTombstone(k))
	}
	t.out.Records = append(t.out.Records, g.tombstones()...)
}
