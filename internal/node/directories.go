package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/lifecycle"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// directoryFailed hears that a log directory's disk failed. Its replicas go offline and the controller hears of it, behind the
// caller. Without the metadata's directory, or without any, the node ends.
func (n *Node) directoryFailed(dir schema.UUID, err error) {
	if dir == n.dirs.MetadataDirID() {
		n.fail(fmt.Errorf("the metadata log directory %s has failed: %w", n.dirs.MetadataDir(), err))
		return
	}
	if err := n.dirs.Failed(); err != nil {
		n.fail(err)
		return
	}
	n.faults.do(func() {
		n.living.Load().DirectoryFailed(dir) // first: closing the logs may wait for the disk
		n.replicas.DirectoryFailed(dir)
	})
}

// assignedDirectory is where the metadata has this node's replica (logdir.Config.Assigned).
func (n *Node) assignedDirectory(topic schema.UUID, partition int32) (schema.UUID, bool) {
	t, ok := n.image().TopicByID(topic)
	if !ok {
		return schema.ZeroUUID, false
	}
	p, ok := t.Partition(partition)
	if !ok {
		return schema.ZeroUUID, false
	}
	return p.Directory(n.config.NodeID)
}

var errNotRegistered = errors.New("the broker is not registered yet")

// assignDirectory tells the controller where a replica is to be (logdir.Config.Assign).
func (n *Node) assignDirectory(topic schema.UUID, partition int32, dir schema.UUID, done func(error)) {
	a := n.places.Load()
	if a == nil {
		n.faults.do(func() { done(errNotRegistered) })
		return
	}
	a.Assign(topic, partition, dir, done)
}

// tellPlaces tells the controller of replicas that are elsewhere than the metadata says: those that it left the choice of, and those
// that somebody has moved.
func (n *Node) tellPlaces(image *metadata.Image, topic *metadata.Topic, partitions []int32) {
	a := n.places.Load()
	if a == nil || image.MetadataVersion() < metadata.MVDirectoryAssignment {
		return
	}
	for _, i := range partitions {
		p, ok := topic.Partition(i)
		if !ok {
			continue
		}
		said, mine := p.Directory(n.config.NodeID)
		log := n.dirs.Log(topic.ID, i)
		if !mine || log == nil {
			continue
		}
		// A move has asked for that directory and is about to put the log there. This look comes first: what is not on its way any
		// more is where DirID says.
		if n.dirs.MovesTo(topic.ID, i) == said {
			continue
		}
		if is := n.dirs.DirID(log); is != said && is != schema.ZeroUUID {
			a.Assign(topic.ID, i, is, func(err error) {
				if err != nil && !errors.Is(err, lifecycle.ErrSuperseded) {
					n.o.Logger.Warn("the controller does not take in where a replica is", "topic", topic.Name, "partition", i, "error", err)
				}
			})
		}
	}
}

// retryReplicas creates the replicas that found no room, and tells where they are now (logdir.Config.OnRetry).
func (n *Node) retryReplicas() {
	n.replicas.Retry()
	n.tellAllPlaces(n.image())
}

// logRecovered takes in a replica whose log is there now, or never will be, and lets the coordinator load that it may be the log of
// (logdir.Config.OnRecovered).
func (n *Node) logRecovered(topic schema.UUID, partition int32) {
	n.replicas.Recovered(topic, partition)
	image := n.image()
	t, ok := image.TopicByID(topic)
	if !ok {
		return
	}
	n.tellPlaces(image, t, []int32{partition})
	if host := n.coordinators()[t.Name]; host != nil {
		host.Readable(partition)
	}
}

// tellAllPlaces is tellPlaces for every replica.
func (n *Node) tellAllPlaces(image *metadata.Image) {
	for t := range image.Topics() {
		all := make([]int32, len(t.Partitions))
		for i := range all {
			all[i] = int32(i)
		}
		n.tellPlaces(image, t, all)
	}
}

// cordon takes in cordoned.log.dirs.
func (n *Node) cordon() {
	paths := n.settings().List("cordoned.log.dirs")
	if slices.Contains(paths, "*") {
		paths = n.config.LogDirs
	}
	clean := make([]string, len(paths))
	for i, path := range paths {
		clean[i] = filepath.Clean(path)
	}
	n.dirs.SetCordoned(clean)
	l := n.living.Load()
	if l == nil {
		return
	}
	ids := []schema.UUID{}
	for _, d := range n.dirs.Info() {
		if d.Cordoned && d.Err == nil {
			ids = append(ids, d.ID)
		}
	}
	l.SetCordoned(ids)
}

// join formats directories that are new beside others, once the metadata is known: if it has replicas in a directory that is not
// here, one that is empty may be the mount point of that directory's disk. Then it stays offline.
func (n *Node) join() error {
	fresh := n.dirs.Unformatted()
	if len(fresh) == 0 || !n.config.SelfFormat {
		return nil
	}
	if missing, there := n.missingDirectory(); there {
		n.o.Logger.Error("a log directory is not formatted because one that has replicas of this node is missing: bring its disk back, "+
			"or format the new one with klamm storage format", "directories", fresh, "missing", missing)
		return nil
	}
	if _, err := logdir.Format(n.o.FS, fresh, logdir.Meta{ClusterID: n.cluster, NodeID: n.config.NodeID}, n.o.NewID, n.o.Now()); err != nil {
		n.o.Logger.Error("a new log directory cannot be formatted and stays offline", "directories", fresh, "error", err)
		return nil
	}
	for _, path := range fresh {
		if err := n.dirs.Join(path); err != nil {
			return err
		}
	}
	n.o.Logger.Info("formatted", "directories", fresh, "cluster", n.cluster)
	return nil
}

// missingDirectory finds a directory in which the metadata has replicas of this node, and that is not here.
func (n *Node) missingDirectory() (schema.UUID, bool) {
	here := n.dirs.IDs()
	for t := range n.image().Topics() {
		for _, p := range t.Partitions {
			if dir, mine := p.Directory(n.config.NodeID); mine && logdir.UsableID(dir) && !slices.Contains(here, dir) {
				return dir, true
			}
		}
	}
	return schema.ZeroUUID, false
}

// absolute is how a directory is shown to clients, who name it so.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}

// AlterReplicaLogDirs implements api.Directories.
func (n *Node) AlterReplicaLogDirs(req *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse {
	resp := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	at := map[string]int{}
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			i, there := at[t.Topic]
			if !there {
				i = len(resp.Topics)
				at[t.Topic] = i
				resp.Topics = append(resp.Topics, kmsg.AlterReplicaLogDirsResponseTopic{Topic: t.Topic})
			}
			for _, p := range t.Partitions {
				resp.Topics[i].Partitions = append(resp.Topics[i].Partitions,
					kmsg.AlterReplicaLogDirsResponseTopicPartition{Partition: p, ErrorCode: n.alterLogDir(t.Topic, p, d.Dir)})
			}
		}
	}
	return resp
}

func (n *Node) alterLogDir(topic string, partition int32, dir string) int16 {
	path := dir
	for _, d := range n.config.LogDirs { // clients name what DescribeLogDirs shows
		if absolute(d) == filepath.Clean(dir) {
			path = d
		}
	}
	t, ok := n.image().Topic(topic)
	var id schema.UUID
	if ok {
		id = t.ID
		_, ok = t.Partition(partition)
	}
	err := n.dirs.Move(topic, id, partition, path)
	if err == nil {
		return 0
	}
	n.o.Logger.Warn("a replica's directory is not changed", "topic", topic, "partition", partition, "to", dir, "error", err)
	switch {
	case errors.Is(err, logdir.ErrNameTooLong):
		return kerr.InvalidTopicException.Code
	case errors.Is(err, logdir.ErrNoDirectory):
		return kerr.LogDirNotFound.Code
	case errors.Is(err, logdir.ErrCordoned):
		return kerr.InvalidReplicaAssignment.Code
	case errors.Is(err, logdir.ErrUnknownLog) && !ok:
		return kerr.UnknownTopicOrPartition.Code
	case errors.Is(err, logdir.ErrUnknownLog), errors.Is(err, logdir.ErrClosed):
		return kerr.ReplicaNotAvailable.Code
	}
	return kerr.KafkaStorageError.Code
}

// DescribeLogDirs implements api.Directories.
func (n *Node) DescribeLogDirs(req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	for _, d := range n.dirs.Info() {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir = absolute(d.Path)
		if d.Err != nil {
			out.ErrorCode = kerr.KafkaStorageError.Code
			resp.Dirs = append(resp.Dirs, out)
			continue
		}
		out.TotalBytes, out.UsableBytes = d.Total, d.Free
		out.IsCordoned = d.Cordoned && n.image().MetadataVersion() >= metadata.MVCordonedLogDirs
		for i := range d.Logs {
			describeLog(&out, req, &d.Logs[i])
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	return resp
}

func describeLog(out *kmsg.DescribeLogDirsResponseDir, req *kmsg.DescribeLogDirsRequest, l *logdir.LogInfo) {
	if !wanted(req, l) {
		return
	}
	if k := len(out.Topics); k == 0 || out.Topics[k-1].Topic != l.Topic {
		t := kmsg.NewDescribeLogDirsResponseDirTopic()
		t.Topic = l.Topic
		out.Topics = append(out.Topics, t)
	}
	t := &out.Topics[len(out.Topics)-1]
	p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	p.Partition, p.Size, p.OffsetLag, p.IsFuture = l.Partition, max(l.Size, 0), l.Lag, l.Future
	if l.Err != nil {
		p.OffsetLag = -1
	}
	t.Partitions = append(t.Partitions, p)
}

func wanted(req *kmsg.DescribeLogDirsRequest, l *logdir.LogInfo) bool {
	if req.Topics == nil {
		return true
	}
	for _, t := range req.Topics {
		if t.Topic == l.Topic && slices.Contains(t.Partitions, l.Partition) {
			return true
		}
	}
	return false
}
