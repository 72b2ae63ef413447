// Package share is the share coordinator as a pure machine: it keeps the state of share partitions (KIP-932) for one
// partition of __share_group_state. Its host (package coordinator) gives it commands, appends the records that it
// answers with, and applies them; package machine says in which order.
//
// A share partition is a partition of a topic as one share group consumes it, named by Key. Its leader, the leader of
// the topic's partition, hands out records and keeps here what must outlive it: from where on records are still to be
// delivered, and which of those were acknowledged, archived, or delivered how often.
//
// # Commands
//
// A command's Body is a kmsg request of exactly one share partition; its answer is the kmsg response of the same version:
//
//	InitializeShareGroupState    the group coordinator begins a share partition, or begins it anew at an offset
//	ReadShareGroupState          a new leader asks for the state, and with its leader epoch fences those before it
//	WriteShareGroupState         the leader changes the state
//	DeleteShareGroupState        the group is deleted, or its offsets are
//	ReadShareGroupStateSummary   an administrator asks how far the group is
//
// Whoever routes requests splits them by share partition. Other bodies are machine.Tick, TopicsDeleted, Pruned and SetConfig,
// all answered with nil.
//
// # Epochs
//
// Each share partition knows two, and takes no request with a smaller one than it has seen; -1 in a request asks for no
// check. The state epoch rises when the group coordinator begins the share partition anew: what the leader still writes
// of the old beginning is FENCED_STATE_EPOCH. The leader epoch is that of the topic's partition. A Read raises it (a
// write alone does not), so the writes of an older leader are FENCED_LEADER_EPOCH.
//
// # Records
//
//	key 0 ShareSnapshot(group, topic id, partition)   all of the state; a null value removes it
//	key 1 ShareUpdate(group, topic id, partition)     what changed since the last snapshot
//
// as Apache Kafka writes them, all of version 0. A change is an update, and every so many a snapshot
// (share.coordinator.snapshot.update.records.per.snapshot). The topic is not compacted. Instead everything below the
// oldest newest snapshot is deleted from time to time (effect DeleteRecords), and share partitions that nobody writes
// get a new snapshot now and then, so that they do not hold the log's start back.
//
// # Effects
//
//	DeleteRecords   delete the records below an offset; answered by a Pruned command if it was done
package share
