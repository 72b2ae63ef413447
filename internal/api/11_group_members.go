package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// The requests of classic groups' members name one group and go to its coordinator as they are; package
// coordinator/group says what becomes of them.
//
//	11 JoinGroup v0-9    12 Heartbeat v0-4    13 LeaveGroup v0-5    14 SyncGroup v0-5

func (h *Handler) joinGroup(c *call, r *kmsg.JoinGroupRequest) server.Outcome {
	return c.toGroup(r.Group, r)
}

func (h *Handler) heartbeat(c *call, r *kmsg.HeartbeatRequest) server.Outcome {
	return c.toGroup(r.Group, r)
}

func (h *Handler) leaveGroup(c *call, r *kmsg.LeaveGroupRequest) server.Outcome {
	return c.toGroup(r.Group, r)
}

func (h *Handler) syncGroup(c *call, r *kmsg.SyncGroupRequest) server.Outcome {
	return c.toGroup(r.Group, r)
}
