// Package cli holds Apache Kafka's command line tools, one file each: the flags, output, errors and exit codes of
// Kafka 4.3, over franz-go.
//
// Contract: a tool speaks Kafka's wire protocol and nothing else, so it works against Apache Kafka exactly as against
// Klamm. It owns no process state: arguments, streams and the context come from the caller, the exit code goes back.
// What a script could match on (standard output, the first line of an error, the exit code) is Kafka's; usage texts are
// ours, in Kafka's layout; Java's stack traces have no counterpart.
//
// Two habits of the originals are kept on purpose: --help prints on standard error and ends with 1, and collections
// print in the order in which a java.util.HashMap holds them (javaorder.go) where Kafka prints from one.
package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// kafkaVersion is what --version prints: the release whose surface these tools have.
const kafkaVersion = "4.3.1"

// tool is one program. run returns nil for exit code 0; an error that is not one of this package's own is printed as it
// is and ends with 1.
type tool struct {
	name  string // with the kafka- prefix
	short string
	run   func(ctx context.Context, c *call) error
}

// tools lists the programs; a name appears only when the tool is whole.
var tools = []tool{
	{"kafka-console-consumer", "read records from topics and print them", consoleConsumer},
	{"kafka-console-producer", "read lines and publish them to a topic", consoleProducer},
	{"kafka-delete-records", "delete records below an offset", deleteRecords},
	{"kafka-get-offsets", "print the offsets of partitions", getOffsets},
	{"kafka-groups", "list groups of all types", groups},
	{"kafka-storage", "format log directories and tell what is in them", storage},
	{"kafka-topics", "create, list, describe, alter and delete topics", topics},
}

// call is one run of a tool.
type call struct {
	args   []string
	stdin  io.Reader
	out    *bufio.Writer // standard output; flushed when the tool ends
	stderr io.Writer
	now    func() time.Time
}

func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }
func (c *call) println(line string)               { c.out.WriteString(line + "\n") }
func (c *call) errln(line string)                 { fmt.Fprintln(c.stderr, line) }

// log writes a line as Kafka's tools log it: to standard error, with the logger's name behind the text.
func (c *call) log(level, logger, message string) {
	fmt.Fprintf(c.stderr, "[%s] %s %s (%s)\n", c.now().Format("2006-01-02 15:04:05,000"), level, message, logger)
}

// exit ends a tool with a code when everything that is to be said has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usage is a wrong call: the message and the options go to standard error, exit code 1.
type usage struct {
	message string
	options *options
}

func (u *usage) Error() string { return u.message }

// Names lists the tools by their full names, sorted.
func Names() []string {
	var names []string
	for _, t := range tools {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}

// find knows kafka-topics, kafka-topics.sh and topics, with or without a directory before it.
func find(name string) (tool, bool) {
	name = strings.TrimSuffix(filepath.Base(name), ".sh")
	i := slices.IndexFunc(tools, func(t tool) bool { return t.name == name || t.name == "kafka-"+name })
	if i < 0 {
		return tool{}, false
	}
	return tools[i], true
}

// Command gives a tool as a subcommand, for klamm topics and its sisters. Flags are the tool's own business: cobra
// hands the arguments through unread. RunE's error carries the exit code; ExitCode reads it.
func Command(name string) (*cobra.Command, bool) {
	t, ok := find(name)
	if !ok {
		return nil, false
	}
	return &cobra.Command{
		Use:                strings.TrimPrefix(t.name, "kafka-"),
		Aliases:            []string{t.name, t.name + ".sh"},
		Short:              t.short,
		DisableFlagParsing: true,
		SilenceErrors:      true,
		SilenceUsage:       true,
		RunE: func(cmd *cobra.Command, args []string) error {
			code := execute(cmd.Context(), t, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			if code != 0 {
				return exit(code)
			}
			return nil
		},
	}, true
}

// ExitCode is the exit code that an error of a Command's RunE stands for; ok is false for an error of another origin.
func ExitCode(err error) (code int, ok bool) {
	var e exit
	if errors.As(err, &e) {
		return int(e), true
	}
	return 0, false
}

// Run runs the tool that argv0's base names; handled is false when it names none. When ctx ends while a tool works (the
// caller cancels it on SIGINT or SIGTERM) the tool finishes as Kafka's shutdown hooks do, and the code is 130, or that
// of an ExitCode() int method on the context's cause.
func Run(ctx context.Context, argv0 string, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int, handled bool) {
	t, ok := find(argv0)
	if !ok {
		return 0, false
	}
	return execute(ctx, t, args, stdin, stdout, stderr), true
}

func execute(ctx context.Context, t tool, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if ctx == nil {
		ctx = context.Background()
	}
	c := &call{args: args, stdin: stdin, out: bufio.NewWriterSize(stdout, 64<<10), stderr: &lockedWriter{w: stderr}, now: time.Now}
	err := t.run(ctx, c)
	flushErr := c.out.Flush()
	code := c.finish(err)
	if code == 0 && flushErr != nil {
		c.errln("Unable to write to standard out: " + flushErr.Error())
		code = 1
	}
	if ctx.Err() != nil {
		code = 130
		var stopped interface{ ExitCode() int }
		if errors.As(context.Cause(ctx), &stopped) {
			code = stopped.ExitCode()
		}
	}
	return code
}

func (c *call) finish(err error) int {
	var (
		e exit
		u *usage
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e)
	case errors.As(err, &u):
		c.errln(u.message)
		if u.options != nil {
			u.options.printHelp(c.stderr)
		}
		return 1
	}
	c.errln(err.Error())
	return 1
}
