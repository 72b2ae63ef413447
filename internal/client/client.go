// Package client maps Kafka's client properties onto franz-go, so that a command line, a property file or a worker's
// configuration written for Apache Kafka means the same here.
//
// Contract: Options takes properties as a Java client takes them (names, defaults, validation and its messages) and
// returns franz-go options for a client of one Kind. A property that Kafka knows and Go has no use for (serializer
// classes, socket buffers, JMX) is accepted in silence; one that nobody knows is a Warning; a value that Kafka refuses
// is an error in Kafka's words. The package speaks the wire only: it imports nothing of the broker.
//
// Where franz-go's model differs from Java's client:
//   - batch.size is the point at which a keyless record may go to another partition, not a limit: a batch may grow to
//     max.request.size while it waits for its turn, and a record larger than batch.size is sent all the same.
//   - request.timeout.ms bounds each request; for a produce request it is both the broker's time to collect acks and
//     the time on top of it until the connection is given up.
//   - delivery.timeout.ms is honoured where no sequence number would be torn (an idempotent record that may have
//     reached the broker is not given up).
package client

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kind is what a client is for: it selects the properties that apply and Java's defaults for them.
type Kind uint8

// The kinds of client.
const (
	Admin Kind = 1 << iota
	Producer
	Consumer

	every = Admin | Producer | Consumer
)

func (k Kind) String() string {
	switch k {
	case Admin:
		return "admin"
	case Producer:
		return "producer"
	case Consumer:
		return "consumer"
	}
	return "client"
}

// Warning is something worth a line in the log that does not stop the client.
type Warning string

// ConfigError is a refused property, worded as Kafka's ConfigException.
type ConfigError struct{ Message string }

func (e *ConfigError) Error() string { return e.Message }

func invalid(name, value, why string) error {
	return &ConfigError{fmt.Sprintf("Invalid value %s for configuration %s: %s", value, name, why)}
}

// Options returns the franz-go options that props ask of a client of this kind. The caller adds its own (topics,
// hooks, a logger) behind them. Without group.id a consumer's group properties are checked and go unused.
func Options(props map[string]string, kind Kind) ([]kgo.Opt, []Warning, error) {
	s := newSettings(kind)
	var warnings []Warning
	for _, name := range slices.Sorted(maps.Keys(props)) {
		value := strings.TrimSpace(props[name])
		p, ok := properties[name]
		switch {
		case ok && p.kinds&kind != 0:
			if p.set == nil {
				continue
			}
			if err := p.set(s, name, value); err != nil {
				return nil, nil, err
			}
		case ok, hasSilentPrefix(name):
		default:
			warnings = append(warnings, Warning(fmt.Sprintf("The configuration '%s' was supplied but isn't a known %s config.", name, kind)))
		}
		s.given[name] = true
	}
	opts, err := s.options()
	return opts, warnings, err
}

// silentPrefixes start names that belong to plugins of the JVM client; ssl. and sasl. follow security.protocol, which is
// refused for everything that would use them.
var silentPrefixes = []string{"ssl.", "sasl.", "metrics.", "key.deserializer.", "value.deserializer.", "header.deserializer."}

func hasSilentPrefix(name string) bool {
	return slices.ContainsFunc(silentPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

var hostPort = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9_]*://)?\[?([0-9a-zA-Z\-%._:]*)\]?:([0-9]+)$`)

// ValidAddress reports whether s is host:port in the forms that Kafka takes, IPv6 in brackets included.
func ValidAddress(s string) bool {
	m := hostPort.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	port, err := strconv.Atoi(m[2])
	return err == nil && port <= 65535
}

// Servers splits and checks a bootstrap list. An entry without a port is refused, as by Kafka.
func Servers(list string) ([]string, error) {
	var servers []string
	for _, s := range strings.Split(list, ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		m := hostPort.FindStringSubmatch(s)
		if m == nil || !ValidAddress(s) {
			return nil, &ConfigError{"Invalid url in bootstrap.servers: " + s}
		}
		servers = append(servers, net.JoinHostPort(m[1], m[2]))
	}
	if len(servers) == 0 {
		return nil, &ConfigError{"No bootstrap urls given in bootstrap.servers"}
	}
	return servers, nil
}
