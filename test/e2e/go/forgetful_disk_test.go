//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/klamm-io/klamm/internal/vfs"
)

// forgetfulName is what the mounts of forgetful disks say of themselves in /proc/mounts, before the id of the process that serves them.
const forgetfulName = "klamm-forgetful-"

// forgetful is a disk that can lose power: a file system that the kernel mounts for any process, and that keeps apart what is
// there and what was synced. forget throws away what was not, by the rules of vfs.Mem: block by block, name by name, renames
// whole or not at all. The kernel gives it every write when it is made (there is no cache to write back), so a process that is
// killed loses nothing; what is lost is what forget chooses.
type forgetful struct {
	t      *testing.T
	dir    string
	mem    *vfs.Mem
	server *fuse.Server
	syncs  atomic.Int64 // of files and directories
}

// newForgetful mounts an empty one, and skips the test where that is not allowed.
func newForgetful(t *testing.T) *forgetful {
	t.Helper()
	unmountLeft(t)
	d := &forgetful{t: t, dir: t.TempDir(), mem: vfs.NewMem(time.Now)}
	if err := d.mount(); err != nil {
		t.Skipf("a file system cannot be mounted here (it takes /dev/fuse and root): %v", err)
	}
	t.Cleanup(d.unmount) // before the directory is removed
	return d
}

// unmountLeft takes away what a run has left mounted that was killed: nobody answers there any more, and who asks may hang.
func unmountLeft(t *testing.T) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Skipf("no mounts can be listed here: %v", err)
	}
	for line := range strings.Lines(string(mounts)) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.HasPrefix(words[0], forgetfulName) {
			continue
		}
		pid, err := strconv.Atoi(words[0][len(forgetfulName):])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			err := syscall.Unmount(words[1], syscall.MNT_FORCE|syscall.MNT_DETACH) // by force: whoever waits there goes on, with an error
			t.Logf("unmounted %s, which another run has left: %v", words[1], err)
		}
	}
}

func (d *forgetful) mount() (err error) {
	long := time.Hour // nobody changes anything but through the mount
	d.server, err = fs.Mount(d.dir, &forgetfulNode{disk: d}, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		MountOptions: fuse.MountOptions{FsName: forgetfulName + strconv.Itoa(os.Getpid()), Name: "klamm", DirectMountStrict: true, DisableXAttrs: true,
			Logger: log.New(io.Discard, "", 0)}, // it would tell of each end

	})
	if err != nil {
		return err
	}
	// A node that inherits the device would keep the file system's requests waiting when nobody serves them any more.
	fds, err := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); to == "/dev/fuse" {
			n, _ := strconv.Atoi(fd.Name())
			syscall.CloseOnExec(n)
		}
	}
	return err
}

func (d *forgetful) unmount() {
	if d.server == nil {
		return
	}
	if err := syscall.Unmount(d.dir, 0); err != nil { // somebody has a file open
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			d.t.Errorf("unmount %s: %v", d.dir, err)
			return
		}
	}
	d.server.Wait()
	d.server = nil
}

// forget is the power cut: rng chooses what reached the disk of all that was not synced; without one, nothing did. Processes that
// used the disk must have ended.
func (d *forgetful) forget(rng *rand.Rand) {
	d.t.Helper()
	d.unmount() // with all that the kernel has in memory
	d.mem.Crash(rng)
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
}

// forgetfulNode is a file or directory of a forgetful disk; the tree of the library knows where.
type forgetfulNode struct {
	fs.Inode
	disk *forgetful
}

// forgetfulFile is an open file. It works on after the file was renamed or removed.
type forgetfulFile struct{ f vfs.File }

func (n *forgetfulNode) path(names ...string) string {
	return filepath.Join(append([]string{"/", n.Path(nil)}, names...)...)
}

func (n *forgetfulNode) child(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	info, err := n.disk.mem.Stat(n.path(name))
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	attributes(info, &out.Attr)
	return n.NewInode(ctx, &forgetfulNode{disk: n.disk}, fs.StableAttr{Mode: out.Mode & syscall.S_IFMT}), 0
}

func attributes(info os.FileInfo, a *fuse.Attr) {
	a.Mode = uint32(info.Mode().Perm()) | syscall.S_IFREG
	if info.IsDir() {
		a.Mode = uint32(info.Mode().Perm()) | syscall.S_IFDIR
	}
	a.Size, a.Blocks, a.Nlink = uint64(info.Size()), uint64(info.Size()+511)/512, 1
	when := info.ModTime()
	a.SetTimes(&when, &when, &when)
}

func (n *forgetfulNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.child(ctx, name, out)
}

func (n *forgetfulNode) Getattr(_ context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := h.(*forgetfulFile); ok { // its name may be gone
		size, err := f.f.Size()
		out.Mode, out.Size, out.Nlink = syscall.S_IFREG|0o644, uint64(size), 1
		if info, err := n.disk.mem.Stat(n.path()); err == nil {
			when := info.ModTime()
			out.SetTimes(&when, &when, &when)
		}
		return fs.ToErrno(err)
	}
	info, err := n.disk.mem.Stat(n.path())
	if err == nil {
		attributes(info, &out.Attr)
	}
	return fs.ToErrno(err)
}

// Setattr sets the size; owner, permissions and times are not kept.
func (n *forgetfulNode) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f, ok := h.(*forgetfulFile)
		if !ok {
			opened, err := n.disk.mem.OpenFile(n.path(), vfs.ReadWrite, 0)
			if err != nil {
				return fs.ToErrno(err)
			}
			defer opened.Close()
			f = &forgetfulFile{opened}
		}
		if err := f.f.Truncate(int64(size)); err != nil {
			return fs.ToErrno(err)
		}
	}
	return n.Getattr(ctx, h, out)
}

func (n *forgetfulNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	names, err := n.disk.mem.List(n.path())
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	var list []fuse.DirEntry
	for _, name := range names {
		info, err := n.disk.mem.Stat(n.path(name))
		if err != nil {
			continue // removed meanwhile
		}
		var a fuse.Attr
		attributes(info, &a)
		list = append(list, fuse.DirEntry{Name: name, Mode: a.Mode & syscall.S_IFMT})
	}
	return fs.NewListDirStream(list), 0
}

func (n *forgetfulNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if err := n.disk.mem.MkdirAll(n.path(name), os.FileMode(mode)); err != nil {
		return nil, fs.ToErrno(err)
	}
	return n.child(ctx, name, out)
}

func (n *forgetfulNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.disk.mem.OpenFile(n.path(name), int(flags)&(syscall.O_ACCMODE|vfs.Exclusive|vfs.Truncate)|vfs.Create, os.FileMode(mode))
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	child, errno := n.child(ctx, name, out)
	return child, &forgetfulFile{f}, 0, errno
}

func (n *forgetfulNode) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.disk.mem.OpenFile(n.path(), int(flags)&(syscall.O_ACCMODE|vfs.Truncate), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return &forgetfulFile{f}, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *forgetfulNode) Unlink(_ context.Context, name string) syscall.Errno {
	return fs.ToErrno(n.disk.mem.Remove(n.path(name)))
}

func (n *forgetfulNode) Rmdir(_ context.Context, name string) syscall.Errno {
	return fs.ToErrno(n.disk.mem.Remove(n.path(name)))
}

func (n *forgetfulNode) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	return fs.ToErrno(n.disk.mem.Rename(n.path(name), to.(*forgetfulNode).path(newName)))
}

// Fsync makes a file's content durable, or a directory's names.
func (n *forgetfulNode) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	n.disk.syncs.Add(1)
	if f, ok := h.(*forgetfulFile); ok {
		return fs.ToErrno(f.f.Sync())
	}
	return fs.ToErrno(n.disk.mem.SyncDir(n.path()))
}

func (n *forgetfulNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	u, err := n.disk.mem.Usage(n.path())
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail = uint64(u.Total)/4096, uint64(u.Free)/4096, uint64(u.Free)/4096
	return fs.ToErrno(err)
}

func (f *forgetfulFile) Read(_ context.Context, b []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.f.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fs.ToErrno(err)
	}
	return fuse.ReadResultData(b[:n]), 0
}

func (f *forgetfulFile) Write(_ context.Context, b []byte, at int64) (uint32, syscall.Errno) {
	n, err := f.f.WriteAt(b, at)
	return uint32(n), fs.ToErrno(err)
}

func (f *forgetfulFile) Release(context.Context) syscall.Errno { return fs.ToErrno(f.f.Close()) }

// Getattr is for the library, which asks an open file where the kernel names none.
func (f *forgetfulFile) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	size, err := f.f.Size()
	out.Mode, out.Size, out.Nlink = syscall.S_IFREG|0o644, uint64(size), 1
	return fs.ToErrno(err)
}

// TestForgetfulRules holds the disk to its rules, by the system's own calls: what is synced stays, what is not is lost, also names.
func TestForgetfulRules(t *testing.T) {
	d := newForgetful(t)
	at := func(name string) string { return filepath.Join(d.dir, name) }
	sync := func(name string) {
		f, err := os.Open(at(name))
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, content string) {
		if err := os.WriteFile(at(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/kept", "a/torn", "a/removed", "a/renamed"} {
		write(name, "old "+name)
		sync(name)
	}
	sync("a")
	sync(".")
	write("a/torn", "new, not synced")
	write("a/nameless", "synced, and its name is not")
	sync("a/nameless")
	if err := errors.Join(os.Remove(at("a/removed")), os.Rename(at("a/renamed"), at("a/kept"))); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(at("a/kept"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() }) // before the disk is unmounted
	if err := os.Remove(at("a/kept")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(open); string(b) != "old a/renamed" {
		t.Errorf("a removed file that is open has %q (%v)", b, err)
	}
	if info, err := open.Stat(); err != nil || info.Size() != 13 {
		t.Errorf("a removed file that is open: %v", err)
	}
	open.Close()
	d.forget(nil)
	got := map[string]string{}
	list, err := os.ReadDir(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(at("a/" + e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	want := map[string]string{"kept": "old a/kept", "torn": "old a/torn", "removed": "old a/removed", "renamed": "old a/renamed"}
	if len(got) != len(want) {
		t.Errorf("the disk has %v", got)
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s has %q, want %q", name, got[name], content)
		}
	}
}
