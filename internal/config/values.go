package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Values is a typed view of one scope's configuration: what was given, over the defaults. It never changes, so it
// may be shared and read from anywhere.
//
// The getters take key names as they stand in the tables; a name that is not there, or of another type, is a bug and
// panics. A null value reads as zero, false, "" or an empty list: ask Null where the difference matters.
type Values struct {
	t     *table
	vals  []value
	other map[string]string // what no table knows, listener.name.<name>.<key> among it
}

// Parse reads a configuration. An unknown key is a Warning and is kept aside; a value that is no value of its key is an
// *Error, all of them joined, and the Values then hold the default in its place.
func Parse(s Scope, props map[string]string) (Values, []Warning, error) {
	v := Values{t: tables[s], vals: tables[s].defaults}
	return v.overlay(props)
}

// With gives these values with others over them, and the joined errors of those that are no values of their keys.
func (v Values) With(overrides map[string]string) (Values, error) {
	w, _, err := v.overlay(overrides)
	return w, err
}

func (v Values) overlay(props map[string]string) (Values, []Warning, error) {
	if len(props) == 0 {
		return v, nil, nil
	}
	v.vals, v.other = slices.Clone(v.vals), maps.Clone(v.other)
	var warnings []Warning
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(props)) {
		raw := props[name]
		i, ok := v.t.index[name]
		if !ok {
			if v.other == nil {
				v.other = map[string]string{}
			}
			v.other[name] = raw
			w, err := stranger(v.t.scope, name, raw)
			warnings, errs = append(warnings, w...), appendErr(errs, err)
			continue
		}
		k := &v.t.keys[i]
		parsed, err := k.parse(raw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v.vals[i] = parsed
		if parsed.twice {
			warnings = append(warnings, Warning{name, fmt.Sprintf("%s names something twice, which counts once: %s", name, parsed.text)})
		}
		warnings = append(warnings, idle(k, v.t.defaults[i], parsed)...)
	}
	return v, warnings, errors.Join(errs...)
}

func appendErr(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

// idle warns when somebody counts on a key that does nothing yet.
func idle(k *Key, byDefault, given value) []Warning {
	if !k.Missed || given.text == byDefault.text && !byDefault.null {
		return nil
	}
	return []Warning{{k.Name, fmt.Sprintf("%s is set, but has no effect: %s", k.Name, k.Reason)}}
}

// stranger looks at a name that is in no table. A key of one listener is checked like the key it stands for.
func stranger(s Scope, name, raw string) ([]Warning, error) {
	if s == Broker {
		if base, ok := listenerBase(name); ok {
			if i, ok := tables[Broker].index[base]; ok {
				k := tables[Broker].keys[i]
				k.Name = name
				v, err := k.parse(raw)
				if err != nil {
					return nil, err
				}
				return idle(&k, tables[Broker].defaults[i], v), nil
			}
		}
		if strings.HasPrefix(name, "rsm.config.") || strings.HasPrefix(name, "rlmm.config.") {
			return nil, nil
		}
		if gone[name] {
			return []Warning{{name, fmt.Sprintf("%s is ignored: Kafka 4 has no such configuration any more", name)}}, nil
		}
	}
	return []Warning{{name, fmt.Sprintf("%s is ignored: it is not a known %s configuration", name, s)}}, nil
}

// gone are names that older releases knew and that still stand in many files.
var gone = map[string]bool{
	"broker.id.generation.enable": true, "reserved.broker.max.id": true, "inter.broker.protocol.version": true,
	"log.message.format.version": true, "log.message.timestamp.difference.max.ms": true, "control.plane.listener.name": true,
	"delegation.token.master.key": true, "host.name": true, "port": true, "advertised.host.name": true, "advertised.port": true,
	"password.encoder.secret": true, "auto.include.jmx.reporter": true, "group.coordinator.new.enable": true,
	"offsets.commit.required.acks": true, "log.message.downconversion.enable": true,
}

// Listener gives the values as one listener sees them: listener.name.<name>.<key> goes before <key>.
func (v Values) Listener(name string) Values {
	prefix := "listener.name." + strings.ToLower(name) + "."
	own := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(v.other)) {
		if base, ok := strings.CutPrefix(k, prefix); ok && v.t.known(base) {
			own[base] = v.other[k]
		}
	}
	w, _ := v.With(own) // what is no value was an error when the whole was read
	return w
}

func (t *table) known(name string) bool {
	_, ok := t.index[name]
	return ok
}

func (v Values) at(name string, types ...Type) value {
	assert(v.t != nil, "empty Values")
	i, ok := v.t.index[name]
	assert(ok, "no "+v.t.scope.String()+" key "+name)
	assert(len(types) == 0 || slices.Contains(types, v.t.keys[i].Type), name+" is "+v.t.keys[i].Type.String())
	return v.vals[i]
}

// Int reads an Int or a Short.
func (v Values) Int(name string) int { return int(v.at(name, Int, Short).n) }

// Int64 reads any whole number.
func (v Values) Int64(name string) int64 { return v.at(name, Int, Short, Long).n }

// Float reads a Double.
func (v Values) Float(name string) float64 { return v.at(name, Double).f }

// Bool reads a Boolean.
func (v Values) Bool(name string) bool { return v.at(name, Boolean).n == 1 }

// String reads a text, a class name or a secret.
func (v Values) String(name string) string { return v.at(name, String, Class, Password).text }

// List reads a list; the caller must not change it.
func (v Values) List(name string) []string { return v.at(name, List).list }

// Duration reads a whole number in the unit its name ends with: .ms, .millis, .seconds, .secs, .minutes or .hours.
// What is longer than a Duration can be becomes the longest one; -1 (no limit) stays negative.
func (v Values) Duration(name string) time.Duration {
	n := v.at(name, Int, Short, Long).n
	u := unit(name)
	if n > math.MaxInt64/int64(u) {
		return math.MaxInt64
	}
	if n < math.MinInt64/int64(u) {
		return math.MinInt64
	}
	return time.Duration(n) * u
}

func unit(name string) time.Duration {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "ms", "millis":
		return time.Millisecond
	case "seconds", "secs":
		return time.Second
	case "minutes":
		return time.Minute
	case "hours":
		return time.Hour
	}
	assert(name == "sasl.kerberos.min.time.before.relogin", name+" is not a time")
	return time.Millisecond
}

// IsSet says whether the value was given rather than taken from the defaults (a topic's: from the broker).
func (v Values) IsSet(name string) bool { return v.at(name).set }

// Raw gives the text that was given, and false when none was.
func (v Values) Raw(name string) (string, bool) {
	x := v.at(name)
	return x.raw, x.set
}

// Null says whether the key has no value at all.
func (v Values) Null(name string) bool { return v.at(name).null }

// Text gives the value in its canonical form, as DescribeConfigs shows it; false when it is null.
func (v Values) Text(name string) (string, bool) {
	x := v.at(name)
	return x.text, !x.null
}

// Changed names the keys whose values differ from those of before, sorted; both must be of one scope.
func (v Values) Changed(before Values) []string {
	assert(v.t == before.t, "Changed of two scopes")
	var names []string
	for i, k := range v.t.keys {
		if a, b := v.vals[i], before.vals[i]; a.null != b.null || a.text != b.text {
			names = append(names, k.Name)
		}
	}
	both := maps.Clone(v.other)
	if both == nil {
		both = map[string]string{}
	}
	maps.Copy(both, before.other)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		a, inA := v.other[name]
		b, inB := before.other[name]
		if inA != inB || a != b {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
