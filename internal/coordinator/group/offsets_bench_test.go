package group

import (
	"fmt"
	"testing"

	"github.com/klamm-io/klamm/internal/machine"
)

// BenchmarkLoadOffsets takes in a million offsets of a thousand groups, as a coordinator does that loads.
func BenchmarkLoadOffsets(b *testing.B) {
	const groups, partitions = 1000, 1000
	var records []machine.Record
	for g := range groups {
		for p := range partitions {
			records = append(records, offsetRecord(partitionKey{fmt.Sprintf("group-%d", g), "committed", int32(p)}, offset{offset: 1234, leaderEpoch: -1, expires: -1}))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		m := New(Config{})
		for i, r := range records {
			if err := m.Apply(r, machine.Position{Offset: int64(i), Producer: machine.Producer{ID: -1}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
}
