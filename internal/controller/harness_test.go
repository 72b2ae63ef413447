package controller

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// Harness hosts the machine in memory: what Handle answers is written, applied and committed at once. Records go
// through their codecs on the way, and to a second image that knows nothing of the controller.
type Harness struct {
	T       testing.TB
	C       *Controller
	Now     time.Time
	Rand    *rand.Rand
	Log     []schema.Record
	Mirror  *metadata.Image
	Options Options
	// Refuse makes the next appends fail.
	Refuse bool

	held, ready   []schema.Record
	inTransaction bool
}

func NewHarness(t testing.TB, options Options) *Harness {
	if options.Configs == nil {
		options.Configs = testConfigs{}
	}
	return &Harness{T: t, C: New(options), Now: time.UnixMilli(1_000_000), Rand: rand.New(rand.NewPCG(1, 2)), Mirror: metadata.Empty(), Options: options}
}

// Do hands in one command and gives its records and reply.
func (h *Harness) Do(body any) ([]schema.Record, any) {
	h.T.Helper()
	in := machine.Input{Now: h.Now, Rand: h.Rand, Image: h.Mirror, Epoch: 1}
	cmd := machine.Command{Token: 1, Body: body}
	result := h.C.Handle(in, cmd)
	if len(result.Replies) != 1 || result.Replies[0].Token != 1 {
		h.T.Fatalf("%T: %d replies", body, len(result.Replies))
	}
	if h.Refuse && len(result.Records) > 0 {
		return nil, h.C.Refuse(cmd, kerr.NotController)
	}
	h.append(result.Records)
	return result.Records, result.Replies[0].Value
}

func (h *Harness) append(records []schema.Record) {
	h.T.Helper()
	for _, r := range records {
		offset := int64(len(h.Log))
		r = h.coded(r)
		h.Log = append(h.Log, r)
		if err := h.C.Apply(r, machine.Position{Offset: offset, Epoch: 1, Timestamp: h.Now.UnixMilli()}); err != nil {
			h.T.Fatalf("record %d: %v", offset, err)
		}
		h.mirror(r)
	}
	delta := metadata.NewDelta(h.Mirror)
	for _, r := range h.ready {
		if err := delta.Apply(r); err != nil {
			h.T.Fatalf("%s %+v does not apply to an image: %v", r.RecordName(), r, err)
		}
	}
	h.ready = nil
	h.Mirror = delta.Image(int64(len(h.Log)-1), 1)
}

// mirror resolves transactions as a reader of the log does.
func (h *Harness) mirror(r schema.Record) {
	switch r.(type) {
	case *schema.BeginTransaction:
		h.inTransaction = true
	case *schema.EndTransaction:
		h.ready, h.held, h.inTransaction = append(h.ready, h.held...), nil, false
	case *schema.AbortTransaction:
		h.held, h.inTransaction = nil, false
	default:
		if h.inTransaction {
			h.held = append(h.held, r)
		} else {
			h.ready = append(h.ready, r)
		}
	}
}

// coded writes a record as the host does and reads it again.
func (h *Harness) coded(r schema.Record) schema.Record {
	h.T.Helper()
	version := metadata.RecordVersion(r, h.Mirror.MetadataVersion())
	if h.Mirror.MetadataVersion() == 0 {
		_, version = r.Versions()
	}
	b := r.AppendTo(nil, version)
	if _, err := r.ReadFrom(b, version); err != nil {
		h.T.Fatalf("%s does not survive its codec: %v", r.RecordName(), err)
	}
	return r
}

// Request is Do for a request; the reply must be its response, at its version, and must be encodable.
func (h *Harness) Request(req kmsg.Request) ([]schema.Record, kmsg.Response) {
	h.T.Helper()
	records, value := h.Do(req)
	resp, ok := value.(kmsg.Response)
	if !ok {
		h.T.Fatalf("%T answered with %T: %v", req, value, value)
	}
	if resp.Key() != req.Key() || resp.GetVersion() != req.GetVersion() {
		h.T.Fatalf("request %d v%d answered with %d v%d", req.Key(), req.GetVersion(), resp.Key(), resp.GetVersion())
	}
	resp.AppendTo(nil)
	return records, resp
}

// Tick hands in Ticks until none is due.
func (h *Harness) Tick() []schema.Record {
	h.T.Helper()
	var all []schema.Record
	for range 1000 {
		at, ok := h.C.NextDeadline()
		if !ok || at.After(h.Now) {
			return all
		}
		records, value := h.Do(machine.Tick{})
		if err, bad := value.(error); bad {
			h.T.Fatalf("tick: %v", err)
		}
		all = append(all, records...)
	}
	h.T.Fatal("ticks without end")
	return nil
}

func (h *Harness) Activate() []schema.Record {
	h.T.Helper()
	records, value := h.Do(Activate{NextOffset: int64(len(h.Log))})
	if err, bad := value.(error); bad {
		h.T.Fatalf("activate: %v", err)
	}
	return records
}

const testCluster = "klamm-test-cluster-0000"

func bootstrap(mv, elr int16) []schema.Record {
	records := []schema.Record{&schema.FeatureLevel{Name: metadata.MetadataVersionFeature, FeatureLevel: mv}}
	if elr > 0 {
		records = append(records, &schema.FeatureLevel{Name: metadata.ELRVersionFeature, FeatureLevel: elr})
	}
	return records
}

func testUUID(n int) schema.UUID {
	return schema.UUID{0: 0x40, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

// registration of a broker's n-th life, with one directory for each number.
func registration(id int32, incarnation int, rack string, dirs ...int) *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version = 4
	req.BrokerID, req.ClusterID, req.IncarnationID, req.PreviousBrokerEpoch = id, testCluster, testUUID(incarnation), -1
	if rack != "" {
		req.Rack = &rack
	}
	req.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "PLAINTEXT", Host: "localhost", Port: 9092}}
	for _, f := range metadata.SupportedFeatures() {
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	for _, d := range dirs {
		req.LogDirs = append(req.LogDirs, testUUID(d))
	}
	return req
}

// Register registers a broker with one directory (1000 + id) and unfences it.
func (h *Harness) Register(id int32, rack string) {
	h.T.Helper()
	req := registration(id, 100+int(id), rack, 1000+int(id))
	_, resp := h.Request(req)
	if code := resp.(*kmsg.BrokerRegistrationResponse).ErrorCode; code != 0 {
		h.T.Fatalf("registration of broker %d: %v", id, kerr.ErrorForCode(code))
	}
	h.Beat(id)
}

// Beat is the heartbeat of a broker that has read everything.
func (h *Harness) Beat(id int32) *kmsg.BrokerHeartbeatResponse {
	h.T.Helper()
	b, ok := h.Mirror.Broker(id)
	if !ok {
		h.T.Fatalf("broker %d is not registered", id)
	}
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version = 2
	req.BrokerID, req.BrokerEpoch, req.CurrentMetadataOffset = id, b.Epoch, int64(len(h.Log)-1)
	_, resp := h.Request(req)
	return resp.(*kmsg.BrokerHeartbeatResponse)
}

// testConfigs knows a handful of keys.
type testConfigs struct{}

func (testConfigs) defaults() map[string]string {
	return map[string]string{"cleanup.policy": "delete", configMinInSync: "1", "retention.ms": "604800000", configUncleanLeaderElection: "false"}
}

func (c testConfigs) Validate(t int8, name string, values, _ map[string]string) error {
	if t == metadata.BrokerConfig {
		return nil
	}
	if t != metadata.TopicConfig {
		if values["bad"] != "" {
			return fmt.Errorf("%w", errRequest{"Unknown client metrics configuration: bad"})
		}
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if _, ok := c.defaults()[key]; !ok {
			return errors.New("Unknown topic config name: " + key)
		}
		if key == configMinInSync || key == "retention.ms" {
			if _, err := strconv.Atoi(values[key]); err != nil {
				return fmt.Errorf("Invalid value %s for configuration %s: Not a number of type LONG", values[key], key)
			}
		}
	}
	return nil
}

type errRequest struct{ text string }

func (e errRequest) Error() string { return e.text }
func (e errRequest) Unwrap() error { return kerr.InvalidRequest }

func (testConfigs) IsList(_ int8, key string) bool { return key == "cleanup.policy" }

func (c testConfigs) Default(_ int8, key string) (string, bool) {
	v, ok := c.defaults()[key]
	return v, ok
}

func (c testConfigs) Static(key string) string { return c.defaults()[key] }

func (c testConfigs) Topic(cluster, node, topic map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	var out []kmsg.CreateTopicsResponseTopicConfig
	for _, key := range slices.Sorted(maps.Keys(c.defaults())) {
		value, source := c.defaults()[key], int8(5)
		if v, ok := cluster[key]; ok {
			value, source = v, 3
		}
		if v, ok := node[key]; ok {
			value, source = v, 2
		}
		if v, ok := topic[key]; ok {
			value, source = v, 1
		}
		out = append(out, kmsg.CreateTopicsResponseTopicConfig{Name: key, Value: &value, Source: source})
	}
	return out
}
