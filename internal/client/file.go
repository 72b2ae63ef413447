package client

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// maxPropertyFile bounds what ReadProperties reads: a client's properties are a few hundred bytes.
const maxPropertyFile = 1 << 20

// ReadProperties reads a file in the format of java.util.Properties, as --command-config names it.
func ReadProperties(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("property file: %w", err)
	}
	if info.Size() > maxPropertyFile {
		return nil, fmt.Errorf("property file %s: %d bytes are more than the %d that a property file may have", path, info.Size(), maxPropertyFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("property file: %w", err)
	}
	props, err := parseProperties(string(b))
	if err != nil {
		return nil, fmt.Errorf("property file %s: %w", path, err)
	}
	return props, nil
}

// parseProperties reads java.util.Properties' format: # and ! begin comments; a line that ends in an odd number of
// backslashes goes on in the next; key and value part at the first unescaped =, : or white space; \t \n \r \f and
// \uXXXX are escapes, before any other character a backslash disappears. The last of equal keys counts.
func parseProperties(text string) (map[string]string, error) {
	props := map[string]string{}
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) {
			line = line[:len(line)-1]
			if i+1 == len(lines) {
				break
			}
			i++
			line += strings.TrimLeft(lines[i], " \t\f")
		}
		end := 0
		for end < len(line) && !strings.ContainsRune("=: \t\f", rune(line[end])) {
			if line[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(line))
		value := strings.TrimLeft(line[end:], " \t\f")
		if value != "" && (value[0] == '=' || value[0] == ':') {
			value = strings.TrimLeft(value[1:], " \t\f")
		}
		key, err := unescape(line[:end])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if props[key], err = unescape(value); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return props, nil
}

func continues(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+5 > len(s) {
				return "", fmt.Errorf(`malformed \uxxxx in %q`, s)
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`malformed \uxxxx in %q`, s)
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
