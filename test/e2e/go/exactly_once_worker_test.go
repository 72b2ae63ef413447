//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// worker is what a process that consumes, transforms and produces is told, as JSON in KLAMM_E2E_WORKER.
type worker struct {
	Addr, ID, Group, In, Out string
	Cooperative              bool
	Seed                     uint64
}

// partitions is how many the input and the output have; a record of the one goes anywhere in the other.
const partitions = 6

func inPartition(key int) int32  { return int32(key % partitions) }
func outPartition(key int) int32 { return int32(key / partitions % partitions) }

// TestMain becomes a worker if it is told so: a worker has to be a process, to be killed and stopped like one.
func TestMain(m *testing.M) {
	told := os.Getenv("KLAMM_E2E_WORKER")
	if told == "" {
		os.Exit(m.Run())
	}
	var w worker
	if err := json.Unmarshal([]byte(told), &w); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := w.run(ctx); err != nil {
		fmt.Println("ended:", err)
		os.Exit(3)
	}
}

// run copies the input to the output in transactions until it is told to end, and prints a line for each: "commit N" or
// "abort N", with the number of its records. An error means that the session is of no use any more: it was fenced, or a
// request was given up.
func (w *worker) run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(w.Seed, 1))
	sleepy := &sleeper{random: rand.New(rand.NewPCG(w.Seed, 2))}
	balancer := kgo.RangeBalancer()
	if w.Cooperative {
		balancer = kgo.CooperativeStickyBalancer()
	}
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(w.Addr), kgo.TransactionalID(w.ID), kgo.TransactionTimeout(2*time.Second),
		kgo.ConsumerGroup(w.Group), kgo.ConsumeTopics(w.In), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(), kgo.Balancers(balancer), kgo.SessionTimeout(1500*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.RebalanceTimeout(3*time.Second), kgo.DefaultProduceTopic(w.Out), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(20*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.WithHooks(sleepy))
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		fetched := s.PollRecords(ctx, 1+random.IntN(120))
		if ctx.Err() != nil {
			return nil
		}
		if fetched.NumRecords() == 0 {
			continue // errors of fetches pass, or End tells of them
		}
		if err := s.Begin(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		n := fetched.NumRecords()
		fetched.EachRecord(func(r *kgo.Record) {
			key, _ := strconv.Atoi(string(r.Key))
			s.Produce(context.Background(), &kgo.Record{Key: r.Key, Value: r.Value, Partition: outPartition(key)}, nil)
		})
		// Some are flushed before their end, so that there is something to abort and to be killed in.
		if random.IntN(3) == 0 {
			s.Client().Flush(context.Background())
			time.Sleep(time.Duration(random.Int64N(int64(30 * time.Millisecond))))
		}
		committed, err := s.End(context.Background(), kgo.TransactionEndTry(random.IntN(10) != 0))
		if err != nil {
			return fmt.Errorf("end: %w", err)
		}
		if committed {
			fmt.Println("commit", n)
		} else {
			fmt.Println("abort", n)
		}
	}
}

// sleeper stops its own process now and then at the worst moment: the offsets are in the transaction, a heartbeat has shown that
// the worker is in the group, and what is left is to commit. It wakes up when the group has given its partitions to others,
// with the transaction still open or just timed out. The others must not begin before they know how it ends.
type sleeper struct {
	mu     sync.Mutex // guards all below
	random *rand.Rand
	ready  bool // the offsets were accepted, the heartbeat is to come
}

// OnBrokerRead is told of each response before the client hands it on.
func (s *sleeper) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kmsg.Key(key) {
	case kmsg.TxnOffsetCommit:
		s.ready = err == nil
	case kmsg.Heartbeat:
		if s.ready && s.random.IntN(70) == 0 {
			until := fmt.Sprintf("sleep %.2f; kill -CONT %d", 1.6+0.6*s.random.Float64(), os.Getpid())
			if exec.Command("sh", "-c", until).Start() == nil {
				fmt.Println("sleeps")
				syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			}
		}
		s.ready = false
	}
}
