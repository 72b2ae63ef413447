package node_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/logdir"
	"github.com/klamm-io/klamm/internal/node"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/vfs"
)

// site is where a node starts: its disk, its network, its configuration.
type site struct {
	t      *testing.T
	mem    *vfs.Mem
	faults *vfs.Faults
	net    *server.MemNet
	listen func(string) (net.Listener, error)
	props  map[string]string
	node   *node.Node
}

func newSite(t *testing.T) *site {
	before := goleak.IgnoreCurrent()
	s := &site{t: t, mem: vfs.NewMem(time.Now), net: &server.MemNet{}, props: map[string]string{
		"log.dirs": "/a,/b", "listeners": "PLAINTEXT://klamm:9092", "offsets.topic.num.partitions": "1",
	}}
	s.faults, s.listen = vfs.NewFaults(s.mem, nil), s.net.Listen
	t.Cleanup(func() {
		if s.node != nil {
			s.stop()
		}
		goleak.VerifyNone(t, before)
	})
	return s
}

func (s *site) start() error {
	s.t.Helper()
	c, _, err := config.NewNode(s.props)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n, err := node.Start(ctx, node.Options{Config: c, FS: s.faults, Listen: s.listen})
	if err == nil {
		s.node = n
	}
	return err
}

func (s *site) up() *site {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *site) stop() {
	s.t.Helper()
	n := s.node
	s.node = nil
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// with does something as a client of the node.
func (s *site) with(f func(ctx context.Context, cl *kgo.Client) error, opts ...kgo.Opt) {
	s.t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.node.Bootstrap()...), kgo.Dialer(s.net.Dial))...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f(ctx, cl); err != nil {
		s.t.Fatal(err)
	}
}

// fill creates a topic with two records.
func (s *site) fill(topic string) {
	s.t.Helper()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			return err
		}
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("1")}, &kgo.Record{Topic: topic, Value: []byte("2")}).FirstErr()
	})
}

// wantFilled expects what fill made.
func (s *site) wantFilled(topics ...string) {
	s.t.Helper()
	s.with(func(ctx context.Context, cl *kgo.Client) error {
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		for _, topic := range topics {
			if o, _ := ends.Lookup(topic, 0); o.Err != nil || o.Offset != 2 {
				return fmt.Errorf("topic %s ends at %d, %w", topic, o.Offset, o.Err)
			}
		}
		return nil
	})
}

// disk is all that is on the disk, but the files that only serve as locks, and indexes that the next start makes anew.
func (s *site) disk(dir string, out map[string]string) map[string]string {
	s.t.Helper()
	names, err := s.mem.List(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if info, err := s.mem.Stat(path); err != nil {
			s.t.Fatal(err)
		} else if info.IsDir() {
			s.disk(path, out)
		} else if name != ".lock" && !strings.HasSuffix(name, ".timeindex") {
			out[path] = string(s.read(path))
		}
	}
	return out
}

func (s *site) read(path string) []byte {
	s.t.Helper()
	b, err := vfs.ReadWhole(s.mem, path, 64<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) write(path string, b []byte) {
	s.t.Helper()
	if err := vfs.Replace(s.mem, path, b); err != nil {
		s.t.Fatal(err)
	}
}

// damage changes a byte of a file, and gives what takes it back.
func (s *site) damage(path string, at int) (repair func()) {
	s.t.Helper()
	b := s.read(path)
	if at < 0 {
		at += len(b)
	}
	bad := append([]byte(nil), b...)
	bad[at] ^= 0x55
	s.write(path, bad)
	return func() { s.write(path, b) }
}

// wantError expects one error, on one line, of a kind, that says all parts.
func wantError(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("error %v, expected %v", err, kind)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Fatalf("more than one line: %q", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("%q says nothing of %q", err, p)
		}
	}
}

const metadataLog = "/a/__cluster_metadata-0/00000000000000000000.log"

// Each thing that is in a start's way gives one clear error. Nothing stays open, nothing on the disk is changed, and once it
// is out of the way the node starts cleanly, with everything that it had.
func TestHostileStarts(t *testing.T) {
	fault := func(kind vfs.OpKind, path string, err error) func(s *site) func() {
		return func(s *site) func() {
			s.faults.Set(func(op vfs.Op) error {
				if op.Kind == kind && op.Path == path {
					return err
				}
				return nil
			})
			return func() { s.faults.Set(nil) }
		}
	}
	prop := func(key, value string) func(s *site) func() {
		return func(s *site) func() {
			s.props[key] = value
			return func() { delete(s.props, key) }
		}
	}
	replace := func(path, old, with string) func(s *site) func() {
		return func(s *site) func() {
			b := s.read(path)
			if !strings.Contains(string(b), old) {
				s.t.Fatalf("%s: %q", path, b)
			}
			s.write(path, []byte(strings.Replace(string(b), old, with, 1)))
			return func() { s.write(path, b) }
		}
	}
	damaged := func(path string, at int) func(s *site) func() {
		return func(s *site) func() { return s.damage(path, at) }
	}
	for name, c := range map[string]struct {
		harm  func(s *site) (repair func())
		kind  error
		parts []string
	}{
		"another node's":             {prop("node.id", "2"), logdir.ErrIdentity, []string{"/a", "node.id", "is 1", "is 2"}},
		"another cluster's":          {replace("/b/meta.properties", "cluster.id=", "cluster.id=x"), logdir.ErrIdentity, []string{"/b", "cluster.id"}},
		"meta.properties is corrupt": {replace("/a/meta.properties", "version=1", "version=\x00"), logdir.ErrMalformed, []string{"/a", "meta.properties", "version"}},
		"meta.properties is empty": {func(s *site) func() {
			b := s.read("/a/meta.properties")
			s.write("/a/meta.properties", nil)
			return func() { s.write("/a/meta.properties", b) }
		}, logdir.ErrMalformed, []string{"/a", "meta.properties"}},
		"meta.properties is lost": {func(s *site) func() {
			b := s.read("/a/meta.properties")
			s.mem.Remove("/a/meta.properties")
			return func() { s.write("/a/meta.properties", b) }
		}, logdir.ErrNotFormatted, []string{"/a", "belong to cluster"}},
		"a directory cannot be read":      {fault(vfs.OpList, "/a", syscall.EACCES), fs.ErrPermission, []string{"/a"}},
		"meta.properties cannot be read":  {fault(vfs.OpOpen, "/a/meta.properties", syscall.EACCES), fs.ErrPermission, []string{"/a/meta.properties"}},
		"the lock cannot be made":         {fault(vfs.OpLock, "/a/.lock", syscall.EROFS), syscall.EROFS, []string{"/a", "locked"}},
		"a checkpoint cannot be read":     {fault(vfs.OpRead, "/a/replication-offset-checkpoint", syscall.EIO), syscall.EIO, []string{"/a/replication-offset-checkpoint"}},
		"bootstrap.checkpoint is corrupt": {damaged("/a/bootstrap.checkpoint", 100), nil, []string{"/a/bootstrap.checkpoint"}},
		"bootstrap.checkpoint is cut": {func(s *site) func() {
			b := s.read("/a/bootstrap.checkpoint")
			s.write("/a/bootstrap.checkpoint", b[:len(b)-5])
			return func() { s.write("/a/bootstrap.checkpoint", b) }
		}, nil, []string{"/a/bootstrap.checkpoint"}},
		"quorum-state is corrupt":                      {damaged("/a/__cluster_metadata-0/quorum-state", 0), nil, []string{"/a/__cluster_metadata-0/quorum-state"}},
		"the metadata log cannot be read":              {fault(vfs.OpRead, metadataLog, syscall.EIO), syscall.EIO, []string{"/a/__cluster_metadata-0", "00000000000000000000.log"}},
		"the metadata log is corrupt at its beginning": {damaged(metadataLog, 30), nil, []string{"/a/__cluster_metadata-0", "00000000000000000000.log", "position 0"}},
		"the metadata log is corrupt in the middle":    {func(s *site) func() { return s.damage(metadataLog, len(s.read(metadataLog))/2) }, nil, []string{"/a/__cluster_metadata-0", "00000000000000000000.log", "position "}},
		"the metadata log is corrupt at its end":       {damaged(metadataLog, -1), nil, []string{"/a/__cluster_metadata-0", "00000000000000000000.log", "position "}},
		"a directory of logs cannot be listed": {func(s *site) func() {
			n := 0
			s.faults.Set(func(op vfs.Op) error {
				if op.Kind == vfs.OpList && op.Path == "/a" {
					if n++; n%2 == 0 { // while loading: the metadata log is open by then
						return syscall.EIO
					}
				}
				return nil
			})
			return func() { s.faults.Set(nil) }
		}, syscall.EIO, []string{"/a"}},
		"the metadata directory is elsewhere": {prop("metadata.log.dir", "/m"), logdir.ErrNotFormatted, []string{"/m", "metadata.log.dir", "cluster"}},
		"the port is in use": {func(s *site) func() {
			s.listen = func(string) (net.Listener, error) { return nil, syscall.EADDRINUSE }
			return func() { s.listen = s.net.Listen }
		}, syscall.EADDRINUSE, []string{"PLAINTEXT", "klamm:9092", "listeners"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t).up()
			s.fill("t")
			s.stop()
			clean := s.disk("/", map[string]string{})
			repair := c.harm(s)
			before := s.disk("/", map[string]string{})
			for range 2 { // and it stays like this
				wantError(t, s.start(), c.kind, c.parts...)
			}
			if diff := cmp.Diff(before, s.disk("/", map[string]string{})); diff != "" {
				t.Fatalf("the disk was changed (-before +after):\n%s", diff)
			}
			repair()
			if diff := cmp.Diff(clean, s.disk("/", map[string]string{})); diff != "" {
				t.Fatalf("the repair was none:\n%s", diff)
			}
			s.up().wantFilled("t")
		})
	}
}

// A directory that a running node has is refused, and that node goes on.
func TestDirectoryOfARunningNode(t *testing.T) {
	first := newSite(t).up()
	first.fill("t")
	second := &site{t: t, mem: first.mem, faults: first.faults, net: first.net, listen: first.listen, props: map[string]string{
		"log.dirs": "/b", "listeners": "PLAINTEXT://klamm:9093",
	}}
	wantError(t, second.start(), logdir.ErrLocked, "/b", ".lock")
	second.props["log.dirs"] = "/a,/b"
	wantError(t, second.start(), logdir.ErrLocked, "/a", ".lock")
	first.fill("u")
	first.wantFilled("t", "u")
	first.stop()
	second.up().wantFilled("t", "u")
	second.stop()
}

// A port in use costs nothing: on a real network, with an empty disk.
func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	s := newSite(t)
	s.listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	s.props["listeners"] = "PLAINTEXT://127.0.0.1:0,OTHER://127.0.0.1:" + port
	s.props["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT,CONTROLLER:PLAINTEXT"
	wantError(t, s.start(), syscall.EADDRINUSE, "OTHER", "127.0.0.1:"+port, "is another broker running there?")
	if diff := cmp.Diff(map[string]string{}, s.disk("/", map[string]string{})); diff != "" {
		t.Fatal(diff)
	}
}

// A start that is given up leaves the disk as it was.
func TestStartIsGivenUp(t *testing.T) {
	s := newSite(t).up()
	s.fill("t")
	s.stop()
	c, _, err := config.NewNode(s.props)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n, err := node.Start(ctx, node.Options{Config: c, FS: s.faults, Listen: s.listen}); err == nil {
		s.node = n
		t.Fatal("it started")
	}
	d, err := logdir.Open(logdir.Config{FS: s.mem, Dirs: []string{"/a", "/b"}, NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	epoch := d.CleanShutdownEpoch()
	if err := d.Close(-1); err != nil || epoch < 0 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	s.up().wantFilled("t")
}

// After a crash, what is torn at the end of the metadata log is cut off, and everything that was answered is there.
func TestTornMetadataLog(t *testing.T) {
	for seed := range uint64(5) {
		s := newSite(t).up()
		s.fill("t")
		s.stop()
		// What a crash leaves of a write that was not synced: a part of a batch, anything, or zeros.
		rng := rand.New(rand.NewPCG(seed, 2))
		b := s.read(metadataLog)
		torn := append([]byte(nil), b[len(b)/2:len(b)/2+rng.IntN(100)+1]...)
		if seed == 4 {
			torn = make([]byte, 1000)
		}
		for _, dir := range []string{"/a", "/b"} {
			if err := s.mem.Remove(dir + "/.kafka_cleanshutdown"); err != nil {
				t.Fatal(err)
			}
		}
		s.write(metadataLog, append(append([]byte(nil), b...), torn...))
		s.up().wantFilled("t")
		s.fill("u")
		s.stop()
		if again := s.read(metadataLog); !strings.HasPrefix(string(again), string(b)) {
			t.Fatal("the log was cut too early")
		}
		s.up().wantFilled("t", "u")
		s.stop()
	}
}

// An interrupted format, at every operation, goes on with the next start, also where the metadata has a directory of its
// own.
func TestFormatIsInterrupted(t *testing.T) {
	for _, metadata := range []string{"", "/m", "/b"} {
		done := false
		for at := 0; !done; at++ {
			s := newSite(t)
			if metadata != "" {
				s.props["metadata.log.dir"] = metadata
			}
			n := 0
			s.faults.Set(func(op vfs.Op) error {
				if n++; n > at {
					return syscall.EIO
				}
				done = done || strings.HasSuffix(op.Path, "/.lock") // formatted
				return nil
			})
			err := s.start()
			s.faults.Set(nil)
			if err == nil {
				t.Fatalf("started with a disk that fails from operation %d on", at)
			}
			s.mem.Crash(rand.New(rand.NewPCG(uint64(at), 3)))
			if err := s.start(); err != nil {
				t.Fatalf("interrupted at operation %d (metadata %q): %v", at, metadata, err)
			}
			s.stop()
		}
	}
}

// Directories join the cluster of those that are there; one with another's metadata log does not.
func TestNewDirectories(t *testing.T) {
	s := newSite(t).up()
	s.fill("t")
	id := s.node.ClusterID()
	s.stop()
	s.props["log.dirs"] = "/a,/b,/c"
	s.up().wantFilled("t")
	if s.node.ClusterID() != id || !strings.Contains(string(s.read("/c/meta.properties")), "cluster.id="+id) {
		t.Fatalf("%s became %s\n%s", id, s.node.ClusterID(), s.read("/c/meta.properties"))
	}
	s.stop()
	s.mem.MkdirAll("/d/__cluster_metadata-0", 0o755)
	s.props["log.dirs"] = "/a,/b,/c,/d"
	wantError(t, s.start(), logdir.ErrNotFormatted, "/d/__cluster_metadata-0", "meta.properties")
	// A metadata directory apart is formatted with the others, and checked.
	o := newSite(t)
	o.props["metadata.log.dir"] = "/m"
	o.up()
	o.fill("t")
	o.stop()
	if _, err := o.mem.Stat("/m/__cluster_metadata-0"); err != nil {
		t.Fatal(err)
	}
	o.up().wantFilled("t")
	o.stop()
	b := o.read("/m/meta.properties")
	o.write("/m/meta.properties", []byte(strings.Replace(string(b), "node.id=1", "node.id="+strconv.Itoa(9), 1)))
	wantError(t, o.start(), logdir.ErrIdentity, "/m", "is 9")
	o.write("/m/meta.properties", b)
	o.up().wantFilled("t")
}
