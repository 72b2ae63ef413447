package group

import (
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// streamsMember is one member of a streams group: a thread of an application's process. It is never changed: records
// replace it.
type streamsMember struct {
	id              string
	epoch, previous int32
	state           memberState

	instanceID, rackID   *string
	clientID, clientHost string
	rebalanceTimeout     int32 // ms
	topologyEpoch        int32
	processID            string
	endpoint             *schema.StreamsEndpoint // where its process answers interactive queries; nil if it does not
	tags                 []schema.KeyValue       // sorted by key

	assigned tasks
	revoking tasks // to be given up, still the member's
}

func newStreamsMember(id string) *streamsMember {
	return &streamsMember{id: id, rebalanceTimeout: -1, topologyEpoch: -1}
}

// reconciledTo says that the member has what the target of that epoch gives it.
func (m *streamsMember) reconciledTo(epoch int32) bool {
	return m.state == memberStable && m.epoch == epoch
}

// sameMetadata says that the record of the member's metadata would be the same.
func (m *streamsMember) sameMetadata(o *streamsMember) bool {
	return equalStrings(m.instanceID, o.instanceID) && equalStrings(m.rackID, o.rackID) && m.clientID == o.clientID &&
		m.clientHost == o.clientHost && m.rebalanceTimeout == o.rebalanceTimeout && m.topologyEpoch == o.topologyEpoch &&
		m.processID == o.processID && equalEndpoints(m.endpoint, o.endpoint) && slices.Equal(m.tags, o.tags)
}

func equalEndpoints(a, b *schema.StreamsEndpoint) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (m *streamsMember) sameCurrent(o *streamsMember) bool {
	return m.epoch == o.epoch && m.previous == o.previous && m.state == o.state && m.assigned.equal(o.assigned) && m.revoking.equal(o.revoking)
}

// moved is the member at an epoch, with what it has there.
func (m *streamsMember) moved(state memberState, epoch int32, assigned, revoking tasks) *streamsMember {
	n := *m
	n.state, n.previous, n.epoch = state, m.epoch, epoch
	n.assigned, n.revoking = assigned, revoking
	return &n
}
