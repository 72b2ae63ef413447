package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// AlterConfigs (33): v0-2, IncrementalAlterConfigs (44): v0-1
//
// Behaviour:
//   - The controller validates and stores them; what they change takes effect when the broker hears of the records.
//   - Brokers' loggers are this broker's own: there is nothing to set here yet, and the controller says so.
func (h *Handler) alterConfigs(c *call, r *kmsg.AlterConfigsRequest) server.Outcome {
	return c.forward(r)
}

func (h *Handler) incrementalAlterConfigs(c *call, r *kmsg.IncrementalAlterConfigsRequest) server.Outcome {
	return c.forward(r)
}
