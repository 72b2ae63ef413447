//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a node may cost.
const (
	firstRecordMax = 150 * time.Millisecond
	idleMemoryMax  = 40 << 20
	binaryMax      = 30_000_000

	starts  = 11 // the median of them counts: a machine that is busy with something else spoils one or two
	idleFor = 3 * time.Second
)

// TestFigures measures on empty directories: from the execution of the program to the first record that is acknowledged,
// of a topic that nobody has created; the memory of a node that then has nothing to do; and the program itself.
func TestFigures(t *testing.T) {
	var firsts []time.Duration
	var memory int64
	for range starts {
		n := &node{t: t, addr: freeAddr(t), dir: t.TempDir()}
		c := impatient(t, n.addr)
		begun := time.Now()
		n.start()
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		err := c.ProduceSync(ctx, kgo.StringRecord("first")).FirstErr()
		firsts = append(firsts, time.Since(begun))
		cancel()
		c.Close()
		if err == nil && len(firsts) == starts {
			time.Sleep(idleFor)
			memory, err = resident(n.command.Process.Pid)
		}
		n.stop()
		if err != nil {
			t.Fatalf("%v\n%s", err, n.log.Bytes())
		}
	}
	t.Run("first-record", func(t *testing.T) {
		slices.Sort(firsts)
		median := firsts[starts/2]
		figure("the first record is acknowledged after %d ms (%d to %d in %d starts), at most %d",
			median.Milliseconds(), firsts[0].Milliseconds(), firsts[starts-1].Milliseconds(), starts, firstRecordMax.Milliseconds())
		if median > firstRecordMax {
			t.Fatalf("%v", firsts)
		}
	})
	t.Run("idle-memory", func(t *testing.T) {
		figure("an idle node holds %.1f MiB, at most %d", float64(memory)/(1<<20), idleMemoryMax>>20)
		if memory > idleMemoryMax {
			t.Fatalf("%d bytes", memory)
		}
	})
	t.Run("binary", func(t *testing.T) {
		f, err := os.Stat(strings.Fields(os.Getenv("KLAMM_E2E_NODE_COMMAND"))[0])
		if err != nil {
			t.Fatal(err)
		}
		figure("the program has %.1f MB, at most %d", float64(f.Size())/1e6, binaryMax/1_000_000)
		if f.Size() > binaryMax {
			t.Fatalf("%d bytes", f.Size())
		}
	})
}

// figure prints a line that ../parts/figures.sh shows.
func figure(format string, args ...any) { fmt.Printf("FIGURE "+format+"\n", args...) }

// impatient is a client that loses no time of its own between its tries.
func impatient(t *testing.T, addr string) *kgo.Client {
	return newClient(t, addr, kgo.DefaultProduceTopic("figures"), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
}

// resident is the memory of a process that is its own or mapped and in use: its resident set.
func resident(pid int) (int64, error) {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if status, failed := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); failed == nil {
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		out, err = []byte(strings.Fields(rest)[0]), nil
	}
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10, err
}
