package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// ConsumerGroupDescribe: v0-1
//
// Behaviour:
//   - Each group's coordinator answers for it; the answers stand in the request's order.
//   - Without the feature group.version the consumer protocol is not there: UNSUPPORTED_VERSION for each group.
//
// Version notes: v1: the protocol that each member speaks.
// See KIP-848.
func (h *Handler) consumerGroupDescribe(c *call, req *kmsg.ConsumerGroupDescribeRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	resp.Groups = make([]kmsg.ConsumerGroupDescribeResponseGroup, len(req.Groups))
	if h.Image().Feature(metadata.GroupVersionFeature) < 1 {
		for i, id := range req.Groups {
			resp.Groups[i] = kmsg.NewConsumerGroupDescribeResponseGroup()
			resp.Groups[i].Group, resp.Groups[i].ErrorCode = id, kerr.UnsupportedVersion.Code
		}
		return c.reply(resp)
	}
	return c.scatter(h.Groups, req.Groups,
		func(at []int) kmsg.Request {
			part := *req
			part.Groups = make([]string, len(at))
			for n, i := range at {
				part.Groups[n] = req.Groups[i]
			}
			return &part
		},
		func(at []int, r kmsg.Response) {
			for n, i := range at {
				g := r.(*kmsg.ConsumerGroupDescribeResponse).Groups[n]
				if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
				resp.Groups[i] = g
			}
		},
		func() { c.reply(resp) })
}
