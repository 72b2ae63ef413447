// Package klammtest gives Go tests a real Klamm node inside their process: the node that ships, over a file system and a
// network in memory, ready in milliseconds and gone with the test.
//
//	func TestOrders(t *testing.T) {
//		c := klammtest.Start(t)
//		client, err := kgo.NewClient(kgo.SeedBrokers(c.Bootstrap()...), kgo.Dialer(c.Dial))
//		...
//	}
//
// Programs that cannot take a dialer (clients in other languages, other processes) reach the node with OnLoopback.
package klammtest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/node"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Option changes what Start starts.
type Option func(*options)

type options struct {
	props    map[string]string
	dir      string
	loopback bool
	logger   *slog.Logger
}

// WithConfig sets a key of server.properties.
func WithConfig(key, value string) Option { return func(o *options) { o.props[key] = value } }

// InDir keeps the data in a directory of the disk (t.TempDir(), say) instead of in memory.
func InDir(dir string) Option { return func(o *options) { o.dir = dir } }

// OnLoopback listens on a free TCP port of 127.0.0.1 instead of in memory.
func OnLoopback() Option { return func(o *options) { o.loopback = true } }

// WithLog writes the node's log through t.Log.
func WithLog(t testing.TB) Option {
	return func(o *options) { o.logger = slog.New(slog.NewTextHandler(lines{t}, nil)) }
}

type lines struct{ t testing.TB }

func (l lines) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// Cluster is a running node.
type Cluster struct {
	t    testing.TB
	o    options
	fs   vfs.FS
	net  *server.MemNet
	node *node.Node
}

// Start starts a node and stops it when the test ends. It fails the test if the node does not start or does not stop.
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, o: options{props: map[string]string{}}, net: &server.MemNet{}}
	// Tests want groups at once; Kafka waits three seconds for more members.
	c.o.props["group.initial.rebalance.delay.ms"] = "0"
	c.o.props["offsets.topic.num.partitions"] = "4"
	for _, opt := range opts {
		opt(&c.o)
	}
	host := "klamm:9092"
	if c.o.loopback {
		host = "127.0.0.1:0"
	}
	if c.o.props["listeners"] == "" {
		c.o.props["listeners"] = "PLAINTEXT://" + host
	}
	c.fs = vfs.OS{}
	if c.o.dir == "" {
		c.o.dir = "/klamm"
		c.fs = vfs.NewMem(time.Now)
	}
	c.o.props["log.dirs"] = c.o.dir
	c.up()
	t.Cleanup(c.down)
	return c
}

func (c *Cluster) up() {
	c.t.Helper()
	conf, _, err := config.NewNode(c.o.props)
	if err != nil {
		c.t.Fatalf("klammtest: %s", strings.Join(config.Explain(err), "; "))
	}
	o := node.Options{Config: conf, FS: c.fs, Logger: c.o.logger}
	if !c.o.loopback {
		o.Listen = c.net.Listen
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if c.node, err = node.Start(ctx, o); err != nil {
		c.t.Fatalf("klammtest: %v", err)
	}
}

func (c *Cluster) down() {
	if c.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := c.node.Close(ctx)
	c.node = nil
	if err != nil {
		c.t.Errorf("klammtest: %v", err)
	}
}

// Bootstrap is the addresses that clients begin with.
func (c *Cluster) Bootstrap() []string { return c.node.Bootstrap() }

// Dial connects to the node; it is what kgo.Dialer takes. With OnLoopback it dials TCP.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.o.loopback {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	conn, err := c.net.Dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("klammtest: %w", err)
	}
	return conn, nil
}

// Restart stops the node cleanly and starts it again on its data. The addresses of a node on loopback change.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.down()
	c.up()
}
