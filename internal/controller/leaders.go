package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// change starts the change of a partition from what it is; the caller sets what shall be different.
func (c *Controller) change(t *topic, key partitionKey, p *partition) *change {
	ch := &change{
		partitionKey: key, now: p, mv: c.metadataVersion(), elr: c.elrEnabled(), minISR: c.effectiveMinISR(t),
		defaultDir: c.defaultDirectory, recovery: p.Recovery, uncleanShutdown: noLeader,
		isr: p.ISR, replicas: p.Replicas, adding: p.Adding, removing: p.Removing, eligible: p.ELR,
		directories: make(map[int32]schema.UUID, len(p.Replicas)),
	}
	for i, id := range p.Replicas {
		if i < len(p.Directories) {
			ch.directories[id] = p.Directories[i]
		}
	}
	ch.acceptable = func(id int32) bool { return c.activeBroker(id) && c.replicaOnline(p, id) }
	return ch
}

// replicaOnline says whether the directory in which the broker has its replica is online.
func (c *Controller) replicaOnline(p *partition, id int32) bool {
	i := slices.Index(p.Replicas, id)
	return i >= 0 && (i >= len(p.Directories) || onlineDirectory(c.broker(id), p.Directories[i]))
}

// transition is what happens to one broker, to which its partitions must answer. The image does not show it yet.
type transition struct {
	leaving, coming, crashed int32
}

func leaving(id int32) transition { return transition{id, noLeader, noLeader} }
func coming(id int32) transition  { return transition{noLeader, id, noLeader} }

// crashed is a broker that came back without all that it had written.
func crashed(id int32) transition { return transition{noLeader, noLeader, id} }

// updateLeaders changes ISR, ELR and leader of the partitions where the transition asks for it.
func (c *Controller) updateLeaders(op *operation, partitions []partitionKey, tr transition) {
	for _, key := range partitions {
		t := c.topicByID(key.topic)
		p := c.partitionOf(t, key.partition)
		ch := c.change(t, key, p)
		if c.uncleanElection(t) {
			ch.election = electUnclean
		}
		ch.acceptable = func(id int32) bool {
			return id != tr.leaving && id != tr.crashed && (id == tr.coming || c.activeBroker(id)) && c.replicaOnline(p, id)
		}
		ch.uncleanShutdown = tr.crashed
		ch.isr = without(p.ISR, []int32{tr.leaving, tr.crashed})
		if r := ch.record(); r != nil {
			op.add(r)
		}
	}
}

// Election types of ElectLeaders.
const (
	typePreferred = int8(0)
	typeUnclean   = int8(1)
)

// electLeaders answers ElectLeaders (KIP-183, KIP-460). Without a list it tries every partition and tells only of those
// where an election was needed.
func (c *Controller) electLeaders(op *operation, req *kmsg.ElectLeadersRequest) (any, error) {
	if req.ElectionType != typePreferred && req.ElectionType != typeUnclean {
		return nil, refuse(kerr.InvalidRequest, "Unknown election type %d", req.ElectionType)
	}
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	result := func(out *kmsg.ElectLeadersResponseTopic, p int32, err error) {
		code, message := codeOf(err)
		out.Partitions = append(out.Partitions, kmsg.ElectLeadersResponseTopicPartition{Partition: p, ErrorCode: code, ErrorMessage: message})
	}
	if req.Topics == nil {
		for t := range c.topics() {
			out := kmsg.NewElectLeadersResponseTopic()
			out.Topic = t.Name
			for i := range t.Partitions {
				id := int32(i)
				if len(op.records) > MaxRecordsPerOperation {
					return nil, excessive()
				}
				err := c.electLeader(op, t, id, req.ElectionType)
				if code, _ := codeOf(err); code != kerr.ElectionNotNeeded.Code {
					result(&out, id, err)
				}
			}
			resp.Topics = append(resp.Topics, out)
		}
		return resp, nil
	}
	for i := range req.Topics {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = req.Topics[i].Topic
		t := c.topic(out.Topic)
		for _, id := range req.Topics[i].Partitions {
			var err error
			if t == nil {
				err = refuse(kerr.UnknownTopicOrPartition, "No such topic as %s", out.Topic)
			} else {
				err = c.electLeader(op, t, id, req.ElectionType)
			}
			if len(op.records) > MaxRecordsPerOperation {
				return nil, excessive()
			}
			result(&out, id, err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

func (c *Controller) electLeader(op *operation, t *topic, id int32, kind int8) error {
	p := c.partitionOf(t, id)
	switch {
	case p == nil:
		return refuse(kerr.UnknownTopicOrPartition, "No such partition as %s-%d", t.Name, id)
	case kind == typePreferred && len(p.Replicas) > 0 && p.Leader == p.Replicas[0], kind == typeUnclean && p.Leader != noLeader:
		return refuse(kerr.ElectionNotNeeded, "Leader election not needed for topic partition.")
	}
	ch := c.change(t, partitionKey{t.ID, id}, p)
	ch.election = electPreferred
	if kind == typeUnclean {
		ch.election = electUnclean
	}
	r := ch.record()
	switch {
	case r != nil:
		op.add(r)
		return nil
	case kind == typePreferred:
		return refuse(kerr.PreferredLeaderNotAvailable, "The preferred leader was not available.")
	}
	return refuse(kerr.EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.")
}

// balanceLeaders gives leadership back to the first replicas that are in their ISR again. It tells whether it stopped
// with more to do.
func (c *Controller) balanceLeaders(op *operation) (more bool) {
	return c.electEach(op, c.state.index.imbalanced, func(*topic) bool { return true }, typePreferred)
}

// electUncleanLeaders brings partitions without a leader back at the price of data, where their topics allow it.
func (c *Controller) electUncleanLeaders(op *operation) (more bool) {
	return c.electEach(op, c.state.index.leaderless, c.uncleanElection, typeUnclean)
}

func (c *Controller) electEach(op *operation, partitions *partitionSet, allowed func(*topic) bool, kind int8) bool {
	elected := 0
	partitions.Scan(func(key partitionKey) bool {
		t := c.topicByID(key.topic)
		if allowed(t) && c.electLeader(op, t, key.partition, kind) == nil {
			elected++
		}
		return elected < maxElectionsPerCheck
	})
	return elected >= maxElectionsPerCheck
}

// effectiveMinISR is min.insync.replicas of a topic, but never more than it has replicas.
func (c *Controller) effectiveMinISR(t *topic) int {
	n := parseMinISR(c.topicConfig(t.Name, configMinInSync))
	if p := c.partitionOf(t, 0); p != nil {
		n = min(n, len(p.Replicas))
	}
	return n
}

func (c *Controller) uncleanElection(t *topic) bool {
	return c.topicConfig(t.Name, configUncleanLeaderElection) == "true"
}
