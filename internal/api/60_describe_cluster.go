package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// DescribeCluster: v0-2
//
// Behaviour: a broker's listener tells the brokers that listen where this client came in, a controller's listener the
// controllers. Asking one for the other is MISMATCHED_ENDPOINT_TYPE.
//
// Version notes: v1: endpoint type (KIP-919). v2: fenced brokers may be asked for (KIP-1073).
func (h *Handler) describeCluster(c *call, req *kmsg.DescribeClusterRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	names := map[int8]string{1: "BROKER", 2: "CONTROLLER"}
	resp.EndpointType = 1
	if c.Conn.Controller() {
		resp.EndpointType = 2
	}
	if asked, known := names[req.EndpointType]; req.Version >= 1 && req.EndpointType != resp.EndpointType {
		code, message := kerr.MismatchedEndpointType, fmt.Sprintf("The request was sent to an endpoint of type %s, but we wanted an endpoint of type %s", names[resp.EndpointType], asked)
		if !known {
			code, message = kerr.UnsupportedEndpointType, fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType)
		}
		resp.ErrorCode, resp.ErrorMessage = code.Code, &message
		return c.reply(resp)
	}
	resp.ClusterID, resp.ControllerID = h.ClusterID, -1
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	if c.Conn.Controller() {
		resp.ControllerID = h.Quorum.Controller()
		for m := range h.Image().Controllers() {
			if e, ok := m.Endpoint(c.Conn.Listener()); ok {
				r := kmsg.NewDescribeClusterResponseBroker()
				r.NodeID, r.Host, r.Port = m.ID, e.Host, int32(e.Port)
				resp.Brokers = append(resp.Brokers, r)
			}
		}
		return c.reply(resp)
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
