package quorum

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// seeds to run: KLAMM_SIM_SEEDS, or a few hundred.
func seeds(t *testing.T) uint64 {
	text := os.Getenv("KLAMM_SIM_SEEDS")
	if text == "" {
		return 200
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSimCrash lets a node lose power in the middle of its commands, at an operation on the disk that the seed chooses,
// and start again, several times. What was answered must be there afterwards, what was refused or never answered may be,
// and nothing else. A seed that failed is run again with KLAMM_SIM_SEED; which commands share a batch is up to the
// scheduler, so it may take a few runs (-count).
func TestSimCrash(t *testing.T) {
	if text := os.Getenv("KLAMM_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		newSim(t, seed).run()
		return
	}
	for seed := range seeds(t) {
		newSim(t, seed).run()
	}
}

type sim struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	mem  *vfs.Mem

	topics map[string]*fact // everything that anybody asked for
	made   int
	ids    int64 // producer ids below it were handed out
	broker int64 // epoch that was answered last
	epoch  int32 // of the quorum
	starts int
}

// fact is what the answers say of a topic.
type fact struct {
	id                schema.UUID // answered
	exists, forgotten bool        // answered: created, deleted
	deleting          bool        // asked for
	told, asked       int         // value of its configuration: answered, asked for
}

func newSim(t *testing.T, seed uint64) *sim {
	mem := vfs.NewMem(nil)
	if err := errors.Join(mem.MkdirAll(dir, 0o755), mem.SyncDir("/")); err != nil { // as formatting leaves it
		t.Fatal(err)
	}
	return &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 77)), mem: mem, topics: map[string]*fact{}}
}

func (s *sim) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("KLAMM_SIM_SEED=%d, start %d: %s", s.seed, s.starts, fmt.Sprintf(format, args...))
}

func (s *sim) config(c *Config) {
	c.Log.SegmentBytes = 4096
	c.SnapshotBytes, c.RetentionBytes = 1500, 5000
	c.Rand = rand.New(rand.NewPCG(s.seed, uint64(s.starts)))
}

func (s *sim) run() {
	for range 4 {
		s.life(s.rng.IntN(250), s.rng.IntN(4) == 0)
	}
	s.life(-1, true) // the last one meets a disk that works
}

// life is one process: it starts, works, and ends when the disk has done so many more changes, or cleanly.
func (s *sim) life(changes int, clean bool) {
	s.starts++
	var mu sync.Mutex
	dead := false
	died := errors.New("lost power")
	torn := rand.New(rand.NewPCG(s.rng.Uint64(), 1)) // mu guards it
	disk := vfs.NewFaults(s.mem, func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		switch op.Kind {
		case vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpTruncate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir, vfs.OpMkdirAll:
			if changes--; changes == -1 && !clean {
				dead = true
				if op.Kind == vfs.OpWrite && torn.IntN(2) == 0 {
					return &vfs.Short{N: torn.Int64N(op.Length + 1), Err: died}
				}
			}
		}
		if dead {
			return died
		}
		return nil
	})
	n, err := open(s.t, disk, s.config)
	if err == nil {
		err = n.q.Start()
	}
	if err == nil {
		s.check(n)
		s.work(n)
	} else if !errors.Is(err, died) {
		s.fatalf("%v", err)
	}
	if n.q != nil {
		n.q.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if dead {
		s.mem.Crash(s.rng)
	} else if len(n.fatal) > 0 {
		s.fatalf("fatal on a disk that works: %v", n.fatal)
	}
}

// check compares what a start found with what was answered.
func (s *sim) check(n *node) {
	st := n.q.Status()
	if st.Epoch <= s.epoch {
		s.fatalf("epoch %d after %d", st.Epoch, s.epoch)
	}
	s.epoch = st.Epoch
	image := n.q.Image()
	for name, f := range s.topics { // order does not matter: each is checked alone
		topic, there := image.Topic(name)
		switch {
		case f.exists && !f.deleting && !there:
			s.fatalf("topic %s was created and is gone", name)
		case f.forgotten && there:
			s.fatalf("topic %s was deleted and is back", name)
		case there && f.exists && topic.ID != f.id:
			s.fatalf("topic %s has id %s, the answer said %s", name, topic.ID, f.id)
		case !there:
			continue
		}
		f.exists, f.id = true, topic.ID // whatever the answer was
		value, _ := strconv.Atoi(image.Config(metadata.TopicConfig, name)["retention.ms"])
		if value < f.told || value > f.asked {
			s.fatalf("topic %s: configuration %d, answered %d, asked %d", name, value, f.told, f.asked)
		}
	}
	for topic := range image.Topics() {
		if s.topics[topic.Name] == nil {
			s.fatalf("topic %s was never asked for", topic.Name)
		}
	}
	if next := image.NextProducerID(); next < s.ids {
		s.fatalf("the next producer id is %d, %d were handed out", next, s.ids)
	}
	if b, ok := image.Broker(1); s.broker > 0 && (!ok || b.Epoch < s.broker) {
		s.fatalf("broker %+v, its epoch was %d", b, s.broker)
	}
	if d := cmp.Diff(contents(image), contents(n.q.ctl.Image())); d != "" {
		s.fatalf("publishers (-) and the controller (+) differ:\n%s", d)
	}
	ids, err := snapshots(n.q.c.FS, n.q.dir)
	if v := n.q.log.View(); err == nil && v.LogStart > 0 && (len(ids) == 0 || ids[len(ids)-1].End < v.LogStart) {
		s.fatalf("the log begins at %d, snapshots %v", v.LogStart, ids)
	}
}

// work sends commands in bursts until they are all answered, or the disk is gone.
func (s *sim) work(n *node) {
	r := n.do(registration(byte(s.starts))).(*kmsg.BrokerRegistrationResponse)
	if r.ErrorCode != 0 {
		return
	}
	s.broker = r.BrokerEpoch
	if h := n.do(heartbeat(r.BrokerEpoch, n.q.Image().Offset)).(*kmsg.BrokerHeartbeatResponse); h.ErrorCode != 0 || h.IsFenced {
		return
	}
	for range s.rng.IntN(40) {
		var wg sync.WaitGroup
		var mu sync.Mutex // the facts', from callbacks
		ok := 0
		burst := 1 + s.rng.IntN(5)
		for range burst {
			mu.Lock()
			req, took := s.command(r.BrokerEpoch)
			mu.Unlock()
			wg.Add(1)
			n.q.Request(machine.Client{}, req, func(resp kmsg.Response) {
				mu.Lock()
				defer mu.Unlock()
				if took(resp) {
					ok++
				}
				wg.Done()
			})
		}
		wg.Wait() // everybody is answered, whatever happens
		if ok == 0 {
			return
		}
	}
}

// command chooses a request, and what its answer means; that says whether it succeeded.
func (s *sim) command(broker int64) (kmsg.Request, func(kmsg.Response) bool) {
	var live []string
	for i := range s.made {
		if f := s.topics[topicName(i)]; f != nil && f.exists && !f.deleting {
			live = append(live, topicName(i))
		}
	}
	kind := s.rng.IntN(10)
	switch {
	case kind < 2:
		req := kmsg.NewPtrAllocateProducerIDsRequest()
		req.BrokerID, req.BrokerEpoch = 1, broker
		return req, func(resp kmsg.Response) bool {
			a := resp.(*kmsg.AllocateProducerIDsResponse)
			if a.ErrorCode != 0 {
				return false
			}
			if a.ProducerIDStart < s.ids {
				s.t.Errorf("KLAMM_SIM_SEED=%d: producer ids from %d, %d were handed out", s.seed, a.ProducerIDStart, s.ids)
			}
			s.ids = a.ProducerIDStart + int64(a.ProducerIDLen)
			return true
		}
	case kind < 4 && len(live) > 0:
		f := s.topics[live[s.rng.IntN(len(live))]]
		return s.remove(f)
	case kind < 7 && len(live) > 0:
		return s.configure(live[s.rng.IntN(len(live))])
	}
	name := topicName(s.made)
	f := &fact{}
	s.topics[name] = f
	s.made++
	return createTopic(name), func(resp kmsg.Response) bool {
		a := resp.(*kmsg.CreateTopicsResponse).Topics[0]
		if a.ErrorCode == 0 {
			f.exists, f.id = true, a.TopicID
		}
		return a.ErrorCode == 0
	}
}

func topicName(i int) string { return fmt.Sprintf("t%d", i) }

func (s *sim) remove(f *fact) (kmsg.Request, func(kmsg.Response) bool) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(6)
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: f.id}}
	f.deleting = true
	return req, func(resp kmsg.Response) bool {
		code := resp.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
		f.forgotten = f.forgotten || code == 0
		return code == 0
	}
}

func (s *sim) configure(name string) (kmsg.Request, func(kmsg.Response) bool) {
	f := s.topics[name]
	f.asked++
	value := f.asked
	text := strconv.Itoa(value)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.SetVersion(1)
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name,
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &text}}}}
	return req, func(resp kmsg.Response) bool {
		code := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
		if code == 0 {
			f.told = value
		} else if f.deleting && code == kerr.UnknownTopicOrPartition.Code {
			return true
		}
		return code == 0
	}
}
