package config

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Layers are the three places a broker's values come from, the later going before the earlier: what it was started
// with (Node.Static), the cluster's dynamic default, the dynamic values of this broker.
type Layers struct {
	Static        map[string]string
	DefaultBroker map[string]string
	ThisBroker    map[string]string
}

// synonymSets are broker keys that say one thing in several units, in the order in which they win. The scheduler's
// interval stands in for log.flush.interval.ms only; it has no synonyms itself.
var synonymSets = [][]string{
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
}

func brokerSynonyms(name string, ofListeners bool) []string {
	for _, set := range synonymSets {
		if slices.Contains(set, name) {
			return set
		}
	}
	if name == "log.flush.interval.ms" {
		return []string{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}
	}
	if base, ok := listenerBase(name); ok && ofListeners {
		return []string{name, base}
	}
	return []string{name}
}

// merged is what counts of the three layers. A dynamic value puts its static synonyms out of force: log.retention.ms
// set while running goes before log.retention.hours in the file. What cannot be dynamic, or not at that level, or is no
// value of its key, is left out and told in the error.
func (l Layers) merged() (map[string]string, error) {
	m := maps.Clone(l.Static)
	if m == nil {
		m = map[string]string{}
	}
	var errs []error
	for _, level := range []struct {
		props     map[string]string
		perBroker bool
	}{{l.DefaultBroker, false}, {l.ThisBroker, true}} {
		for _, name := range slices.Sorted(maps.Keys(level.props)) {
			raw := level.props[name]
			if err := checkDynamic(map[string]string{name: raw}, level.perBroker); err != nil {
				errs = append(errs, err)
				continue
			}
			for _, s := range brokerSynonyms(name, false) {
				delete(m, s)
			}
			m[name] = raw
		}
	}
	return m, errors.Join(errs...)
}

// Broker gives the values in force. They are whole even with an error, which tells of dynamic values that were left out.
func (l Layers) Broker() (Values, error) {
	m, err := l.merged()
	v, _, bad := Parse(Broker, m)
	return clamped(v), errors.Join(err, bad)
}

// clamped keeps assignment intervals within their bounds, as Kafka does with dynamic values.
func clamped(v Values) Values {
	over := map[string]string{}
	for _, g := range []string{"consumer", "share", "streams"} {
		name := "group." + g + ".assignment.interval.ms"
		n := v.Int64(name)
		c := min(max(n, v.Int64("group."+g+".min.assignment.interval.ms")), v.Int64("group."+g+".max.assignment.interval.ms"))
		if c != n {
			over[name] = strconv.FormatInt(c, 10)
		}
	}
	w, err := v.With(over)
	if err != nil {
		return v
	}
	return w
}

// Topic gives a topic's values. Where many topics are looked at, take Broker().TopicDefaults() once and With for each.
func (l Layers) Topic(overrides map[string]string) (Values, error) {
	b, err := l.Broker()
	v, bad := b.TopicDefaults().With(overrides)
	return v, errors.Join(err, bad)
}

// Group gives a group's values.
func (l Layers) Group(overrides map[string]string) (Values, error) {
	b, err := l.Broker()
	v, bad := b.GroupDefaults().With(overrides)
	return v, errors.Join(err, bad)
}

// TopicDefaults gives the values of a topic that overrides nothing, from a broker's values.
func (v Values) TopicDefaults() Values { return v.defaultsOf(Topic) }

// GroupDefaults gives the values of a group that overrides nothing, from a broker's values.
func (v Values) GroupDefaults() Values { return v.defaultsOf(Group) }

func (v Values) defaultsOf(s Scope) Values {
	assert(v.t.scope == Broker, "defaults from other values than a broker's")
	t := tables[s]
	w := Values{t: t, vals: slices.Clone(t.defaults)}
	for i, k := range t.keys {
		for _, name := range k.BrokerKeys {
			b := v.at(name)
			if b.null {
				continue
			}
			w.vals[i] = converted(b, name, k)
			break
		}
	}
	return w
}

// converted takes a broker's value for the key of a topic or group that it is the default of.
func converted(b value, name string, k Key) value {
	b.set, b.raw = false, ""
	if k.Type == Int || k.Type == Long {
		if strings.HasSuffix(name, ".hours") || strings.HasSuffix(name, ".minutes") {
			b.n *= int64(unit(name) / time.Millisecond) // 32 bits times 3.6 million: no overflow
		}
		if k.Name == "retention.ms" && b.n < 0 {
			b.n = -1
		}
		assert(k.Type == Long || b.n <= math.MaxInt32, name+" does not fit "+k.Name)
		b.f, b.text = float64(b.n), strconv.FormatInt(b.n, 10)
	}
	return b
}
