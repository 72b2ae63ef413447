package txn

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describe answers DescribeTransactions (key 65, version 0). While markers are written, the partitions are those that
// have none yet.
func (m *Machine) describe(t *turn, r *kmsg.DescribeTransactionsRequest) {
	answer := kmsg.NewPtrDescribeTransactionsResponse()
	answer.Version = r.Version
	for _, id := range r.TransactionalIDs {
		answer.TransactionStates = append(answer.TransactionStates, m.description(id))
	}
	t.answer(answer)
}

func (m *Machine) description(id string) kmsg.DescribeTransactionsResponseTransactionState {
	d := kmsg.NewDescribeTransactionsResponseTransactionState()
	d.TransactionalID = id
	e := m.ids[id]
	switch {
	case id == "":
		d.ErrorCode = kerr.InvalidRequest.Code
		return d
	case e == nil:
		d.ErrorCode = kerr.TransactionalIDNotFound.Code
		return d
	}
	d.State, d.TimeoutMillis, d.StartTimestamp = e.state.String(), e.timeout, e.start
	d.ProducerID, d.ProducerEpoch = e.producerID, e.epoch
	partitions := e.partitions
	if e.state.preparing() {
		partitions = e.markers.left()
	}
	for _, p := range partitions {
		if n := len(d.Topics); n == 0 || d.Topics[n-1].Topic != p.Topic {
			d.Topics = append(d.Topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: p.Topic})
		}
		last := &d.Topics[len(d.Topics)-1]
		last.Partitions = append(last.Partitions, p.Partition)
	}
	return d
}

// list answers ListTransactions (key 66, versions 0 to 2). An empty filter lets all through; version 1 adds the
// duration (KIP-994), version 2 a pattern that the whole transactional id must match (KIP-1152). The pattern is RE2's
// syntax: Java's lookarounds and back references are not known and answered with INVALID_REGULAR_EXPRESSION, since
// they can be made to take forever.
func (m *Machine) list(t *turn, r *kmsg.ListTransactionsRequest) {
	answer := kmsg.NewPtrListTransactionsResponse()
	answer.Version = r.Version
	states, unknown := statesNamed(r.StateFilters)
	answer.UnknownStateFilters = unknown
	pattern, err := compilePattern(r.TransactionalIDPattern)
	if err != nil {
		t.answer(invalidPattern(r.Version))
		return
	}
	for _, id := range m.sortedIDs() {
		e := m.ids[id]
		switch {
		case len(r.ProducerIDFilters) > 0 && !slices.Contains(r.ProducerIDFilters, e.producerID):
		case len(r.StateFilters) > 0 && !slices.Contains(states, e.state):
		case r.DurationFilterMillis >= 0 && t.now-e.start <= r.DurationFilterMillis:
		case pattern != nil && !pattern.MatchString(id):
		default:
			s := kmsg.NewListTransactionsResponseTransactionState()
			s.TransactionalID, s.ProducerID, s.TransactionState = id, e.producerID, e.state.String()
			answer.TransactionStates = append(answer.TransactionStates, s)
		}
	}
	t.answer(answer)
}

func statesNamed(names []string) (states []State, unknown []string) {
	for _, name := range names {
		if s, ok := stateNamed(name); ok {
			states = append(states, s)
		} else if !slices.Contains(unknown, name) {
			unknown = append(unknown, name)
		}
	}
	return states, unknown
}

// patternMax is the longest pattern that is compiled.
const patternMax = 1024

func compilePattern(pattern *string) (*regexp.Regexp, error) {
	if pattern == nil || *pattern == "" {
		return nil, nil
	}
	if len(*pattern) > patternMax {
		return nil, kerr.InvalidRegularExpression
	}
	// Compiled by itself first: "a)(b" is no pattern, though it would be one in parentheses.
	if _, err := regexp.Compile(*pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + *pattern + `)\z`)
}

func invalidPattern(version int16) *kmsg.ListTransactionsResponse {
	return &kmsg.ListTransactionsResponse{Version: version, ErrorCode: kerr.InvalidRegularExpression.Code}
}

// JoinLists makes one answer to ListTransactions of what the partitions' machines answered, in any order. A machine
// that is no longer the coordinator of its partition adds nothing; one that is loading makes the answer wait, so that no transaction
// is missing from it.
func JoinLists(r *kmsg.ListTransactionsRequest, answers []any) *kmsg.ListTransactionsResponse {
	all := kmsg.NewPtrListTransactionsResponse()
	all.Version = r.Version
	if _, err := compilePattern(r.TransactionalIDPattern); err != nil {
		return invalidPattern(r.Version)
	}
	_, all.UnknownStateFilters = statesNamed(r.StateFilters)
	for _, a := range answers {
		one, ok := a.(*kmsg.ListTransactionsResponse)
		switch {
		case !ok || one.ErrorCode == kerr.NotCoordinator.Code:
		case one.ErrorCode != 0:
			return &kmsg.ListTransactionsResponse{Version: r.Version, ErrorCode: one.ErrorCode}
		default:
			all.TransactionStates = append(all.TransactionStates, one.TransactionStates...)
		}
	}
	slices.SortFunc(all.TransactionStates, func(a, b kmsg.ListTransactionsResponseTransactionState) int {
		return cmp.Compare(a.TransactionalID, b.TransactionalID)
	})
	return all
}
