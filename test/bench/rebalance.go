package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Groups of 10, 100 and 1,000 members are made, one after the other. Each has a topic with as many partitions as there are
// members, so that all is well when each has one.
//
// Then one member leaves each. The others hear of it when their next heartbeat is due, and all have just sent one: what is measured is
// the longest that it takes, an interval and what comes after it.

var groupSizes = []int{10, 100, 1000}

// rebalancer is a member of a group of either kind.
type rebalancer interface {
	join(*gathering) error   // joins, and returns when the gathering is over
	settle(*gathering) error // stays until the gathering is over and the group is quiet
	beat() (bool, error)     // one heartbeat: whether something is to change
	leave() error            // for good
	follow(*gathering) error // does what it is told until the gathering is over
	Close() error
}

func rebalanceRow(name, title string, kind func(m *member) rebalancer) row {
	r := row{name: name, title: title}
	for _, n := range groupSizes {
		for _, unit := range []string{"s until all of %d have theirs", "CPU-ms/member until then, of %d", "s after a leave from %d, at most"} {
			r.units = append(r.units, fmt.Sprintf(unit, n))
		}
		r.goal = append(r.goal, 0.4, 0.4, 1)
	}
	r.leg = func(ctx context.Context, b *broker, _ int64) (f figure, err error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		groups := make([][]rebalancer, len(groupSizes))
		defer func() {
			for _, m := range slices.Concat(groups...) {
				if m != nil {
					m.Close()
				}
			}
		}()
		made, settled := newGathering(len(groups), 1), make(chan error, len(groups))
		for i, n := range groupSizes {
			topic := newTopic()
			if err := createTopic(ctx, b.address, topic, n); err != nil {
				return f, err
			}
			defer func() { err = errors.Join(err, deleteTopic(ctx, b.address, topic)) }()
			groups[i] = make([]rebalancer, n)
			took, cpu, err := joinGroup(ctx, b, topic, groups[i], kind, &f)
			if err != nil {
				return f, fmt.Errorf("%d members: %w", n, err)
			}
			f.Values = append(f.Values, took.Seconds(), cpu/float64(n)*1000, 0)
			go func() { settled <- each(n, func(k int) error { return groups[i][k].settle(made) }) }()
			made.has(0, 1)
		}
		for range groups {
			if err := <-settled; err != nil {
				return f, err
			}
		}
		return f, each(len(groups), func(i int) error {
			left, err := afterLeave(groups[i])
			f.Values[3*i+2] = left.Seconds()
			return err
		})
	}
	return r
}

// joinGroup makes all members of a group join it.
func joinGroup(ctx context.Context, b *broker, topic string, all []rebalancer, kind func(m *member) rebalancer, f *figure) (took time.Duration, cpu float64, err error) {
	group := fmt.Sprintf("bench-%d", groupNames.Add(1))
	if err := each(len(all), func(i int) error {
		c, err := dial(ctx, b.address)
		if err != nil {
			return err
		}
		m := &member{conn: c, group: group, topic: topic, id: fmt.Sprintf("member-%d", i), partitions: len(all)}
		all[i] = kind(m)
		return m.find()
	}); err != nil {
		return 0, 0, err
	}
	joined := newGathering(len(all), 1)
	m, err := begin(b)
	if err != nil {
		return 0, 0, err
	}
	if err := each(len(all), func(i int) error { return all[i].join(joined) }); err != nil {
		return 0, 0, err
	}
	cpu, err = m.end(f)
	return joined.at.Sub(m.at), cpu, err
}

var errChanged = errors.New("a group changes that was quiet")

// afterLeave is how long the partition of a member that leaves has no other owner.
func afterLeave(all []rebalancer) (time.Duration, error) {
	if err := each(len(all), func(i int) error {
		changed, err := all[i].beat()
		if changed {
			err = errChanged
		}
		return err
	}); err != nil {
		return 0, err
	}
	began, rest := time.Now(), newGathering(len(all), 2)
	if err := all[0].leave(); err != nil {
		return 0, fmt.Errorf("leave: %w", err)
	}
	err := each(len(all)-1, func(i int) error { return all[i+1].follow(rest) })
	return rest.at.Sub(began), err
}

// gathering is over once the members have so many partitions in all. Of what one member has, no more than most count.
type gathering struct {
	mu   sync.Mutex
	left int
	most int
	at   time.Time     // when it was over
	over chan struct{} // closed then
}

func newGathering(partitions, most int) *gathering {
	return &gathering{left: partitions, most: most, over: make(chan struct{})}
}

// has is told by a member that had so many partitions and now has others.
func (g *gathering) has(before, now int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left -= min(now, g.most) - min(before, g.most); g.left == 0 && g.at.IsZero() {
		g.at = time.Now()
		close(g.over)
	}
}

// wait says whether it is over before the time has come.
func (g *gathering) wait(until time.Time) bool {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-g.over:
		return true
	case <-t.C:
		return false
	}
}

// classicMember speaks the classic protocol.
type classicMember struct {
	*member
	memberID   string // the coordinator's name for it
	generation int32
	owned      int
	due        time.Time
}

func classic(m *member) rebalancer { return &classicMember{member: m} }

// classicInterval is the default of heartbeat.interval.ms in Apache's consumers.
const classicInterval = 3 * time.Second

func (m *classicMember) join(g *gathering) error {
	if err := m.enter(); err != nil {
		return err
	}
	return m.follow(g)
}

func (m *classicMember) settle(made *gathering) error {
	for !made.wait(m.due) {
		if changed, err := m.beat(); err != nil || changed {
			return errors.Join(err, errChanged)
		}
	}
	return nil
}

func (m *classicMember) follow(g *gathering) error {
	for g.has(0, m.owned); !g.wait(m.due); {
		changed, err := m.beat()
		if err == nil && changed {
			g.has(m.owned, 0)
			err = m.enter()
			g.has(0, m.owned)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enter joins as often as it must: who comes late begins another generation.
func (m *classicMember) enter() error {
	m.owned = 0
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.MemberID, req.ProtocolType = 9, m.group, m.memberID, "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 60_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: m.subscription()}}
		resp := kmsg.NewPtrJoinGroupResponse()
		if err := m.ask(req, resp); err != nil {
			return err
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); err {
		case nil:
		case kerr.MemberIDRequired:
			m.memberID = resp.MemberID
			continue
		case kerr.RebalanceInProgress:
			continue
		default:
			return fmt.Errorf("join: %w", err)
		}
		m.memberID, m.generation = resp.MemberID, resp.Generation
		owned, err := m.sync(resp)
		if err == kerr.RebalanceInProgress {
			continue
		}
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		if changed, err := m.beat(); err != nil || !changed {
			m.owned = owned
			return err
		}
	}
}

func (m *classicMember) subscription() []byte {
	s := kmsg.NewConsumerMemberMetadata()
	s.Topics = []string{m.topic}
	return s.AppendTo(nil)
}

// sync gives the number of partitions that the member gets in a generation; the leader brings them for all.
func (m *classicMember) sync(joined *kmsg.JoinGroupResponse) (int, error) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.Generation, req.MemberID = 5, m.group, joined.Generation, joined.MemberID
	kind := "consumer"
	req.ProtocolType, req.Protocol = &kind, joined.Protocol
	for i, other := range joined.Members {
		t := kmsg.ConsumerMemberAssignmentTopic{Topic: m.topic}
		for p := i; p < m.partitions; p += len(joined.Members) {
			t.Partitions = append(t.Partitions, int32(p))
		}
		a := kmsg.NewConsumerMemberAssignment()
		a.Topics = append(a.Topics, t)
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: other.MemberID, MemberAssignment: a.AppendTo(nil)})
	}
	resp := kmsg.NewPtrSyncGroupResponse()
	if err := m.ask(req, resp); err != nil {
		return 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, err
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(resp.MemberAssignment); err != nil {
		return 0, err
	}
	n := 0
	for _, t := range a.Topics {
		n += len(t.Partitions)
	}
	return n, nil
}

func (m *classicMember) beat() (rebalance bool, err error) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.Generation, req.MemberID = 4, m.group, m.generation, m.memberID
	resp := kmsg.NewPtrHeartbeatResponse()
	if err := m.ask(req, resp); err != nil {
		return false, err
	}
	m.due = time.Now().Add(classicInterval)
	if err = kerr.ErrorForCode(resp.ErrorCode); err == kerr.RebalanceInProgress {
		return true, nil
	}
	return false, err
}

func (m *classicMember) leave() error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, m.group
	who := kmsg.NewLeaveGroupRequestMember()
	who.MemberID = m.memberID
	req.Members = append(req.Members, who)
	resp := kmsg.NewPtrLeaveGroupResponse()
	if err := m.ask(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Members[0].ErrorCode)
}

// consumerMember speaks KIP-848. It asks again when it was told to, and at once after a change, as clients do.
type consumerMember struct {
	*member
	epoch    int32
	owned    []kmsg.ConsumerGroupHeartbeatRequestTopic
	interval time.Duration // of the last answer
	due      time.Time
}

func consumer(m *member) rebalancer { return &consumerMember{member: m} }

// consumerInterval is the default of group.consumer.heartbeat.interval.ms.
const consumerInterval = 5 * time.Second

func (m *consumerMember) join(g *gathering) error { return m.follow(g) }

// settle waits also until the member is told to come as seldom as in a group that does not change.
func (m *consumerMember) settle(made *gathering) error {
	for !made.wait(m.due) || m.interval < consumerInterval {
		time.Sleep(time.Until(m.due))
		if _, err := m.beat(); err != nil {
			return err
		}
	}
	return nil
}

func (m *consumerMember) follow(g *gathering) error {
	had := m.count()
	for g.has(0, had); !g.wait(m.due); {
		if _, err := m.beat(); err != nil {
			return err
		}
		now := m.count()
		g.has(had, now)
		had = now
	}
	return nil
}

func (m *consumerMember) count() (n int) {
	for _, t := range m.owned {
		n += len(t.Partitions)
	}
	return n
}

func (m *consumerMember) beat() (changed bool, err error) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch, req.Topics = 1, m.group, m.id, m.epoch, m.owned
	if m.epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{m.topic}
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	if err := eventually(func() error {
		if err := m.ask(req, resp); err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}); err != nil {
		return false, fmt.Errorf("heartbeat of %s in epoch %d: %w", m.id, m.epoch, err)
	}
	m.epoch, m.interval = resp.MemberEpoch, time.Duration(resp.HeartbeatIntervalMillis)*time.Millisecond
	m.due = time.Now().Add(m.interval)
	if resp.Assignment == nil {
		return false, nil
	}
	m.owned, m.due = []kmsg.ConsumerGroupHeartbeatRequestTopic{}, time.Now()
	for _, t := range resp.Assignment.Topics {
		m.owned = append(m.owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: slices.Clone(t.Partitions)})
	}
	return true, nil
}

// leave is the last heartbeat.
func (m *consumerMember) leave() error {
	m.epoch = -1
	_, err := m.beat()
	return err
}
