//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	historySeeds      = 3 // or KLAMM_E2E_SEEDS
	historyPartitions = 3
	historyKills      = 3
	// opMax bounds one step: a client that gets no answer for so long is given up, and its transaction with it.
	opMax = 10 * time.Second
)

// TestHistories lets processes send and poll, alone and in transactions, while the node is killed and a proxy loses answers and
// lets requests arrive when their sender has long gone on, and checks what all of them have seen.
//
// Transaction version 1 cannot tell an end of a transaction that comes late from one of the next transaction; that is
// why version 2 was made (KIP-890). There the proxy leaves EndTxn alone, unless KLAMM_E2E_LATE_ENDS is set, which shows that the check finds it.
func TestHistories(t *testing.T) {
	seeds, first := historySeeds, uint64(time.Now().UnixNano())
	if s := os.Getenv("KLAMM_E2E_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("KLAMM_E2E_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
	}
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("%d", i), func(t *testing.T) {
			t.Logf("KLAMM_E2E_SEED=%d KLAMM_E2E_SEEDS=1", seed)
			recordHistory(t, seed)
		})
	}
}

func recordHistory(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	l := listen(t)
	n := newNode(t, "advertised.listeners=PLAINTEXT://"+l.Addr().String(), "transaction.abort.timed.out.transaction.cleanup.interval.ms=300")
	p := newProxy(t, l, n.addr, seed)
	r := &recorder{t: t, addr: l.Addr().String(), stop: make(chan struct{})}
	admin := newClient(t, r.addr)
	adm := kadm.NewClient(admin)
	must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), historyPartitions, 1, nil, historyTopic))
	awaitTopic(t, adm, historyTopic, historyPartitions)
	chance := map[kmsg.Key]float64{kmsg.Produce: 0.02, kmsg.EndTxn: 0.05, kmsg.InitProducerID: 0.02}
	if seed%3 == 0 {
		oldTransactions(t, admin)
		chance[kmsg.AddPartitionsToTxn] = 0.03
		if os.Getenv("KLAMM_E2E_LATE_ENDS") == "" {
			chance[kmsg.EndTxn] = 0
		}
	}
	p.disturb(chance)
	var workers sync.WaitGroup
	for i := range 6 {
		transactional := ""
		if i < 4 {
			transactional = fmt.Sprintf("writer-%d", i)
		}
		w := &actor{recorder: r, id: transactional, random: rand.New(rand.NewPCG(seed, uint64(10+i)))}
		workers.Add(1)
		go func() {
			defer workers.Done()
			w.act()
		}()
	}
	for range historyKills {
		time.Sleep(time.Duration(800+random.IntN(1200)) * time.Millisecond)
		n.kill()
		n.start()
	}
	time.Sleep(time.Second)
	close(r.stop)
	workers.Wait()
	p.disturb(nil)
	for _, rec := range readCommitted(t, r.addr, historyTopic, settled(t, adm, historyTopic)) {
		r.final = append(r.final, placedOf(rec))
	}
	count := map[outcome]int{}
	polled := 0
	for _, o := range r.ops {
		count[o.outcome]++
	}
	r.seen(func(*op, *step, placed) { polled++ })
	t.Logf("%d ops succeeded, %d failed, %d unknown; %d values in the end, polled %d times; %d requests came late, %d answers were lost",
		count[succeeded], count[failed], count[unknown], len(r.final), polled, p.late, p.lost)
	if count[succeeded] < 100 || polled < 100 {
		t.Error("that is too little to prove anything")
	}
	for i, w := range r.check() {
		if t.Error(w); i == 20 {
			break
		}
	}
	if t.Failed() {
		t.Logf("the node:\n%s", n.log.Bytes())
	}
}

const historyTopic = "history"

func placedOf(r *kgo.Record) placed {
	v, _ := strconv.Atoi(string(r.Value))
	return placed{r.Partition, r.Offset, v}
}

// recorder keeps the history of all actors.
type recorder struct {
	t         *testing.T
	addr      string
	stop      chan struct{}
	values    atomic.Int64
	processes atomic.Int64

	mu sync.Mutex // guards history
	history
}

// actor is a process after the other: one ends when the outcome of what it did is not known.
type actor struct {
	*recorder
	id     string // transactional id; empty: without transactions
	random *rand.Rand

	process int
	writer  *kgo.Client
	reader  *kgo.Client
}

func (a *actor) act() {
	for a.born() {
		for lives := true; lives; {
			select {
			case <-a.stop:
				a.die()
				return
			default:
			}
			o := op{process: a.process, transactional: a.id != ""}
			if o.transactional {
				lives = a.transact(&o)
			} else {
				lives = a.single(&o)
			}
			a.mu.Lock()
			a.ops = append(a.ops, o)
			a.mu.Unlock()
			// Now and then somebody dies with a transaction done, to begin a new session from nothing.
			lives = lives && a.random.IntN(60) != 0
		}
		a.die()
	}
}

func (a *actor) born() bool {
	a.process = int(a.processes.Add(1))
	quick := []kgo.Opt{kgo.SeedBrokers(a.addr), kgo.MetadataMinAge(20 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}
	opts := append(quick, kgo.DefaultProduceTopic(historyTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if a.id != "" {
		opts = append(opts, kgo.TransactionalID(a.id), kgo.TransactionTimeout(3*time.Second))
	}
	from := map[int32]kgo.Offset{}
	for i := range int32(historyPartitions) {
		from[i] = kgo.NewOffset().AtStart()
	}
	var err, err2 error
	a.writer, err = kgo.NewClient(opts...)
	a.reader, err2 = kgo.NewClient(append(quick[:len(quick):len(quick)], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{historyTopic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil || err2 != nil {
		a.t.Error(err, err2)
	}
	return err == nil && err2 == nil
}

func (a *actor) die() {
	a.writer.Close()
	a.reader.Close()
}

// transact does some steps in a transaction, and mostly commits. False: the process ends.
func (a *actor) transact(o *op) bool {
	o.outcome = failed
	if a.writer.BeginTransaction() != nil {
		return false
	}
	well := true
	for range 1 + a.random.IntN(5) {
		if well = a.step(o); !well {
			break
		}
	}
	if a.random.IntN(40) == 0 {
		return false // and leaves it open
	}
	ctx, cancel := context.WithTimeout(context.Background(), opMax)
	defer cancel()
	if !well || a.random.IntN(6) == 0 {
		return a.writer.EndTransaction(ctx, kgo.TryAbort) == nil
	}
	o.committing, o.outcome = time.Now(), unknown
	if a.writer.EndTransaction(ctx, kgo.TryCommit) != nil {
		return false
	}
	o.outcome = succeeded
	return true
}

func (a *actor) single(o *op) bool {
	if !a.step(o) {
		return false
	}
	o.outcome = succeeded
	return true
}

// step sends a record or polls some. False if it was not acknowledged.
func (a *actor) step(o *op) bool {
	if a.random.IntN(2) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		s := step{poll: true}
		a.reader.PollRecords(ctx, 1+a.random.IntN(30)).EachRecord(func(r *kgo.Record) { s.records = append(s.records, placedOf(r)) })
		s.ended = time.Now()
		o.steps = append(o.steps, s)
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), opMax)
	defer cancel()
	sent := placed{a.random.Int32N(historyPartitions), -1, int(a.values.Add(1))}
	r := &kgo.Record{Partition: sent.partition, Value: strconv.AppendInt(nil, int64(sent.value), 10)}
	err := a.writer.ProduceSync(ctx, r).FirstErr()
	if err == nil {
		sent.offset = r.Offset
	}
	o.steps = append(o.steps, step{ended: time.Now(), records: []placed{sent}})
	return err == nil
}
