//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestSendfile has strace watch a node while a client consumes 1 GiB: the records go from the files to the socket without
// being read. What is read is the headers of batches, to find where an answer begins and ends.
func TestSendfile(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	n := newNode(t)
	const topic, partitions, total = "sendfile", 4, 1 << 30
	if _, err := kadm.NewClient(newClient(t, n.addr)).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	fill(t, n.addr, topic, total)

	out := filepath.Join(t.TempDir(), "strace")
	watch := exec.Command(strace, "-f", "-y", "-o", out, "-e", "trace=read,readv,pread64,preadv,preadv2,sendfile", "-p", strconv.Itoa(n.command.Process.Pid))
	var said lockedBuffer
	watch.Stderr = &said
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	for deadline := time.Now().Add(waitMax); !strings.Contains(said.String(), "attached"); time.Sleep(10 * time.Millisecond) {
		select {
		case <-ended:
			t.Skipf("strace may not attach here: %s", said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("strace does not attach: %s", said.String())
		}
	}
	drain(t, n.addr, topic, total)
	_ = watch.Process.Signal(syscall.SIGINT)
	<-ended

	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := moved(raw, regexp.MustCompile(`sendfile\(\d+<[^>]*>, \d+<[^>]*\.log>.* = (\d+)$`))
	read, reads := moved(raw, regexp.MustCompile(`(?:pread64|preadv2?|readv?)\(\d+<[^>]*\.log>.* = (\d+)$`))
	fmt.Printf("FIGURE of %d MiB consumed, %d MiB went by sendfile; %d reads of batches' headers gave %.1f MiB\n", total>>20, sent>>20, reads, float64(read)/(1<<20))
	if sent < total {
		t.Fatalf("%d bytes went by sendfile, want %d at least", sent, total)
	}
	if read > total/50 {
		t.Fatalf("%d bytes of logs were read", read)
	}
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// moved sums up the results of the system calls that match. A call that another thread's interrupts stands on two lines;
// they are joined.
func moved(trace []byte, call *regexp.Regexp) (n int64, calls int) {
	begun := map[string][]byte{}
	for line := range bytes.Lines(trace) {
		line = bytes.TrimRight(line, "\n")
		thread, _, _ := bytes.Cut(line, []byte(" "))
		if first, ok := bytes.CutSuffix(line, []byte(" <unfinished ...>")); ok {
			begun[string(thread)] = first
			continue
		}
		if i := bytes.Index(line, []byte(" resumed>")); i >= 0 {
			line = append(bytes.Clone(begun[string(thread)]), line[i+len(" resumed>"):]...)
		}
		if m := call.FindSubmatch(line); m != nil {
			k, _ := strconv.ParseInt(string(m[1]), 10, 64)
			n += k
			calls++
		}
	}
	return n, calls
}

// fill writes records of 1 KiB, in batches as large as clients make them.
func fill(t *testing.T, addr, topic string, total int) {
	t.Helper()
	c := newClient(t, addr, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond))
	value := bytes.Repeat([]byte("x"), 1<<10)
	for range total >> 10 {
		c.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, addr, topic string, total int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitMax)
	defer cancel()
	c := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for got := 0; got < total; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) { got += len(r.Value) })
	}
}
