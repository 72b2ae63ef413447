// Command bench measures Klamm beside Apache Kafka on this machine, in one run: the same client, topics and settings, legs in
// the order A B B A, and the ratio of each pair. The figure to trust is broker CPU seconds for a unit of work: rates move
// with whatever else the machine does, ratios of CPU much less. Both brokers live through the whole run; the JVM gets a
// warm-up that is not counted.
//
// A leg during which other programs used more than 15 % of the machine, or the machine below did not give as much, is measured
// again, at most --again times; the result says how much it was.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type settings struct {
	pairs  int
	rows   string
	klamm  string
	kafka  string
	self   bool
	alone  bool
	again  int
	out    string
	warmup int64
	bytes  int64
}

func main() {
	var s settings
	flag.IntVar(&s.pairs, "pairs", 5, "pairs of legs for each row")
	flag.StringVar(&s.rows, "rows", "", "names of rows, comma-separated; by default all but connections-10k, partitions-10k, partitions-50k and recovery, which take minutes, and with one pair also but produce-1000-partitions, idle and offsets-1m, which take Apache Kafka nearly one")
	flag.StringVar(&s.klamm, "klamm", "bin/klamm", "Klamm's binary")
	flag.StringVar(&s.kafka, "kafka", "test/kafka/kafka.sh", "the launcher of Apache Kafka")
	flag.BoolVar(&s.self, "self", false, "measure Apache Kafka against itself: the harness's own error")
	flag.BoolVar(&s.alone, "alone", false, "measure Klamm alone, to compare two states of it")
	flag.IntVar(&s.again, "again", 2, "how often a disturbed leg is measured again")
	flag.StringVar(&s.out, "json", "", "also write the result to this file")
	flag.Int64Var(&s.warmup, "warmup", 2_000_000, "records that warm the brokers up, not counted")
	flag.Int64Var(&s.bytes, "bytes", 1<<29, "bytes of records in a leg")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "klamm-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var brokers []*broker
	for i, k := range kinds(s) {
		b, err := startBroker(ctx, k.name, k.command, filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer b.stop()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		fmt.Fprintf(os.Stderr, "warming %s up with %d records\n", b.name, s.warmup)
		if err := warm(ctx, b, s.warmup); err != nil {
			return fmt.Errorf("warming %s up: %w", b.name, err)
		}
	}
	var results []result
	var failed []string // a row that fails takes no other with it
	for _, r := range rows() {
		if named := slices.Contains(strings.Split(s.rows, ","), r.name); !named && (s.rows != "" || asked[r.name] || s.pairs == 1 && long[r.name]) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		res, err := measure(ctx, r, brokers, s)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			failed = append(failed, r.name)
		}
		if len(res.Legs) > 0 {
			results = append(results, res)
		}
	}
	fmt.Fprintln(os.Stderr, "all rows took", time.Since(began).Round(time.Second))
	report(os.Stdout, brokers, results)
	if s.out != "" {
		raw, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.out, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("these rows failed: %s", strings.Join(failed, ", "))
	}
	return ctx.Err()
}

type kind struct {
	name    string
	command []string
}

// kinds are who is measured: the first one is what the others are divided by.
func kinds(s settings) []kind {
	kafka, klamm := kind{"Apache Kafka", []string{s.kafka, "serve"}}, kind{klammName, []string{s.klamm, "start"}}
	switch {
	case s.alone:
		return []kind{klamm}
	case s.self:
		return []kind{kafka, {"Apache Kafka again", kafka.command}}
	}
	return []kind{kafka, klamm}
}

// measure runs the legs of a row, every other time in reverse.
func measure(ctx context.Context, r row, brokers []*broker, s settings) (result, error) {
	res := result{Row: r.name, Units: r.units, Title: r.title, Goals: r.goal}
	for i := range s.pairs {
		legs := make([]figure, len(brokers))
		for k := range brokers {
			if i%2 == 1 {
				k = len(brokers) - 1 - k
			}
			f, err := measured(ctx, r, brokers[k], s)
			if err != nil {
				return res, fmt.Errorf("%s on %s: %w", r.name, brokers[k].name, err)
			}
			legs[k] = f
		}
		fmt.Fprintf(os.Stderr, "%-12s %d of %d:", r.name, i+1, s.pairs)
		for k, f := range legs {
			fmt.Fprintf(os.Stderr, " %s %.3f (%.0f %% foreign, %.0f %% stolen)", brokers[k].name, f.Values, 100*f.Foreign, 100*f.Stolen)
		}
		fmt.Fprintln(os.Stderr)
		res.Legs = append(res.Legs, legs)
	}
	return res, nil
}
