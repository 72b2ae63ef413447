package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
)

// StreamsGroupDescribe: v0
//
// Behaviour:
//   - Each group's coordinator answers for it; the answers stand in the request's order.
//   - Without the feature streams.version the streams protocol is not there: UNSUPPORTED_VERSION for each group.
//
// See KIP-1071.
func (h *Handler) streamsGroupDescribe(c *call, req *kmsg.StreamsGroupDescribeRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.StreamsGroupDescribeResponse)
	if h.Image().Feature(metadata.StreamsVersionFeature) < 1 {
		for _, id := range req.Groups {
			g := kmsg.NewStreamsGroupDescribeResponseGroup()
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
		func(r *kmsg.StreamsGroupDescribeResponse) []kmsg.StreamsGroupDescribeResponseGroup { return r.Groups },
		func(answers []kmsg.StreamsGroupDescribeResponseGroup) {
			resp.Groups = answers
			for i := range resp.Groups {
				if g := &resp.Groups[i]; req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
			}
			c.reply(resp)
		})
}
