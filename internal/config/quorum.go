package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Voter is one entry of controller.quorum.voters.
type Voter struct {
	ID   int32
	Host string
	Port int
}

// Address is one entry of controller.quorum.bootstrap.servers.
type Address struct {
	Host string
	Port int
}

var hostPort = regexp.MustCompile(`^(?:[0-9a-zA-Z\-%._]*://)?\[?([0-9a-zA-Z\-%._:]*)]?:([0-9]+)$`)

func cutHostPort(s string) (string, int, bool) {
	m := hostPort.FindStringSubmatch(s)
	if m == nil {
		return "", 0, false
	}
	port, err := strconv.ParseUint(m[2], 10, 16)
	return m[1], int(port), err == nil
}

func parseVoters(entries []string) ([]Voter, error) {
	const key = "controller.quorum.voters"
	var voters []Voter
	for _, e := range entries {
		id, address, ok := strings.Cut(e, "@")
		if !ok || strings.Contains(address, "@") || address == "" {
			return nil, broken("Invalid configuration value for %s. Each entry should be in the form `{id}@{host}:{port}`.", key)
		}
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return nil, broken("Failed to parse voter ID as an integer from %s", id)
		}
		host, port, ok := cutHostPort(address)
		if !ok {
			return nil, broken("Failed to parse host name from entry %s for the configuration %s. "+
				"Each entry should be in the form `{id}@{host}:{port}`.", e, key)
		}
		voters = append(voters, Voter{int32(n), host, port})
	}
	return voters, nil
}

func parseServer(e string) (string, int, error) {
	host, port, ok := cutHostPort(e)
	if !ok {
		return "", 0, broken("Failed to parse host name from %s for the configuration %s. Each "+
			"entry should be in the form \"{host}:{port}\"", e, "controller.quorum.bootstrap.servers")
	}
	return host, port, nil
}
