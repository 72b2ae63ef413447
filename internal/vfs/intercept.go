package vfs

import (
	"fmt"
	"io"
	"io/fs"
)

// OpKind names an operation of FS or File.
type OpKind string

// The operations. An OpenFile that may create is a Create.
const (
	OpOpen      OpKind = "open"
	OpCreate    OpKind = "create"
	OpRead      OpKind = "read"
	OpWrite     OpKind = "write"
	OpSync      OpKind = "sync"
	OpTruncate  OpKind = "truncate"
	OpSize      OpKind = "size"
	OpClose     OpKind = "close"
	OpMkdirAll  OpKind = "mkdirall"
	OpRename    OpKind = "rename"
	OpRemove    OpKind = "remove"
	OpRemoveAll OpKind = "removeall"
	OpList      OpKind = "list"
	OpStat      OpKind = "stat"
	OpSyncDir   OpKind = "syncdir"
	OpOpenDir   OpKind = "opendir" // what is done with it then is a sync and a close, as of a file
	OpLock      OpKind = "lock"
	OpUsage     OpKind = "usage"
)

// Op is an operation on a file system. Files are named as they were opened.
type Op struct {
	Kind   OpKind
	Path   string
	To     string // the new name of a rename
	Offset int64  // of reads and writes; the size that truncate sets
	Length int64  // of reads and writes: bytes asked for, or in a Log bytes done
	Err    error  // in a Log: how it ended
}

// String shows an operation on one line, for golden files.
func (o Op) String() string {
	s := string(o.Kind) + " " + o.Path
	switch o.Kind {
	case OpRename:
		s += " -> " + o.To
	case OpRead, OpWrite:
		s += fmt.Sprintf(" %d+%d", o.Offset, o.Length)
	case OpTruncate:
		s += fmt.Sprintf(" %d", o.Offset)
	}
	if o.Err != nil {
		s += ": " + o.Err.Error()
	}
	return s
}

// interceptor stands between a caller and a file system. call does the operation; reads and writes do at most
// limit bytes and give their number.
type interceptor interface {
	do(op Op, call func(limit int64) (int64, error)) error
}

// intercepted is an FS whose every operation goes through an interceptor. Its files do not show a descriptor, so
// nothing passes by.
type intercepted struct {
	fs FS
	by interceptor
}

// plain makes a call out of an operation that moves no bytes.
func plain(call func() error) func(int64) (int64, error) {
	return func(int64) (int64, error) { return 0, call() }
}

func (i *intercepted) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	kind := OpOpen
	if flag&Create != 0 {
		kind = OpCreate
	}
	var f File
	err := i.by.do(Op{Kind: kind, Path: name}, plain(func() (err error) {
		f, err = i.fs.OpenFile(name, flag, perm)
		return err
	}))
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &interceptedFile{f, i.by}, nil
}

func (i *intercepted) MkdirAll(name string, perm fs.FileMode) error {
	return i.by.do(Op{Kind: OpMkdirAll, Path: name}, plain(func() error { return i.fs.MkdirAll(name, perm) }))
}

func (i *intercepted) Rename(oldname, newname string) error {
	return i.by.do(Op{Kind: OpRename, Path: oldname, To: newname}, plain(func() error { return i.fs.Rename(oldname, newname) }))
}

func (i *intercepted) Remove(name string) error {
	return i.by.do(Op{Kind: OpRemove, Path: name}, plain(func() error { return i.fs.Remove(name) }))
}

func (i *intercepted) RemoveAll(name string) error {
	return i.by.do(Op{Kind: OpRemoveAll, Path: name}, plain(func() error { return i.fs.RemoveAll(name) }))
}

func (i *intercepted) List(name string) (names []string, err error) {
	err = i.by.do(Op{Kind: OpList, Path: name}, plain(func() (err error) {
		names, err = i.fs.List(name)
		return err
	}))
	return names, err
}

func (i *intercepted) Stat(name string) (info fs.FileInfo, err error) {
	err = i.by.do(Op{Kind: OpStat, Path: name}, plain(func() (err error) {
		info, err = i.fs.Stat(name)
		return err
	}))
	return info, err
}

func (i *intercepted) SyncDir(name string) error {
	return i.by.do(Op{Kind: OpSyncDir, Path: name}, plain(func() error { return i.fs.SyncDir(name) }))
}

func (i *intercepted) OpenDir(name string) (d Dir, err error) {
	err = i.by.do(Op{Kind: OpOpenDir, Path: name}, plain(func() (err error) {
		d, err = i.fs.OpenDir(name)
		return err
	}))
	if err != nil {
		return nil, err
	}
	return &interceptedDir{d, name, i.by}, nil
}

func (i *intercepted) Lock(name string) (lock io.Closer, err error) {
	err = i.by.do(Op{Kind: OpLock, Path: name}, plain(func() (err error) {
		lock, err = i.fs.Lock(name)
		return err
	}))
	return lock, err
}

func (i *intercepted) Usage(name string) (u Usage, err error) {
	err = i.by.do(Op{Kind: OpUsage, Path: name}, plain(func() (err error) {
		u, err = i.fs.Usage(name)
		return err
	}))
	return u, err
}

type interceptedDir struct {
	d    Dir
	name string
	by   interceptor
}

func (i *interceptedDir) Sync() error {
	return i.by.do(Op{Kind: OpSync, Path: i.name}, plain(i.d.Sync))
}

func (i *interceptedDir) Close() error {
	return i.by.do(Op{Kind: OpClose, Path: i.name}, plain(i.d.Close))
}

type interceptedFile struct {
	f  File
	by interceptor
}

func (i *interceptedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = i.by.do(Op{Kind: OpRead, Path: i.f.Name(), Offset: off, Length: int64(len(p))}, func(limit int64) (int64, error) {
		n, err = i.f.ReadAt(p[:min(int64(len(p)), limit)], off)
		return int64(n), err
	})
	return n, err
}

func (i *interceptedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = i.by.do(Op{Kind: OpWrite, Path: i.f.Name(), Offset: off, Length: int64(len(p))}, func(limit int64) (int64, error) {
		n, err = i.f.WriteAt(p[:min(int64(len(p)), limit)], off)
		return int64(n), err
	})
	return n, err
}

func (i *interceptedFile) Name() string { return i.f.Name() }

func (i *interceptedFile) Close() error {
	return i.by.do(Op{Kind: OpClose, Path: i.f.Name()}, plain(i.f.Close))
}

func (i *interceptedFile) Size() (size int64, err error) {
	err = i.by.do(Op{Kind: OpSize, Path: i.f.Name()}, plain(func() (err error) {
		size, err = i.f.Size()
		return err
	}))
	return size, err
}

func (i *interceptedFile) Truncate(size int64) error {
	return i.by.do(Op{Kind: OpTruncate, Path: i.f.Name(), Offset: size}, plain(func() error { return i.f.Truncate(size) }))
}

func (i *interceptedFile) Sync() error {
	return i.by.do(Op{Kind: OpSync, Path: i.f.Name()}, plain(i.f.Sync))
}
