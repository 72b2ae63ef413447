package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// registerBroker answers BrokerRegistration (KIP-631). The broker's epoch is the offset at which the registration's
// records begin. A new incarnation starts fenced and its predecessor leaves all ISRs (and, with ELR, all ELRs if it did
// not shut down cleanly, KIP-966); the same incarnation asking again amends its registration and keeps its epoch.
func (c *Controller) registerBroker(op *operation, req *kmsg.BrokerRegistrationRequest) (any, error) {
	if req.ClusterID != c.options.ClusterID {
		return nil, refuse(kerr.InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s", c.options.ClusterID, req.ClusterID)
	}
	existing := c.broker(req.BrokerID)
	again := existing != nil && existing.Incarnation == schema.UUID(req.IncarnationID)
	if existing != nil && !again && c.hasValidSession(op, existing) {
		return nil, refuse(kerr.DuplicateBrokerRegistration, "Another broker is registered with that broker id. If the broker "+
			"was recently restarted this should self-resolve once the heartbeat manager expires the broker's session.")
	}
	record, err := c.registration(req)
	if err != nil {
		return nil, err
	}
	// The clean-up may be more than one batch can hold. It goes first: if only that is written, the broker registers again.
	op.split = true
	if again {
		record.Fenced, record.InControlledShutdown, record.BrokerEpoch = existing.Fenced, existing.InControlledShutdown, existing.Epoch
	} else {
		clean := req.Version >= 3 && existing != nil && req.PreviousBrokerEpoch == existing.Epoch
		c.cleanUpAfter(op, req.BrokerID, clean)
		record.BrokerEpoch = c.state.nextOffset
		op.event("controller.broker.registered", machine.Attr{Key: "broker", Value: req.BrokerID}, machine.Attr{Key: "epoch", Value: record.BrokerEpoch})
	}
	op.add(record)
	resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
	resp.BrokerEpoch = record.BrokerEpoch
	return resp, nil
}

// hasValidSession says whether the registered incarnation may still be alive, so that another one must wait. Two cases
// need no waiting, where Kafka lets a whole session pass. A broker that asked to shut down and was told to is gone. And
// a broker in the controller's own process, of which no heartbeat has come since the process became the controller, is
// from before its restart: the directories' lock admits one process.
func (c *Controller) hasValidSession(op *operation, b *broker) bool {
	s := c.sessions[b.ID]
	switch {
	case s == nil || s.epoch != b.Epoch || s.contact.IsZero() || c.expired(s, op.Now):
		return false
	case s.dismissed && b.Fenced, b.ID == c.options.NodeID && !s.heard:
		return false
	}
	return true
}

// cleanUpAfter ends what an earlier incarnation of the broker took part in.
func (c *Controller) cleanUpAfter(op *operation, id int32, clean bool) {
	if c.elrEnabled() && !clean {
		c.updateLeaders(op, keys(c.state.index.inISR[id]), crashed(id))
		c.updateLeaders(op, keys(c.state.index.inELR[id]), crashed(id))
	} else {
		c.updateLeaders(op, keys(c.state.index.inISR[id]), leaving(id))
	}
}

// registration checks a request and gives the record of a new incarnation, without its epoch.
func (c *Controller) registration(req *kmsg.BrokerRegistrationRequest) (*schema.RegisterBroker, error) {
	if req.IsMigratingZkBroker {
		return nil, refuse(kerr.BrokerIDNotRegistered, "Controller does not support registering ZK brokers.")
	}
	if req.BrokerID < 0 {
		return nil, refuse(kerr.InvalidRegistration, "Invalid negative broker ID %d in request", req.BrokerID)
	}
	record := schema.NewRegisterBroker()
	record.BrokerID, record.IncarnationID, record.Rack = req.BrokerID, req.IncarnationID, req.Rack
	if req.Rack != nil && len(*req.Rack) > schema.MaxString {
		return nil, refuse(kerr.InvalidRegistration, "Rack of %d bytes in request", len(*req.Rack))
	}
	if c.metadataVersion() >= metadata.MVDirectoryAssignment {
		if err := c.checkDirectories(req); err != nil {
			return nil, err
		}
		record.LogDirs = uuids(req.LogDirs)
	}
	for _, l := range req.Listeners {
		var err error
		if record.Endpoints, err = addEndpoint(record.Endpoints, schema.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol}); err != nil {
			return nil, err
		}
	}
	return record, c.registerFeatures(record, req)
}

func (c *Controller) checkDirectories(req *kmsg.BrokerRegistrationRequest) error {
	if len(req.LogDirs) == 0 {
		return refuse(kerr.InvalidRegistration, "No directories specified in request")
	}
	dirs := uuids(req.LogDirs)
	if slices.ContainsFunc(dirs, reservedDirectory) {
		return refuse(kerr.InvalidRegistration, "Reserved directory ID in request")
	}
	seen := make(map[schema.UUID]bool, len(dirs))
	for _, d := range dirs {
		if seen[d] {
			return refuse(kerr.InvalidRegistration, "Duplicate directory ID in request")
		}
		seen[d] = true
	}
	for b := range c.brokers() {
		for _, d := range b.LogDirs {
			if seen[d] && b.ID != req.BrokerID {
				return refuse(kerr.InvalidRegistration, "Broker %d is already registered with directory %s", b.ID, d)
			}
		}
	}
	return nil
}

// securityProtocols is one more than the last of Kafka's: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL.
const securityProtocols = 4

func addEndpoint(endpoints []schema.Endpoint, e schema.Endpoint) ([]schema.Endpoint, error) {
	switch {
	case e.Name == "" || e.Host == "" || len(e.Name) > schema.MaxString || len(e.Host) > schema.MaxString:
		return nil, refuse(kerr.InvalidRegistration, "Listener without a name or host, or with one too long, in request")
	case e.Port == 0:
		return nil, refuse(kerr.InvalidRegistration, "Ephemeral port 0 in listener %s", e.Name)
	case e.SecurityProtocol < 0 || e.SecurityProtocol >= securityProtocols:
		return nil, refuse(kerr.UnknownServerError, "Unknown security protocol %d in listener %s", e.SecurityProtocol, e.Name)
	}
	// A name given twice keeps its place and takes the later address, as in Kafka's ordered map.
	if i := slices.IndexFunc(endpoints, func(have schema.Endpoint) bool { return have.Name == e.Name }); i >= 0 {
		endpoints[i] = e
		return endpoints, nil
	}
	return append(endpoints, e), nil
}

// registerFeatures puts the broker's features into the record, if they cover every finalised one.
func (c *Controller) registerFeatures(record *schema.RegisterBroker, req *kmsg.BrokerRegistrationRequest) error {
	covers := func(name string, finalised, low, high int16) error {
		if finalised < low || finalised > high {
			return refuse(kerr.UnsupportedVersion, "Unable to register because the broker does not support finalized version %d of %s. "+
				"The broker wants a version between %d and %d, inclusive.", finalised, name, low, high)
		}
		return nil
	}
	named := map[string]bool{}
	for _, f := range req.Features {
		if err := covers(f.Name, c.finalised(f.Name), f.MinSupportedVersion, f.MaxSupportedVersion); err != nil {
			return err
		}
		if len(f.Name) > schema.MaxString {
			return refuse(kerr.InvalidRegistration, "Feature name of %d bytes in request", len(f.Name))
		}
		if !named[f.Name] {
			record.Features = append(record.Features, schema.FeatureRange{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
		}
		named[f.Name] = true
	}
	if !named[metadata.MetadataVersionFeature] {
		return refuse(kerr.InvalidRegistration, "Request features do not contain '%s'", metadata.MetadataVersionFeature)
	}
	for _, name := range c.finalisedNames() {
		if !named[name] {
			if err := covers(name, c.finalised(name), 0, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// unregisterBroker answers UnregisterBroker (KIP-631): the broker is forgotten, wherever it stands.
func (c *Controller) unregisterBroker(op *operation, req *kmsg.UnregisterBrokerRequest) (any, error) {
	b := c.broker(req.BrokerID)
	if b == nil {
		return nil, refuse(kerr.BrokerIDNotRegistered, "Broker ID %d is not currently registered", req.BrokerID)
	}
	c.updateLeaders(op, keys(c.state.index.inISR[b.ID]), leaving(b.ID))
	c.updateLeaders(op, keys(c.state.index.inELR[b.ID]), leaving(b.ID))
	op.add(&schema.UnregisterBroker{BrokerID: b.ID, BrokerEpoch: b.Epoch})
	op.event("controller.broker.unregistered", machine.Attr{Key: "broker", Value: b.ID})
	return req.ResponseKind(), nil
}

// registerController answers ControllerRegistration (KIP-919).
func (c *Controller) registerController(op *operation, req *kmsg.ControllerRegistrationRequest) (any, error) {
	if c.metadataVersion() < metadata.MVControllerRegistration {
		return nil, refuse(kerr.UnsupportedVersion, "The current MetadataVersion is too old to support controller registrations.")
	}
	record := &schema.RegisterController{ControllerID: req.ControllerID, IncarnationID: req.IncarnationID}
	for _, l := range req.Listeners {
		var err error
		if record.Endpoints, err = addEndpoint(record.Endpoints, schema.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol}); err != nil {
			return nil, err
		}
	}
	for _, f := range req.Features {
		if len(f.Name) > schema.MaxString {
			return nil, refuse(kerr.InvalidRegistration, "Feature name of %d bytes in request", len(f.Name))
		}
		record.Features = append(record.Features, schema.FeatureRange{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	op.add(record)
	return req.ResponseKind(), nil
}
