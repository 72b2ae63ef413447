package delivery

import (
	"testing"
	"time"
)

// A fetch of 500 records in five batches, accepted as a whole or each record for itself, with two others in flight.
func BenchmarkDeliver(b *testing.B) {
	for _, x := range []struct {
		name string
		each bool
	}{{"batches", false}, {"records", true}} {
		b.Run(x.name, func(b *testing.B) {
			p := &Partition{}
			if err := p.Load(0, 0, nil); err != nil {
				b.Fatal(err)
			}
			c := Config{MaxDeliveries: 5, MaxLocks: 2000, Lock: 30 * time.Second}
			now := time.Unix(0, 0)
			var end int64
			fetch := func() (first int64) {
				var log []LogBatch
				for range 5 {
					log = append(log, LogBatch{First: end, Last: end + 99})
					end += 100
				}
				if got := p.Acquire(now, Fetch{Member: "m", Offset: p.NextOffset(), MaxRecords: 500, BatchSize: 100}, log, c); len(got) != 5 {
					b.Fatal(got)
				}
				return end - 500
			}
			fetch()
			fetch()
			b.ReportAllocs()
			for b.Loop() {
				fetch()
				first := end - 1500
				var acks []Acknowledgement
				if x.each {
					for o := first; o < first+500; o++ {
						acks = append(acks, Acknowledgement{o, o, []int8{Accept}})
					}
				} else {
					acks = append(acks, Acknowledgement{first, first + 499, []int8{Accept}})
				}
				if _, err := p.Acknowledge(now, "m", acks, c); err != nil {
					b.Fatal(err)
				}
				if _, ok := p.Take(); !ok {
					b.Fatal("nothing to write")
				}
				p.Written(true, now)
			}
			if p.InFlight() != 1000 {
				b.Fatal(p.InFlight())
			}
		})
	}
}
