package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/server"
)

// AlterReplicaLogDirs: v1-2
//
// Behaviour:
//   - A replica of this broker moves to another of its log directories, in the background (KIP-113). DescribeLogDirs shows its copy
//     as a future log until it takes the replica's place. The directory that it is in ends a move that is under way.
//   - A partition that has no replica here yet will be created in the directory; the answer is REPLICA_NOT_AVAILABLE.
//   - LOG_DIR_NOT_FOUND, INVALID_REPLICA_ASSIGNMENT for a cordoned directory (KIP-1066), KAFKA_STORAGE_ERROR while one is offline.
func (h *Handler) alterReplicaLogDirs(c *call, req *kmsg.AlterReplicaLogDirsRequest) server.Outcome {
	return c.reply(h.Directories.AlterReplicaLogDirs(req))
}
