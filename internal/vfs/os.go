//go:build linux || darwin

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// ErrLocked says that somebody else holds a lock. Lock wraps it in an *fs.PathError.
var ErrLocked = errors.New("locked by another process")

// OS is the operating system's file system. The zero value is ready to use.
//
// Its files have a descriptor, which sendfile needs: they implement SyscallConn() (syscall.RawConn, error).
// Its locks are seen by Apache Kafka on the same directory (on linux), and end with the process however it ends.
type OS struct{}

// osFile is an *os.File but for Sync and the shared position.
type osFile struct{ f *os.File }

// OpenFile opens or creates a file; the descriptor does not survive an exec.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

// MkdirAll makes a directory and those above it.
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// Rename gives a file or directory another name.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Remove removes a file or an empty directory.
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll removes a name and everything below it; a name that is not there is no error.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// List gives the names in a directory, sorted. It asks nothing about the entries themselves, so a directory
// of ten thousand partitions costs one pass.
func (OS) List(name string) ([]string, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	err = errors.Join(err, d.Close())
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Stat follows symbolic links: a log directory may be one.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// SyncDir makes the names in a directory durable.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenDir opens a directory. Its Sync is a whole fsync: names are no file's content.
func (OS) OpenDir(name string) (Dir, error) {
	d, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Lock takes the exclusive lock of a file, creating it. Closing gives the lock back and leaves the file.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	var lockErr error
	err = control(f, func(fd uintptr) { lockErr = lockFD(fd) })
	if err == nil {
		err = lockErr
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		err = ErrLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}

// Usage asks the file system that holds name. Free is what an ordinary user may still write.
func (OS) Usage(name string) (Usage, error) {
	u, err := usage(name)
	if err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return u, nil
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Close() error                             { return f.f.Close() }
func (f *osFile) Name() string                             { return f.f.Name() }
func (f *osFile) Truncate(size int64) error                { return f.f.Truncate(size) }

// SyscallConn reaches the descriptor while keeping it from being closed.
func (f *osFile) SyscallConn() (syscall.RawConn, error) { return f.f.SyscallConn() }

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// control runs fn with f's descriptor, which stays open meanwhile.
func control(f *os.File, fn func(fd uintptr)) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := c.Control(fn); err != nil {
		return fs.ErrClosed // the only reason; the poller has its own error for it
	}
	return nil
}
