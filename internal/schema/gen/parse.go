package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// versions is a closed range; max of an open range is openEnd.
type versions struct{ min, max int16 }

const openEnd = 1<<15 - 1

func (v versions) covers(o versions) bool { return v.min <= o.min && v.max >= o.max }

// definition is one struct or message of a file.
type definition struct {
	kind     string // struct, metadata, control, key, value, data
	number   int16  // record type, control type or key type
	name     string
	versions versions
	flexible versions // min > max: never
	fields   []field
}

func (d *definition) message() bool { return d.kind != "struct" }

// kafkaName is the name that Apache's definition has, which operators and other tools know.
func (d *definition) kafkaName() string {
	switch {
	case d.name == "LeaderChange":
		return "LeaderChangeMessage"
	case d.name == "KRaftVoters":
		return "VotersRecord"
	case d.kind == "metadata", d.kind == "control":
		return d.name + "Record"
	}
	return d.name
}

type field struct {
	name     string
	base     string // element type
	array    bool
	nullable bool
	versions versions
	tag      int // -1: not tagged
	def      string
	note     string
}

// scalars are the types with a fixed width, in bytes.
func scalarWidth(base string) int {
	switch base {
	case "bool", "int8":
		return 1
	case "int16", "uint16":
		return 2
	case "int32", "uint32":
		return 4
	case "int64", "float64":
		return 8
	case "uuid":
		return 16
	}
	return 0
}

func (f *field) isStruct() bool {
	return scalarWidth(f.base) == 0 && f.base != "string" && f.base != "bytes"
}

// parse reads one definition file.
func parse(file, text string) ([]*definition, error) {
	var defs []*definition
	for i, line := range strings.Split(text, "\n") {
		code, note, _ := strings.Cut(line, "#")
		words := strings.Fields(code)
		if len(words) == 0 {
			continue
		}
		var err error
		if strings.HasPrefix(line, " ") {
			if len(defs) == 0 {
				return nil, fmt.Errorf("%s:%d: field before any definition", file, i+1)
			}
			var f field
			f, err = parseField(words)
			f.note = strings.TrimSpace(note)
			d := defs[len(defs)-1]
			d.fields = append(d.fields, f)
		} else {
			var d *definition
			d, err = parseHead(words)
			defs = append(defs, d)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	return defs, nil
}

func parseHead(words []string) (*definition, error) {
	d := &definition{kind: words[0], flexible: versions{1, 0}, versions: versions{0, openEnd}}
	if !slices.Contains([]string{"struct", "metadata", "control", "key", "value", "data"}, d.kind) {
		return nil, fmt.Errorf("unknown kind %q", d.kind)
	}
	words = words[1:]
	if len(words) > 0 {
		if n, err := strconv.ParseInt(words[0], 10, 16); err == nil {
			d.number, words = int16(n), words[1:]
		}
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("%s without a name", d.kind)
	}
	d.name = words[0]
	if !d.message() {
		return d, nil
	}
	if len(words) != 3 {
		return nil, fmt.Errorf("%s %s wants versions and flexible=", d.kind, d.name)
	}
	var err error
	if d.versions, err = parseVersions(words[1]); err != nil {
		return nil, err
	}
	if s := strings.TrimPrefix(words[2], "flexible="); s != "none" {
		d.flexible, err = parseVersions(s)
	}
	return d, err
}

func parseField(words []string) (field, error) {
	if len(words) < 2 {
		return field{}, fmt.Errorf("field %q has no type", words[0])
	}
	f := field{name: words[0], base: words[1], versions: versions{0, openEnd}, tag: -1}
	f.base, f.array = strings.CutPrefix(f.base, "[]")
	f.base, f.nullable = strings.CutSuffix(f.base, "?")
	for _, w := range words[2:] {
		var err error
		switch key, value, _ := strings.Cut(w, "="); key {
		case "tag":
			f.tag, err = strconv.Atoi(value)
		case "default":
			f.def = value
		default:
			f.versions, err = parseVersions(w)
		}
		if err != nil {
			return field{}, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return f, nil
}

func parseVersions(s string) (versions, error) {
	low, open := strings.CutSuffix(s, "+")
	low, high, ranged := strings.Cut(low, "-")
	lo, err := strconv.ParseInt(low, 10, 16)
	v := versions{int16(lo), int16(lo)}
	if open {
		v.max = openEnd
	}
	if err == nil && ranged {
		var hi int64
		hi, err = strconv.ParseInt(high, 10, 16)
		v.max = int16(hi)
	}
	if err != nil {
		return v, fmt.Errorf("bad versions %q", s)
	}
	return v, nil
}
