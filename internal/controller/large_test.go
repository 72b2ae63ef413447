package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/schema"
)

func large(t testing.TB, topics, partitions int) *Harness {
	h := NewHarness(t, Options{NodeID: 1, ClusterID: testCluster, Voters: []int32{1}, Bootstrap: bootstrap(30, 0)})
	h.Activate()
	for id := range int32(3) {
		h.Register(id+1, "")
	}
	for n := range topics {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprintf("t%d", n), int32(partitions), 3
		req.Topics = append(req.Topics, topic)
		if _, resp := h.Request(req); resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
			t.Fatal(resp)
		}
	}
	return h
}

// A broker's end cannot be refused. What is more than a batch stands in one transaction.
func TestFencingBeyondABatch(t *testing.T) {
	h := large(t, 2, 6000)
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	b, _ := h.Mirror.Broker(2)
	req.Version, req.BrokerID, req.BrokerEpoch, req.WantFence = 2, 2, b.Epoch, true
	records, _ := h.Request(req)
	if len(records) != 12000+3 {
		t.Fatalf("%d records", len(records))
	}
	if _, ok := records[0].(*schema.BeginTransaction); !ok {
		t.Fatalf("first record is %T", records[0])
	}
	if _, ok := records[len(records)-1].(*schema.EndTransaction); !ok {
		t.Fatalf("last record is %T", records[len(records)-1])
	}
	for topic := range h.C.Image().Topics() {
		for id, p := range topic.Partitions {
			if len(p.ISR) != 2 || p.Leader == 2 {
				t.Fatalf("%s-%d: %+v", topic.Name, id, p)
			}
		}
	}
}

// A user's request of that size is refused and leaves nothing.
func TestRequestBeyondABatch(t *testing.T) {
	h := large(t, 2, 6000)
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version = 1
	for n := range 2 {
		topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		topic.Topic = fmt.Sprintf("t%d", n)
		for id := range int32(6000) {
			topic.Partitions = append(topic.Partitions, kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: id, Replicas: []int32{1, 2}})
		}
		req.Topics = append(req.Topics, topic)
	}
	records, resp := h.Request(req)
	got := resp.(*kmsg.AlterPartitionAssignmentsResponse)
	if len(records) != 0 || got.ErrorCode != kerr.PolicyViolation.Code || got.Topics[1].Partitions[5999].ErrorCode != kerr.PolicyViolation.Code {
		t.Fatalf("%d records, error %d", len(records), got.ErrorCode)
	}
}

// Strings that no record can hold are refused, not written.
func TestStringsTooLongForRecords(t *testing.T) {
	h := large(t, 1, 1)
	long := strings.Repeat("x", schema.MaxString+1)
	alter := func(r kmsg.IncrementalAlterConfigsRequestResource) {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = append(req.Resources, r)
		records, resp := h.Request(req)
		if len(records) != 0 || resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode == 0 {
			t.Errorf("%d records", len(records))
		}
	}
	type cfg = kmsg.IncrementalAlterConfigsRequestResourceConfig
	one := "1"
	alter(kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 4, Configs: []cfg{{Name: "k", Value: &long}}})
	alter(kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 4, Configs: []cfg{{Name: long, Value: &one}}})
	alter(kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 4, Configs: []cfg{{Name: "cleanup.policy", Op: opAppend, Value: &long}}})
	alter(kmsg.IncrementalAlterConfigsRequestResource{ResourceType: 32, ResourceName: long, Configs: []cfg{{Name: "k", Value: &one}}})
	register := func(change func(*kmsg.BrokerRegistrationRequest)) {
		t.Helper()
		req := registration(9, 9, "", 9)
		change(req)
		if records, resp := h.Request(req); len(records) != 0 || resp.(*kmsg.BrokerRegistrationResponse).ErrorCode == 0 {
			t.Errorf("%d records", len(records))
		}
	}
	register(func(r *kmsg.BrokerRegistrationRequest) { r.Rack = &long })
	register(func(r *kmsg.BrokerRegistrationRequest) { r.Listeners[0].Name = long })
	register(func(r *kmsg.BrokerRegistrationRequest) { r.Listeners[0].Host = long })
	register(func(r *kmsg.BrokerRegistrationRequest) {
		r.Features = append(r.Features, kmsg.BrokerRegistrationRequestFeature{Name: long})
	})
}

func TestNothingBeforeActivation(t *testing.T) {
	c := New(Options{Configs: testConfigs{}})
	if _, ok := c.NextDeadline(); ok {
		t.Error("a standby wants a Tick")
	}
	r := c.Handle(machine.Input{Now: time.UnixMilli(1)}, machine.Command{Token: 7, Body: kmsg.NewPtrUnregisterBrokerRequest()})
	if got := r.Replies[0].Value.(*kmsg.UnregisterBrokerResponse).ErrorCode; got != kerr.NotController.Code {
		t.Errorf("error %d", got)
	}
	r = c.Handle(machine.Input{Now: time.UnixMilli(1)}, machine.Command{Token: 7, Body: Activate{}})
	if _, ok := r.Replies[0].Value.(error); !ok {
		t.Errorf("activated without bootstrap records: %v", r.Replies[0].Value)
	}
	// A request that is none of the controller's gets an error, not a panic.
	if _, ok := c.Refuse(machine.Command{Body: kmsg.NewPtrFetchRequest()}, kerr.NotController).(error); !ok {
		t.Error("Fetch was answered")
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	h := large(b, 10, 1000)
	in := machine.Input{Now: h.Now, Rand: h.Rand, Image: h.Mirror}
	reg, _ := h.Mirror.Broker(1)
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = 2, 1, reg.Epoch
	b.ReportAllocs()
	for b.Loop() {
		h.C.Handle(in, machine.Command{Token: 1, Body: req})
	}
}

func BenchmarkApply(b *testing.B) {
	h := large(b, 10, 1000)
	b.ReportAllocs()
	for b.Loop() {
		c := New(h.Options)
		for i, r := range h.Log {
			if err := c.Apply(r, machine.Position{Offset: int64(i)}); err != nil {
				b.Fatal(err)
			}
		}
		c.Image()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(h.Log)), "ns/record")
}

func BenchmarkAlterPartition(b *testing.B) {
	h := large(b, 10, 1000)
	t, _ := h.Mirror.Topic("t3")
	p := t.Partitions[5]
	reg, _ := h.Mirror.Broker(p.Leader)
	epoch := p.PartitionEpoch
	in := machine.Input{Now: h.Now, Rand: h.Rand, Image: h.Mirror}
	offset := int64(len(h.Log))
	b.ReportAllocs()
	for b.Loop() {
		req := kmsg.NewPtrAlterPartitionRequest()
		req.Version, req.BrokerID, req.BrokerEpoch = 3, p.Leader, reg.Epoch
		members := []newISR{{BrokerID: p.Leader, BrokerEpoch: -1}}
		if epoch%2 == 1 {
			members = []newISR{{BrokerID: p.Replicas[0], BrokerEpoch: -1}, {BrokerID: p.Replicas[1], BrokerEpoch: -1}}
		}
		req.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: t.ID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{{Partition: 5, PartitionEpoch: epoch, NewEpochISR: members}}}}
		result := h.C.Handle(in, machine.Command{Token: 1, Body: req})
		if len(result.Records) != 1 {
			b.Fatalf("%+v", result.Replies[0].Value)
		}
		if err := h.C.Apply(result.Records[0], machine.Position{Offset: offset}); err != nil {
			b.Fatal(err)
		}
		offset, epoch = offset+1, epoch+1
	}
}

// A node that died while it wrote the bootstrap records begins again.
func TestTornBootstrap(t *testing.T) {
	h := NewHarness(t, Options{NodeID: 1, ClusterID: testCluster, Bootstrap: bootstrap(30, 0)})
	h.append([]schema.Record{&schema.BeginTransaction{}, &schema.FeatureLevel{Name: "metadata.version", FeatureLevel: 29}})
	var names []string
	for _, r := range h.Activate() {
		names = append(names, r.RecordName())
	}
	if got := strings.Join(names, " "); got != "AbortTransactionRecord BeginTransactionRecord FeatureLevelRecord EndTransactionRecord" {
		t.Fatal(got)
	}
	if mv := h.C.Image().MetadataVersion(); mv != 30 || h.Mirror.MetadataVersion() != 30 {
		t.Fatalf("metadata.version is %d", mv)
	}
	h.Register(1, "")
	if b, _ := h.Mirror.Broker(1); b.Epoch != int64(len(h.Log)-2) {
		t.Fatalf("broker epoch %d with a log of %d", b.Epoch, len(h.Log))
	}
}
