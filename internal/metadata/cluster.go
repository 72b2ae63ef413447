package metadata

import (
	"cmp"
	"slices"

	"github.com/klamm-io/klamm/internal/schema"
)

// Endpoint, FeatureRange: as in the registration records.
type (
	Endpoint     = schema.Endpoint
	FeatureRange = schema.FeatureRange
)

// Broker is a broker's registration.
type Broker struct {
	ID                   int32
	Epoch                int64
	Incarnation          schema.UUID
	Endpoints            []Endpoint     // in the order of the record
	Features             []FeatureRange // by name
	Rack                 *string
	Fenced               bool
	InControlledShutdown bool
	IsMigratingZkBroker  bool // kept from clusters that came from ZooKeeper
	LogDirs              []schema.UUID
	CordonedLogDirs      []schema.UUID // nil until the broker has said it, which empty is not
}

// Endpoint finds the broker's address on a listener.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(b.Endpoints, listener)
}

// Feature finds the levels of a feature that the broker supports.
func (b *Broker) Feature(name string) (FeatureRange, bool) { return findFeature(b.Features, name) }

// HasOnline says whether replicas in that directory of the broker can be read and written. A registration without directories
// comes from a version before 3.7-IV2: nothing is known, so all is well.
func (b *Broker) HasOnline(dir schema.UUID) bool {
	switch dir {
	case DirectoryLost:
		return false
	case DirectoryUnassigned, DirectoryMigrating:
		return true
	}
	return len(b.LogDirs) == 0 || slices.Contains(b.LogDirs, dir)
}

// Active says that the broker is unfenced and not shutting down: a replica there may lead and join an ISR.
func (b *Broker) Active() bool { return !b.Fenced && !b.InControlledShutdown }

// Controller is a controller's registration.
type Controller struct {
	ID               int32
	Incarnation      schema.UUID
	ZkMigrationReady bool
	Endpoints        []Endpoint
	Features         []FeatureRange // by name
}

// Endpoint finds the controller's address on a listener.
func (c *Controller) Endpoint(listener string) (Endpoint, bool) {
	return findEndpoint(c.Endpoints, listener)
}

// Feature finds the levels of a feature that the controller supports.
func (c *Controller) Feature(name string) (FeatureRange, bool) { return findFeature(c.Features, name) }

func findEndpoint(endpoints []Endpoint, listener string) (Endpoint, bool) {
	at := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Name == listener })
	if at < 0 {
		return Endpoint{}, false
	}
	return endpoints[at], true
}

func findFeature(features []FeatureRange, name string) (FeatureRange, bool) {
	at, ok := slices.BinarySearchFunc(features, name, func(f FeatureRange, n string) int { return cmp.Compare(f.Name, n) })
	if !ok {
		return FeatureRange{}, false
	}
	return features[at], true
}

// byName copies and sorts; a name that comes twice keeps its last range, as in Kafka.
func byName(features []FeatureRange) []FeatureRange {
	sorted := slices.Clone(features)
	slices.Reverse(sorted)
	slices.SortStableFunc(sorted, func(a, b FeatureRange) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(sorted, func(a, b FeatureRange) bool { return a.Name == b.Name })
}

func brokerOf(r *schema.RegisterBroker) *Broker {
	return &Broker{
		ID: r.BrokerID, Epoch: r.BrokerEpoch, Incarnation: r.IncarnationID,
		Endpoints: r.Endpoints, Features: byName(r.Features), Rack: r.Rack,
		Fenced: r.Fenced, InControlledShutdown: r.InControlledShutdown, IsMigratingZkBroker: r.IsMigratingZkBroker,
		LogDirs: r.LogDirs, CordonedLogDirs: r.CordonedLogDirs,
	}
}

func (b *Broker) record() *schema.RegisterBroker {
	return &schema.RegisterBroker{
		BrokerID: b.ID, BrokerEpoch: b.Epoch, IncarnationID: b.Incarnation,
		Endpoints: b.Endpoints, Features: b.Features, Rack: b.Rack,
		Fenced: b.Fenced, InControlledShutdown: b.InControlledShutdown, IsMigratingZkBroker: b.IsMigratingZkBroker,
		LogDirs: b.LogDirs, CordonedLogDirs: b.CordonedLogDirs,
	}
}

func controllerOf(r *schema.RegisterController) *Controller {
	return &Controller{ID: r.ControllerID, Incarnation: r.IncarnationID, ZkMigrationReady: r.ZkMigrationReady,
		Endpoints: r.Endpoints, Features: byName(r.Features)}
}

func (c *Controller) record() *schema.RegisterController {
	return &schema.RegisterController{ControllerID: c.ID, IncarnationID: c.Incarnation, ZkMigrationReady: c.ZkMigrationReady,
		Endpoints: c.Endpoints, Features: c.Features}
}
