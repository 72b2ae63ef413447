// Package txn is the transaction coordinator as a pure machine: it decides for the transactional ids of one partition
// of __transaction_state. Its host (package coordinator) gives it commands, appends the records that it answers with,
// and applies them; package machine says in which order.
//
// # Commands
//
// A command's Body is a kmsg request, or a request with what the machine cannot know; its answer is the kmsg response
// of the same version:
//
//	Init (InitProducerID and a fresh producer id)           one transactional id
//	AddOffsets (AddOffsetsToTxn and the group's partition)  one transactional id
//	EndTxn                                                  one transactional id
//	AddPartitionsToTxn                                      one; from version 4 on those named, adding or only verifying
//	DescribeTransactions                                    the transactional ids named
//	ListTransactions                                        those of this partition
//
// Whoever routes requests sends AddPartitionsToTxn from version 4 on and DescribeTransactions split: each partition's
// machine gets a request that names its transactional ids only, and the answers are joined. ListTransactions goes to
// every machine; JoinLists makes one answer. InitProducerID without a transactional id never comes here. Authorisation
// and the existence of the partitions that are added are checked before.
//
// Other bodies are machine.Tick, MarkersWritten, ProducerID and SetConfig, all answered with nil.
//
// # Effects
//
// Result.Effects has what is to be done elsewhere once the result's records are committed:
//
//	WriteMarkers    write transaction markers to partitions; answered by MarkersWritten commands
//	NeedProducerID  draw a producer id; answered by a ProducerID command
//
// Each partition of a WriteMarkers comes back exactly once in some MarkersWritten, also if its leader is not known or
// did not answer: the machine decides whether it is tried again, and asks for it with a new WriteMarkers. A leader that
// did not answer may still write the marker, so whoever writes them reports a partition only when nothing of the
// request is under way any more.
//
// # States
//
//	          AddPartitions, AddOffsets              EndTxn                      all markers written
//	Empty ─────────────────────────────▶ Ongoing ───────────────▶ PrepareCommit ───────────────────▶ CompleteCommit
//	  ▲ InitProducerID                    │  ▲ AddPartitions         │                                │
//	  │                                   │  └───────────────────────┼────────────────────────────────┤
//	  ├── CompleteCommit, CompleteAbort   │ EndTxn, timeout,         │                                │
//	                                      │ InitProducerID (fences)  ▼                                │
//	                                      └────────────────────▶ PrepareAbort ──▶ CompleteAbort ──────┘
//
// With transaction version 2, EndTxn may also abort what is Empty or complete: the client may not know whether any of
// its writes arrived. Kafka's states Dead and PrepareEpochFence are never written; here nothing is ever in them.
//
// What waits for the log is never seen: a command finds all earlier ones on its transactional id applied. From Prepare
// to Complete everything is answered with CONCURRENT_TRANSACTIONS, before the producer is looked at where Kafka does
// so, since the producer may already use an id that only the complete record makes known.
//
// # Transaction versions
//
// The feature transaction.version (0, 1, 2) says how records are written, and how the coordinator itself ends
// transactions. How a client's transaction ends follows from its request: EndTxn before version 5 keeps the producer's
// epoch, so a request that is late may hit the producer's next transaction; from version 5 on (KIP-890) each end bumps
// the epoch and the answer tells it, so late requests are fenced. Epochs end at 32766, which leaves one to fence with:
// then the producer gets a new id, from InitProducerID or, with bumps, at the transaction's end.
//
// # Records
//
// Key type 0 (TransactionLogKey) with TransactionLogValue, version 1 if the feature is 1 or 2, else 0. Partitions are
// sorted. A null value removes the transactional id. A producer's epoch before the last bump (KIP-360) is in no record:
// after a reload a retried InitProducerID is fenced.
package txn
