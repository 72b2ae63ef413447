package server

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/vfs"
	"github.com/klamm-io/klamm/internal/wire"
)

// watched is a file of the system that counts how often it is read, and by default lends its descriptor.
type watched struct {
	vfs.File
	from  fileConn
	reads atomic.Int64
}

func (f *watched) SyscallConn() (syscall.RawConn, error) { return f.from.SyscallConn() }

func (f *watched) ReadAt(b []byte, off int64) (int, error) {
	f.reads.Add(1)
	return f.File.ReadAt(b, off)
}

func openWatched(t *testing.T, content []byte) *watched {
	t.Helper()
	name := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS{}.OpenFile(name, vfs.ReadOnly, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &watched{File: f, from: f.(fileConn)}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// mixed is an answer of memory and ranges of all sizes, and the bytes that the client is to get for it.
func mixed(c *Call, f vfs.File, ref vfs.Ref, content []byte, stretches [][2]int) (wire.Response, []byte) {
	var body wire.Response
	var want []byte
	for i, s := range stretches {
		text := []byte(fmt.Sprintf("<%d>", i))
		body = append(body, wire.Part{Bytes: text}, wire.Part{File: vfs.Range{File: f, Offset: int64(s[0]), Length: int64(s[1]), Ref: ref}})
		want = append(append(want, text...), content[s[0]:s[0]+s[1]]...)
	}
	return wire.WithHeader(c.Header.Key, c.Header.Version, c.Header.CorrelationID, body), want
}

var stretches = [][2]int{
	{4096, 1 << 20}, {0, directPart}, {77, directPart + 1}, {5, 100}, {9, directPart - 1}, {1 << 20, 2 << 20}, {3<<20 - 20000, 20000}, {12, 1},
}

// Ranges of 16 KiB and more reach the client without a read of the file, also where the client takes them slowly and
// where another goroutine than the reader answers; smaller ones are read.
func TestLargeRangesAreNotRead(t *testing.T) {
	if !haveSendfile {
		t.Skip("no sendfile here")
	}
	content := random(3 << 20)
	f, ref := openWatched(t, content), &countedRef{}
	large := [][2]int{stretches[0], stretches[1], stretches[5]}
	_, addr := loopback(t, Config{SendBuffer: 100 << 10}, func(c *Call) Outcome {
		which := large
		if c.Header.CorrelationID >= 4 {
			which = stretches
		}
		r, _ := mixed(c, f, ref, content, which)
		if c.Header.CorrelationID%2 == 0 {
			c.Reply(r)
			return Done
		}
		go c.Reply(r)
		return Parked
	})
	c := dialTCP(t, addr)
	for i := range int32(8) {
		if i == 4 {
			if n := f.reads.Load(); n != 0 {
				t.Fatalf("%d reads for ranges that the system can send", n)
			}
		}
		if _, err := c.Write(heartbeat(i, "x")); err != nil {
			t.Fatal(err)
		}
		which := large
		if i >= 4 {
			which = stretches
		}
		_, want := mixed(&Call{}, f, nil, content, which)
		if id, body, err := receive(c); err != nil || id != i || body != string(want) {
			t.Fatalf("answer %d of %d bytes, %v; want %d of %d bytes", id, len(body), err, i, len(want))
		}
	}
	if n := f.reads.Load(); n != 4*3 {
		t.Fatalf("%d reads, want one for each of the three small ranges of four answers", n)
	}
	ref.want(t, 4*len(large)+4*len(stretches))
}

// Many connections send one file at once: no position is shared.
func TestConnectionsShareAFile(t *testing.T) {
	content := random(3 << 20)
	f, ref := openWatched(t, content), &countedRef{}
	_, addr := loopback(t, Config{}, func(c *Call) Outcome {
		r, _ := mixed(c, f, ref, content, stretches)
		c.Reply(r)
		return Done
	})
	_, want := mixed(&Call{}, f, nil, content, stretches)
	done := make(chan error)
	for range 6 {
		go func() {
			done <- func() error {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				defer c.Close()
				for i := range int32(5) {
					if _, err := c.Write(heartbeat(i, "x")); err != nil {
						return err
					}
					if id, body, err := receive(c); err != nil || id != i || body != string(want) {
						return fmt.Errorf("answer %d of %d bytes, %w", id, len(body), err)
					}
				}
				return nil
			}()
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	ref.want(t, 30*len(stretches))
}

// directory lends a descriptor that sendfile refuses.
type directory struct{ *os.File }

// Where the file system cannot send a file it is read.
func TestRangesAreReadWhereTheyCannotBeSent(t *testing.T) {
	content := random(3 << 20)
	f, ref := openWatched(t, content), &countedRef{}
	d, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f.from = directory{d}
	_, addr := loopback(t, Config{}, func(c *Call) Outcome {
		r, _ := mixed(c, f, ref, content, stretches)
		c.Reply(r)
		return Done
	})
	_, want := mixed(&Call{}, f, nil, content, stretches)
	c := dialTCP(t, addr)
	for i := range int32(3) {
		if _, err := c.Write(heartbeat(i, "x")); err != nil {
			t.Fatal(err)
		}
		if id, body, err := receive(c); err != nil || id != i || body != string(want) {
			t.Fatalf("answer %d of %d bytes, %v", id, len(body), err)
		}
	}
	if f.reads.Load() == 0 {
		t.Fatal("who read the file?")
	}
}

// A file that is shorter than promised ends the connection, and the reference comes back.
func TestShortFileClosesTheConnection(t *testing.T) {
	content := random(100_000)
	f, ref := openWatched(t, content), &countedRef{}
	closed := make(chan struct{})
	_, addr := loopback(t, Config{}, func(c *Call) Outcome {
		c.Conn.OnClose(func() { close(closed) })
		c.Reply(wire.WithHeader(c.Header.Key, c.Header.Version, c.Header.CorrelationID,
			wire.Response{{File: vfs.Range{File: f, Offset: 50_000, Length: 50_001, Ref: ref}}}))
		return Done
	})
	c := dialTCP(t, addr)
	if _, err := c.Write(heartbeat(1, "x")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || len(got) != 8+50_000 || !bytes.Equal(got[8:], content[50_000:]) {
		t.Fatalf("%d bytes, %v; want what there is, and then the end", len(got), err)
	}
	<-closed
	ref.want(t, 1)
}

// A client that takes nothing of a large range is cut off.
func TestStalledReaderOfARangeIsCutOff(t *testing.T) {
	content := random(8 << 20)
	f, ref := openWatched(t, content), &countedRef{}
	for _, outcome := range []Outcome{Done, Parked} {
		closed := make(chan struct{})
		s, addr := loopback(t, Config{SendBuffer: 16 << 10, WriteStall: 50 * time.Millisecond}, func(c *Call) Outcome {
			c.Conn.OnClose(func() { close(closed) })
			r, _ := mixed(c, f, ref, content, [][2]int{{0, 8 << 20}})
			if outcome == Done {
				c.Reply(r)
			} else {
				go c.Reply(r)
			}
			return outcome
		})
		c := dialTCP(t, addr)
		if _, err := c.Write(heartbeat(1, "x")); err != nil {
			t.Fatal(err)
		}
		<-closed
		if n := s.Stats().CutSlow; n != 1 {
			t.Fatalf("%d clients cut off, want 1", n)
		}
	}
	ref.want(t, 2)
}

// A request is read with one call, and a connection that waits for its next one holds no buffer.
func TestReadAhead(t *testing.T) {
	var conn atomic.Pointer[Conn]
	_, addr := loopback(t, Config{}, func(c *Call) Outcome {
		conn.Store(c.Conn)
		c.Reply(answer(c, ""))
		return Done
	})
	c := dialTCP(t, addr)
	sizes := []int{10, 600, 20_000, 31_000, 40_000, 40_000, 100, 100_000, 5}
	go func() {
		for i, n := range sizes {
			if _, err := c.Write(append(produce(int32(2*i), make([]byte, n)), heartbeat(int32(2*i+1), "y")...)); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range int32(2 * len(sizes)) {
		if id, _, err := receive(c); err != nil || id != i {
			t.Fatalf("answer %d, %v; want %d", id, err, i)
		}
	}
	c.Close()
	<-conn.Load().Done()
}
