package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// arity says whether an option takes a value.
type arity uint8

const (
	flag     arity = iota
	required       // --name value, --name=value
	optional       // --name, --name value, --name=value
)

// option is one flag of a tool. kind and value (Integer, "# of partitions") are what the usage shows for its argument.
type option struct {
	name     string
	arity    arity
	kind     string
	value    string
	fallback string // default, shown in the usage; "" for none
	help     string
}

// options is a tool's command line: what it accepts and, once parsed, what was given.
//
// The rules are those of Java's joptsimple without abbreviations, which all of Kafka's classic tools use: -name works
// as --name does; an empty value in --name= counts as none, so the next word is taken; a required value is taken even if
// it begins with a hyphen; -- ends the options; a word that belongs to no option is ignored; a value is checked when it
// is read, and reading one value of an option given twice is an error.
type options struct {
	accepted []option
	words    int // number of arguments parsed
	given    map[string][]string
}

func newOptions(accepted ...option) *options {
	accepted = append(accepted,
		option{name: "help", help: "Print this text."},
		option{name: "version", help: "Print the version of Kafka that this tool answers to."})
	return &options{accepted: accepted, given: map[string][]string{}}
}

func (o *options) lookup(name string) *option {
	i := slices.IndexFunc(o.accepted, func(a option) bool { return a.name == name })
	if i < 0 {
		return nil
	}
	return &o.accepted[i]
}

func isOption(word string) bool { return len(word) > 1 && word[0] == '-' && word != "--" }

// parse reads args; the error's text is joptsimple's.
func (o *options) parse(args []string) error {
	o.words = len(args)
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			return nil
		}
		if !isOption(word) {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimLeft(word[1:], "-"), "=")
		if strings.HasPrefix(word, "--") {
			name, value, _ = strings.Cut(word[2:], "=")
		}
		opt := o.lookup(name)
		if opt == nil {
			return errors.New(unrecognized(word, name))
		}
		if opt.arity == flag {
			o.given[name] = append(o.given[name], "")
			continue
		}
		if value == "" {
			switch {
			case opt.arity == required && len(args) == 0:
				return fmt.Errorf("Option %s requires an argument", name)
			case opt.arity == required, len(args) > 0 && !isOption(args[0]):
				value, args = args[0], args[1:]
			}
		}
		o.given[name] = append(o.given[name], value)
	}
	return nil
}

// unrecognized words joptsimple's complaint: a single hyphen opens a cluster of one-letter options, of which the first
// is unknown.
func unrecognized(word, name string) string {
	if !strings.HasPrefix(word, "--") && name != "" {
		name = string([]rune(name)[:1])
	}
	return name + " is not a recognized option"
}

func (o *options) has(name string) bool { return len(o.given[name]) > 0 }

// values are all values of an option, or its default.
func (o *options) values(name string) []string {
	if v := o.given[name]; len(v) > 0 {
		return v
	}
	if opt := o.lookup(name); opt != nil && opt.fallback != "" {
		return []string{opt.fallback}
	}
	return nil
}

// text is the one value of an option, its default, or "".
func (o *options) text(name string) (string, error) {
	v := o.values(name)
	switch len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	}
	return "", fmt.Errorf("Found multiple arguments for option %s, but you asked for only one", name)
}

// integer reads an Integer (32 bits) or a Long (64 bits); ok is false when the option has no value.
func (o *options) integer(name string, bits int) (n int64, ok bool, err error) {
	v, err := o.text(name)
	if err != nil || v == "" {
		return 0, false, err
	}
	n, err = strconv.ParseInt(v, 10, bits)
	if err != nil {
		return 0, false, fmt.Errorf("Cannot parse argument '%s' of option %s", v, name)
	}
	return n, true, nil
}

// wrong makes a usage error of this tool.
func (o *options) wrong(format string, args ...any) error {
	return &usage{message: fmt.Sprintf(format, args...), options: o}
}

// start answers a call without arguments, --help and --version; done says that there is nothing more to do.
func (o *options) start(c *call, purpose string) error {
	if o.words == 0 || o.has("help") {
		return o.wrong("%s", purpose)
	}
	if o.has("version") {
		c.println(kafkaVersion)
		return exit(0)
	}
	return nil
}

func (o *options) requireAll(names ...string) error {
	for _, n := range names {
		if !o.has(n) {
			return o.wrong(`Missing required argument "[%s]"`, n)
		}
	}
	return nil
}

func (o *options) requireOneOf(names ...string) error {
	n := 0
	for _, name := range names {
		if o.has(name) {
			n++
		}
	}
	if n == 1 {
		return nil
	}
	return o.wrong("Exactly one of the following arguments is required: %s", bracketed(names))
}

// refuse forbids the others where name is given.
func (o *options) refuse(name string, others ...string) error {
	if !o.has(name) {
		return nil
	}
	for _, other := range others {
		if o.has(other) {
			return o.wrong(`Option "[%s]" can't be used with option "[%s]"`, name, other)
		}
	}
	return nil
}

func bracketed(names []string) string {
	var b []string
	for _, n := range names {
		b = append(b, "["+n+"]")
	}
	return strings.Join(b, ", ")
}

// keyValues reads key=value arguments; a missing value is the empty one.
func keyValues(args []string) map[string]string {
	m := map[string]string{}
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	return m
}

// firstError runs checks in order until one complains.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
