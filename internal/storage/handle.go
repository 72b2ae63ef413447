package storage

import (
	"sync"
	"sync/atomic"

	"github.com/klamm-io/klamm/internal/vfs"
)

// handle is a file that is opened when somebody first needs it, and closed when nobody does. It is the reference that a
// vfs.Range holds.
//
// refs counts the users, and one more while the file is open. So a user may add itself without the lock as long as refs
// is not zero; zero means "closed", and opening needs the lock. The file is closed by whoever brings refs to zero:
// idle() does so when it finds no user, a user's Release after retire() has taken the extra reference.
type handle struct {
	fs    disk
	clock clock
	refs  atomic.Int64
	file  vfs.File // set before refs leaves zero, read only by those who hold a reference

	mu      sync.Mutex
	path    string // guarded by mu
	retired bool   // guarded by mu: it will not be opened again
}

func newHandle(fs disk, path string) *handle { return &handle{fs: fs, path: path} }

// adopt makes a handle of a file that is open already.
func adopt(fs disk, path string, file vfs.File) *handle {
	h := &handle{fs: fs, path: path, file: file}
	h.refs.Store(1)
	h.clock.used.Store(true)
	fs.files.opened(h)
	return h
}

// acquire opens the file if need be, and adds a user. It gives errRetired once the file is to go.
func (h *handle) acquire() (vfs.File, error) { return h.get(vfs.ReadWrite) }

// create is acquire for a file that need not exist.
func (h *handle) create() (vfs.File, error) { return h.get(vfs.ReadWrite | vfs.Create) }

func (h *handle) get(flags int) (vfs.File, error) {
	if !h.clock.used.Load() {
		h.clock.used.Store(true)
	}
	for {
		n := h.refs.Load()
		if n == 0 {
			break
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return h.file, nil
		}
	}
	f, err := h.reopen(flags)
	if err == nil {
		h.fs.files.opened(h)
	}
	return f, err
}

func (h *handle) reopen(flags int) (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired {
		return nil, errRetired
	}
	if h.refs.Load() > 0 { // somebody else opened it; while mu is held it is not closed
		h.refs.Add(1)
		return h.file, nil
	}
	f, err := h.fs.OpenFile(h.path, flags, 0o644)
	if err != nil {
		return nil, err
	}
	h.file = f
	h.refs.Store(2)
	return f, nil
}

// Release takes a user away. It is vfs.Ref's method.
func (h *handle) Release() {
	if h.refs.Add(-1) == 0 {
		h.file.Close()
	}
}

// idle closes the file if it is open and nobody uses it; the next user opens it again.
func (h *handle) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.retired && h.refs.CompareAndSwap(1, 0) {
		h.file.Close()
		return true
	}
	return false
}

// retire closes the file as soon as its last user is gone. Those who hold it may go on, nobody else may begin.
func (h *handle) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired {
		return
	}
	h.retired = true
	if h.refs.Load() > 0 {
		h.Release()
	}
}

// open says whether the file holds a descriptor.
func (h *handle) open() bool { return h.refs.Load() > 0 }

// rename moves the file. A missing file is the caller's business.
func (h *handle) rename(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fs.Rename(h.path, path); err != nil {
		return err
	}
	h.path = path
	return nil
}

// moved says that the file has another name now, or would have.
func (h *handle) moved(path string) {
	h.mu.Lock()
	h.path = path
	h.mu.Unlock()
}

func (h *handle) name() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.path
}
