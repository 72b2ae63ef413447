package fetch

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// log is a model of a partition: bytes from start to end, of which hw may be read.
type log struct {
	start, hw, end int64
	failed         bool
	watchers       []*Part
}

func (l *log) Unwatch(p *Part) {
	l.watchers = slices.DeleteFunc(l.watchers, func(o *Part) bool { return o == p })
}

func (l *log) changed() {
	for _, p := range l.watchers {
		changed(p)
	}
}

// news is what an answer tells of a partition.
type news struct {
	Partition int32
	HW, Start int64
	Bytes     int64
	Failed    bool
}

func (l *log) look(p int32, from, max int64) news {
	if l.failed || from < l.start || from > l.end {
		return news{Partition: p, HW: -1, Start: -1, Failed: true}
	}
	return news{Partition: p, HW: l.hw, Start: l.start, Bytes: max0(min(max, l.hw-from))}
}

func max0(n int64) int64 { return max(n, 0) }

// told is the model's memory of what a client knows, by which Kafka decides (FetchSession.CachedPartition).
type told struct{ offset, hw, start int64 }

// A session that looks only at what is marked answers what a session answers that looks at everything each time.
// DETAILS 20.
func TestDirtySetEqualsLookingAtEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 5
		logs := make([]log, partitions)
		c := cache(1000)
		known := map[int32]*told{}
		for p := range int32(partitions) {
			known[p] = &told{hw: -1, start: -1}
		}
		epoch, id := int32(InitialEpoch), int32(0)
		wanted := named("t", 0, 1, 2, 3, 4)
		var forgotten []Key
		fetch := func() {
			s, full, err := c.Begin(Request{SessionID: id, Epoch: epoch, Wanted: wanted, Forgotten: forgotten}, epoch0)
			if err != nil {
				t.Fatal(err)
			}
			got := []news{}
			for _, part := range s.Take(nil) {
				l := &logs[part.Partition]
				if part.Watched == nil {
					l.watchers = append(l.watchers, part)
					part.Watched = l
				}
				n := l.look(part.Partition, part.Offset, int64(part.MaxBytes))
				hw, start := part.Told()
				if full || n.Failed || n.Bytes > 0 || n.HW != hw || n.Start != start {
					got = append(got, n)
					part.Answered(n.HW, n.Start, n.Failed)
					if n.Failed || n.Bytes > 0 {
						s.Again(part)
					}
				}
			}
			id, epoch = s.ID, nextEpoch(epoch)
			s.Done()
			want := []news{}
			for p, k := range known {
				n := logs[p].look(p, k.offset, 10)
				if full || n.Failed || n.Bytes > 0 || n.HW != k.hw || n.Start != k.start {
					want = append(want, n)
					k.hw, k.start = n.HW, n.Start
				}
			}
			byPartition := func(a, b news) int { return int(a.Partition - b.Partition) }
			slices.SortFunc(got, byPartition)
			slices.SortFunc(want, byPartition)
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("looking at everything (-) and at what is marked (+) differ:\n%s", d)
			}
			if len(known) == 0 { // the session was closed
				id, epoch = 0, InitialEpoch
			}
			wanted, forgotten = nil, nil
		}
		partition := rapid.Int32Range(0, partitions-1)
		want := func(p int32, offset int64) {
			if slices.Contains(forgotten, Key{Topic: "t", Partition: p}) {
				return // one request does not say both
			}
			wanted = append(wanted, Wanted{Key: Key{Topic: "t", Partition: p}, Offset: offset, MaxBytes: 10})
			if known[p] == nil {
				known[p] = &told{hw: -1, start: -1}
			}
			known[p].offset = offset
		}
		for i := range wanted {
			wanted[i].MaxBytes = 10
		}
		fetch()
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {},
			"append": func(t *rapid.T) {
				l := &logs[partition.Draw(t, "p")]
				l.end += rapid.Int64Range(1, 30).Draw(t, "bytes")
			},
			"commit": func(t *rapid.T) {
				l := &logs[partition.Draw(t, "p")]
				if hw := rapid.Int64Range(l.hw, l.end).Draw(t, "hw"); hw > l.hw {
					l.hw = hw
					l.changed()
				}
			},
			"delete": func(t *rapid.T) {
				l := &logs[partition.Draw(t, "p")]
				if start := rapid.Int64Range(l.start, l.hw).Draw(t, "start"); start > l.start {
					l.start = start
					l.changed()
				}
			},
			"fail": func(t *rapid.T) {
				l := &logs[partition.Draw(t, "p")]
				l.failed = !l.failed
				l.changed()
			},
			"seek": func(t *rapid.T) {
				p := partition.Draw(t, "p")
				want(p, rapid.Int64Range(0, logs[p].end+1).Draw(t, "offset"))
			},
			"forget": func(t *rapid.T) {
				p := partition.Draw(t, "p")
				if known[p] != nil && !slices.ContainsFunc(wanted, func(w Wanted) bool { return w.Partition == p }) && epoch != InitialEpoch {
					delete(known, p)
					forgotten = append(forgotten, Key{Topic: "t", Partition: p})
				}
			},
			"fetch":  func(*rapid.T) { fetch() },
			"fetch2": func(*rapid.T) { fetch(); fetch() },
		})
	})
}
