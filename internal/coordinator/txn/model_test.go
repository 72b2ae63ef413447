package txn

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/klamm-io/klamm/internal/machine"
)

// model drives a machine with random producers, some of them two to a transactional id, over a network that delays and
// repeats what they send. It keeps what producers were told and what brokers have written, and checks after each step
// what must hold between the two.
type model struct {
	*harness
	rt      *rapid.T
	feature int16
	clients []*client
	delayed []any // requests that will come once more

	seen   int // records of the log that were looked at
	given  int // effects that were looked at
	ids    map[string]*told
	failed bool
}

// client is a producer as a client library runs it.
type client struct {
	id      string
	p       producer
	version int16 // of EndTxn: 4 or 5
}

// told is what the outside knows about a transactional id.
type told struct {
	producers []int64 // producer ids in the order of their appearance
	epoch     int16   // newest of the last
	// added are the partitions whose addition to the open transaction was confirmed.
	added map[TopicPartition]bool
	// open and sent are those of the transaction that is ending, and which of them have their marker.
	open, marked map[TopicPartition]bool
	// commits and outcomes are by what a transaction began with: who asked to commit, and what markers say.
	commits  map[producer]bool
	asked    map[producer]map[TopicPartition]bool
	outcomes map[producer]bool
}

func (m *model) told(id string) *told {
	x := m.ids[id]
	if x == nil {
		x = &told{added: map[TopicPartition]bool{}, commits: map[producer]bool{}, outcomes: map[producer]bool{},
			asked: map[producer]map[TopicPartition]bool{}}
		m.ids[id] = x
	}
	return x
}

// send submits a request, and may send it once more later.
func (m *model) send(rt *rapid.T, body any) any {
	if rapid.IntRange(0, 2).Draw(rt, "repeat") == 0 {
		m.delayed = append(m.delayed, body)
	}
	if rapid.IntRange(0, 9).Draw(rt, "lost") == 0 {
		return nil
	}
	return m.submit(body)
}

// submit submits a request and notes what the outside learns from its answer.
func (m *model) submit(body any) any {
	switch r := body.(type) {
	case *kmsg.EndTxnRequest:
		if r.Commit {
			m.told(r.TransactionalID).commits[producer{r.ProducerID, r.ProducerEpoch}] = true
		}
	case *kmsg.AddPartitionsToTxnRequest:
		m.noteAdd(r, func(x *told, p producer, tp TopicPartition, _ int) {
			if x.asked[p] == nil {
				x.asked[p] = map[TopicPartition]bool{}
			}
			x.asked[p][tp] = true
		})
	}
	token := m.do(body)
	answer := m.answers[token]
	delete(m.answers, token)
	if a, ok := answer.(*kmsg.AddPartitionsToTxnResponse); ok {
		var codes []int16
		for _, t := range a.Topics {
			codes = append(codes, t.Partitions[0].ErrorCode)
		}
		for _, x := range a.Transactions {
			for _, t := range x.Topics {
				codes = append(codes, t.Partitions[0].ErrorCode)
			}
		}
		m.noteAdd(body.(*kmsg.AddPartitionsToTxnRequest), func(x *told, _ producer, tp TopicPartition, i int) {
			if codes[i] == 0 {
				x.added[tp] = true
			}
		})
	}
	return answer
}

func (m *model) noteAdd(r *kmsg.AddPartitionsToTxnRequest, f func(x *told, p producer, tp TopicPartition, i int)) {
	for i, t := range r.Topics {
		f(m.told(r.TransactionalID), producer{r.ProducerID, r.ProducerEpoch}, TopicPartition{t.Topic, t.Partitions[0]}, i)
	}
	for _, x := range r.Transactions {
		for i, t := range x.Topics {
			f(m.told(x.TransactionalID), producer{x.ProducerID, x.ProducerEpoch}, TopicPartition{t.Topic, t.Partitions[0]}, i)
		}
	}
}

func (m *model) init(rt *rapid.T, c *client) {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.Version, r.TransactionalID, r.TransactionTimeoutMillis = 5, &c.id, int32(rapid.IntRange(1, 60).Draw(rt, "timeout"))*1000
	if c.p.id >= 0 && rapid.Bool().Draw(rt, "expects") {
		r.ProducerID, r.ProducerEpoch = c.p.id, c.p.epoch
	}
	m.fresh++
	body := Init{r, m.fresh}
	if rapid.IntRange(0, 9).Draw(rt, "no fresh") == 0 {
		body.FreshID = -1
	}
	// Never sent twice: a request has its fresh id once.
	answer := m.submit(body).(*kmsg.InitProducerIDResponse)
	if answer.ErrorCode == 0 {
		c.p = producer{answer.ProducerID, answer.ProducerEpoch}
	}
}

func (m *model) add(rt *rapid.T, c *client) {
	tp := TopicPartition{rapid.SampledFrom([]string{"t", "u"}).Draw(rt, "topic"), int32(rapid.IntRange(0, 2).Draw(rt, "partition"))}
	r := kmsg.NewPtrAddPartitionsToTxnRequest()
	if c.version < 5 {
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch = 3, c.id, c.p.id, c.p.epoch
		r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: tp.Topic, Partitions: []int32{tp.Partition}}}
	} else {
		r.Version = 5
		r.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: c.id, ProducerID: c.p.id, ProducerEpoch: c.p.epoch,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: tp.Topic, Partitions: []int32{tp.Partition}}}}}
	}
	m.send(rt, r)
}

func (m *model) end(rt *rapid.T, c *client) {
	r := kmsg.NewPtrEndTxnRequest()
	r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = c.version, c.id, c.p.id, c.p.epoch, rapid.Bool().Draw(rt, "commit")
	if answer, ok := m.send(rt, r).(*kmsg.EndTxnResponse); ok && answer.ErrorCode == 0 && c.version >= 5 {
		c.p = producer{answer.ProducerID, answer.ProducerEpoch}
	}
}

// perform does one effect: brokers write markers, or not.
func (m *model) perform(i int, code func() int16) {
	e := m.effects[i]
	m.effects = slices.Delete(m.effects, i, i+1)
	m.given--
	w, ok := e.(WriteMarkers)
	if !ok {
		m.fresh++
		m.do(ProducerID{m.fresh})
		return
	}
	for len(w.Partitions) > 0 {
		n := (len(w.Partitions) + 1) / 2
		done := MarkersWritten{TransactionalID: w.TransactionalID, ProducerID: w.ProducerID, ProducerEpoch: w.ProducerEpoch,
			CoordinatorEpoch: w.CoordinatorEpoch, Partitions: w.Partitions[:n]}
		for _, tp := range done.Partitions {
			c := code()
			done.Errors = append(done.Errors, c)
			if c == 0 && w.CoordinatorEpoch == m.epoch {
				m.told(w.TransactionalID).marked[tp] = true
			}
		}
		m.do(done)
		w.Partitions = w.Partitions[n:]
	}
}

func (m *model) check() {
	if len(m.open) > 0 {
		m.rt.Fatalf("%d callers have no answer", len(m.open))
	}
	clear(m.answers)
	m.out.Reset()
	for ; m.seen < len(m.log); m.seen++ {
		m.checkRecord(m.log[m.seen])
	}
	for ; m.given < len(m.effects); m.given++ {
		if w, ok := m.effects[m.given].(WriteMarkers); ok {
			m.checkMarkers(w)
		}
	}
	m.checkDurable()
}

// checkRecord looks at a record in the order of the log.
func (m *model) checkRecord(r machine.Record) {
	id, x, known, err := decode(r)
	if err != nil || !known || x == nil {
		m.rt.Fatalf("record %+v: %v", r, err)
	}
	t := m.told(id)
	switch n := len(t.producers); {
	case n > 0 && t.producers[n-1] == x.producerID:
		if x.epoch < t.epoch {
			m.rt.Fatalf("%s: epoch of %d fell from %d to %d", id, x.producerID, t.epoch, x.epoch)
		}
	case slices.Contains(t.producers, x.producerID):
		m.rt.Fatalf("%s: producer id %d came back: %v", id, x.producerID, t.producers)
	default:
		t.producers = append(t.producers, x.producerID)
	}
	t.epoch = x.epoch
	if x.epoch > lastClientEpoch && !x.state.preparing() && x.state != CompleteAbort {
		m.rt.Fatalf("%s: epoch %d in state %v", id, x.epoch, x.state)
	}
	switch x.state {
	case PrepareCommit, PrepareAbort:
		t.open, t.marked = map[TopicPartition]bool{}, map[TopicPartition]bool{}
		for _, tp := range x.partitions {
			t.open[tp] = true
		}
		for tp := range t.added {
			if !t.open[tp] {
				m.rt.Fatalf("%s: %v was added and is not in %v", id, tp, x.partitions)
			}
		}
		clear(t.added)
	case CompleteCommit, CompleteAbort:
		for tp := range t.open {
			if !t.marked[tp] {
				m.rt.Fatalf("%s: complete, and %v has no marker", id, tp)
			}
		}
	case Empty:
		if len(t.added) > 0 {
			m.rt.Fatalf("%s: empty, and %v were added", id, t.added)
		}
	}
}

// checkMarkers says that markers tell what a producer wanted: what it asked to commit, in just that transaction. With
// the older protocol a transaction is not told from the producer's next (DETAILS 36).
func (m *model) checkMarkers(w WriteMarkers) {
	t := m.told(w.TransactionalID)
	p := producer{w.ProducerID, w.ProducerEpoch}
	if w.TransactionVersion >= 2 {
		p.epoch--
		if was, ok := t.outcomes[p]; ok && was != w.Commit {
			m.rt.Fatalf("%s: the transaction of %v has two outcomes", w.TransactionalID, p)
		}
		t.outcomes[p] = w.Commit
	} else if !w.Commit && t.asked[p] == nil {
		p.epoch-- // fenced
	}
	if w.Commit && !t.commits[p] {
		m.rt.Fatalf("%s: nobody committed the transaction of %v", w.TransactionalID, p)
	}
	for _, tp := range w.Partitions {
		if !t.asked[p][tp] {
			m.rt.Fatalf("%s: %v was not added to the transaction of %v", w.TransactionalID, tp, p)
		}
	}
}

// checkDurable loads the log into a fresh machine and compares.
func (m *model) checkDurable() {
	fresh := m.reload()
	summary := func(of *Machine) map[string]transaction {
		s := map[string]transaction{}
		for id, e := range of.ids {
			x := e.transaction
			x.lastEpoch = noProducerEpoch
			if m.feature < 1 {
				x.previousID = noProducerID // is in no record
			}
			s[id] = x
		}
		return s
	}
	if diff := cmp.Diff(summary(m.m), summary(fresh), cmp.AllowUnexported(transaction{}), cmpopts.EquateEmpty()); diff != "" {
		m.rt.Fatalf("the log says something else:\n%s", diff)
	}
	for id, e := range m.m.ids {
		waits := e.state == Ongoing || e.state.preparing() && (len(e.markers.sent) == 0)
		if m.m.started && waits && e.timer.index == 0 {
			m.rt.Fatalf("%s is %v and nothing will happen", id, e.state)
		}
	}
	if !m.failed && len(m.m.staged) > 0 {
		m.rt.Fatalf("staged and not applied: %v", m.m.staged)
	}
}

// TestModel runs always the same histories.
func TestModel(t *testing.T) {
	checkModel(t, map[string]string{"rapid.checks": "200", "rapid.seed": "1"})
}

// TestSimModel runs as many others as KLAMM_SIM_SEEDS says. rapid tells the seed of one that fails.
func TestSimModel(t *testing.T) {
	n := os.Getenv("KLAMM_SIM_SEEDS")
	if n == "" {
		t.Skip("make sim runs this")
	}
	checkModel(t, map[string]string{"rapid.checks": n})
}

func checkModel(t *testing.T, flags map[string]string) {
	for name, value := range flags {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatalf("-%s: %v", name, err)
		}
		defer f.Value.Set(before)
	}
	longRuns(t)
	states := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{harness: newHarness(rt, Config{}), rt: rt, ids: map[string]*told{}}
		m.feature = int16(rapid.SampledFrom([]int{0, 1, 2, 2, 2}).Draw(rt, "feature"))
		m.harness.feature(m.feature)
		if rapid.Bool().Draw(rt, "old") { // a producer that has few epochs left
			x := transaction{id: "a", producerID: 7, previousID: 7, nextID: -1, epoch: 32763, timeout: 60000, state: CompleteCommit, start: 1, updated: 1}
			m.log = append(m.log, encode(x, min(m.feature, 1)))
			m.harness.m = m.reload()
		}
		for _, id := range []string{"a", "a", "b"} {
			c := &client{id: id, p: producer{-1, -1}, version: 4}
			if m.feature == 2 && rapid.IntRange(0, 3).Draw(rt, "bumps") > 0 {
				c.version = 5
			}
			m.clients = append(m.clients, c)
		}
		someone := func(rt *rapid.T) *client { return rapid.SampledFrom(m.clients).Draw(rt, "client") }
		actions := map[string]func(*rapid.T){
			"init": func(rt *rapid.T) { m.init(rt, someone(rt)) },
			"late": func(rt *rapid.T) {
				if len(m.delayed) > 0 {
					i := rapid.IntRange(0, len(m.delayed)-1).Draw(rt, "which")
					body := m.delayed[i]
					m.delayed = slices.Delete(m.delayed, i, i+1)
					m.submit(body)
				}
			},
			"wait": func(rt *rapid.T) {
				m.advance(time.Duration(rapid.SampledFrom([]int{1, 50, 1000, 15000}).Draw(rt, "ms")) * time.Millisecond)
			},
			"append": func(rt *rapid.T) {
				if m.fail = nil; rapid.IntRange(0, 9).Draw(rt, "fail") == 0 {
					m.fail, m.failed = kerr.NotEnoughReplicas, true
				}
			},
			"election": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "now") == 0 {
					m.harness.m = m.reload()
					m.epoch++
				}
			},
			"": func(*rapid.T) {
				for _, e := range m.harness.m.ids {
					states[e.state.String()]++
				}
				m.check()
			},
		}
		for i := range 3 { // as often as the rest together
			actions[fmt.Sprint("add", i)] = func(rt *rapid.T) { m.add(rt, someone(rt)) }
			actions[fmt.Sprint("end", i)] = func(rt *rapid.T) { m.end(rt, someone(rt)) }
			actions[fmt.Sprint("effect", i)] = func(rt *rapid.T) {
				if len(m.effects) > 0 {
					m.perform(rapid.IntRange(0, len(m.effects)-1).Draw(rt, "which"), func() int16 {
						return rapid.SampledFrom([]int16{0, 0, 0, kerr.NotLeaderForPartition.Code, kerr.InvalidProducerEpoch.Code,
							kerr.UnknownTopicOrPartition.Code}).Draw(rt, "code")
					})
				}
			}
		}
		rt.Repeat(actions)

		// All heals, and nobody says anything any more.
		m.fail = nil
		for range 20 {
			for len(m.effects) > 0 {
				m.perform(0, func() int16 { return 0 })
			}
			m.check()
			m.advance(time.Minute)
			m.check()
		}
		for id, e := range m.harness.m.ids {
			if !e.state.resting() {
				rt.Fatalf("%s is %v in the end", id, e.state)
			}
		}
	})
	t.Log(states)
	for s := Empty; s <= CompleteAbort; s++ {
		if states[s.String()] == 0 {
			t.Fatalf("the model never came to %v: %v", s, states)
		}
	}
}

// longRuns makes a run of the model long enough for a few transactions, unless the command line says otherwise.
func longRuns(t *testing.T) {
	steps := flag.Lookup("rapid.steps")
	if old := steps.Value.String(); old == steps.DefValue {
		if err := steps.Value.Set("150"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = steps.Value.Set(old) })
	}
}
