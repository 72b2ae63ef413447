// Package config holds every configuration key of a node, a topic and a group: its type, default, bounds,
// documentation, whether it can change while the node runs, and whether it acts here or has no meaning.
//
// From text to values there are three steps, and every step is a value of its own:
//
//	ParseProperties, FromEnv      text            -> map of names to raw values
//	NewNode                       such a map      -> Node: what all keys together come to for one process
//	Layers                        Node.Static and the dynamic values of the cluster's metadata -> the Values that
//	                              are in force for the broker, a topic or a group, and what DescribeConfigs tells
//
// Bad values are *Error, joined with errors.Join; Explain makes the lines an operator reads of them. Messages that
// Kafka's clients and operators know are Kafka's.
//
// An unknown key is a Warning, as Kafka ignores it; so is a key that is known but does nothing yet (Key.Reason).
// Whether a key acts stands in one place: acts.go.
//
// The package is pure: it opens nothing, resolves no host name, reads no clock and no environment.
package config

import (
	"fmt"
	"slices"
	"strings"
)

// Type is a value's type; the numbers are those of DescribeConfigs' ConfigType.
type Type int8

// Unknown is the type of a key that is not in the tables.
const (
	Unknown Type = iota
	Boolean
	String
	Int
	Short
	Long
	Double
	List
	Class
	Password
)

func (t Type) String() string {
	return [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}[t]
}

// Scope says what a key configures.
type Scope int8

// The three scopes. A broker key is also a controller's.
const (
	Broker Scope = iota
	Topic
	Group
)

func (s Scope) String() string { return [...]string{"broker", "topic", "group"}[s] }

// Dynamic says whether and at which level a broker key can change while the node runs. Topic and group keys always can.
type Dynamic int8

// The three update modes.
const (
	ReadOnly    Dynamic = iota
	PerBroker           // for one broker only
	ClusterWide         // for one broker or as the default of all
)

func (d Dynamic) String() string { return [...]string{"read-only", "per-broker", "cluster-wide"}[d] }

// Importance is how much an operator should care.
type Importance int8

// The three degrees.
const (
	High Importance = iota
	Medium
	Low
)

func (i Importance) String() string { return [...]string{"HIGH", "MEDIUM", "LOW"}[i] }

// Key is one configuration key.
type Key struct {
	Name       string
	Type       Type
	Default    string
	NoDefault  bool   // null by default, or required (process.roles, node.id, controller.listener.names)
	Valid      string // what is allowed, for people: "[1,...]"; empty when every value of the type is
	Doc        string
	Importance Importance
	Dynamic    Dynamic
	Sensitive  bool // its value is never shown

	Acts   bool   // the node does what the key says
	Reason string // why it does not
	Missed bool   // setting it to something else than its default earns a warning

	Internal    bool     // hidden unless set
	DynamicOnly bool     // cannot stand in a file: Kafka's replication throttles
	BrokerKeys  []string // of a topic or group key: where its default comes from, the first that is set winning

	rule rule
}

// table is the keys of one scope, sorted by name.
type table struct {
	scope    Scope
	keys     []Key
	index    map[string]int
	defaults []value
}

// tables is built once, from literals, and never changes.
var tables = [...]*table{
	Broker: newTable(Broker, nodeKeys(), logKeys(), replicationKeys(), quorumKeys(), groupKeys(), transactionKeys(),
		remoteKeys(), metricsKeys(), securityKeys()),
	Topic: newTable(Topic, topicScopeKeys()),
	Group: newTable(Group, groupScopeKeys()),
}

func newTable(scope Scope, parts ...[]Key) *table {
	t := &table{scope: scope, keys: slices.Concat(parts...), index: map[string]int{}}
	slices.SortFunc(t.keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	inert := inertKeys(scope)
	for i := range t.keys {
		k := &t.keys[i]
		assert(i == 0 || k.Name != t.keys[i-1].Name, "key "+k.Name+" stands twice")
		t.index[k.Name] = i
		if k.rule != nil {
			k.Valid = k.rule.String()
		}
		k.Sensitive = k.Type == Password
		why := inert.of(k.Name)
		k.Acts, k.Reason, k.Missed = why == nil, why.text(), why != nil && why.kind == missed
		v := value{null: true}
		if !k.NoDefault {
			var err error
			v, err = k.parse(k.Default)
			assert(err == nil, fmt.Sprintf("default of %s: %v", k.Name, err))
		}
		v.set = false
		t.defaults = append(t.defaults, v)
	}
	return t
}

// Keys gives the keys of a scope, sorted by name.
func Keys(s Scope) []Key { return slices.Clone(tables[s].keys) }

// Lookup finds a key.
func Lookup(s Scope, name string) (Key, bool) {
	i, ok := tables[s].index[name]
	if !ok {
		return Key{}, false
	}
	return tables[s].keys[i], true
}

// assert stops the program on a bug of ours: a key name that no table has, a getter of another type. No input reaches it.
func assert(ok bool, bug string) {
	if !ok {
		panic("config: " + bug)
	}
}
