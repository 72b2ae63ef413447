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
	resp.Groups = make([]kmsg.ShareGroupDescribeResponseGroup, len(req.GroupIDs))
	if !h.sharing() {
		for i, id := range req.GroupIDs {
			resp.Groups[i] = kmsg.NewShareGroupDescribeResponseGroup()
			resp.Groups[i].GroupID, resp.Groups[i].ErrorCode = id, kerr.UnsupportedVersion.Code
		}
		return c.reply(resp)
	}
	return c.scatter(h.Groups, req.GroupIDs,
		func(at []int) kmsg.Request {
			part := *req
			part.GroupIDs = make([]string, len(at))
			for n, i := range at {
				part.GroupIDs[n] = req.GroupIDs[i]
			}
			return &part
		},
		func(at []int, r kmsg.Response) {
			for n, i := range at {
				g := r.(*kmsg.ShareGroupDescribeResponse).Groups[n]
				if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
				resp.Groups[i] = g
			}
		},
		func() { c.reply(resp) })
}
