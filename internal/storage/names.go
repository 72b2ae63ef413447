package storage

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Suffixes of a segment's files, of a snapshot, and of files on their way in or out.
const (
	suffixLog       = ".log"
	suffixIndex     = ".index"
	suffixTimeIndex = ".timeindex"
	suffixTxnIndex  = ".txnindex"
	suffixSnapshot  = ".snapshot"

	suffixDeleted = ".deleted"
	suffixCleaned = ".cleaned"
	suffixSwap    = ".swap"
	suffixTemp    = ".tmp"
)

// Files that a partition has once.
const (
	fileEpochs    = "leader-epoch-checkpoint"
	filePartition = "partition.metadata"
)

// deleteDirSuffix ends the name of a directory whose topic is gone; its log is opened only to be removed.
const deleteDirSuffix = "-delete"

// fileName is what a file of the segment or snapshot at an offset is called.
func fileName(offset int64, suffix string) string { return fmt.Sprintf("%020d%s", offset, suffix) }

func filePath(dir string, offset int64, suffix string) string {
	return filepath.Join(dir, fileName(offset, suffix))
}

// parseName splits a file's name into offset and the rest, from the first dot on. Kafka's KRaft snapshots
// (offset-epoch.checkpoint) and the files that a partition has once are not ok.
func parseName(name string) (offset int64, suffix string, ok bool) {
	dot := strings.IndexByte(name, '.')
	if dot <= 0 {
		return 0, "", false
	}
	n, err := strconv.ParseInt(name[:dot], 10, 64)
	if err != nil || n < 0 {
		return 0, "", false
	}
	return n, name[dot:], true
}
