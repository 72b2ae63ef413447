package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/node"
)

// shutdownMax is how long a stop may take before what is left is cut short. Kafka waits as long as it takes; who stops a
// container kills it after ten seconds by default, and a clean marker is worth more than the last answers.
const shutdownMax = 8 * time.Second

func startCommand() *cobra.Command {
	var overrides []string
	var level string
	c := &cobra.Command{
		Use:   "start [server.properties]",
		Short: "start a broker and controller",
		Long: `Start a broker and controller.

Without a configuration this is a single node on localhost:9092 that keeps its data in ./data and formats it by itself.
Keys come from the file, then from the environment (KAFKA_LOG_RETENTION_HOURS=24 is log.retention.hours=24), then from
--override; a later place wins.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			return start(cmd.Context(), file, overrides, level)
		},
	}
	c.Flags().StringArrayVar(&overrides, "override", nil, "key=value that wins over file and environment; may be given often")
	c.Flags().StringVar(&level, "log-level", "info", "least level of lines in the log: debug, info, warn or error")
	return c
}

// properties joins the three places that keys come from.
func properties(file string, environ, overrides []string) (map[string]string, error) {
	props := map[string]string{}
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("the configuration cannot be read: %w", err)
		}
		defer f.Close()
		if props, err = config.ParseProperties(f); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	maps.Copy(props, config.FromEnv(environ))
	for _, o := range overrides {
		k, v, ok := strings.Cut(o, "=")
		if !ok || strings.TrimSpace(k) == "" {
			return nil, fmt.Errorf("--override %q is not key=value", o)
		}
		props[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return props, nil
}

func start(ctx context.Context, file string, overrides []string, level string) error {
	began := time.Now()
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("--log-level %q: debug, info, warn or error", level)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: least}))
	props, err := properties(file, os.Environ(), overrides)
	if err != nil {
		return err
	}
	c, warnings, err := config.NewNode(props)
	for _, w := range warnings {
		logger.Warn(w.String())
	}
	if err != nil {
		return errors.New(strings.Join(config.Explain(err), "\nklamm: "))
	}
	n, err := node.Start(ctx, node.Options{Config: c, Logger: logger})
	if err != nil {
		return err
	}
	logger.Info("Klamm is ready", "bootstrap", strings.Join(n.Bootstrap(), ","), "node", c.NodeID, "cluster", n.ClusterID(),
		"data", strings.Join(c.LogDirs, ","), "version", version, "took", time.Since(began).Round(time.Millisecond))
	debug.FreeOSMemory() // a start with many partitions leaves more garbage than it keeps, and an idle node does not collect it
	var failure error
	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case failure = <-n.Failed():
	}
	stop, cancel := context.WithTimeout(context.Background(), shutdownMax)
	defer cancel()
	err = n.Close(stop)
	if failure != nil {
		return failure
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the node did not stop cleanly: %w", err)
	}
	logger.Info("stopped")
	return nil
}
