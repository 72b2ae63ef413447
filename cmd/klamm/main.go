// Command klamm is every program of Klamm in one binary: the broker and controller (`klamm start`) and Kafka's tools, as
// subcommands (`klamm topics`) and under their own names (`kafka-topics`, through links to the binary).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/klamm-io/klamm/internal/cli"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cancel(stopped((<-signals).(syscall.Signal)))
		os.Exit(stopped((<-signals).(syscall.Signal)).ExitCode()) // who asks twice does not want to wait
	}()
	if code, handled := cli.Run(ctx, os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr); handled {
		return code
	}
	root := &cobra.Command{
		Use:           "klamm",
		Short:         "Klamm is Apache Kafka in one binary: broker, controller and tools",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(startCommand())
	for _, name := range cli.Names() {
		if c, ok := cli.Command(name); ok {
			root.AddCommand(c)
		}
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code, ok := cli.ExitCode(err); ok {
		return code
	}
	fmt.Fprintln(os.Stderr, "klamm:", err)
	return 1
}

// stopped is the cause of a context that a signal ended.
type stopped syscall.Signal

func (s stopped) Error() string { return "stopped by " + syscall.Signal(s).String() }

// ExitCode is what shells expect of a program that a signal ended.
func (s stopped) ExitCode() int { return 128 + int(s) }
