package txn

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

// TestScripts runs the scripts in testdata. Requests are commands with arguments; "p=1000/0" is a producer with id and
// epoch. The output is what was written, answered and asked for. DETAILS 34, 35, 36.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		h := newHarness(t, Config{})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h.t = t
			h.out.Reset()
			h.run(t, d)
			if h.out.Len() == 0 {
				return "-\n"
			}
			return h.out.String()
		})
	})
}

// args reads a command's arguments.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) str(key, def string) string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return strings.ReplaceAll(strings.Join(arg.Vals, ","), `""`, "")
		}
	}
	return def
}

func (a args) has(key string) bool {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return true
		}
	}
	return false
}

func (a args) list(key string) []string {
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key {
			return arg.Vals
		}
	}
	return nil
}

func (a args) num(key string, def int) int {
	s := a.str(key, "")
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return n
}

func (a args) duration(s string, def time.Duration) time.Duration {
	if s == "" {
		return def
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return v
}

// producer reads "p=1000/0".
func (a args) producer() producer { return a.parseProducer(a.str("p", "1000/0")) }

func (a args) parseProducer(s string) (p producer) {
	if _, err := fmt.Sscanf(s, "%d/%d", &p.id, &p.epoch); err != nil {
		a.d.Fatalf(a.t, "producer %q: %v", s, err)
	}
	return p
}

// partition reads "topic-1".
func (a args) partition(s string) TopicPartition {
	i := strings.LastIndex(s, "-")
	n, err := strconv.Atoi(s[i+1:])
	if err != nil || i < 0 {
		a.d.Fatalf(a.t, "partition %q", s)
	}
	return TopicPartition{s[:i], int32(n)}
}

func (h *harness) run(t *testing.T, d *datadriven.TestData) {
	a := args{t, d}
	switch d.Cmd {
	case "config":
		h.do(SetConfig{Config{ResultRecordsMax: a.num("records", 0), Expiration: a.duration(a.str("expiration", ""), 0)}})
	case "advance":
		h.advance(a.duration(d.CmdArgs[0].Key, 0))
	case "sleep": // nobody ticks
		h.now = h.now.Add(a.duration(d.CmdArgs[0].Key, 0))
	case "feature":
		level, _ := strconv.Atoi(d.CmdArgs[0].Key)
		h.feature(int16(level))
	case "delete-topic":
		h.change(&schema.RemoveTopic{TopicID: topicID(d.CmdArgs[0].Key)})
	case "reload":
		h.m = h.reload()
		h.epoch++
		h.effects = nil
	case "append":
		if h.fail = nil; a.has("fails") {
			h.fail = fmt.Errorf("disk: %w", kerr.NotEnoughReplicas)
		}
		if a.has("leadership") {
			h.fail = kerr.NotLeaderForPartition
		}
	case "record": // what an older coordinator wrote
		p := a.producer()
		s, _ := stateNamed(a.str("state", "Empty"))
		x := transaction{id: a.str("id", "a"), producerID: p.id, previousID: int64(a.num("prev", int(p.id))), nextID: int64(a.num("next", -1)), epoch: p.epoch,
			timeout: int32(a.num("timeout", 60000)), state: s, start: h.now.UnixMilli(), updated: h.now.UnixMilli(), version: int16(a.num("tv", 0))}
		for _, tp := range a.list("partitions") {
			x.partitions = append(x.partitions, a.partition(tp))
		}
		h.log = append(h.log, encode(x, 1))
	case "producer-id":
		h.fresh++
		h.do(ProducerID{h.fresh})
	case "markers":
		h.do(a.markersWritten(h))
	default:
		h.do(a.request(h))
	}
}

func (a args) markersWritten(h *harness) MarkersWritten {
	p := a.producer()
	w := MarkersWritten{TransactionalID: a.str("id", "a"), ProducerID: p.id, ProducerEpoch: p.epoch, CoordinatorEpoch: int32(a.num("coordinator", int(h.epoch)))}
	for _, s := range a.list("partitions") {
		tp, name, failed := strings.Cut(s, ":")
		code := int16(0)
		if failed {
			for c := int16(-1); c < 150; c++ {
				if codeText(c) == name {
					code = c
				}
			}
			if code == 0 {
				a.d.Fatalf(a.t, "error %q", name)
			}
		}
		w.Partitions = append(w.Partitions, a.partition(tp))
		w.Errors = append(w.Errors, code)
	}
	return w
}

func (a args) request(h *harness) any {
	id, p := a.str("id", "a"), a.producer()
	version := func(newest int) int16 { return int16(a.num("version", newest)) }
	switch a.d.Cmd {
	case "init":
		r := kmsg.NewPtrInitProducerIDRequest()
		r.Version, r.TransactionalID, r.TransactionTimeoutMillis = version(5), &id, int32(a.num("timeout", 60000))
		if a.has("p") {
			r.ProducerID, r.ProducerEpoch = p.id, p.epoch
		}
		if a.has("no-fresh") {
			return Init{r, -1}
		}
		h.fresh++
		return Init{r, h.fresh}
	case "add":
		r := kmsg.NewPtrAddPartitionsToTxnRequest()
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch = version(3), id, p.id, p.epoch
		for _, s := range a.list("partitions") {
			tp := a.partition(s)
			r.Topics = append(r.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: tp.Topic, Partitions: []int32{tp.Partition}})
		}
		return r
	case "batch": // one transaction a line: id producer [verify] partitions
		r := kmsg.NewPtrAddPartitionsToTxnRequest()
		r.Version = version(5)
		for line := range strings.Lines(a.d.Input) {
			f := strings.Fields(line)
			x := kmsg.NewAddPartitionsToTxnRequestTransaction()
			p := a.parseProducer(f[1])
			x.TransactionalID, x.ProducerID, x.ProducerEpoch = strings.Trim(f[0], `"`), p.id, p.epoch
			for _, s := range f[2:] {
				if s == "verify" {
					x.VerifyOnly = true
					continue
				}
				tp := a.partition(s)
				x.Topics = append(x.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: tp.Topic, Partitions: []int32{tp.Partition}})
			}
			r.Transactions = append(r.Transactions, x)
		}
		return r
	case "add-offsets":
		r := kmsg.NewPtrAddOffsetsToTxnRequest()
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = version(4), id, p.id, p.epoch, "g"
		return AddOffsets{r, int32(a.num("partition", 3))}
	case "commit", "abort":
		r := kmsg.NewPtrEndTxnRequest()
		r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = version(5), id, p.id, p.epoch, a.d.Cmd == "commit"
		return r
	case "describe":
		r := kmsg.NewPtrDescribeTransactionsRequest()
		r.TransactionalIDs = strings.Split(id, ",")
		return r
	case "list":
		r := kmsg.NewPtrListTransactionsRequest()
		r.Version, r.StateFilters, r.DurationFilterMillis = version(2), a.list("states"), int64(a.num("duration", -1))
		for _, s := range a.list("producers") {
			n, _ := strconv.ParseInt(s, 10, 64)
			r.ProducerIDFilters = append(r.ProducerIDFilters, n)
		}
		if a.has("pattern") {
			s := strings.NewReplacer("{", "(", "}", ")").Replace(a.str("pattern", "")) // the script's syntax takes parentheses
			r.TransactionalIDPattern = &s
		}
		return r
	case "marker":
		return machine.Marker{}
	}
	a.d.Fatalf(a.t, "unknown command %s", a.d.Cmd)
	return nil
}
