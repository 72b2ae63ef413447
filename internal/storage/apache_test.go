package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klamm-io/klamm/internal/vfs"
)

// TestApacheDirectory opens a copy of a log directory that Apache Kafka wrote, every partition in it, as after a crash and
// as after a clean stop. KLAMM_KAFKA_DATA names a directory to copy; without it the test is skipped.
func TestApacheDirectory(t *testing.T) {
	from := os.Getenv("KLAMM_KAFKA_DATA")
	if from == "" {
		t.Skip("KLAMM_KAFKA_DATA is not set")
	}
	for _, clean := range []bool{false, true} {
		dirs, err := filepath.Glob(filepath.Join(from, "*-*", "partition.metadata"))
		if err != nil || len(dirs) == 0 {
			t.Fatalf("no partitions in %s: %v", from, err)
		}
		for _, d := range dirs {
			src := filepath.Dir(d)
			name := filepath.Base(src)
			dir := filepath.Join(t.TempDir(), name)
			if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
				t.Fatal(err)
			}
			l, rec, err := Open(Options{FS: vfs.OS{}, Dir: dir, Topic: name[:strings.LastIndexByte(name, '-')], Clean: clean, Now: t0})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if rec.BytesTruncated > 0 || rec.Corruption != nil {
				t.Errorf("%s, clean %t: %+v", name, clean, rec)
			}
			n := len(offsets(t, readAll(t, l, LogEnd)))
			v := l.View()
			if v.LogEnd > 0 {
				t.Logf("%s, clean %t: id %s, [%d, %d), %d records, %d producers, epochs %v, %+v", name, clean, l.TopicID(), v.LogStart, v.LogEnd, n, l.ProducerCount(), v.Epochs(), rec)
			}
			if err := l.Close(true); err != nil {
				t.Error(err)
			}
		}
	}
}
