package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

func uuids(ids [][16]byte) []schema.UUID {
	out := make([]schema.UUID, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}

// onlineDirectory says whether a replica in that directory of the broker can be read and written.
func onlineDirectory(b *broker, dir schema.UUID) bool {
	switch {
	case b == nil || dir == metadata.DirectoryLost:
		return false
	case dir == metadata.DirectoryUnassigned || dir == metadata.DirectoryMigrating:
		return true
	}
	// A registration without directories comes from a version before 3.7-IV2: nothing is known, so all is well.
	return len(b.LogDirs) == 0 || slices.Contains(b.LogDirs, dir)
}

func hasUncordonedDirectory(b *broker) bool {
	if len(b.LogDirs) == 0 || b.CordonedLogDirs == nil {
		return true
	}
	return slices.ContainsFunc(b.LogDirs, func(d schema.UUID) bool { return !slices.Contains(b.CordonedLogDirs, d) })
}

// defaultDirectory is where a new replica on the broker goes: its only directory, or the broker's choice among several.
func (c *Controller) defaultDirectory(id int32) schema.UUID {
	b := c.broker(id)
	switch {
	case c.metadataVersion() < metadata.MVDirectoryAssignment:
		return metadata.DirectoryMigrating
	case b == nil:
		return metadata.DirectoryUnassigned
	case len(b.LogDirs) == 0:
		return metadata.DirectoryMigrating
	case len(b.LogDirs) == 1:
		return b.LogDirs[0]
	}
	return metadata.DirectoryUnassigned
}

func (c *Controller) defaultDirectories(replicas []int32) []schema.UUID {
	if c.metadataVersion() < metadata.MVDirectoryAssignment {
		return nil
	}
	dirs := make([]schema.UUID, len(replicas))
	for i, id := range replicas {
		dirs[i] = c.defaultDirectory(id)
	}
	return dirs
}

// directoriesOffline takes the replicas in directories that went offline out of their ISRs.
func (c *Controller) directoriesOffline(op *operation, b *broker, offline []schema.UUID) {
	var online []schema.UUID
	changed := false
	for _, dir := range b.LogDirs {
		if !slices.Contains(offline, dir) {
			online = append(online, dir)
			continue
		}
		changed = true
		c.updateLeaders(op, keys(c.state.index.inDirectory[dir]), leaving(b.ID))
		op.event("controller.directory.offline", machine.Attr{Key: "broker", Value: b.ID}, machine.Attr{Key: "directory", Value: dir.String()})
	}
	// A broker without any directory left cannot say so in this record, where empty means unchanged. It stops anyway.
	if changed && len(online) > 0 {
		op.add(&schema.BrokerRegistrationChange{BrokerID: b.ID, BrokerEpoch: b.Epoch, LogDirs: online})
	}
}

// directoriesCordoned notes the directories that take no new replicas. A broker says them from the moment that it has
// caught up; until then they are unknown, which is not the same as none.
func (c *Controller) directoriesCordoned(op *operation, b *broker, cordoned []schema.UUID) {
	same := b.CordonedLogDirs != nil
	for _, dir := range cordoned {
		same = same && slices.Contains(b.CordonedLogDirs, dir)
	}
	for _, dir := range b.CordonedLogDirs {
		same = same && slices.Contains(cordoned, dir)
	}
	if !same {
		op.add(&schema.BrokerRegistrationChange{BrokerID: b.ID, BrokerEpoch: b.Epoch, CordonedLogDirs: cordoned})
	}
}

// assignReplicasToDirs answers AssignReplicasToDirs (KIP-858): a broker says where it put its replicas. One that lies in
// a directory which has gone offline meanwhile leaves the ISR at once.
func (c *Controller) assignReplicasToDirs(op *operation, req *kmsg.AssignReplicasToDirsRequest) (any, error) {
	if c.metadataVersion() < metadata.MVDirectoryAssignment {
		return nil, refuse(kerr.UnsupportedVersion, "Directory assignment is not supported yet.")
	}
	b, err := c.checkBrokerEpoch(req.BrokerID, req.BrokerEpoch)
	if err != nil {
		return nil, err
	}
	op.split = true
	resp := req.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
	var offline []partitionKey
	seen := map[partitionKey]bool{}
	for i := range req.Directories {
		dir := schema.UUID(req.Directories[i].ID)
		out := kmsg.NewAssignReplicasToDirsResponseDirectory()
		out.ID = req.Directories[i].ID
		for _, topic := range req.Directories[i].Topics {
			outTopic := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			outTopic.TopicID = topic.TopicID
			for _, p := range topic.Partitions {
				key := partitionKey{topic.TopicID, p.Partition}
				code := c.assignReplica(op, b, key, dir)
				if code == 0 && !onlineDirectory(b, dir) && !seen[key] {
					seen[key] = true
					offline = append(offline, key)
				}
				outTopic.Partitions = append(outTopic.Partitions,
					kmsg.AssignReplicasToDirsResponseDirectoryTopicPartition{Partition: p.Partition, ErrorCode: code})
			}
			out.Topics = append(out.Topics, outTopic)
		}
		resp.Directories = append(resp.Directories, out)
	}
	c.updateLeaders(op, offline, leaving(b.ID))
	return resp, nil
}

func (c *Controller) assignReplica(op *operation, b *broker, key partitionKey, dir schema.UUID) int16 {
	t := c.topicByID(key.topic)
	if t == nil {
		return kerr.UnknownTopicID.Code
	}
	p := c.partitionOf(t, key.partition)
	switch {
	case p == nil:
		return kerr.UnknownTopicOrPartition.Code
	case !slices.Contains(p.Replicas, b.ID):
		return kerr.NotLeaderForPartition.Code
	}
	ch := c.change(t, key, p)
	ch.directories[b.ID] = dir
	if r := ch.record(); r != nil {
		op.add(r)
	}
	return 0
}
