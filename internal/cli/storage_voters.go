package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-io/klamm/internal/schema"
)

// initialVoter is one entry of --initial-controllers: id@host:port:directory-id, an IPv6 address in brackets.
type initialVoter struct {
	id        int32
	host      string
	port      uint16
	directory schema.UUID
}

// parseVoters reads --initial-controllers; the errors are Kafka's.
func parseVoters(text string) ([]initialVoter, error) {
	var voters []initialVoter
	for _, entry := range strings.Split(strings.TrimSpace(text), ",") {
		if entry == "" {
			continue
		}
		v, err := parseVoter(strings.TrimSpace(entry))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(voters, func(o initialVoter) bool { return o.id == v.id }) {
			return nil, fmt.Errorf("Node id %d was specified more than once.", v.id)
		}
		voters = append(voters, v)
	}
	if len(voters) == 0 {
		return nil, errors.New("No voters given.")
	}
	return voters, nil
}

func parseVoter(entry string) (v initialVoter, err error) {
	fail := func(format string, args ...any) (initialVoter, error) {
		return v, fmt.Errorf(format, args...)
	}
	id, rest, ok := strings.Cut(entry, "@")
	switch {
	case !ok:
		return fail("No @ found in dynamic voter string.")
	case id == "":
		return fail("Invalid @ at beginning of dynamic voter string.")
	}
	n, err := strconv.ParseInt(id, 10, 32)
	switch {
	case err != nil:
		return fail("Failed to parse node id in dynamic voter string.")
	case n < 0:
		return fail("Invalid negative node id %d in dynamic voter string.", n)
	case rest == "":
		return fail("No hostname found after node id.")
	}
	v.id = int32(n)
	if strings.HasPrefix(rest, "[") {
		if v.host, rest, ok = strings.Cut(rest[1:], "]"); !ok {
			return fail("Hostname began with left bracket, but no right bracket was found.")
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			return fail("Port section must start with a colon.")
		}
	} else if v.host, rest, ok = strings.Cut(rest, ":"); !ok {
		return fail("No colon following hostname could be found.")
	}
	port, directory, ok := strings.Cut(rest, ":")
	if !ok {
		return fail("No colon following port could be found.")
	}
	p, err := strconv.ParseInt(port, 10, 32)
	switch {
	case err != nil:
		return fail("Failed to parse port in dynamic voter string.")
	case p < 0 || p > 65535:
		return fail("Invalid port %d in dynamic voter string.", p)
	}
	v.port = uint16(p)
	if v.directory, err = parseDirectoryID(directory); err != nil {
		return fail("Failed to parse directory ID in dynamic voter string.")
	}
	return v, nil
}

// parseDirectoryID reads an id with or without base64's padding, as Java does.
func parseDirectoryID(text string) (schema.UUID, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimSuffix(text, "=="))
	if err != nil || len(b) != len(schema.UUID{}) {
		return schema.UUID{}, fmt.Errorf("%q is not an id", text)
	}
	return schema.UUID(b), nil
}

// record is the voter as the quorum's control record names it, with both levels of kraft.version that there are.
func (v initialVoter) record(listener string) schema.Voter {
	return schema.Voter{VoterID: v.id, VoterDirectoryID: v.directory, KRaftVersionFeature: schema.KRaftVersionRange{MaxSupportedVersion: 1},
		Endpoints: []schema.VoterEndpoint{{Name: strings.ToUpper(listener), Host: v.host, Port: v.port}}}
}
