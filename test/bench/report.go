package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
)

type result struct {
	Row   string     `json:"row"`
	Title string     `json:"title"`
	Units []string   `json:"units"`
	Goals []float64  `json:"goals"`
	Legs  [][]figure `json:"legs"` // by repetition, then by broker
}

func processors() int { return runtime.NumCPU() }

// report prints one line for each thing that a row shows: medians, and the ratio of the pairs with its spread.
func report(w io.Writer, brokers []*broker, results []result) {
	fmt.Fprint(w, "\n| row | unit |")
	for _, b := range brokers {
		fmt.Fprintf(w, " %s |", b.name)
	}
	fmt.Fprint(w, " ratio | min to max | goal | MiB/s | RSS MiB | foreign |\n|---|---|---|---|---|---|---|---|---|")
	for range len(brokers) - 1 {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	last := len(brokers) - 1
	for _, r := range results {
		for i, unit := range r.Units {
			fmt.Fprintf(w, "| %s | %s |", r.Title, unit)
			for k := range brokers {
				fmt.Fprintf(w, " %.2f |", median(r.Legs, func(l []figure) float64 { return l[k].Values[i] }))
			}
			var ratios []float64
			for _, l := range r.Legs {
				ratios = append(ratios, l[last].Values[i]/l[0].Values[i])
			}
			fmt.Fprintf(w, " **%.2f** | %.2f to %.2f | %.2f |", middle(ratios), slices.Min(ratios), slices.Max(ratios), r.Goals[i])
			pair := func(f func(figure) float64, scale float64) {
				for k := range brokers {
					if k > 0 {
						fmt.Fprint(w, " /")
					}
					if v := scale * median(r.Legs, func(l []figure) float64 { return f(l[k]) }); v > 0 {
						fmt.Fprintf(w, " %.0f", v)
					} else {
						fmt.Fprint(w, " -")
					}
				}
				fmt.Fprint(w, " |")
			}
			pair(func(f figure) float64 { return f.Rate }, 1)
			pair(func(f figure) float64 { return f.RSS }, 1)
			pair(func(f figure) float64 { return f.Foreign }, 100)
			fmt.Fprintln(w)
		}
	}
}

func median(legs [][]figure, f func([]figure) float64) float64 {
	var v []float64
	for _, l := range legs {
		v = append(v, f(l))
	}
	return middle(v)
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
