package logdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
	"github.com/klamm-io/klamm/internal/storage"
	"github.com/klamm-io/klamm/internal/vfs"
)

var codecs = record.NewCodecs()

// kitchen is a node's log directory on memory, for the cleaner.
type kitchen struct {
	t    *testing.T
	mem  *vfs.Mem
	ops  *vfs.Log
	c    Config
	text bytes.Buffer
	d    *Dirs
}

// compactable is the configuration of a topic that is compacted.
func compactable() storage.Config {
	return storage.Config{Compact: true, DirtyRatio: 0.5, DeleteRetention: time.Hour, FileDeleteDelay: time.Minute}
}

func newKitchen(t *testing.T, c CleanerConfig) *kitchen {
	k := &kitchen{t: t, mem: vfs.NewMem(time.Now)}
	k.ops = vfs.NewLog(k.mem)
	if err := errors.Join(k.mem.MkdirAll("/data", 0o755), k.mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if _, err := Format(k.mem, []string{"/data"}, Meta{Version: 1, ClusterID: "c", NodeID: 1}, randomID, time.Now()); err != nil {
		t.Fatal(err)
	}
	k.c = Config{FS: k.ops, Dirs: []string{"/data"}, NodeID: 1, Logger: slog.New(slog.NewTextHandler(&k.text, nil)), Defaults: compactable(), Cleaner: c}
	k.open()
	t.Cleanup(func() { k.d.Close(-1) }) // also after a failure: a bubble waits for its goroutines
	return k
}

func (k *kitchen) open() {
	k.t.Helper()
	var err error
	if k.d, err = Open(k.c); err == nil {
		err = k.d.Load(context.Background())
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kitchen) close() {
	k.t.Helper()
	if err := k.d.Close(1); err != nil {
		k.t.Fatal(err)
	}
}

// log creates a log with records of so many keys, each key as often as asked, one segment a round, all sealed.
func (k *kitchen) log(topic string, keys, rounds int) *storage.Log {
	k.t.Helper()
	l, err := k.d.Create(topic, schema.UUID{byte(len(topic)), topic[0]}, 0, schema.UUID{})
	if err != nil {
		k.t.Fatal(err)
	}
	k.fill(l, keys, rounds)
	return l
}

func (k *kitchen) fill(l *storage.Log, keys, rounds int) {
	k.t.Helper()
	for round := range rounds {
		for first := 0; first < keys; first += 10 {
			b := codecs.NewBuilder()
			for i := first; i < min(first+10, keys); i++ {
				b.Add(time.Now().UnixMilli(), fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d", round), nil)
			}
			if _, err := l.Append([]record.Batch{b.Bytes()}, storage.AppendOptions{Now: time.Now()}); err != nil {
				k.t.Fatal(err)
			}
		}
		if err := l.Roll(time.Now()); err != nil {
			k.t.Fatal(err)
		}
	}
	l.SetHighWatermark(l.View().LogEnd)
}

// records counts the records of a log.
func (k *kitchen) records(l *storage.Log) (n int) {
	k.t.Helper()
	v := l.View()
	for at := v.LogStart; ; {
		s, err := v.Read(at, 1<<20, storage.LogEnd, true)
		if err != nil {
			k.t.Fatal(err)
		}
		b, err := s.Bytes()
		s.Release()
		if err != nil {
			k.t.Fatal(err)
		}
		if len(b) == 0 {
			return n
		}
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			if err != nil {
				k.t.Fatal(err)
			}
			n += int(batch.Count())
			at, b = batch.LastOffset()+1, rest
		}
	}
}

func (k *kitchen) want(what string, got, want any) {
	k.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		k.t.Fatalf("%s (-want +got):\n%s\n%s", what, diff, k.text.String())
	}
}

// The cleaner runs by itself, writes its checkpoint, tells what it did, and removes what it replaced. DETAILS 26
func TestCleaner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, CleanerConfig{})
		l := k.log("t", 20, 4)
		other := k.log("uncompacted", 20, 4)
		other.SetConfig(storage.Config{})
		k.d.Start()
		time.Sleep(time.Second)
		k.want("records", k.records(l), 20)
		k.want("records of the other", k.records(other), 80)
		b, err := readFile(k.mem, "/data/cleaner-offset-checkpoint")
		k.want("checkpoint", fmt.Sprint(string(b), err), "0\n1\nt 0 80\n<nil>")
		s := k.d.CleanerStats()
		k.want("stats", []any{s.Threads, s.Cleaned, s.MaxDirtyRatio, len(s.Uncleanable), s.LastRun.IsZero()}, []any{1, int64(1), 0.0, 0, false})
		if s.MaxMapUse < 0.2 || s.Recopied <= 0 || s.Recopied > 0.5 || s.BytesRead == 0 || s.BytesWritten == 0 {
			t.Fatalf("%+v", s)
		}
		if !strings.Contains(k.text.String(), `msg="compacted a log" log=/data/t-0 from=0 to=80`) {
			t.Fatal(k.text.String())
		}
		time.Sleep(2 * time.Minute)
		for _, name := range k.list("/data/t-0") {
			if strings.HasSuffix(name, ".deleted") {
				t.Fatalf("%s is left", name)
			}
		}
		k.close()
		// The checkpoint is read: nothing is dirty.
		k.open()
		l = k.d.Log(l.TopicID(), 0)
		c, err := l.CleanableOffsets(time.Now())
		k.want("after a restart", fmt.Sprint(c.FirstDirty, c.DirtyBytes, err), "80 0 <nil>")
		// A truncation moves it down at once.
		if err := errors.Join(l.Truncate(30, time.Now()), k.d.Truncated(l)); err != nil {
			t.Fatal(err)
		}
		b, err = readFile(k.mem, "/data/cleaner-offset-checkpoint")
		k.want("checkpoint", fmt.Sprint(string(b), err), "0\n1\nt 0 30\n<nil>")
		k.close()
	})
}

func (k *kitchen) list(dir string) []string {
	k.t.Helper()
	names, err := k.mem.List(dir)
	if err != nil {
		k.t.Fatal(err)
	}
	return names
}

func readFile(fs vfs.FS, name string) ([]byte, error) { return vfs.ReadWhole(fs, name, 1<<20) }

// What the settings of a topic do.
func TestCleanerTopicSettings(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(c *storage.Config)
		wait time.Duration
		want int // records of 20 keys, written four times
	}{
		"cleanup.policy without compact": {func(c *storage.Config) { c.Compact = false }, time.Hour, 80},
		"min.cleanable.dirty.ratio 1":    {func(c *storage.Config) { c.DirtyRatio = 1 }, time.Hour, 80},
		"max.compaction.lag.ms, early":   {func(c *storage.Config) { c.DirtyRatio, c.MaxCompactionLag = 1, time.Hour }, 59 * time.Minute, 80},
		"max.compaction.lag.ms, late":    {func(c *storage.Config) { c.DirtyRatio, c.MaxCompactionLag = 1, time.Hour }, 61 * time.Minute, 20},
		"min.compaction.lag.ms, early":   {func(c *storage.Config) { c.MinCompactionLag = time.Hour }, 59 * time.Minute, 80},
		"min.compaction.lag.ms, late":    {func(c *storage.Config) { c.MinCompactionLag = time.Hour }, 61 * time.Minute, 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, CleanerConfig{})
				c.set(&k.c.Defaults)
				k.close()
				k.open()
				l := k.log("t", 20, 4)
				k.d.Start()
				time.Sleep(c.wait)
				k.want("records", k.records(l), c.want)
				k.close()
			})
		})
	}
}

// What the settings of the node do.
func TestCleanerSettings(t *testing.T) {
	const keys, rounds = 3000, 4
	run := func(t *testing.T, c CleanerConfig, check func(k *kitchen, l *storage.Log)) {
		synctest.Test(t, func(t *testing.T) {
			k := newKitchen(t, c)
			k.c.Defaults.MaxMessageBytes = 1 << 20
			l := k.log("t", keys, rounds)
			k.ops.Reset()
			k.d.Start()
			check(k, l)
			k.close()
		})
	}
	t.Run("enable", func(t *testing.T) {
		run(t, CleanerConfig{Off: true}, func(k *kitchen, l *storage.Log) {
			time.Sleep(time.Hour)
			k.want("records", k.records(l), keys*rounds)
			k.want("threads", k.d.CleanerStats().Threads, 0)
			k.d.SetCleaner(CleanerConfig{})
			time.Sleep(time.Second)
			k.want("records", k.records(l), keys)
		})
	})
	t.Run("backoff", func(t *testing.T) {
		run(t, CleanerConfig{Backoff: time.Hour}, func(k *kitchen, l *storage.Log) {
			time.Sleep(time.Second)
			k.fill(l, keys, 2*rounds)
			time.Sleep(59 * time.Minute)
			k.want("records, early", k.records(l), keys+2*keys*rounds)
			time.Sleep(time.Minute)
			k.want("records, late", k.records(l), keys)
		})
	})
	t.Run("dedupe.buffer.size and load factor", func(t *testing.T) {
		// 24 bytes a key: half of 1000 slots are 500 keys a run, so the 12,000 records take more than 20.
		run(t, CleanerConfig{MapBytes: 24_000, LoadFactor: 0.5}, func(k *kitchen, l *storage.Log) {
			time.Sleep(time.Second)
			s := k.d.CleanerStats()
			if s.MaxMapUse != 0.5 || s.Cleaned < 2 {
				t.Fatalf("%+v", s)
			}
		})
		run(t, CleanerConfig{MapBytes: 24_000, LoadFactor: 0.9}, func(k *kitchen, l *storage.Log) {
			time.Sleep(time.Second)
			if s := k.d.CleanerStats(); s.MaxMapUse != 0.9 {
				t.Fatalf("%+v", s)
			}
		})
	})
	t.Run("io.buffer.size", func(t *testing.T) {
		run(t, CleanerConfig{BufferBytes: 16 << 10}, func(k *kitchen, l *storage.Log) {
			time.Sleep(time.Second)
			largest := int64(0)
			for _, op := range k.ops.Ops(vfs.OpRead) {
				if strings.HasSuffix(op.Path, ".log") {
					largest = max(largest, op.Length)
				}
			}
			k.want("largest read", largest, int64(8<<10))
		})
	})
	t.Run("io.max.bytes.per.second", func(t *testing.T) {
		run(t, CleanerConfig{BytesPerSecond: 10_000}, func(k *kitchen, l *storage.Log) {
			begun, size := time.Now(), l.Size()
			for k.d.CleanerStats().Cleaned == 0 && time.Since(begun) < time.Hour {
				time.Sleep(time.Second)
			}
			s := k.d.CleanerStats()
			took := time.Since(begun).Seconds()
			if rate := float64(s.BytesRead+s.BytesWritten) / took; s.Cleaned != 1 || rate < 8_000 || rate > 13_000 || float64(2*size) > took*13_000 {
				t.Fatalf("%v bytes a second, %.0f s, %+v", rate, took, s)
			}
		})
	})
	t.Run("threads", func(t *testing.T) {
		run(t, CleanerConfig{Threads: 2, BytesPerSecond: 1000, MapBytes: 48_000, LoadFactor: 0.5}, func(k *kitchen, l *storage.Log) {
			k.log("u", keys, rounds)
			time.Sleep(20 * time.Second) // the second one's backoff
			k.d.cleaners.mu.Lock()
			busy := len(k.d.cleaners.busy)
			k.d.cleaners.mu.Unlock()
			k.want("logs that are compacted at once", busy, 2)
			// Faster, without waiting for what is under way.
			k.d.SetCleaner(CleanerConfig{Threads: 1, BytesPerSecond: math.MaxFloat64})
			time.Sleep(time.Second)
			k.want("records", k.records(l), keys)
			k.want("threads", k.d.CleanerStats().Threads, 1)
		})
	})
}

// A log that cannot be compacted is left alone, and the others are compacted.
func TestUncleanable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, CleanerConfig{})
		bad, good := k.log("bad", 20, 4), k.log("good", 20, 4)
		f, err := k.mem.OpenFile(filepath.Join(bad.Dir(), "00000000000000000020.log"), vfs.ReadWrite, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{0xff}, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
		k.d.Start()
		time.Sleep(time.Minute)
		k.want("records", k.records(good), 20)
		k.want("records of the bad one", k.records(bad), 80)
		s := k.d.CleanerStats()
		k.want("uncleanable", s.Uncleanable, map[string]int{"/data": 1})
		k.want("size", s.UncleanableSize, map[string]int64{"/data": bad.Size()})
		k.want("said", strings.Count(k.text.String(), "cannot be compacted"), 1)
		if !strings.Contains(k.text.String(), "00000000000000000020.log, position 0: corrupt record batch") {
			t.Fatal(k.text.String())
		}
		k.want("disk", k.d.Info()[0].Err, nil)
		if err := k.d.Delete(bad.TopicID(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		k.want("uncleanable", k.d.CleanerStats().Uncleanable, map[string]int{})
		k.close()
	})
}

// A log that is deleted while it is compacted, slowly, is let go of.
func TestDeleteWhileCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, CleanerConfig{BytesPerSecond: 10})
		l := k.log("t", 20, 4)
		k.d.Start()
		time.Sleep(time.Minute)
		if err := k.d.Delete(l.TopicID(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		k.d.cleaners.mu.Lock()
		busy := len(k.d.cleaners.busy)
		k.d.cleaners.mu.Unlock()
		k.want("logs that are compacted", busy, 0)
		time.Sleep(2 * time.Minute)
		k.want("files", fmt.Sprint(strings.Join(k.list("/data"), " ")), ".lock meta.properties recovery-point-offset-checkpoint replication-offset-checkpoint")
		k.close()
	})
}
