package logdir

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Logs of which there are two, and those of which nobody knows whose they are, are read at the start, however much there is.
func TestComparedAtTheStart(t *testing.T) {
	r := dirty(t, map[string]int{"t": 300, "u": 300}, "/a", "/b")
	if err := r.mem.Remove("/b/u-0/partition.metadata"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]schema.UUID{}
	for _, dir := range []string{"/a", "/b"} {
		m, err := ReadMeta(r.mem, dir)
		if err != nil {
			t.Fatal(err)
		}
		ids[dir] = m.DirectoryID
	}
	copyAll(t, r.mem, "/a/t-0", "/b/t-0")
	r.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return ids["/b"], true }
	r.open()
	l := r.d.Log(topic("t"), 0)
	if l == nil {
		t.Fatalf("the log is not served\n%s", r.said.String())
	}
	r.want("the log", []any{l.Dir(), l.View().LogEnd, r.exists("/a/t-0")}, []any{"/b/t-0", int64(300), false})
	_, err := r.d.Create("u", topic("u"), 0, schema.ZeroUUID)
	wantError(t, err, errUnnamed, "/b/u-0")
	r.close(1)
}

// copyAll copies a directory.
func copyAll(t testing.TB, m *vfs.Mem, from, to string) {
	t.Helper()
	names, err := m.List(from)
	if err = errors.Join(err, m.MkdirAll(to, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := vfs.ReadWhole(m, from+"/"+name, 1<<24)
		if err == nil {
			err = vfs.Replace(m, to+"/"+name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Where too many files are open from the first one of a log on, nobody knows at the start whose it is. It is recovered when Create asks.
func TestRecoveredAfterTooManyFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dirty(t, map[string]int{"t": 1000}, "/a")
		r.faults.Set(func(op vfs.Op) error {
			if strings.Contains(op.Path, "/t-0/") && op.Kind == vfs.OpOpen {
				return syscall.EMFILE
			}
			return nil
		})
		r.open()
		r.d.Start()
		r.faults.Set(nil)
		_, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
		wantError(t, err, ErrRecovering)
		synctest.Wait()
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(1000))
		r.close(1)
	})
}

// Create that comes while recovery ends gives the log, or is told that it is being recovered: it never makes another one.
func TestCreateWhileRecoveryEnds(t *testing.T) {
	for range 200 {
		r := dirty(t, map[string]int{"t": 5}, "/a", "/b")
		if err := r.opened(0); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					l, err := r.d.Create("t", topic("t"), 0, schema.ZeroUUID)
					if l != nil {
						if end := l.View().LogEnd; end != 5 {
							t.Errorf("a log that ends at %d", end)
						}
						return
					}
					if !errors.Is(err, ErrRecovering) {
						t.Error(err)
						return
					}
				}
			})
		}
		r.d.Start()
		wg.Wait()
		r.close(1)
	}
}

// A log that is flushed and idle when the node is killed is served at once, however much its last segment has.
func TestFlushedLogsAreServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		r.d.Start()
		l := r.create("t")
		for range 100 {
			if _, err := l.Append([]record.Batch{oneBatch(strings.Repeat(".", 16_000), -1)}, storage.AppendOptions{Now: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.kill()
		r.open()
		r.want("waiting", len(r.d.dirs[0].pending), 0)
		r.want("end", r.d.Log(topic("t"), 0).View().LogEnd, int64(100))
		r.close(1)
	})
}

// A checkpoint that is written while logs are loaded has the lines of all: of those that are loaded, of those that are not, and of those
// of which there are two.
func TestCheckpointWhileLoading(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	for _, name := range []string{"t", "u", "v"} {
		l, err := r.d.Create(name, topic(name), 0, r.d.IDs()[0])
		if err != nil {
			t.Fatal(err)
		}
		r.append(l, 10)
		if err := l.Flush(10); err != nil {
			t.Fatal(err)
		}
	}
	r.d.checkpointAll(recoveryPoints)
	r.kill()
	copyAll(t, r.mem, "/a/t-0", "/b/t-0")
	r.write("0\n1\nt 0 10\n", "/b", checkpointFiles[recoveryPoints])
	torn := "/a/u-0/00000000000000000000.log"
	if b, err := vfs.ReadWhole(r.mem, torn, 1<<20); err != nil {
		t.Fatal(err)
	} else if err := vfs.Replace(r.mem, torn, b[:len(b)-1]); err != nil {
		t.Fatal(err)
	}
	r.c.RecoveryThreads = 1
	var said []string
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpRename && strings.HasSuffix(op.To, checkpointFiles[recoveryPoints]) {
			said = append(said, strings.ReplaceAll(r.file(op.Path), "\n", " "))
		}
		return nil
	})
	r.open()
	if len(said) == 0 || said[0] != "0 3 t 0 10 u 0 9 v 0 10 " {
		t.Fatalf("%q", said)
	}
}
