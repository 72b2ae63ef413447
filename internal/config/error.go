package config

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a value that a key does not take. Error() is Kafka's text; Explain says it at more length.
type Error struct {
	Key     string
	Value   string // as given, hidden when it is a secret
	Allowed string
	text    string
}

func (e *Error) Error() string { return e.text }

// RuleError is a rule across keys, or about key names, that a configuration breaks.
type RuleError struct {
	Text     string
	required bool // Kafka checks it with Scala's require, whose prefix clients see when they change the value
}

func (e *RuleError) Error() string { return e.Text }

func broken(format string, args ...any) error { return &RuleError{Text: fmt.Sprintf(format, args...)} }

// Warning is something the node starts in spite of.
type Warning struct {
	Key  string // empty when it is about several
	Text string
}

func (w Warning) String() string { return w.Text }

const hidden = "[hidden]"

// invalid is Kafka's sentence about one value; shown is the value as that sentence prints it.
func (k *Key) invalid(raw, shown, why string) *Error {
	if k.Sensitive {
		raw, shown = hidden, hidden
	}
	text := fmt.Sprintf("Invalid value %s for configuration %s", shown, k.Name)
	if why != "" {
		text += ": " + why
	}
	return &Error{Key: k.Name, Value: raw, Allowed: k.allowed(), text: text}
}

// wrong is for the messages of Kafka that do not begin with the value.
func (k *Key) wrong(raw, text string) *Error {
	if k.Sensitive {
		raw = hidden
	}
	return &Error{Key: k.Name, Value: raw, Allowed: k.allowed(), text: text}
}

func (k *Key) allowed() string {
	what := map[Type]string{Boolean: "true or false", String: "text", Int: "a 32-bit integer", Short: "a 16-bit integer",
		Long: "a 64-bit integer", Double: "a number", List: "a comma-separated list", Class: "a class name", Password: "text"}[k.Type]
	if k.Valid == "" {
		return what
	}
	return what + ", " + k.Valid
}

// Explain gives a line for each thing that is wrong: Kafka's message and, for a single value, the key, the value and
// what it may be, so that nobody has to look it up.
func Explain(err error) []string {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var lines []string
		for _, e := range joined.Unwrap() {
			lines = append(lines, Explain(e)...)
		}
		return lines
	}
	line := err.Error()
	var e *Error
	if !errors.As(err, &e) {
		return []string{line}
	}
	given := fmt.Sprintf("%s=%s; ", e.Key, e.Value)
	if strings.HasPrefix(line, fmt.Sprintf("Invalid value %s for configuration %s", e.Value, e.Key)) {
		given = ""
	}
	return []string{fmt.Sprintf("%s (%sallowed: %s)", line, given, e.Allowed)}
}
