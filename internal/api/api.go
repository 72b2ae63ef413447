// Package api answers Kafka's requests on a broker's listener: decode, validate, authorise, call, encode. Each API has a
// file of its own, named by its key. Nothing is decided here that outlives a request.
//
// A handler gets the decoded request and answers it now (server.Done), or has given it its place in a log or a queue
// and answers later (server.Parked), or waits for something that has no place yet (server.Hold): see package server.
//
// Requests that change metadata go to the controller, wherever it is; requests of groups go to the coordinator's host.
// Both take kmsg requests and give kmsg responses, so those files are short.
package api

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/coordinator"
	"github.com/klamm-io/klamm/internal/fetch"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/replica"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/share"
	"github.com/klamm-io/klamm/internal/wire"
)

// Controller takes a request to the active controller. reply gets the response when it is committed, on another
// goroutine, and must not block.
type Controller interface {
	Request(client machine.Client, req kmsg.Request, reply func(kmsg.Response))
}

// Quorum tells about the metadata quorum.
type Quorum interface {
	DescribeQuorum(req *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse
	Controller() int32 // the active controller's id, -1 if unknown
	KRaftVersion() int16
}

// Directories tells about this broker's log directories, and has replicas move between them.
type Directories interface {
	DescribeLogDirs(req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse
	AlterReplicaLogDirs(req *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse
}

// Config is what a Handler works with. All fields are needed.
type Config struct {
	NodeID       int32
	ClusterID    string
	Image        func() *metadata.Image
	Controller   Controller
	Quorum       Quorum
	Directories  Directories
	Replicas     *replica.Set
	Sessions     *fetch.Cache
	Groups       *coordinator.Host // on __consumer_offsets
	Transactions *coordinator.Host // on __transaction_state
	Shares       *coordinator.Host // on __share_group_state
	// SharePartitions are those that this node leads.
	SharePartitions *share.Set
	ProducerIDs     *ProducerIDs
	// Settings are the node's configuration with its dynamic values, as of now.
	Settings func() config.Values
	Layers   func() config.Layers
	Now      func() time.Time
	Logger   *slog.Logger
}

// Handler serves the broker's listeners.
type Handler struct {
	Config
	topics creating
}

// New makes a handler.
func New(c Config) *Handler { return &Handler{Config: c} }

// call is one request being answered.
type call struct {
	*server.Call
	h    *Handler
	news replica.News // of a Produce
}

// reply answers with a message.
func (c *call) reply(resp kmsg.Response) server.Outcome {
	c.Reply(wire.Encode(c.Header.Key, c.Header.Version, c.Header.CorrelationID, resp))
	return server.Done
}

// client is who sent the request, as machines want to know it.
func (c *call) client() machine.Client {
	m := machine.Client{Host: host(c.Conn.RemoteAddr().String()), Principal: "User:ANONYMOUS", Listener: c.Conn.Listener(), Connection: c.Conn.ID()}
	if c.Header.ClientID != nil {
		m.ID = *c.Header.ClientID
	}
	return m
}

// forward lets the controller answer.
func (c *call) forward(req kmsg.Request) server.Outcome {
	c.h.Controller.Request(c.client(), req, func(resp kmsg.Response) { c.reply(resp) })
	return server.Hold
}

// Serve implements server.Handler.
func (h *Handler) Serve(sc *server.Call) server.Outcome {
	c := &call{Call: sc, h: h}
	switch req := sc.Request.(type) {
	case nil:
		return h.unsupportedVersions(c)
	case *kmsg.ProduceRequest:
		return h.produce(c, req)
	case *kmsg.FetchRequest:
		return h.fetch(c, req)
	case *kmsg.ListOffsetsRequest:
		return h.listOffsets(c, req)
	case *kmsg.MetadataRequest:
		return h.metadata(c, req)
	case *kmsg.OffsetCommitRequest:
		return h.offsetCommit(c, req)
	case *kmsg.OffsetFetchRequest:
		return h.offsetFetch(c, req)
	case *kmsg.FindCoordinatorRequest:
		return h.findCoordinator(c, req)
	case *kmsg.JoinGroupRequest:
		return h.joinGroup(c, req)
	case *kmsg.HeartbeatRequest:
		return h.heartbeat(c, req)
	case *kmsg.LeaveGroupRequest:
		return h.leaveGroup(c, req)
	case *kmsg.SyncGroupRequest:
		return h.syncGroup(c, req)
	case *kmsg.DescribeGroupsRequest:
		return h.describeGroups(c, req)
	case *kmsg.ListGroupsRequest:
		return h.listGroups(c, req)
	case *kmsg.ApiVersionsRequest:
		return h.apiVersions(c, req)
	case *kmsg.CreateTopicsRequest:
		return h.createTopics(c, req)
	case *kmsg.DeleteTopicsRequest:
		return h.deleteTopics(c, req)
	case *kmsg.DeleteRecordsRequest:
		return h.deleteRecords(c, req)
	case *kmsg.InitProducerIDRequest:
		return h.initProducerID(c, req)
	case *kmsg.AddPartitionsToTxnRequest:
		return h.addPartitionsToTxn(c, req)
	case *kmsg.AddOffsetsToTxnRequest:
		return h.addOffsetsToTxn(c, req)
	case *kmsg.EndTxnRequest:
		return h.endTxn(c, req)
	case *kmsg.WriteTxnMarkersRequest:
		return h.writeTxnMarkers(c, req)
	case *kmsg.TxnOffsetCommitRequest:
		return h.txnOffsetCommit(c, req)
	case *kmsg.DescribeTransactionsRequest:
		return h.describeTransactions(c, req)
	case *kmsg.ListTransactionsRequest:
		return h.listTransactions(c, req)
	case *kmsg.OffsetForLeaderEpochRequest:
		return h.offsetForLeaderEpoch(c, req)
	case *kmsg.DescribeConfigsRequest:
		return h.describeConfigs(c, req)
	case *kmsg.AlterConfigsRequest:
		return h.alterConfigs(c, req)
	case *kmsg.AlterReplicaLogDirsRequest:
		return h.alterReplicaLogDirs(c, req)
	case *kmsg.DescribeLogDirsRequest:
		return h.describeLogDirs(c, req)
	case *kmsg.CreatePartitionsRequest:
		return h.createPartitions(c, req)
	case *kmsg.DeleteGroupsRequest:
		return h.deleteGroups(c, req)
	case *kmsg.ElectLeadersRequest:
		return h.electLeaders(c, req)
	case *kmsg.IncrementalAlterConfigsRequest:
		return h.incrementalAlterConfigs(c, req)
	case *kmsg.AlterPartitionAssignmentsRequest:
		return h.alterPartitionReassignments(c, req)
	case *kmsg.ListPartitionReassignmentsRequest:
		return h.listPartitionReassignments(c, req)
	case *kmsg.OffsetDeleteRequest:
		return h.offsetDelete(c, req)
	case *kmsg.DescribeQuorumRequest:
		return h.describeQuorum(c, req)
	case *kmsg.UpdateFeaturesRequest:
		return h.updateFeatures(c, req)
	case *kmsg.DescribeClusterRequest:
		return h.describeCluster(c, req)
	case *kmsg.DescribeProducersRequest:
		return h.describeProducers(c, req)
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return h.consumerGroupHeartbeat(c, req)
	case *kmsg.ConsumerGroupDescribeRequest:
		return h.consumerGroupDescribe(c, req)
	case *kmsg.StreamsGroupHeartbeatRequest:
		return h.streamsGroupHeartbeat(c, req)
	case *kmsg.StreamsGroupDescribeRequest:
		return h.streamsGroupDescribe(c, req)
	case *kmsg.ShareGroupHeartbeatRequest:
		return h.shareGroupHeartbeat(c, req)
	case *kmsg.ShareGroupDescribeRequest:
		return h.shareGroupDescribe(c, req)
	case *kmsg.DescribeShareGroupOffsetsRequest:
		return h.describeShareGroupOffsets(c, req)
	case *kmsg.AlterShareGroupOffsetsRequest:
		return h.alterShareGroupOffsets(c, req)
	case *kmsg.DeleteShareGroupOffsetsRequest:
		return h.deleteShareGroupOffsets(c, req)
	case *kmsg.ShareFetchRequest:
		return h.shareFetch(c, req)
	case *kmsg.ShareAcknowledgeRequest:
		return h.shareAcknowledge(c, req)
	case *kmsg.InitializeShareGroupStateRequest:
		return h.initializeShareGroupState(c, req)
	case *kmsg.ReadShareGroupStateRequest:
		return h.readShareGroupState(c, req)
	case *kmsg.WriteShareGroupStateRequest:
		return h.writeShareGroupState(c, req)
	case *kmsg.DeleteShareGroupStateRequest:
		return h.deleteShareGroupState(c, req)
	case *kmsg.ReadShareGroupStateSummaryRequest:
		return h.readShareGroupStateSummary(c, req)
	case *kmsg.ListConfigResourcesRequest:
		return h.listConfigResources(c, req)
	case *kmsg.DescribeTopicPartitionsRequest:
		return h.describeTopicPartitions(c, req)
	}
	// The table of APIs and this switch disagree: a test holds them together.
	c.Close(errNotServed)
	return server.Done
}
