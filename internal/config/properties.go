package config

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// propertiesMax bounds a configuration file; a real one has a few KiB.
const propertiesMax = 4 << 20

// ParseProperties reads Java's .properties format: a key, then '=', ':' or blanks, then the value; '#' and '!' begin a
// comment line; a backslash at the end of a line joins the next one, its leading blanks cut; \t \n \r \f \uXXXX stand
// for their characters, and a backslash before anything else for that character. A key that comes twice counts with
// its last value. Java reads ISO 8859-1; here UTF-8 is read as such and only other bytes as ISO 8859-1.
func ParseProperties(r io.Reader) (map[string]string, error) {
	b, err := io.ReadAll(io.LimitReader(r, propertiesMax+1))
	if err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	if len(b) > propertiesMax {
		return nil, fmt.Errorf("properties: larger than %d bytes", propertiesMax)
	}
	props := map[string]string{}
	rest, number := latin(b), 0
	for rest != "" {
		var line string
		number++
		start := number
		line, rest = cutLine(rest)
		line = trimBlank(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) {
			line = line[:len(line)-1]
			if rest == "" {
				break
			}
			var next string
			next, rest = cutLine(rest)
			number++
			line += trimBlank(next)
		}
		k, v := cutKey(line)
		key, err := unescape(k)
		if err == nil {
			props[key], err = unescape(v)
		}
		if err != nil {
			return nil, fmt.Errorf("properties: line %d: %w", start, err)
		}
	}
	return props, nil
}

func latin(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			r = rune(b[0])
		}
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// cutLine takes one natural line off; \n, \r and \r\n end it.
func cutLine(s string) (line, rest string) {
	i := strings.IndexAny(s, "\r\n")
	if i < 0 {
		return s, ""
	}
	if strings.HasPrefix(s[i:], "\r\n") {
		return s[:i], s[i+2:]
	}
	return s[:i], s[i+1:]
}

func trimBlank(s string) string { return strings.TrimLeft(s, " \t\f") }

// continues says whether a line ends in an odd number of backslashes.
func continues(s string) bool { return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1 }

// cutKey divides a logical line at the first separator that no backslash hides.
func cutKey(s string) (key, value string) {
	end := len(s)
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", s[i]) >= 0 {
			end = i
			break
		}
	}
	value = trimBlank(s[end:])
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = trimBlank(value[1:])
	}
	return s[:end], value
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			out.WriteByte('\t')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			r, n, err := unicodeEscape(s[i-1:])
			if err != nil {
				return "", err
			}
			out.WriteRune(r)
			i += n - 2
		default:
			out.WriteByte(s[i]) // the rest of a longer character follows by itself
		}
	}
	return out.String(), nil
}

// unicodeEscape reads \uXXXX, or two of them that are one character in UTF-16, and how many bytes they take.
func unicodeEscape(s string) (rune, int, error) {
	r, err := hex4(s)
	if err != nil {
		return 0, 0, err
	}
	if utf16.IsSurrogate(r) && strings.HasPrefix(s[6:], `\u`) {
		low, err := hex4(s[6:])
		if err != nil {
			return 0, 0, err
		}
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return both, 12, nil
		}
	}
	return r, 6, nil
}

func hex4(s string) (rune, error) {
	var r rune
	if len(s) < 6 {
		return 0, fmt.Errorf("malformed \\uxxxx encoding")
	}
	for _, c := range []byte(s[2:6]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if c >= '0' && c <= '9' {
			d = int(c - '0')
		} else if d < 10 {
			return 0, fmt.Errorf("malformed \\uxxxx encoding")
		}
		r = r<<4 | rune(d)
	}
	return r, nil
}
