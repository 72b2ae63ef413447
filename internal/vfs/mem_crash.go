package vfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
)

// blockSize is the unit in which a crash keeps or loses bytes.
const blockSize = 4096

// Crash makes the file system what a machine could find after losing power now: for everything that was not
// synced, rng chooses whether it reached the disk. A nil rng loses all of it. Open files and locks are gone with
// their process: every operation on them fails with fs.ErrClosed.
func (m *Mem) Crash(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.era.Add(1)
	all := rng != nil && rng.IntN(3) == 0
	m.settle(func(nameOp) bool { return all || rng != nil && rng.IntN(2) == 0 })
	m.pending = nil
	m.used.Store(0)
	m.restart(m.root, rng, map[*inode]bool{})
}

// restart takes an inode and what is below it to the state after a crash. A name that was moved may be there
// twice for no inode: settle keeps both halves of a rename together.
func (m *Mem) restart(n *inode, rng *rand.Rand, seen map[*inode]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	n.locked = false
	if n.entries == nil {
		n.crash(m, rng)
		return
	}
	n.entries = maps.Clone(n.durable)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		m.restart(n.entries[name], rng, seen)
	}
}

// How a crash treats a file's unsynced bytes.
const (
	loseAll = iota
	keepAll
	keepPrefix // up to a byte, as if the system wrote in order and was cut off
	keepBlocks // any, as the system may write in any order
	crashModes
)

// crash decides what is left of a file.
func (c *content) crash(m *Mem, rng *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mode := loseAll
	if rng != nil {
		mode = rng.IntN(crashModes)
	}
	size := c.sizeAfter(mode, rng)
	var pages [][]byte
	for at := int64(0); at < size; at += pageSize {
		page := make([]byte, min(pageSize, size-at))
		c.mix(page, at, mode, rng)
		pages = append(pages, page)
	}
	c.pages, c.size, c.saved, c.durable = pages, size, nil, size
	m.used.Add(size)
}

// sizeAfter chooses the size: the last synced one, the one now, or between. Kept bytes beyond the synced size
// may be zeros, as on file systems that extend a file before they write it.
func (c *content) sizeAfter(mode int, rng *rand.Rand) int64 {
	switch {
	case mode == loseAll:
		return c.durable
	case mode == keepAll:
		return c.size
	case c.size > c.durable:
		return c.durable + rng.Int64N(c.size-c.durable+1)
	case rng.IntN(2) == 0:
		return c.size
	}
	return c.durable
}

// mix fills the page at offset at with old and new blocks.
func (c *content) mix(page []byte, at int64, mode int, rng *rand.Rand) {
	i := int(at / pageSize)
	var now []byte
	if i < len(c.pages) {
		now = c.pages[i]
	}
	old, changed := c.saved[i]
	if !changed {
		old = now // only bytes beyond durable can differ
	}
	old = old[:max(0, min(int64(len(old)), c.durable-at))]
	for from := 0; from < len(page); from += blockSize {
		to := min(from+blockSize, len(page))
		oldBlock, newBlock := slice(old, from, to), slice(now, from, to)
		take := newBlock
		switch {
		case mode == loseAll:
			take = oldBlock
		case mode == keepBlocks && !bytes.Equal(oldBlock, newBlock) && rng.IntN(2) == 0:
			take = oldBlock
		}
		copy(page[from:to], take)
		if cut := int(max(0, min(int64(to-from), c.size-at-int64(from)))); mode != loseAll && len(oldBlock) > cut {
			copy(page[from+cut:to], oldBlock[cut:]) // a lost truncation leaves what it would have cut off
		}
	}
}

// slice is b[from:to] as far as b goes.
func slice(b []byte, from, to int) []byte {
	return b[min(from, len(b)):min(to, len(b))]
}
