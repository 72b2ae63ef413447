//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shareKills is how often the node is killed while share consumers work.
const shareKills = 4

// sharing is what everybody knows who produces to and consumes from the shared topic, by the records' texts.
type sharing struct {
	mu sync.Mutex // guards:
	// made are acknowledged records. done are those whose acceptance or rejection was confirmed; perhaps, those for which
	// nobody knows; tries, the largest delivery count.
	made, done, perhaps map[string]bool
	tries               map[string]int32
	faults              []string
}

func newSharing() *sharing {
	return &sharing{made: map[string]bool{}, done: map[string]bool{}, perhaps: map[string]bool{}, tries: map[string]int32{}}
}

const shareDeliveries = 10

// delivered notes a record that was delivered, and whether it should have been.
func (s *sharing) delivered(text string, count int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done[text] {
		s.faults = append(s.faults, fmt.Sprintf("%s is delivered after its acknowledgement was confirmed", text))
	}
	if count > shareDeliveries {
		s.faults = append(s.faults, fmt.Sprintf("%s is delivered for the %d. time", text, count))
	}
	s.tries[text] = max(s.tries[text], count)
}

func (s *sharing) acknowledged(texts []string, confirmed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		if confirmed {
			s.done[text] = true
		} else {
			s.perhaps[text] = true
		}
	}
}

// open counts the records that were made and whose end nobody knows of.
func (s *sharing) open() (open int, one string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range s.made {
		if !s.done[text] && !s.perhaps[text] && s.tries[text] < shareDeliveries {
			open, one = open+1, text
		}
	}
	return open, one
}

func (s *sharing) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		t.Error(f)
	}
	t.Logf("%d records, %d confirmed, %d unknown", len(s.made), len(s.done), len(s.perhaps))
	if len(s.done) < len(s.made)/2 {
		t.Errorf("of %d records only %d have a confirmed end", len(s.made), len(s.done))
	}
}

// produce writes records until the context ends.
func (s *sharing) produce(ctx context.Context, t *testing.T, addr, topic string) {
	cl := newClient(t, addr, kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(waitMax), kgo.ProducerLinger(5*time.Millisecond))
	defer cl.Close()
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprint("r", i)
		cl.Produce(context.Background(), kgo.StringRecord(text), func(_ *kgo.Record, err error) {
			if err == nil {
				s.mu.Lock()
				s.made[text] = true
				s.mu.Unlock()
			}
		})
		if i%50 == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	_ = cl.Flush(context.Background())
}

// consume is a member of the group until the context ends: it accepts most records, rejects and releases some.
func (s *sharing) consume(ctx context.Context, t *testing.T, addr, topic, group string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	failed := false
	cl := newClient(t, addr, kgo.ShareGroup(group), kgo.ConsumeTopics(topic), kgo.ShareAckCallback(func(_ *kgo.Client, rs kgo.ShareAckResults) {
		mu.Lock()
		failed = failed || rs.Error() != nil
		mu.Unlock()
	}))
	defer cl.Close()
	for ctx.Err() == nil {
		fs := cl.PollRecords(ctx, 200)
		var texts []string
		mu.Lock()
		failed = false
		mu.Unlock()
		fs.EachRecord(func(r *kgo.Record) {
			text := string(r.Value)
			s.delivered(text, r.DeliveryCount())
			switch random.IntN(10) {
			case 0:
				r.Ack(kgo.AckRelease)
				return
			case 1:
				r.Ack(kgo.AckReject)
			default:
				r.Ack(kgo.AckAccept)
			}
			texts = append(texts, text)
		})
		flush, cancel := context.WithTimeout(context.Background(), waitMax)
		err := cl.FlushAcks(flush)
		cancel()
		mu.Lock()
		s.acknowledged(texts, err == nil && !failed)
		mu.Unlock()
	}
}

// shareTopic makes a topic and lets a group begin at its start.
func shareTopic(t *testing.T, addr, group string, partitions int32) string {
	t.Helper()
	adm := kadm.NewClient(newClient(t, addr))
	topic := unique("shared")
	must[kadm.CreateTopicResponse](t)(adm.CreateTopic(t.Context(), partitions, 1, nil, topic))
	awaitTopic(t, adm, topic, int(partitions))
	shareConfig(t, addr, group, map[string]string{"share.auto.offset.reset": "earliest", "share.delivery.count.limit": fmt.Sprint(shareDeliveries)})
	return topic
}

func shareConfig(t *testing.T, addr, group string, values map[string]string) {
	t.Helper()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for k, v := range values {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = k, &v
		r.Configs = append(r.Configs, c)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(t.Context(), newClient(t, addr))
	if err == nil {
		err = kerr.ErrorForCode(resp.Resources[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The node is killed and started again while three members of a share group accept, reject and release. What was confirmed
// does not come again; nothing that was produced is lost.
func TestShareKills(t *testing.T) {
	n := newNode(t)
	group := unique("g")
	topic := shareTopic(t, n.addr, group, 3)
	s := newSharing()
	making, stopMaking := context.WithCancel(t.Context())
	taking, stopTaking := context.WithCancel(t.Context())
	var producer, consumers sync.WaitGroup
	producer.Go(func() { s.produce(making, t, n.addr, topic) })
	for i := range 3 {
		consumers.Go(func() { s.consume(taking, t, n.addr, topic, group, uint64(i)) })
	}
	for range shareKills {
		time.Sleep(time.Duration(2000+rand.IntN(3000)) * time.Millisecond) // the load, and the moments of the kills
		n.kill()
		n.start()
	}
	stopMaking()
	producer.Wait()
	for deadline := time.Now().Add(2 * waitMax); ; time.Sleep(100 * time.Millisecond) {
		open, one := s.open()
		if open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d records do not come, %s is one of them", open, one)
			break
		}
	}
	stopTaking()
	consumers.Wait()
	s.check(t)
}

// verifiable is what Apache Kafka's verifiable share consumer prints.
type verifiable struct {
	Name       string
	Success    bool
	Partitions []struct {
		Partition int32
		Offsets   []int64
	}
}

type spot struct {
	partition int32
	offset    int64
}

// The same with Apache Kafka's consumer, which accepts everything and tells which offsets were acknowledged.
func TestShareKillsJava(t *testing.T) {
	kafka := os.Getenv("KLAMM_E2E_KAFKA")
	if kafka == "" {
		t.Skip("KLAMM_E2E_KAFKA is not set")
	}
	n := newNode(t)
	group := unique("g")
	topic := shareTopic(t, n.addr, group, 2)
	c := exec.Command("timeout", "300", kafka, "run", "verifiable-share-consumer", "--bootstrap-server", n.addr, "--topic", topic, "--group-id", group, "--acknowledgement-mode", "sync")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := must[io.ReadCloser](t)(c.StdoutPipe())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	}()
	var mu sync.Mutex
	seen, done := map[spot]bool{}, map[spot]bool{}
	var faults []string
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var v verifiable
			if json.Unmarshal(lines.Bytes(), &v) != nil {
				continue
			}
			mu.Lock()
			for _, p := range v.Partitions {
				for _, o := range p.Offsets {
					at := spot{p.Partition, o}
					switch {
					case v.Name == "records_consumed" && done[at]:
						faults = append(faults, fmt.Sprintf("%v is delivered after its acknowledgement was confirmed", at))
					case v.Name == "records_consumed":
						seen[at] = true
					case v.Name == "offsets_acknowledged" && v.Success:
						done[at] = true
					}
				}
			}
			mu.Unlock()
		}
	}()
	making, stopMaking := context.WithCancel(t.Context())
	s := newSharing()
	var producer sync.WaitGroup
	producer.Go(func() { s.produce(making, t, n.addr, topic) })
	for range shareKills {
		time.Sleep(time.Duration(3000+rand.IntN(3000)) * time.Millisecond)
		n.kill()
		n.start()
	}
	stopMaking()
	producer.Wait()
	ends := must[kadm.ListedOffsets](t)(kadm.NewClient(newClient(t, n.addr)).ListEndOffsets(t.Context(), topic))
	for deadline := time.Now().Add(2 * waitMax); ; time.Sleep(100 * time.Millisecond) {
		missing := 0
		mu.Lock()
		ends.Each(func(o kadm.ListedOffset) {
			for at := range o.Offset {
				if !seen[spot{o.Partition, at}] {
					missing++
				}
			}
		})
		mu.Unlock()
		if missing == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d records do not come", missing)
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range faults {
		t.Error(f)
	}
	t.Logf("%d records, %d confirmed", len(seen), len(done))
	if len(done) < len(seen)/2 {
		t.Errorf("of %d records only %d were confirmed", len(seen), len(done))
	}
}

// Members of one group share a partition; each record goes to one of them.
func TestShareClient(t *testing.T) {
	addr := broker(t)
	group := unique("g")
	topic := shareTopic(t, addr, group, 1)
	s := newSharing()
	making, stop := context.WithTimeout(t.Context(), 2*time.Second)
	s.produce(making, t, addr, topic)
	stop()
	taking, stop := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	for i := range 3 {
		consumers.Go(func() { s.consume(taking, t, addr, topic, group, uint64(i)) })
	}
	for deadline := time.Now().Add(waitMax); ; time.Sleep(50 * time.Millisecond) {
		if open, one := s.open(); open == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d records do not come, %s is one of them", open, one)
		}
	}
	stop()
	consumers.Wait()
	s.check(t)
	if len(s.perhaps) > 0 {
		t.Fatalf("%d acknowledgements were not confirmed", len(s.perhaps))
	}
}

// A record that its consumer never settles is given up after as many deliveries as the group allows.
func TestShareDeliveryLimit(t *testing.T) {
	addr := broker(t)
	group := unique("g")
	topic := shareTopic(t, addr, group, 1)
	shareConfig(t, addr, group, map[string]string{"share.delivery.count.limit": "3"})
	p := newClient(t, addr, kgo.DefaultProduceTopic(topic))
	for i := range 3 {
		must[*kgo.Record](t)(p.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).First())
	}
	cl := newClient(t, addr, kgo.ShareGroup(group), kgo.ConsumeTopics(topic))
	defer cl.Close()
	counts := map[string]int32{}
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	for counts["0"] < 3 || counts["1"] < 3 || counts["2"] < 3 {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatal(err, counts)
		}
		fs.EachRecord(func(r *kgo.Record) {
			counts[string(r.Value)]++
			if got := r.DeliveryCount(); got != counts[string(r.Value)] {
				t.Errorf("%s: delivery %d is counted %d", r.Value, counts[string(r.Value)], got)
			}
			r.Ack(kgo.AckRelease)
		})
		if err := cl.FlushAcks(ctx); err != nil {
			t.Fatal(err)
		}
	}
	must[*kgo.Record](t)(p.ProduceSync(t.Context(), kgo.StringRecord("last")).First())
	for {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		last := false
		fs.EachRecord(func(r *kgo.Record) {
			if last = string(r.Value) == "last"; !last {
				t.Errorf("%s is delivered for the %d. time", r.Value, r.DeliveryCount())
			}
			r.Ack(kgo.AckAccept)
		})
		fs.EachError(func(_ string, _ int32, err error) {
			var k *kerr.Error
			if errors.As(err, &k) {
				t.Error(err)
			}
		})
		if last {
			break
		}
	}
}
