package storage

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/vfs"
)

var seed = flag.Uint64("seed", 0, "run TestSimLog with this seed alone, talking")

// TestSimLog appends, rolls, flushes, truncates and crashes at random, on a disk that is full at times, and compares what comes back with a model: all that
// was flushed, nothing that was not appended, no offset twice or missing, and a producers' state that equals one
// computed from the batches.
func TestSimLog(t *testing.T) {
	if *seed != 0 {
		newCrasher(t, *seed).run(true)
		return
	}
	seeds := uint64(200)
	if text := os.Getenv("KLAMM_SIM_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	for s := range seeds {
		newCrasher(t, s+1).run(false)
	}
}

type crasher struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	mem  *vfs.Mem
	o    Options
	l    *Log

	batches []record.Batch // as appended, oldest first
	now     time.Time
	epoch   int32
	unsure  bool // truncated, and not flushed since: old bytes may come back
	seqs    map[int64]int32
	open    map[int64]bool
	trace   bool
	flushed int64
	full    int // steps for which the disk has no room
}

func newCrasher(t *testing.T, seed uint64) *crasher {
	rng := rand.New(rand.NewPCG(seed, 1))
	c := &crasher{t: t, seed: seed, rng: rng, mem: vfs.NewMem(nil), now: t0, seqs: map[int64]int32{}, open: map[int64]bool{}}
	c.o = Options{
		FS: c.mem, Dir: "/d/t-0", Topic: "t", Now: t0,
		Config: Config{SegmentBytes: 2000 + rng.IntN(20_000), IndexInterval: 1 + rng.IntN(1000), SegmentAge: time.Hour},
	}
	if rng.IntN(2) == 0 {
		c.o.Files = NewFiles(1 + rng.IntN(6))
	}
	if err := c.mem.MkdirAll("/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.mem.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crasher) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("seed %d: %s", c.seed, fmt.Sprintf(format, args...))
}

func (c *crasher) run(trace bool) {
	c.trace = trace
	done := false
	defer func() {
		if !done {
			c.t.Logf("seed %d", c.seed)
		}
	}()
	c.reopen(false)
	for range 20 + c.rng.IntN(60) {
		c.step()
	}
	c.crash()
	done = true
}

func (c *crasher) step() {
	say := func(format string, args ...any) {
		if c.trace {
			c.t.Logf("end %d rp %d: %s", c.l.View().LogEnd, c.l.RecoveryPoint(), fmt.Sprintf(format, args...))
		}
	}
	if c.full > 0 {
		if c.full--; c.full == 0 {
			say("there is room again")
			c.mem.SetCapacity(1 << 40)
		}
	}
	switch n := c.rng.IntN(104); {
	case n >= 100:
		if c.full == 0 {
			c.full = 1 + c.rng.IntN(8)
			say("the disk is full for %d steps", c.full)
			u, err := c.mem.Usage("/")
			c.must(err)
			c.mem.SetCapacity(u.Total - u.Free + c.rng.Int64N(500))
		}
	case n < 60:
		say("append")
		c.append()
	case n < 62:
		say("keep producers")
		c.mustWithRoom(c.l.KeepProducers())
	case n < 65:
		say("roll")
		c.mustWithRoom(c.l.Roll(c.now))
	case n < 80:
		upTo := c.rng.Int64N(c.l.View().LogEnd + 1)
		if c.rng.IntN(3) == 0 || c.unsure {
			upTo = c.l.View().LogEnd
		}
		say("flush %d", upTo)
		c.mustWithRoom(c.l.Flush(upTo))
		if upTo == c.l.View().LogEnd && c.l.RecoveryPoint() == upTo && len(c.batches) > 0 {
			c.unsure = c.unsure && upTo == c.flushed
		}
		c.flushed = c.l.RecoveryPoint()
	case n < 85:
		hw := c.rng.Int64N(c.l.View().LogEnd + 1)
		say("high watermark %d", hw)
		c.l.AdvanceHighWatermark(c.epoch, hw)
	case n < 88:
		c.epoch++
		say("leader epoch %d", c.epoch)
		c.mustWithRoom(c.l.BecomeLeader(c.epoch))
	case n < 92:
		if c.full == 0 {
			say("truncate")
			c.truncate()
		}
	case n < 95 && c.full == 0:
		say("clean close")
		c.must(c.l.Close(true))
		c.unsure = false
		c.o.RecoveryPoint, c.o.HighWatermark = c.l.RecoveryPoint(), c.l.View().HighWatermark
		c.reopen(true)
	default:
		if !c.unsure {
			say("crash")
			c.crash()
		}
	}
}

func (c *crasher) must(err error) {
	c.t.Helper()
	if err != nil {
		c.fatalf("%v", err)
	}
}

// mustWithRoom allows what a full disk does not.
func (c *crasher) mustWithRoom(err error) {
	c.t.Helper()
	if c.full == 0 || !vfs.NoSpace(err) {
		c.must(err)
	}
}

// append appends a plain, an idempotent or a transactional batch, or the end of a transaction.
func (c *crasher) append() {
	b := codecs.NewBuilder()
	c.now = c.now.Add(time.Duration(c.rng.IntN(1000)) * time.Second)
	n := 1 + c.rng.IntN(5)
	for range n {
		b.Add(c.now.UnixMilli()-c.rng.Int64N(5000), nil, make([]byte, c.rng.IntN(300)), nil)
	}
	pid := c.rng.Int64N(4)
	a := AppendOptions{LeaderEpoch: c.epoch, Now: c.now, Origin: Client}
	var batch record.Batch
	switch kind := c.rng.IntN(3); {
	case kind == 0:
		batch = b.Bytes()
	case c.open[pid] && c.rng.IntN(3) == 0:
		m := record.EndTxnMarker{Type: record.ControlType(c.rng.IntN(2)), CoordinatorEpoch: 1}
		batch = codecs.EndTxn(m, c.now.UnixMilli(), pid, 0)
		a.Origin = Coordinator
		c.open[pid] = false
	default:
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = pid, 0, c.seqs[pid]
		b.Transactional = c.open[pid] || kind == 2
		c.open[pid] = b.Transactional
		c.seqs[pid] += int32(n)
		batch = b.Bytes()
	}
	if _, err := c.l.Append([]record.Batch{batch}, a); err != nil {
		c.mustWithRoom(err)
		c.resync()
		return
	}
	c.batches = append(c.batches, slices.Clone(batch))
}

func (c *crasher) truncate() {
	end := c.l.View().LogEnd
	if end == 0 {
		return
	}
	to := end - c.rng.Int64N(min(end, 30)+1)
	for _, b := range c.batches { // at a batch's start, as epochs are
		if b.BaseOffset() <= to && to <= b.LastOffset() {
			to = b.BaseOffset()
		}
	}
	c.must(c.l.Truncate(to, c.now))
	for len(c.batches) > 0 && c.batches[len(c.batches)-1].LastOffset() >= to {
		c.batches = c.batches[:len(c.batches)-1]
	}
	c.unsure = c.unsure || to < end
	c.flushed = min(c.flushed, c.l.RecoveryPoint())
	c.check("after truncation")
	c.resync()
}

func (c *crasher) crash() {
	if c.unsure {
		return
	}
	c.o.RecoveryPoint, c.o.HighWatermark = c.l.RecoveryPoint(), c.l.View().HighWatermark
	if c.rng.IntN(4) == 0 {
		c.o.RecoveryPoint = c.rng.Int64N(c.o.RecoveryPoint + 1) // the checkpoint may be older
	}
	synced := c.l.RecoveryPoint()
	c.mem.Crash(c.rng)
	c.full = 0
	c.mem.SetCapacity(1 << 40)
	c.reopen(false)
	if end := c.l.View().LogEnd; end < synced {
		c.fatalf("log ends at %d, %d was flushed", end, synced)
	}
}

var errGivenUp = errors.New("given up")

func (c *crasher) reopen(clean bool) {
	c.o.Clean, c.o.Now = clean, c.now
	for range c.rng.IntN(3) { // somebody gives up reading
		left := c.rng.Int64N(20_000)
		c.o.Reading = func(bytes int) error {
			if left -= int64(bytes); left < 0 {
				return errGivenUp
			}
			return nil
		}
		if l, _, err := Open(c.o); err == nil {
			l.Close(clean)
		} else if !errors.Is(err, errGivenUp) {
			c.fatalf("open: %v", err)
		}
	}
	c.o.Reading = nil
	l, rec, err := Open(c.o)
	if err != nil {
		c.fatalf("open: %v", err)
	}
	if c.trace {
		c.t.Logf("recovery %+v", rec)
	}
	if clean && (rec.SegmentsScanned > 0 || rec.ProducersRebuiltFrom >= 0 || rec.BytesTruncated > 0) {
		c.fatalf("a clean start read the log: %+v", rec)
	}
	c.l = l
	end := l.View().LogEnd
	for len(c.batches) > 0 && c.batches[len(c.batches)-1].LastOffset() >= end {
		c.batches = c.batches[:len(c.batches)-1]
	}
	c.check("after open")
	c.must(l.BecomeLeader(c.epoch))
	c.resync()
}

// resync makes the next sequences those that the log expects.
func (c *crasher) resync() {
	c.seqs, c.open = map[int64]int32{}, map[int64]bool{}
	for _, p := range c.l.Producers(c.now) {
		c.seqs[p.ProducerID] = p.LastSequence + 1
		c.open[p.ProducerID] = p.TxnFirst >= 0
	}
	c.flushed = c.l.RecoveryPoint()
}

// check compares the log with the batches that it should have.
func (c *crasher) check(when string) {
	c.t.Helper()
	var want []byte
	model := newProducers(0)
	var aborted int
	var s staged
	for _, b := range c.batches {
		want = append(want, b...)
		if !b.HasProducerID() {
			continue
		}
		s.reset()
		if err := s.stage(&model, codecs, check{batch: b, at: offsetOnly(b.BaseOffset()), origin: Replication}); err != nil {
			c.fatalf("model: %v", err)
		}
		s.apply(&model, func(ended, int64) { aborted++ })
	}
	if c.trace {
		c.dump()
	}
	if got := readAll(c.t, c.l, LogEnd); !bytes.Equal(got, want) {
		c.fatalf("%s: log has offsets %v, want %v", when, offsets(c.t, got), offsets(c.t, want))
	}
	checkDense(c.t, want, 0, c.l.View().LogEnd)
	if diff := cmp.Diff(model.entries(), c.l.producers.entries()); diff != "" {
		c.fatalf("%s: producers (-want +got):\n%s", when, diff)
	}
	wantOpen, gotOpen := firsts(model.ongoing), firsts(c.l.producers.ongoing)
	if diff := cmp.Diff(wantOpen, gotOpen); diff != "" {
		c.fatalf("%s: open transactions (-want +got):\n%s", when, diff)
	}
	txns, err := c.l.AbortedTransactions(0, 1<<60)
	c.must(err)
	if len(txns) != aborted {
		c.fatalf("%s: %d aborted transactions in the index, want %d: %v", when, len(txns), aborted, txns)
	}
	c.checkIndexes(when)
}

func firsts(txns []transaction) []int64 {
	out := []int64{}
	for _, t := range txns {
		out = append(out, t.first.offset)
	}
	return out
}

// checkIndexes looks every batch up, and every index entry at its place.
func (c *crasher) checkIndexes(when string) {
	v := c.l.View()
	for _, b := range c.batches {
		s, err := v.Read(b.LastOffset(), 1, LogEnd, true)
		c.must(err)
		if s.First != b.BaseOffset() || s.Size != len(b) {
			c.fatalf("%s: read of %d gives %d bytes from %d on", when, b.LastOffset(), s.Size, s.First)
		}
		s.Release()
	}
	for i := range v.segments {
		s, x, size, err := v.of(i)
		c.must(err)
		c.must(x.offsets.each(func(e *offsetEntry) bool {
			b, err := s.find(x, size, s.base+int64(e.rel))
			if err != nil || b.last != s.base+int64(e.rel) || b.pos != int64(e.pos) {
				c.fatalf("%s: index entry %+v of segment %d leads to %+v, %v", when, *e, s.base, b, err)
			}
			return true
		}))
	}
}

// dump lists the segments' batches.
func (c *crasher) dump() {
	v := c.l.View()
	for i := range v.segments {
		s, x, size, err := v.of(i)
		if err != nil {
			c.t.Log(err)
			continue
		}
		line := fmt.Sprintf("segment %d, %d bytes, %d index entries:", s.base, size, x.offsets.len())
		f, err := s.log.acquire()
		c.must(err)
		w := newWalk(f, 0, size)
		for {
			h, pos, err := w.next()
			if err != nil {
				break
			}
			line += fmt.Sprintf(" %d:[%d,%d]", pos, h.BaseOffset(), h.LastOffset())
		}
		w.close()
		s.log.Release()
		c.t.Log(line)
	}
}
