// Command bench measures Klamm beside Apache Kafka on this machine, in one run: the same client, topics and settings, legs in
// the order A B B A, and the ratio of each pair. The figure to trust is broker CPU seconds for a unit of work: rates move
// with whatever else the machine does, ratios of CPU much less. Both brokers live through the whole run; the JVM gets a
// warm-up that is not counted.
//
// A leg during which other programs used more than 15 % of the machine is measured again, at most twice.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

type settings struct {
	pairs  int
	rows   string
	klamm  string
	kafka  string
	self   bool
	out    string
	warmup int64
	bytes  int64
}

func main() {
	var s settings
	flag.IntVar(&s.pairs, "pairs", 5, "pairs of legs for each row")
	flag.StringVar(&s.rows, "rows", "", "names of rows, comma-separated; all by default")
	flag.StringVar(&s.klamm, "klamm", "bin/klamm", "Klamm's binary")
	flag.StringVar(&s.kafka, "kafka", "test/kafka/kafka.sh", "the launcher of Apache Kafka")
	flag.BoolVar(&s.self, "self", false, "measure Apache Kafka against itself: the harness's own error")
	flag.StringVar(&s.out, "json", "", "also write the result to this file")
	flag.Int64Var(&s.warmup, "warmup", 2_000_000, "records that warm the brokers up, not counted")
	flag.Int64Var(&s.bytes, "bytes", 1<<30, "bytes of records in a leg")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "klamm-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a, err := startBroker(ctx, "Apache Kafka", []string{s.kafka, "serve"}, filepath.Join(dir, "a"))
	if err != nil {
		return err
	}
	defer a.stop()
	second := []string{s.klamm, "start"}
	name := "Klamm"
	if s.self {
		second, name = []string{s.kafka, "serve"}, "Apache Kafka again"
	}
	b, err := startBroker(ctx, name, second, filepath.Join(dir, "b"))
	if err != nil {
		return err
	}
	defer b.stop()
	for _, x := range []*broker{a, b} {
		fmt.Fprintf(os.Stderr, "warming %s up with %d records\n", x.name, s.warmup)
		if err := warm(ctx, x, s.warmup); err != nil {
			return fmt.Errorf("warming %s up: %w", x.name, err)
		}
	}
	var results []result
	for _, r := range rows() {
		if s.rows != "" && !strings.Contains(","+s.rows+",", ","+r.name+",") {
			continue
		}
		res := result{Row: r.name, Unit: r.unit, Title: r.title}
		for i := range s.pairs {
			order := []*broker{a, b}
			if i%2 == 1 {
				order = []*broker{b, a}
			}
			var p pair
			for _, x := range order {
				f, err := leg(ctx, r, x, s.bytes)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", r.name, x.name, err)
				}
				if x == a {
					p.A = f
				} else {
					p.B = f
				}
			}
			fmt.Fprintf(os.Stderr, "%-12s pair %d of %d: %s %.3f, %s %.3f %s, ratio %.2f\n", r.name, i+1, s.pairs, a.name, p.A.CPU, b.name, p.B.CPU, r.unit, p.ratio())
			res.Pairs = append(res.Pairs, p)
		}
		results = append(results, res)
	}
	report(os.Stdout, a, b, results)
	if s.out == "" {
		return nil
	}
	raw, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, append(raw, '\n'), 0o644)
}
