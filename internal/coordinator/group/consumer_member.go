package group

import (
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// memberState is where a member stands on its way to the target; the numbers are those of the records.
type memberState int8

const (
	memberStable     memberState = 0 // it has what the target of its epoch gives it
	memberUnrevoked  memberState = 1 // it has to give partitions up before it may go on to the next epoch
	memberUnreleased memberState = 2 // it waits for partitions that others have not given up
	memberUnknown    memberState = 127
)

// Epochs that members send to leave, and that the log holds of those who left.
const (
	leaveEpoch       = -1
	leaveStaticEpoch = -2 // a static member that comes back
)

// consumerMember is one member of a consumer group. It is never changed: records replace it.
type consumerMember struct {
	id              string
	epoch, previous int32
	state           memberState

	instanceID, rackID, assignor *string
	clientID, clientHost         string
	rebalanceTimeout             int32    // ms
	topics                       []string // sorted, each once
	regex                        string   // "" for none

	assigned assignment // with epochs
	revoking assignment // with epochs: to be given up, still the member's

	// classic is set while the member speaks the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
	classic *schema.ClassicMemberMetadata
}

func newConsumerMember(id string) *consumerMember {
	return &consumerMember{id: id, previous: -1, rebalanceTimeout: -1}
}

// reconciledTo says that the member has what the target of that epoch gives it.
func (m *consumerMember) reconciledTo(epoch int32) bool {
	return m.state == memberStable && m.epoch == epoch
}

// sameMetadata says that the record of the member's metadata would be the same.
func (m *consumerMember) sameMetadata(o *consumerMember) bool {
	return equalStrings(m.instanceID, o.instanceID) && equalStrings(m.rackID, o.rackID) && equalStrings(m.assignor, o.assignor) &&
		m.clientID == o.clientID && m.clientHost == o.clientHost && m.rebalanceTimeout == o.rebalanceTimeout &&
		slices.Equal(m.topics, o.topics) && m.regex == o.regex && equalClassic(m.classic, o.classic)
}

func equalStrings(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func equalClassic(a, b *schema.ClassicMemberMetadata) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.SessionTimeoutMillis == b.SessionTimeoutMillis &&
		slices.EqualFunc(a.SupportedProtocols, b.SupportedProtocols, func(x, y schema.ClassicProtocol) bool {
			return x.Name == y.Name && slices.Equal(x.Metadata, y.Metadata)
		})
}

func (m *consumerMember) sameCurrent(o *consumerMember) bool {
	return m.epoch == o.epoch && m.previous == o.previous && m.state == o.state &&
		m.assigned.equal(o.assigned) && m.revoking.equal(o.revoking)
}

// moved is the member at an epoch, with what it has there.
func (m *consumerMember) moved(state memberState, epoch int32, assigned, revoking assignment) *consumerMember {
	n := *m
	n.state, n.previous, n.epoch = state, m.epoch, epoch
	n.assigned, n.revoking = assigned, revoking
	return &n
}

// owned is what nobody else may have.
func (m *consumerMember) owned() assignment {
	if len(m.revoking) == 0 {
		return m.assigned
	}
	b := assignmentBuilder{}
	b.addAll(m.assigned)
	b.addAll(m.revoking)
	return b.owned()
}

// away says that the member is static, has left, and may come back under another id.
func (m *consumerMember) away() bool { return m.epoch == leaveStaticEpoch }

// distinctSorted is a subscription as members keep it.
func distinctSorted(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}
