package txn

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// refusal maps an error of the log or the host to what clients of the transaction coordinator understand.
func refusal(err error) int16 {
	var k *kerr.Error
	if !errors.As(err, &k) {
		return kerr.UnknownServerError.Code
	}
	switch k.Code {
	case kerr.UnknownTopicOrPartition.Code, kerr.NotEnoughReplicas.Code, kerr.NotEnoughReplicasAfterAppend.Code, kerr.RequestTimedOut.Code:
		return kerr.CoordinatorNotAvailable.Code
	case kerr.NotLeaderForPartition.Code, kerr.KafkaStorageError.Code, kerr.FencedLeaderEpoch.Code:
		return kerr.NotCoordinator.Code
	case kerr.MessageTooLarge.Code, kerr.RecordListTooLarge.Code:
		return kerr.UnknownServerError.Code
	}
	return k.Code
}

// Refuse builds the answer to a command that was not decided or not written. It looks at nothing but its arguments, so
// it may run while another goroutine drives the machine.
func (m *Machine) Refuse(cmd machine.Command, err error) any { return Refuse(cmd, err) }

// Refuse is Machine.Refuse for partitions that have no machine here.
func Refuse(cmd machine.Command, err error) any {
	code := refusal(err)
	switch r := cmd.Body.(type) {
	case Init:
		return initError(r.Request.Version, code)
	case AddOffsets:
		return addOffsetsError(r.Request.Version, code)
	case *kmsg.EndTxnRequest:
		return endError(r.Version, code)
	case *kmsg.AddPartitionsToTxnRequest:
		answer := kmsg.NewPtrAddPartitionsToTxnResponse()
		answer.Version = r.Version
		if r.Version < firstBatched {
			answer.Topics = addTopicsError(r, code)
			return answer
		}
		for i := range r.Transactions {
			answer.Transactions = append(answer.Transactions, addResult(&r.Transactions[i], func(TopicPartition) int16 { return code }))
		}
		return answer
	case *kmsg.DescribeTransactionsRequest:
		answer := kmsg.NewPtrDescribeTransactionsResponse()
		answer.Version = r.Version
		for _, id := range r.TransactionalIDs {
			d := kmsg.NewDescribeTransactionsResponseTransactionState()
			d.TransactionalID, d.ErrorCode = id, code
			answer.TransactionStates = append(answer.TransactionStates, d)
		}
		return answer
	case *kmsg.ListTransactionsRequest:
		return &kmsg.ListTransactionsResponse{Version: r.Version, ErrorCode: code}
	}
	return err
}
