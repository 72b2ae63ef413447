package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// ConsumerGroupHeartbeat: v0-1
//
// Behaviour:
//   - The group's coordinator answers; package coordinator/group says how.
//   - Without the feature group.version the consumer protocol is not there: UNSUPPORTED_VERSION.
//
// Version notes: v1: members make their own ids; regular expressions.
// See KIP-848.
func (h *Handler) consumerGroupHeartbeat(c *call, req *kmsg.ConsumerGroupHeartbeatRequest) server.Outcome {
	if h.Image().Feature(metadata.GroupVersionFeature) < 1 {
		resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return c.reply(resp)
	}
	return c.toGroup(req.Group, req)
}
