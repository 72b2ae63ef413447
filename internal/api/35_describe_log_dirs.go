package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// DescribeLogDirs: v1-5
//
// Behaviour: each directory of this broker with its size, its partitions and their sizes and lags; null topics are all.
//
// Version notes: v3: top-level error. v4: total and usable bytes (KIP-827). v5: cordoned directories.
func (h *Handler) describeLogDirs(c *call, req *kmsg.DescribeLogDirsRequest) server.Outcome {
	return c.reply(h.Directories.DescribeLogDirs(req))
}
