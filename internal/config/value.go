package config

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// value is one parsed value. text is its canonical form, as DescribeConfigs shows it.
type value struct {
	text  string
	raw   string // as given; only when set
	set   bool
	null  bool
	n     int64 // Int, Short, Long; Boolean as 0 or 1
	f     float64
	list  []string
	twice bool // the list named something twice, which counts once
}

var commaBlank = regexp.MustCompile(`[ \t\n\v\f\r]*,[ \t\n\v\f\r]*`)

// parse reads a value by the key's type, then by its rule.
func (k *Key) parse(raw string) (value, error) {
	v, err := k.parseType(raw)
	if err != nil {
		return value{}, err
	}
	if k.rule != nil {
		if err := k.rule.check(k, raw, v); err != nil {
			return value{}, err
		}
	}
	return v, nil
}

func (k *Key) parseType(raw string) (value, error) {
	s := javaTrim(raw)
	v := value{text: s, raw: raw, set: true}
	switch k.Type {
	case Boolean:
		switch strings.ToLower(s) {
		case "true":
			v.n, v.text = 1, "true"
		case "false":
			v.text = "false"
		default:
			return v, k.invalid(raw, raw, "Expected value to be either true or false")
		}
	case Int, Short, Long:
		bits := map[Type]int{Int: 32, Short: 16, Long: 64}[k.Type]
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return v, k.invalid(raw, raw, "Not a number of type "+k.Type.String())
		}
		v.n, v.f, v.text = n, float64(n), strconv.FormatInt(n, 10)
	case Double:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(s, "_xX") {
			return v, k.invalid(raw, raw, "Not a number of type "+k.Type.String())
		}
		v.f, v.text = f, javaDouble(f)
	case List:
		if s != "" {
			v.list = commaBlank.Split(s, -1)
		}
		if _, ok := k.rule.(distinct); ok {
			n := len(v.list)
			v.list = once(v.list)
			v.twice = len(v.list) < n
		}
		v.text = strings.Join(v.list, ",")
	case Class:
		if s == "" {
			return v, k.invalid(raw, raw, "Class "+raw+" could not be found.")
		}
	}
	return v, nil
}

// once keeps the first of equal entries.
func once(list []string) []string {
	var kept []string
	for _, e := range list {
		if !slices.Contains(kept, e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func javaList(l []string) string { return "[" + strings.Join(l, ", ") + "]" }

// javaTrim cuts what String.trim cuts: everything up to and including the blank.
func javaTrim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// javaDouble prints a number as Double.toString does: 0.5, 1.0E-4, 1.7976931348623157E308.
func javaDouble(f float64) string {
	a := math.Abs(f)
	switch {
	case math.IsInf(f, 0):
		return strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity", 1)[btoi(f > 0):]
	case a == 0 || a >= 1e-3 && a < 1e7:
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
