package storage

import (
	"fmt"
	"testing"
)

// Many logs share a few open files: what is not in use is closed, and opened again when it is needed.
func TestFiles(t *testing.T) {
	_, o := memory(t)
	o.Files = NewFiles(10)
	var logs []*Log
	for i := range 50 {
		o.Dir = fmt.Sprintf("/d/t-%d", i)
		l, _ := open(t, o)
		logs = append(logs, l)
	}
	bounded := func(when string) {
		t.Helper()
		open := 0
		for _, l := range logs {
			open += l.OpenFiles()
		}
		if open > 10 || o.Files.Open() > 10 {
			t.Fatalf("%s: %d files are open, %d known", when, open, o.Files.Open())
		}
	}
	bounded("opened")
	for range 3 {
		for _, l := range logs {
			mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{})
		}
	}
	bounded("appended")
	for _, l := range logs {
		checkDense(t, readAll(t, l, LogEnd), 0, 3)
	}
	bounded("read")
	held, err := logs[0].View().Read(0, 1, LogEnd, true) // somebody reads on while the others need files
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs[1:] {
		mustAppend(t, l, records(1, t0.UnixMilli(), 10), AppendOptions{})
	}
	if _, err := held.Bytes(); err != nil {
		t.Fatal(err)
	}
	held.Release()
	for _, l := range logs {
		if err := l.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	bounded("closed")
}
