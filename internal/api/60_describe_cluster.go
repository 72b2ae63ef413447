package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// DescribeCluster: v0-2
//
// Behaviour: the brokers that listen where this client came in. Controllers (endpoint type 2) are told by controllers only:
// MISMATCHED_ENDPOINT_TYPE here.
//
// Version notes: v1: endpoint type (KIP-919). v2: fenced brokers may be asked for (KIP-1073).
func (h *Handler) describeCluster(c *call, req *kmsg.DescribeClusterRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = 1
	if req.Version >= 1 && req.EndpointType != 1 {
		name, code := "UNKNOWN", kerr.UnsupportedEndpointType
		if req.EndpointType == 2 {
			name, code = "CONTROLLER", kerr.MismatchedEndpointType
		}
		message := fmt.Sprintf("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type %s", name)
		if code == kerr.UnsupportedEndpointType {
			message = fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType)
		}
		resp.ErrorCode, resp.ErrorMessage = code.Code, &message
		return c.reply(resp)
	}
	resp.ClusterID, resp.ControllerID = h.ClusterID, -1
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for b := range h.Image().Brokers() {
		if b.Fenced && !req.IncludeFencedBrokers {
			continue
		}
		e, ok := b.Endpoint(c.Conn.Listener())
		if !ok {
			continue
		}
		r := kmsg.NewDescribeClusterResponseBroker()
		r.NodeID, r.Host, r.Port, r.Rack, r.IsFenced = b.ID, e.Host, int32(e.Port), b.Rack, b.Fenced
		resp.Brokers = append(resp.Brokers, r)
		if !b.Fenced && (resp.ControllerID == -1 || b.ID == h.NodeID) {
			resp.ControllerID = b.ID
		}
	}
	return c.reply(resp)
}
