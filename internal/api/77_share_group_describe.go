package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// ShareGroupDescribe: v1
//
// Behaviour:
//   - Each group's coordinator answers for it; the answers stand in the request's order.
//   - Without the feature share.version share groups are not there: UNSUPPORTED_VERSION for each group.
//
// Version notes: v0 was an early access version.
// See KIP-932.
func (h *Handler) shareGroupDescribe(c *call, req *kmsg.ShareGroupDescribeRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ShareGroupDescribeResponse)
	if !h.sharing() {
		for _, id := range req.GroupIDs {
			g := kmsg.NewShareGroupDescribeResponseGroup()
			g.GroupID, g.ErrorCode = id, kerr.UnsupportedVersion.Code
			resp.Groups = append(resp.Groups, g)
		}
		return c.reply(resp)
	}
	return scatter(c, h.Groups, req.GroupIDs, itself,
		func(some []string) kmsg.Request {
			part := *req
			part.GroupIDs = some
			return &part
		},
		func(r *kmsg.ShareGroupDescribeResponse) []kmsg.ShareGroupDescribeResponseGroup { return r.Groups },
		func(answers []kmsg.ShareGroupDescribeResponseGroup) {
			resp.Groups = answers
			for i := range resp.Groups {
				if g := &resp.Groups[i]; req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
			}
			c.reply(resp)
		})
}
