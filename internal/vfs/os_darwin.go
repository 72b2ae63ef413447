package vfs

import "golang.org/x/sys/unix"

// Sync is os.File's, which asks the drive to empty its cache (F_FULLFSYNC): plain fsync promises less on
// darwin than on linux.
func (f *osFile) Sync() error { return f.f.Sync() }

// lockFD uses flock: it keeps Klamm's processes apart, but is not seen by Apache Kafka, which takes record locks.
func lockFD(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }

func usage(name string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return Usage{}, err
	}
	unit := int64(st.Bsize)
	return Usage{Total: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit}, nil
}
