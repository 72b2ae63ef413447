package logdir

import (
	"strings"
	"syscall"
	"testing"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

// A log that was moving when the node was killed is served without a look at the copy, which is made anew.
func TestMovesAgain(t *testing.T) {
	for _, records := range []int{10, 1000} {
		r := newRig(t, "/a", "/b").open()
		l := r.create("t")
		r.append(l, records)
		if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
			t.Fatal(err)
		}
		r.d.moveAll(func(int) bool { return false }) // a part of it
		r.kill()
		r.faults.Set(func(op vfs.Op) error { // its disk fails while it is read, or before
			if op.Kind == vfs.OpRead && strings.HasPrefix(op.Path, "/a/t-0/") && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		})
		r.open()
		r.recoverAll()
		r.want("without its log", []any{len(r.d.Logs()), len(r.list("/b"))}, []any{0, 1}) // the copy
		r.kill()
		r.ops.Reset()
		r.open()
		for _, op := range r.ops.Ops(vfs.OpRead) {
			if strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, "-future/") {
				t.Fatalf("the copy is read: %v", op)
			}
		}
		r.recoverAll()
		to := r.d.MovesTo(topic("t"), 0)
		r.want("moves", []any{r.d.DirID(r.d.Log(topic("t"), 0)), to}, []any{r.d.IDs()[0], r.d.IDs()[1]})
		for len(r.d.movesOf(nil)) > 0 {
			r.d.moveAll(func(int) bool { return true })
		}
		l = r.d.Log(topic("t"), 0)
		r.want("moved", []any{l.Dir(), l.View().LogEnd}, []any{"/b/t-0", int64(records)})
		r.close(1)
	}
}

// While a log may be opened another time, its copy in the directory where the metadata has it does not take its place.
func TestCopyDoesNotTakeThePlace(t *testing.T) {
	r := newRig(t, "/a", "/b").open()
	l := r.create("t")
	r.append(l, 10)
	if err := r.d.Move("t", topic("t"), 0, "/b"); err != nil {
		t.Fatal(err)
	}
	r.d.moveAll(func(int) bool { return false })
	r.append(l, 10)
	there := r.d.IDs()[1]
	r.c.Assigned = func(schema.UUID, int32) (schema.UUID, bool) { return there, true }
	r.kill()
	r.faults.Set(func(op vfs.Op) error {
		if op.Kind == vfs.OpOpen && strings.HasPrefix(op.Path, "/a/t-0/") {
			return syscall.EMFILE
		}
		return nil
	})
	r.open()
	r.want("log", r.d.Log(topic("t"), 0), (*storage.Log)(nil))
	r.faults.Set(nil)
	l, err := r.d.Create("t", topic("t"), 0, there)
	if err != nil {
		t.Fatal(err)
	}
	r.want("the log", []any{l.Dir(), l.View().LogEnd}, []any{"/a/t-0", int64(20)})
	r.close(1)
}
