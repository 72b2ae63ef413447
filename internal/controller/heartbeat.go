package controller

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// session is what the active controller knows of a broker beside its registration. It is soft: nothing of it is in the
// log, and a new controller starts without it. Whether the broker is fenced is read from the image alone, so a command
// whose records were refused leaves nothing behind here that a retry would trip over.
type session struct {
	epoch          int64     // registration that this belongs to
	contact        time.Time // last heartbeat; zero before the first
	heard          bool      // contact is a heartbeat, not the start that a new controller grants to all
	dismissed      bool      // it was told to shut down now
	metadataOffset int64     // how far the broker has applied the metadata log
	shutdownOffset int64     // when every active broker has read so far, a controlled shutdown is complete; -1 unless in one
	shutdownBegun  bool      // the records that begin a controlled shutdown were handed out; shutdownOffset follows them
}

// brokerState is where a broker stands between registration and shutdown.
type brokerState int8

const (
	stateFenced brokerState = iota
	stateUnfenced
	stateControlledShutdown
	stateShutdownNow
)

// session gives the broker's session, a new one if its registration has changed.
func (c *Controller) session(b *broker) *session {
	s := c.sessions[b.ID]
	if s == nil || s.epoch != b.Epoch {
		s = &session{epoch: b.Epoch, metadataOffset: -1, shutdownOffset: -1}
		c.sessions[b.ID] = s
	}
	return s
}

// settle brings image and sessions up to what was applied since the last command.
func (c *Controller) settle() {
	c.state.settle()
	for id, s := range c.sessions { // order does not matter: each session is looked at alone
		b := c.broker(id)
		switch {
		case b == nil || b.Epoch != s.epoch:
			delete(c.sessions, id)
		case b.Fenced:
			s.shutdownOffset, s.shutdownBegun = -1, false
		case s.shutdownBegun && b.InControlledShutdown:
			s.shutdownOffset, s.shutdownBegun = c.state.offset, false
		}
	}
}

// checkBrokerEpoch refuses a broker that is not, or no longer, the registered one.
func (c *Controller) checkBrokerEpoch(id int32, epoch int64) (*broker, error) {
	b := c.broker(id)
	if b == nil {
		return nil, refuse(kerr.StaleBrokerEpoch, "No broker registration found for broker id %d", id)
	}
	if b.Epoch != epoch {
		return nil, refuse(kerr.StaleBrokerEpoch, "Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return b, nil
}

// heartbeat answers BrokerHeartbeat (KIP-631): it keeps the session, and moves the broker between fenced, unfenced,
// controlled shutdown and shutdown.
//
//   - A fenced broker is unfenced when it asks and has applied the metadata log up to its own registration.
//   - An unfenced broker that wants to shut down first loses its leaderships; it may go when it leads nothing and all
//     active brokers have read of that.
//   - Log directories that went offline or were cordoned (KIP-858, KIP-1066) are noted in the same step.
func (c *Controller) heartbeat(op *operation, req *kmsg.BrokerHeartbeatRequest) (any, error) {
	b, err := c.checkBrokerEpoch(req.BrokerID, req.BrokerEpoch)
	if err != nil {
		return nil, err
	}
	op.split = true
	s := c.session(b)
	s.contact, s.heard, s.metadataOffset = op.Now, true, req.CurrentMetadataOffset
	registered := c.state.registrationOffset(b.ID)
	state := c.brokerState(b, s)
	next := c.nextState(b, s, state, req, registered)
	s.dismissed = next == stateShutdownNow
	switch {
	case next == stateControlledShutdown:
		c.beginControlledShutdown(op, b, s)
	case next == state:
	case next == stateFenced, next == stateShutdownNow:
		if !b.Fenced {
			c.fence(op, b.ID)
		}
	case next == stateUnfenced:
		c.unfence(op, b)
	}
	mv := c.metadataVersion()
	if mv >= metadata.MVDirectoryAssignment {
		c.directoriesOffline(op, b, uuids(req.OfflineLogDirs))
	}
	if mv >= metadata.MVCordonedLogDirs && req.CordonedLogDirs != nil {
		c.directoriesCordoned(op, b, uuids(req.CordonedLogDirs))
	}
	resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
	resp.IsCaughtUp = req.CurrentMetadataOffset >= registered
	resp.IsFenced = next == stateFenced || next == stateShutdownNow
	resp.ShouldShutdown = next == stateShutdownNow
	return resp, nil
}

func (c *Controller) brokerState(b *broker, s *session) brokerState {
	switch {
	case s.shutdownOffset >= 0:
		return stateControlledShutdown
	case b.Fenced:
		return stateFenced
	}
	return stateUnfenced
}

func (c *Controller) nextState(b *broker, s *session, now brokerState, req *kmsg.BrokerHeartbeatRequest, registered int64) brokerState {
	leads := c.state.index.leads[b.ID] > 0
	switch now {
	case stateFenced:
		switch {
		case req.WantShutdown:
			return stateShutdownNow
		case !req.WantFence && req.CurrentMetadataOffset >= registered:
			return stateUnfenced
		}
		return stateFenced
	case stateUnfenced:
		switch {
		case req.WantShutdown && (req.WantFence || !leads):
			return stateShutdownNow
		case req.WantShutdown:
			return stateControlledShutdown
		case req.WantFence:
			return stateFenced
		}
		return stateUnfenced
	}
	if !leads && s.shutdownOffset <= c.lowestActiveOffset() {
		return stateShutdownNow
	}
	return stateControlledShutdown
}

// lowestActiveOffset is how far the slowest active broker has read the metadata log.
func (c *Controller) lowestActiveOffset() int64 {
	lowest := int64(1<<63 - 1)
	for b := range c.brokers() {
		s := c.session(b)
		if !b.Fenced && s.shutdownOffset < 0 && !s.shutdownBegun {
			lowest = min(lowest, s.metadataOffset)
		}
	}
	return lowest
}

// beginControlledShutdown marks the broker and moves its leaderships. It is called again while the broker still leads
// something, so leaderships that it gained on the way move, too.
func (c *Controller) beginControlledShutdown(op *operation, b *broker, s *session) {
	before := len(op.records)
	if !b.InControlledShutdown {
		op.add(&schema.BrokerRegistrationChange{BrokerID: b.ID, BrokerEpoch: b.Epoch, InControlledShutdown: 1})
	}
	if s.shutdownOffset < 0 || c.state.index.leads[b.ID] > 0 {
		c.updateLeaders(op, keys(c.state.index.inISR[b.ID]), leaving(b.ID))
	}
	switch {
	case s.shutdownOffset >= 0:
	case len(op.records) > before:
		s.shutdownBegun = true
		op.event("controller.broker.shutdown.begun", machine.Attr{Key: "broker", Value: b.ID})
	default:
		s.shutdownOffset = c.state.offset
	}
}

// stale is a broker whose session has expired, or -1.
func (c *Controller) stale(now time.Time) int32 {
	for b := range c.brokers() {
		if s := c.sessions[b.ID]; s != nil && !b.Fenced && !s.contact.IsZero() && c.expired(s, now) {
			return b.ID
		}
	}
	return -1
}

func (c *Controller) expired(s *session, now time.Time) bool {
	return s.contact.Add(c.options.SessionTimeout).Before(now)
}

// nextExpiry is just after the moment at which the first session of an unfenced broker expires.
func (c *Controller) nextExpiry() time.Time {
	var first time.Time
	for id, s := range c.sessions { // order does not matter: the minimum is asked
		b := c.broker(id)
		if b == nil || b.Fenced || s.contact.IsZero() {
			continue
		}
		if at := s.contact.Add(c.options.SessionTimeout + 1); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// fence takes a broker out of every ISR and fences it.
func (c *Controller) fence(op *operation, id int32) {
	c.updateLeaders(op, keys(c.state.index.inISR[id]), leaving(id))
	op.add(&schema.BrokerRegistrationChange{BrokerID: id, BrokerEpoch: c.broker(id).Epoch, Fenced: 1})
	op.event("controller.broker.fenced", machine.Attr{Key: "broker", Value: id})
}

// unfence lets a broker take part, and lead the partitions that wait for it.
func (c *Controller) unfence(op *operation, b *broker) {
	op.add(&schema.BrokerRegistrationChange{BrokerID: b.ID, BrokerEpoch: b.Epoch, Fenced: -1})
	c.updateLeaders(op, keys(c.state.index.leaderless), coming(b.ID))
	op.event("controller.broker.unfenced", machine.Attr{Key: "broker", Value: b.ID})
}

// usableBrokers are those that new replicas may be placed on.
func (c *Controller) usableBrokers() []usableBroker {
	var usable []usableBroker
	for b := range c.brokers() {
		if b.InControlledShutdown && !b.Fenced || !hasUncordonedDirectory(b) {
			continue
		}
		usable = append(usable, usableBroker{b.ID, rackOf(b), b.Fenced})
	}
	return usable
}

// activeBroker says whether a broker may be in an ISR and lead.
func (c *Controller) activeBroker(id int32) bool {
	b := c.broker(id)
	return b != nil && !b.Fenced && !b.InControlledShutdown
}

func (c *Controller) activeOf(replicas []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(replicas), func(id int32) bool { return !c.activeBroker(id) })
}
