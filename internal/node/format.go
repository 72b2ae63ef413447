package node

import (
	"errors"
	"fmt"

	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/quorum"
)

// format makes empty directories this node's own, when the configuration leaves that to the node. Directories that are
// formatted stay as they are; new ones beside them join their cluster.
func (n *Node) format() error {
	var fresh []string
	cluster := ""
	for _, dir := range n.config.LogDirs {
		m, err := logdir.ReadMeta(n.o.FS, dir)
		switch {
		case errors.Is(err, logdir.ErrNotFormatted):
			fresh = append(fresh, dir)
		case err != nil:
			return err
		default:
			cluster = m.ClusterID
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	first := cluster == ""
	if first {
		cluster = n.o.NewID().String()
	}
	now := n.o.Now()
	for _, dir := range fresh {
		if err := n.o.FS.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("log directory %s cannot be created: %w", dir, err)
		}
	}
	if first { // before meta.properties: a directory counts as formatted only once it can be started from
		err := quorum.WriteBootstrap(n.o.FS, n.config.MetadataLogDir, n.codecs, quorum.Bootstrap(metadata.LatestMetadataVersion), now.UnixMilli())
		if err != nil {
			return err
		}
	}
	if _, err := logdir.Format(n.o.FS, fresh, logdir.Meta{Version: 1, ClusterID: cluster, NodeID: n.config.NodeID}, n.o.NewID, now); err != nil {
		return err
	}
	n.o.Logger.Info("formatted", "directories", fresh, "cluster", cluster, "metadata.version", metadata.MetadataVersionName(metadata.LatestMetadataVersion))
	return nil
}
