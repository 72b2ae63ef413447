// Package coordinator hosts pure machines (package machine) on the partitions of an internal topic: group
// coordinators on __consumer_offsets, transaction coordinators on __transaction_state, share coordinators on
// __share_group_state.
//
// A shard is one partition that this node leads. It has one goroutine, which owns the machine; a partition that is led
// elsewhere has none. A shard first loads its partition's log into a fresh machine, then it goes round: take what is
// in the mailbox, let the machine decide each command, append the records of all of them as one batch, apply them,
// and answer when the high watermark has passed.
//
//	Submit ─▶ mailbox ─▶ Handle ─▶ open batch ─▶ Append ─▶ Apply ─▶ parked ─▶ reply
//	            │ full:             │ append failed: refuse           │ high watermark passes
//	            ▼ refuse            ▼ the batch's commands            │ or: leadership lost, time is up: refuse
//
// # What may share a batch
//
// A command is decided only when everything earlier that touches its keys is applied. So a command whose keys meet
// those in the open batch has it appended first, as has one that touches everything. Records with a producer
// (offsets in a transaction) and transaction markers get batches of their own. A batch is appended when the mailbox is
// empty or Linger has passed, and when it would exceed BatchBytesMax.
//
// # Failure
//
// A failed append refuses the commands whose records were in the batch, and all callers that those commands were to
// answer; nothing was applied, so the machine stands as before. A command whose records alone exceed BatchBytesMax is
// refused with RECORD_LIST_TOO_LARGE. When the leadership ends, every caller is refused with NOT_COORDINATOR, parked
// ones too, and the machine is dropped. A log that cannot be read is tried again; one that can be read and not
// understood fails the shard, which then refuses with NOT_COORDINATOR until the next election.
//
// A caller is answered exactly once: a token that was refused is forgotten, and what the machine still says to it goes
// nowhere.
//
// # Effects
//
// What a machine wants done elsewhere (machine.Result.Effects) goes to OnEffect when the high watermark has passed what
// it depends on, after the replies, in order, and without a time limit. It is dropped when the append fails or the
// leadership ends: then the next machine asks for it again.
//
// # Transactions
//
// A marker is submitted as a command (machine.Marker). The shard appends the control batch, then lets the machine
// handle the marker; the machine's result has no records. While loading, the control batches in the log do the same.
//
// # Errors
//
// The errors given to Machine.Refuse wrap a Kafka error (kerr), which the machine maps to what its clients know.
package coordinator
