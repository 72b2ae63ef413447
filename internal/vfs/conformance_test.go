package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// implementations gives each file system with a directory to work in.
func implementations(t *testing.T) map[string]func(*testing.T) (FS, string) {
	mem := func(wrap func(FS) FS) func(*testing.T) (FS, string) {
		return func(t *testing.T) (FS, string) {
			m := NewMem(nil)
			if err := m.MkdirAll("/work", 0o755); err != nil {
				t.Fatal(err)
			}
			return wrap(m), "/work"
		}
	}
	return map[string]func(*testing.T) (FS, string){
		"os":     func(t *testing.T) (FS, string) { return OS{}, t.TempDir() },
		"mem":    mem(func(f FS) FS { return f }),
		"faults": mem(func(f FS) FS { return NewFaults(f, nil) }),
		"log":    mem(func(f FS) FS { return NewLog(f) }),
	}
}

func TestConformance(t *testing.T) {
	checks := map[string]func(*testing.T, FS, string){
		"open":        checkOpen,
		"read, write": checkReadWrite,
		"truncate":    checkTruncate,
		"names":       checkNames,
		"directories": checkDirectories,
		"unlinked":    checkUnlinked,
		"closed":      checkClosed,
		"lock":        checkLock,
		"usage, time": checkUsage,
		"pages":       checkPages,
	}
	for name, open := range implementations(t) {
		t.Run(name, func(t *testing.T) {
			for name, check := range checks {
				t.Run(name, func(t *testing.T) {
					fsys, dir := open(t)
					check(t, fsys, dir)
				})
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
	var pe *fs.PathError
	var le *os.LinkError
	if !errors.As(err, &pe) && !errors.As(err, &le) {
		t.Fatalf("%s: %T is neither a PathError nor a LinkError", what, err)
	}
}

func create(t *testing.T, fsys FS, name, content string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, ReadWrite|Create, 0o644)
	must(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	must(t, err)
	return f
}

func read(t *testing.T, fsys FS, name string) string {
	t.Helper()
	f, err := fsys.OpenFile(name, ReadOnly, 0)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
	return string(b)
}

func checkOpen(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, "f")
	_, err := fsys.OpenFile(name, ReadWrite, 0)
	wantErr(t, "open what is not there", err, fs.ErrNotExist)
	_, err = fsys.OpenFile(filepath.Join(dir, "no", "f"), ReadWrite|Create, 0o644)
	wantErr(t, "create where no directory is", err, fs.ErrNotExist)
	f := create(t, fsys, name, "abc")
	if f.Name() != name {
		t.Fatalf("name %q", f.Name())
	}
	must(t, f.Sync())
	must(t, f.Close())
	_, err = fsys.OpenFile(name, ReadWrite|Create|Exclusive, 0o644)
	wantErr(t, "create what is there", err, fs.ErrExist)
	_, err = fsys.OpenFile(filepath.Join(name, "g"), ReadWrite|Create, 0o644)
	wantErr(t, "create below a file", err, syscall.ENOTDIR)
	_, err = fsys.OpenFile(dir, ReadWrite, 0)
	wantErr(t, "open a directory to write", err, syscall.EISDIR)
	f, err = fsys.OpenFile(name, ReadWrite|Truncate, 0)
	must(t, err)
	if n, err := f.Size(); n != 0 || err != nil {
		t.Fatalf("truncated to %d, %v", n, err)
	}
	must(t, f.Close())
	f, err = fsys.OpenFile(name, ReadOnly, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	wantErr(t, "write to a file open for reading", err, syscall.EBADF)
	wantErr(t, "truncate a file open for reading", f.Truncate(0), syscall.EINVAL)
	must(t, f.Close())
}

func checkReadWrite(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "hello")
	defer f.Close()
	for _, tc := range []struct {
		off  int64
		n    int
		want string
		err  error
	}{
		{0, 5, "hello", nil}, {1, 3, "ell", nil}, {3, 5, "lo", io.EOF}, {5, 1, "", io.EOF}, {50, 1, "", io.EOF}, {50, 0, "", nil},
	} {
		b := make([]byte, tc.n)
		n, err := f.ReadAt(b, tc.off)
		if string(b[:n]) != tc.want || err != tc.err {
			t.Fatalf("ReadAt(%d, %d) = %q, %v; want %q, %v", tc.n, tc.off, b[:n], err, tc.want, tc.err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Fatal("read at -1")
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		t.Fatal("write at -1")
	}
	_, err := f.WriteAt([]byte("!"), 8)
	must(t, err)
	_, err = f.WriteAt([]byte("J"), 0)
	must(t, err)
	if got := read(t, fsys, f.Name()); got != "Jello\x00\x00\x00!" {
		t.Fatalf("got %q", got)
	}
}

func checkTruncate(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "hello")
	defer f.Close()
	must(t, f.Truncate(2))
	must(t, f.Truncate(4))
	if got := read(t, fsys, f.Name()); got != "he\x00\x00" {
		t.Fatalf("got %q", got)
	}
	must(t, f.Truncate(0))
	_, err := f.WriteAt([]byte("x"), 2)
	must(t, err)
	if got := read(t, fsys, f.Name()); got != "\x00\x00x" {
		t.Fatalf("got %q", got)
	}
	wantErr(t, "truncate to -1", f.Truncate(-1), syscall.EINVAL)
}

func checkNames(t *testing.T, fsys FS, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	create(t, fsys, at("a"), "1").Close()
	create(t, fsys, at("b"), "2").Close()
	must(t, fsys.Rename(at("a"), at("b")))
	if got := read(t, fsys, at("b")); got != "1" {
		t.Fatalf("renamed over: %q", got)
	}
	wantErr(t, "rename what is not there", fsys.Rename(at("a"), at("c")), fs.ErrNotExist)
	wantErr(t, "rename into nowhere", fsys.Rename(at("b"), at("no/c")), fs.ErrNotExist)
	must(t, fsys.Rename(at("b"), at("b")))
	must(t, fsys.Remove(at("b")))
	wantErr(t, "remove what is not there", fsys.Remove(at("b")), fs.ErrNotExist)
	_, err := fsys.Stat(at("b"))
	wantErr(t, "stat what is not there", err, fs.ErrNotExist)
	must(t, fsys.SyncDir(dir))
	wantErr(t, "sync a directory that is not there", fsys.SyncDir(at("no")), fs.ErrNotExist)
	_, err = fsys.OpenDir(at("no"))
	wantErr(t, "open a directory that is not there", err, fs.ErrNotExist)
	create(t, fsys, at("d"), "4").Close()
	_, err = fsys.OpenDir(at("d"))
	wantErr(t, "open a file as a directory", err, syscall.ENOTDIR)
	d, err := fsys.OpenDir(dir)
	must(t, err)
	must(t, fsys.Rename(at("d"), at("e")))
	must(t, d.Sync())
	must(t, d.Sync())
	must(t, d.Close())
	wantErr(t, "sync a directory that was closed", d.Sync(), fs.ErrClosed)
}

func checkDirectories(t *testing.T, fsys FS, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, fsys.MkdirAll(at("x/y/z"), 0o755))
	must(t, fsys.MkdirAll(at("x/y/z"), 0o755))
	for _, n := range []string{"x/c", "x/a", "x/b"} {
		create(t, fsys, at(n), n).Close()
	}
	names, err := fsys.List(at("x"))
	must(t, err)
	if d := cmp.Diff([]string{"a", "b", "c", "y"}, names); d != "" {
		t.Fatal(d)
	}
	_, err = fsys.List(at("no"))
	wantErr(t, "list what is not there", err, fs.ErrNotExist)
	_, err = fsys.List(at("x/a"))
	wantErr(t, "list a file", err, syscall.ENOTDIR)
	wantErr(t, "mkdir through a file", fsys.MkdirAll(at("x/a/d"), 0o755), syscall.ENOTDIR)
	wantErr(t, "remove a directory with content", fsys.Remove(at("x")), syscall.ENOTEMPTY)
	wantErr(t, "rename below itself", fsys.Rename(at("x"), at("x/y/w")), syscall.EINVAL)
	wantErr(t, "rename a directory over a file", fsys.Rename(at("x/y"), at("x/a")), syscall.ENOTDIR)
	wantErr(t, "rename a file over a directory", fsys.Rename(at("x/a"), at("x/y")), fs.ErrExist)
	must(t, fsys.MkdirAll(at("full/d"), 0o755))
	if err := fsys.Rename(at("x"), at("full")); err == nil {
		t.Fatal("renamed over a directory with content")
	}
	must(t, fsys.MkdirAll(at("empty"), 0o755))
	f, err := fsys.OpenFile(at("x/a"), ReadWrite, 0)
	must(t, err)
	must(t, fsys.Rename(at("x"), at("x-delete")))
	_, err = f.WriteAt([]byte("Y"), 0)
	must(t, err)
	must(t, f.Close())
	if got := read(t, fsys, at("x-delete/a")); got != "Y/a" {
		t.Fatalf("through a renamed directory: %q", got)
	}
	info, err := fsys.Stat(at("x-delete"))
	must(t, err)
	if !info.IsDir() || info.Name() != "x-delete" {
		t.Fatalf("stat: %v %v", info.Name(), info.Mode())
	}
	must(t, fsys.RemoveAll(at("x-delete")))
	must(t, fsys.RemoveAll(at("x-delete")))
	must(t, fsys.RemoveAll(at("no/such")))
	must(t, fsys.Remove(at("empty")))
	names, err = fsys.List(dir)
	must(t, err)
	if d := cmp.Diff([]string{"full"}, names); d != "" {
		t.Fatal(d)
	}
}

func checkUnlinked(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "still here")
	must(t, fsys.Remove(f.Name()))
	create(t, fsys, filepath.Join(dir, "f"), "another").Close()
	b := make([]byte, 5)
	_, err := f.ReadAt(b, 6)
	if string(b[:4]) != "here" || err != io.EOF {
		t.Fatalf("got %q, %v", b, err)
	}
	must(t, f.Sync())
	must(t, f.Close())
}

func checkClosed(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "x")
	must(t, f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, "read", err, fs.ErrClosed)
	_, err = f.WriteAt(make([]byte, 1), 0)
	wantErr(t, "write", err, fs.ErrClosed)
	_, err = f.Size()
	wantErr(t, "size", err, fs.ErrClosed)
	wantErr(t, "sync", f.Sync(), fs.ErrClosed)
	wantErr(t, "truncate", f.Truncate(0), fs.ErrClosed)
	wantErr(t, "close", f.Close(), fs.ErrClosed)
}

func checkLock(t *testing.T, fsys FS, dir string) {
	name := filepath.Join(dir, ".lock")
	l, err := fsys.Lock(name)
	must(t, err)
	for range 2 { // a failed attempt must not drop the lock
		_, err = fsys.Lock(name)
		wantErr(t, "lock what is locked", err, ErrLocked)
	}
	must(t, l.Close())
	l, err = fsys.Lock(name)
	must(t, err)
	must(t, l.Close())
	if got := read(t, fsys, name); got != "" {
		t.Fatalf("lock file holds %q", got)
	}
}

func checkUsage(t *testing.T, fsys FS, dir string) {
	u, err := fsys.Usage(dir)
	must(t, err)
	if u.Total <= 0 || u.Free <= 0 || u.Free > u.Total {
		t.Fatalf("usage %+v", u)
	}
	_, err = fsys.Usage(filepath.Join(dir, "no"))
	wantErr(t, "usage of nothing", err, fs.ErrNotExist)
	f := create(t, fsys, filepath.Join(dir, "f"), "12345")
	defer f.Close()
	first, err := fsys.Stat(f.Name())
	must(t, err)
	if first.Size() != 5 || first.IsDir() || first.ModTime().IsZero() {
		t.Fatalf("stat: %d bytes, %v", first.Size(), first.ModTime())
	}
}

// Content across the boundaries of Mem's pages, against a plain slice.
func checkPages(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"), "")
	defer f.Close()
	var want []byte
	write := func(off, n int, c byte) {
		p := bytes.Repeat([]byte{c}, n)
		_, err := f.WriteAt(p, int64(off))
		must(t, err)
		if off+n > len(want) {
			want = append(want, make([]byte, off+n-len(want))...)
		}
		copy(want[off:], p)
	}
	truncate := func(n int) {
		must(t, f.Truncate(int64(n)))
		want = append(want[:min(n, len(want)):min(n, len(want))], make([]byte, max(0, n-len(want)))...)
	}
	write(0, 10, 'a')
	write(pageSize-3, 6, 'b')
	write(5*pageSize+7, 3*pageSize, 'c')
	write(2, pageSize*2, 'd')
	truncate(pageSize + 5)
	truncate(3*pageSize + 1)
	write(2*pageSize, 1, 'e')
	truncate(pageSize)
	write(pageSize+100, 10, 'f')
	if got := read(t, fsys, f.Name()); got != string(want) {
		t.Fatalf("content differs: %d and %d bytes", len(got), len(want))
	}
}
