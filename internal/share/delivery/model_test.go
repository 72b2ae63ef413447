package delivery

import (
	"flag"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model drives share partitions, one after the other, with members that take, acknowledge, forget and come late, a log
// that grows, is compacted and deleted from, and a persister that fails. It keeps what an outside observer knows of each
// record and checks after every step what must hold.
type model struct {
	rt  *rapid.T
	p   *Partition
	c   Config
	now time.Time

	log     []LogBatch
	end     int64
	deleted int64                // the log's start
	gone    map[int64]bool       // compacted away
	held    map[int64]hold       // who may acknowledge, as members were told
	waiting map[int64]hold       // in a transition that is not written
	fate    map[int64]string     // why a record is done, once the outside was told or can tell
	counts  map[int64]int        // deliveries by this leader
	lowest  int64                // start must not fall below
	disk    map[int64]StateBatch // by offset
	diskAt  int64                // persisted start offset
	epoch   int32
	write   *Write
	acks    map[*Transition]map[int64]string // what a transition promises
	given   map[*Transition]string           // to whom
}

type hold struct {
	member   string
	deadline time.Time
}

func newModel(rt *rapid.T) *model {
	m := &model{rt: rt, now: time.Unix(1000, 0), gone: map[int64]bool{}, disk: map[int64]StateBatch{}, fate: map[int64]string{},
		c: Config{MaxDeliveries: rapid.IntRange(2, 6).Draw(rt, "deliveries"), MaxLocks: rapid.IntRange(5, 40).Draw(rt, "locks"), Lock: 30 * time.Second, Renew: true}}
	m.reload()
	return m
}

// reload begins a new leadership from what is persisted.
func (m *model) reload() {
	m.held, m.waiting, m.counts = map[int64]hold{}, map[int64]hold{}, map[int64]int{}
	m.acks, m.given, m.write = map[*Transition]map[int64]string{}, map[*Transition]string{}, nil
	var states []StateBatch
	for _, o := range slices.Sorted(maps.Keys(m.disk)) {
		b := m.disk[o]
		if n := len(states); n > 0 && states[n-1].Last == o-1 && states[n-1].State == b.State && states[n-1].Deliveries == b.Deliveries {
			states[n-1].Last = o
			continue
		}
		states = append(states, StateBatch{o, o, b.State, b.Deliveries})
	}
	m.p = &Partition{}
	if err := m.p.Load(m.diskAt, m.epoch, states); err != nil {
		m.rt.Fatal(err)
	}
	for o := m.diskAt; o < m.p.next; o++ { // what was persisted is what there is now
		r, b, want := m.run(o), m.batch(o), m.disk[o]
		known := want != StateBatch{}
		switch {
		case r == nil && (o >= m.p.start || !want.State.terminal()):
			m.rt.Fatalf("offset %d is forgotten by a load", o)
		case r != nil && b.unread == known, r != nil && known && (r.state != want.State || r.deliveries != want.Deliveries):
			m.rt.Fatalf("offset %d is loaded as %+v, persisted as %+v", o, *r, want)
		}
	}
	m.lowest = m.p.start
}

func (m *model) batch(offset int64) *batch {
	if bs := m.p.over(offset, offset); len(bs) > 0 {
		return bs[0]
	}
	return nil
}

func (m *model) run(offset int64) *run {
	b := m.batch(offset)
	if b == nil {
		return nil
	}
	for i := range b.runs {
		if r := &b.runs[i]; r.first <= offset && offset <= r.last {
			return r
		}
	}
	return nil
}

func (m *model) append(rt *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(rt, "batches") {
		n := rapid.Int64Range(1, 7).Draw(rt, "records")
		m.log = append(m.log, LogBatch{First: m.end, Last: m.end + n - 1, Aborted: rapid.IntRange(0, 7).Draw(rt, "aborted") == 0})
		m.end += n
	}
}

// read gives the log's batches from an offset on.
func (m *model) read(offset int64, most int) []LogBatch {
	var out []LogBatch
	for _, l := range m.log {
		if l.Last >= offset && len(out) < most {
			out = append(out, l)
		}
	}
	return out
}

func (m *model) acquire(rt *rapid.T, member string, batches int, f Fetch) {
	f.Member, f.Offset = member, m.p.NextOffset()
	if f.Offset < m.deleted {
		m.p.LogStartMoved(m.deleted)
		f.Offset = m.p.NextOffset()
	}
	log := m.read(f.Offset, batches)
	var n int64
	got := m.p.Acquire(m.now, f, log, m.c)
	for i, a := range got {
		if a.First > a.Last || i > 0 && a.First <= got[i-1].Last {
			rt.Fatalf("acquired records are not in order: %+v", got)
		}
		for o := a.First; o <= a.Last; o++ {
			n++
			if h, ok := m.held[o]; ok {
				rt.Fatalf("offset %d goes to %s and %s holds it", o, member, h.member)
			}
			if h, ok := m.waiting[o]; ok {
				rt.Fatalf("offset %d goes to %s while what %s said of it is written", o, member, h.member)
			}
			if why := m.fate[o]; why == "accept" || why == "reject" || why == "deleted" {
				rt.Fatalf("offset %d goes to %s and is done: %s", o, member, why)
			}
			m.counts[o]++
			if int(a.Deliveries) > m.c.MaxDeliveries || int(a.Deliveries) < m.counts[o] {
				rt.Fatalf("offset %d is delivered for the %d. time, this leader's %d. of %d", o, a.Deliveries, m.counts[o], m.c.MaxDeliveries)
			}
			if int(a.Deliveries) == m.c.MaxDeliveries {
				m.fate[o] = "delivered often enough"
			}
			m.held[o] = hold{member, m.now.Add(m.c.Lock)}
		}
	}
	if f.RecordLimit && n > int64(f.MaxRecords) {
		rt.Fatalf("%d records were acquired, %d is the limit", n, f.MaxRecords)
	}
	for _, l := range log {
		if r := m.run(l.First); l.Aborted && r != nil && r.held() && r.member == member && m.held[l.First].member == "" {
			rt.Fatalf("%s holds offset %d of an aborted transaction unknowingly", member, l.First)
		}
	}
}

// acknowledge says something of records that a member believes to hold, perhaps wrongly.
func (m *model) acknowledge(rt *rapid.T, member string) {
	var mine []int64
	for _, o := range slices.Sorted(maps.Keys(m.held)) {
		if m.held[o].member == member {
			mine = append(mine, o)
		}
	}
	if len(mine) == 0 {
		return
	}
	i := rapid.IntRange(0, len(mine)-1).Draw(rt, "from")
	j := i
	for j+1 < len(mine) && mine[j+1] == mine[j]+1 && rapid.IntRange(0, 4).Draw(rt, "stop") > 0 {
		j++
	}
	k := Acknowledgement{First: mine[i], Last: mine[j], Types: []int8{int8(rapid.IntRange(0, 4).Draw(rt, "type"))}}
	if rapid.Bool().Draw(rt, "each") {
		for o := k.First; o < k.Last; o++ {
			k.Types = append(k.Types, int8(rapid.IntRange(0, 4).Draw(rt, "type")))
		}
	}
	t, err := m.p.Acknowledge(m.now, member, []Acknowledgement{k}, m.c)
	if err != nil {
		rt.Fatalf("%s holds %d to %d: %v", member, k.First, k.Last, err)
	}
	names := map[int8]string{Gap: "reject", Accept: "accept", Release: "", Reject: "reject"}
	promise := map[int64]string{}
	for o := k.First; o <= k.Last; o++ {
		if o < m.p.start {
			continue
		}
		kind, _ := k.typeAt(o)
		if kind == Renew {
			m.held[o] = hold{member, m.now.Add(m.c.Lock)}
			continue
		}
		promise[o] = names[kind]
		m.waiting[o] = m.held[o]
		delete(m.held, o)
	}
	if t == nil {
		if len(promise) > 0 {
			rt.Fatalf("nothing is written of %v", promise)
		}
		return
	}
	m.acks[t], m.given[t] = promise, member
}

// lie acknowledges what is somebody else's.
func (m *model) lie(rt *rapid.T) {
	for _, o := range slices.Sorted(maps.Keys(m.held)) {
		if o < m.p.start {
			continue
		}
		before := m.p.String()
		if _, err := m.p.Acknowledge(m.now, "liar", []Acknowledgement{{o, o, []int8{Accept}}}, m.c); err == nil {
			rt.Fatalf("offset %d is %s's and was acknowledged by another", o, m.held[o].member)
		}
		if after := m.p.String(); after != before {
			rt.Fatalf("a refused acknowledgement changes\n%s\nto\n%s", before, after)
		}
		return
	}
}

func (m *model) release(member string) {
	t := m.p.Release(m.now, member, m.c)
	promise := map[int64]string{}
	for o, h := range m.held { // order does not matter
		if h.member == member && o >= m.p.start {
			promise[o] = ""
			m.waiting[o] = h
			delete(m.held, o)
		}
	}
	if (t == nil) != (len(promise) == 0) {
		m.rt.Fatalf("%s holds %v, released %v", member, promise, t)
	}
	if t != nil {
		m.acks[t], m.given[t] = promise, member
	}
}

func (m *model) expire() {
	m.p.Expire(m.now, m.c)
	for o, h := range m.held { // order does not matter
		if !m.now.Before(h.deadline) {
			delete(m.held, o)
			if r := m.run(o); r != nil && r.state == Acquired {
				m.rt.Fatalf("%s holds offset %d for too long", h.member, o)
			}
		}
	}
}

func (m *model) take(rt *rapid.T) {
	w, ok := m.p.Take()
	if !ok {
		return
	}
	m.write = &w
	for i, b := range w.Batches {
		if b.First < w.StartOffset || b.First > b.Last || i > 0 && b.First <= w.Batches[i-1].Last {
			rt.Fatalf("no state to write: %+v", w)
		}
	}
}

// persist does what the share coordinator does with a write.
func (m *model) persist() {
	w := m.write
	if w.StartOffset < m.diskAt {
		m.rt.Fatalf("start offset %d is written over %d", w.StartOffset, m.diskAt)
	}
	m.diskAt = w.StartOffset
	for _, b := range w.Batches {
		for o := b.First; o <= b.Last; o++ {
			m.disk[o] = StateBatch{o, o, b.State, b.Deliveries}
		}
	}
	maps.DeleteFunc(m.disk, func(o int64, _ StateBatch) bool { return o < m.diskAt })
}

func (m *model) written(ok bool) {
	if m.write == nil {
		return
	}
	if ok {
		m.persist()
	}
	m.write = nil
	for _, t := range m.p.Written(ok, m.now) {
		for o, promise := range m.acks[t] { // order does not matter
			h, was := m.waiting[o]
			delete(m.waiting, o)
			switch {
			case ok && promise != "":
				m.fate[o] = promise
			case !ok && was && m.now.Before(h.deadline) && o >= m.p.start:
				m.held[o] = h
			}
		}
	}
}

// crash loses the leader. What is being written may arrive.
func (m *model) crash(rt *rapid.T) {
	if m.write != nil && rapid.Bool().Draw(rt, "arrives") {
		m.persist()
		for t, promise := range m.acks { // order does not matter
			if slices.Contains(m.p.flight, t) {
				for o, p := range promise {
					if p != "" {
						m.fate[o] = p
					}
				}
			}
		}
	}
	m.epoch++
	m.reload()
}

func (m *model) check(rt *rapid.T) {
	p := m.p
	if p.start < m.lowest {
		rt.Fatalf("start fell from %d to %d", m.lowest, p.start)
	}
	m.lowest = p.start
	last := p.start - 1
	for i, b := range p.batches {
		for _, r := range b.runs {
			if r.first <= last || r.last < r.first {
				rt.Fatalf("offsets are out of order:\n%s", p)
			}
			last = r.last
			if (r.state == Acquired) != (r.member != "") || r.pending != 0 && r.deadline.IsZero() || r.state == Acquired && r.deadline.IsZero() {
				rt.Fatalf("no state: %+v", r)
			}
			if r.state == Acquired {
				for o := r.first; o <= r.last; o++ {
					if h := m.held[o]; h.member != r.member {
						rt.Fatalf("%s holds offset %d and believes it is %q", r.member, o, h.member)
					}
				}
			}
		}
		if r := b.runs[0]; i == 0 && r.state.terminal() && r.pending == 0 {
			rt.Fatalf("start stands on what is done:\n%s", p)
		}
	}
	if last >= p.next || p.next < p.start || len(p.batches) == 0 && p.next != p.start {
		rt.Fatalf("next is wrong:\n%s", p)
	}
	if p.NextOffset() < p.start || p.InFlight() > int64(m.c.MaxLocks)+1000 {
		rt.Fatalf("next offset %d\n%s", p.NextOffset(), p)
	}
	if at, ok := p.NextDeadline(); !ok || at.After(m.now.Add(m.c.Lock)) {
		for o, h := range m.held { // order does not matter
			if o >= p.start && (!ok || h.deadline.Before(at)) {
				rt.Fatalf("the hold of %s on %d ends %v, and nothing would end it", h.member, o, h.deadline)
			}
		}
	}
}

// finish lets everything go well: at the end every record is done, and for a reason.
func (m *model) finish(rt *rapid.T) {
	m.written(true)
	for round := 0; m.p.start < m.end; round++ {
		if round > 10000 {
			rt.Fatalf("the group does not come to an end:\n%s", m.p)
		}
		m.now = m.now.Add(m.c.Lock)
		m.expire()
		before := m.p.String()
		m.acquire(rt, "z", 3, Fetch{MaxRecords: 5, BatchSize: 5})
		var acks []Acknowledgement
		for _, o := range slices.Sorted(maps.Keys(m.held)) {
			acks = append(acks, Acknowledgement{o, o, []int8{Accept}})
			m.fate[o] = "accept"
			delete(m.held, o)
		}
		if _, err := m.p.Acknowledge(m.now, "z", acks, m.c); err != nil {
			rt.Fatal(err)
		}
		for {
			w, ok := m.p.Take()
			if !ok {
				break
			}
			m.write = &w
			m.written(true)
		}
		m.check(rt)
		if m.p.String() == before && len(m.read(m.p.NextOffset(), 1)) == 0 {
			m.p.LogStartMoved(m.end) // compaction left nothing at the log's end
		}
	}
	for _, l := range m.log {
		for o := l.First; o <= l.Last; o++ {
			if m.fate[o] == "" && !l.Aborted && o >= m.deleted && !m.gone[o] {
				rt.Fatalf("offset %d is lost", o)
			}
		}
	}
}

func (m *model) compact(rt *rapid.T) {
	if len(m.log) < 2 {
		return
	}
	i := rapid.IntRange(0, len(m.log)-1).Draw(rt, "batch")
	for o := m.log[i].First; o <= m.log[i].Last; o++ {
		m.gone[o] = true
	}
	m.log = slices.Delete(m.log, i, i+1)
}

func (m *model) deleteRecords(rt *rapid.T) {
	m.deleted = rapid.Int64Range(m.deleted, min(m.end, m.deleted+6)).Draw(rt, "log start")
	m.log = slices.DeleteFunc(m.log, func(l LogBatch) bool { return l.Last < m.deleted })
	for o := range m.deleted {
		if m.fate[o] == "" {
			m.fate[o] = "deleted before it was done"
		}
	}
	if rapid.Bool().Draw(rt, "noticed") {
		m.p.LogStartMoved(m.deleted)
	}
}

// history runs one random history.
func history(rt *rapid.T) {
	m := newModel(rt)
	members := []string{"a", "b", "c"}
	who := func(rt *rapid.T) string { return rapid.SampledFrom(members).Draw(rt, "member") }
	acquire := func(rt *rapid.T) {
		m.acquire(rt, who(rt), rapid.IntRange(1, 6).Draw(rt, "batches"), Fetch{MaxRecords: rapid.IntRange(0, 30).Draw(rt, "max"),
			BatchSize: rapid.IntRange(0, 10).Draw(rt, "size"), RecordLimit: rapid.Bool().Draw(rt, "limit")})
	}
	acknowledge := func(rt *rapid.T) { m.acknowledge(rt, who(rt)) }
	rt.Repeat(map[string]func(*rapid.T){
		"":            m.check,
		"append":      m.append,
		"acquire":     acquire,
		"acquire 2":   acquire,
		"acknowledge": acknowledge,
		"again":       acknowledge,
		"lie":         m.lie,
		"release":     func(rt *rapid.T) { m.release(who(rt)) },
		"wait": func(rt *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(rt, "seconds")) * time.Second)
			m.expire()
		},
		"take":    m.take,
		"written": func(rt *rapid.T) { m.written(rapid.IntRange(0, 3).Draw(rt, "fails") > 0) },
		"compact": m.compact,
		"delete":  m.deleteRecords,
		"crash":   m.crash,
	})
	m.finish(rt)
}

func TestSim(t *testing.T) {
	seeds := "200"
	if s := os.Getenv("KLAMM_SIM_SEEDS"); s != "" {
		seeds = s
	}
	for name, value := range map[string]string{"rapid.checks": seeds, "rapid.steps": "120"} {
		f := flag.Lookup(name)
		if old := f.Value.String(); old == f.DefValue { // else the command line says otherwise
			if err := f.Value.Set(value); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Value.Set(old) })
		}
	}
	rapid.Check(t, history)
}
