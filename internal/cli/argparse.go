package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// argument is one option of a command, with the names it has in the order in which messages show them.
type argument struct {
	flags     []string // --config, -c
	flag      bool     // takes no value
	required  bool
	exclusive bool // at most one of a command's exclusive arguments may be given
	help      string
}

// subcommand is one thing that a tool with an argparser can do.
type subcommand struct {
	name      string
	help      string
	arguments []argument
}

// argparser is a command line of Java's argparse4j, which the younger of Kafka's tools use: a subcommand and its
// options.
//
// The rules: options and subcommands may be cut short as long as one fits; one-letter options stand together (-gs) and
// take their value from the same word (-r3.9, -r=3.9) or the next one; a word that looks like an option is no value
// unless it is a negative number; -- ends the options; @file stands for the lines of a file; of an option given twice
// both values are kept, and who wants one takes the last.
type argparser struct {
	prog, about string
	commands    []subcommand
}

// parsed is what was given.
type parsed struct {
	command string
	given   map[string][]string // by an argument's first flag
}

func (p *parsed) has(flag string) bool { return len(p.given[flag]) > 0 }

// last is the value that counts of an option that takes one.
func (p *parsed) last(flag string) string {
	if v := p.given[flag]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// Limits of @file.
const (
	argFileMax = 1 << 20
	argsMax    = 100_000 // words on a command line
)

// argError is a wrong call; text is the whole of what is printed.
type argError struct{ text string }

func (e *argError) Error() string { return e.text }

// errHelp ends a call of --help after the help was printed.
var errHelp = errors.New("help")

var (
	negativeNumber = regexp.MustCompile(`^-\d+$`)
	helpArgument   = argument{flags: []string{"-h", "--help"}, flag: true, help: "show this help message and exit"}
)

// argState reads the words of a command line.
type argState struct {
	p         *argparser
	command   *subcommand // nil before it is known
	args      []string
	separated bool // -- was there
	out       *parsed
	exclusive *argument // the one given
}

// parse reads args. The error is *argError, or errHelp after the help went to c's output.
func (p *argparser) parse(c *call) (*parsed, error) {
	s := &argState{p: p, args: slices.Clone(c.args), out: &parsed{given: map[string][]string{}}}
	for len(s.args) > 0 {
		isFlag, err := s.atFlag()
		switch {
		case err != nil:
			return nil, err
		case isFlag && s.args[0] != "--":
			err = s.option(c)
		case isFlag && !s.separated:
			s.separated, s.args = true, s.args[1:]
		case s.command == nil && !s.separated:
			err = s.choose()
		default:
			err = s.unrecognized(strings.Join(s.args, " "))
		}
		if err != nil {
			return nil, err
		}
	}
	if s.command == nil {
		return nil, s.wrong("too few arguments")
	}
	var missing error // the last one is told, as argparse4j does
	for _, a := range s.command.arguments {
		if a.required && s.out.given[a.flags[0]] == nil {
			missing = s.wrong("argument %s is required", a.name())
		}
	}
	return s.out, missing
}

// atFlag says whether the next word is an option or --. It puts the lines of a file in the place of @file.
func (s *argState) atFlag() (bool, error) {
	for len(s.args) > 0 && len(s.args[0]) > 1 && s.args[0][0] == '@' {
		if err := s.insertFile(s.args[0][1:]); err != nil {
			return false, err
		}
	}
	if len(s.args) == 0 || s.separated {
		return false, nil
	}
	word := s.args[0]
	return len(word) > 1 && word[0] == '-' && !negativeNumber.MatchString(word), nil
}

func (s *argState) insertFile(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Size() > argFileMax {
		return s.wrong("Could not read arguments from file '%s': it has more than %d bytes", name, argFileMax)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return s.wrong("Could not read arguments from file '%s'", name)
	}
	lines := strings.FieldsFunc(strings.ReplaceAll(string(b), "\r\n", "\n"), func(r rune) bool { return r == '\n' || r == '\r' })
	s.args = append(lines, s.args[1:]...)
	if len(s.args) > argsMax || slices.Contains(lines, "@"+name) {
		return s.wrong("Could not read arguments from file '%s': there are too many, or it names itself", name)
	}
	return nil
}

// arguments are those that may stand where the reader is.
func (s *argState) arguments() []argument {
	if s.command == nil {
		return []argument{helpArgument}
	}
	return append([]argument{helpArgument}, s.command.arguments...)
}

func (s *argState) exact(flag string) *argument {
	for _, a := range s.arguments() {
		if slices.Contains(a.flags, flag) {
			return &a
		}
	}
	return nil
}

// resolve finds the argument that a flag names in full or in part; nil if there is none.
func (s *argState) resolve(flag string) (*argument, error) {
	if a := s.exact(flag); a != nil {
		return a, nil
	}
	var fit []string
	for _, a := range s.arguments() {
		for _, f := range a.flags {
			if strings.HasPrefix(f, flag) {
				fit = append(fit, f)
			}
		}
	}
	switch len(fit) {
	case 0:
		return nil, nil
	case 1:
		return s.exact(fit[0]), nil
	}
	slices.Sort(fit)
	return nil, s.wrong("ambiguous option: %s could match %s", flag, strings.Join(fit, ", "))
}

// option takes in the option that comes next, with its value.
func (s *argState) option(c *call) error {
	word := s.args[0]
	flag, value, embedded := strings.Cut(word, "=")
	a, err := s.resolve(flag)
	if err != nil {
		return err
	}
	if a == nil {
		if a, value, embedded, err = s.cluster(c, word); err != nil || a == nil {
			return err
		}
	}
	s.args = s.args[1:]
	if a.flag {
		if embedded {
			return s.wrong("argument %s: ignore implicit argument '%s'", a.name(), value)
		}
		return s.take(c, a, "")
	}
	if err := s.exclude(a); err != nil {
		return err
	}
	if !embedded {
		isFlag, err := s.atFlag()
		if err != nil {
			return err
		}
		if isFlag || len(s.args) == 0 {
			return s.wrong("argument %s: expected one argument", a.name())
		}
		value, s.args = s.args[0], s.args[1:]
	}
	return s.take(c, a, value)
}

// cluster reads one-letter options that stand in one word. The last may take a value: then it comes back, with what
// follows it in the word. Otherwise all are taken, and the word is consumed.
func (s *argState) cluster(c *call, word string) (a *argument, value string, embedded bool, err error) {
	if strings.HasPrefix(word, "--") {
		return nil, "", false, s.unrecognized(word)
	}
	for i, letter := range word {
		if i == 0 {
			continue
		}
		a := s.exact("-" + string(letter))
		if a == nil {
			return nil, "", false, s.unrecognized(word)
		}
		if !a.flag {
			rest := word[i+len(string(letter)):]
			return a, rest, rest != "", nil
		}
		if err := s.take(c, a, ""); err != nil {
			return nil, "", false, err
		}
	}
	s.args = s.args[1:]
	return nil, "", false, nil
}

func (s *argState) take(c *call, a *argument, value string) error {
	if a.flags[0] == helpArgument.flags[0] {
		s.printHelp(c.out)
		return errHelp
	}
	if err := s.exclude(a); err != nil {
		return err
	}
	s.out.given[a.flags[0]] = append(s.out.given[a.flags[0]], value)
	return nil
}

// exclude refuses the second of two arguments that exclude each other.
func (s *argState) exclude(a *argument) error {
	if !a.exclusive {
		return nil
	}
	if s.exclusive != nil && s.exclusive.flags[0] != a.flags[0] {
		return s.wrong("argument %s: not allowed with argument %s", a.name(), s.exclusive.name())
	}
	s.exclusive = a
	return nil
}

// choose takes the next word for the subcommand, in full or in part.
func (s *argState) choose() error {
	word := s.args[0]
	var fit, all []string
	for i, c := range s.p.commands {
		all = append(all, "'"+c.name+"'")
		if c.name == word {
			s.begin(&s.p.commands[i])
			return nil
		}
		if strings.HasPrefix(c.name, word) {
			fit = append(fit, c.name)
		}
	}
	switch len(fit) {
	case 0:
		return s.wrong("invalid choice: '%s' (choose from %s)", word, strings.Join(all, ", "))
	case 1:
		i := slices.IndexFunc(s.p.commands, func(c subcommand) bool { return c.name == fit[0] })
		s.begin(&s.p.commands[i])
		return nil
	}
	slices.Sort(fit)
	return s.wrong("ambiguous command: %s could match %s", word, strings.Join(fit, ", "))
}

func (s *argState) begin(c *subcommand) {
	s.command, s.out.command, s.args = c, c.name, s.args[1:]
}

func (s *argState) unrecognized(what string) error {
	return s.wrong("unrecognized arguments: '%s'", what)
}

// wrong makes the error with the usage before it.
func (s *argState) wrong(format string, args ...any) error {
	return &argError{s.usage() + wrap(s.p.prog+": error: "+fmt.Sprintf(format, args...), 0)}
}

// name is how messages call an argument.
func (a *argument) name() string { return strings.Join(a.flags, "/") }
