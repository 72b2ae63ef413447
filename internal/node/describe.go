package node

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/logdir"
)

// Controller is the active controller's id (api.Quorum).
func (n *Node) Controller() int32 { return n.quorum.Status().Leader }

// KRaftVersion is the quorum's kraft.version (api.Quorum).
func (n *Node) KRaftVersion() int16 { return n.quorum.Status().KRaftVersion }

// DescribeQuorum implements api.Quorum.
func (n *Node) DescribeQuorum(req *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	s := n.quorum.Status()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeQuorumResponseTopic()
		out.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewDescribeQuorumResponseTopicPartition()
			p.Partition = in.Partition
			if t.Topic != "__cluster_metadata" || in.Partition != 0 {
				p.ErrorCode = kerr.UnknownTopicOrPartition.Code
				out.Partitions = append(out.Partitions, p)
				continue
			}
			p.LeaderID, p.LeaderEpoch, p.HighWatermark = s.Leader, s.Epoch, s.HighWatermark
			for _, v := range s.Voters {
				r := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
				now := n.o.Now().UnixMilli()
				r.ReplicaID, r.ReplicaDirectoryID, r.LogEndOffset = v.ID, v.Directory, s.LogEnd
				r.LastFetchTimestamp, r.LastCaughtUpTimestamp = now, now
				p.CurrentVoters = append(p.CurrentVoters, r)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	for _, v := range s.Voters {
		m, ok := n.image().Controller(v.ID)
		if !ok || req.Version < 2 {
			continue
		}
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = v.ID
		for _, e := range m.Endpoints {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = e.Name, e.Host, e.Port
			node.Listeners = append(node.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, node)
	}
	return resp
}

// DescribeLogDirs implements api.Directories.
func (n *Node) DescribeLogDirs(req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	for _, d := range n.dirs.Info() {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir, out.TotalBytes, out.UsableBytes = d.Path, d.Total, d.Free
		if d.Err != nil {
			out.ErrorCode = kerr.KafkaStorageError.Code
			resp.Dirs = append(resp.Dirs, out)
			continue
		}
		for _, l := range d.Logs {
			if !wanted(req, &l) {
				continue
			}
			if k := len(out.Topics); k == 0 || out.Topics[k-1].Topic != l.Topic {
				t := kmsg.NewDescribeLogDirsResponseDirTopic()
				t.Topic = l.Topic
				out.Topics = append(out.Topics, t)
			}
			t := &out.Topics[len(out.Topics)-1]
			p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			p.Partition, p.Size = l.Partition, max(l.Size, 0)
			t.Partitions = append(t.Partitions, p)
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	return resp
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
