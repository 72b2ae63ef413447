package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

const metaFile = "meta.properties"

// storageDirectories are a node's log directories and its metadata directory, each once, sorted.
func storageDirectories(n config.Node) []string {
	dirs := append(slices.Clone(n.LogDirs), n.MetadataLogDir)
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// storageInfo tells what is in the directories. A node that breaks a rule, as one that is more than this release runs,
// is only warned of: its directories can be looked at all the same.
func storageInfo(c *call, disk vfs.FS, file string) error {
	n, err := readNode(file)
	if len(n.LogDirs) == 0 {
		return err
	}
	var broken *uncaught
	if errors.As(err, &broken) {
		c.log("WARN", "kafka.server.KafkaConfig", strings.ReplaceAll(broken.message, "\n", "; "))
	}
	i := directoryInfo{disk: disk}
	for _, dir := range storageDirectories(n) {
		i.look(dir)
	}
	if i.meta != nil && i.meta.Version == 0 && !n.SelfFormat {
		i.problem("The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are formatted for legacy mode.")
	}
	return i.print(c)
}

// directoryInfo gathers what info prints.
type directoryInfo struct {
	disk     vfs.FS
	found    []string
	meta     *logdir.Meta // of the first directory that has one
	problems []string
}

func (i *directoryInfo) problem(format string, args ...any) {
	i.problems = append(i.problems, fmt.Sprintf(format, args...))
}

func (i *directoryInfo) look(dir string) {
	stat, err := i.disk.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.problem("%s does not exist", dir)
		return
	case err == nil && !stat.IsDir():
		i.problem("%s is not a directory", dir)
		return
	case err == nil:
		i.found = append(i.found, dir)
	}
	m, err := logdir.ReadMeta(i.disk, dir)
	switch {
	case errors.Is(err, logdir.ErrNotFormatted):
		i.problem("%s is not formatted.", dir)
	case err != nil:
		i.problem("Error loading %s: %s", filepath.Join(dir, metaFile), metaReason(err, dir))
	case i.meta == nil:
		i.meta = &m
	case i.meta.ClusterID != m.ClusterID:
		i.problem("Mismatched cluster IDs between storage directories.")
	case i.meta.NodeID != m.NodeID:
		i.problem("Mismatched node IDs between storage directories.")
	}
}

// metaReason is an error of ReadMeta without the names that stand before it anyway.
func metaReason(err error, dir string) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "log directory "+dir+": "), metaFile+": ")
}

func (i *directoryInfo) print(c *call) error {
	list := func(one, many string, lines []string) {
		if len(lines) == 0 {
			return
		}
		if len(lines) > 1 {
			one = many
		}
		c.println(one)
		for _, l := range lines {
			c.println("  " + l)
		}
		c.println("")
	}
	list("Found log directory:", "Found log directories:", i.found)
	if i.meta != nil {
		c.println("Found metadata: " + metaText(*i.meta))
		c.println("")
	}
	list("Found problem:", "Found problems:", i.problems)
	if len(i.problems) > 0 {
		return exit(1)
	}
	return nil
}

// metaText prints a meta.properties as Java prints a sorted map.
func metaText(m logdir.Meta) string {
	nodeKey := "node.id"
	if m.Version == 0 {
		nodeKey = "broker.id"
	}
	texts := []string{fmt.Sprintf("version=%d", m.Version)}
	if m.ClusterID != "" {
		texts = append(texts, "cluster.id="+m.ClusterID)
	}
	if m.NodeID >= 0 {
		texts = append(texts, fmt.Sprintf("%s=%d", nodeKey, m.NodeID))
	}
	if m.DirectoryID != schema.ZeroUUID {
		texts = append(texts, "directory.id="+m.DirectoryID.String())
	}
	slices.Sort(texts)
	return "{" + strings.Join(texts, ", ") + "}"
}
