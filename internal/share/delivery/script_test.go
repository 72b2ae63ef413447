package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// script runs the commands of testdata/*.txt on one partition. Each prints what it gives, and the state afterwards.
type script struct {
	t   *testing.T
	p   *Partition
	now time.Time
	c   Config
	tag int
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, p: &Partition{}, now: time.Unix(0, 0), c: Config{MaxDeliveries: 5, MaxLocks: 100, Lock: 30 * time.Second, Renew: true}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.run(d)
		})
	})
}

func (s *script) run(d *datadriven.TestData) string {
	var out strings.Builder
	switch d.Cmd {
	case "config":
		s.config(d)
		return ""
	case "load":
		var start int64
		var epoch int
		d.ScanArgs(s.t, "start", &start)
		d.MaybeScanArgs(s.t, "epoch", &epoch)
		if err := s.p.Load(start, int32(epoch), s.states(d.Input)); err != nil {
			return err.Error()
		}
	case "acquire":
		s.acquire(d, &out)
	case "ack":
		var acks []Acknowledgement
		for _, line := range lines(d.Input) {
			acks = append(acks, s.ack(line))
		}
		t, err := s.p.Acknowledge(s.now, member(s.t, d), acks, s.c)
		s.began(&out, t, err)
	case "release":
		s.began(&out, s.p.Release(s.now, member(s.t, d), s.c), nil)
	case "wait":
		var by string
		d.ScanArgs(s.t, "by", &by)
		x, err := time.ParseDuration(by)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(x)
		return ""
	case "expire":
		s.began(&out, s.p.Expire(s.now, s.c), nil)
		if at, ok := s.p.NextDeadline(); ok {
			fmt.Fprintf(&out, "next deadline in %v\n", at.Sub(s.now))
		}
	case "logstart":
		var offset int64
		d.ScanArgs(s.t, "offset", &offset)
		s.p.LogStartMoved(offset)
	case "take":
		w, ok := s.p.Take()
		if !ok {
			return "nothing\n"
		}
		fmt.Fprintf(&out, "epoch %d start %d complete %d\n", w.StateEpoch, w.StartOffset, w.DeliveryComplete)
		for _, b := range w.Batches {
			fmt.Fprintf(&out, "  %d-%d %s x%d\n", b.First, b.Last, b.State, b.Deliveries)
		}
		return out.String()
	case "written", "failed":
		for _, t := range s.p.Written(d.Cmd == "written", s.now) {
			fmt.Fprintf(&out, "%v ends\n", t.Tag)
		}
	case "abandon":
		for _, t := range s.p.Abandon() {
			fmt.Fprintf(&out, "%v ends\n", t.Tag)
		}
	case "next":
		return fmt.Sprintf("%d can acquire %t\n", s.p.NextOffset(), s.p.CanAcquire(s.c))
	default:
		s.t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
	return out.String() + s.p.String() + "\n"
}

func (s *script) config(d *datadriven.TestData) {
	d.MaybeScanArgs(s.t, "deliveries", &s.c.MaxDeliveries)
	d.MaybeScanArgs(s.t, "locks", &s.c.MaxLocks)
	if d.HasArg("no-renew") {
		s.c.Renew = false
	}
}

func member(t *testing.T, d *datadriven.TestData) string {
	var m string
	d.ScanArgs(t, "member", &m)
	return m
}

func (s *script) acquire(d *datadriven.TestData, out *strings.Builder) {
	f := Fetch{Member: member(s.t, d), Offset: s.p.NextOffset(), MaxRecords: 500, BatchSize: 500, RecordLimit: d.HasArg("limit")}
	var offset int
	if d.MaybeScanArgs(s.t, "offset", &offset) {
		f.Offset = int64(offset)
	}
	d.MaybeScanArgs(s.t, "max", &f.MaxRecords)
	d.MaybeScanArgs(s.t, "size", &f.BatchSize)
	var log []LogBatch
	for _, line := range lines(d.Input) {
		words := strings.Fields(line)
		first, last := s.span(words[0])
		log = append(log, LogBatch{First: first, Last: last, Aborted: len(words) > 1})
	}
	for _, a := range s.p.Acquire(s.now, f, log, s.c) {
		fmt.Fprintf(out, "acquired %d-%d x%d\n", a.First, a.Last, a.Deliveries)
	}
}

func (s *script) ack(line string) Acknowledgement {
	words := strings.Fields(line)
	first, last := s.span(words[0])
	k := Acknowledgement{First: first, Last: last}
	names := map[string]int8{"gap": Gap, "accept": Accept, "release": Release, "reject": Reject, "renew": Renew}
	for _, w := range words[1:] {
		kind, ok := names[w]
		if !ok {
			n, err := strconv.Atoi(w)
			if err != nil {
				s.t.Fatal(err)
			}
			kind = int8(n)
		}
		k.Types = append(k.Types, kind)
	}
	return k
}

func (s *script) began(out *strings.Builder, t *Transition, err error) {
	switch {
	case err != nil:
		fmt.Fprintf(out, "error: %v\n", err)
	case t == nil:
		out.WriteString("nothing to write\n")
	default:
		s.tag++
		t.Tag = fmt.Sprintf("#%d", s.tag)
		fmt.Fprintf(out, "%v\n", t.Tag)
	}
}

// states reads "0-9 available x1".
func (s *script) states(text string) []StateBatch {
	var out []StateBatch
	for _, line := range lines(text) {
		words := strings.Fields(line)
		b := StateBatch{State: -1}
		b.First, b.Last = s.span(words[0])
		for _, x := range []State{Available, Acquired, Acknowledged, Archived} {
			if x.String() == words[1] {
				b.State = x
			}
		}
		n, err := strconv.Atoi(words[2][1:])
		if err != nil {
			s.t.Fatal(err)
		}
		b.Deliveries = int16(n)
		out = append(out, b)
	}
	return out
}

func (s *script) span(word string) (first, last int64) {
	a, b, found := strings.Cut(word, "-")
	if !found {
		b = a
	}
	for _, x := range []struct {
		text string
		to   *int64
	}{{a, &first}, {b, &last}} {
		n, err := strconv.ParseInt(x.text, 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		*x.to = n
	}
	return first, last
}

func lines(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	return strings.Split(strings.TrimSpace(s), "\n")
}
