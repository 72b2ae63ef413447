package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
)

// pair is two legs that ran one after the other.
type pair struct {
	A figure `json:"kafka"`
	B figure `json:"klamm"`
}

func (p pair) ratio() float64 { return p.B.CPU / p.A.CPU }

type result struct {
	Row   string `json:"row"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	Pairs []pair `json:"pairs"`
}

func processors() int { return runtime.NumCPU() }

// report prints one line a row: medians, and the ratio with its spread.
func report(w io.Writer, a, b *broker, results []result) {
	fmt.Fprintf(w, "\n| row | unit | %s | %s | ratio | min to max | MiB/s | RSS MiB |\n|---|---|---|---|---|---|---|---|\n", a.name, b.name)
	for _, r := range results {
		at := func(f func(pair) float64) float64 { return median(r.Pairs, f) }
		lo, hi := spread(r.Pairs)
		fmt.Fprintf(w, "| %s | %s | %.2f | %.2f | **%.2f** | %.2f to %.2f | %.0f / %.0f | %.0f / %.0f |\n", r.Title, r.Unit,
			at(func(p pair) float64 { return p.A.CPU }), at(func(p pair) float64 { return p.B.CPU }), at(pair.ratio), lo, hi,
			at(func(p pair) float64 { return p.A.Rate }), at(func(p pair) float64 { return p.B.Rate }),
			at(func(p pair) float64 { return p.A.RSS }), at(func(p pair) float64 { return p.B.RSS }))
	}
}

func median(ps []pair, f func(pair) float64) float64 {
	var v []float64
	for _, p := range ps {
		v = append(v, f(p))
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func spread(ps []pair) (lo, hi float64) {
	lo, hi = ps[0].ratio(), ps[0].ratio()
	for _, p := range ps {
		lo, hi = min(lo, p.ratio()), max(hi, p.ratio())
	}
	return lo, hi
}
