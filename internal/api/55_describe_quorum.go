package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// DescribeQuorum: v0-2
//
// Behaviour: the voters and observers of __cluster_metadata-0 with their log ends, as the leader knows them.
//
// Version notes: v1: times of the last fetch. v2: directories and endpoints (KIP-853).
func (h *Handler) describeQuorum(c *call, req *kmsg.DescribeQuorumRequest) server.Outcome {
	return c.reply(h.Quorum.DescribeQuorum(req))
}
