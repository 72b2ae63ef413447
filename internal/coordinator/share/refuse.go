package share

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// refusal maps an error of the log or the host to what those who ask share coordinators understand.
func refusal(err error) *fault {
	var k *kerr.Error
	if !errors.As(err, &k) {
		return fail(kerr.UnknownServerError)
	}
	switch k.Code {
	case kerr.UnknownTopicOrPartition.Code, kerr.NotEnoughReplicas.Code, kerr.NotEnoughReplicasAfterAppend.Code, kerr.RequestTimedOut.Code:
		return fail(kerr.CoordinatorNotAvailable)
	case kerr.NotLeaderForPartition.Code, kerr.KafkaStorageError.Code, kerr.FencedLeaderEpoch.Code:
		return fail(kerr.NotCoordinator)
	case kerr.MessageTooLarge.Code, kerr.RecordListTooLarge.Code:
		return fail(kerr.UnknownServerError)
	}
	return fail(k)
}

// Refuse builds the answer to a command that was not decided or not written. It looks at nothing but its arguments, so
// it may run while another goroutine drives the machine.
func (m *Machine) Refuse(cmd machine.Command, err error) any { return Refuse(cmd, err) }

// Refuse is Machine.Refuse for partitions that have no machine here. Requests may name several share partitions.
func Refuse(cmd machine.Command, err error) any {
	f := refusal(err)
	switch r := cmd.Body.(type) {
	case *kmsg.InitializeShareGroupStateRequest:
		return initializeAnswer(r, f)
	case *kmsg.ReadShareGroupStateRequest:
		return readAnswer(r, nil, f)
	case *kmsg.WriteShareGroupStateRequest:
		return writeAnswer(r, f)
	case *kmsg.DeleteShareGroupStateRequest:
		return deleteAnswer(r, f)
	case *kmsg.ReadShareGroupStateSummaryRequest:
		return summaryAnswer(r, nil, f)
	}
	return err
}
