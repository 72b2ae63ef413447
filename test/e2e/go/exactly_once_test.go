//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	exactlyOnceSeeds = 3 // or KLAMM_E2E_SEEDS
	exactlyOnceKeys  = 72
	workers          = 3
	// doneMax is the time in which all input has come through once nothing is killed any more. It is some seconds.
	doneMax = 45 * time.Second
)

// What happens while the workers work. Each run has all of these, in an order of its own.
const (
	killNode      = "kill node"
	killWorker    = "kill worker"    // -9; one with the same transactional id takes its place at once
	replaceWorker = "replace worker" // -9; one with another id takes its place, so that the transaction has to time out
	loseWorker    = "lose worker"    // -9; its partitions go to the others before somebody takes its place
	freezeWorker  = "freeze worker"  // one with the same id takes its place, then it comes to life again
	stopWorker    = "stop worker"    // it leaves the group; one with the same id takes its place
)

var events = []string{killNode, killNode, killNode, killWorker, killWorker, replaceWorker, loseWorker, freezeWorker, freezeWorker, stopWorker}

// TestExactlyOnce lets three processes copy a topic into another, in transactions with the consumed offsets, while the node and
// they themselves are killed, frozen, replaced at random, and requests come late. What a consumer of committed records sees in the end is what was
// written at the beginning: each record once, and those of a key in their order.
func TestExactlyOnce(t *testing.T) {
	seeds, first := exactlyOnceSeeds, uint64(time.Now().UnixNano())
	if s := os.Getenv("KLAMM_E2E_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("KLAMM_E2E_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
	}
	for i := range seeds {
		// The seeds of a run are neighbours: they take turns with the assignor and the transaction version.
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("%d", i), func(t *testing.T) {
			t.Logf("KLAMM_E2E_SEED=%d KLAMM_E2E_SEEDS=1", seed)
			newPipeline(t, seed).run()
		})
	}
}

// pipeline is one run.
type pipeline struct {
	t      *testing.T
	random *rand.Rand
	n      *node
	proxy  *proxy
	chance map[kmsg.Key]float64 // of the proxy, until all are well again
	spec   worker               // of all workers; ID and Seed are each one's own
	slots  [workers]slot
	spare  []*process // frozen ones that were replaced
	out    *os.File   // of all workers
	born   int

	sent []keyed // what was acknowledged, in order; the feeder's until it has ended
}

// slot is the place of a worker.
type slot struct {
	id   string
	now  *process
	from time.Time // when the place is filled again if it is empty
}

type process struct {
	command *exec.Cmd
	wake    time.Time // when it is woken up, if it is frozen
	ended   chan struct{}
}

func newPipeline(t *testing.T, seed uint64) *pipeline {
	p := &pipeline{t: t, random: rand.New(rand.NewPCG(seed, 0))}
	l := listen(t)
	p.n = newNode(t, "advertised.listeners=PLAINTEXT://"+l.Addr().String(), "transaction.abort.timed.out.transaction.cleanup.interval.ms=300", "group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=0")
	p.proxy = newProxy(t, l, p.n.addr, seed)
	p.spec = worker{Addr: l.Addr().String(), Group: "copiers", In: "in", Out: "out", Cooperative: seed%2 == 0}
	c := newClient(t, p.n.addr)
	adm := kadm.NewClient(c)
	for _, topic := range []string{p.spec.In, p.spec.Out} {
		must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), partitions, 1, nil, topic))
		awaitTopic(t, adm, topic, partitions)
	}
	p.chance = map[kmsg.Key]float64{kmsg.Produce: 0.02, kmsg.EndTxn: 0.03, kmsg.TxnOffsetCommit: 0.03}
	if seed%3 == 0 {
		oldTransactions(t, c)
		p.chance = map[kmsg.Key]float64{kmsg.Produce: 0.02} // see TestHistories
	}
	var err error
	if p.out, err = os.Create(filepath.Join(t.TempDir(), "workers")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for i := range p.slots {
			p.slots[i].now.kill()
		}
		for _, w := range p.spare {
			w.kill()
		}
		p.out.Close()
	})
	return p
}

// oldTransactions sets transaction.version 1, before KIP-890's second part.
func oldTransactions(t *testing.T, c *kgo.Client) {
	t.Helper()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.AllowDowngrade, f.UpgradeType = "transaction.version", 1, true, 2
	r := kmsg.NewPtrUpdateFeaturesRequest()
	r.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{f}
	resp, err := r.RequestWith(t.Context(), c)
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("transaction.version 1: %v %+v", err, resp)
	}
	t.Log("transaction.version 1")
}

func (p *pipeline) run() {
	t := p.t
	stop, fed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fed)
		p.feed(stop)
	}()
	for i := range p.slots {
		p.slots[i].id = fmt.Sprintf("copier-%d", i)
		p.fill(i)
	}
	plan := append([]string(nil), events...)
	p.random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	p.tend(2 * time.Second) // the first rebalances
	p.proxy.disturb(p.chance)
	for _, event := range plan {
		p.tend(time.Duration(150+p.random.IntN(550)) * time.Millisecond)
		p.happen(event)
	}
	close(stop)
	<-fed
	if t.Failed() {
		return
	}
	// Now all are well again.
	p.proxy.disturb(nil)
	healed := time.Now()
	for p.visible() < int64(len(p.sent)) && time.Since(healed) < doneMax {
		p.tend(100 * time.Millisecond)
	}
	took := time.Since(healed)
	p.tend(time.Second) // what is written twice may come late
	for i := range p.slots {
		p.slots[i].now.stop(t)
	}
	for _, w := range p.spare {
		w.kill()
	}
	p.conclude(took)
}

// feed writes the input until it is told to stop, all of which is acknowledged in the end.
func (p *pipeline) feed(stop chan struct{}) {
	c := newClient(p.t, p.n.addr, kgo.DefaultProduceTopic(p.spec.In), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MetadataMinAge(20*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	var mu sync.Mutex // guards failed
	var failed error
	for n := 0; ; n++ {
		for key := range exactlyOnceKeys {
			r := keyed{strconv.Itoa(key), strconv.Itoa(n)}
			p.sent = append(p.sent, r)
			c.Produce(context.Background(), &kgo.Record{Key: []byte(r.key), Value: []byte(r.value), Partition: inPartition(key)}, func(_ *kgo.Record, err error) {
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			})
		}
		select {
		case <-stop:
			ctx, cancel := context.WithTimeout(context.Background(), doneMax)
			defer cancel()
			if err := c.Flush(ctx); err != nil || failed != nil {
				p.t.Errorf("the input: %v, %v", err, failed)
			}
			return
		case <-time.After(40 * time.Millisecond):
		}
	}
}

// fill puts a new process into an empty place.
func (p *pipeline) fill(i int) {
	p.born++
	w := p.spec
	w.ID, w.Seed = p.slots[i].id, p.random.Uint64()
	told, _ := json.Marshal(w)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "KLAMM_E2E_WORKER="+string(told))
	c.Stdout, c.Stderr = p.out, p.out
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	now := &process{command: c, ended: make(chan struct{})}
	go func() {
		c.Wait()
		close(now.ended)
	}()
	p.slots[i].now = now
}

// tend lets the time pass, wakes who is to be woken, and fills places whose process has ended by itself or is due.
func (p *pipeline) tend(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, w := range p.spare {
			if !w.wake.IsZero() && time.Now().After(w.wake) {
				w.command.Process.Signal(syscall.SIGCONT)
				w.wake = time.Time{}
			}
		}
		for i := range p.slots {
			s := &p.slots[i]
			if s.now == nil && time.Now().Before(s.from) {
				continue
			}
			if s.now == nil || s.now.over() {
				p.fill(i)
			}
		}
	}
}

func (p *pipeline) happen(event string) {
	i := p.random.IntN(workers)
	s := &p.slots[i]
	p.t.Logf("%s %s", event, s.id)
	if event == killNode {
		p.n.kill()
		p.n.start()
		return
	}
	if s.now == nil {
		p.fill(i)
	}
	old := s.now
	s.now = nil
	switch event {
	case killWorker:
		old.kill()
	case replaceWorker:
		old.kill()
		s.id = fmt.Sprintf("copier-%d-%d", i, p.born)
	case loseWorker:
		old.kill()
		s.from = time.Now().Add(2500 * time.Millisecond)
	case freezeWorker:
		old.command.Process.Signal(syscall.SIGSTOP)
		old.wake = time.Now().Add(time.Duration(200+p.random.IntN(2500)) * time.Millisecond)
		p.spare = append(p.spare, old)
	case stopWorker:
		old.stop(p.t)
	}
}

func (w *process) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *process) kill() {
	if w != nil {
		w.command.Process.Kill()
		<-w.ended
	}
}

func (w *process) stop(t *testing.T) {
	if w == nil {
		return
	}
	w.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.ended:
	case <-time.After(20 * time.Second):
		w.command.Process.Signal(syscall.SIGQUIT) // its goroutines go to the workers' output
		<-w.ended
		t.Error("a worker does not end")
	}
}

// visible is how much of the output can be read at read_committed, markers among it: never less than the records.
func (p *pipeline) visible() int64 {
	committed, err := p.committedEnds()
	if err != nil {
		return 0
	}
	return int64(len(p.read(committed)))
}

func (p *pipeline) committedEnds() (kadm.ListedOffsets, error) {
	c := newClient(p.t, p.n.addr)
	defer c.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), waitMax)
	defer cancel()
	return kadm.NewClient(c).ListCommittedOffsets(ctx, p.spec.Out)
}

// read gives the committed records of the output up to the ends.
func (p *pipeline) read(ends kadm.ListedOffsets) []keyed {
	var records []keyed
	for _, r := range readCommitted(p.t, p.n.addr, p.spec.Out, ends) {
		records = append(records, keyed{string(r.Key), string(r.Value)})
	}
	return records
}

// readCommitted reads the committed records of a topic up to the ends.
func readCommitted(t *testing.T, addr, topic string, ends kadm.ListedOffsets) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	c := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer c.Close()
	var records []*kgo.Record
	at := map[int32]int64{}
	for {
		left := false
		ends.Each(func(o kadm.ListedOffset) { left = left || at[o.Partition] < o.Offset })
		if !left {
			return records
		}
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("reading %s at %v of %v: %v", topic, at, ends, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
}

// settled waits until no transaction is open in a topic, those of the killed have timed out, and gives its ends.
func settled(t *testing.T, adm *kadm.Client, topic string) kadm.ListedOffsets {
	t.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(50 * time.Millisecond) {
		committed := must[kadm.ListedOffsets](t)(adm.ListCommittedOffsets(t.Context(), topic))
		ends := must[kadm.ListedOffsets](t)(adm.ListEndOffsets(t.Context(), topic))
		if open := openTransactions(committed, ends); open == "" {
			return ends
		} else if time.Now().After(deadline) {
			t.Fatal(open)
		}
	}
}

// conclude looks at what there is when all has ended.
func (p *pipeline) conclude(took time.Duration) {
	t := p.t
	defer func() {
		said, _ := os.ReadFile(p.out.Name())
		for line := range bytes.Lines(said) {
			if !bytes.HasPrefix(line, []byte("commit")) && !bytes.HasPrefix(line, []byte("abort")) && !bytes.HasPrefix(line, []byte("sleeps")) {
				t.Logf("a worker: %s", bytes.TrimSpace(line))
			}
		}
		if t.Failed() {
			t.Logf("the node:\n%s", p.n.log.Bytes())
		}
	}()
	adm := kadm.NewClient(newClient(t, p.n.addr))
	ends := settled(t, adm, p.spec.Out)
	if err := checkExactlyOnce(p.sent, p.read(ends)); err != nil {
		t.Error(err)
	}
	offsets := must[kadm.OffsetResponses](t)(adm.FetchOffsets(t.Context(), p.spec.Group))
	must[kadm.ListedOffsets](t)(adm.ListEndOffsets(t.Context(), p.spec.In)).Each(func(end kadm.ListedOffset) {
		if o, ok := offsets.Lookup(p.spec.In, end.Partition); !ok || o.At != end.Offset {
			t.Errorf("partition %d of the input: the group is at %d of %d", end.Partition, o.At, end.Offset)
		}
	})
	said, _ := os.ReadFile(p.out.Name())
	count := func(word string) int { return bytes.Count(said, []byte(word)) }
	t.Logf("%d records, %d workers; %d transactions committed, %d aborted, %d sleeps, %d workers ended by themselves, %d requests came late, %d answers were lost; all was through %.1f s after the last event",
		len(p.sent), p.born, count("commit "), count("abort "), count("sleeps"), count("ended: "), p.proxy.late, p.proxy.lost, took.Seconds())
}

func openTransactions(committed, ends kadm.ListedOffsets) (open string) {
	ends.Each(func(end kadm.ListedOffset) {
		if c, ok := committed.Lookup(end.Topic, end.Partition); !ok || c.Offset != end.Offset {
			open += fmt.Sprintf("partition %d: an open transaction at %d, the end is %d\n", end.Partition, c.Offset, end.Offset)
		}
	})
	return open
}
