package group

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
)

// harness drives a machine as its host does: decide, append, apply, reply. The log is a slice.
type harness struct {
	t       interface{ Fatalf(string, ...any) }
	m       *Machine
	now     time.Time
	began   time.Time
	rand    *rand.Rand
	log     []logged
	open    map[machine.Token]machine.Command // callers that wait
	token   machine.Token
	ticks   int
	fail    error // appends fail with this
	image   *metadata.Image
	jobs    []machine.Job // that the machine gave and that have not come back
	effects []any

	refused map[machine.Token]bool // callers that were told of a failed append: what comes later goes nowhere
	answers map[machine.Token]any
	names   []string // member ids in the order of their appearance, shown as $1, $2
	out     strings.Builder
}

// logged is a record or a marker in the log.
type logged struct {
	record machine.Record
	pos    machine.Position
	marker *machine.Marker
}

func newHarness(t interface{ Fatalf(string, ...any) }, c Config) *harness {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &harness{
		t: t, m: New(c), image: metadata.Empty(), now: began, began: began, rand: rand.New(rand.NewPCG(1, 2)),
		open: map[machine.Token]machine.Command{}, answers: map[machine.Token]any{}, refused: map[machine.Token]bool{},
	}
}

// do submits a command and gives its token.
func (h *harness) do(cmd machine.Command) machine.Token {
	h.token++
	cmd.Token = h.token
	h.open[cmd.Token] = cmd
	h.step(cmd)
	return cmd.Token
}

func (h *harness) step(cmd machine.Command) {
	if m, ok := cmd.Body.(machine.Marker); ok {
		h.log = append(h.log, logged{marker: &m})
	}
	res := h.m.Handle(machine.Input{Now: h.now, Rand: h.rand, Image: h.image, Epoch: 1}, cmd)
	h.jobs = append(h.jobs, res.Jobs...)
	if len(res.Records) > 0 && h.fail != nil {
		fmt.Fprintf(&h.out, "append fails: %d records\n", len(res.Records))
		h.refuse(cmd.Token)
		for _, r := range res.Replies {
			h.refuse(r.Token)
		}
		return
	}
	pos := machine.Position{Timestamp: h.now.UnixMilli(), Epoch: 1, Producer: machine.Producer{ID: -1, Epoch: -1}}
	if res.Producer != nil {
		pos.Producer = *res.Producer
	}
	for _, r := range res.Records {
		pos.Offset = int64(len(h.log))
		h.log = append(h.log, logged{record: r, pos: pos})
		fmt.Fprintf(&h.out, "record %s\n", h.recordText(r))
		if err := h.m.Apply(r, pos); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	h.effects = append(h.effects, res.Effects...)
	for _, e := range res.Effects {
		fmt.Fprintf(&h.out, "effect %s\n", effectText(e))
	}
	for _, r := range res.Replies {
		h.reply(r.Token, r.Value)
	}
}

func (h *harness) refuse(token machine.Token) {
	if cmd, ok := h.open[token]; ok {
		h.refused[token] = true
		h.reply(token, h.m.Refuse(cmd, h.fail))
	}
}

func (h *harness) reply(token machine.Token, value any) {
	cmd, ok := h.open[token]
	if !ok {
		if !h.refused[token] {
			h.t.Fatalf("reply to token %d, which nobody waits for: %v", token, value)
		}
		return
	}
	if want, ok := cmd.Body.(kmsg.Request); ok {
		got, ok := value.(kmsg.Response)
		if !ok || got.Key() != want.Key() || got.GetVersion() != want.GetVersion() {
			h.t.Fatalf("reply to %T version %d is %T: %v", want, want.GetVersion(), value, value)
		}
	}
	delete(h.open, token)
	h.answers[token] = value
	fmt.Fprintf(&h.out, "#%d %s\n", token, h.responseText(value))
}

// advance lets time pass, with a Tick at each deadline.
func (h *harness) advance(d time.Duration) {
	end := h.now.Add(d)
	for {
		at, ok := h.m.NextDeadline()
		if !ok || at.After(end) {
			break
		}
		if at.After(h.now) {
			h.now = at
		}
		before := h.out.Len()
		h.ticks++
		h.step(machine.Command{Body: machine.Tick{}})
		if said := h.out.String()[before:]; said != "" {
			all := h.out.String()[:before]
			h.out.Reset()
			fmt.Fprintf(&h.out, "%s[+%v]\n%s", all, h.now.Sub(h.began), said)
		}
	}
	h.now = end
}

// reload gives a fresh machine with what is in the log.
func (h *harness) reload() *Machine {
	m := New(h.m.config)
	h.jobs = nil // they come back to a machine that is gone
	for _, l := range h.log {
		if l.marker != nil {
			m.Handle(machine.Input{Now: h.now, Rand: h.rand, Image: h.image}, machine.Command{Body: *l.marker})
			continue
		}
		if err := m.Apply(l.record, l.pos); err != nil {
			h.t.Fatalf("apply: %v", err)
		}
	}
	return m
}

// name shows a member id without its random part.
func (h *harness) name(id string) string {
	if len(id) < 37 && len(id) != 22 {
		return id
	}
	for i, n := range h.names {
		if n == id {
			return fmt.Sprintf("$%d", i+1)
		}
	}
	h.names = append(h.names, id)
	return fmt.Sprintf("$%d", len(h.names))
}

func (h *harness) memberID(name string) string {
	var n int
	if _, err := fmt.Sscanf(name, "$%d", &n); err == nil && n <= len(h.names) {
		return h.names[n-1]
	}
	return name
}

func (h *harness) recordText(r machine.Record) string {
	kind, err := recordKind(r)
	if err != nil {
		return err.Error()
	}
	if kind == keyOffsetCommit {
		k, v, there, err := decodeOffset(r)
		if err != nil {
			return err.Error()
		}
		s := fmt.Sprintf("offset %s %s-%d", k.Group, k.Topic, k.Partition)
		if !there {
			return s + " removed"
		}
		s += fmt.Sprintf(" = %d v%d", v.Offset, v.Version)
		if v.ExpireTimestamp != -1 {
			s += fmt.Sprintf(" expires=+%v", time.UnixMilli(v.ExpireTimestamp).Sub(h.began))
		}
		return s
	}
	switch kind {
	case keyStreamsGroup, keyStreamsMember, keyStreamsTarget, keyStreamsTargetOf, keyStreamsCurrent, keyStreamsTopology:
		return h.streamsRecordText(r)
	case keyShareMember, keyShareGroup, keyShareTarget, keyShareTargetOf, keyShareCurrent, keyShareState:
		return h.shareRecordText(r)
	}
	if kind != keyGroupMetadata {
		return h.consumerRecordText(r)
	}
	id, v, err := decodeGroup(r)
	if err != nil {
		return err.Error()
	}
	if v == nil {
		return "group " + id + " removed"
	}
	return fmt.Sprintf("group %s v%d gen=%d type=%q protocol=%q leader=%s since=+%v%s", id, v.Version, v.Generation, v.ProtocolType,
		text(v.Protocol), h.name(text(v.Leader)), time.UnixMilli(v.CurrentStateTimestamp).Sub(h.began), h.membersText(v.Members))
}

func (h *harness) membersText(members []kmsg.GroupMetadataValueMember) string {
	var s strings.Builder
	for _, m := range members {
		fmt.Fprintf(&s, " %s", h.name(m.MemberID))
		if m.InstanceID != nil {
			fmt.Fprintf(&s, "(%s)", *m.InstanceID)
		}
		fmt.Fprintf(&s, "=%q", m.Assignment)
	}
	return s.String()
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
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

func (h *harness) responseText(value any) string {
	var s strings.Builder
	switch r := value.(type) {
	case *kmsg.JoinGroupResponse:
		fmt.Fprintf(&s, "join %s", codeText(r.ErrorCode))
		if r.ErrorCode == 0 {
			fmt.Fprintf(&s, " gen=%d protocol=%s leader=%s", r.Generation, text(r.Protocol), h.name(r.LeaderID))
		}
		if r.SkipAssignment {
			s.WriteString(" skip-assignment")
		}
		fmt.Fprintf(&s, " member=%s", h.name(r.MemberID))
		for _, m := range r.Members {
			fmt.Fprintf(&s, " [%s%s]", h.name(m.MemberID), ifSet("(", text(m.InstanceID), ")"))
		}
	case *kmsg.SyncGroupResponse:
		fmt.Fprintf(&s, "sync %s", codeText(r.ErrorCode))
		if r.ErrorCode == 0 {
			fmt.Fprintf(&s, " %s/%s %q", text(r.ProtocolType), text(r.Protocol), r.MemberAssignment)
		}
	case *kmsg.HeartbeatResponse:
		fmt.Fprintf(&s, "heartbeat %s", codeText(r.ErrorCode))
	case *kmsg.LeaveGroupResponse:
		fmt.Fprintf(&s, "leave %s", codeText(r.ErrorCode))
		for _, m := range r.Members {
			fmt.Fprintf(&s, " %s%s:%s", h.name(m.MemberID), ifSet("(", text(m.InstanceID), ")"), codeText(m.ErrorCode))
		}
	case *kmsg.OffsetCommitResponse:
		s.WriteString("commit")
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
			}
		}
	case *kmsg.TxnOffsetCommitResponse:
		s.WriteString("txn-commit")
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
			}
		}
	case *kmsg.OffsetDeleteResponse:
		fmt.Fprintf(&s, "offset-delete %s", codeText(r.ErrorCode))
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d:%s", t.Topic, p.Partition, codeText(p.ErrorCode))
			}
		}
	case *kmsg.OffsetFetchResponse:
		fmt.Fprintf(&s, "fetch %s", codeText(r.ErrorCode))
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&s, " %s-%d=%d:%s", t.Topic, p.Partition, p.Offset, codeText(p.ErrorCode))
			}
		}
		for _, g := range r.Groups {
			fmt.Fprintf(&s, " {%s %s", g.Group, codeText(g.ErrorCode))
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					fmt.Fprintf(&s, " %s-%d=%d%s", t.Topic, p.Partition, p.Offset, ifSet("/", text(p.Metadata), ""))
					if p.ErrorCode != 0 {
						fmt.Fprintf(&s, ":%s", codeText(p.ErrorCode))
					}
				}
			}
			s.WriteString("}")
		}
	case *kmsg.DescribeGroupsResponse:
		s.WriteString("describe")
		for _, g := range r.Groups {
			fmt.Fprintf(&s, " {%s %s state=%s type=%q protocol=%q", g.Group, codeText(g.ErrorCode), g.State, g.ProtocolType, g.Protocol)
			if g.ErrorMessage != nil {
				fmt.Fprintf(&s, " message=%q", *g.ErrorMessage)
			}
			for _, m := range g.Members {
				fmt.Fprintf(&s, " %s%s client=%s host=%s metadata=%dB assignment=%q", h.name(m.MemberID), ifSet("(", text(m.InstanceID), ")"),
					m.ClientID, m.ClientHost, len(m.ProtocolMetadata), m.MemberAssignment)
			}
			s.WriteString("}")
		}
	case *kmsg.ListGroupsResponse:
		fmt.Fprintf(&s, "list %s", codeText(r.ErrorCode))
		for _, g := range r.Groups {
			fmt.Fprintf(&s, " %s(%s,%s,%s)", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
		}
	case *kmsg.DeleteGroupsResponse:
		s.WriteString("delete")
		for _, g := range r.Groups {
			fmt.Fprintf(&s, " %s:%s", g.Group, codeText(g.ErrorCode))
		}
	case *kmsg.ConsumerGroupHeartbeatResponse:
		s.WriteString(h.consumerText(r))
	case *kmsg.ConsumerGroupDescribeResponse:
		s.WriteString(h.consumerDescribeText(r))
	case *kmsg.StreamsGroupHeartbeatResponse:
		s.WriteString(h.streamsText(r))
	case *kmsg.StreamsGroupDescribeResponse:
		s.WriteString(h.streamsDescribeText(r))
	case nil:
		s.WriteString("done")
	default:
		if text := h.shareText(value); text != "" {
			return text
		}
		fmt.Fprintf(&s, "%v", r)
	}
	return s.String()
}

func ifSet(before, s, after string) string {
	if s == "" {
		return ""
	}
	return before + s + after
}
