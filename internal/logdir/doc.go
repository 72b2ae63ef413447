// Package logdir holds all logs of a node: its directories, their locks and identity, loading and recovery,
// checkpoints, and the work behind the scenes (flush, retention, compaction, removal of files).
//
// # A directory
//
//	data/
//	    .lock                              held while a node uses the directory
//	    meta.properties                    cluster, node and directory id; without it the directory is not formatted
//	    recovery-point-offset-checkpoint   topic partition offset: below it a log is durable
//	    log-start-offset-checkpoint        where DeleteRecords moved a log's start
//	    replication-offset-checkpoint      high watermarks
//	    cleaner-offset-checkpoint          below it a log was compacted
//	    .kafka_cleanshutdown               written by Close, removed by Open: logs need no recovery
//	    t-0/                               one log, see package storage
//	    t-0.<32 hex>-delete/               waits for its removal
//	    t-0.<32 hex>-stray/                a log that the metadata does not know; it stays until somebody removes it
//
// docs/format has a page for each file. All files are replaced as a whole: a temporary file, fsync, rename, fsync of
// the directory.
//
// # Life
//
// Open locks and checks; Load opens the logs; Start begins the work behind; Close flushes, checkpoints, leaves the
// clean-shutdown marker and unlocks. Without Close, as after a crash, there is no marker, and what lies above the recovery points
// is scanned: by Load where that is little, behind Start where it is much (recovery.go). Such a log is offline until then.
//
// # What is durable, and in which order
//
// The marker is removed, durably, before a log is touched, and written after everything else. A checkpoint that is
// behind costs a longer scan and is always safe. One that belongs to an earlier log of the same name is not: it could
// make Load trust bytes that were never flushed, or throw a young log away. So Create rewrites a checkpoint that still
// has a line for the name it is about to use. Checkpoints that are torn or malformed count as unknown: the logs of that
// directory are scanned from their starts.
//
// # Locks
//
// Dirs.changes serialises Delete, Strays, Start, SetCleaner and Close, and is held during their I/O; any number of Creates share
// it. Dirs.mu guards
// the maps and is never held during I/O, nor while a log is asked. A checkpoint's own lock serialises its writers. Order:
// changes, checkpoint, mu, a log's own. Who recovers a log behind the start does not take changes before that is over, for Delete waits for
// it under changes. recoveries.mu is taken under mu, or alone. gravesMu, flushQueue.mu, cleaners.mu and asking, which is held while a disk is asked
// for its room, are taken alone or under changes. Nothing here is taken by an append but, at a roll, flushQueue.mu for a
// moment.
package logdir
