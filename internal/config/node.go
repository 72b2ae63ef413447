package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Roles are the parts of Kafka that a process plays.
type Roles struct{ Broker, Controller bool }

// Node is what all keys together come to for one process.
type Node struct {
	Values
	NodeID         int32
	Roles          Roles
	Rack           *string
	LogDirs        []string
	MetadataLogDir string

	Listeners             []Endpoint // the broker's, to be bound
	Advertised            []Endpoint // what clients are told; an empty host: the machine's own name; port 0: the bound one
	ControllerEndpoints   []Endpoint // the controller's listeners, to be bound; none without process.roles
	AdvertisedControllers []Endpoint // what other nodes are told of them
	ControllerListeners   []string   // controller.listener.names
	InterBroker           string     // the listener by which brokers talk to each other

	Voters           []Voter // controller.quorum.voters; empty for a quorum of this node alone that keeps its voters itself
	BootstrapServers []Address
	SelfFormat       bool // an empty directory is formatted at the start, without `storage format`

	// Static is the configuration as it counts: what was given, and what was filled in where something had to be.
	// It is the first of Layers.
	Static map[string]string
}

// Layers gives the node's configuration with dynamic values over it.
func (n Node) Layers(defaultBroker, thisBroker map[string]string) Layers {
	return Layers{n.Static, defaultBroker, thisBroker}
}

// NewNode reads the configuration of one process.
//
// With process.roles it is Kafka's, rule for rule. Without (no configuration at all, or one from ZooKeeper's days) it is
// a node that is broker and controller at once, a quorum of itself: node.id from broker.id or else 1; data in ./data
// when no directory is named; listening on localhost:9092, or on every address with the advertised ports when only
// advertised.listeners is given; no controller port; SelfFormat.
//
// All values that are wrong are told together, and after them all rules that are broken.
func NewNode(props map[string]string) (Node, []Warning, error) {
	p := maps.Clone(props)
	if p == nil {
		p = map[string]string{}
	}
	warnings := zookeeper(p)
	_, given := p["process.roles"]
	if !given {
		standalone(p)
	}
	sameID(p)
	warnings = append(warnings, singleReplicas(p)...)
	v, more, err := Parse(Broker, p)
	warnings = append(warnings, more...)
	if err != nil {
		return Node{}, warnings, err
	}
	for _, name := range []string{"controller.listener.names", "node.id", "process.roles"} {
		if v.Null(name) {
			return Node{}, warnings, broken("Missing required configuration %q which has no default value.", name)
		}
	}
	n := Node{Values: v, Static: p, SelfFormat: !given, NodeID: int32(v.Int("node.id")), LogDirs: logDirs(v),
		Roles:               Roles{slices.Contains(v.List("process.roles"), "broker"), slices.Contains(v.List("process.roles"), "controller")},
		ControllerListeners: v.List("controller.listener.names")}
	n.MetadataLogDir = n.LogDirs[0]
	if !v.Null("metadata.log.dir") {
		n.MetadataLogDir = v.String("metadata.log.dir")
	}
	if !v.Null("broker.rack") {
		rack := v.String("broker.rack")
		n.Rack = &rack
	}
	// Both lists were parsed once by their keys' rules.
	n.Voters, _ = parseVoters(v.List("controller.quorum.voters"))
	for _, s := range v.List("controller.quorum.bootstrap.servers") {
		host, port, _ := parseServer(s)
		n.BootstrapServers = append(n.BootstrapServers, Address{host, port})
	}
	errs := brokerRules(v)
	errs = append(errs, n.listen()...)
	if len(errs) == 0 {
		errs = n.quorumRules()
	}
	if len(errs) == 0 {
		warnings = append(warnings, n.advice()...)
		errs = n.limits()
	}
	return n, warnings, errors.Join(errs...)
}

// zookeeper takes the keys of a ZooKeeper connection out, with one warning for all.
func zookeeper(p map[string]string) []Warning {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if strings.HasPrefix(name, "zookeeper.") {
			names = append(names, name)
			delete(p, name)
		}
	}
	if names == nil {
		return nil
	}
	return []Warning{{names[0], strings.Join(names, ", ") + ": no ZooKeeper is needed; the built-in quorum is used instead"}}
}

// standalone fills in what a node without process.roles needs.
func standalone(p map[string]string) {
	p["process.roles"] = "broker,controller"
	id, ok := p["node.id"]
	if !ok {
		id = p["broker.id"]
	}
	if javaTrim(id) == "" || strings.HasPrefix(javaTrim(id), "-") { // -1 asked ZooKeeper for a number
		id = "1"
	}
	if _, ok := p["node.id"]; !ok {
		p["node.id"], p["broker.id"] = id, id
	}
	if p["log.dirs"] == "" && p["log.dir"] == "" {
		delete(p, "log.dir")
		p["log.dirs"] = "./data"
	}
	if p["controller.listener.names"] == "" {
		p["controller.listener.names"] = "CONTROLLER"
	}
	switch listeners, advertised := p["listeners"], p["advertised.listeners"]; {
	case listeners == "" && advertised == "":
		delete(p, "advertised.listeners")
		p["listeners"] = "PLAINTEXT://localhost:9092"
	case listeners == "":
		p["listeners"] = everywhere(advertised)
	case advertised == "":
		delete(p, "advertised.listeners")
	}
}

// sameID makes node.id and its old name say the same where one is missing.
func sameID(p map[string]string) {
	node, ok := p["node.id"]
	broker, old := p["broker.id"]
	switch {
	case ok && !old:
		p["broker.id"] = node
	case old && !ok:
		p["node.id"] = broker
	}
}

// internalTopics are the keys whose defaults no single node could satisfy.
var internalTopics = []string{"offsets.topic.replication.factor", "transaction.state.log.replication.factor",
	"transaction.state.log.min.isr", "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr"}

// singleReplicas sets them to 1 where they are not set and the node is broker and whole quorum at once.
func singleReplicas(p map[string]string) []Warning {
	alone := func(key string) bool { return !strings.Contains(p[key], ",") }
	roles := p["process.roles"]
	if !strings.Contains(roles, "broker") || !strings.Contains(roles, "controller") ||
		!alone("controller.quorum.voters") || !alone("controller.quorum.bootstrap.servers") {
		return nil
	}
	var names []string
	for _, name := range internalTopics {
		if _, ok := p[name]; !ok {
			p[name] = "1"
			names = append(names, name)
		}
	}
	if names == nil {
		return nil
	}
	return []Warning{{"", strings.Join(names, ", ") + ": 1 on this single node, as not set"}}
}

func logDirs(v Values) []string {
	if !v.Null("log.dirs") {
		return v.List("log.dirs")
	}
	return v.List("log.dir")
}

// listen works out the endpoints.
func (n *Node) listen() []error {
	protocol, err := protocolMap(n.Values)
	if err != nil {
		return []error{err}
	}
	all, err := parseEndpoints(n.List("listeners"), protocol, true)
	if err != nil {
		return []error{err}
	}
	isController := func(e Endpoint) bool { return slices.Contains(n.ControllerListeners, e.Listener) }
	for _, e := range all {
		if isController(e) {
			n.ControllerEndpoints = append(n.ControllerEndpoints, e)
		} else {
			n.Listeners = append(n.Listeners, e)
		}
	}
	told := all
	var toldControllers []Endpoint
	if !n.Null("advertised.listeners") {
		if told, err = parseEndpoints(n.List("advertised.listeners"), protocol, false); err != nil {
			return []error{err}
		}
		for _, e := range told {
			if isController(e) {
				toldControllers = append(toldControllers, e)
			}
		}
	}
	for _, e := range told {
		if !isController(e) {
			n.Advertised = append(n.Advertised, e)
		}
	}
	n.adviseControllers(toldControllers)
	return n.interBroker(protocol)
}

// adviseControllers finds what is told of each controller listener: what is advertised; else, for the first, the
// voters' entry where the listener is bound everywhere; else where it is bound, every address being the machine's name.
func (n *Node) adviseControllers(told []Endpoint) {
	named := func(ends []Endpoint, name string) int {
		return slices.IndexFunc(ends, func(e Endpoint) bool { return e.Listener == strings.ToUpper(name) })
	}
	for i, name := range n.ControllerListeners {
		if j := named(told, name); j >= 0 {
			n.AdvertisedControllers = append(n.AdvertisedControllers, told[j])
			continue
		}
		j := named(n.ControllerEndpoints, name)
		if j < 0 {
			continue
		}
		e := n.ControllerEndpoints[j]
		if e.Host == "0.0.0.0" || e.Host == "" {
			e.Host = ""
			own := slices.IndexFunc(n.Voters, func(v Voter) bool { return v.ID == n.NodeID })
			if i == 0 && own >= 0 {
				e.Host, e.Port = n.Voters[own].Host, n.Voters[own].Port
			}
		}
		n.AdvertisedControllers = append(n.AdvertisedControllers, e)
	}
}

func (n *Node) interBroker(protocol map[string]string) []error {
	if n.Null("inter.broker.listener.name") {
		n.InterBroker = n.String("security.inter.broker.protocol")
		return nil
	}
	if n.IsSet("security.inter.broker.protocol") {
		return []error{broken("Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.")}
	}
	n.InterBroker = strings.ToUpper(n.String("inter.broker.listener.name"))
	if _, ok := protocol[n.InterBroker]; !ok {
		return []error{broken("Listener with name %s defined in inter.broker.listener.name not found in listener.security.protocol.map.", n.InterBroker)}
	}
	return nil
}

// limits are what this version cannot do yet.
func (n *Node) limits() []error {
	var errs []error
	switch {
	case !n.Roles.Broker || !n.Roles.Controller:
		errs = append(errs, broken("process.roles=%s: this version runs a single node, broker and controller at once; clusters come later. "+
			"Set process.roles=broker,controller", strings.Join(n.List("process.roles"), ",")))
	case len(n.Voters) > 1:
		errs = append(errs, broken("controller.quorum.voters=%s: this version runs a single node; clusters come later. "+
			"Name this node alone", strings.Join(n.List("controller.quorum.voters"), ",")))
	case len(n.BootstrapServers) > 1:
		errs = append(errs, broken("controller.quorum.bootstrap.servers=%s: this version runs a single node; clusters come later. "+
			"Name this node alone", strings.Join(n.List("controller.quorum.bootstrap.servers"), ",")))
	}
	for _, e := range slices.Concat(n.Listeners, n.ControllerEndpoints) {
		if e.Protocol != "PLAINTEXT" {
			errs = append(errs, broken("listeners: %s speaks %s, and only PLAINTEXT is there yet", e, e.Protocol))
		}
	}
	return errs
}

// advice is what Kafka writes into its log at the start.
func (n *Node) advice() []Warning {
	var w []Warning
	if beat, session := n.Int("broker.heartbeat.interval.ms"), n.Int("broker.session.timeout.ms"); beat > session/2 {
		w = append(w, Warning{"broker.heartbeat.interval.ms", fmt.Sprintf("broker.heartbeat.interval.ms (%d ms) should be at most half of "+
			"broker.session.timeout.ms (%d ms), or the broker loses its lease between two heartbeats", beat, session)})
	}
	return w
}
