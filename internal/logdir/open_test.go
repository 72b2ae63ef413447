package logdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func id(t testing.TB, text string) schema.UUID {
	t.Helper()
	u, err := schema.ParseUUID(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestFormat(t *testing.T) {
	good, dash := id(t, "dZIpV5TTTkuEj7kRRI0yow"), id(t, "-ZIpV5TTTkuEj7kRRI0yow")
	given := func(ids ...schema.UUID) func() schema.UUID {
		i := 0
		return func() schema.UUID { i++; return ids[(i-1)%len(ids)] }
	}
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, c := range map[string]struct {
		dirs  []string
		meta  Meta
		newID func() schema.UUID
		want  string // meta.properties of the first directory, or the error
	}{
		"drawn": {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3}, given(good),
			"#\n#Tue Feb 03 04:05:06 UTC 2026\ncluster.id=c\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\nnode.id=3\nversion=1\n"},
		"drawn again": {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3}, given(dash, schema.UUID{15: 99}, schema.ZeroUUID, good),
			"#\n#Tue Feb 03 04:05:06 UTC 2026\ncluster.id=c\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\nnode.id=3\nversion=1\n"},
		"none can be drawn": {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3}, given(dash), "no usable directory.id was found"},
		"given": {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3, DirectoryID: good}, given(dash),
			"#\n#Tue Feb 03 04:05:06 UTC 2026\ncluster.id=c\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\nnode.id=3\nversion=1\n"},
		"given with a dash":  {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3, DirectoryID: dash}, nil, "cannot be given"},
		"given, reserved":    {[]string{"/a"}, Meta{ClusterID: "c", NodeID: 3, DirectoryID: schema.UUID{15: 7}}, nil, "cannot be given"},
		"one for two":        {[]string{"/a", "/b"}, Meta{ClusterID: "c", NodeID: 3, DirectoryID: good}, nil, "cannot be given to 2 directories"},
		"no cluster":         {[]string{"/a"}, Meta{NodeID: 3}, nil, "not enough"},
		"no node":            {[]string{"/a"}, Meta{ClusterID: "c", NodeID: -1}, nil, "not enough"},
		"formatted":          {[]string{"/new", "/old"}, Meta{ClusterID: "c", NodeID: 3}, nil, "log directory /old: formatted already"},
		"a cluster's escape": {[]string{"/a"}, Meta{ClusterID: " =ü", NodeID: 3, DirectoryID: good}, nil, "#\n#Tue Feb 03 04:05:06 UTC 2026\ncluster.id=\\ \\=\\u00FC\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\nnode.id=3\nversion=1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/old")
			before := r.snapshot("/")
			metas, err := Format(r.mem, c.dirs, c.meta, c.newID, now)
			if err != nil {
				wantError(t, err, nil, c.want)
				r.want("after an error", r.snapshot("/"), before)
				return
			}
			r.mem.Crash(nil) // durable
			r.want("meta.properties", r.file(c.dirs[0], fileMeta), c.want)
			m, err := ReadMeta(r.mem, c.dirs[0])
			if err != nil || m != metas[0] {
				t.Fatalf("read %+v, %v, written %+v", m, err, metas[0])
			}
		})
	}
}

// What ReadMeta takes and refuses.
func TestReadMeta(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"version 1":         {"version=1\ncluster.id=c\nnode.id=1\n", "{1 c 1 AAAAAAAAAAAAAAAAAAAAAA}"},
		"with id":           {"#\n#date\nnode.id=1\r\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\r\nversion=1\ncluster.id=c", "{1 c 1 dZIpV5TTTkuEj7kRRI0yow}"},
		"ZooKeeper's":       {"version=0\nbroker.id=4\ncluster.id=c\n", "{0 c 4 AAAAAAAAAAAAAAAAAAAAAA}"},
		"empty":             {"", "{0  -1 AAAAAAAAAAAAAAAAAAAAAA}"},
		"Java's ways":       {"version : 1\n! no\ncluster.id \\\n  c\\u0064\nnode.id 1\nextra", "{1 cd 1 AAAAAAAAAAAAAAAAAAAAAA}"},
		"no cluster":        {"version=1\nnode.id=1\n", "log directory /a: meta.properties: malformed file: cluster.id is missing"},
		"no node":           {"version=1\ncluster.id=c\n", "log directory /a: meta.properties: malformed file: node.id is missing"},
		"node is no number": {"version=1\ncluster.id=c\nnode.id=one\n", `log directory /a: meta.properties: malformed file: node.id is "one", which is no number`},
		"node too large":    {"version=1\ncluster.id=c\nnode.id=2147483648\n", `log directory /a: meta.properties: malformed file: node.id is "2147483648", which is no number`},
		"version":           {"version=2\n", `log directory /a: meta.properties: malformed file: version "2", known are 0 and 1`},
		"reserved":          {"version=1\ncluster.id=c\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n", "log directory /a: meta.properties: malformed file: directory.id AAAAAAAAAAAAAAAAAAAAAQ is reserved"},
		"bad escape":        {"cluster.id=\\u12\n", `log directory /a: meta.properties: malformed file: \u without four digits in "\\u12"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a")
			r.write(c.text, "/a", fileMeta)
			m, err := ReadMeta(r.mem, "/a")
			got := fmt.Sprint(m)
			if err != nil {
				got = err.Error()
				wantError(t, err, ErrMalformed)
			}
			r.want("read", got, c.want)
		})
	}
}

// Each reason not to open gives one clear error; afterwards nothing is locked, and nothing has changed.
func TestOpenRefuses(t *testing.T) {
	fail := func(kind vfs.OpKind, base string, err error) func(r *rig) {
		return func(r *rig) {
			r.faults.Set(func(op vfs.Op) error {
				if op.Kind == kind && filepath.Base(op.Path) == base {
					return err
				}
				return nil
			})
		}
	}
	for name, c := range map[string]struct {
		harm  func(r *rig)
		kind  error
		parts []string
	}{
		"no directory is named":            {func(r *rig) { r.c.Dirs = nil }, nil, []string{"log.dirs"}},
		"metadata directory not formatted": {func(r *rig) { r.c.MetadataDir = "/none" }, ErrNotFormatted, []string{"/none"}},
		"another cluster's node":           {func(r *rig) { r.c.ClusterID = "other" }, ErrIdentity, []string{"/a", "cluster.id", cluster, "other"}},
		"another node's":                   {func(r *rig) { r.c.NodeID = 8 }, ErrIdentity, []string{"/a", "node.id", "is 7", "is 8"}},
		"two clusters'": {func(r *rig) {
			r.c.ClusterID = ""
			r.write("version=1\ncluster.id=c\nnode.id=7\n", "/b", fileMeta)
		}, ErrIdentity, []string{"/b", "is c", cluster}},
		"empty":  {func(r *rig) { r.write("", "/b", fileMeta) }, ErrMalformed, []string{"/b", fileMeta}},
		"a copy": {func(r *rig) { r.write(r.file("/a", fileMeta), "/b", fileMeta) }, nil, []string{"/a", "/b", "one is a copy of the other"}},
		"twice":  {func(r *rig) { r.c.Dirs = []string{"/a", "/a/"} }, nil, []string{"/a is configured twice"}},
		"the metadata log is elsewhere": {func(r *rig) { r.mem.MkdirAll("/b/__cluster_metadata-0", 0o755) }, nil,
			[]string{"/b has a metadata log", "metadata directory is /a"}},
		"meta.properties unreadable": {fail(vfs.OpOpen, fileMeta, syscall.EACCES), fs.ErrPermission, []string{"/a", fileMeta}},
		"lock unwritable":            {fail(vfs.OpLock, fileLock, syscall.EROFS), syscall.EROFS, []string{"/a", "cannot be locked"}},
		"checkpoint unreadable":      {fail(vfs.OpRead, checkpointFiles[highWatermarks], syscall.EIO), syscall.EIO, []string{"/a", checkpointFiles[highWatermarks]}},
		"marker unreadable":          {fail(vfs.OpRead, fileClean, syscall.EIO), syscall.EIO, []string{"/a", fileClean}},
		"marker cannot be removed":   {fail(vfs.OpRemove, fileClean, syscall.EROFS), syscall.EROFS, []string{"/a", fileClean}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b").open()
			r.append(r.create("t"), 3)
			r.close(42)
			c.harm(r)
			before := r.snapshot("/")
			d, err := Open(r.c)
			if d != nil {
				d.Close(-1)
			}
			wantError(t, err, c.kind, c.parts...)
			r.want("after the error", r.snapshot("/"), before)
			for _, dir := range []string{"/a", "/b"} {
				lock, err := r.mem.Lock(filepath.Join(dir, fileLock))
				if err != nil {
					t.Fatalf("%s is still locked: %v", dir, err)
				}
				lock.Close()
			}
		})
	}
}

func TestLocked(t *testing.T) {
	r := newRig(t, "/a", "/b", "/m")
	r.c.Dirs, r.c.MetadataDir = []string{"/a", "/b"}, "/m"
	r.open()
	r.append(r.create("t"), 3)
	for _, dirs := range [][]string{{"/a", "/b"}, {"/b"}, {"/m"}} {
		other := r.c
		other.Dirs, other.MetadataDir = dirs, ""
		_, err := Open(other)
		wantError(t, err, ErrLocked, dirs[0])
	}
	r.append(r.d.Logs()[0], 3)
	r.close(1)
	r.open()
	r.want("clean", r.d.CleanShutdownEpoch(), int64(1))
}

// A metadata directory apart has an id, but no partitions.
func TestMetadataDirectoryApart(t *testing.T) {
	r := newRig(t, "/a", "/m")
	r.c.Dirs, r.c.MetadataDir = []string{"/a"}, "/m/."
	r.mem.MkdirAll("/m/t-0", 0o755)
	r.open()
	m, _ := ReadMeta(r.mem, "/m")
	r.want("ids", []any{r.d.MetadataDir(), r.d.MetadataDirID(), len(r.d.IDs()), r.d.ClusterID()}, []any{"/m", m.DirectoryID, 1, cluster})
	l, err := r.d.Create("u", topic("u"), 0, m.DirectoryID)
	if err != nil {
		t.Fatal(err)
	}
	r.want("directory", l.Dir(), "/a/u-0")
	r.want("logs", len(r.d.Logs()), 1)
	r.close(3)
	r.want("marker", []bool{r.exists("/a", fileClean), r.exists("/m", fileClean)}, []bool{true, false})
}

// A directory without an id gets one, which stays.
func TestDirectoryIDIsAdded(t *testing.T) {
	r := newRig(t, "/a")
	r.write("version=1\ncluster.id="+cluster+"\nnode.id=7\n", "/a", fileMeta)
	r.c.NewID = func() schema.UUID { return schema.ZeroUUID }
	_, err := Open(r.c)
	wantError(t, err, nil, "no usable directory.id")
	r.c.NewID = nil
	r.open()
	first := r.d.IDs()[0]
	r.crash()
	if first == schema.ZeroUUID || r.d.IDs()[0] != first {
		t.Fatalf("%v, then %v", first, r.d.IDs()[0])
	}
}

// DETAILS 27: the marker carries the broker epoch; without it, or where directories differ, the shutdown was unclean.
func TestCleanShutdown(t *testing.T) {
	type outcome struct {
		Epoch int64
		Clean []bool
	}
	look := func(r *rig) outcome {
		o := outcome{Epoch: r.d.CleanShutdownEpoch()}
		for _, dir := range r.d.dirs {
			o.Clean = append(o.Clean, dir.clean)
		}
		return o
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	loseSync := func(r *rig) {
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && strings.HasPrefix(op.Path, "/b/") && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		})
	}
	for name, c := range map[string]struct {
		do   func(r *rig) // with clean directories of epoch 42, not open
		want outcome
	}{
		"closed":                    {func(r *rig) {}, outcome{42, []bool{true, true}}},
		"closed with another":       {func(r *rig) { r.open().close(43) }, outcome{43, []bool{true, true}}},
		"killed":                    {func(r *rig) { r.open().d.unlock() }, outcome{-1, []bool{false, false}}},
		"power lost":                {func(r *rig) { r.open(); r.mem.Crash(nil) }, outcome{-1, []bool{false, false}}},
		"never registered":          {func(r *rig) { r.open().close(-1) }, outcome{42, []bool{true, true}}},
		"never loaded":              {func(r *rig) { r.d, _ = Open(r.c); r.close(-1) }, outcome{42, []bool{true, true}}},
		"loading was given up":      {func(r *rig) { r.d, _ = Open(r.c); r.d.Load(canceled); r.close(-1) }, outcome{42, []bool{true, true}}},
		"killed, then given up":     {func(r *rig) { r.open().d.unlock(); r.d, _ = Open(r.c); r.d.Load(canceled); r.close(-1) }, outcome{-1, []bool{false, false}}},
		"killed, then not loaded":   {func(r *rig) { r.open().d.unlock(); r.d, _ = Open(r.c); r.close(-1) }, outcome{-1, []bool{false, false}}},
		"killed, then unregistered": {func(r *rig) { r.open().d.unlock(); r.open().close(-1) }, outcome{-1, []bool{true, true}}},
		"killed, then closed":       {func(r *rig) { r.open().d.unlock(); r.open().close(44) }, outcome{44, []bool{true, true}}},
		"one differs":               {func(r *rig) { r.write(`{"version":0,"brokerEpoch":41}`, "/b", fileClean) }, outcome{-1, []bool{true, true}}},
		"one is missing":            {func(r *rig) { r.mem.Remove("/b/" + fileClean) }, outcome{-1, []bool{true, false}}},
		"of an older release":       {func(r *rig) { r.write("", "/a", fileClean); r.write("", "/b", fileClean) }, outcome{-1, []bool{true, true}}},
		"garbage":                   {func(r *rig) { r.write("\x00{", "/a", fileClean) }, outcome{-1, []bool{true, true}}},
		"Apache's":                  {func(r *rig) { r.write(`{"version":0,"brokerEpoch":42}`, "/a", fileClean) }, outcome{42, []bool{true, true}}},
		"a disk failed while it ran": {func(r *rig) {
			r.open()
			l := r.d.Log(topic("u"), 0)
			r.append(l, 1)
			loseSync(r)
			done := make(chan error, 1)
			r.d.Flush(l, 4, func(err error) { done <- err })
			r.d.flushQueued(false)
			wantError(t, <-done, syscall.EIO)
			r.faults.Set(nil)
			r.d.Close(43)
		}, outcome{-1, []bool{true, false}}},
		"a disk failed at the end": {func(r *rig) {
			r.open()
			r.append(r.d.Log(topic("u"), 0), 1)
			loseSync(r)
			wantError(t, r.d.Close(43), syscall.EIO, "/b/u-0")
			r.faults.Set(nil)
		}, outcome{-1, []bool{true, false}}},
		"a checkpoint failed at the end": {func(r *rig) {
			r.open()
			r.append(r.d.Log(topic("u"), 0), 1)
			r.faults.Set(vfs.Schedule(vfs.Rule{Kind: vfs.OpRename, Match: "recovery-point*", Times: 1, Err: syscall.ENOSPC}))
			wantError(t, r.d.Close(43), syscall.ENOSPC, "/recovery-point-offset-checkpoint")
			r.faults.Set(nil)
		}, outcome{-1, []bool{true, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "/a", "/b").open()
			r.append(r.create("t"), 3)
			r.append(r.create("u"), 3)
			r.close(42)
			c.do(r)
			r.open()
			r.want("shutdown", look(r), c.want)
			r.want("records", []any{r.d.Log(topic("t"), 0).View().LogEnd, r.d.Log(topic("u"), 0).View().LogEnd >= 3}, []any{int64(3), true})
		})
	}
}

// A log that could not be opened after a crash was not recovered. Closing must not make it count as clean, for what is
// torn in it would be trusted then.
func TestBrokenLogIsNotClean(t *testing.T) {
	r := newRig(t, "/a").open()
	l := r.create("t")
	r.append(l, 3)
	r.append(r.create("u"), 3)
	r.close(42)
	r.open() // killed here, with a torn batch
	l = r.d.Log(topic("t"), 0)
	f, err := r.mem.OpenFile("/a/t-0/00000000000000000000.log", vfs.ReadWrite, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{1, 2, 3}, l.Size())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.d.unlock()
	r.faults.Set(func(op vfs.Op) error {
		if strings.HasPrefix(op.Path, "/a/t-0/") && op.Kind == vfs.OpRead {
			return syscall.EIO
		}
		return nil
	})
	r.open()
	r.want("the broken one", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
	r.close(43)
	r.faults.Set(nil)
	r.open()
	r.want("clean", r.d.dirs[0].clean, false)
	r.want("recovered", r.d.Log(topic("t"), 0).View().LogEnd, int64(3))
	r.want("other", r.d.Log(topic("u"), 0).View().LogEnd, int64(3))
	r.close(44)
	r.open()
	r.want("epoch", r.d.CleanShutdownEpoch(), int64(44))
}

var errKilled = errors.New("killed")

// A kill at every operation of Close: whenever the marker is there, everything is there; otherwise recovery finds all that
// was durable, and the directory can be used.
func TestKilledWhileClosing(t *testing.T) {
	for seed := uint64(0); ; seed++ {
		r := newRig(t, "/a", "/b").open()
		t0, t1 := r.create("t"), r.create("u")
		r.append(t0, 5)
		r.append(t1, 5)
		if err := t0.Flush(3); err != nil {
			t.Fatal(err)
		}
		r.d.checkpointAll(recoveryPoints)
		r.append(t1, 2)
		done := uint64(0)
		r.faults.Set(func(op vfs.Op) error {
			if done++; done > seed {
				return errKilled
			}
			return nil
		})
		err := r.d.Close(42)
		r.faults.Set(nil)
		r.mem.Crash(rand.New(rand.NewPCG(seed, 0)))
		r.open()
		for i, l := range []*storage.Log{r.d.Log(topic("t"), 0), r.d.Log(topic("u"), 0)} {
			least := []int64{3, 0}[i]
			if r.d.dirs[i].clean {
				least = []int64{5, 7}[i]
			}
			if l == nil || l.View().LogEnd < least {
				t.Fatalf("killed at operation %d: log %d has %v of %d records\n%s", seed, i, l, least, r.said.String())
			}
			r.append(l, 1)
		}
		r.close(43)
		r.open()
		r.want("epoch", r.d.CleanShutdownEpoch(), int64(43))
		r.close(44)
		if err == nil {
			if seed < 20 {
				t.Fatalf("closing took only %d operations", seed)
			}
			return
		}
	}
}

// The wrong order of calls neither panics nor writes.
func TestCallsOutOfOrder(t *testing.T) {
	r := newRig(t, "/a").open()
	r.append(r.create("t"), 3)
	r.close(42)
	var err error
	if r.d, err = Open(r.c); err != nil {
		t.Fatal(err)
	}
	r.d.Start() // too early: the checkpoints would lose all their lines
	_, err = r.d.Create("u", topic("u"), 0, schema.ZeroUUID)
	wantError(t, err, ErrClosed)
	wantError(t, r.d.Delete(topic("t"), 0), ErrClosed)
	_, err = r.d.Strays(func(string, schema.UUID, int32) bool { return true })
	wantError(t, err, ErrClosed)
	if err := r.d.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.d.Load(context.Background()), ErrClosed)
	r.d.Start()
	r.d.Start()
	l := r.d.Log(topic("t"), 0)
	r.close(43)
	r.close(44) // once is enough
	before := r.snapshot("/")
	r.d.Start()
	wantError(t, r.d.Load(context.Background()), ErrClosed)
	r.d.Flush(l, 3, func(err error) { wantError(t, err, ErrClosed) })
	r.d.Flush(l, 3, nil)
	r.d.SetCleaner(CleanerConfig{})
	r.d.SetIntervals(Intervals{})
	r.d.SetTopicConfig("t", storage.Config{FlushAge: time.Millisecond})
	_, err = r.d.Create("u", topic("u"), 0, schema.ZeroUUID)
	wantError(t, err, ErrClosed)
	r.want("after Close", r.snapshot("/"), before)
	r.want("marker", r.file("/a", fileClean), `{"version":0,"brokerEpoch":43}`)
}

func FuzzMeta(f *testing.F) {
	f.Add("version=1\ncluster.id=c\nnode.id=1\ndirectory.id=dZIpV5TTTkuEj7kRRI0yow\n")
	f.Add("version:0\nbroker.id 4\\\n  2\ncluster.id=\\u00fc\\ \\=\\ud83d\\ude00")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := decodeMeta(text)
		if err != nil {
			wantError(t, err, ErrMalformed)
			return
		}
		again, err := decodeMeta(string(m.encode(time.Unix(0, 0))))
		if m.Version == 0 && m.NodeID < -1 || m.Version == 1 && strings.ToValidUTF8(m.ClusterID, "") != m.ClusterID {
			return // cannot be said in a file
		}
		if err != nil || again != m && strings.ToValidUTF8(m.ClusterID, "") == m.ClusterID {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add("a", "b")
	f.Add(" k=:#!", " v\t\n\r\f\\")
	f.Add("ü", "\U0001f600")
	f.Fuzz(func(t *testing.T, key, value string) {
		if !utf8.ValidString(key) || !utf8.ValidString(value) || key == "" {
			return
		}
		// Keys need their blanks escaped; here only values are written, and keys that are words.
		if strings.ContainsAny(key, " ") {
			return
		}
		p, err := parseProperties(escape(key) + "=" + escape(value) + "\n")
		if diff := cmp.Diff(map[string]string{key: value}, p); err != nil || diff != "" {
			t.Fatalf("%q: %v\n%s", escape(key)+"="+escape(value), err, diff)
		}
		_, _ = parseProperties(value) // never panics
	})
}
