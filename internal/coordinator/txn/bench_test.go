package txn

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
)

// BenchmarkTransaction is one transaction of version 2 with ten partitions: add, end, markers.
func BenchmarkTransaction(b *testing.B) {
	h := newHarness(b, Config{})
	in := machine.Input{Now: h.now, Image: h.image, Epoch: 1}
	m := h.m
	var effects []any
	do := func(body any) {
		res := m.Handle(in, machine.Command{Token: 1, Body: body})
		for _, r := range res.Records {
			if err := m.Apply(r, machine.Position{}); err != nil {
				b.Fatal(err)
			}
		}
		effects = res.Effects
	}
	id := "a"
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionalID, init.TransactionTimeoutMillis = &id, 60000
	do(Init{init, 1})
	add := &kmsg.AddPartitionsToTxnRequest{Version: 5, Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: id,
		Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}}}}}
	for b.Loop() {
		x := &add.Transactions[0]
		x.ProducerID, x.ProducerEpoch = m.ids[id].producerID, m.ids[id].epoch
		do(add)
		do(&kmsg.EndTxnRequest{Version: 5, TransactionalID: id, ProducerID: x.ProducerID, ProducerEpoch: x.ProducerEpoch, Commit: true})
		for _, e := range effects {
			switch e := e.(type) {
			case WriteMarkers:
				do(MarkersWritten{e.TransactionalID, e.ProducerID, e.ProducerEpoch, e.CoordinatorEpoch, e.Partitions, make([]int16, len(e.Partitions))})
			case NeedProducerID:
				do(ProducerID{m.ids[id].producerID + 1})
			}
		}
	}
}

// BenchmarkLoad loads 100,000 transactional ids and tells the memory that one costs.
func BenchmarkLoad(b *testing.B) {
	var log []machine.Record
	for i := range 100_000 {
		log = append(log, encode(transaction{id: fmt.Sprintf("application-%d", i), producerID: int64(i), previousID: int64(i), nextID: noProducerID,
			timeout: 60000, state: CompleteCommit, start: 1, updated: 1, version: 2}, 1))
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := New(Config{})
		for _, r := range log {
			if err := m.Apply(r, machine.Position{}); err != nil {
				b.Fatal(err)
			}
		}
		m.Handle(machine.Input{Now: time.UnixMilli(2), Image: metadata.Empty()}, machine.Command{Body: machine.Tick{}})
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(log)), "B/id")
		runtime.KeepAlive(m)
	}
}
