package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Layout of the usage: two columns in 80 characters, as joptsimple's default formatter has them.
const (
	helpWidth  = 80
	helpGap    = 2
	helpIndent = "  "
)

func (o *options) printHelp(w io.Writer) {
	accepted := slices.SortedFunc(slices.Values(o.accepted), func(a, b option) int { return cmp.Compare(a.name, b.name) })
	type row struct{ left, right string }
	rows := []row{{"Option", "Description"}, {"------", "-----------"}}
	left := 0
	for _, a := range accepted {
		r := row{"--" + a.name, a.help}
		argument := a.kind
		if argument == "" {
			argument = "String"
		}
		if a.value != "" {
			argument += ": " + a.value
		}
		switch a.arity {
		case required:
			r.left += " <" + argument + ">"
		case optional:
			r.left += " [" + argument + "]"
		}
		if a.fallback != "" {
			r.right = strings.TrimSpace(r.right + " (default: " + a.fallback + ")")
		}
		rows = append(rows, r)
	}
	for _, r := range rows {
		left = max(left, len(r.left))
	}
	left = min(left, (helpWidth-helpGap)/2)
	right := helpWidth - left - helpGap
	for _, r := range rows {
		l, d := fold(r.left, left), fold(r.right, right)
		for i := range max(len(l), len(d)) {
			fmt.Fprintf(w, "%-*s%*s%-*s\n", left, at(l, i), helpGap, "", right, at(d, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// fold breaks text at spaces and after hyphens; lines after the first of a paragraph are indented.
func fold(text string, width int) []string {
	var lines []string
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n") {
		line := ""
		for _, word := range breakable(paragraph) {
			if len(line)+len(word) > width {
				lines = append(lines, strings.TrimRight(line, " "))
				line = helpIndent
			}
			line += word
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// breakable cuts a line into the pieces between which it may break.
func breakable(line string) []string {
	var pieces []string
	start := 0
	for i := 1; i < len(line); i++ {
		before, here := line[i-1], line[i]
		if before == ' ' && here != ' ' || before == '-' && here >= 'a' && here <= 'z' && i >= 2 {
			pieces = append(pieces, line[start:i])
			start = i
		}
	}
	return append(pieces, line[start:])
}
