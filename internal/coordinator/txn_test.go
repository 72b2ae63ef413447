package coordinator

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/txn"
	"github.com/klamm-io/klamm/internal/machine"
	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// txnFixture is a host of transaction coordinators whose markers are kept until the test lets them be written.
type txnFixture struct {
	*fixture
	mu      sync.Mutex
	markers []txn.WriteMarkers
}

func newTxnFixture(t *testing.T) *txnFixture {
	d := metadata.NewDelta(metadata.Empty())
	records := []schema.Record{&schema.FeatureLevel{Name: metadata.TransactionVersionFeature, FeatureLevel: 2},
		&schema.Topic{Name: "t", TopicID: schema.UUID{1}}}
	for p := range int32(2) {
		records = append(records, &schema.Partition{TopicID: schema.UUID{1}, PartitionID: p, Replicas: []int32{1}, ISR: []int32{1}, Leader: 1,
			Directories: make([]schema.UUID, 1)})
	}
	for _, r := range records {
		if err := d.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	image := d.Image(0, 0)
	f := &txnFixture{}
	f.fixture = newFixture(t, func(c *Config) {
		c.Image = func() *metadata.Image { return image }
		c.NewMachine = func(int32) machine.Machine[machine.Record] { return txn.New(txn.Config{}) }
		c.OnEffect = func(_ int32, effect any) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.markers = append(f.markers, effect.(txn.WriteMarkers))
		}
	})
	return f
}

// write says that all markers asked for are written.
func (f *txnFixture) write(want int) {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	markers := f.markers
	f.markers = nil
	f.mu.Unlock()
	if len(markers) != want {
		f.t.Fatalf("markers %v, want %d", markers, want)
	}
	for _, w := range markers {
		f.h.Submit(0, machine.Command{Body: txn.MarkersWritten{
			TransactionalID: w.TransactionalID, ProducerID: w.ProducerID, ProducerEpoch: w.ProducerEpoch, CoordinatorEpoch: w.CoordinatorEpoch,
			Partitions: w.Partitions, Errors: make([]int16, len(w.Partitions)),
		}}, nil)
	}
	synctest.Wait()
}

func (f *txnFixture) wantState(want string) {
	f.t.Helper()
	a := f.submit(&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{"a"}})
	synctest.Wait()
	if got := a.value.(*kmsg.DescribeTransactionsResponse).TransactionStates[0].State; got != want {
		f.t.Fatalf("state %q, want %q", got, want)
	}
}

// begin opens a transaction.
func (f *txnFixture) begin(id int64, epoch int16) {
	f.t.Helper()
	r := kmsg.NewPtrAddPartitionsToTxnRequest()
	r.Version = 5
	x := kmsg.NewAddPartitionsToTxnRequestTransaction()
	x.TransactionalID, x.ProducerID, x.ProducerEpoch = "a", id, epoch
	x.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: []int32{0, 1}}}
	r.Transactions = append(r.Transactions, x)
	f.submit(r)
	f.wantState("Ongoing")
}

func (f *txnFixture) end(id int64, epoch int16) *answer {
	r := kmsg.NewPtrEndTxnRequest()
	r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = 5, "a", id, epoch, true
	return f.submit(r)
}

// wantResponse checks an answer by its bytes.
func (f *txnFixture) wantResponse(a *answer, want kmsg.Response) {
	f.t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	got, ok := a.value.(kmsg.Response)
	if !ok || a.n != 1 || !bytes.Equal(got.AppendTo(nil), want.AppendTo(nil)) {
		f.t.Fatalf("answer %+v (%d), want %+v", a.value, a.n, want)
	}
}

func ended(id int64, epoch int16) *kmsg.EndTxnResponse {
	return &kmsg.EndTxnResponse{Version: 5, ProducerID: id, ProducerEpoch: epoch}
}

func TestTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTxnFixture(t)
		defer f.close()
		f.elect(0, 1)
		id := "a"
		r := kmsg.NewPtrInitProducerIDRequest()
		r.Version, r.TransactionalID, r.TransactionTimeoutMillis = 5, &id, 60000
		init := f.submit(txn.Init{Request: r, FreshID: 7})
		f.wantResponse(init, &kmsg.InitProducerIDResponse{Version: 5, ProducerID: 7})

		f.begin(7, 0)
		f.wantResponse(f.end(7, 0), ended(7, 1))
		f.wantState("PrepareCommit")
		f.write(1)
		f.wantState("CompleteCommit")

		// Nobody is told of an outcome that may still vanish, nor is a marker written.
		f.begin(7, 1)
		f.log.set(func(l *memLog) { l.manualHW = true })
		end := f.end(7, 1)
		f.want(end, nil)
		f.write(0)
		f.log.commit(0)
		f.wantResponse(end, ended(7, 2))
		f.log.set(func(l *memLog) { l.manualHW = false })

		// The coordinator goes before the markers are written: the next one asks for them again.
		f.elect(0, 2)
		f.mu.Lock()
		epochs := []int32{f.markers[0].CoordinatorEpoch, f.markers[1].CoordinatorEpoch}
		f.mu.Unlock()
		if diff := cmp.Diff([]int32{1, 2}, epochs); diff != "" {
			t.Fatalf("coordinator epochs: %s", diff)
		}
		f.wantState("PrepareCommit")
		f.write(2)
		f.wantState("CompleteCommit")

		// Time runs out. The producer is gone, its transaction does not stay open.
		f.begin(7, 2)
		time.Sleep(2 * time.Minute)
		f.write(1)
		f.wantState("CompleteAbort")
	})
}
