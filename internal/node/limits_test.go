package node_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/config"
	"github.com/klamm-io/klamm/internal/node"
)

// lookUp knows one host.
func lookUp(_ context.Context, host string) ([]string, error) {
	if host == "client.test" {
		return []string{"::1", "127.0.0.1"}, nil
	}
	return nil, errors.New("no such host")
}

func (s *site) startLooking() error {
	s.t.Helper()
	c, _, err := config.NewNode(s.props)
	if err != nil {
		s.t.Fatal(config.Explain(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n, err := node.Start(ctx, node.Options{Config: c, FS: s.faults, Listen: s.listen, LookUp: lookUp})
	if err == nil {
		s.node = n
	}
	return err
}

// admitted says whether a connection is let in: it is answered, or closed at once.
func (s *site) admitted() (net.Conn, bool) {
	s.t.Helper()
	c, err := s.net.Dial(context.Background(), "tcp", "klamm:9092")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	f := kmsg.NewRequestFormatter()
	c.Write(f.AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)) // one that is closed fails to read, too
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil {
		return c, false
	}
	return c, true
}

// None may connect but those of the overrides, and a host of these counts with all its addresses.
func TestConnectionsOfNobodyButOverrides(t *testing.T) {
	s := newSite(t)
	s.props["max.connections.per.ip"], s.props["max.connections.per.ip.overrides"] = "0", "10.0.0.1:5,client.test:2"
	if err := s.startLooking(); err != nil {
		t.Fatal(err)
	}
	_, first := s.admitted()
	c, second := s.admitted()
	_, third := s.admitted()
	if !first || !second || third {
		t.Fatalf("let in: %v %v %v", first, second, third)
	}
	c.Close()
	s.stop()
	s.props["max.connections.per.ip.overrides"] = "10.0.0.1:5"
	if err := s.startLooking(); err != nil {
		t.Fatal(err)
	}
	if _, in := s.admitted(); in {
		t.Fatal("let in without an override")
	}
}

func TestOverridesOfUnknownHosts(t *testing.T) {
	s := newSite(t)
	s.props["max.connections.per.ip.overrides"] = "nowhere.test:5"
	if err := s.startLooking(); err == nil || !strings.Contains(err.Error(), "max.connections.per.ip.overrides: the host nowhere.test has no address") {
		t.Fatalf("the start: %v", err)
	}
	s.props["max.connections.per.ip.overrides"] = ""
	if err := s.startLooking(); err != nil {
		t.Fatal(err)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers("klamm:9092"), kgo.Dialer(s.net.Dial))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	set := func(key, value string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		resp, err := kadm.NewClient(c).AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}})
		if err == nil {
			_, err = resp.On("", func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		if err != nil {
			t.Fatalf("%s=%s: %v", key, value, err)
		}
	}
	set("max.connections.per.ip.overrides", "nowhere.test:5") // the limits stay
	if _, in := s.admitted(); !in {
		t.Fatal("not let in, though nothing changed")
	}
	set("max.connections.per.ip.overrides", "client.test:0")
	if _, in := s.admitted(); in {
		t.Fatal("let in against the override")
	}
}
