package controller

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusal is an error as a client sees it: Kafka's code, and the message that Kafka sends with it. A nil message is
// null on the wire: Kafka sends none where it would only repeat the code's own text.
type refusal struct {
	kind    *kerr.Error
	message *string
}

func (r *refusal) Error() string {
	if r.message == nil {
		return r.kind.Error()
	}
	return r.kind.Message + ": " + *r.message
}

func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind *kerr.Error, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return &refusal{kind, &message}
}

// bare is a refusal without a message.
func bare(kind *kerr.Error) error { return &refusal{kind, nil} }

// excessive is what Kafka answers when one request would write more records than MaxRecordsPerOperation.
func excessive() error {
	return refuse(kerr.PolicyViolation, "Unable to perform excessively large batch operation.")
}

// codeOf gives code and message of an error for a reply. What is not one of Kafka's errors is told to nobody.
func codeOf(err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.kind.Code, r.message
	}
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Code, nil
	}
	return kerr.UnknownServerError.Code, nil
}

// errorResponse is the whole answer to a request that failed as one. It returns nil for a request that is none of ours.
func errorResponse(request kmsg.Request, err error) kmsg.Response {
	code, message := codeOf(err)
	switch req := request.(type) {
	case *kmsg.CreateTopicsRequest:
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, failedTopic(req.Topics[i].Topic, code, message))
		}
		return resp
	case *kmsg.DeleteTopicsRequest:
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		for i := range req.TopicNames {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.ErrorCode = &req.TopicNames[i], code
			resp.Topics = append(resp.Topics, t)
		}
		for i := range req.Topics {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode = req.Topics[i].Topic, req.Topics[i].TopicID, code
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.CreatePartitionsRequest:
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for i := range req.Topics {
			t := kmsg.NewCreatePartitionsResponseTopic()
			t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, code, message
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.AlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for i := range req.Resources {
			r := kmsg.NewAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			r.ErrorCode, r.ErrorMessage = code, message
			resp.Resources = append(resp.Resources, r)
		}
		return resp
	case *kmsg.IncrementalAlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for i := range req.Resources {
			r := kmsg.NewIncrementalAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			r.ErrorCode, r.ErrorMessage = code, message
			resp.Resources = append(resp.Resources, r)
		}
		return resp
	}
	return errorResponseOfCluster(request, code, message)
}

// errorResponseOfCluster is the part of errorResponse for the requests that are about brokers and partitions' state.
func errorResponseOfCluster(request kmsg.Request, code int16, message *string) kmsg.Response {
	switch req := request.(type) {
	case *kmsg.BrokerRegistrationRequest:
		resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
		resp.ErrorCode, resp.BrokerEpoch = code, -1
		return resp
	case *kmsg.BrokerHeartbeatRequest:
		resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
		resp.ErrorCode, resp.IsFenced = code, true
		return resp
	case *kmsg.UnregisterBrokerRequest:
		resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
		resp.ErrorCode, resp.ErrorMessage = code, message
		return resp
	case *kmsg.ControllerRegistrationRequest:
		resp := req.ResponseKind().(*kmsg.ControllerRegistrationResponse)
		resp.ErrorCode, resp.ErrorMessage = code, message
		return resp
	case *kmsg.AlterPartitionRequest:
		resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
		resp.ErrorCode = code
		return resp
	case *kmsg.AssignReplicasToDirsRequest:
		resp := req.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
		resp.ErrorCode = code
		return resp
	case *kmsg.AllocateProducerIDsRequest:
		resp := req.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
		resp.ErrorCode = code
		return resp
	case *kmsg.UpdateFeaturesRequest:
		resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
		resp.ErrorCode, resp.ErrorMessage = code, message
		return resp
	case *kmsg.ElectLeadersRequest:
		resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
		resp.ErrorCode = code
		for i := range req.Topics {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = req.Topics[i].Topic
			for _, p := range req.Topics[i].Partitions {
				t.Partitions = append(t.Partitions, kmsg.ElectLeadersResponseTopicPartition{Partition: p, ErrorCode: code, ErrorMessage: message})
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.AlterPartitionAssignmentsRequest:
		resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
		resp.ErrorCode, resp.ErrorMessage = code, message
		for i := range req.Topics {
			t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
			t.Topic = req.Topics[i].Topic
			for _, p := range req.Topics[i].Partitions {
				t.Partitions = append(t.Partitions, kmsg.AlterPartitionAssignmentsResponseTopicPartition{
					Partition: p.Partition, ErrorCode: code, ErrorMessage: message})
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	case *kmsg.ListPartitionReassignmentsRequest:
		resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
		resp.ErrorCode, resp.ErrorMessage = code, message
		return resp
	}
	return nil
}
