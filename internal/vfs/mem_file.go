package vfs

import (
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pageSize is the unit in which Mem holds a file. The last page is as long as it needs to be, so small files
// stay small.
const pageSize = 32 << 10

// content is what a file holds, and what it held at its last Sync.
type content struct {
	mu       sync.RWMutex
	pages    [][]byte // each up to pageSize long; bytes beyond a page's end, up to size, are zero
	size     int64
	modified time.Time

	// saved holds pages as the last Sync left them, if they were changed since. Pages that only grew beyond
	// durable are not in it.
	saved   map[int][]byte
	durable int64 // the size at the last Sync
}

func (c *content) touch(now time.Time) {
	c.mu.Lock()
	c.modified = now
	c.mu.Unlock()
}

func (c *content) stat() (int64, time.Time) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.size, c.modified
}

func (c *content) read(p []byte, off int64) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for n := 0; n < len(p); {
		i, at := int((off+int64(n))/pageSize), int((off+int64(n))%pageSize)
		part := p[n:min(len(p), n+pageSize-at)]
		var got int
		if i < len(c.pages) && at < len(c.pages[i]) {
			got = copy(part, c.pages[i][at:])
		}
		clear(part[got:])
		n += len(part)
	}
	return len(p)
}

func (c *content) write(m *Mem, p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.modified = m.now()
	for n := 0; n < len(p); {
		i, at := int((off+int64(n))/pageSize), int((off+int64(n))%pageSize)
		part := p[n:min(len(p), n+pageSize-at)]
		if err := c.grow(m, i, at+len(part)); err != nil {
			return n, err
		}
		if int64(i)*pageSize+int64(at) < c.durable {
			c.save(i)
		}
		copy(c.pages[i][at:], part)
		n += len(part)
		c.size = max(c.size, off+int64(n))
	}
	return len(p), nil
}

// grow makes page i at least n bytes long.
func (c *content) grow(m *Mem, i, n int) error {
	for len(c.pages) <= i {
		c.pages = append(c.pages, nil)
	}
	page := c.pages[i]
	if len(page) >= n {
		return nil
	}
	more := int64(n - len(page))
	if m.used.Add(more) > m.capacity.Load() {
		m.used.Add(-more)
		return syscall.ENOSPC
	}
	if cap(page) < n {
		bigger := make([]byte, len(page), min(pageSize, max(n, 2*cap(page), 512)))
		copy(bigger, page)
		page = bigger
	}
	// What lies beyond a page's end may hold what a truncation left there.
	clear(page[len(page):n])
	c.pages[i] = page[:n]
	return nil
}

// save keeps a page's durable content before its first change.
func (c *content) save(i int) {
	if _, ok := c.saved[i]; ok {
		return
	}
	if c.saved == nil {
		c.saved = map[int][]byte{}
	}
	var old []byte
	if i < len(c.pages) {
		old = append(old, c.pages[i]...)
	}
	c.saved[i] = old
}

func (c *content) truncate(m *Mem, size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.modified = m.now()
	if size < c.size {
		first := int(size / pageSize)
		for i := first; i < len(c.pages); i++ {
			if int64(i)*pageSize+int64(len(c.pages[i])) > size && max(size, int64(i)*pageSize) < c.durable {
				c.save(i)
			}
			keep := 0
			if i == first {
				keep = min(int(size%pageSize), len(c.pages[i]))
			}
			m.used.Add(int64(keep - len(c.pages[i])))
			c.pages[i] = c.pages[i][:keep]
		}
		used := first
		if size%pageSize > 0 {
			used++
		}
		c.pages = c.pages[:min(len(c.pages), used)]
	}
	c.size = size
	return nil
}

func (c *content) sync() {
	c.mu.Lock()
	c.saved, c.durable = nil, c.size
	c.mu.Unlock()
}

// memFile is an open file of Mem. It dies with the era, that is when the machine crashes.
type memFile struct {
	m        *Mem
	n        *inode
	name     string
	writable bool
	era      int64
	closed   atomic.Bool
}

// check says why an operation cannot be done.
func (f *memFile) check(op string, off int64, write bool) error {
	switch {
	case f.closed.Load():
		return pathError(op, f.name, fs.ErrClosed)
	case off < 0:
		return pathError(op, f.name, syscall.EINVAL)
	case write && !f.writable:
		return pathError(op, f.name, syscall.EBADF)
	case f.era != f.m.era.Load():
		return pathError(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", off, false); err != nil {
		return 0, err
	}
	n := f.n.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", off, true); err != nil {
		return 0, err
	}
	n, err := f.n.write(f.m, p, off)
	if err != nil {
		return n, pathError("write", f.name, err)
	}
	return n, nil
}

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", 0, false); err != nil {
		return 0, err
	}
	size, _ := f.n.stat()
	return size, nil
}

func (f *memFile) Truncate(size int64) error {
	if f.closed.Load() || size < 0 {
		return f.check("truncate", size, false)
	}
	if !f.writable {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	if err := f.check("truncate", 0, true); err != nil {
		return err
	}
	return f.n.truncate(f.m, size)
}

func (f *memFile) Sync() error {
	if err := f.check("sync", 0, false); err != nil {
		return err
	}
	f.n.sync()
	return nil
}
