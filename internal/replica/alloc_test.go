package replica

import (
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

// One Produce and one Fetch cost the same allocations however many records are in them.
func TestAllocationsDoNotGrowWithRecords(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	now := time.Now()
	produce := func(p *Partition, x record.Batch) func() {
		return func() {
			x.SetBaseOffset(0) // as a client sends it
			if _, err := p.Produce(x, ProduceOptions{Acks: 1, Version: 9, Now: now}); err != nil {
				panic(err)
			}
		}
	}
	read := func(b *broker, committed bool) func() {
		return func() {
			s, _, err := b.sessions.Begin(fetch.Request{Epoch: fetch.FinalEpoch, Wanted: []fetch.Wanted{at("t", 0, 0)}}, now)
			if err != nil {
				panic(err)
			}
			n := 0
			b.set.Fetch(s, FetchOptions{MinBytes: 1, MaxBytes: 4 << 20, Full: true, Committed: committed}, func(f []Fetched) {
				n = f[0].Slice.Size
				f[0].Slice.Release()
				s.Done()
			})
			if n == 0 {
				panic("nothing read")
			}
		}
	}
	for _, codec := range []record.Codec{record.None, record.LZ4} {
		measure := func(records int) (produced, fetched, committed float64) {
			b := newBrokerOn(t, vfs.OS{}, t.TempDir()) // memory that stands in for a disk allocates itself
			defer b.close()
			b.config.Log.MaxMessageBytes = 4 << 20
			b.topic("t", 1, 1)
			p := b.partition("t", 0)
			x := batch(records, 20, func(b *record.Builder) { b.Codec = codec })
			put := produce(p, x)
			put()
			fetched, committed = testing.AllocsPerRun(50, read(b, false)), testing.AllocsPerRun(50, read(b, true))
			return testing.AllocsPerRun(50, put), fetched, committed
		}
		p10, f10, c10 := measure(10)
		p10k, f10k, c10k := measure(10_000)
		t.Logf("%v: a Produce of 10 records allocates %v times, of 10,000 %v; a Fetch %v and %v, read_committed %v and %v", codec, p10, p10k, f10, f10k, c10, c10k)
		// The slack is the index's: every 4 KiB of the log get an entry.
		if p10k > p10+2 || f10k > f10 || c10k > c10 {
			t.Fatalf("%v: 10,000 records allocate more", codec)
		}
	}
}

func BenchmarkProduce(b *testing.B) {
	br := newBroker(b)
	defer br.close()
	br.topic("t", 1, 1)
	p := br.partition("t", 0)
	x := batch(10, 100)
	b.SetBytes(int64(len(x)))
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		x.SetBaseOffset(0)
		if _, err := p.Produce(x, ProduceOptions{Acks: -1, Version: 9, Now: now}); err != nil {
			b.Fatal(err)
		}
		if p.log.Size() > 256<<20 {
			b.StopTimer()
			if err := p.log.TruncateFully(p.log.View().LogEnd, now); err != nil {
				b.Fatal(err)
			}
			if _, err := p.log.RemoveDeleted(now); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	br := newBroker(b)
	defer br.close()
	br.topic("t", 1, 1)
	for range 100 {
		br.produce("t", 0, batch(10, 100))
	}
	now := time.Now()
	s, _, _ := br.sessions.Begin(fetch.Request{Epoch: fetch.InitialEpoch, Wanted: []fetch.Wanted{at("t", 0, 0)}}, now)
	s.Done()
	epoch := int32(1)
	b.ReportAllocs()
	for b.Loop() {
		s, _, err := br.sessions.Begin(fetch.Request{SessionID: s.ID, Epoch: epoch, Wanted: []fetch.Wanted{at("t", 0, 0)}}, now)
		if err != nil {
			b.Fatal(err)
		}
		epoch++
		br.set.Fetch(s, FetchOptions{MinBytes: 1, MaxBytes: 1 << 20}, func(f []Fetched) {
			f[0].Slice.Release()
			s.Done()
		})
	}
}
