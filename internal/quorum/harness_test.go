package quorum

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/klamm-io/klamm/internal/controller"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain lets every configuration pass.
type plain struct{}

func (plain) Validate(int8, string, map[string]string, map[string]string) error { return nil }
func (plain) IsList(int8, string) bool                                          { return false }
func (plain) Default(int8, string) (string, bool)                               { return "", false }
func (plain) Topic(_, _, _ map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	return nil
}
func (plain) Static(key string) string {
	return map[string]string{"min.insync.replicas": "1", "unclean.leader.election.enable": "false"}[key]
}

// node is a quorum in a test, with what it told.
type node struct {
	t testing.TB
	q *Quorum
	c Config

	mu        sync.Mutex // guards:
	fatal     []error
	published []*metadata.Image
	events    strings.Builder
}

const dir = "/m"

func config(fs vfs.FS) Config {
	return Config{FS: fs, Dir: dir, NodeID: 1, Directory: schema.UUID{1},
		Log:        storage.Config{Delete: true, RetentionAge: -1, RetentionBytes: -1},
		Controller: controller.Options{NodeID: 1, ClusterID: "c", Voters: []int32{1}, Configs: plain{}},
		Codecs:     record.NewCodecs(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Rand: rand.New(rand.NewPCG(1, 1)), RetentionBytes: -1, RetentionAge: -1}
}

// open opens a quorum; change may change its configuration.
func open(t testing.TB, fs vfs.FS, change ...func(*Config)) (*node, error) {
	t.Helper()
	n := &node{t: t, c: config(fs)}
	n.c.Logger = slog.New(slog.NewTextHandler(n, nil))
	n.c.Fatal = func(err error) {
		n.mu.Lock()
		n.fatal = append(n.fatal, err)
		n.mu.Unlock()
	}
	n.c.Publishers = []Publisher{PublisherFunc(func(d *metadata.Delta, i *metadata.Image) {
		n.mu.Lock()
		n.published = append(n.published, i)
		n.mu.Unlock()
	})}
	for _, f := range change {
		f(&n.c)
	}
	var err error
	n.q, err = Open(n.c)
	return n, err
}

// Write takes the log's lines.
func (n *node) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.events.Write(b)
}

func (n *node) said(what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(n.events.String(), what)
}

func start(t testing.TB, fs vfs.FS, change ...func(*Config)) *node {
	t.Helper()
	n, err := open(t, fs, change...)
	if err == nil {
		err = n.q.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) close() {
	n.t.Helper()
	if err := n.q.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.fatal) > 0 {
		n.t.Fatalf("fatal: %v", n.fatal)
	}
}

// do sends a request and waits for its answer.
func (n *node) do(req kmsg.Request) kmsg.Response {
	answer := make(chan kmsg.Response, 2)
	n.q.Request(machine.Client{}, req, func(r kmsg.Response) { answer <- r })
	return <-answer
}

func createTopic(name string) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, t)
	return req
}

func registration(incarnation byte) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.SetVersion(3)
	req.BrokerID, req.ClusterID, req.IncarnationID = 1, "c", [16]byte{15: incarnation}
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "localhost", 9092
	req.Listeners = append(req.Listeners, l)
	req.LogDirs = [][16]byte{{1}}
	for _, f := range metadata.SupportedFeatures() {
		w := kmsg.NewBrokerRegistrationRequestFeature()
		w.Name, w.MinSupportedVersion, w.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, w)
	}
	return req
}

func heartbeat(epoch, offset int64) *kmsg.BrokerHeartbeatRequest {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.SetVersion(1)
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = 1, epoch, offset
	return req
}

// join registers broker 1 and unfences it; it gives the broker epoch.
func (n *node) join(incarnation byte) int64 {
	n.t.Helper()
	r := n.do(registration(incarnation)).(*kmsg.BrokerRegistrationResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		n.t.Fatal(err)
	}
	h := n.do(heartbeat(r.BrokerEpoch, n.q.Image().Offset)).(*kmsg.BrokerHeartbeatResponse)
	if h.ErrorCode != 0 || h.IsFenced {
		n.t.Fatalf("%+v", h)
	}
	return r.BrokerEpoch
}

func (n *node) create(name string) {
	n.t.Helper()
	r := n.do(createTopic(name)).(*kmsg.CreateTopicsResponse)
	if err := kerr.ErrorForCode(r.Topics[0].ErrorCode); err != nil {
		n.t.Fatalf("topic %s: %v", name, err)
	}
}

// contents lists the records that an image stands for.
func contents(i *metadata.Image) []string {
	var out []string
	for r := range i.Records() {
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		out = append(out, fmt.Sprintf("%s %s", r.RecordName(), b))
	}
	return out
}

// logged lists the names of the records in the log, batch by batch.
func logged(t testing.TB, q *Quorum) string {
	t.Helper()
	var b strings.Builder
	v := q.log.View()
	err := q.replay(v.LogStart, v, func(x record.Batch) error {
		fmt.Fprintf(&b, "%d epoch %d:", x.BaseOffset(), x.LeaderEpoch())
		r, err := q.c.Codecs.Records(x)
		if err != nil {
			return err
		}
		defer r.Close()
		var rec record.Record
		for {
			ok, err := r.Next(&rec)
			if err != nil || !ok {
				b.WriteString("\n")
				return err
			}
			var m schema.Record
			if x.Control() {
				kind, err := schema.DecodeControlKey(rec.Key)
				if err != nil {
					return err
				}
				if m, err = schema.DecodeControl(kind, rec.Value); err != nil {
					return err
				}
			} else if m, _, err = schema.Decode(rec.Value); err != nil {
				return err
			}
			b.WriteString(" " + m.RecordName())
			if f, ok := m.(*schema.FeatureLevel); ok {
				fmt.Fprintf(&b, "(%s %d)", f.Name, f.FeatureLevel)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var _ io.Writer = (*node)(nil)
