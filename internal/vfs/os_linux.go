package vfs

import (
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: content and size, not the times.
func (f *osFile) Sync() error {
	var syncErr error
	err := control(f.f, func(fd uintptr) {
		syncErr = retry(func() error { return unix.Fdatasync(int(fd)) })
	})
	if err == nil {
		err = syncErr
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// lockFD takes a lock of the open file description. Unlike flock it conflicts with the record locks that Java
// takes, so Apache Kafka and Klamm keep each other out of a directory; unlike those it also keeps two nodes in
// one process apart, and closing another descriptor of the file does not drop it.
func lockFD(fd uintptr) error {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	return retry(func() error { return unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lk) })
}

func usage(name string) (Usage, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(name, &st) }); err != nil {
		return Usage{}, err
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return Usage{Total: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit}, nil
}

// retry repeats a call that a signal interrupted; the Go runtime sends signals to itself.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
