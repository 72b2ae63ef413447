package isr

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Unix(1000, 0)

func three(isr ...int32) Assignment {
	return Assignment{Replicas: []int32{1, 2, 3}, ISR: isr, LeaderEpoch: 5, PartitionEpoch: 9}
}

func everyone(int32) (int64, bool) { return 70, true }

func TestAloneTheHighWatermarkFollowsTheLog(t *testing.T) {
	l := New(1, Assignment{Replicas: []int32{1}, ISR: []int32{1}}, 2, 10, 10, t0)
	if hw, rose := l.Appended(15); hw != 15 || !rose {
		t.Fatalf("high watermark %d, rose %v", hw, rose)
	}
	if hw, rose := l.Appended(12); hw != 15 || rose {
		t.Fatalf("an older end moved it: %d, %v", hw, rose)
	}
}

// DETAILS 14
func TestHighWatermarkStandsStillBelowMinISR(t *testing.T) {
	l := New(1, three(1), 2, 0, 0, t0)
	if _, rose := l.Appended(5); rose || l.EnoughInSync() {
		t.Fatal("moved with one in-sync replica of two that are needed")
	}
	l.Fetched(Fetch{Replica: 2, BrokerEpoch: 70, Offset: 5}, t0)
	p, ok := l.Expand(2, everyone)
	if !ok || !slices.Equal(p.ISR, []int32{1, 2}) || p.PartitionEpoch != 9 {
		t.Fatalf("proposal %+v, %v", p, ok)
	}
	a := three(1, 2)
	a.PartitionEpoch = 10
	if hw, rose := l.Committed(a, t0); !rose || hw != 5 {
		t.Fatalf("high watermark %d, rose %v", hw, rose)
	}
}

// DETAILS 14: a proposed member counts before it is committed.
func TestMaximalISR(t *testing.T) {
	l := New(1, three(1, 2), 1, 0, 0, t0)
	l.Appended(10)
	l.Fetched(Fetch{Replica: 2, Offset: 10, BrokerEpoch: -1}, t0)
	l.Appended(20)
	l.Fetched(Fetch{Replica: 3, Offset: 10, BrokerEpoch: -1}, t0)
	if _, ok := l.Expand(3, everyone); !ok {
		t.Fatal("a replica at the high watermark may join")
	}
	if hw, rose := l.Fetched(Fetch{Replica: 2, Offset: 20, BrokerEpoch: -1}, t0); rose || hw != 10 {
		t.Fatalf("the high watermark passed a proposed member: %d", hw)
	}
	l.Refused()
	if hw, _ := l.Appended(20); hw != 20 {
		t.Fatalf("after the refusal the high watermark is %d", hw)
	}
}

// DETAILS 29
func TestWhoMayJoin(t *testing.T) {
	cases := []struct {
		name   string
		fetch  Fetch
		alive  Alive
		joined bool
	}{
		{"caught up", Fetch{Replica: 2, Offset: 10, BrokerEpoch: 70}, everyone, true},
		{"no broker epoch sent", Fetch{Replica: 2, Offset: 10, BrokerEpoch: -1}, everyone, true},
		{"below the start of the epoch", Fetch{Replica: 2, Offset: 9, BrokerEpoch: 70}, everyone, false},
		{"an older incarnation", Fetch{Replica: 2, Offset: 10, BrokerEpoch: 69}, everyone, false},
		{"fenced", Fetch{Replica: 2, Offset: 10, BrokerEpoch: 70}, func(int32) (int64, bool) { return 70, false }, false},
		{"no replica", Fetch{Replica: 7, Offset: 10, BrokerEpoch: 70}, everyone, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := New(1, three(1), 1, 10, 4, t0) // the epoch starts at 10, the high watermark is 4
			l.Fetched(c.fetch, t0)
			if _, ok := l.Expand(c.fetch.Replica, c.alive); ok != c.joined {
				t.Fatalf("joined: %v", ok)
			}
		})
	}
}

func TestLaggingReplicaIsPutOutOnce(t *testing.T) {
	l := New(1, three(1, 2, 3), 1, 0, 0, t0)
	l.Appended(10)
	l.Fetched(Fetch{Replica: 2, Offset: 10, BrokerEpoch: -1}, t0.Add(20*time.Second))
	p, ok := l.Shrink(t0.Add(31*time.Second), 30*time.Second)
	if !ok || !slices.Equal(p.ISR, []int32{1, 2}) {
		t.Fatalf("proposal %+v, %v", p, ok)
	}
	if _, ok := l.Shrink(t0.Add(40*time.Second), 30*time.Second); ok {
		t.Fatal("a second proposal while one is in flight")
	}
}

// A slow replica that always fetches what was the end at its last fetch is caught up as of that fetch.
func TestCaughtUpAsOfTheLastFetch(t *testing.T) {
	l := New(1, three(1, 2), 1, 0, 0, t0)
	l.Appended(10)
	l.Fetched(Fetch{Replica: 2, Offset: 0, BrokerEpoch: -1}, t0.Add(20*time.Second)) // end is 10
	l.Appended(20)
	l.Fetched(Fetch{Replica: 2, Offset: 10, BrokerEpoch: -1}, t0.Add(45*time.Second))
	if _, ok := l.Shrink(t0.Add(49*time.Second), 30*time.Second); ok {
		t.Fatal("put out 29 s after it was caught up")
	}
	if _, ok := l.Shrink(t0.Add(51*time.Second), 30*time.Second); !ok {
		t.Fatal("kept 31 s after it was caught up")
	}
}

// The high watermark never falls, never passes the log end, and never passes a member of the maximal ISR.
func TestHighWatermarkInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(1, three(1, 2, 3), rapid.IntRange(1, 3).Draw(t, "min"), 0, 0, t0)
		now, end, hw := t0, int64(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "s")) * time.Second)
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				end += int64(rapid.IntRange(1, 5).Draw(t, "n"))
				l.Appended(end)
			case 1:
				id := int32(rapid.IntRange(2, 3).Draw(t, "id"))
				l.Fetched(Fetch{Replica: id, Offset: min(end, max(l.followers[id].end, 0)+int64(rapid.IntRange(0, 9).Draw(t, "d"))), BrokerEpoch: -1}, now)
				l.Expand(id, everyone)
			case 2:
				l.Shrink(now, 30*time.Second)
			case 3:
				if l.proposed != nil {
					a := l.assignment
					a.ISR, a.PartitionEpoch = l.proposed, a.PartitionEpoch+1
					l.Committed(a, now)
				}
			case 4:
				l.Refused()
			case 5:
				l.SetMinISR(rapid.IntRange(1, 3).Draw(t, "min"))
			}
			if l.hw < hw || l.hw > end {
				t.Fatalf("high watermark %d after %d, end %d", l.hw, hw, end)
			}
			if l.hw > hw {
				for id, f := range l.followers {
					if (slices.Contains(l.assignment.ISR, id) || slices.Contains(l.proposed, id)) && f.end < l.hw {
						t.Fatalf("high watermark %d passed replica %d at %d", l.hw, id, f.end)
					}
				}
			}
			hw = l.hw
		}
	})
}
