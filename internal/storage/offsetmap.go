package storage

import (
	"math/bits"

	"github.com/dchest/siphash"
)

// slotSize is what a key costs in an OffsetMap: 16 bytes of hash and an offset.
const slotSize = 24

// OffsetMap says at which offset each key of a stretch of the log has its last record. It keeps no keys, but 128 bits of
// a keyed hash (SipHash-2-4) of each: that two keys of a log share them does not happen by chance, and who does not
// know the hash's key cannot make it happen. So a key costs 24 bytes however long it is, and memory has a bound.
//
// It is an open hash table. Entries stand in the order of the places that they would like to have, so a search ends at
// the first one that likes a place behind the searched one's: looking for what is not there, the usual case, costs a
// few neighbouring slots even when nine of ten are taken.
type OffsetMap struct {
	k0, k1 uint64
	limit  int // slots, at most
	load   float64

	slots []slot
	n     int   // slots that are taken
	max   int   // of which no more may be
	last  int64 // the map holds what the stretch has up to this offset
}

type slot struct {
	a, b uint64
	next int64 // offset + 1; 0: the slot is free
}

// newOffsetMap gives a map that will never have more memory than so many bytes, nor more of its slots taken than a
// fraction.
func newOffsetMap(memory int, load float64, hashKey [2]uint64) OffsetMap {
	if !(load > 0 && load <= maxLoad) {
		load = maxLoad
	}
	return OffsetMap{k0: hashKey[0], k1: hashKey[1], limit: max(memory/slotSize, 2), load: load}
}

// maxLoad bounds how full a map may be, whatever is configured: in a full one a search would not end.
const maxLoad = 0.95

// prepare empties the map, and takes as much memory as so many keys can need, within the limit.
func (m *OffsetMap) prepare(keys int64) {
	n := m.limit
	if want := float64(keys)/m.load + 2; want < float64(n) {
		n = max(int(want), 2)
	}
	if cap(m.slots) < n || cap(m.slots) > 4*n+1024 {
		m.slots = nil // so that not both are there at once
		m.slots = make([]slot, n)
	} else {
		m.slots = m.slots[:n]
		clear(m.slots)
	}
	m.n, m.max, m.last = 0, max(int(float64(n)*m.load), 1), -1
}

// release gives the memory back.
func (m *OffsetMap) release() { m.slots, m.n, m.max = nil, 0, 0 }

// home is the slot that a hash would like to have.
func (m *OffsetMap) home(a uint64) int {
	hi, _ := bits.Mul64(a, uint64(len(m.slots)))
	return int(hi)
}

// away is how far behind its home the entry in slot i stands.
func (m *OffsetMap) away(i int) int {
	d := i - m.home(m.slots[i].a)
	if d < 0 {
		d += len(m.slots)
	}
	return d
}

// put notes a key's offset, and gives false if the key is new and the map full.
func (m *OffsetMap) put(key []byte, offset int64) bool {
	a, b := siphash.Hash128(m.k0, m.k1, key)
	i := m.home(a)
	for d := 0; ; d++ {
		s := &m.slots[i]
		if s.next == 0 || m.away(i) < d {
			break
		}
		if s.a == a && s.b == b {
			s.next = offset + 1
			return true
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
	if m.n == m.max {
		return false
	}
	m.n++
	for e := (slot{a, b, offset + 1}); ; { // those behind make room, up to the next free slot
		s := &m.slots[i]
		*s, e = e, *s
		if e.next == 0 {
			return true
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
}

// get gives a key's offset, -1 if the map does not have it.
func (m *OffsetMap) get(key []byte) int64 {
	if m.n == 0 {
		return -1
	}
	a, b := siphash.Hash128(m.k0, m.k1, key)
	i := m.home(a)
	for d := 0; ; d++ {
		s := &m.slots[i]
		if s.a == a && s.b == b {
			return s.next - 1 // a free slot gives -1
		}
		if s.next == 0 || m.away(i) < d {
			return -1
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
}
