package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is one listener. An empty host means every address where it is bound, and the machine's own name where it
// is advertised; port 0 is any free one.
type Endpoint struct {
	Listener string // upper case
	Host     string
	Port     int
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
}

func (e Endpoint) String() string {
	host := e.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return e.Listener + "://" + host + ":" + strconv.Itoa(e.Port)
}

var (
	endpointURL = regexp.MustCompile(`^(.*)://\[?([0-9a-zA-Z\-%._:]*)\]?:(-?[0-9]+)$`)
	ipv4        = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3}){3}$`)
	protocols   = []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
)

// csvMap reads a,b:c pairs; the last colon divides.
func csvMap(key, text string) ([][2]string, error) {
	if text == "" {
		return nil, nil
	}
	var pairs [][2]string
	for _, e := range commaBlank.Split(text, -1) {
		i := strings.LastIndexByte(e, ':')
		if i < 0 {
			return nil, broken("Error parsing configuration property '%s': '%s' is not of the form name:value", key, e)
		}
		pairs = append(pairs, [2]string{javaTrim(e[:i]), javaTrim(e[i+1:])})
	}
	return pairs, nil
}

// protocolMap is listener.security.protocol.map as it works: when it is not set, controller listeners are PLAINTEXT,
// unless TLS or SASL listeners show that somebody means otherwise.
func protocolMap(v Values) (map[string]string, error) {
	const key = "listener.security.protocol.map"
	pairs, err := csvMap(key, v.String(key))
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for _, p := range pairs {
		if !slices.Contains(protocols, strings.ToUpper(p[1])) {
			return nil, broken("Invalid security protocol `%s` defined in %s", p[1], key)
		}
		if p[0] == "" {
			return nil, broken("The provided listener name is null or empty string")
		}
		m[strings.ToUpper(p[0])] = strings.ToUpper(p[1])
	}
	if v.IsSet(key) {
		return m, nil
	}
	secure := func(name string) bool { return name != "PLAINTEXT" && slices.Contains(protocols, name) }
	if slices.ContainsFunc(v.List("controller.listener.names"), secure) {
		return m, nil
	}
	for _, l := range v.List("listeners") {
		name, _, ok := strings.Cut(l, ":")
		if !ok {
			return nil, broken("Unable to parse a listener name from %s", l)
		}
		if secure(strings.ToUpper(name)) {
			return m, nil
		}
	}
	for _, name := range v.List("controller.listener.names") {
		m[name] = "PLAINTEXT"
	}
	return m, nil
}

func parseEndpoints(list []string, protocol map[string]string, distinctPorts bool) ([]Endpoint, error) {
	fail := func(format string, args ...any) ([]Endpoint, error) {
		return nil, broken("Error creating broker listeners from '%s': %s", javaList(list), fmt.Sprintf(format, args...))
	}
	var ends []Endpoint
	for _, e := range list {
		m := endpointURL.FindStringSubmatch(e)
		if m == nil {
			return fail("Unable to parse %s to a broker endpoint", e)
		}
		name := strings.ToUpper(m[1])
		if javaTrim(name) == "" {
			return fail("The provided listener name is null or empty string")
		}
		port, err := strconv.ParseInt(m[3], 10, 32)
		if err != nil || port < 0 || port > 65535 {
			return fail("the port of %s is not between 0 and 65535", e)
		}
		p, ok := protocol[name]
		if !ok {
			return fail("No security protocol defined for listener %s", name)
		}
		if slices.ContainsFunc(ends, func(o Endpoint) bool { return o.Listener == name }) {
			return fail("Each listener must have a different name, listeners: %s", javaList(list))
		}
		ends = append(ends, Endpoint{name, m[2], int(port), p})
	}
	if distinctPorts {
		if why := samePort(ends, list); why != "" {
			return fail("%s", why)
		}
	}
	return ends, nil
}

// samePort finds two listeners that cannot both be bound. One on IPv4 and one on IPv6 may share a port.
func samePort(ends []Endpoint, list []string) string {
	v6 := func(e Endpoint) bool { return strings.Contains(e.Host, ":") }
	ip := func(e Endpoint) bool { return v6(e) || ipv4.MatchString(e.Host) }
	for i, e := range ends {
		var with []Endpoint
		for _, o := range ends {
			if o.Port == e.Port && o.Port != 0 {
				with = append(with, o)
			}
		}
		if i > 0 && len(with) > 0 && with[0] != e || len(with) < 2 {
			continue
		}
		var ips, names []Endpoint
		for _, o := range with {
			if ip(o) {
				ips = append(ips, o)
			} else {
				names = append(names, o)
			}
		}
		switch {
		case len(names) > 1:
			return "Each listener must have a different port, listeners: " + javaList(list)
		case len(ips) == 0:
		case len(ips) != 2:
			return fmt.Sprintf("Each listener must have a different port unless exactly one listener has an IPv4 address "+
				"and the other IPv6 address, listeners: %s, port: %d", javaList(list), e.Port)
		case v6(ips[0]) == v6(ips[1]) || len(names) > 0:
			return fmt.Sprintf("If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, "+
				"listeners: %s, port: %d", javaList(list), e.Port)
		}
	}
	return ""
}

func listenerNames(ends []Endpoint) []string {
	var names []string
	for _, e := range ends {
		names = append(names, e.Listener)
	}
	return names
}

// listenerBase takes the key out of listener.name.<name>.<key>, or of listener.name.<name>.<mechanism>.<key> for the
// keys that are given per SASL mechanism.
func listenerBase(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "listener.name.")
	if !ok {
		return "", false
	}
	_, base, ok := strings.Cut(rest, ".")
	if !ok || base == "" {
		return "", false
	}
	for _, k := range []string{"sasl.jaas.config", "sasl.login.callback.handler.class", "sasl.login.class",
		"sasl.server.callback.handler.class", "connections.max.reauth.ms"} {
		if strings.HasSuffix(base, k) {
			return k, true
		}
	}
	return base, true
}
