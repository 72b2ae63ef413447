package logdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a node's log directories on memory.
type rig struct {
	t      testing.TB
	mem    *vfs.Mem
	faults *vfs.Faults
	ops    *vfs.Log
	c      Config
	said   syncBuffer
	d      *Dirs
}

// syncBuffer may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const cluster, broker = "GvH2vGkTQ9Gdd2XjdX9u6A", 7

// newRig formats directories. They are not open yet.
func newRig(t testing.TB, dirs ...string) *rig {
	t.Helper()
	r := &rig{t: t, mem: vfs.NewMem(time.Now)}
	r.faults = vfs.NewFaults(r.mem, nil)
	r.ops = vfs.NewLog(r.faults)
	if _, err := Format(r.mem, dirs, Meta{ClusterID: cluster, NodeID: broker}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	r.c = Config{
		FS: r.ops, Dirs: dirs, ClusterID: cluster, NodeID: broker, Logger: slog.New(slog.NewTextHandler(&r.said, nil)),
		Cleaner:  CleanerConfig{Off: true},
		Defaults: storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: -1, FileDeleteDelay: time.Minute},
	}
	t.Cleanup(func() {
		if r.d != nil {
			r.faults.Set(nil)
			r.d.Close(-1)
		}
	})
	return r
}

// open opens and loads the directories.
func (r *rig) open() *rig {
	r.t.Helper()
	var err error
	if r.d, err = Open(r.c); err == nil {
		err = r.d.Load(context.Background())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) close(epoch int64) {
	r.t.Helper()
	if err := r.d.Close(epoch); err != nil {
		r.t.Fatal(err)
	}
}

// crash loses what was not synced and opens again. The goroutines of the node before the crash are ended.
func (r *rig) crash() *rig {
	r.t.Helper()
	r.mem.Crash(nil)
	r.d.Close(-1) // finds its files gone
	return r.open()
}

// topic is a topic's id, made from its name.
func topic(name string) (id schema.UUID) {
	copy(id[:], name)
	id[15] = 1
	return id
}

// create creates partition 0 of a topic.
func (r *rig) create(name string) *storage.Log {
	r.t.Helper()
	l, err := r.d.Create(name, topic(name), 0, schema.ZeroUUID)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// append appends records, each of its own batch, with the timestamp of now, and counts them as replicated.
func (r *rig) append(l *storage.Log, records int) {
	r.t.Helper()
	for range records {
		b := codecs.NewBuilder()
		b.Add(r.now().UnixMilli(), []byte("key"), make([]byte, 1000), nil)
		a, err := l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: r.now()})
		if err != nil {
			r.t.Fatal(err)
		}
		r.d.Appended(l, a)
	}
	l.SetHighWatermark(l.View().LogEnd)
}

func (r *rig) now() time.Time {
	if r.c.Now == nil {
		return time.Now()
	}
	return r.c.Now()
}

func (r *rig) want(what string, got, want any) {
	r.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Fatalf("%s (-want +got):\n%s\n%s", what, diff, r.said.String())
	}
}

// wantError expects an error of a kind whose text has all parts.
func wantError(t testing.TB, err, kind error, parts ...string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("error %v, expected %v", err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q says nothing of %q", err, p)
		}
	}
}

// list lists a directory without what is always there.
func (r *rig) list(dir string) []string {
	r.t.Helper()
	names, err := r.mem.List(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool {
		return n == fileLock || n == fileMeta || slices.Contains(checkpointFiles[:], n)
	})
}

// file gives a file's text, or its error's.
func (r *rig) file(elem ...string) string {
	b, err := vfs.ReadWhole(r.mem, filepath.Join(elem...), 1<<20)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (r *rig) exists(elem ...string) bool {
	_, err := r.mem.Stat(filepath.Join(elem...))
	return err == nil
}

func (r *rig) write(text string, elem ...string) {
	r.t.Helper()
	if err := vfs.Replace(r.mem, filepath.Join(elem...), []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

// snapshot is everything below a directory: names, and what the files hold.
func (r *rig) snapshot(dir string) string {
	r.t.Helper()
	names, err := r.mem.List(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, n := range names {
		if info, err := r.mem.Stat(filepath.Join(dir, n)); err == nil && info.IsDir() {
			fmt.Fprintf(&b, "%s/\n%s", n, r.snapshot(filepath.Join(dir, n)))
			continue
		}
		fmt.Fprintf(&b, "%s: %q\n", n, r.file(dir, n))
	}
	return b.String()
}
