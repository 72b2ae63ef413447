package node

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
