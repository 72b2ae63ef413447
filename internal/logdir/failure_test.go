package logdir

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// failing makes an operation on a name fail.
func (r *rig) failing(kind vfs.OpKind, path string, err error) {
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == kind && (op.Path == path || filepath.Base(op.Path) == path) {
			return err
		}
		return nil
	})
}

// A directory that cannot be used at the start is offline, with its logs: they are not created anew elsewhere. The others are
// served. When it comes back, so do its logs.
func TestOneDirectoryIsOffline(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(r *rig)
		kind error
	}{
		"not there":               {func(r *rig) { r.move("/b", "/elsewhere") }, ErrNotFormatted},
		"an empty mount point":    {func(r *rig) { r.move("/b", "/elsewhere"); r.mem.MkdirAll("/b", 0o755) }, ErrNotFormatted},
		"meta.properties garbled": {func(r *rig) { r.write("version=1\nnode.id=\x00\xff", "/b", fileMeta) }, ErrMalformed},
		"meta.properties EIO":     {func(r *rig) { r.failing(vfs.OpOpen, "/b/"+fileMeta, syscall.EIO) }, syscall.EIO},
		"unreadable":              {func(r *rig) { r.failing(vfs.OpList, "/b", syscall.EACCES) }, fs.ErrPermission},
		"read-only":               {func(r *rig) { r.failing(vfs.OpLock, "/b/"+fileLock, syscall.EROFS) }, syscall.EROFS},
		"a checkpoint EIO":        {func(r *rig) { r.failing(vfs.OpOpen, "/b/"+checkpointFiles[highWatermarks], syscall.EIO) }, syscall.EIO},
		"the marker EROFS":        {func(r *rig) { r.failing(vfs.OpRemove, "/b/"+fileClean, syscall.EROFS) }, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b").open()
			ids := r.d.IDs()
			r.append(r.create("t"), 3)
			r.append(r.create("u"), 3) // in /b
			r.close(42)
			meta := r.file("/b", fileMeta)
			c.harm(r)
			r.open()
			wantError(t, r.d.Info()[1].Err, c.kind, "/b")
			r.want("offline", []any{r.d.IDs(), r.d.CleanShutdownEpoch(), r.d.Log(topic("u"), 0)}, []any{ids[:1], int64(-1), (*storage.Log)(nil)})
			r.want("the other's log", r.d.Log(topic("t"), 0).View().LogEnd, int64(3))
			_, err := r.d.Create("u", topic("u"), 0, ids[1])
			wantError(t, err, ErrOffline, "u-0")
			if l, err := r.d.Create("v", topic("v"), 0, schema.ZeroUUID); err != nil || r.d.DirID(l) != ids[0] {
				t.Fatal(err)
			}
			r.close(43)
			r.faults.Set(nil)
			if r.exists("/elsewhere") {
				r.mem.RemoveAll("/b")
				r.move("/elsewhere", "/b")
			}
			r.write(meta, "/b", fileMeta)
			r.open()
			r.want("back again", []any{len(r.d.IDs()), r.d.Log(topic("u"), 0).View().LogEnd}, []any{2, int64(3)})
		})
	}
}

func (r *rig) move(from, to string) {
	r.t.Helper()
	if err := r.mem.Rename(from, to); err != nil {
		r.t.Fatal(err)
	}
}

// The metadata directory, and the last one, are needed: the error says so, and what was left in the others stays as it was.
func TestTooManyDirectoriesAreOffline(t *testing.T) {
	r := newRig(t, "/a", "/b", "/m").open()
	r.close(42)
	for name, c := range map[string]struct {
		metadata string
		dirs     []string
		fail     []string
		want     string
	}{
		"the metadata's": {"/a", []string{"/a", "/b"}, []string{"/a"}, "/a"},
		"apart":          {"/m", []string{"/a", "/b"}, []string{"/m"}, "/m"},
		"all":            {"/m", []string{"/a", "/b"}, []string{"/a", "/b"}, "all log directories are offline"},
	} {
		r.c.Dirs, r.c.MetadataDir = c.dirs, c.metadata
		before := r.snapshot("/")
		r.faults.Set(func(op vfs.Op) error {
			for _, dir := range c.fail {
				if strings.HasPrefix(op.Path, dir+"/meta") {
					return syscall.EIO
				}
			}
			return nil
		})
		_, err := Open(r.c)
		wantError(t, err, syscall.EIO, c.want)
		r.want(name, r.snapshot("/"), before)
	}
	r.faults.Set(nil)
}

// A directory that fails while the node runs: its logs end, keep their names, and are served after the next start. Others go on.
func TestAbandon(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	ids := r.d.IDs()
	good, bad := r.create("t"), r.create("u")
	r.append(good, 3)
	r.append(bad, 3)
	r.faults.Set(func(op vfs.Op) error {
		if strings.HasPrefix(op.Path, "/b") {
			return syscall.EIO
		}
		return nil
	})
	r.d.Abandon(ids[1])
	r.want("before it failed", r.d.Log(topic("u"), 0) == bad, true)
	r.d.Check(bad, bad.Flush(3))
	r.d.Abandon(ids[1])
	r.want("after it failed", r.d.Log(topic("u"), 0), (*storage.Log)(nil))
	if err := bad.Flush(3); err == nil {
		t.Fatal("the log works on")
	}
	_, err := r.d.Create("u", topic("u"), 0, ids[1])
	wantError(t, err, ErrOffline, "u-0")
	for k := range checkpointKinds { // must not touch the bad disk, nor fail for it
		r.d.checkpointAll(k)
	}
	r.append(good, 3)
	if err := r.d.Close(7); err != nil {
		t.Fatal(err)
	}
	r.faults.Set(nil)
	r.want("markers", []bool{r.exists("/a", fileClean), r.exists("/b", fileClean)}, []bool{true, false})
	r.open()
	r.want("after a start", []int64{r.d.Log(topic("t"), 0).View().LogEnd, r.d.Log(topic("u"), 0).View().LogEnd}, []int64{6, 3})
}

// A log that refuses appends was not flushed when its directory was closed: the next start looks at it.
func TestRefusingLogIsNotClosedCleanly(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	r.append(r.create("t"), 3)
	bad := r.create("u")
	r.append(bad, 3)
	r.failing(vfs.OpSync, "00000000000000000000.log", syscall.EIO)
	if err := bad.Flush(3); !errors.Is(err, syscall.EIO) || bad.Failed() == nil {
		t.Fatalf("flush: %v", err)
	}
	r.faults.Set(nil)
	r.close(7)
	r.want("markers", []bool{r.exists("/a", fileClean), r.exists("/b", fileClean)}, []bool{true, false})
	r.open()
	r.want("after a start", []int64{r.d.Log(topic("t"), 0).View().LogEnd, r.d.Log(topic("u"), 0).View().LogEnd}, []int64{3, 3})
}

// What fails because there are too many open files is no disk's fault.
func TestTooManyOpenFiles(t *testing.T) {
	for _, number := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		r := newRig(t, "/a", "/b").open()
		l := r.create("t")
		r.append(l, 3)
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate {
				return number
			}
			return nil
		})
		r.append(l, 1)
		for k := range checkpointKinds {
			r.d.checkpointAll(k)
		}
		for range 3 {
			r.d.moveAll(always)
		}
		r.want("online", []error{r.d.Info()[0].Err, r.d.Info()[1].Err}, []error{nil, nil})
		r.faults.Set(nil)
		r.moved()
		r.append(l, 1)
		r.want("moved", []any{l.Dir(), len(values(t, l)), l.Flush(5)}, []any{"/b/t-0", 5, error(nil)})
	}
}

// Cordoned directories get no new logs, unless all are cordoned; those that are offline get none at all.
func TestPlacementAmongBadDirectories(t *testing.T) {
	r := newRig(t, "/a", "/b", "/c").open()
	ids := r.d.IDs()
	where := func(name string) int {
		t.Helper()
		l, err := r.d.Create(name, topic(name), 0, schema.ZeroUUID)
		if errors.Is(err, ErrOffline) {
			return -1
		}
		for i, id := range ids {
			if err == nil && id == r.d.DirID(l) {
				return i
			}
		}
		t.Fatal(err)
		return 0
	}
	var got []int
	for _, name := range []string{"t1", "t2", "t3", "t4"} {
		got = append(got, where(name))
	}
	r.d.SetCordoned([]string{"/b", "/c/"})
	got = append(got, where("t5"), where("t6"))
	r.d.SetCordoned([]string{"/a", "/b", "/c"})
	got = append(got, where("t7"))
	r.d.diskFailed(r.d.dirs[1], syscall.EIO)
	got = append(got, where("t8"))
	r.d.diskFailed(r.d.dirs[2], syscall.EIO)
	got = append(got, where("t9"))
	r.d.diskFailed(r.d.dirs[0], syscall.EIO)
	got = append(got, where("t10"))
	r.want("places", got, []int{0, 1, 2, 0, 0, 0, 1, 2, 0, -1})
	wantError(t, r.d.Failed(), syscall.EIO, "/a")
}

// A new directory beside others joins them once it is formatted.
func TestJoin(t *testing.T) {
	r := newRig(t, "/a")
	r.c.Dirs = []string{"/a", "/new"}
	var err error
	if r.d, err = Open(r.c); err != nil {
		t.Fatal(err)
	}
	r.want("unformatted", r.d.Unformatted(), []string{"/new"})
	wantError(t, r.d.Join("/new"), ErrNotFormatted)
	if _, err := Format(r.mem, []string{"/new"}, Meta{ClusterID: cluster, NodeID: broker}, nil, r.now()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.d.Join("/new"), r.d.Load(context.Background())); err != nil {
		t.Fatal(err)
	}
	r.want("joined", []int{len(r.d.IDs()), len(r.d.Unformatted())}, []int{2, 0})
	r.append(r.create("t"), 1)
	r.append(r.create("u"), 1)
	r.want("used", r.list("/new"), []string{"u-0"})
}

// A damaged batch that a reader meets is said, with file and position, once a minute; its directory works on.
func TestDamageIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 3)
		if err := l.Roll(time.Now()); err != nil {
			t.Fatal(err)
		}
		r.append(l, 1)
		f, err := r.mem.OpenFile("/a/t-0/00000000000000000000.log", vfs.ReadWrite, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{7}, 16) // magic
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			_, err := l.View().Read(0, 10, storage.LogEnd, true)
			if err == nil {
				t.Fatal("it was read")
			}
			r.d.Check(l, err)
			time.Sleep(time.Second)
		}
		said := func(text string) int { return strings.Count(r.said.String(), text) }
		r.want("said", said("a log is damaged"), 2)
		r.want("where", said("file 00000000000000000000.log, position 0: corrupt record batch: magic 7"), 2)
		r.want("disk", r.d.Info()[0].Err, nil)
		r.d.Check(l, &record.Corrupt{Reason: "a client's"})
		r.want("said", said("a client's"), 0)
		r.close(1)
	})
}
