package cli

import (
	"io"
	"strings"
)

// Layout of argparse4j: 75 columns, explanations from column 25 on, lines filled by widening the gaps between words.
const (
	argWidth      = 75
	argHelpColumn = 25
	argTitleMax   = 21 // a longer title has a line of its own
)

// usage is the line or lines that show what may be given.
func (s *argState) usage() string {
	head := "usage: " + s.p.prog
	var words []string
	if s.command == nil {
		words = []string{"[-h]", s.choices(), "..."}
	} else {
		words = s.command.syntax()
	}
	var b strings.Builder
	b.WriteString(head)
	width := len(head)
	for i, w := range words {
		if i > 0 && width+1+len(w) > argWidth {
			b.WriteString("\n" + strings.Repeat(" ", len(head)))
			width = len(head)
		}
		b.WriteString(" " + w)
		width += 1 + len(w)
	}
	return b.String() + "\n"
}

// choices are the subcommands' names.
func (s *argState) choices() string {
	var names []string
	for _, c := range s.p.commands {
		names = append(names, c.name)
	}
	return "{" + strings.Join(names, ",") + "}"
}

// syntax gives the words of a subcommand's usage; arguments that exclude each other come last, in one bracket.
func (c *subcommand) syntax() []string {
	words := []string{c.name, "[-h]"}
	var exclusive []string
	for _, a := range c.arguments {
		w := a.flags[0] + a.placeholder()
		switch {
		case a.exclusive:
			exclusive = append(exclusive, w, "|")
		case a.required:
			words = append(words, w)
		default:
			words = append(words, "["+w+"]")
		}
	}
	if len(exclusive) > 0 {
		exclusive = exclusive[:len(exclusive)-1]
		exclusive[0] = "[" + exclusive[0]
		exclusive[len(exclusive)-1] += "]"
	}
	return append(words, exclusive...)
}

// placeholder stands for an argument's value in usages.
func (a *argument) placeholder() string {
	if a.flag {
		return ""
	}
	return " " + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(a.flags[0], "-"), "-", "_"))
}

// printHelp prints the whole help: of the tool, or of the subcommand once it is known.
func (s *argState) printHelp(w io.Writer) {
	var b strings.Builder
	b.WriteString(s.usage())
	if s.command == nil {
		b.WriteString("\n" + wrap(s.p.about, 0) + "\n\npositional arguments:\n  " + s.choices() + "\n")
		for _, c := range s.p.commands {
			helpEntry(&b, "  "+c.name, c.help)
		}
	}
	b.WriteString("\noptional arguments:\n")
	for _, a := range s.arguments() {
		var titles []string
		for _, f := range a.flags {
			titles = append(titles, f+a.placeholder())
		}
		helpEntry(&b, strings.Join(titles, ", "), a.help)
	}
	_, _ = io.WriteString(w, b.String())
}

func helpEntry(b *strings.Builder, title, help string) {
	b.WriteString("  " + title)
	if len(title) <= argTitleMax {
		b.WriteString(strings.Repeat(" ", argHelpColumn-2-len(title)))
	} else {
		b.WriteString("\n" + strings.Repeat(" ", argHelpColumn))
	}
	b.WriteString(wrap(help, argHelpColumn) + "\n")
}

// wrap fills lines up to argWidth; those after the first are indented, and so is the first, by the caller.
func wrap(text string, indent int) string {
	room := argWidth - indent
	var b strings.Builder
	line := ""
	for _, piece := range wrappable(text) {
		if len(line)+len(piece) > room && line != "" {
			b.WriteString(justify(line, room) + "\n" + strings.Repeat(" ", indent))
			line = ""
		}
		line += piece
	}
	return b.String() + line
}

// wrappable cuts text into the pieces between which a line may end: after blanks, and before a letter behind a hyphen,
// a comma or a full stop.
func wrappable(text string) []string {
	var pieces []string
	start := 0
	for i := 1; i < len(text); i++ {
		before, here := text[i-1], text[i]
		letter := here|0x20 >= 'a' && here|0x20 <= 'z'
		if before == ' ' && here != ' ' || strings.IndexByte("-,.", before) >= 0 && letter {
			pieces = append(pieces, text[start:i])
			start = i
		}
	}
	return append(pieces, text[start:])
}

// justify widens the gaps of a line until it fills its room; what does not divide evenly goes to the gaps in the middle.
func justify(line string, room int) string {
	words := strings.Split(strings.Trim(line, " "), " ")
	gaps, missing := len(words)-1, room-len(strings.Trim(line, " "))
	if gaps == 0 || missing <= 0 {
		return strings.Trim(line, " ")
	}
	each, rest := missing/gaps, missing%gaps
	from := (gaps - rest + 1) / 2
	var b strings.Builder
	b.WriteString(words[0])
	for i, w := range words[1:] {
		n := 1 + each
		if i >= from && i < from+rest {
			n++
		}
		b.WriteString(strings.Repeat(" ", n) + w)
	}
	return b.String()
}
