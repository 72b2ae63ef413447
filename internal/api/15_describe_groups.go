package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/server"
)

// DescribeGroups: v0-6
//
// Behaviour: each group's coordinator answers for it; the answers stand in the request's order.
//
// Version notes: v3: authorized operations. v4: instance ids. v6: GROUP_ID_NOT_FOUND with a message (KIP-1043).
func (h *Handler) describeGroups(c *call, req *kmsg.DescribeGroupsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	return scatter(c, h.Groups, req.Groups, itself,
		func(some []string) kmsg.Request {
			part := *req
			part.Groups = some
			return &part
		},
		func(r *kmsg.DescribeGroupsResponse) []kmsg.DescribeGroupsResponseGroup { return r.Groups },
		func(answers []kmsg.DescribeGroupsResponseGroup) {
			resp.Groups = answers
			for i := range resp.Groups {
				if g := &resp.Groups[i]; req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
			}
			c.reply(resp)
		})
}

// ListGroups (16): v0-5
//
// Behaviour: every partition that is led here answers. A partition that still loads makes the whole answer
// COORDINATOR_LOAD_IN_PROGRESS, as in Kafka.
//
// Version notes: v4: states. v5: types (KIP-848).
func (h *Handler) listGroups(c *call, req *kmsg.ListGroupsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	h.Groups.Broadcast(machine.Command{Body: req, Client: c.client()}, func(values []any) {
		for _, v := range values {
			r := v.(*kmsg.ListGroupsResponse)
			if r.ErrorCode != 0 {
				resp.ErrorCode = r.ErrorCode
			}
			resp.Groups = append(resp.Groups, r.Groups...)
		}
		if resp.ErrorCode != 0 {
			resp.Groups = nil
		}
		c.reply(resp)
	})
	return server.Parked
}

// DeleteGroups (42): v0-2
//
// Behaviour: each group's coordinator answers for it; the answers stand in the request's order.
func (h *Handler) deleteGroups(c *call, req *kmsg.DeleteGroupsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	return scatter(c, h.Groups, req.Groups, itself,
		func(some []string) kmsg.Request {
			part := *req
			part.Groups = some
			return &part
		},
		func(r *kmsg.DeleteGroupsResponse) []kmsg.DeleteGroupsResponseGroup { return r.Groups },
		func(answers []kmsg.DeleteGroupsResponseGroup) {
			resp.Groups = answers
			c.reply(resp)
		})
}
