// Package group is the group coordinator as a pure machine: it decides for the groups and committed offsets of one
// partition of __consumer_offsets. Its host (package coordinator) gives it requests, appends the records that it
// answers with, and applies them; package machine says in which order.
//
// # Commands
//
// A command's Body is a kmsg request, its answer the kmsg response of the same version:
//
//	ConsumerGroupHeartbeat, StreamsGroupHeartbeat,
//	ShareGroupHeartbeat                                     one group
//	JoinGroup, SyncGroup, Heartbeat, LeaveGroup             one group
//	OffsetCommit, OffsetDelete, TxnOffsetCommit             one group
//	AlterShareGroupOffsets, DeleteShareGroupOffsets         one group
//	OffsetFetch, DescribeGroups, ConsumerGroupDescribe,
//	StreamsGroupDescribe, ShareGroupDescribe, DeleteGroups  the groups named, all of them of this partition
//	ListGroups                                              the groups of this partition
//
// Whoever routes requests sends those that name several groups split: each partition's machine gets a
// request that names its groups only, and the answers are joined. ListGroups goes to every machine. Where a version
// of a request names topics by id only, Topic and TopicID are both filled in before the request comes here.
//
// Other bodies are machine.Tick, machine.Marker (a transaction that committed offsets has ended; answered with an
// error value, nil for success), TopicsChanged, InternalTopicsCreated, ShareAnswered and SetConfig (answered with nil),
// and SharePartitions (answered with a SharePartitionsAnswer). Effects are CreateInternalTopics and AskShare.
//
// # State
//
// Each group is in one map, whatever its kind; a kind answers the interface group. In classic groups members rebalance
// together by JoinGroup and SyncGroup, and their leader assigns partitions:
//
//	          first member joins                     all joined, or time is up
//	Empty ───────────────────────▶ PreparingRebalance ────────────────────▶ CompletingRebalance
//	  ▲                              │   ▲  ▲                                    │        │
//	  │  no member is left           │   │  └──── join, leave, expiry, no sync ──┘        │ leader's sync
//	  └──────────────────────────────┘   │                                                ▼ is written
//	                                     └───────── join, leave, expiry, no sync ────── Stable
//
// Who waits, session deadlines and pending members are soft: a failed append or a new coordinator may lose them, and
// clients come again. The generation and its members become durable with the leader's SyncGroup: that result carries
// the GroupMetadata record, its own reply and those of all followers that wait, and Apply makes the group Stable. If
// the append fails, they are all refused, the group stays in CompletingRebalance, and each member that joins again is
// told the same generation.
//
// In consumer groups (KIP-848) the coordinator assigns, and each member goes its own way to its target:
//
//	group epoch  ──▶  target epoch  ──▶  member epochs
//	what the assignment     the assignment         what each member has
//	depends on changed      was worked out anew    of it
//
//	        nothing to give up, all is free
//	Stable ◀──────────────────────────────┬───────────────────────────┐
//	   │ newer target                     │ given up                  │ the rest is free
//	   ├─────────────▶ UnrevokedPartitions ┴──────▶ UnreleasedPartitions
//	   └──────────────────────────────────────────────▶   others still have some of it
//
// All of a consumer group but its clocks is in records: Handle only says what is to be written, and Apply changes the
// group. So where a command is refused, nothing has happened but that a session goes on. The files: consumer.go (state,
// checks), consumer_apply.go (records and clocks), consumer_heartbeat.go and consumer_leave.go (the API), target.go and
// assign*.go (targets), reconcile.go (a member's next step), regex.go, topic_hash.go.
//
// Both kinds change into each other while members work: migrate.go says when, and classic_member.go how members of the
// classic protocol live in a consumer group.
//
// In streams groups (KIP-1071) members are threads of a Kafka Streams application. The coordinator knows its topology,
// works out how many partitions internal topics need, has them created, and assigns tasks: active ones, which belong to
// one member, and standbys, which belong to another process than the active one. Epochs and steps are those of consumer
// groups; while the topology does not fit the topics the group is NotReady and nobody has tasks. The files: streams.go
// (state, checks), streams_apply.go, streams_records.go, streams_heartbeat.go, streams_check.go and streams_leave.go (the
// API), streams_topology.go and streams_configure.go (topologies), streams_create.go (internal topics),
// streams_assign.go and streams_target.go (targets), streams_reconcile.go (a member's next step). An empty classic group
// becomes a streams group and the other way round; groups with members never do.
//
// In share groups (KIP-932) members share partitions, and each is at its target at once: the partitions' leaders see to it
// that no two members work on the same record. Only share partitions are assigned whose state the share coordinators have
// begun, which the group coordinator asks for (AskShare) and keeps note of; offsets are altered and deleted, and groups
// deleted, by asking them first. The files: share.go (state, checks), share_apply.go, share_records.go, share_heartbeat.go
// (the API), share_assign.go (targets), share_state.go and share_offsets.go (state at the share coordinators). A share
// group never becomes a group of another kind, and stays until it is deleted.
//
// A group also exists when there are only offsets committed for it (a "simple" group); it is a classic group in state
// Empty without a protocol type.
//
// # Records
//
// Keys start with an int16 that names the record's kind, values with one that is their version. Written are, as by
// Apache Kafka 4.3:
//
//	key 1 OffsetCommit(group, topic, partition)   value 4 (1 where the request sets a retention time)
//	key 2 GroupMetadata(group)                    value 3
//
//	of consumer groups, all with value 0:
//	key 3 ConsumerGroupMetadata(group)                            epoch, hash of the topics' metadata
//	key 5 ConsumerGroupMemberMetadata(group, member)              subscription and timeouts
//	key 6 ConsumerGroupTargetAssignmentMetadata(group)            epoch of the target
//	key 7 ConsumerGroupTargetAssignmentMember(group, member)      target
//	key 8 ConsumerGroupCurrentMemberAssignment(group, member)     epochs and partitions
//	key 16 ConsumerGroupRegularExpression(group, expression)      topics that it matched
//
//	of share groups, all with value 0:
//	key 10 ShareGroupMemberMetadata(group, member)                subscription
//	key 11 ShareGroupMetadata(group)                              epoch, hash of the topics' metadata
//	key 12 ShareGroupTargetAssignmentMetadata(group)              epoch of the target
//	key 13 ShareGroupTargetAssignmentMember(group, member)        target
//	key 14 ShareGroupCurrentMemberAssignment(group, member)       epochs and partitions
//	key 15 ShareGroupStatePartitionMetadata(group)                share partitions with state, by how far that is
//
//	of streams groups, all with value 0:
//	key 17 StreamsGroupMetadata(group)                            epoch, hash of the topics' metadata, validated topology, settings
//	key 19 StreamsGroupMemberMetadata(group, member)              what the member says of itself
//	key 20 StreamsGroupTargetAssignmentMetadata(group)            epoch of the target
//	key 21 StreamsGroupTargetAssignmentMember(group, member)      target
//	key 22 StreamsGroupCurrentMemberAssignment(group, member)     epochs and tasks
//	key 23 StreamsGroupTopology(group)                            the topology
//
// Key 0 is OffsetCommit's older form and is read. A null value removes. Offsets written inside a transaction are kept
// aside until its marker comes. Key 4, written before Kafka 4.1, is removed. Records of other kinds are counted
// and left alone.
package group
