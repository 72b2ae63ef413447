package main

import (
	"context"
	"slices"
	"time"
)

// connectionsRow holds many connections, each with so many one-record requests a second.
func connectionsRow(name, title string, connections int, perSecond float64) row {
	return row{name, title, []string{perMillion, "ms p99"}, []float64{0.4, 0.5}, func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		p := producing{size: 1 << 10, acks: 1}
		err = withTopic(ctx, b, func(topic string) error {
			rs := p.requests(topic)
			all := make([]*conn, connections)
			defer func() {
				for _, c := range all {
					if c != nil {
						_ = c.Close()
					}
				}
			}()
			ask := func(i int) error {
				if _, err := all[i].Write(rs.frames[i%partitions]); err != nil {
					return err
				}
				return all[i].acknowledged()
			}
			for i := range all {
				if all[i], err = dial(ctx, b.address); err != nil {
					return err
				}
				if err := ask(i); err != nil {
					return err
				}
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			const rounds = 40
			interval := time.Duration(1e9 / perSecond)
			took := make([]float64, connections*rounds)
			start := time.Now().Add(100 * time.Millisecond)
			err = each(connections, func(i int) error {
				for k := range rounds {
					due := start.Add(interval*time.Duration(k) + interval*time.Duration(i)/time.Duration(connections))
					time.Sleep(time.Until(due))
					if err := ask(i); err != nil {
						return err
					}
					took[i*rounds+k] = time.Since(due).Seconds() * 1000
				}
				return nil
			})
			if err != nil {
				return err
			}
			cpu, err := m.end(&f)
			slices.Sort(took)
			f.Values = []float64{cpu / float64(len(took)) * 1e6, percentile(took, 99)}
			return err
		})
		return f, err
	}}
}
