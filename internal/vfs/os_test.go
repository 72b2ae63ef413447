//go:build linux

package vfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sendfile needs the descriptor.
func TestOSDescriptor(t *testing.T) {
	f := create(t, OS{}, filepath.Join(t.TempDir(), "f"), "x")
	defer f.Close()
	c, ok := f.(interface {
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		t.Fatal("no SyscallConn")
	}
	raw, err := c.SyscallConn()
	must(t, err)
	var st unix.Stat_t
	must(t, raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }))
	must(t, err)
	if st.Size != 1 {
		t.Fatalf("size %d", st.Size)
	}
}

// A second process, which takes the record lock that Java takes, is kept out, and let in afterwards.
func TestOSLockSeenByRecordLocks(t *testing.T) {
	if name := os.Getenv("VFS_TEST_LOCK"); name != "" {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
			t.Fatalf("locked: %v", err)
		}
		return
	}
	name := filepath.Join(t.TempDir(), ".lock")
	other := func() (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestOSLockSeenByRecordLocks$")
		cmd.Env = append(os.Environ(), "VFS_TEST_LOCK="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	l, err := OS{}.Lock(name)
	must(t, err)
	if out, err := other(); err == nil || !strings.Contains(out, "locked:") {
		t.Fatalf("another process got the lock: %v %s", err, out)
	}
	must(t, l.Close())
	if out, err := other(); err != nil {
		t.Fatalf("after unlocking: %v %s", err, out)
	}
}
