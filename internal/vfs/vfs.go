// Package vfs is the file-system seam: everything that Klamm keeps on a disk goes through FS, so that the
// same code runs on the operating system, on memory that can lose what was not synced, and on a disk that
// fails on purpose.
//
// Contract for every implementation:
//   - File offers positioned reads and writes only; no implementation keeps a shared file position.
//   - A write is durable after Sync of its file; a created, renamed or removed name is durable after
//     SyncDir of its directory.
//   - Methods are safe for concurrent use. A File may be read while it is written.
//   - Errors are *fs.PathError (of Rename *os.LinkError), or wrap one, so errors.Is(err, fs.ErrNotExist) and
//     syscall errors work.
//   - ReadAt ends with io.EOF where the file does. WriteAt beyond the end leaves zeros between, and so does
//     Truncate to a larger size.
//   - A file that was renamed or removed stays open, and keeps the name that it was opened with.
//
// The implementations:
//
//	OS      the operating system; its files have SyscallConn, for sendfile
//	Mem     memory, which can crash: what was not synced may be lost or torn
//	Faults  wraps another and fails where a function or a schedule says so
//	Log     wraps another and records what was done
package vfs

import (
	"io"
	"io/fs"
	"os"
)

// Flags of OpenFile, as in package os.
const (
	ReadOnly  = os.O_RDONLY
	ReadWrite = os.O_RDWR
	Create    = os.O_CREATE
	Exclusive = os.O_EXCL
	Truncate  = os.O_TRUNC
)

// FS is a file system. Paths are slash-separated or native; relative paths are the implementation's working directory.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(name string, perm fs.FileMode) error
	// Rename replaces newname if it is there, atomically for readers.
	Rename(oldname, newname string) error
	Remove(name string) error
	RemoveAll(name string) error
	// List gives the names in a directory, sorted.
	List(name string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// OpenDir is for who must be sure, before the first change of names, that their sync will not fail for too many open files.
	OpenDir(name string) (Dir, error)
	// Lock takes the exclusive advisory lock of a file, creating it; ErrLocked if another holder has it.
	Lock(name string) (io.Closer, error)
	// Usage reports the size and the free space, in bytes, of the file system that holds name.
	Usage(name string) (Usage, error)
}

// File is an open file without a position.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes content and size durable (fdatasync where the system has it).
	Sync() error
}

// Dir is an open directory. It stays the same one when it is renamed.
type Dir interface {
	io.Closer
	// Sync is SyncDir.
	Sync() error
}

// Usage is the space of a file system in bytes.
type Usage struct {
	Total int64
	Free  int64
}

// Range is a stretch of a file that a response refers to instead of holding its bytes. The reference that
// Ref holds keeps the file open and on the disk until Release; the zero Ref needs none.
type Range struct {
	File   File
	Offset int64
	Length int64
	Ref    Ref
}

// Ref is a counted reference to whatever keeps a file alive.
type Ref interface{ Release() }

// Release gives the reference back. It must be called exactly once, after the bytes were sent or dropped.
func (r Range) Release() {
	if r.Ref != nil {
		r.Ref.Release()
	}
}
