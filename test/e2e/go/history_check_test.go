//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// placed is a record where it was acknowledged or seen. The offset of one that was not acknowledged is -1.
type placed struct {
	partition int32
	offset    int64
	value     int // no two sends have the same
}

// step is one send or poll of an op.
type step struct {
	poll    bool
	ended   time.Time
	records []placed
}

type outcome int

const (
	unknown   outcome = iota // its end was asked for and not answered
	succeeded                // acknowledged, committed
	failed                   // aborted, or nobody ever asked for the commit
)

// op is what a process did at once: a send or a poll, or a transaction of several. Polls read committed records; they
// count whatever becomes of the transaction in which they were.
type op struct {
	process       int
	transactional bool
	outcome       outcome
	committing    time.Time // when its commit was asked for; zero if never
	steps         []step
}

// history is what all processes did. The ops of one process are in its order. final is what a last consumer saw from the
// beginning to the end of each partition, when all were well again.
type history struct {
	ops   []op
	final []placed
}

// check looks for what no history of exactly-once producers and consumers of committed records may show, after Jepsen's
// workload for Kafka. Each finding begins with the number of the rule that is broken.
//
//  1. At an offset stands one value.
//  2. A value stands at one offset.
//  3. What was acknowledged, and stands below something that was polled, was polled.
//  4. What was acknowledged is there in the end.
//  5. What failed or was aborted is never seen.
//  6. What is in an open transaction is never seen, by that transaction neither.
//  7. Of one process, the offsets of sends and of polls rise, and its polls skip nothing.
//  8. The same in one transaction.
//  9. Transactions do not read from each other in a circle.
func (h *history) check() []string {
	wrong := slices.Concat(h.places(), h.unpolled(), h.lost(), h.phantoms(), h.order(), h.circles())
	slices.Sort(wrong)
	return slices.Compact(wrong) // a record may be seen often
}

type place struct {
	partition int32
	offset    int64
}

func (r placed) place() place { return place{r.partition, r.offset} }

// seen gives all that was polled by processes.
func (h *history) seen(f func(o *op, s *step, r placed)) {
	for i := range h.ops {
		for j := range h.ops[i].steps {
			if s := &h.ops[i].steps[j]; s.poll {
				for _, r := range s.records {
					f(&h.ops[i], s, r)
				}
			}
		}
	}
}

func (h *history) sent(f func(o *op, r placed)) {
	for i := range h.ops {
		for _, s := range h.ops[i].steps {
			if !s.poll {
				for _, r := range s.records {
					f(&h.ops[i], r)
				}
			}
		}
	}
}

// places is rules 1 and 2.
func (h *history) places() (wrong []string) {
	values, places := map[place]int{}, map[int]place{}
	look := func(r placed) {
		if r.offset < 0 {
			return
		}
		if v, ok := values[r.place()]; ok && v != r.value {
			wrong = append(wrong, fmt.Sprintf("1: at %d-%d stand %d and %d", r.partition, r.offset, v, r.value))
		}
		if p, ok := places[r.value]; ok && p != r.place() {
			wrong = append(wrong, fmt.Sprintf("2: %d stands at %v and %v", r.value, p, r.place()))
		}
		values[r.place()], places[r.value] = r.value, r.place()
	}
	h.sent(func(_ *op, r placed) { look(r) })
	h.seen(func(_ *op, _ *step, r placed) { look(r) })
	for _, r := range h.final {
		look(r)
	}
	return wrong
}

// unpolled is rule 3.
func (h *history) unpolled() (wrong []string) {
	highest, polled := map[int32]int64{}, map[place]bool{}
	h.seen(func(_ *op, _ *step, r placed) {
		highest[r.partition] = max(highest[r.partition], r.offset)
		polled[r.place()] = true
	})
	h.sent(func(o *op, r placed) {
		if o.outcome == succeeded && r.offset <= highest[r.partition] && !polled[r.place()] && highest[r.partition] > 0 {
			wrong = append(wrong, fmt.Sprintf("3: %d at %d-%d was passed over, %d was polled", r.value, r.partition, r.offset, highest[r.partition]))
		}
	})
	return wrong
}

// lost is rule 4.
func (h *history) lost() (wrong []string) {
	there := map[placed]bool{}
	for _, r := range h.final {
		there[r] = true
	}
	h.sent(func(o *op, r placed) {
		if o.outcome == succeeded && !there[r] {
			wrong = append(wrong, fmt.Sprintf("4: %d, acknowledged at %d-%d, is lost", r.value, r.partition, r.offset))
		}
	})
	return wrong
}

var afterAll = time.Unix(1<<40, 0)

// phantoms is rules 5 and 6.
func (h *history) phantoms() (wrong []string) {
	of := map[int]*op{}
	h.sent(func(o *op, r placed) { of[r.value] = o })
	look := func(reader *op, r placed, at time.Time) {
		switch o := of[r.value]; {
		case o == nil:
			wrong = append(wrong, fmt.Sprintf("5: nobody sent %d, which stands at %d-%d", r.value, r.partition, r.offset))
		case o.outcome == failed:
			wrong = append(wrong, fmt.Sprintf("5: %d at %d-%d was aborted, and is seen", r.value, r.partition, r.offset))
		case o.transactional && (o == reader || o.committing.IsZero() || at.Before(o.committing)):
			wrong = append(wrong, fmt.Sprintf("6: %d at %d-%d is seen before its transaction was to commit", r.value, r.partition, r.offset))
		}
	}
	h.seen(func(o *op, s *step, r placed) { look(o, r, s.ended) })
	for _, r := range h.final {
		look(nil, r, afterAll)
	}
	return wrong
}

// order is rules 7 and 8.
func (h *history) order() (wrong []string) {
	next := map[place]place{} // the committed record behind one
	last := map[int32]place{}
	for _, r := range h.final {
		if before, ok := last[r.partition]; ok {
			next[before] = r.place()
		}
		last[r.partition] = r.place()
	}
	processes := map[int][]step{}
	for _, o := range h.ops {
		if o.transactional {
			for _, w := range rising(o.steps, next) {
				wrong = append(wrong, fmt.Sprintf("8: process %d, in a transaction, %s", o.process, w))
			}
		}
		processes[o.process] = append(processes[o.process], o.steps...)
	}
	for p, steps := range processes {
		for _, w := range rising(steps, next) {
			wrong = append(wrong, fmt.Sprintf("7: process %d %s", p, w))
		}
	}
	return wrong
}

func rising(steps []step, next map[place]place) (wrong []string) {
	sent, polled := map[int32]int64{}, map[int32]int64{}
	for _, s := range steps {
		for _, r := range s.records {
			switch before, ok := sent[r.partition]; {
			case s.poll:
				if before, ok := polled[r.partition]; ok {
					if after, ok := next[place{r.partition, before}]; !ok || after != r.place() {
						wrong = append(wrong, fmt.Sprintf("polled %d-%d after %d; %v follows that", r.partition, r.offset, before, after))
					}
				}
				polled[r.partition] = r.offset
			case r.offset < 0:
			case ok && r.offset <= before:
				wrong = append(wrong, fmt.Sprintf("sent to %d-%d after %d", r.partition, r.offset, before))
				fallthrough
			default:
				sent[r.partition] = r.offset
			}
		}
	}
	return wrong
}

// circles is rule 9. A transaction that is not committed cannot be read from, if rules 5 and 6 hold.
func (h *history) circles() []string {
	of := map[int]*op{}
	h.sent(func(o *op, r placed) { of[r.value] = o })
	readers := map[*op][]*op{}
	h.seen(func(reader *op, _ *step, r placed) {
		if o := of[r.value]; o != nil && o != reader && o.transactional && reader.transactional && !slices.Contains(readers[o], reader) {
			readers[o] = append(readers[o], reader)
		}
	})
	const open, done = 1, 2
	state := map[*op]int{}
	var found bool
	var walk func(*op)
	walk = func(o *op) {
		state[o] = open
		for _, r := range readers[o] {
			switch state[r] {
			case open:
				found = true
			case 0:
				walk(r)
			}
		}
		state[o] = done
	}
	for i := range h.ops {
		if o := &h.ops[i]; state[o] == 0 {
			walk(o)
		}
	}
	if found {
		return []string{"9: transactions read from each other in a circle"}
	}
	return nil
}

// TestHistoryCheck shows that each rule can be broken, and by nothing else than what breaks it.
func TestHistoryCheck(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	send := func(process int, o outcome, records ...placed) op {
		return op{process: process, outcome: o, steps: []step{{ended: at(1), records: records}}}
	}
	poll := func(process int, second int, records ...placed) op {
		return op{process: process, outcome: succeeded, steps: []step{{poll: true, ended: at(second), records: records}}}
	}
	transaction := func(process int, o outcome, committing int, steps ...step) op {
		t := op{process: process, transactional: true, outcome: o, steps: steps}
		if committing > 0 {
			t.committing = at(committing)
		}
		return t
	}
	wrote := func(records ...placed) step { return step{ended: at(1), records: records} }
	read := func(second int, records ...placed) step {
		return step{poll: true, ended: at(second), records: records}
	}
	a, b, c := placed{0, 0, 1}, placed{0, 1, 2}, placed{0, 3, 3}
	good := []op{
		send(1, succeeded, a), transaction(2, succeeded, 2, wrote(b)), transaction(2, failed, 0, wrote(placed{0, 2, 9})), send(1, unknown, placed{0, -1, 3}),
		poll(3, 3, a, b), poll(3, 4, c), transaction(4, succeeded, 5, read(4, a, b, c)),
	}
	for name, test := range map[string]struct {
		ops   []op
		final []placed
		want  []string
	}{
		"all is well":                {good, []placed{a, b, c}, nil},
		"unknown is not there":       {good[:4], []placed{a, b}, nil},
		"two values at an offset":    {append(slices.Clone(good), send(7, unknown, placed{0, 1, 7})), []placed{a, b, c}, []string{"1"}},
		"a value at two offsets":     {append(slices.Clone(good), poll(7, 9, placed{0, 9, 3})), []placed{a, b, c}, []string{"2"}},
		"passed over":                {[]op{good[0], good[1], poll(3, 3, b)}, []placed{a, b}, []string{"3"}},
		"lost":                       {good[:2], []placed{a}, []string{"4"}},
		"aborted and seen":           {append(slices.Clone(good), poll(7, 9, placed{0, 2, 9})), []placed{a, b, c}, []string{"5"}},
		"never sent":                 {good, []placed{a, b, c, {0, 8, 8}}, []string{"5"}},
		"seen before the commit":     {[]op{good[0], good[1], poll(3, 1, a, b)}, []placed{a, b}, []string{"6"}},
		"seen by itself":             {[]op{good[0], transaction(2, succeeded, 2, wrote(b), read(3, a, b))}, []placed{a, b}, []string{"6"}},
		"seen without any commit":    {append(slices.Clone(good), transaction(5, unknown, 0, wrote(placed{0, 4, 4}))), []placed{a, b, c, {0, 4, 4}}, []string{"6"}},
		"sends go back":              {[]op{send(1, succeeded, b), send(1, succeeded, a)}, []placed{a, b}, []string{"7"}},
		"polls go back":              {[]op{good[0], good[1], poll(3, 3, a, b), poll(3, 4, a)}, []placed{a, b}, []string{"7"}},
		"polls skip":                 {append(slices.Clone(good), poll(7, 9, a, c)), []placed{a, b, c}, []string{"7"}},
		"skip in a transaction":      {append(slices.Clone(good), transaction(7, succeeded, 9, read(8, a, c))), []placed{a, b, c}, []string{"7", "8"}},
		"go back in a transaction":   {[]op{transaction(1, succeeded, 2, wrote(b), wrote(a))}, []placed{a, b}, []string{"7", "8"}},
		"they read from each other":  {[]op{transaction(1, succeeded, 2, wrote(a), read(3, b)), transaction(2, succeeded, 2, wrote(b), read(3, a, b))}, []placed{a, b}, []string{"6", "9"}},
		"a chain is not a circle":    {[]op{transaction(1, succeeded, 2, wrote(a)), transaction(2, succeeded, 4, wrote(b), read(3, a)), transaction(3, succeeded, 9, read(8, a, b))}, []placed{a, b}, nil},
		"another partition is other": {[]op{send(1, succeeded, b), send(1, succeeded, placed{1, 0, 5})}, []placed{b, {1, 0, 5}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{test.ops, test.final}
			var rules []string
			for _, w := range h.check() {
				if rule, _, _ := strings.Cut(w, ":"); !slices.Contains(rules, rule) {
					rules = append(rules, rule)
				}
			}
			if slices.Sort(rules); !slices.Equal(rules, test.want) {
				t.Fatalf("broken rules %v, want %v: %v", rules, test.want, h.check())
			}
		})
	}
}
