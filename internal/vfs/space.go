package vfs

import (
	"errors"
	"syscall"
)

// NoSpace says whether an error is that of a full disk or a used-up quota: nothing is broken, and what failed may be tried
// again when there is room.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// TooManyFiles says that a file could not be opened because too many are: nothing was done.
func TooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// Exhausted is NoSpace or TooManyFiles: the disk is not to blame for either.
func Exhausted(err error) bool { return NoSpace(err) || TooManyFiles(err) }
