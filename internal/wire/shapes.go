package wire

// kind is how a field stands on the wire. The values of fixed-size kinds are their sizes in bytes.
type kind uint8

const (
	b1  kind = 1 // bool, int8
	b2  kind = 2
	b4  kind = 4
	b8  kind = 8
	b16 kind = 16 // uuid

	str   kind = 32 + iota // string
	byt                    // bytes and records: kmsg lets them alias the frame
	array                  // elem says of what
	group                  // fields, one after another
)

// field is one field of a request in the versions that Apache Kafka 4.3.1 accepts. A version bound that is zero
// binds nothing.
type field struct {
	name     string
	kind     kind
	elem     kind // of an array
	min, max int16
	null     bool  // may be null, from nullMin on
	nullMin  int16 //
	tag      uint8 // 1 + number of a tagged field; 0 = not tagged
	last0    bool  // only in version 0, which max cannot say
	fields   []field
}

func (f *field) in(version int16) bool {
	return version >= f.min && (f.max == 0 || version <= f.max) && (!f.last0 || version == 0)
}

// shapes are the bodies of all requests by key; a request that Apache removed has none.
var shapes = [len(apis)][]field{
	0: { // Produce
		{name: "TransactionalId", kind: str, null: true},
		{name: "Acks", kind: b2},
		{name: "TimeoutMs", kind: b4},
		{name: "TopicData", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str, max: 12},
			{name: "TopicId", kind: b16, min: 13},
			{name: "PartitionData", kind: array, elem: group, fields: []field{
				{name: "Index", kind: b4},
				{name: "Records", kind: byt, null: true},
			}},
		}},
	},
	1: { // Fetch
		{name: "ClusterId", kind: str, min: 12, null: true, tag: 1},
		{name: "ReplicaId", kind: b4, max: 14},
		{name: "ReplicaState", kind: group, min: 15, tag: 2, fields: []field{
			{name: "ReplicaId", kind: b4, min: 15},
			{name: "ReplicaEpoch", kind: b8, min: 15},
		}},
		{name: "MaxWaitMs", kind: b4},
		{name: "MinBytes", kind: b4},
		{name: "MaxBytes", kind: b4},
		{name: "IsolationLevel", kind: b1},
		{name: "SessionId", kind: b4, min: 7},
		{name: "SessionEpoch", kind: b4, min: 7},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Topic", kind: str, max: 12},
			{name: "TopicId", kind: b16, min: 13},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "CurrentLeaderEpoch", kind: b4, min: 9},
				{name: "FetchOffset", kind: b8},
				{name: "LastFetchedEpoch", kind: b4, min: 12},
				{name: "LogStartOffset", kind: b8, min: 5},
				{name: "PartitionMaxBytes", kind: b4},
				{name: "ReplicaDirectoryId", kind: b16, min: 17, tag: 1},
				{name: "HighWatermark", kind: b8, min: 18, tag: 2},
			}},
		}},
		{name: "ForgottenTopicsData", kind: array, elem: group, min: 7, fields: []field{
			{name: "Topic", kind: str, min: 7, max: 12},
			{name: "TopicId", kind: b16, min: 13},
			{name: "Partitions", kind: array, elem: b4, min: 7},
		}},
		{name: "RackId", kind: str, min: 11},
	},
	2: { // ListOffsets
		{name: "ReplicaId", kind: b4},
		{name: "IsolationLevel", kind: b1, min: 2},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "CurrentLeaderEpoch", kind: b4, min: 4},
				{name: "Timestamp", kind: b8},
			}},
		}},
		{name: "TimeoutMs", kind: b4, min: 10},
	},
	3: { // Metadata
		{name: "Topics", kind: array, elem: group, null: true, nullMin: 1, fields: []field{
			{name: "TopicId", kind: b16, min: 10},
			{name: "Name", kind: str, null: true, nullMin: 10},
		}},
		{name: "AllowAutoTopicCreation", kind: b1, min: 4},
		{name: "IncludeClusterAuthorizedOperations", kind: b1, min: 8, max: 10},
		{name: "IncludeTopicAuthorizedOperations", kind: b1, min: 8},
	},
	8: { // OffsetCommit
		{name: "GroupId", kind: str},
		{name: "GenerationIdOrMemberEpoch", kind: b4},
		{name: "MemberId", kind: str},
		{name: "GroupInstanceId", kind: str, min: 7, null: true},
		{name: "RetentionTimeMs", kind: b8, max: 4},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str, max: 9},
			{name: "TopicId", kind: b16, min: 10},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "CommittedOffset", kind: b8},
				{name: "CommittedLeaderEpoch", kind: b4, min: 6},
				{name: "CommittedMetadata", kind: str, null: true},
			}},
		}},
	},
	9: { // OffsetFetch
		{name: "GroupId", kind: str, max: 7},
		{name: "Topics", kind: array, elem: group, max: 7, null: true, nullMin: 2, fields: []field{
			{name: "Name", kind: str, max: 7},
			{name: "PartitionIndexes", kind: array, elem: b4, max: 7},
		}},
		{name: "Groups", kind: array, elem: group, min: 8, fields: []field{
			{name: "GroupId", kind: str, min: 8},
			{name: "MemberId", kind: str, min: 9, null: true},
			{name: "MemberEpoch", kind: b4, min: 9},
			{name: "Topics", kind: array, elem: group, min: 8, null: true, fields: []field{
				{name: "Name", kind: str, min: 8, max: 9},
				{name: "TopicId", kind: b16, min: 10},
				{name: "PartitionIndexes", kind: array, elem: b4, min: 8},
			}},
		}},
		{name: "RequireStable", kind: b1, min: 7},
	},
	10: { // FindCoordinator
		{name: "Key", kind: str, max: 3},
		{name: "KeyType", kind: b1, min: 1},
		{name: "CoordinatorKeys", kind: array, elem: str, min: 4},
	},
	11: { // JoinGroup
		{name: "GroupId", kind: str},
		{name: "SessionTimeoutMs", kind: b4},
		{name: "RebalanceTimeoutMs", kind: b4, min: 1},
		{name: "MemberId", kind: str},
		{name: "GroupInstanceId", kind: str, min: 5, null: true},
		{name: "ProtocolType", kind: str},
		{name: "Protocols", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Metadata", kind: byt},
		}},
		{name: "Reason", kind: str, min: 8, null: true},
	},
	12: { // Heartbeat
		{name: "GroupId", kind: str},
		{name: "GenerationId", kind: b4},
		{name: "MemberId", kind: str},
		{name: "GroupInstanceId", kind: str, min: 3, null: true},
	},
	13: { // LeaveGroup
		{name: "GroupId", kind: str},
		{name: "MemberId", kind: str, max: 2},
		{name: "Members", kind: array, elem: group, min: 3, fields: []field{
			{name: "MemberId", kind: str, min: 3},
			{name: "GroupInstanceId", kind: str, min: 3, null: true},
			{name: "Reason", kind: str, min: 5, null: true},
		}},
	},
	14: { // SyncGroup
		{name: "GroupId", kind: str},
		{name: "GenerationId", kind: b4},
		{name: "MemberId", kind: str},
		{name: "GroupInstanceId", kind: str, min: 3, null: true},
		{name: "ProtocolType", kind: str, min: 5, null: true},
		{name: "ProtocolName", kind: str, min: 5, null: true},
		{name: "Assignments", kind: array, elem: group, fields: []field{
			{name: "MemberId", kind: str},
			{name: "Assignment", kind: byt},
		}},
	},
	15: { // DescribeGroups
		{name: "Groups", kind: array, elem: str},
		{name: "IncludeAuthorizedOperations", kind: b1, min: 3},
	},
	16: { // ListGroups
		{name: "StatesFilter", kind: array, elem: str, min: 4},
		{name: "TypesFilter", kind: array, elem: str, min: 5},
	},
	17: { // SaslHandshake
		{name: "Mechanism", kind: str},
	},
	18: { // ApiVersions
		{name: "ClientSoftwareName", kind: str, min: 3},
		{name: "ClientSoftwareVersion", kind: str, min: 3},
	},
	19: { // CreateTopics
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "NumPartitions", kind: b4},
			{name: "ReplicationFactor", kind: b2},
			{name: "Assignments", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "BrokerIds", kind: array, elem: b4},
			}},
			{name: "Configs", kind: array, elem: group, fields: []field{
				{name: "Name", kind: str},
				{name: "Value", kind: str, null: true},
			}},
		}},
		{name: "timeoutMs", kind: b4},
		{name: "validateOnly", kind: b1},
	},
	20: { // DeleteTopics
		{name: "Topics", kind: array, elem: group, min: 6, fields: []field{
			{name: "Name", kind: str, min: 6, null: true},
			{name: "TopicId", kind: b16, min: 6},
		}},
		{name: "TopicNames", kind: array, elem: str, max: 5},
		{name: "TimeoutMs", kind: b4},
	},
	21: { // DeleteRecords
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "Offset", kind: b8},
			}},
		}},
		{name: "TimeoutMs", kind: b4},
	},
	22: { // InitProducerId
		{name: "TransactionalId", kind: str, null: true},
		{name: "TransactionTimeoutMs", kind: b4},
		{name: "ProducerId", kind: b8, min: 3},
		{name: "ProducerEpoch", kind: b2, min: 3},
		{name: "Enable2Pc", kind: b1, min: 6},
		{name: "KeepPreparedTxn", kind: b1, min: 6},
	},
	23: { // OffsetForLeaderEpoch
		{name: "ReplicaId", kind: b4, min: 3},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Topic", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "CurrentLeaderEpoch", kind: b4},
				{name: "LeaderEpoch", kind: b4},
			}},
		}},
	},
	24: { // AddPartitionsToTxn
		{name: "Transactions", kind: array, elem: group, min: 4, fields: []field{
			{name: "TransactionalId", kind: str, min: 4},
			{name: "ProducerId", kind: b8, min: 4},
			{name: "ProducerEpoch", kind: b2, min: 4},
			{name: "VerifyOnly", kind: b1, min: 4},
			{name: "Topics", kind: array, elem: group, min: 4, fields: []field{
				{name: "Name", kind: str},
				{name: "Partitions", kind: array, elem: b4},
			}},
		}},
		{name: "V3AndBelowTransactionalId", kind: str, max: 3},
		{name: "V3AndBelowProducerId", kind: b8, max: 3},
		{name: "V3AndBelowProducerEpoch", kind: b2, max: 3},
		{name: "V3AndBelowTopics", kind: array, elem: group, max: 3, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
	},
	25: { // AddOffsetsToTxn
		{name: "TransactionalId", kind: str},
		{name: "ProducerId", kind: b8},
		{name: "ProducerEpoch", kind: b2},
		{name: "GroupId", kind: str},
	},
	26: { // EndTxn
		{name: "TransactionalId", kind: str},
		{name: "ProducerId", kind: b8},
		{name: "ProducerEpoch", kind: b2},
		{name: "Committed", kind: b1},
	},
	27: { // WriteTxnMarkers
		{name: "Markers", kind: array, elem: group, fields: []field{
			{name: "ProducerId", kind: b8},
			{name: "ProducerEpoch", kind: b2},
			{name: "TransactionResult", kind: b1},
			{name: "Topics", kind: array, elem: group, fields: []field{
				{name: "Name", kind: str},
				{name: "PartitionIndexes", kind: array, elem: b4},
			}},
			{name: "CoordinatorEpoch", kind: b4},
			{name: "TransactionVersion", kind: b1, min: 2},
		}},
	},
	28: { // TxnOffsetCommit
		{name: "TransactionalId", kind: str},
		{name: "GroupId", kind: str},
		{name: "ProducerId", kind: b8},
		{name: "ProducerEpoch", kind: b2},
		{name: "GenerationId", kind: b4, min: 3},
		{name: "MemberId", kind: str, min: 3},
		{name: "GroupInstanceId", kind: str, min: 3, null: true},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "CommittedOffset", kind: b8},
				{name: "CommittedLeaderEpoch", kind: b4, min: 2},
				{name: "CommittedMetadata", kind: str, null: true},
			}},
		}},
	},
	29: { // DescribeAcls
		{name: "ResourceTypeFilter", kind: b1},
		{name: "ResourceNameFilter", kind: str, null: true},
		{name: "PatternTypeFilter", kind: b1},
		{name: "PrincipalFilter", kind: str, null: true},
		{name: "HostFilter", kind: str, null: true},
		{name: "Operation", kind: b1},
		{name: "PermissionType", kind: b1},
	},
	30: { // CreateAcls
		{name: "Creations", kind: array, elem: group, fields: []field{
			{name: "ResourceType", kind: b1},
			{name: "ResourceName", kind: str},
			{name: "ResourcePatternType", kind: b1},
			{name: "Principal", kind: str},
			{name: "Host", kind: str},
			{name: "Operation", kind: b1},
			{name: "PermissionType", kind: b1},
		}},
	},
	31: { // DeleteAcls
		{name: "Filters", kind: array, elem: group, fields: []field{
			{name: "ResourceTypeFilter", kind: b1},
			{name: "ResourceNameFilter", kind: str, null: true},
			{name: "PatternTypeFilter", kind: b1},
			{name: "PrincipalFilter", kind: str, null: true},
			{name: "HostFilter", kind: str, null: true},
			{name: "Operation", kind: b1},
			{name: "PermissionType", kind: b1},
		}},
	},
	32: { // DescribeConfigs
		{name: "Resources", kind: array, elem: group, fields: []field{
			{name: "ResourceType", kind: b1},
			{name: "ResourceName", kind: str},
			{name: "ConfigurationKeys", kind: array, elem: str, null: true},
		}},
		{name: "IncludeSynonyms", kind: b1},
		{name: "IncludeDocumentation", kind: b1, min: 3},
	},
	33: { // AlterConfigs
		{name: "Resources", kind: array, elem: group, fields: []field{
			{name: "ResourceType", kind: b1},
			{name: "ResourceName", kind: str},
			{name: "Configs", kind: array, elem: group, fields: []field{
				{name: "Name", kind: str},
				{name: "Value", kind: str, null: true},
			}},
		}},
		{name: "ValidateOnly", kind: b1},
	},
	34: { // AlterReplicaLogDirs
		{name: "Dirs", kind: array, elem: group, fields: []field{
			{name: "Path", kind: str},
			{name: "Topics", kind: array, elem: group, fields: []field{
				{name: "Name", kind: str},
				{name: "Partitions", kind: array, elem: b4},
			}},
		}},
	},
	35: { // DescribeLogDirs
		{name: "Topics", kind: array, elem: group, null: true, fields: []field{
			{name: "Topic", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
	},
	36: { // SaslAuthenticate
		{name: "AuthBytes", kind: byt},
	},
	37: { // CreatePartitions
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Count", kind: b4},
			{name: "Assignments", kind: array, elem: group, null: true, fields: []field{
				{name: "BrokerIds", kind: array, elem: b4},
			}},
		}},
		{name: "TimeoutMs", kind: b4},
		{name: "ValidateOnly", kind: b1},
	},
	38: { // CreateDelegationToken
		{name: "OwnerPrincipalType", kind: str, min: 3, null: true},
		{name: "OwnerPrincipalName", kind: str, min: 3, null: true},
		{name: "Renewers", kind: array, elem: group, fields: []field{
			{name: "PrincipalType", kind: str},
			{name: "PrincipalName", kind: str},
		}},
		{name: "MaxLifetimeMs", kind: b8},
	},
	39: { // RenewDelegationToken
		{name: "Hmac", kind: byt},
		{name: "RenewPeriodMs", kind: b8},
	},
	40: { // ExpireDelegationToken
		{name: "Hmac", kind: byt},
		{name: "ExpiryTimePeriodMs", kind: b8},
	},
	41: { // DescribeDelegationToken
		{name: "Owners", kind: array, elem: group, null: true, fields: []field{
			{name: "PrincipalType", kind: str},
			{name: "PrincipalName", kind: str},
		}},
	},
	42: { // DeleteGroups
		{name: "GroupsNames", kind: array, elem: str},
	},
	43: { // ElectLeaders
		{name: "ElectionType", kind: b1, min: 1},
		{name: "TopicPartitions", kind: array, elem: group, null: true, fields: []field{
			{name: "Topic", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
		{name: "TimeoutMs", kind: b4},
	},
	44: { // IncrementalAlterConfigs
		{name: "Resources", kind: array, elem: group, fields: []field{
			{name: "ResourceType", kind: b1},
			{name: "ResourceName", kind: str},
			{name: "Configs", kind: array, elem: group, fields: []field{
				{name: "Name", kind: str},
				{name: "ConfigOperation", kind: b1},
				{name: "Value", kind: str, null: true},
			}},
		}},
		{name: "ValidateOnly", kind: b1},
	},
	45: { // AlterPartitionReassignments
		{name: "TimeoutMs", kind: b4},
		{name: "AllowReplicationFactorChange", kind: b1, min: 1},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "Replicas", kind: array, elem: b4, null: true},
			}},
		}},
	},
	46: { // ListPartitionReassignments
		{name: "TimeoutMs", kind: b4},
		{name: "Topics", kind: array, elem: group, null: true, fields: []field{
			{name: "Name", kind: str},
			{name: "PartitionIndexes", kind: array, elem: b4},
		}},
	},
	47: { // OffsetDelete
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
			}},
		}},
	},
	48: { // DescribeClientQuotas
		{name: "Components", kind: array, elem: group, fields: []field{
			{name: "EntityType", kind: str},
			{name: "MatchType", kind: b1},
			{name: "Match", kind: str, null: true},
		}},
		{name: "Strict", kind: b1},
	},
	49: { // AlterClientQuotas
		{name: "Entries", kind: array, elem: group, fields: []field{
			{name: "Entity", kind: array, elem: group, fields: []field{
				{name: "EntityType", kind: str},
				{name: "EntityName", kind: str, null: true},
			}},
			{name: "Ops", kind: array, elem: group, fields: []field{
				{name: "Key", kind: str},
				{name: "Value", kind: b8},
				{name: "Remove", kind: b1},
			}},
		}},
		{name: "ValidateOnly", kind: b1},
	},
	50: { // DescribeUserScramCredentials
		{name: "Users", kind: array, elem: group, null: true, fields: []field{
			{name: "Name", kind: str},
		}},
	},
	51: { // AlterUserScramCredentials
		{name: "Deletions", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Mechanism", kind: b1},
		}},
		{name: "Upsertions", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Mechanism", kind: b1},
			{name: "Iterations", kind: b4},
			{name: "Salt", kind: byt},
			{name: "SaltedPassword", kind: byt},
		}},
	},
	52: { // Vote
		{name: "ClusterId", kind: str, null: true},
		{name: "VoterId", kind: b4, min: 1},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "ReplicaEpoch", kind: b4},
				{name: "ReplicaId", kind: b4},
				{name: "ReplicaDirectoryId", kind: b16, min: 1},
				{name: "VoterDirectoryId", kind: b16, min: 1},
				{name: "LastOffsetEpoch", kind: b4},
				{name: "LastOffset", kind: b8},
				{name: "PreVote", kind: b1, min: 2},
			}},
		}},
	},
	53: { // BeginQuorumEpoch
		{name: "ClusterId", kind: str, null: true},
		{name: "VoterId", kind: b4, min: 1},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "VoterDirectoryId", kind: b16, min: 1},
				{name: "LeaderId", kind: b4},
				{name: "LeaderEpoch", kind: b4},
			}},
		}},
		{name: "LeaderEndpoints", kind: array, elem: group, min: 1, fields: []field{
			{name: "Name", kind: str, min: 1},
			{name: "Host", kind: str, min: 1},
			{name: "Port", kind: b2, min: 1},
		}},
	},
	54: { // EndQuorumEpoch
		{name: "ClusterId", kind: str, null: true},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "LeaderId", kind: b4},
				{name: "LeaderEpoch", kind: b4},
				{name: "PreferredSuccessors", kind: array, elem: b4, last0: true},
				{name: "PreferredCandidates", kind: array, elem: group, min: 1, fields: []field{
					{name: "CandidateId", kind: b4, min: 1},
					{name: "CandidateDirectoryId", kind: b16, min: 1},
				}},
			}},
		}},
		{name: "LeaderEndpoints", kind: array, elem: group, min: 1, fields: []field{
			{name: "Name", kind: str, min: 1},
			{name: "Host", kind: str, min: 1},
			{name: "Port", kind: b2, min: 1},
		}},
	},
	55: { // DescribeQuorum
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
			}},
		}},
	},
	56: { // AlterPartition
		{name: "BrokerId", kind: b4},
		{name: "BrokerEpoch", kind: b8},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "LeaderEpoch", kind: b4},
				{name: "NewIsr", kind: array, elem: b4, max: 2},
				{name: "NewIsrWithEpochs", kind: array, elem: group, min: 3, fields: []field{
					{name: "BrokerId", kind: b4, min: 3},
					{name: "BrokerEpoch", kind: b8, min: 3},
				}},
				{name: "LeaderRecoveryState", kind: b1},
				{name: "PartitionEpoch", kind: b4},
			}},
		}},
	},
	57: { // UpdateFeatures
		{name: "timeoutMs", kind: b4},
		{name: "FeatureUpdates", kind: array, elem: group, fields: []field{
			{name: "Feature", kind: str},
			{name: "MaxVersionLevel", kind: b2},
			{name: "AllowDowngrade", kind: b1, last0: true},
			{name: "UpgradeType", kind: b1, min: 1},
		}},
		{name: "ValidateOnly", kind: b1, min: 1},
	},
	58: { // Envelope
		{name: "RequestData", kind: byt},
		{name: "RequestPrincipal", kind: byt, null: true},
		{name: "ClientHostAddress", kind: byt},
	},
	59: { // FetchSnapshot
		{name: "ClusterId", kind: str, null: true, tag: 1},
		{name: "ReplicaId", kind: b4},
		{name: "MaxBytes", kind: b4},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "CurrentLeaderEpoch", kind: b4},
				{name: "SnapshotId", kind: group, fields: []field{
					{name: "EndOffset", kind: b8},
					{name: "Epoch", kind: b4},
				}},
				{name: "Position", kind: b8},
				{name: "ReplicaDirectoryId", kind: b16, min: 1, tag: 1},
			}},
		}},
	},
	60: { // DescribeCluster
		{name: "IncludeClusterAuthorizedOperations", kind: b1},
		{name: "EndpointType", kind: b1, min: 1},
		{name: "IncludeFencedBrokers", kind: b1, min: 2},
	},
	61: { // DescribeProducers
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "PartitionIndexes", kind: array, elem: b4},
		}},
	},
	62: { // BrokerRegistration
		{name: "BrokerId", kind: b4},
		{name: "ClusterId", kind: str},
		{name: "IncarnationId", kind: b16},
		{name: "Listeners", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Host", kind: str},
			{name: "Port", kind: b2},
			{name: "SecurityProtocol", kind: b2},
		}},
		{name: "Features", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "MinSupportedVersion", kind: b2},
			{name: "MaxSupportedVersion", kind: b2},
		}},
		{name: "Rack", kind: str, null: true},
		{name: "IsMigratingZkBroker", kind: b1, min: 1},
		{name: "LogDirs", kind: array, elem: b16, min: 2},
		{name: "PreviousBrokerEpoch", kind: b8, min: 3},
	},
	63: { // BrokerHeartbeat
		{name: "BrokerId", kind: b4},
		{name: "BrokerEpoch", kind: b8},
		{name: "CurrentMetadataOffset", kind: b8},
		{name: "WantFence", kind: b1},
		{name: "WantShutDown", kind: b1},
		{name: "OfflineLogDirs", kind: array, elem: b16, min: 1, tag: 1},
		{name: "CordonedLogDirs", kind: array, elem: b16, min: 2, null: true, tag: 2},
	},
	64: { // UnregisterBroker
		{name: "BrokerId", kind: b4},
	},
	65: { // DescribeTransactions
		{name: "TransactionalIds", kind: array, elem: str},
	},
	66: { // ListTransactions
		{name: "StateFilters", kind: array, elem: str},
		{name: "ProducerIdFilters", kind: array, elem: b8},
		{name: "DurationFilter", kind: b8, min: 1},
		{name: "TransactionalIdPattern", kind: str, min: 2, null: true},
	},
	67: { // AllocateProducerIds
		{name: "BrokerId", kind: b4},
		{name: "BrokerEpoch", kind: b8},
	},
	68: { // ConsumerGroupHeartbeat
		{name: "GroupId", kind: str},
		{name: "MemberId", kind: str},
		{name: "MemberEpoch", kind: b4},
		{name: "InstanceId", kind: str, null: true},
		{name: "RackId", kind: str, null: true},
		{name: "RebalanceTimeoutMs", kind: b4},
		{name: "SubscribedTopicNames", kind: array, elem: str, null: true},
		{name: "SubscribedTopicRegex", kind: str, min: 1, null: true},
		{name: "ServerAssignor", kind: str, null: true},
		{name: "TopicPartitions", kind: array, elem: group, null: true, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: b4},
		}},
	},
	69: { // ConsumerGroupDescribe
		{name: "GroupIds", kind: array, elem: str},
		{name: "IncludeAuthorizedOperations", kind: b1},
	},
	70: { // ControllerRegistration
		{name: "ControllerId", kind: b4},
		{name: "IncarnationId", kind: b16},
		{name: "ZkMigrationReady", kind: b1},
		{name: "Listeners", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Host", kind: str},
			{name: "Port", kind: b2},
			{name: "SecurityProtocol", kind: b2},
		}},
		{name: "Features", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "MinSupportedVersion", kind: b2},
			{name: "MaxSupportedVersion", kind: b2},
		}},
	},
	71: { // GetTelemetrySubscriptions
		{name: "ClientInstanceId", kind: b16},
	},
	72: { // PushTelemetry
		{name: "ClientInstanceId", kind: b16},
		{name: "SubscriptionId", kind: b4},
		{name: "Terminating", kind: b1},
		{name: "CompressionType", kind: b1},
		{name: "Metrics", kind: byt},
	},
	73: { // AssignReplicasToDirs
		{name: "BrokerId", kind: b4},
		{name: "BrokerEpoch", kind: b8},
		{name: "Directories", kind: array, elem: group, fields: []field{
			{name: "Id", kind: b16},
			{name: "Topics", kind: array, elem: group, fields: []field{
				{name: "TopicId", kind: b16},
				{name: "Partitions", kind: array, elem: group, fields: []field{
					{name: "PartitionIndex", kind: b4},
				}},
			}},
		}},
	},
	74: { // ListConfigResources
		{name: "ResourceTypes", kind: array, elem: b1, min: 1},
	},
	75: { // DescribeTopicPartitions
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
		}},
		{name: "ResponsePartitionLimit", kind: b4},
		{name: "Cursor", kind: group, null: true, fields: []field{
			{name: "TopicName", kind: str},
			{name: "PartitionIndex", kind: b4},
		}},
	},
	76: { // ShareGroupHeartbeat
		{name: "GroupId", kind: str},
		{name: "MemberId", kind: str},
		{name: "MemberEpoch", kind: b4},
		{name: "RackId", kind: str, null: true},
		{name: "SubscribedTopicNames", kind: array, elem: str, null: true},
	},
	77: { // ShareGroupDescribe
		{name: "GroupIds", kind: array, elem: str},
		{name: "IncludeAuthorizedOperations", kind: b1},
	},
	78: { // ShareFetch
		{name: "GroupId", kind: str, null: true},
		{name: "MemberId", kind: str, null: true},
		{name: "ShareSessionEpoch", kind: b4},
		{name: "MaxWaitMs", kind: b4},
		{name: "MinBytes", kind: b4},
		{name: "MaxBytes", kind: b4},
		{name: "MaxRecords", kind: b4},
		{name: "BatchSize", kind: b4},
		{name: "ShareAcquireMode", kind: b1, min: 2},
		{name: "IsRenewAck", kind: b1, min: 2},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "AcknowledgementBatches", kind: array, elem: group, fields: []field{
					{name: "FirstOffset", kind: b8},
					{name: "LastOffset", kind: b8},
					{name: "AcknowledgeTypes", kind: array, elem: b1},
				}},
			}},
		}},
		{name: "ForgottenTopicsData", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: b4},
		}},
	},
	79: { // ShareAcknowledge
		{name: "GroupId", kind: str, null: true},
		{name: "MemberId", kind: str, null: true},
		{name: "ShareSessionEpoch", kind: b4},
		{name: "IsRenewAck", kind: b1, min: 2},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "AcknowledgementBatches", kind: array, elem: group, fields: []field{
					{name: "FirstOffset", kind: b8},
					{name: "LastOffset", kind: b8},
					{name: "AcknowledgeTypes", kind: array, elem: b1},
				}},
			}},
		}},
	},
	80: { // AddRaftVoter
		{name: "ClusterId", kind: str, null: true},
		{name: "TimeoutMs", kind: b4},
		{name: "VoterId", kind: b4},
		{name: "VoterDirectoryId", kind: b16},
		{name: "Listeners", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Host", kind: str},
			{name: "Port", kind: b2},
		}},
		{name: "AckWhenCommitted", kind: b1, min: 1},
	},
	81: { // RemoveRaftVoter
		{name: "ClusterId", kind: str, null: true},
		{name: "VoterId", kind: b4},
		{name: "VoterDirectoryId", kind: b16},
	},
	82: { // UpdateRaftVoter
		{name: "ClusterId", kind: str, null: true},
		{name: "CurrentLeaderEpoch", kind: b4},
		{name: "VoterId", kind: b4},
		{name: "VoterDirectoryId", kind: b16},
		{name: "Listeners", kind: array, elem: group, fields: []field{
			{name: "Name", kind: str},
			{name: "Host", kind: str},
			{name: "Port", kind: b2},
		}},
		{name: "KRaftVersionFeature", kind: group, fields: []field{
			{name: "MinSupportedVersion", kind: b2},
			{name: "MaxSupportedVersion", kind: b2},
		}},
	},
	83: { // InitializeShareGroupState
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "StateEpoch", kind: b4},
				{name: "StartOffset", kind: b8},
			}},
		}},
	},
	84: { // ReadShareGroupState
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "LeaderEpoch", kind: b4},
			}},
		}},
	},
	85: { // WriteShareGroupState
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "StateEpoch", kind: b4},
				{name: "LeaderEpoch", kind: b4},
				{name: "StartOffset", kind: b8},
				{name: "DeliveryCompleteCount", kind: b4, min: 1},
				{name: "StateBatches", kind: array, elem: group, fields: []field{
					{name: "FirstOffset", kind: b8},
					{name: "LastOffset", kind: b8},
					{name: "DeliveryState", kind: b1},
					{name: "DeliveryCount", kind: b2},
				}},
			}},
		}},
	},
	86: { // DeleteShareGroupState
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
			}},
		}},
	},
	87: { // ReadShareGroupStateSummary
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicId", kind: b16},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "Partition", kind: b4},
				{name: "LeaderEpoch", kind: b4},
			}},
		}},
	},
	88: { // StreamsGroupHeartbeat
		{name: "GroupId", kind: str},
		{name: "MemberId", kind: str},
		{name: "MemberEpoch", kind: b4},
		{name: "EndpointInformationEpoch", kind: b4},
		{name: "InstanceId", kind: str, null: true},
		{name: "RackId", kind: str, null: true},
		{name: "RebalanceTimeoutMs", kind: b4},
		{name: "Topology", kind: group, null: true, fields: []field{
			{name: "Epoch", kind: b4},
			{name: "Subtopologies", kind: array, elem: group, fields: []field{
				{name: "SubtopologyId", kind: str},
				{name: "SourceTopics", kind: array, elem: str},
				{name: "SourceTopicRegex", kind: array, elem: str},
				{name: "StateChangelogTopics", kind: array, elem: group, fields: []field{
					{name: "Name", kind: str},
					{name: "Partitions", kind: b4},
					{name: "ReplicationFactor", kind: b2},
					{name: "TopicConfigs", kind: array, elem: group, fields: []field{
						{name: "Key", kind: str},
						{name: "Value", kind: str},
					}},
				}},
				{name: "RepartitionSinkTopics", kind: array, elem: str},
				{name: "RepartitionSourceTopics", kind: array, elem: group, fields: []field{
					{name: "Name", kind: str},
					{name: "Partitions", kind: b4},
					{name: "ReplicationFactor", kind: b2},
					{name: "TopicConfigs", kind: array, elem: group, fields: []field{
						{name: "Key", kind: str},
						{name: "Value", kind: str},
					}},
				}},
				{name: "CopartitionGroups", kind: array, elem: group, fields: []field{
					{name: "SourceTopics", kind: array, elem: b2},
					{name: "SourceTopicRegex", kind: array, elem: b2},
					{name: "RepartitionSourceTopics", kind: array, elem: b2},
				}},
			}},
		}},
		{name: "ActiveTasks", kind: array, elem: group, null: true, fields: []field{
			{name: "SubtopologyId", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
		{name: "StandbyTasks", kind: array, elem: group, null: true, fields: []field{
			{name: "SubtopologyId", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
		{name: "WarmupTasks", kind: array, elem: group, null: true, fields: []field{
			{name: "SubtopologyId", kind: str},
			{name: "Partitions", kind: array, elem: b4},
		}},
		{name: "ProcessId", kind: str, null: true},
		{name: "UserEndpoint", kind: group, null: true, fields: []field{
			{name: "Host", kind: str},
			{name: "Port", kind: b2},
		}},
		{name: "ClientTags", kind: array, elem: group, null: true, fields: []field{
			{name: "Key", kind: str},
			{name: "Value", kind: str},
		}},
		{name: "TaskOffsets", kind: array, elem: group, null: true, fields: []field{
			{name: "SubtopologyId", kind: str},
			{name: "Partition", kind: b4},
			{name: "Offset", kind: b8},
		}},
		{name: "TaskEndOffsets", kind: array, elem: group, null: true, fields: []field{
			{name: "SubtopologyId", kind: str},
			{name: "Partition", kind: b4},
			{name: "Offset", kind: b8},
		}},
		{name: "ShutdownApplication", kind: b1},
	},
	89: { // StreamsGroupDescribe
		{name: "GroupIds", kind: array, elem: str},
		{name: "IncludeAuthorizedOperations", kind: b1},
	},
	90: { // DescribeShareGroupOffsets
		{name: "Groups", kind: array, elem: group, fields: []field{
			{name: "GroupId", kind: str},
			{name: "Topics", kind: array, elem: group, null: true, fields: []field{
				{name: "TopicName", kind: str},
				{name: "Partitions", kind: array, elem: b4},
			}},
		}},
	},
	91: { // AlterShareGroupOffsets
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
			{name: "Partitions", kind: array, elem: group, fields: []field{
				{name: "PartitionIndex", kind: b4},
				{name: "StartOffset", kind: b8},
			}},
		}},
	},
	92: { // DeleteShareGroupOffsets
		{name: "GroupId", kind: str},
		{name: "Topics", kind: array, elem: group, fields: []field{
			{name: "TopicName", kind: str},
		}},
	},
}
