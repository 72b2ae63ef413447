package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// ShareGroupHeartbeat: v1
//
// Behaviour:
//   - The group's coordinator answers; package coordinator/group says how.
//   - Without the feature share.version share groups are not there: UNSUPPORTED_VERSION.
//
// Version notes: v0 was an early access version.
// See KIP-932.
func (h *Handler) shareGroupHeartbeat(c *call, req *kmsg.ShareGroupHeartbeatRequest) server.Outcome {
	if !h.sharing() {
		resp := req.ResponseKind().(*kmsg.ShareGroupHeartbeatResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return c.reply(resp)
	}
	return c.toGroup(req.GroupID, req)
}

// sharing says that share groups are enabled.
func (h *Handler) sharing() bool { return h.Image().Feature(metadata.ShareVersionFeature) > 0 }
