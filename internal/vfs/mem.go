package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a file system in memory. It knows what was synced: Crash takes it to a state in which a machine that
// lost power at this instant could find its disk.
//
// What can be lost, and what cannot:
//   - Bytes written or cut off since the file's last Sync, block by block, and the size with them.
//   - Names created, renamed or removed since the directory's last SyncDir. A rename is lost or kept as a whole, and
//     never kept without the operations on the same names before it. Syncing a file does not make its name
//     durable, although many a real file system does so.
//   - Never: what was synced, and the content that a name had when it was made durable.
//
// "a" and "/a" are the same name. Permissions are kept, but nothing is denied for them.
type Mem struct {
	now      func() time.Time
	capacity atomic.Int64
	used     atomic.Int64
	era      atomic.Int64 // counts crashes; changes with mu held

	mu      sync.Mutex // guards the tree and pending; file contents have their own lock
	root    *inode
	pending []nameOp
}

// nameOp is a change of names that no SyncDir has made durable yet. All its parts come true together.
type nameOp []nameChange

type nameChange struct {
	dir  *inode
	name string
	node *inode // nil removes the name
}

// inode is a file or a directory, whatever its names are.
type inode struct {
	perm   fs.FileMode // with the directory bit
	locked bool        // by Lock; guarded by Mem.mu

	entries map[string]*inode // of a directory; guarded by Mem.mu
	durable map[string]*inode // the entries that survive a crash for sure

	content // of a file
}

// NewMem gives an empty file system. The clock is asked for modification times; nil means one that starts at
// 1970 and advances by a millisecond with every change.
func NewMem(clock func() time.Time) *Mem {
	m := &Mem{now: clock, root: newDir(0o755)}
	if m.now == nil {
		var ticks atomic.Int64
		m.now = func() time.Time { return time.UnixMilli(ticks.Add(1)) }
	}
	m.SetCapacity(1 << 40)
	return m
}

func newDir(perm fs.FileMode) *inode {
	return &inode{perm: perm.Perm() | fs.ModeDir, entries: map[string]*inode{}, durable: map[string]*inode{}}
}

// SetCapacity sets the total that Usage reports and beyond which writes fail with ENOSPC; initially 1 TiB.
func (m *Mem) SetCapacity(bytes int64) { m.capacity.Store(bytes) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// clean splits a name into its elements.
func clean(name string) []string {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil
	}
	return strings.Split(name[1:], "/")
}

// walk finds the inode of a name. Call it with mu held.
func (m *Mem) walk(elems []string) (*inode, error) {
	n := m.root
	for _, e := range elems {
		if n.entries == nil {
			return nil, syscall.ENOTDIR
		}
		next, ok := n.entries[e]
		if !ok {
			return nil, syscall.ENOENT
		}
		n = next
	}
	return n, nil
}

// parent finds the directory in which a name stands or would stand. Call it with mu held.
func (m *Mem) parent(name string) (dir *inode, base string, err error) {
	elems := clean(name)
	if len(elems) == 0 {
		return nil, "", syscall.EBUSY
	}
	last := len(elems) - 1
	dir, err = m.walk(elems[:last])
	if err == nil && dir.entries == nil {
		err = syscall.ENOTDIR
	}
	return dir, elems[last], err
}

// change does an operation on names and remembers it as not yet durable. Call it with mu held.
func (m *Mem) change(op ...nameChange) {
	for _, c := range op {
		set(c.dir.entries, c.name, c.node)
		c.dir.touch(m.now())
	}
	m.pending = append(m.pending, op)
}

func set(entries map[string]*inode, name string, n *inode) {
	if n == nil {
		delete(entries, name)
	} else {
		entries[name] = n
	}
}

// OpenFile opens or creates a file.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &memFile{m: m, n: n, name: name, writable: flag&(os.O_RDWR|os.O_WRONLY) != 0, era: m.era.Load()}, nil
}

func (m *Mem) open(name string, flag int, perm fs.FileMode) (*inode, error) {
	if len(clean(name)) == 0 {
		return nil, syscall.EISDIR
	}
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	n, ok := dir.entries[base]
	switch {
	case !ok && flag&Create == 0:
		return nil, syscall.ENOENT
	case !ok:
		n = &inode{perm: perm.Perm()}
		n.touch(m.now())
		m.change(nameChange{dir, base, n})
	case flag&Create != 0 && flag&Exclusive != 0:
		return nil, syscall.EEXIST
	case n.entries != nil:
		return nil, syscall.EISDIR
	case flag&Truncate != 0:
		if err := n.truncate(m, 0); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// MkdirAll makes a directory and those above it.
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, e := range clean(name) {
		next, ok := n.entries[e]
		if !ok {
			next = newDir(perm)
			next.touch(m.now())
			m.change(nameChange{n, e, next})
		}
		if next.entries == nil {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		n = next
	}
	return nil
}

// Rename gives a file or directory another name, in place of a file or empty directory that has it.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldname, newname); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *Mem) rename(oldname, newname string) error {
	from, oldbase, err := m.parent(oldname)
	if err != nil {
		return err
	}
	n, ok := from.entries[oldbase]
	if !ok {
		return syscall.ENOENT
	}
	to, newbase, err := m.parent(newname)
	if err != nil {
		return err
	}
	if from == to && oldbase == newbase {
		return nil
	}
	if n.entries != nil && strings.HasPrefix(path.Clean("/"+newname), path.Clean("/"+oldname)+"/") {
		return syscall.EINVAL
	}
	if there, ok := to.entries[newbase]; ok {
		switch {
		case there.entries != nil && n.entries == nil:
			return syscall.EEXIST
		case there.entries == nil && n.entries != nil:
			return syscall.ENOTDIR
		case len(there.entries) > 0:
			return syscall.EEXIST
		}
	}
	m.change(nameChange{from, oldbase, nil}, nameChange{to, newbase, n})
	return nil
}

// Remove removes a file or an empty directory. Open files stay readable.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	n, ok := dir.entries[base]
	if !ok {
		return pathError("remove", name, syscall.ENOENT)
	}
	if len(n.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.change(nameChange{dir, base, nil})
	return nil
}

// RemoveAll removes a name and everything below it, each name by itself, so a crash can leave some.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return pathError("removeall", name, err)
	}
	if n, ok := dir.entries[base]; ok {
		m.removeBelow(n)
		m.change(nameChange{dir, base, nil})
	}
	return nil
}

func (m *Mem) removeBelow(n *inode) {
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		m.removeBelow(n.entries[name])
		m.change(nameChange{n, name, nil})
	}
}

// directory finds one to be opened. Call it with mu held.
func (m *Mem) directory(name string) (*inode, error) {
	n, err := m.walk(clean(name))
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return n, nil
}

// List gives the names in a directory, sorted.
func (m *Mem) List(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.directory(name)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.entries)), nil
}

// Stat describes a file or directory.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	n, err := m.walk(clean(name))
	m.mu.Unlock()
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	size, modified := n.stat()
	return memInfo{name: path.Base(path.Clean("/" + name)), size: size, mode: n.perm, modified: modified}, nil
}

// SyncDir makes the names in a directory durable.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(clean(name))
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	m.syncNames(n)
	return nil
}

// syncNames makes the names in a directory durable. Call it with mu held.
func (m *Mem) syncNames(n *inode) {
	m.settle(func(op nameOp) bool {
		return slices.ContainsFunc(op, func(c nameChange) bool { return c.dir == n })
	})
}

// OpenDir opens a directory.
func (m *Mem) OpenDir(name string) (Dir, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.directory(name)
	if err != nil {
		return nil, err
	}
	return &memDir{m: m, n: n, name: name, era: m.era.Load()}, nil
}

// memDir is an open directory. It dies with the era, as files do.
type memDir struct {
	m      *Mem
	n      *inode
	name   string
	era    int64
	closed atomic.Bool
}

func (d *memDir) Sync() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.closed.Load() || d.era != d.m.era.Load() {
		return pathError("sync", d.name, fs.ErrClosed)
	}
	d.m.syncNames(d.n)
	return nil
}

func (d *memDir) Close() error {
	if d.closed.Swap(true) {
		return pathError("close", d.name, fs.ErrClosed)
	}
	return nil
}

// settle makes the chosen pending operations durable, and with each of them the earlier ones on the same names:
// without those a later choice would undo it. Call it with mu held.
func (m *Mem) settle(chosen func(nameOp) bool) {
	type key struct {
		dir  *inode
		name string
	}
	needed := map[key]bool{}
	keep := make([]bool, len(m.pending))
	for i := len(m.pending) - 1; i >= 0; i-- {
		op := m.pending[i]
		keep[i] = chosen(op) || slices.ContainsFunc(op, func(c nameChange) bool { return needed[key{c.dir, c.name}] })
		if keep[i] {
			for _, c := range op {
				needed[key{c.dir, c.name}] = true
			}
		}
	}
	var rest []nameOp
	for i, op := range m.pending {
		if !keep[i] {
			rest = append(rest, op)
			continue
		}
		for _, c := range op {
			set(c.dir.durable, c.name, c.node)
		}
	}
	m.pending = rest
}

// Lock takes the exclusive lock of a file, creating it.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, ReadWrite|Create, 0o644)
	if err == nil && n.locked {
		err = ErrLocked
	}
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	n.locked = true
	return &memLock{m: m, n: n, name: name, era: m.era.Load()}, nil
}

// memLock gives a lock of Mem back.
type memLock struct {
	m      *Mem
	n      *inode
	name   string
	era    int64
	closed bool
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.closed {
		return pathError("close", l.name, fs.ErrClosed)
	}
	l.closed = true
	if l.era == l.m.era.Load() {
		l.n.locked = false
	}
	return nil
}

// Usage reports the capacity and what the files leave of it.
func (m *Mem) Usage(name string) (Usage, error) {
	m.mu.Lock()
	_, err := m.walk(clean(name))
	m.mu.Unlock()
	if err != nil {
		return Usage{}, pathError("statfs", name, err)
	}
	total := m.capacity.Load()
	return Usage{Total: total, Free: max(0, total-m.used.Load())}, nil
}

// memInfo is what Mem's Stat gives.
type memInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
