// Package storage keeps one partition's log in one directory, in Apache Kafka's own files and formats, so that
// Apache's tools and brokers read what Klamm wrote and the other way round. docs/format/ has a page for each file.
//
// # The directory
//
//	t-0/
//	    00000000000000000000.log          record batches, back to back
//	    00000000000000000000.index        offset index: (last offset of a batch, its position)
//	    00000000000000000000.timeindex    time index: (largest timestamp so far, its batch's last offset)
//	    00000000000000000000.txnindex     aborted transactions, only where there are some
//	    00000000000000000042.snapshot     state of the producers below offset 42
//	    leader-epoch-checkpoint           where each leader epoch begins
//	    partition.metadata                the topic's id
//
// A segment is named by a lower bound of its offsets. The suffix .deleted marks a file that waits for its removal,
// .cleaned one that compaction is still writing, .swap one that is complete and only lacks its final name.
//
// # Who may do what
//
// Log.mu is the one lock of the hot path. It guards everything that an append changes, and is held for the write and
// for changes of state: never for opening, closing, renaming, fsync, checksums or a walk over records.
//
// Log.files serialises what changes the set of files: roll, truncation, deletion, write-behind of indexes, rename,
// close. It is taken before mu. Its holder may set Log.frozen, under mu; while it is set no append changes the log, so
// its holder may read producers, epochs and the log's end without mu. An append that finds the log frozen, or that needs
// a roll, gives mu back, waits for files and starts again.
//
// Readers take no lock: they load a View, which never changes. A View may be older than the log: its segments stay
// readable, for a file is closed and removed only when no Range refers to it any more.
//
// Log.cleaning is held by Clean for as long as it runs: no two run at once, and Close waits for it. It is taken before
// files, which Clean takes only to put a segment that is complete in the place of those that it was made of.
//
// # What is durable
//
// Flush makes everything below an offset durable (records, indexes, snapshots, epochs, names) and then moves the
// recovery point there. Open trusts what lies below the recovery point, and reads and checks every batch above it. So
// whatever is written without fsync (records, indexes, snapshots at a roll, epochs taken from a leader's batches) is
// either below the recovery point, or rebuilt by Open.
package storage
