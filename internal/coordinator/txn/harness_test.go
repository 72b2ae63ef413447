package txn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// harness drives a machine as its host does: decide, append, apply, reply, deliver effects. The log is a slice.
type harness struct {
	t       interface{ Fatalf(string, ...any) }
	m       *Machine
	image   *metadata.Image
	now     time.Time
	began   time.Time
	epoch   int32
	log     []machine.Record
	effects []any // delivered and not taken
	open    map[machine.Token]machine.Command
	token   machine.Token
	fail    error // appends fail with this
	fresh   int64 // last producer id drawn
	answers map[machine.Token]any
	out     strings.Builder
}

func newHarness(t interface{ Fatalf(string, ...any) }, c Config) *harness {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &harness{
		t: t, m: New(c), now: began, began: began, image: metadata.Empty(), epoch: 1, fresh: 999,
		open: map[machine.Token]machine.Command{}, answers: map[machine.Token]any{},
	}
	h.feature(2)
	for _, topic := range []string{"t", "u", offsetsTopic} {
		h.topic(topic, 4)
	}
	return h
}

func (h *harness) change(records ...schema.Record) {
	d := metadata.NewDelta(h.image)
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			h.t.Fatalf("metadata: %v", err)
		}
	}
	h.image = d.Image(0, 0)
}

func (h *harness) feature(level int16) {
	h.change(&schema.FeatureLevel{Name: metadata.TransactionVersionFeature, FeatureLevel: level})
}

func topicID(name string) (id schema.UUID) {
	copy(id[:], name)
	return id
}

func (h *harness) topic(name string, partitions int32) {
	id := topicID(name)
	h.change(&schema.Topic{Name: name, TopicID: id})
	for p := range partitions {
		h.change(&schema.Partition{TopicID: id, PartitionID: p, Replicas: []int32{1}, ISR: []int32{1}, Leader: 1,
			Directories: make([]schema.UUID, 1)})
	}
}

// do submits a command and gives its token.
func (h *harness) do(body any) machine.Token {
	h.token++
	cmd := machine.Command{Token: h.token, Body: body}
	h.open[cmd.Token] = cmd
	h.step(cmd)
	return cmd.Token
}

func (h *harness) step(cmd machine.Command) {
	res := h.m.Handle(machine.Input{Now: h.now, Rand: rand.New(rand.NewPCG(1, 2)), Image: h.image, Epoch: h.epoch}, cmd)
	for _, e := range res.Events {
		if e.Warn {
			fmt.Fprintf(&h.out, "warning %s %v\n", e.Name, e.Attrs)
		}
	}
	if len(res.Records) > 0 && h.fail != nil {
		fmt.Fprintf(&h.out, "append fails: %d records\n", len(res.Records))
		if cmd.Token != 0 {
			h.reply(cmd.Token, h.m.Refuse(cmd, h.fail))
		}
		return
	}
	for _, r := range res.Records {
		fmt.Fprintf(&h.out, "record %s\n", h.recordText(r))
		h.log = append(h.log, r)
		if err := h.m.Apply(r, machine.Position{Offset: int64(len(h.log) - 1), Timestamp: h.now.UnixMilli(), Epoch: h.epoch}); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	for _, r := range res.Replies {
		h.reply(r.Token, r.Value)
	}
	for _, e := range res.Effects {
		h.effects = append(h.effects, e)
		switch e := e.(type) {
		case WriteMarkers:
			fmt.Fprintf(&h.out, "effect markers %s %d/%d coordinator=%d commit=%v tv=%d %s\n", e.TransactionalID, e.ProducerID,
				e.ProducerEpoch, e.CoordinatorEpoch, e.Commit, e.TransactionVersion, partitionsText(e.Partitions))
		case NeedProducerID:
			h.out.WriteString("effect need-producer-id\n")
		default:
			h.t.Fatalf("effect %T", e)
		}
	}
}

func (h *harness) reply(token machine.Token, value any) {
	cmd, ok := h.open[token]
	if !ok {
		h.t.Fatalf("reply to token %d, which nobody waits for: %v", token, value)
	}
	if want := requestOf(cmd.Body); want != nil {
		got, ok := value.(kmsg.Response)
		if !ok || got.Key() != want.Key() || got.GetVersion() != want.GetVersion() {
			h.t.Fatalf("reply to %T version %d is %T: %v", want, want.GetVersion(), value, value)
		}
	}
	delete(h.open, token)
	h.answers[token] = value
	if s := responseText(value); s != "" {
		fmt.Fprintf(&h.out, "%s\n", s)
	}
}

func requestOf(body any) kmsg.Request {
	switch b := body.(type) {
	case Init:
		return b.Request
	case AddOffsets:
		return b.Request
	case kmsg.Request:
		return b
	}
	return nil
}

// advance lets time pass, with a Tick at each deadline. While appends fail, the time never stands still.
func (h *harness) advance(d time.Duration) {
	end := h.now.Add(d)
	for ticks := 0; ; ticks++ {
		at, ok := h.m.NextDeadline()
		if !ok || at.After(end) {
			break
		}
		if at.After(h.now) {
			h.now = at
			ticks = 0
		}
		if ticks > 1000 {
			h.t.Fatalf("a Tick at %v does not end", h.now)
		}
		before := h.out.String()
		h.out.Reset()
		h.step(machine.Command{Body: machine.Tick{}})
		said := h.out.String()
		h.out.Reset()
		h.out.WriteString(before)
		if said != "" {
			fmt.Fprintf(&h.out, "[%s]\n%s", h.clock(h.now.UnixMilli()), said)
		}
	}
	h.now = end
}

// reload gives a fresh machine with what is in the log.
func (h *harness) reload() *Machine {
	m := New(h.m.config)
	for i, r := range h.log {
		if err := m.Apply(r, machine.Position{Offset: int64(i)}); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	return m
}

// clock shows a time as what passed since the beginning.
func (h *harness) clock(ms int64) string {
	if ms < 0 {
		return fmt.Sprint(ms)
	}
	return "+" + time.UnixMilli(ms).Sub(h.began).String()
}

func (h *harness) recordText(r machine.Record) string {
	k, err := schema.DecodeKey(schema.TransactionLog, r.Key)
	if err != nil {
		return err.Error()
	}
	id := k.(*schema.TransactionLogKey).TransactionalID
	if r.Value == nil {
		return id + " removed"
	}
	d, version, err := schema.DecodeValue(schema.TransactionLog, 0, r.Value)
	if err != nil {
		return err.Error()
	}
	v := d.(*schema.TransactionLogValue)
	s := fmt.Sprintf("%s v%d %v %d/%d", id, version, State(v.TransactionStatus), v.ProducerID, v.ProducerEpoch)
	if version > 0 {
		s += fmt.Sprintf(" prev=%d next=%d tv=%d", v.PreviousProducerID, v.NextProducerID, v.ClientTransactionVersion)
	}
	s += fmt.Sprintf(" timeout=%v start=%s updated=%s", time.Duration(v.TransactionTimeoutMillis)*time.Millisecond,
		h.clock(v.TransactionStartTimestampMillis), h.clock(v.TransactionLastUpdateTimestampMillis))
	if v.TransactionPartitions == nil {
		return s + " null"
	}
	for _, t := range v.TransactionPartitions {
		for _, p := range t.PartitionIDs {
			s += fmt.Sprintf(" %s-%d", t.Topic, p)
		}
	}
	return s
}

func partitionsText(partitions []TopicPartition) string {
	var s []string
	for _, p := range partitions {
		s = append(s, fmt.Sprintf("%s-%d", p.Topic, p.Partition))
	}
	return strings.Join(s, " ")
}

func codeText(code int16) string {
	if code == 0 {
		return "ok"
	}
	var e *kerr.Error
	if errors.As(kerr.ErrorForCode(code), &e) {
		return e.Message
	}
	return fmt.Sprint(code)
}

func responseText(value any) string {
	var s strings.Builder
	switch r := value.(type) {
	case *kmsg.InitProducerIDResponse:
		fmt.Fprintf(&s, "init %s %d/%d", codeText(r.ErrorCode), r.ProducerID, r.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnResponse:
		s.WriteString("add")
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
			}
		}
		for _, x := range r.Transactions {
			fmt.Fprintf(&s, " {%s", x.TransactionalID)
			for _, t := range x.Topics {
				for _, p := range t.Partitions {
					fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
				}
			}
			s.WriteString("}")
		}
	case *kmsg.AddOffsetsToTxnResponse:
		fmt.Fprintf(&s, "add-offsets %s", codeText(r.ErrorCode))
	case *kmsg.EndTxnResponse:
		fmt.Fprintf(&s, "end %s", codeText(r.ErrorCode))
		if r.Version >= 5 {
			fmt.Fprintf(&s, " %d/%d", r.ProducerID, r.ProducerEpoch)
		}
	case *kmsg.DescribeTransactionsResponse:
		s.WriteString("describe")
		for _, d := range r.TransactionStates {
			fmt.Fprintf(&s, " {%q %s %s %d/%d timeout=%d start=%v", d.TransactionalID, codeText(d.ErrorCode), d.State, d.ProducerID, d.ProducerEpoch,
				d.TimeoutMillis, d.StartTimestamp > 0)
			for _, t := range d.Topics {
				fmt.Fprintf(&s, " %s%v", t.Topic, t.Partitions)
			}
			s.WriteString("}")
		}
	case *kmsg.ListTransactionsResponse:
		fmt.Fprintf(&s, "list %s", codeText(r.ErrorCode))
		for _, x := range r.TransactionStates {
			fmt.Fprintf(&s, " %s=%d(%s)", x.TransactionalID, x.ProducerID, x.TransactionState)
		}
		if r.UnknownStateFilters != nil {
			fmt.Fprintf(&s, " unknown=%v", r.UnknownStateFilters)
		}
	case nil:
	default:
		fmt.Fprintf(&s, "%v", r)
	}
	return s.String()
}
