package api

import (
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/server"
)

// Bits of AclOperation for an answer's authorized operations when nothing is forbidden.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)

// Metadata: v0-13
//
// Behaviour:
//   - Null topics are all topics, none are none; in v0 none are all (DETAILS 8).
//   - An unknown topic that may be created is created, and answered with an error now: the next request finds it.
//     A name that may not be is INVALID_TOPIC_EXCEPTION.
//   - Only brokers that are not fenced and have this connection's listener are named.
//   - The controller is any broker that takes a controller's requests: they all forward (KIP-590).
//
// Version notes:
//   - v1: racks, controller, internal. v2: cluster id. v4: auto-creation is asked for. v5: offline replicas. v7: leader
//     epoch. v8: authorized operations. v10: topic ids. v12: topics by id. v13: top-level error.
func (h *Handler) metadata(c *call, req *kmsg.MetadataRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	image := h.Image()
	listener := c.Conn.Listener()
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	for _, t := range req.Topics {
		if req.Version < 12 && req.Version >= 10 && (t.Topic == nil || t.TopicID != schema.ZeroUUID) {
			return h.metadataInvalid(c, req, resp)
		}
	}
	for b := range image.Brokers() {
		if e, ok := b.Endpoint(listener); ok && !b.Fenced {
			resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: b.ID, Host: e.Host, Port: int32(e.Port), Rack: b.Rack})
		}
	}
	cluster := h.ClusterID
	resp.ClusterID, resp.ControllerID = &cluster, h.anyBroker(resp.Brokers)
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	create := req.Version < 4 || req.AllowAutoTopicCreation
	if all {
		for t := range image.Topics() {
			resp.Topics = append(resp.Topics, h.topicMetadata(req, image, t, listener))
		}
		return c.reply(resp)
	}
	for _, want := range req.Topics {
		if t, ok := find(image, want.Topic, want.TopicID); ok {
			resp.Topics = append(resp.Topics, h.topicMetadata(req, image, t, listener))
			continue
		}
		answer := kmsg.NewMetadataResponseTopic()
		answer.Topic, answer.TopicID = want.Topic, want.TopicID
		switch {
		case want.Topic == nil:
			answer.ErrorCode = kerr.UnknownTopicID.Code
		case create && h.Settings().Bool("auto.create.topics.enable"):
			answer.IsInternal = internal(*want.Topic)
			answer.ErrorCode = h.autoCreate(c, *want.Topic)
		case invalidName(*want.Topic):
			answer.ErrorCode = kerr.InvalidTopicException.Code
		default:
			answer.ErrorCode = kerr.UnknownTopicOrPartition.Code
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return c.reply(resp)
}

// metadataInvalid answers topics by id or without a name in versions that have ids only in answers.
func (h *Handler) metadataInvalid(c *call, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) server.Outcome {
	empty := ""
	for _, t := range req.Topics {
		answer := kmsg.NewMetadataResponseTopic()
		answer.Topic, answer.TopicID, answer.ErrorCode = t.Topic, t.TopicID, kerr.InvalidRequest.Code
		if answer.Topic == nil {
			answer.Topic = &empty
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return c.reply(resp)
}

func (h *Handler) anyBroker(brokers []kmsg.MetadataResponseBroker) int32 {
	for _, b := range brokers {
		if b.NodeID == h.NodeID {
			return b.NodeID
		}
	}
	if len(brokers) > 0 {
		return brokers[0].NodeID
	}
	return -1
}

func find(image *metadata.Image, name *string, id schema.UUID) (*metadata.Topic, bool) {
	if id != schema.ZeroUUID {
		return image.TopicByID(id)
	}
	if name == nil {
		return nil, false
	}
	return image.Topic(*name)
}

func (h *Handler) topicMetadata(req *kmsg.MetadataRequest, image *metadata.Image, t *metadata.Topic, listener string) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, internal(t.Name)
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i, p := range t.Partitions {
		m := &out.Partitions[i]
		*m = kmsg.NewMetadataResponseTopicPartition()
		m.Partition, m.Leader, m.LeaderEpoch, m.Replicas, m.ISR = int32(i), p.Leader, p.LeaderEpoch, p.Replicas, p.ISR
		m.OfflineReplicas = offline(image, p)
		if _, code := leaderEndpoint(image, p.Leader, listener); code != 0 {
			m.ErrorCode, m.Leader = code, -1
		}
	}
	return out
}

// leaderEndpoint is where a partition's leader listens for this client.
func leaderEndpoint(image *metadata.Image, leader int32, listener string) (metadata.Endpoint, int16) {
	b, ok := image.Broker(leader)
	if !ok || b.Fenced {
		return metadata.Endpoint{}, kerr.LeaderNotAvailable.Code
	}
	e, ok := b.Endpoint(listener)
	if !ok {
		return e, kerr.ListenerNotFound.Code
	}
	return e, 0
}

// offline lists the replicas on brokers that are fenced or gone, and those in directories that are offline.
func offline(image *metadata.Image, p *metadata.Partition) []int32 {
	var out []int32
	for _, id := range p.Replicas {
		b, ok := image.Broker(id)
		dir, known := p.Directory(id)
		if !ok || b.Fenced || known && !b.HasOnline(dir) {
			out = append(out, id)
		}
	}
	return out
}

// invalidName says what Kafka forbids in a topic's name (DETAILS 9).
func invalidName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return true
	}
	return strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	})
}

// creating holds the topics whose automatic creation is under way, so that a client that asks again and again asks
// the controller once.
type creating struct {
	mu    sync.Mutex // guards names
	names map[string]bool
}

// begin says whether the caller is the one who creates the topic.
func (a *creating) begin(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names[name] || len(a.names) >= 10_000 {
		return false
	}
	if a.names == nil {
		a.names = map[string]bool{}
	}
	a.names[name] = true
	return true
}

func (a *creating) end(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names, name)
}

// autoCreate asks the controller for a topic and answers what the client gets meanwhile.
func (h *Handler) autoCreate(c *call, name string) int16 {
	if invalidName(name) {
		return kerr.InvalidTopicException.Code
	}
	h.createTopic(c.client(), name, nil)
	return kerr.UnknownTopicOrPartition.Code
}

// createTopic creates a topic with its defaults; then, if it is not nil, runs when it is there or has failed.
func (h *Handler) createTopic(client machine.Client, name string, then func()) {
	if !h.topics.begin(name) {
		if then != nil {
			then()
		}
		return
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 30_000
	req.Topics = append(req.Topics, h.newTopic(name))
	h.Controller.Request(client, req, func(resp kmsg.Response) {
		h.topics.end(name)
		if r, ok := resp.(*kmsg.CreateTopicsResponse); ok && len(r.Topics) == 1 {
			if code := r.Topics[0].ErrorCode; code != 0 && code != kerr.TopicAlreadyExists.Code {
				h.Logger.Warn("a topic could not be created automatically", "topic", name, "error", kerr.ErrorForCode(code), "message", r.Topics[0].ErrorMessage)
			}
		}
		if then != nil {
			then()
		}
	})
}

// newTopic gives the internal topics what their coordinators need, and others the defaults (partitions and factor -1).
func (h *Handler) newTopic(name string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
	s := h.Settings()
	set := func(k, v string) {
		e := kmsg.NewCreateTopicsRequestTopicConfig()
		e.Name, e.Value = k, &v
		t.Configs = append(t.Configs, e)
	}
	number := func(k string) string { v, _ := s.Text(k); return v }
	switch name {
	case "__consumer_offsets":
		t.NumPartitions, t.ReplicationFactor = int32(s.Int("offsets.topic.num.partitions")), int16(s.Int("offsets.topic.replication.factor"))
		set("cleanup.policy", "compact")
		set("compression.type", "producer")
		set("segment.bytes", number("offsets.topic.segment.bytes"))
	case "__transaction_state":
		t.NumPartitions, t.ReplicationFactor = int32(s.Int("transaction.state.log.num.partitions")), int16(s.Int("transaction.state.log.replication.factor"))
		set("unclean.leader.election.enable", "false")
		set("compression.type", "uncompressed")
		set("cleanup.policy", "compact")
		set("min.insync.replicas", number("transaction.state.log.min.isr"))
		set("segment.bytes", number("transaction.state.log.segment.bytes"))
	case shareStateTopic:
		t.NumPartitions, t.ReplicationFactor = int32(s.Int("share.coordinator.state.topic.num.partitions")), int16(s.Int("share.coordinator.state.topic.replication.factor"))
		set("cleanup.policy", "delete")
		set("compression.type", "producer")
		set("segment.bytes", number("share.coordinator.state.topic.segment.bytes"))
		set("min.insync.replicas", number("share.coordinator.state.topic.min.isr"))
		set("retention.ms", "-1")
	}
	return t
}
