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
	if h.Image().Feature(metadata.GroupVersionFeature) < 1 {
		for _, id := range req.Groups {
			g := kmsg.NewConsumerGroupDescribeResponseGroup()
			g.Group, g.ErrorCode = id, kerr.UnsupportedVersion.Code
			resp.Groups = append(resp.Groups, g)
		}
		return c.reply(resp)
	}
	return scatter(c, h.Groups, req.Groups, itself,
		func(some []string) kmsg.Request {
			part := *req
			part.Groups = some
			return &part
		},
		func(r *kmsg.ConsumerGroupDescribeResponse) []kmsg.ConsumerGroupDescribeResponseGroup { return r.Groups },
		func(answers []kmsg.ConsumerGroupDescribeResponseGroup) {
			resp.Groups = answers
			for i := range resp.Groups {
				if g := &resp.Groups[i]; req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
			}
			c.reply(resp)
		})
}
