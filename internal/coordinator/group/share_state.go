package group

import (
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// AskShare is the effect that wants share coordinators asked. Each request is of one share partition (keys 83 and 86). The
// answers, in the same order, come back in a ShareAnswered command, whatever they say.
type AskShare struct {
	Requests []kmsg.Request
	purpose  sharePurpose
}

// ShareAnswered is the command with the answers to an AskShare.
type ShareAnswered struct {
	Ask     AskShare
	Answers []kmsg.Response
}

// sharePurpose is what answers are waited for with. A caller that is named with it is answered then.
type sharePurpose interface{ groups() []string }

type (
	// initializing is a heartbeat's: nobody waits for it.
	initializing struct {
		group   string
		attempt *attempt
	}
	altering struct {
		group   string
		attempt *attempt
		token   machine.Token
		answer  *kmsg.AlterShareGroupOffsetsResponse
	}
	deletingOffsets struct {
		group  string
		token  machine.Token
		answer *kmsg.DeleteShareGroupOffsetsResponse
	}
	deletingGroups struct {
		token   machine.Token
		request *kmsg.DeleteGroupsRequest
	}
)

func (p initializing) groups() []string    { return []string{p.group} }
func (p altering) groups() []string        { return []string{p.group} }
func (p deletingOffsets) groups() []string { return []string{p.group} }
func (p deletingGroups) groups() []string  { return slices.Concat([]string{}, p.request.Groups) }

// shareAnswered goes on with what the answers were waited for.
func (m *Machine) shareAnswered(t *turn, r ShareAnswered) {
	results := make([]shareResult, len(r.Answers))
	for i := range results {
		results[i] = shareResultOf(r.Ask.Requests[i], r.Answers[i])
	}
	switch p := r.Ask.purpose.(type) {
	case initializing:
		m.shareInitialized(t, p.group, p.attempt, results)
	case altering:
		m.altered(t, p, results)
	case deletingOffsets:
		m.deletedShareOffsets(t, p, results)
	case deletingGroups:
		m.deletedShares(t, p, results)
	}
	t.answer(nil)
}

// shareResult is what a share coordinator said of one share partition.
type shareResult struct {
	group     string
	topic     schema.UUID
	partition int32
	code      int16
	message   *string
}

func shareResultOf(req kmsg.Request, resp kmsg.Response) shareResult {
	var out shareResult
	switch r := req.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		out = shareResult{group: r.GroupID, topic: r.Topics[0].TopicID, partition: r.Topics[0].Partitions[0].Partition}
	case *kmsg.DeleteShareGroupStateRequest:
		out = shareResult{group: r.GroupID, topic: r.Topics[0].TopicID, partition: r.Topics[0].Partitions[0].Partition}
	}
	switch r := resp.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		out.code, out.message = r.Topics[0].Partitions[0].ErrorCode, r.Topics[0].Partitions[0].ErrorMessage
	case *kmsg.DeleteShareGroupStateResponse:
		out.code, out.message = r.Topics[0].Partitions[0].ErrorCode, r.Topics[0].Partitions[0].ErrorMessage
	}
	return out
}

func initializeRequest(group string, epoch int32, topic schema.UUID, partition int32, start int64) kmsg.Request {
	return &kmsg.InitializeShareGroupStateRequest{GroupID: group, Topics: []kmsg.InitializeShareGroupStateRequestTopic{{
		TopicID:    topic,
		Partitions: []kmsg.InitializeShareGroupStateRequestTopicPartition{{Partition: partition, StateEpoch: epoch, StartOffset: start}},
	}}}
}

func deleteRequests(group string, topic schema.UUID, partitions []int32) []kmsg.Request {
	var out []kmsg.Request
	for _, p := range partitions {
		out = append(out, &kmsg.DeleteShareGroupStateRequest{GroupID: group, Topics: []kmsg.DeleteShareGroupStateRequestTopic{{
			TopicID: topic, Partitions: []kmsg.DeleteShareGroupStateRequestTopicPartition{{Partition: p}},
		}}})
	}
	return out
}

// attempt is one question that asks for share partitions to be begun. Only the answer to the last one about a share partition
// counts: between it and an earlier one the state may have been deleted, and the answer to the earlier one would call it begun.
type attempt struct{ at int64 } // ms

// shareAttempts are the last attempts, by group. They are soft: what is lost with a coordinator is asked for again.
type shareAttempts map[string]map[sharePartition]*attempt

func (a shareAttempts) begin(group string, by *attempt, p sharePartition) {
	if a[group] == nil {
		a[group] = map[sharePartition]*attempt{}
	}
	a[group][p] = by
}

// end says whether the attempt is the last about the share partition, and forgets it then.
func (a shareAttempts) end(group string, by *attempt, p sharePartition) bool {
	if a[group][p] != by {
		return false
	}
	if delete(a[group], p); len(a[group]) == 0 {
		delete(a, group)
	}
	return true
}

// noStart leaves it to the leader where a share partition begins.
const noStart = -1

// initializeShare asks for the state of subscribed share partitions that have none. Those that are being initialized are
// asked for again when that is too long ago: the answer may have been lost with a leadership.
func (m *Machine) initializeShare(t *turn, g *shareGroup, epoch int32, topics []string) {
	stale := g.state == nil || t.now-g.state.at >= m.config.Share.InitializeRetry.Milliseconds()
	var next *shareState
	var asks []kmsg.Request
	try := &attempt{t.now}
	for _, name := range topics {
		topic, ok := t.Image.Topic(name)
		if !ok {
			continue
		}
		missing := g.state.missing(topic, stale)
		if len(missing) == 0 {
			continue
		}
		if next == nil {
			next = g.state.changed()
		}
		next.initializing.add(topic.ID, name, missing...)
		delete(next.deleting, topic.ID)
		for _, p := range missing {
			m.attempts.begin(g.id, try, sharePartition{topic.ID, p})
			asks = append(asks, initializeRequest(g.id, epoch, topic.ID, p, noStart))
		}
	}
	if len(asks) > 0 {
		t.write(shareStateRecord(g.id, next))
		t.ask(asks, initializing{g.id, try})
	}
}

// missing are the topic's partitions that are not initialized, and, unless stale, are not being initialized either.
func (s *shareState) missing(topic *metadata.Topic, stale bool) []int32 {
	switch {
	case s == nil:
		return allPartitions(len(topic.Partitions))
	case len(s.initialized[topic.ID].partitions) >= len(topic.Partitions):
		return nil // as nearly always
	}
	return slices.DeleteFunc(allPartitions(len(topic.Partitions)), func(p int32) bool {
		return s.initialized.has(topic.ID, p) || !stale && s.initializing.has(topic.ID, p)
	})
}

func (t *turn) ask(requests []kmsg.Request, purpose sharePurpose) {
	t.out.Effects = append(t.out.Effects, AskShare{requests, purpose})
}

// shareInitialized takes in which share partitions have state now. Those that failed are forgotten, and asked for again by
// the next heartbeat.
func (m *Machine) shareInitialized(t *turn, group string, by *attempt, results []shareResult) {
	g, ok := m.groups[group].(*shareGroup)
	if !ok || g.state == nil {
		return // the group was deleted meanwhile
	}
	next := g.state.changed()
	heard, begun := map[schema.UUID][]int32{}, map[schema.UUID][]int32{}
	outlived := false
	for _, r := range results {
		last := m.attempts.end(group, by, sharePartition{r.topic, r.partition})
		if !last || !next.initializing.has(r.topic, r.partition) {
			continue // there was another attempt, or it was deleted meanwhile
		}
		heard[r.topic] = append(heard[r.topic], r.partition)
		if r.code == 0 {
			begun[r.topic] = append(begun[r.topic], r.partition)
			continue
		}
		outlived = outlived || r.code == kerr.FencedStateEpoch.Code
		t.event("group.share.initialize.failed", machine.Attr{Key: "group", Value: group}, machine.Attr{Key: "topic", Value: next.initializing[r.topic].name},
			machine.Attr{Key: "partition", Value: r.partition}, machine.Attr{Key: "error", Value: kerr.ErrorForCode(r.code)})
	}
	for id, partitions := range heard { // each for itself
		name := next.initializing[id].name
		next.initializing.remove(id, partitions...)
		if len(begun[id]) > 0 {
			next.initialized.add(id, name, begun[id]...)
		}
	}
	if len(heard) > 0 {
		t.write(shareStateRecord(group, next))
	}
	if outlived {
		// A group of this name was deleted while a share partition of it was being initialized, which came later than the deletion. This
		// one passes that epoch by and by; Kafka's waits until it has gone through as many rebalances.
		if g.epoch < math.MaxInt32/2 { // state of an epoch beyond that is nobody's of whom a group has come after
			t.write(shareEpochRecord(group, g.epoch+min(max(g.epoch, 1), epochLeapMax), g.hash))
		}
	}
}

// epochLeapMax bounds how far a group's epoch leaps at once.
const epochLeapMax = 1000

// forgetTopics takes deleted topics out of a share group's state; the share coordinators forget theirs by themselves. It is
// false if the result is full.
func (m *Machine) forgetTopics(t *turn, g *shareGroup, deleted map[string][][16]byte) bool {
	if g.state == nil {
		return true
	}
	next, found := g.state.changed(), false
	for _, ids := range deleted { // order does not matter: each is taken out
		for _, id := range ids {
			_, a := next.initializing[id]
			_, b := next.initialized[id]
			_, c := next.deleting[id]
			found = found || a || b || c
			delete(next.initializing, id)
			delete(next.initialized, id)
			delete(next.deleting, id)
		}
	}
	if !found {
		return true
	}
	if len(t.out.Records) >= m.config.ResultRecordsMax {
		return false
	}
	t.write(shareStateRecord(g.id, next))
	return true
}
