package wire

// API is one line of the table of Kafka's requests.
type API struct {
	Key  int16
	Name string // as in Apache's ApiKeys

	// Min and Max are the versions that Apache Kafka 4.3.1 accepts. Max < Min: Apache removed the request.
	Min, Max int16

	// FirstFlexible is the first version with compact lengths and tagged fields; beyond every version if there is none.
	FirstFlexible int16

	// Broker and Controller say on which kind of listener the request is allowed.
	Broker, Controller bool

	// Absent says why the request is not served here (yet); empty if it is served.
	Absent string

	// MaxFrame bounds the frame in bytes, before it is read; 0 = socket.request.max.bytes alone.
	MaxFrame int

	// ClusterAction marks what only nodes of the cluster may ask for.
	ClusterAction bool
}

// Keys that this package and its users name.
const (
	KeyProduce            = 0
	KeyFetch              = 1
	KeyControlledShutdown = 7
	KeyApiVersions        = 18
)

// never is the first flexible version of a request that has none.
const never = 1<<15 - 1

// Why a request is not served. The text is for people: it stands in the log when a client asks all the same.
const (
	removed     = "removed in Apache Kafka 4.0 with ZooKeeper"
	later       = "newer than Apache Kafka 4.3"
	shareGroups = "comes with share groups (KIP-932)"
	security    = "security comes later"
	sasl        = "no SASL listener yet"
	quotas      = "quotas come later"
	cluster     = "needs a cluster of several nodes"
	telemetry   = "no receiver of client metrics is configured (KIP-714)"
)

// Bounds of frames, in bytes. Small is for requests without lists of topics or members: a few strings of at most
// 32 KiB each. Large is a request over a hundred thousand partitions, or a group's assignment that still fits into
// the record that keeps it. SASL is the default of sasl.server.max.receive.size.
const (
	frameSmall = 256 << 10
	frameLarge = 8 << 20
	frameSASL  = 512 << 10
)

var apis = [...]API{
	{Key: 0, Name: "Produce", Min: 3, Max: 13, FirstFlexible: 9, Broker: true},
	{Key: 1, Name: "Fetch", Min: 4, Max: 18, FirstFlexible: 12, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 2, Name: "ListOffsets", Min: 1, Max: 11, FirstFlexible: 6, Broker: true, MaxFrame: frameLarge},
	{Key: 3, Name: "Metadata", Min: 0, Max: 13, FirstFlexible: 9, Broker: true, MaxFrame: frameLarge},
	{Key: 4, Name: "LeaderAndIsr", Min: 0, Max: -1, FirstFlexible: never, ClusterAction: true, Absent: removed},
	{Key: 5, Name: "StopReplica", Min: 0, Max: -1, FirstFlexible: never, ClusterAction: true, Absent: removed},
	{Key: 6, Name: "UpdateMetadata", Min: 0, Max: -1, FirstFlexible: never, ClusterAction: true, Absent: removed},
	{Key: 7, Name: "ControlledShutdown", Min: 0, Max: -1, FirstFlexible: never, ClusterAction: true, Absent: removed},
	{Key: 8, Name: "OffsetCommit", Min: 2, Max: 10, FirstFlexible: 8, Broker: true, MaxFrame: frameLarge},
	{Key: 9, Name: "OffsetFetch", Min: 1, Max: 10, FirstFlexible: 6, Broker: true, MaxFrame: frameLarge},
	{Key: 10, Name: "FindCoordinator", Min: 0, Max: 6, FirstFlexible: 3, Broker: true, MaxFrame: frameSmall},
	{Key: 11, Name: "JoinGroup", Min: 0, Max: 9, FirstFlexible: 6, Broker: true, MaxFrame: frameLarge},
	{Key: 12, Name: "Heartbeat", Min: 0, Max: 4, FirstFlexible: 4, Broker: true, MaxFrame: frameSmall},
	{Key: 13, Name: "LeaveGroup", Min: 0, Max: 5, FirstFlexible: 4, Broker: true, MaxFrame: frameLarge},
	{Key: 14, Name: "SyncGroup", Min: 0, Max: 5, FirstFlexible: 4, Broker: true, MaxFrame: frameLarge},
	{Key: 15, Name: "DescribeGroups", Min: 0, Max: 6, FirstFlexible: 5, Broker: true, MaxFrame: frameLarge},
	{Key: 16, Name: "ListGroups", Min: 0, Max: 5, FirstFlexible: 3, Broker: true, MaxFrame: frameSmall},
	{Key: 17, Name: "SaslHandshake", Min: 0, Max: 1, FirstFlexible: never, Broker: true, Controller: true, Absent: sasl, MaxFrame: frameSmall},
	{Key: 18, Name: "ApiVersions", Min: 0, Max: 4, FirstFlexible: 3, Broker: true, Controller: true, MaxFrame: frameSmall},
	{Key: 19, Name: "CreateTopics", Min: 2, Max: 7, FirstFlexible: 5, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 20, Name: "DeleteTopics", Min: 1, Max: 6, FirstFlexible: 4, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 21, Name: "DeleteRecords", Min: 0, Max: 2, FirstFlexible: 2, Broker: true, MaxFrame: frameLarge},
	{Key: 22, Name: "InitProducerId", Min: 0, Max: 5, FirstFlexible: 2, Broker: true, MaxFrame: frameSmall},
	{Key: 23, Name: "OffsetForLeaderEpoch", Min: 2, Max: 4, FirstFlexible: 4, Broker: true, MaxFrame: frameLarge},
	{Key: 24, Name: "AddPartitionsToTxn", Min: 0, Max: 5, FirstFlexible: 3, Broker: true, MaxFrame: frameLarge},
	{Key: 25, Name: "AddOffsetsToTxn", Min: 0, Max: 4, FirstFlexible: 3, Broker: true, MaxFrame: frameSmall},
	{Key: 26, Name: "EndTxn", Min: 0, Max: 5, FirstFlexible: 3, Broker: true, MaxFrame: frameSmall},
	{Key: 27, Name: "WriteTxnMarkers", Min: 1, Max: 2, FirstFlexible: 1, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 28, Name: "TxnOffsetCommit", Min: 0, Max: 5, FirstFlexible: 3, Broker: true, MaxFrame: frameLarge},
	{Key: 29, Name: "DescribeAcls", Min: 1, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameSmall},
	{Key: 30, Name: "CreateAcls", Min: 1, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 31, Name: "DeleteAcls", Min: 1, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 32, Name: "DescribeConfigs", Min: 1, Max: 4, FirstFlexible: 4, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 33, Name: "AlterConfigs", Min: 0, Max: 2, FirstFlexible: 2, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 34, Name: "AlterReplicaLogDirs", Min: 1, Max: 2, FirstFlexible: 2, Broker: true, MaxFrame: frameLarge},
	{Key: 35, Name: "DescribeLogDirs", Min: 1, Max: 5, FirstFlexible: 2, Broker: true, MaxFrame: frameLarge},
	{Key: 36, Name: "SaslAuthenticate", Min: 0, Max: 2, FirstFlexible: 2, Broker: true, Controller: true, Absent: sasl, MaxFrame: frameSASL},
	{Key: 37, Name: "CreatePartitions", Min: 0, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 38, Name: "CreateDelegationToken", Min: 1, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 39, Name: "RenewDelegationToken", Min: 1, Max: 2, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameSmall},
	{Key: 40, Name: "ExpireDelegationToken", Min: 1, Max: 2, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameSmall},
	{Key: 41, Name: "DescribeDelegationToken", Min: 1, Max: 3, FirstFlexible: 2, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 42, Name: "DeleteGroups", Min: 0, Max: 2, FirstFlexible: 2, Broker: true, MaxFrame: frameLarge},
	{Key: 43, Name: "ElectLeaders", Min: 0, Max: 2, FirstFlexible: 2, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 44, Name: "IncrementalAlterConfigs", Min: 0, Max: 1, FirstFlexible: 1, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 45, Name: "AlterPartitionReassignments", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 46, Name: "ListPartitionReassignments", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Controller: true, MaxFrame: frameLarge},
	{Key: 47, Name: "OffsetDelete", Min: 0, Max: 0, FirstFlexible: never, Broker: true, MaxFrame: frameLarge},
	{Key: 48, Name: "DescribeClientQuotas", Min: 0, Max: 1, FirstFlexible: 1, Broker: true, Absent: quotas, MaxFrame: frameLarge},
	{Key: 49, Name: "AlterClientQuotas", Min: 0, Max: 1, FirstFlexible: 1, Broker: true, Controller: true, Absent: quotas, MaxFrame: frameLarge},
	{Key: 50, Name: "DescribeUserScramCredentials", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 51, Name: "AlterUserScramCredentials", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Controller: true, Absent: security, MaxFrame: frameLarge},
	{Key: 52, Name: "Vote", Min: 0, Max: 2, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 53, Name: "BeginQuorumEpoch", Min: 0, Max: 1, FirstFlexible: 1, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 54, Name: "EndQuorumEpoch", Min: 0, Max: 1, FirstFlexible: 1, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 55, Name: "DescribeQuorum", Min: 0, Max: 2, FirstFlexible: 0, Broker: true, Controller: true, ClusterAction: true, MaxFrame: frameSmall},
	{Key: 56, Name: "AlterPartition", Min: 2, Max: 3, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameLarge},
	{Key: 57, Name: "UpdateFeatures", Min: 0, Max: 2, FirstFlexible: 0, Broker: true, Controller: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 58, Name: "Envelope", Min: 0, Max: 0, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameLarge},
	{Key: 59, Name: "FetchSnapshot", Min: 0, Max: 1, FirstFlexible: 0, Controller: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 60, Name: "DescribeCluster", Min: 0, Max: 2, FirstFlexible: 0, Broker: true, Controller: true, MaxFrame: frameSmall},
	{Key: 61, Name: "DescribeProducers", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 62, Name: "BrokerRegistration", Min: 0, Max: 4, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameLarge},
	{Key: 63, Name: "BrokerHeartbeat", Min: 0, Max: 2, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 64, Name: "UnregisterBroker", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Controller: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 65, Name: "DescribeTransactions", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 66, Name: "ListTransactions", Min: 0, Max: 2, FirstFlexible: 0, Broker: true, MaxFrame: frameSmall},
	{Key: 67, Name: "AllocateProducerIds", Min: 0, Max: 0, FirstFlexible: 0, Controller: true, ClusterAction: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 68, Name: "ConsumerGroupHeartbeat", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 69, Name: "ConsumerGroupDescribe", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 70, Name: "ControllerRegistration", Min: 0, Max: 0, FirstFlexible: 0, Controller: true, Absent: cluster, MaxFrame: frameLarge},
	{Key: 71, Name: "GetTelemetrySubscriptions", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Absent: telemetry, MaxFrame: frameSmall},
	{Key: 72, Name: "PushTelemetry", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Absent: telemetry, MaxFrame: frameLarge},
	{Key: 73, Name: "AssignReplicasToDirs", Min: 0, Max: 0, FirstFlexible: 0, Controller: true, Absent: cluster, MaxFrame: frameLarge},
	{Key: 74, Name: "ListConfigResources", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameSmall},
	{Key: 75, Name: "DescribeTopicPartitions", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 76, Name: "ShareGroupHeartbeat", Min: 1, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 77, Name: "ShareGroupDescribe", Min: 1, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 78, Name: "ShareFetch", Min: 1, Max: 2, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 79, Name: "ShareAcknowledge", Min: 1, Max: 2, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 80, Name: "AddRaftVoter", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, Controller: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 81, Name: "RemoveRaftVoter", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, Controller: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 82, Name: "UpdateRaftVoter", Min: 0, Max: 0, FirstFlexible: 0, Controller: true, Absent: cluster, MaxFrame: frameSmall},
	{Key: 83, Name: "InitializeShareGroupState", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 84, Name: "ReadShareGroupState", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 85, Name: "WriteShareGroupState", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 86, Name: "DeleteShareGroupState", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 87, Name: "ReadShareGroupStateSummary", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, ClusterAction: true, MaxFrame: frameLarge},
	{Key: 88, Name: "StreamsGroupHeartbeat", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 89, Name: "StreamsGroupDescribe", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 90, Name: "DescribeShareGroupOffsets", Min: 0, Max: 1, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 91, Name: "AlterShareGroupOffsets", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 92, Name: "DeleteShareGroupOffsets", Min: 0, Max: 0, FirstFlexible: 0, Broker: true, MaxFrame: frameLarge},
	{Key: 93, Name: "StreamsGroupTopologyDescriptionUpdate", Min: 0, Max: -1, FirstFlexible: never, Absent: later},
	{Key: 94, Name: "UnregisterController", Min: 0, Max: -1, FirstFlexible: never, Absent: later},
}

// APIs gives the whole table, sorted by key.
func APIs() []API {
	all := apis
	return all[:]
}

// Lookup finds a key in the table.
func Lookup(key int16) (API, bool) {
	if key < 0 || int(key) >= len(apis) {
		return API{}, false
	}
	return apis[key], true
}

// Served reports whether this node answers the request at all.
func (a API) Served() bool { return a.Absent == "" }

// Accepts reports whether a version is served. ApiVersions must be answered in every version, if only with
// UNSUPPORTED_VERSION; Accepts tells whether its body can be read.
func (a API) Accepts(version int16) bool { return version >= a.Min && version <= a.Max }

// Advertised gives the versions to announce in ApiVersions on a broker's or a controller's listener; ok is false for
// a request that is not served there. Brokers announce Produce from version 0 although 0 to 2 are refused, as Apache
// does: librdkafka takes a higher minimum for a broker without any Produce (KAFKA-18659).
func (a API) Advertised(controller bool) (min, max int16, ok bool) {
	if !a.Served() || controller && !a.Controller || !controller && !a.Broker {
		return 0, 0, false
	}
	if a.Key == KeyProduce {
		return 0, a.Max, true
	}
	return a.Min, a.Max, true
}

func (a API) flexible(version int16) bool { return version >= a.FirstFlexible }
