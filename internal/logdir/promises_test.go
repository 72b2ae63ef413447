package logdir

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/vfs"
)

// Loading says how far it is: at most once a second, and never less than that while it goes on.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a")
		r.c.RecoveryThreads = 1
		r.open()
		const n = 40
		for i := range n {
			if _, err := r.d.Create("t", topic("t"), int32(i), schema.ZeroUUID); err != nil {
				t.Fatal(err)
			}
		}
		r.close(1)
		r.faults.Set(func(op vfs.Op) error {
			if op.Kind == vfs.OpList && op.Path != "/a" {
				time.Sleep(300 * time.Millisecond) // a slow disk: a log takes that long
			}
			return nil
		})
		var err error
		if r.d, err = Open(r.c); err == nil {
			err = r.d.Load(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		var done []int
		for _, m := range regexp.MustCompile(`loaded (\d+) of 40 logs`).FindAllStringSubmatch(r.said.String(), -1) {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, i)
		}
		r.want("said", done, []int{4, 8, 12, 16, 20, 24, 28, 32, 36}) // four logs take 1.2 s; the end has its own line
		r.close(1)
	})
}

// Close waits for what runs before it closes a log: a flusher that came later would work on directories that are another
// node's by then.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "/a").open()
		l := r.create("t")
		r.append(l, 1)
		r.d.Start()
		release := make(chan struct{})
		r.d.Flush(l, 1, func(error) { <-release })
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- r.d.Close(1) }()
		synctest.Wait()
		if len(ended) > 0 || r.exists("/a", fileClean) {
			t.Fatal("Close did not wait for the flusher")
		}
		if _, err := r.mem.Lock("/a/" + fileLock); err == nil {
			t.Fatal("the directory was unlocked before the flusher ended")
		}
		// A second call does not go ahead of it.
		again := make(chan error, 1)
		go func() { again <- r.d.Close(1) }()
		synctest.Wait()
		if len(again) > 0 {
			t.Fatal("the second Close did not wait for the first")
		}
		close(release)
		for _, c := range []chan error{ended, again} {
			if err := <-c; err != nil {
				t.Fatal(err)
			}
		}
		r.want("marker", r.exists("/a", fileClean), true)
	})
}
