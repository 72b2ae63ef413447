package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// StreamsGroupHeartbeat: v0
//
// Behaviour:
//   - The group's coordinator answers; package coordinator/group says how. It has internal topics created for this client.
//   - Without the feature streams.version the streams protocol is not there: UNSUPPORTED_VERSION.
//
// See KIP-1071.
func (h *Handler) streamsGroupHeartbeat(c *call, req *kmsg.StreamsGroupHeartbeatRequest) server.Outcome {
	if h.Image().Feature(metadata.StreamsVersionFeature) < 1 {
		resp := req.ResponseKind().(*kmsg.StreamsGroupHeartbeatResponse)
		resp.ErrorCode, resp.Status = kerr.UnsupportedVersion.Code, []kmsg.StreamsGroupHeartbeatResponseStatus{}
		return c.reply(resp)
	}
	return c.toGroup(req.Group, req)
}
