package txn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// TestRefuse refuses each kind of command with what the log and the host may say.
func TestRefuse(t *testing.T) {
	for _, c := range []struct{ err, want *kerr.Error }{
		{kerr.NotEnoughReplicas, kerr.CoordinatorNotAvailable},
		{kerr.NotEnoughReplicasAfterAppend, kerr.CoordinatorNotAvailable},
		{kerr.UnknownTopicOrPartition, kerr.CoordinatorNotAvailable},
		{kerr.RequestTimedOut, kerr.CoordinatorNotAvailable},
		{kerr.NotLeaderForPartition, kerr.NotCoordinator},
		{kerr.KafkaStorageError, kerr.NotCoordinator},
		{kerr.RecordListTooLarge, kerr.UnknownServerError},
		{kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress},
		{kerr.NotCoordinator, kerr.NotCoordinator},
	} {
		id := "a"
		txn := kmsg.AddPartitionsToTxnRequestTransaction{TransactionalID: id,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: []int32{1}}}}
		for want, body := range map[string]any{
			"init %s -1/-1":  Init{Request: &kmsg.InitProducerIDRequest{Version: 5, TransactionalID: &id}},
			"add-offsets %s": AddOffsets{Request: &kmsg.AddOffsetsToTxnRequest{Version: 4}},
			"end %s -1/-1":   &kmsg.EndTxnRequest{Version: 5},
			"add {a t-1:%s}": &kmsg.AddPartitionsToTxnRequest{Version: 5, Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{txn}},
			"add u-2:%s":     &kmsg.AddPartitionsToTxnRequest{Version: 3, Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "u", Partitions: []int32{2}}}},
			`describe {"a" %s  0/0 timeout=0 start=false}`: &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{id}},
			"list %s": &kmsg.ListTransactionsRequest{Version: 2},
		} {
			answer := Refuse(machine.Command{Body: body}, fmt.Errorf("host: %w", c.err))
			if r, ok := answer.(kmsg.Response); !ok || r.GetVersion() != requestOf(body).GetVersion() || r.Key() != requestOf(body).Key() {
				t.Fatalf("%T is answered by %T", body, answer)
			}
			if diff := cmp.Diff(fmt.Sprintf(want, c.want.Message), responseText(answer)); diff != "" {
				t.Fatalf("%T, %s: %s", body, c.err.Message, diff)
			}
		}
	}
	other := errors.New("disk")
	if got := Refuse(machine.Command{Body: MarkersWritten{}}, other); got != other {
		t.Fatalf("MarkersWritten: %v", got)
	}
	if got := responseText(Refuse(machine.Command{Body: &kmsg.EndTxnRequest{}}, other)); got != "end UNKNOWN_SERVER_ERROR" {
		t.Fatal(got)
	}
}

func TestKeys(t *testing.T) {
	id := "a"
	batch := &kmsg.AddPartitionsToTxnRequest{Version: 4, Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: "x"}, {TransactionalID: "y"}}}
	for _, c := range []struct {
		body any
		want []string
	}{
		{Init{Request: &kmsg.InitProducerIDRequest{TransactionalID: &id}}, []string{"a"}},
		{Init{Request: &kmsg.InitProducerIDRequest{}}, []string{}},
		{AddOffsets{Request: &kmsg.AddOffsetsToTxnRequest{TransactionalID: id}}, []string{"a"}},
		{&kmsg.EndTxnRequest{TransactionalID: id}, []string{"a"}},
		{&kmsg.AddPartitionsToTxnRequest{Version: 3, TransactionalID: id}, []string{"a"}},
		{batch, []string{"x", "y"}},
		{&kmsg.AddPartitionsToTxnRequest{Version: 4}, []string{}},
		{&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{"x", "y"}}, []string{"x", "y"}},
		{&kmsg.DescribeTransactionsRequest{}, []string{}},
		{MarkersWritten{TransactionalID: id}, []string{"a"}},
		{ProducerID{}, []string{}},
		{SetConfig{}, []string{}},
		{&kmsg.ListTransactionsRequest{}, nil}, // everything
		{machine.Tick{}, nil},
	} {
		if diff := cmp.Diff(c.want, New(Config{}).Keys(machine.Command{Body: c.body})); diff != "" {
			t.Fatalf("%T: %s", c.body, diff)
		}
	}
}

func TestJoinLists(t *testing.T) {
	part := func(code int16, ids ...string) *kmsg.ListTransactionsResponse {
		r := &kmsg.ListTransactionsResponse{ErrorCode: code, UnknownStateFilters: []string{"Odd"}}
		for i, id := range ids {
			r.TransactionStates = append(r.TransactionStates, kmsg.ListTransactionsResponseTransactionState{
				TransactionalID: id, ProducerID: int64(i), TransactionState: "Empty"})
		}
		return r
	}
	odd := "("
	states := []string{"Odd", "Empty", "Odd"}
	for _, c := range []struct {
		r       *kmsg.ListTransactionsRequest
		answers []any
		want    string
	}{
		{&kmsg.ListTransactionsRequest{Version: 2, StateFilters: states}, nil, "list ok unknown=[Odd]"},
		{&kmsg.ListTransactionsRequest{Version: 2, StateFilters: states}, []any{part(0, "b", "d"), part(0, "a", "c")},
			"list ok a=0(Empty) b=0(Empty) c=1(Empty) d=1(Empty) unknown=[Odd]"},
		{&kmsg.ListTransactionsRequest{}, []any{part(0, "b"), part(kerr.NotCoordinator.Code), errors.New("gone")}, "list ok b=0(Empty)"},
		{&kmsg.ListTransactionsRequest{}, []any{part(0, "b"), part(kerr.CoordinatorLoadInProgress.Code)}, "list COORDINATOR_LOAD_IN_PROGRESS"},
		{&kmsg.ListTransactionsRequest{Version: 2, TransactionalIDPattern: &odd}, nil, "list INVALID_REGULAR_EXPRESSION"},
	} {
		got := JoinLists(c.r, c.answers)
		if diff := cmp.Diff(c.want, responseText(got)); diff != "" || got.Version != c.r.Version {
			t.Fatalf("%v: %s", c.answers, diff)
		}
	}
}
