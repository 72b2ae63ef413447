package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule is what a value must be beyond its type. String is what Kafka's documentation prints as valid values. A null
// value never reaches it: null is only ever a default.
type rule interface {
	check(k *Key, raw string, v value) error
	String() string
}

// span bounds a number; an end that is absent is open.
type span struct{ lo, hi *float64 }

func atLeast(lo float64) rule     { return span{&lo, nil} }
func between(lo, hi float64) rule { return span{&lo, &hi} }

func bound(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (s span) check(k *Key, raw string, v value) error {
	if s.lo != nil && v.f < *s.lo {
		return k.invalid(raw, v.text, "Value must be at least "+bound(*s.lo))
	}
	if s.hi != nil && v.f > *s.hi {
		return k.invalid(raw, v.text, "Value must be no more than "+bound(*s.hi))
	}
	return nil
}

func (s span) String() string {
	text := "[" + bound(*s.lo) + ",..."
	if s.hi != nil {
		text += "," + bound(*s.hi)
	}
	return text + "]"
}

// oneOf lists the texts that are allowed.
type oneOf []string

func (o oneOf) check(k *Key, raw string, v value) error {
	if !slices.Contains(o, v.text) {
		return k.invalid(raw, v.text, "String must be one of: "+strings.Join(o, ", "))
	}
	return nil
}

func (o oneOf) String() string { return javaList(o) }

// anyCase is oneOf without regard to case.
type anyCase []string

func (a anyCase) check(k *Key, raw string, v value) error {
	if !slices.Contains(a, strings.ToUpper(v.text)) {
		return k.invalid(raw, v.text, "String must be one of (case insensitive): "+strings.Join(a, ", "))
	}
	return nil
}

func (a anyCase) String() string { return "(case insensitive) " + javaList(a) }

// distinct is a list without empty entries, of names if there are any. What it names twice counts once.
type distinct struct {
	empty bool // the list itself may be empty
	null  bool // it may be absent
	names []string
}

func (d distinct) check(k *Key, raw string, v value) error {
	if !d.empty && len(v.list) == 0 {
		valid := "any non-empty value"
		if len(d.names) > 0 {
			valid = javaList(d.names)
		}
		return k.wrong(raw, "Configuration '"+k.Name+"' must not be empty. Valid values include: "+valid)
	}
	for _, e := range v.list {
		if e == "" {
			return k.wrong(raw, "Configuration '"+k.Name+"' values must not be empty.")
		}
		if len(d.names) > 0 && !slices.Contains(d.names, e) {
			return k.invalid(raw, e, "String must be one of: "+strings.Join(d.names, ", "))
		}
	}
	return nil
}

func (d distinct) String() string {
	if len(d.names) == 0 {
		return ""
	}
	return javaList(d.names)
}

// nonEmpty is a text of at least one character.
type nonEmpty struct{}

func (nonEmpty) check(k *Key, raw string, v value) error {
	if v.text == "" {
		return k.invalid(raw, v.text, "String must be non-empty")
	}
	return nil
}

func (nonEmpty) String() string { return "non-empty string" }

// gzipLevel is 1 to 9, or -1 for the library's own choice.
type gzipLevel struct{}

func (gzipLevel) check(k *Key, raw string, v value) error {
	if v.n > 9 || v.n < 1 && v.n != -1 {
		return k.invalid(raw, v.text, "Value must be between 1 and 9 or equal to -1")
	}
	return nil
}

func (gzipLevel) String() string { return "[1,...,9] or -1" }

// throttledReplicas is * or pairs of partition and broker.
type throttledReplicas struct{}

var replicaPair = regexp.MustCompile(`^([0-9]+:[0-9]+)?$`)

func (t throttledReplicas) check(k *Key, raw string, v value) error {
	if strings.Join(v.list, "") == "*" {
		return nil
	}
	for _, e := range v.list {
		if !replicaPair.MatchString(e) {
			return k.invalid(raw, javaList(v.list), k.Name+
				" must be the literal '*' or a list of replicas in the following format: "+t.String())
		}
	}
	return nil
}

func (throttledReplicas) String() string {
	return "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
}

// resetStrategy is where a new share group starts.
type resetStrategy struct{}

// isoDuration is what java.time.Duration.parse reads, negative spans left out.
var isoDuration = regexp.MustCompile(`(?i)^by_duration:\+?P(\+?[0-9]+D)?(T(\+?[0-9]+H)?(\+?[0-9]+M)?(\+?[0-9]+([.,][0-9]{0,9})?S)?)?$`)

func (resetStrategy) check(k *Key, raw string, v value) error {
	s := v.text
	duration := strings.HasPrefix(s, "by_duration:") && isoDuration.MatchString(s) &&
		strings.ContainsAny(s[len("by_duration:"):], "0123456789") && !strings.HasSuffix(strings.ToUpper(s), "T")
	if s != "latest" && s != "earliest" && !duration {
		return k.invalid(raw, s, "Invalid value `"+s+"` for configuration "+k.Name+
			". The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.")
	}
	return nil
}

func (resetStrategy) String() string { return "[latest, earliest, by_duration:PnDTnHnMn.nS]" }

// voterList is controller.quorum.voters.
type voterList struct{}

func (voterList) check(k *Key, raw string, v value) error {
	if _, err := parseVoters(v.list); err != nil {
		return k.wrong(raw, err.Error())
	}
	return nil
}

func (voterList) String() string { return "{id}@{host}:{port},..." }

// serverList is controller.quorum.bootstrap.servers.
type serverList struct{}

func (serverList) check(k *Key, raw string, v value) error {
	for _, e := range v.list {
		if _, _, err := parseServer(e); err != nil {
			return k.wrong(raw, err.Error())
		}
	}
	return nil
}

func (serverList) String() string { return "{host}:{port},..." }
