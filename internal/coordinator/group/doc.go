// Package group is the group coordinator as a pure machine: it decides for the groups and committed offsets of one
// partition of __consumer_offsets. Its host (package coordinator) gives it requests, appends the records that it
// answers with, and applies them; package machine says in which order.
//
// # Commands
//
// A command's Body is a kmsg request, its answer the kmsg response of the same version:
//
//	JoinGroup, SyncGroup, Heartbeat, LeaveGroup             one group
//	OffsetCommit, OffsetDelete, TxnOffsetCommit             one group
//	OffsetFetch, DescribeGroups, DeleteGroups               the groups named, all of them of this partition
//	ListGroups                                              the groups of this partition
//
// Whoever routes requests sends OffsetFetch, DescribeGroups and DeleteGroups split: each partition's machine gets a
// request that names its groups only, and the answers are joined. ListGroups goes to every machine. Where a version
// of a request names topics by id only, Topic and TopicID are both filled in before the request comes here.
//
// Other bodies are machine.Tick, machine.Marker (a transaction that committed offsets has ended; answered with an
// error value, nil for success), TopicsDeleted (answered with nil) and SetConfig (answered with nil).
//
// # State
//
// Each group is in one map, whatever its kind; a kind answers the interface group. Classic groups, whose members
// rebalance by JoinGroup and SyncGroup and whose leader assigns partitions, are the kind there is today:
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
// Key 0 is OffsetCommit's older form and is read. A null value removes. Offsets written inside a transaction are kept
// aside until its marker comes. Records of other kinds of groups (keys 3 and above) are counted and left alone.
package group
