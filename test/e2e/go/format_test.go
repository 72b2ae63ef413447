//go:build e2e && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKillAtFormat kills a node at random instants of its first start on directories that are not there yet, and
// klamm storage format. The next start, or the same format with --ignore-formatted, makes the directories whole, also where the
// power went with the process.
func TestKillAtFormat(t *testing.T) {
	klammOnly(t)
	const rounds = 12
	for _, tc := range []struct {
		name    string
		format  bool // by klamm storage format, not by the first start
		forgets bool
	}{
		{name: "first start"},
		{name: "first start and power cut", forgets: true},
		{name: "storage format", format: true},
		{name: "storage format and power cut", format: true, forgets: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			random := seeded(t)
			dir, cut := t.TempDir(), func() {}
			if tc.forgets {
				disk := newForgetful(t)
				dir, cut = disk.dir, func() { disk.forget(random) }
			}
			begin := time.Now()
			firstStart(t, filepath.Join(dir, "measured"), tc.format, random, 0, func() {})
			whole := time.Since(begin)
			var counts [3]int
			for i := range rounds {
				within := min(whole, 30*time.Millisecond) // while the directories are made
				if i%3 == 2 {
					within = whole
				}
				counts[firstStart(t, filepath.Join(dir, fmt.Sprint(i)), tc.format, random, within, cut)]++
			}
			t.Logf("of %d kills %d found nothing formatted, %d a part and %d all", rounds, counts[0], counts[1], counts[2])
		})
	}
}

// firstStart kills what formats two directories at a random instant within a time (0: not at all), cuts the power, and looks
// whether the next start is well. It says how many of the directories the kill found formatted.
func firstStart(t *testing.T, dir string, format bool, random *rand.Rand, within time.Duration, cut func()) (formatted int) {
	t.Helper()
	dirs := []string{filepath.Join(dir, "data"), filepath.Join(dir, "more")}
	n := newNodeIn(t, dir, "log.dirs="+strings.Join(dirs, ","), "offsets.topic.num.partitions=1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	syncAll(t, dir, filepath.Dir(dir)) // the directory above is the administrator's
	var formatting func(...string) *exec.Cmd
	if format {
		formatting = n.formatting(dirs)
	}
	if within > 0 {
		if format {
			c := formatting()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.Int64N(int64(within))))
			c.Process.Kill()
			_ = c.Wait()
		} else {
			n.launch()
			time.Sleep(time.Duration(random.Int64N(int64(within))))
			n.kill()
		}
		cut()
		for _, d := range dirs {
			if _, err := os.Stat(filepath.Join(d, "meta.properties")); err == nil {
				formatted++
			}
		}
	}
	if format {
		if out, err := formatting("--ignore-formatted").CombinedOutput(); err != nil {
			t.Fatalf("format after a kill that found %d directories formatted: %v\n%s", formatted, err, out)
		}
		cut()
	}
	n.start()
	c := newClient(t, n.addr, kgo.DefaultProduceTopic("a"))
	must[kadm.CreateTopicResponse](t)(kadm.NewClient(c).CreateTopic(t.Context(), 4, 1, nil, "a"))
	if err := c.ProduceSync(t.Context(), kgo.StringRecord("first")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	described := must[kadm.DescribedAllLogDirs](t)(kadm.NewClient(c).DescribeAllLogDirs(t.Context(), nil))
	described.Each(func(d kadm.DescribedLogDir) {
		if d.Err != nil {
			t.Errorf("log directory %s after a kill that found %d directories formatted: %v", d.Dir, formatted, d.Err)
		}
	})
	c.Close()
	if t.Failed() {
		t.Logf("%s", n.log.Bytes())
	}
	n.stop()
	return formatted
}

// formatting gives klamm storage format for a node with a configuration of its own, and lets the node start with it.
func (n *node) formatting(dirs []string) func(more ...string) *exec.Cmd {
	n.t.Helper()
	words := strings.Fields(os.Getenv("KLAMM_E2E_NODE_COMMAND"))
	file, controller := filepath.Join(n.t.TempDir(), "server.properties"), freeAddr(n.t)
	_, port, _ := net.SplitHostPort(controller)
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://%s,CONTROLLER://%s
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:%s
log.dirs=%s
`, n.addr, controller, port, strings.Join(dirs, ","))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	n.words = []string{words[0], "start", file}
	return func(more ...string) *exec.Cmd {
		return exec.Command(words[0], append([]string{"storage", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", file}, more...)...)
	}
}

// syncAll makes the names in directories durable.
func syncAll(t *testing.T, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		f, err := os.Open(d)
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
