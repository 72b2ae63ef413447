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
	resp.Groups = make([]kmsg.StreamsGroupDescribeResponseGroup, len(req.Groups))
	if h.Image().Feature(metadata.StreamsVersionFeature) < 1 {
		for i, id := range req.Groups {
			resp.Groups[i] = kmsg.NewStreamsGroupDescribeResponseGroup()
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
				g := r.(*kmsg.StreamsGroupDescribeResponse).Groups[n]
				if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
				resp.Groups[i] = g
			}
		},
		func() { c.reply(resp) })
}
