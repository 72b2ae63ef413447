package coordinator

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-io/klamm/internal/record"
)

// memLog is a topic in memory whose partitions are all led here.
type memLog struct {
	mu       sync.Mutex
	parts    map[int32]*memPartition
	manualHW bool // the high watermark moves by commit only
	failWith error
	readFail error
	gate     chan struct{} // if not nil, each Append takes from it first
	readGate chan struct{} // the same for Read
}

type memPartition struct {
	epoch     int32
	batches   []record.Batch
	start, hw int64
	end       int64
	subs      []func(int64)
}

func newMemLog() *memLog { return &memLog{parts: map[int32]*memPartition{}} }

func (l *memLog) part(p int32) *memPartition {
	if l.parts[p] == nil {
		l.parts[p] = &memPartition{}
	}
	return l.parts[p]
}

func (l *memLog) lead(p, epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part(p).epoch = epoch
}

func (l *memLog) Append(_ string, p, epoch int32, b record.Batch, _ uint64, _ int16) (base, next int64, err error) {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	part := l.part(p)
	if l.failWith != nil {
		defer l.mu.Unlock()
		return -1, -1, l.failWith
	}
	if epoch != part.epoch {
		defer l.mu.Unlock()
		return -1, -1, kerr.NotLeaderForPartition
	}
	b.SetBaseOffset(part.end)
	b.SetLeaderEpoch(epoch)
	base = part.end
	part.end = b.LastOffset() + 1
	part.batches = append(part.batches, b)
	next = part.end
	subs := slices.Clone(part.subs)
	manual := l.manualHW
	if !manual {
		part.hw = part.end
	}
	l.mu.Unlock()
	if !manual {
		for _, f := range subs {
			f(next)
		}
	}
	return base, next, nil
}

// commit moves the high watermark to the end.
func (l *memLog) commit(p int32) {
	l.mu.Lock()
	part := l.part(p)
	part.hw = part.end
	hw, subs := part.hw, slices.Clone(part.subs)
	l.mu.Unlock()
	for _, f := range subs {
		f(hw)
	}
}

func (l *memLog) Read(_ string, p int32, from int64, maxBytes int) ([]byte, error) {
	if l.readGate != nil {
		<-l.readGate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readFail != nil {
		return nil, l.readFail
	}
	var out []byte
	for _, b := range l.part(p).batches {
		if b.LastOffset() >= from && (len(out) == 0 || len(out)+len(b) <= maxBytes) {
			out = append(out, b...)
		}
	}
	return out, nil
}

func (l *memLog) Offsets(_ string, p int32) (start, hw, end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	part := l.part(p)
	return part.start, part.hw, part.end, nil
}

func (l *memLog) OnHighWatermark(_ string, p int32, f func(int64)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	part := l.part(p)
	part.subs = append(part.subs, f)
	i := len(part.subs) - 1
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		part.subs[i] = func(int64) {}
	}
}

// counts gives the number of records of each batch.
func (l *memLog) counts(p int32) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n []int
	for _, b := range l.part(p).batches {
		n = append(n, int(b.Count()))
	}
	return n
}

func (l *memLog) set(f func(*memLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}
