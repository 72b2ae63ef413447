package node

import "syscall"

// Bounds of openFiles: with fewer, appends to a few partitions would open files all the time; more save next to nothing.
const (
	fewFiles  = 64
	manyFiles = 4096
)

// openFiles is how many files of logs are kept open: an eighth of the descriptors that the system allows, since
// connections need them, too.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fewFiles
	}
	return int(min(max(limit.Cur/8, fewFiles), manyFiles))
}
