package api

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// These APIs are decided by the controller alone: the broker hands the request on and the answer back. Authorisation
// will stand here.
//
//	19 CreateTopics v2-7                 20 DeleteTopics v1-6
//	37 CreatePartitions v0-3             43 ElectLeaders v0-2
//	45 AlterPartitionReassignments v0-1  46 ListPartitionReassignments v0
//	57 UpdateFeatures v0-2

func (h *Handler) createTopics(c *call, r *kmsg.CreateTopicsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) deleteTopics(c *call, r *kmsg.DeleteTopicsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) createPartitions(c *call, r *kmsg.CreatePartitionsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) electLeaders(c *call, r *kmsg.ElectLeadersRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) alterPartitionReassignments(c *call, r *kmsg.AlterPartitionAssignmentsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) listPartitionReassignments(c *call, r *kmsg.ListPartitionReassignmentsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) updateFeatures(c *call, r *kmsg.UpdateFeaturesRequest) server.Outcome {
	return c.forward(r)
}

// host is an address as Kafka shows it in groups: "/127.0.0.1".
func host(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		address = address[:i]
	}
	return "/" + strings.Trim(address, "[]")
}
