// Package lifecycle is a broker's life in the eyes of its controller (KIP-500, KIP-631): it registers, heartbeats, is
// unfenced once it has caught up with its own registration, and asks before it shuts down.
//
//	Starting ──registered──> Recovery ──caught up and unfenced──> Running ──Leave──> Leaving ──allowed──> done
//
// What it does next is decided by step, which is plain code; run.go sends and waits.
package lifecycle

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Controller takes the requests of a broker to the active controller, wherever that is. Request does not block, and calls
// reply once.
type Controller interface {
	Request(req kmsg.Request, reply func(kmsg.Response))
}

// Config of a broker's life. All fields are needed but Rack and FailureTimeout.
type Config struct {
	ID            int32
	ClusterID     string
	Incarnation   schema.UUID
	Endpoints     []Endpoint
	Features      []metadata.SupportedFeature
	Rack          *string
	Directories   []schema.UUID
	PreviousEpoch int64 // of the clean shutdown before, -1 if it was none (KIP-966)

	HeartbeatInterval time.Duration // broker.heartbeat.interval.ms
	// FailureTimeout is log.dir.failure.timeout.ms: Fatal is called once if the controller does not hear of a directory's failure in
	// that time. 0: it may take for ever.
	FailureTimeout time.Duration
	Fatal          func(error)
	Controller     Controller
	Image          func() *metadata.Image
	Now            func() time.Time
	Logger         *slog.Logger
}

// Endpoint is an advertised listener.
type Endpoint struct {
	Listener string
	Host     string
	Port     uint16
	Protocol int16 // 0: PLAINTEXT
}

// State of a broker's life.
type State int8

// The states, in order.
const (
	Starting State = iota
	Recovery
	Running
	Leaving
	Done
)

func (s State) String() string {
	return [...]string{"STARTING", "RECOVERY", "RUNNING", "PENDING_CONTROLLED_SHUTDOWN", "SHUTTING_DOWN"}[s]
}

// life is the state that step works on; the run loop owns it.
type life struct {
	c       Config
	state   State
	epoch   int64
	ready   bool // the broker may be unfenced
	leaving bool // Leave was called

	offline  []schema.UUID // directories that failed, in that order
	told     int           // so many of them the controller knows
	sent     int           // so many of them the last heartbeat names
	since    time.Time     // when the first of which it does not know failed
	cordoned []schema.UUID // directories that take no new replicas
	caughtUp bool          // the controller says that this broker has seen its own registration: from then on it says what is cordoned
}

// directoryFailed notes a directory that the controller must hear of.
func (l *life) directoryFailed(dir schema.UUID) {
	if slices.Contains(l.offline, dir) {
		return
	}
	if l.told == len(l.offline) {
		l.since = l.c.Now()
	}
	l.offline = append(l.offline, dir)
}

// overdue says whether the controller should have heard of a failed directory by now.
func (l *life) overdue() bool {
	return l.told < len(l.offline) && l.c.FailureTimeout > 0 && l.c.Now().Sub(l.since) >= l.c.FailureTimeout
}

// registered says whether the controller holds a session of this broker that heartbeats keep.
func (l *life) registered() bool { return l.state != Starting }

// leave notes the wish to go. A broker that is not registered may go at once.
func (l *life) leave() {
	l.leaving = true
	if !l.registered() {
		l.state = Done
	}
}

// next is the request to send now.
func (l *life) next() kmsg.Request {
	if l.state == Starting {
		return l.registration()
	}
	r := kmsg.NewPtrBrokerHeartbeatRequest()
	r.SetVersion(2)
	r.BrokerID, r.BrokerEpoch = l.c.ID, l.epoch
	r.CurrentMetadataOffset = l.c.Image().Offset
	r.WantFence = !l.ready
	r.WantShutdown = l.leaving
	for _, dir := range l.offline {
		r.OfflineLogDirs = append(r.OfflineLogDirs, dir)
	}
	l.sent = len(l.offline)
	if l.caughtUp {
		r.CordonedLogDirs = [][16]byte{}
		for _, dir := range l.cordoned {
			r.CordonedLogDirs = append(r.CordonedLogDirs, dir)
		}
	}
	return r
}

func (l *life) registration() kmsg.Request {
	r := kmsg.NewPtrBrokerRegistrationRequest()
	r.SetVersion(4)
	r.BrokerID, r.ClusterID, r.IncarnationID, r.Rack = l.c.ID, l.c.ClusterID, l.c.Incarnation, l.c.Rack
	r.PreviousBrokerEpoch = l.c.PreviousEpoch
	for _, e := range l.c.Endpoints {
		w := kmsg.NewBrokerRegistrationRequestListener()
		w.Name, w.Host, w.Port, w.SecurityProtocol = e.Listener, e.Host, e.Port, e.Protocol
		r.Listeners = append(r.Listeners, w)
	}
	for _, f := range l.c.Features {
		w := kmsg.NewBrokerRegistrationRequestFeature()
		w.Name, w.MinSupportedVersion, w.MaxSupportedVersion = f.Name, f.Min, f.Max
		r.Features = append(r.Features, w)
	}
	for _, d := range l.c.Directories {
		if !slices.Contains(l.offline, d) {
			r.LogDirs = append(r.LogDirs, d)
		}
	}
	return r
}

// took takes in a response. It says how long to wait before the next request, and whether the state changed.
func (l *life) took(resp kmsg.Response) (wait time.Duration, changed bool, err error) {
	before := l.state
	switch r := resp.(type) {
	case *kmsg.BrokerRegistrationResponse:
		switch e := kerr.TypedErrorForCode(r.ErrorCode); {
		case e == nil:
			l.epoch, l.state, l.caughtUp = r.BrokerEpoch, Recovery, false
		case e == kerr.InconsistentClusterID || e == kerr.UnsupportedVersion || e == kerr.InvalidRequest:
			return 0, false, fmt.Errorf("lifecycle: the controller refuses broker %d for good: %w", l.c.ID, e)
		default: // another broker with this id may still be alive: it is fenced after its session
			l.c.Logger.Warn("the controller refuses the registration; it is tried again", "broker", l.c.ID, "error", e)
			return l.c.HeartbeatInterval, false, nil
		}
	case *kmsg.BrokerHeartbeatResponse:
		switch e := kerr.TypedErrorForCode(r.ErrorCode); {
		case e == kerr.StaleBrokerEpoch || e == kerr.BrokerIDNotRegistered: // the controller has forgotten this incarnation
			l.c.Logger.Warn("the controller does not know this broker any more; it registers again", "broker", l.c.ID, "error", e)
			l.state = Starting
			if l.leaving {
				l.state = Done
			}
			return 0, true, nil
		case e != nil:
			l.c.Logger.Warn("a heartbeat failed", "broker", l.c.ID, "error", e)
			return l.c.HeartbeatInterval, false, nil
		}
		l.told, l.since = l.sent, l.c.Now()
		l.caughtUp = l.caughtUp || r.IsCaughtUp
		switch {
		case l.leaving && r.ShouldShutdown:
			l.state = Done
		case l.leaving:
			l.state = Leaving
			return l.c.HeartbeatInterval / 10, l.state != before, nil
		case !r.IsFenced:
			l.state = Running
			return l.c.HeartbeatInterval, l.state != before, nil
		case l.ready && r.IsCaughtUp: // fenced, but the next one may already see the record that unfences
			return l.c.HeartbeatInterval / 100, false, nil
		default:
			return l.c.HeartbeatInterval / 20, false, nil
		}
	default:
		return 0, false, fmt.Errorf("lifecycle: the controller answers broker %d with %T", l.c.ID, resp)
	}
	return 0, l.state != before, nil
}
