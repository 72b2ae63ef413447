package config

import (
	"maps"
	"slices"
)

// Source says where a value comes from; the numbers are those of DescribeConfigs' ConfigSource.
type Source int8

// The sources.
const (
	SourceTopic         Source = 1 // dynamic, of the topic
	SourceBroker        Source = 2 // dynamic, of this broker
	SourceDefaultBroker Source = 3 // dynamic, default of the cluster
	SourceStatic        Source = 4 // what the node was started with
	SourceDefault       Source = 5
	SourceBrokerLogger  Source = 6
	SourceClientMetrics Source = 7
	SourceGroup         Source = 8
)

// Synonym is one place that a value could come from, with what stands there.
type Synonym struct {
	Name, Value string
	Null        bool // a secret
	Source      Source
}

// Entry is one line of DescribeConfigs. An unknown key that was set has the type Unknown and, as Kafka cannot know
// better, counts as a secret.
type Entry struct {
	Key      Key
	Value    string
	Null     bool
	Source   Source
	ReadOnly bool
	Synonyms []Synonym
}

// IsDefault is the protocol's is_default of version 0: whether nobody set the value.
func (e Entry) IsDefault() bool { return e.Source == SourceDefault }

// Describe gives every key of a scope, sorted by name, as Kafka's DescribeConfigs does: internal ones only when they are
// set. overrides are the topic's or group's own values; a broker has none but its Layers.
func (l Layers) Describe(s Scope, overrides map[string]string) []Entry {
	b, _ := l.Broker()
	v, own := b, SourceTopic
	merged := map[string]string{}
	switch s {
	case Topic:
		v, _ = b.TopicDefaults().With(overrides)
	case Group:
		v, _ = b.GroupDefaults().With(overrides)
		own = SourceGroup
	default:
		merged, _ = l.merged()
	}
	var entries []Entry
	for i, k := range v.t.keys {
		x := v.vals[i]
		if (k.Internal || k.DynamicOnly) && !x.set {
			continue
		}
		e := Entry{Key: k, Value: x.text, Null: x.null || k.Sensitive, Source: SourceDefault,
			ReadOnly: s == Broker && k.Dynamic == ReadOnly}
		if _, set := overrides[k.Name]; set && s != Broker {
			e.Synonyms = append(e.Synonyms, secretSynonym(k, Synonym{Name: k.Name, Value: x.text, Source: own}))
		}
		e.Synonyms = append(e.Synonyms, l.below(s, k)...)
		entries = append(entries, e.finish())
	}
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if !v.t.known(name) {
			entries = append(entries, l.describeStranger(name, merged[name]))
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		if a.Key.Name < b.Key.Name {
			return -1
		}
		return 1
	})
	return entries
}

func (e Entry) finish() Entry {
	if e.Null {
		e.Value = ""
	}
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}

// below are the places under a resource's own value.
func (l Layers) below(s Scope, k Key) []Synonym {
	switch {
	case s == Broker:
		return l.synonyms(k.Name, k)
	case len(k.BrokerKeys) > 0:
		return l.synonyms(k.BrokerKeys[0], k)
	case s == Group && !k.NoDefault:
		return []Synonym{{Name: k.Name, Value: k.Default, Source: SourceDefault}}
	}
	return nil
}

// synonyms looks for a broker key in all layers. What stands before the key itself in that order is left out: so a
// topic's retention.ms has no synonyms where only log.retention.hours is set, as in Kafka.
func (l Layers) synonyms(name string, k Key) []Synonym {
	names := brokerSynonyms(name, true)
	var all []Synonym
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{l.ThisBroker, SourceBroker}, {l.DefaultBroker, SourceDefaultBroker}, {l.Static, SourceStatic}} {
		for _, n := range names {
			if text, ok := layer.values[n]; ok {
				all = append(all, secretSynonym(k, Synonym{Name: n, Value: text, Source: layer.source}))
			}
		}
	}
	for _, n := range names {
		if d, ok := Lookup(Broker, n); ok && !d.NoDefault && !d.DynamicOnly {
			all = append(all, secretSynonym(k, Synonym{Name: n, Value: d.Default, Source: SourceDefault}))
		}
	}
	i := slices.IndexFunc(all, func(s Synonym) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return all[i:]
}

func secretSynonym(k Key, s Synonym) Synonym {
	if k.Sensitive {
		s.Value, s.Null = "", true
	}
	return s
}

// describeStranger is a value that was set under a name no table has.
func (l Layers) describeStranger(name, text string) Entry {
	k := Key{Name: name, Type: Unknown, Sensitive: true}
	if base, ok := listenerBase(name); ok {
		if b, ok := Lookup(Broker, base); ok {
			k.Type, k.Sensitive, k.Doc = b.Type, b.Sensitive, b.Doc
		}
	}
	e := Entry{Key: k, Value: text, Null: k.Sensitive, Source: SourceDefault, ReadOnly: true}
	e.Synonyms = l.synonyms(name, k)
	return e.finish()
}

// DescribeDefault gives the dynamic defaults of the cluster: DescribeConfigs of a broker without a name.
func (l Layers) DescribeDefault() []Entry {
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(l.DefaultBroker)) {
		text := l.DefaultBroker[name]
		k, ok := Lookup(Broker, name)
		if !ok {
			k = Key{Name: name, Type: Unknown, Sensitive: true}
		}
		e := Entry{Key: k, Value: text, Null: k.Sensitive, Source: SourceDefault, ReadOnly: !ok || k.Dynamic == ReadOnly}
		for _, s := range l.synonyms(name, k) {
			if s.Source == SourceDefaultBroker {
				e.Synonyms = append(e.Synonyms, s)
			}
		}
		entries = append(entries, e.finish())
	}
	return entries
}
