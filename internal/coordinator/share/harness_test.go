package share

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

// harness drives a machine as its host does: decide, append, apply, reply, deliver effects. The log is a slice, which
// loses its beginning when records are deleted.
type harness struct {
	t       interface{ Fatalf(string, ...any) }
	m       *Machine
	image   *metadata.Image
	now     time.Time
	began   time.Time
	log     []logged
	next    int64 // offset of the next record
	start   int64 // offset of the first record that is left
	effects []DeleteRecords
	open    map[machine.Token]machine.Command
	token   machine.Token
	fail    error // appends fail with this
	answers map[machine.Token]any
	out     strings.Builder
}

type logged struct {
	record machine.Record
	pos    machine.Position
}

func newHarness(t interface{ Fatalf(string, ...any) }, c Config) *harness {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &harness{
		t: t, m: New(c), now: began, began: began, image: metadata.Empty(),
		open: map[machine.Token]machine.Command{}, answers: map[machine.Token]any{},
	}
	h.change(&schema.FeatureLevel{Name: metadata.ShareVersionFeature, FeatureLevel: 1})
	for _, topic := range []string{"t", "u"} {
		h.topic(topic, 3)
	}
	return h
}

// change makes another image, and tells the machine of it as the host does.
func (h *harness) change(records ...schema.Record) {
	d := metadata.NewDelta(h.image)
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			h.t.Fatalf("metadata: %v", err)
		}
	}
	h.image = d.Image(0, 0)
	if body, ok := ImageCommand(d); ok {
		h.do(body)
	}
}

func topicID(name string) (id schema.UUID) {
	copy(id[:], name)
	return id
}

func topicName(id schema.UUID) string { return strings.TrimRight(string(id[:]), "\x00") }

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
	res := h.m.Handle(machine.Input{Now: h.now, Rand: rand.New(rand.NewPCG(1, 2)), Image: h.image, Epoch: 1}, cmd)
	for _, e := range res.Events {
		fmt.Fprintf(&h.out, "event %s %v\n", e.Name, e.Attrs)
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
		pos := machine.Position{Offset: h.next, Timestamp: h.now.UnixMilli(), Epoch: 1}
		h.next++
		h.log = append(h.log, logged{r, pos})
		if err := h.m.Apply(r, pos); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	for _, r := range res.Replies {
		h.reply(r.Token, r.Value)
	}
	for _, e := range res.Effects {
		d, ok := e.(DeleteRecords)
		if !ok || d.Offset > h.next {
			h.t.Fatalf("effect %+v", e)
		}
		fmt.Fprintf(&h.out, "effect delete records below %d\n", d.Offset)
		h.effects = append(h.effects, d)
	}
}

// prune does what the last effect asks for.
func (h *harness) prune(d DeleteRecords) {
	h.start = max(h.start, d.Offset)
	for len(h.log) > 0 && h.log[0].pos.Offset < h.start {
		h.log = h.log[1:]
	}
}

func (h *harness) reply(token machine.Token, value any) {
	cmd, ok := h.open[token]
	if !ok {
		h.t.Fatalf("reply to token %d, which nobody waits for: %v", token, value)
	}
	if want, ok := cmd.Body.(kmsg.Request); ok {
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
			if h.fail == nil {
				h.t.Fatalf("a Tick at %v does not end", h.now)
			}
			break
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
	m.config = h.m.config // a limit of 0 is a default in New
	for _, l := range h.log {
		if err := m.Apply(l.record, l.pos); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	return m
}

// clock shows a time as what passed since the beginning.
func (h *harness) clock(ms int64) string {
	if ms <= 0 {
		return fmt.Sprint(ms)
	}
	return "+" + time.UnixMilli(ms).Sub(h.began).String()
}

func keyText(k Key) string { return fmt.Sprintf("%s/%s-%d", k.Group, topicName(k.Topic), k.Partition) }

func (h *harness) recordText(r machine.Record) string {
	d, known, err := decode(r)
	switch {
	case err != nil:
		return err.Error()
	case !known:
		return "of an unknown version"
	case d.snapshot != nil:
		s := d.snapshot
		return fmt.Sprintf("snapshot %s #%d state=%d leader=%d start=%d done=%d created=%s written=%s%s", keyText(d.key), s.snapshotEpoch,
			s.stateEpoch, s.leaderEpoch, s.start, s.complete, h.clock(s.created), h.clock(s.written), batchesText(s.batches))
	case d.update != nil:
		u := d.update
		return fmt.Sprintf("update %s #%d leader=%d start=%d done=%d%s", keyText(d.key), u.snapshotEpoch, u.leaderEpoch, u.start, u.complete, batchesText(u.batches))
	}
	return keyText(d.key) + " removed"
}

func batchText(b batch) string {
	return fmt.Sprintf("%d-%d:%d*%d", b.FirstOffset, b.LastOffset, b.DeliveryState, b.DeliveryCount)
}

func batchesText(batches []batch) string {
	var s strings.Builder
	for _, b := range batches {
		s.WriteString(" " + batchText(b))
	}
	return s.String()
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

func withMessage(code int16, message *string) string {
	if code == kerr.InvalidRequest.Code && message != nil {
		return codeText(code) + " " + *message
	}
	return codeText(code)
}

func responseText(value any) string {
	var s strings.Builder
	switch r := value.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		for _, p := range r.Topics[0].Partitions {
			fmt.Fprintf(&s, "initialize %s", withMessage(p.ErrorCode, p.ErrorMessage))
		}
	case *kmsg.ReadShareGroupStateResponse:
		for _, p := range r.Topics[0].Partitions {
			fmt.Fprintf(&s, "read %s", withMessage(p.ErrorCode, p.ErrorMessage))
			if p.ErrorCode == 0 {
				fmt.Fprintf(&s, " state=%d start=%d", p.StateEpoch, p.StartOffset)
			}
			for _, b := range p.StateBatches {
				s.WriteString(" " + batchText(batch{FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount}))
			}
		}
	case *kmsg.WriteShareGroupStateResponse:
		for _, p := range r.Topics[0].Partitions {
			fmt.Fprintf(&s, "write %s", withMessage(p.ErrorCode, p.ErrorMessage))
		}
	case *kmsg.DeleteShareGroupStateResponse:
		for _, p := range r.Topics[0].Partitions {
			fmt.Fprintf(&s, "delete %s", withMessage(p.ErrorCode, p.ErrorMessage))
		}
	case *kmsg.ReadShareGroupStateSummaryResponse:
		for _, p := range r.Topics[0].Partitions {
			fmt.Fprintf(&s, "summary %s", withMessage(p.ErrorCode, p.ErrorMessage))
			if p.ErrorCode == 0 {
				fmt.Fprintf(&s, " state=%d leader=%d start=%d done=%d", p.StateEpoch, p.LeaderEpoch, p.StartOffset, p.DeliveryCompleteCount)
			}
		}
	case nil:
	default:
		fmt.Fprintf(&s, "%v", r)
	}
	return s.String()
}
