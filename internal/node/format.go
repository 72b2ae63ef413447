package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/quorum"
)

// format makes empty directories this node's own, when the configuration leaves that to the node. Directories that are
// formatted stay as they are; new ones beside them join their cluster.
//
// The metadata's directory comes first, so that a format that was interrupted goes on: while it is not formatted, none
// is. One that is missing although others are formatted was lost, or is elsewhere: beginning a new history there would put
// all their logs aside.
func (n *Node) format() error {
	fresh, cluster, err := n.unformatted()
	if err != nil || len(fresh) == 0 {
		return err
	}
	first := cluster == "" // otherwise those that are new are formatted when the metadata is known: see join
	if !first && fresh[0] == n.config.MetadataLogDir {
		return fmt.Errorf("metadata directory %s is %w, but other log directories belong to cluster %s already: bring it back, or name its place with `metadata.log.dir`",
			fresh[0], logdir.ErrNotFormatted, cluster)
	}
	for _, dir := range fresh {
		log := filepath.Join(dir, quorum.LogDir)
		if _, err := n.o.FS.Stat(log); err == nil {
			return fmt.Errorf("log directory %s is %w, but has a metadata log, %s: bring its meta.properties back, or choose an empty directory with `log.dirs`", dir, logdir.ErrNotFormatted, log)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("log directory %s cannot be read: %w", dir, err)
		}
	}
	if !first {
		return nil
	}
	cluster = n.o.NewID().String()
	now := n.o.Now()
	for _, dir := range fresh {
		if err := n.o.FS.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("log directory %s cannot be created: %w", dir, err)
		}
	}
	// Before meta.properties: a directory counts as formatted only once it can be started from.
	err = quorum.WriteBootstrap(n.o.FS, n.config.MetadataLogDir, n.codecs, quorum.Bootstrap(metadata.LatestMetadataVersion), now.UnixMilli())
	if err != nil {
		return err
	}
	if _, err := logdir.Format(n.o.FS, fresh, logdir.Meta{ClusterID: cluster, NodeID: n.config.NodeID}, n.o.NewID, now); err != nil {
		return err
	}
	n.o.Logger.Info("formatted", "directories", fresh, "cluster", cluster, "metadata.version", metadata.MetadataVersionName(metadata.LatestMetadataVersion))
	return nil
}

// unformatted lists the directories without meta.properties, the metadata's first, and finds the cluster of the others. One that
// cannot be read is somebody else's business, unless all of them begin a new history.
func (n *Node) unformatted() (fresh []string, cluster string, err error) {
	dirs := append([]string{n.config.MetadataLogDir}, n.config.LogDirs...) // clean, as the configuration gives them
	var unreadable error
	for i, dir := range dirs {
		if slices.Contains(dirs[:i], dir) {
			continue
		}
		m, err := logdir.ReadMeta(n.o.FS, dir)
		switch {
		case errors.Is(err, logdir.ErrNotFormatted):
			fresh = append(fresh, dir)
		case err != nil && i == 0:
			return nil, "", err
		case err != nil:
			unreadable = errors.Join(unreadable, err)
		default:
			cluster = m.ClusterID
		}
	}
	if cluster == "" && unreadable != nil {
		return nil, "", unreadable
	}
	return fresh, cluster, nil
}
