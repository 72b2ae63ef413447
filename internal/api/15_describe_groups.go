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
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
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
				g := r.(*kmsg.DescribeGroupsResponse).Groups[n]
				if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
					g.AuthorizedOperations = groupOperations
				}
				resp.Groups[i] = g
			}
		},
		func() { c.reply(resp) })
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
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
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
				resp.Groups[i] = r.(*kmsg.DeleteGroupsResponse).Groups[n]
			}
		},
		func() { c.reply(resp) })
}
