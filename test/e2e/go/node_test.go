//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// waitMax bounds every wait for something that takes milliseconds on an idle machine.
const waitMax = time.Minute

// node is a broker's process on a directory of its own. It always comes back on the same port, as clients expect it.
type node struct {
	t       *testing.T
	addr    string
	dir     string
	words   []string // how it is started; nil: by KLAMM_E2E_NODE_COMMAND, with overrides
	command *exec.Cmd
	exited  chan error
	config  []string // KEY=VALUE, beside the listener and the directory
	log     output   // of the process that runs
}

// output is what a process writes, and may be read meanwhile.
type output struct {
	mu    sync.Mutex // guards bytes
	bytes []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes = append(o.bytes, b...)
	return len(b), nil
}

func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.bytes)
}

func (o *output) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes = nil
}

func newNode(t *testing.T, config ...string) *node {
	t.Helper()
	n := newNodeIn(t, t.TempDir(), config...)
	n.start()
	return n
}

// newNodeIn is a node that has not been started yet, with its data in a directory below dir.
func newNodeIn(t *testing.T, dir string, config ...string) *node {
	t.Helper()
	if os.Getenv("KLAMM_E2E_NODE_COMMAND") == "" {
		t.Skip("KLAMM_E2E_NODE_COMMAND is not set")
	}
	n := &node{t: t, addr: freeAddr(t), dir: dir, config: config}
	t.Cleanup(func() {
		if n.command != nil {
			n.kill()
		}
	})
	return n
}

// klammOnly skips a test of promises that Apache Kafka does not make.
func klammOnly(t *testing.T) {
	t.Helper()
	if words := strings.Fields(os.Getenv("KLAMM_E2E_NODE_COMMAND")); len(words) != 2 || words[1] != "start" {
		t.Skip("the node is not Klamm's")
	}
}

// freeAddr takes a port below the range of outgoing connections: a client that keeps dialling the node while it is down
// could otherwise be connected with itself, and would hold the port.
func freeAddr(t *testing.T) string {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// start returns when the node answers.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.await()
}

// launch starts the process and does not wait.
func (n *node) launch() {
	n.t.Helper()
	words := n.words
	if words == nil {
		words = append(strings.Fields(os.Getenv("KLAMM_E2E_NODE_COMMAND")), "--override", "listeners=PLAINTEXT://"+n.addr,
			"--override", "log.dirs="+filepath.Join(n.dir, "data"))
	}
	n.log.Reset()
	n.command = exec.Command(words[0], words[1:]...)
	for _, c := range n.config {
		n.command.Args = append(n.command.Args, "--override", c)
	}
	n.command.Stdout, n.command.Stderr = &n.log, &n.log
	if err := n.command.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.exited = make(chan error, 1)
	go func(c *exec.Cmd, exited chan error) { exited <- c.Wait() }(n.command, n.exited)
}

// await returns when the node answers.
func (n *node) await() {
	n.t.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", n.addr); err == nil {
			c.Close()
			return
		}
		select {
		case err := <-n.exited:
			n.command = nil
			n.t.Fatalf("the node ended at its start: %v\n%s", err, n.log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			n.t.Fatal("the node does not answer")
		}
	}
}

func (n *node) kill() {
	n.command.Process.Kill()
	<-n.exited
	n.command = nil
}

// stop is the clean one.
func (n *node) stop() {
	n.t.Helper()
	n.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(waitMax):
		n.t.Fatal("the node does not stop")
	}
	n.command = nil
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(addr, ",")...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
