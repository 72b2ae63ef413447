package storage

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klamm-io/klamm/internal/record"
	"github.com/klamm-io/klamm/internal/schema"
)

// TestDumpLog lets Apache's kafka-dump-log read every kind of file that a log writes. KLAMM_DUMP_LOG names the command,
// which gets --files and further arguments; without it the test is skipped.
func TestDumpLog(t *testing.T) {
	dumpLog(t, writeEverything(t), false)
}

// TestDumpLogCompacted does the same with what compaction leaves: once, when tombstones and markers get their horizon, and
// when that is over.
func TestDumpLogCompacted(t *testing.T) {
	dir := writeEverything(t)
	l, _ := open(t, Options{Dir: dir, Clean: true, HighWatermark: math.MaxInt64, Config: Config{Compact: true, SegmentBytes: 60_000, IndexInterval: 1000, DeleteRetention: time.Hour}})
	for i := range 2 {
		now := t0.Add(time.Duration(i) * 2 * time.Hour)
		for j := range 10 { // the keys of half the records
			b := codecs.NewBuilder()
			b.Add(now.UnixMilli(), fmt.Appendf(nil, "key%d", j), []byte("last"), nil)
			b.Add(now.UnixMilli(), fmt.Appendf(nil, "gone%d", j), nil, nil)
			mustAppend(t, l, b.Bytes(), AppendOptions{LeaderEpoch: 4})
		}
		if err := l.Roll(now); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(l.View().LogEnd)
		d, err := l.CleanableOffsets(now)
		if err != nil {
			t.Fatal(err)
		}
		stats, err := l.Clean(NewCleaner(CleanerOptions{}), CleanOptions{Cleanable: d, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", stats)
	}
	if _, err := l.RemoveDeleted(t0.Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	dumpLog(t, dir, true)
}

func dumpLog(t *testing.T, dir string, compacted bool) {
	command := strings.Fields(os.Getenv("KLAMM_DUMP_LOG"))
	if len(command) == 0 {
		t.Skip("KLAMM_DUMP_LOG is not set")
	}
	run := func(pattern string, args ...string) string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file %s: %v", pattern, err)
		}
		all := append(append(command[1:len(command):len(command)], "--files", strings.Join(files, ",")), args...)
		out, err := exec.Command(command[0], all...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", pattern, err, out)
		}
		text := string(out)
		for _, bad := range []string{"Exception", "Mismatches", "not valid", "corrupt", "isvalid: false", "Found timestamp mismatch"} {
			if strings.Contains(text, bad) {
				t.Fatalf("%s: kafka-dump-log says %q:\n%s", pattern, bad, text)
			}
		}
		// The tool begins to count at -1 in every file, so it finds the first offset of later segments strange.
		if gap := regexp.MustCompile(`\n +\d+ is followed by \d+`).FindString(text); gap != "" && !compacted {
			t.Fatalf("%s: %s", pattern, gap)
		}
		t.Logf("%s: %d lines, the last: %s", pattern, strings.Count(text, "\n"), lastLine(text))
		return text
	}
	expect := func(text, want string) {
		t.Helper()
		if !regexp.MustCompile(want).MatchString(text) {
			t.Fatalf("%q is not in\n%s", want, text)
		}
	}
	text := run("*.log", "--deep-iteration")
	if compacted {
		expect(text, `deleteHorizonMs: OptionalLong\[\d+`)
		expect(text, `count: 0 `)
		expect(text, `payload: last`)
	} else {
		expect(text, `baseOffset: 0 lastOffset: 9 count: 10`)
		expect(text, `endTxnMarker: ABORT coordinatorEpoch: 7`)
	}
	expect(run("*.index", "--index-sanity-check"), `passed sanity check`)
	run("*.index", "--verify-index-only")
	expect(run("*.timeindex", "--index-sanity-check"), `passed sanity check`)
	run("*.timeindex", "--verify-index-only")
	if !compacted {
		expect(run("*.txnindex"), `version: 0 producerId: 1 firstOffset: \d+ lastOffset: \d+ lastStableOffset: \d+`)
	}
	expect(run("*.snapshot"), `producerId: 2 producerEpoch: 3 .*lastSequence`)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// writeEverything makes a directory with several segments of all codecs, transactions and producers, closed cleanly.
func writeEverything(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "t-0")
	o := Options{Dir: dir, TopicID: schema.UUID{1, 2, 3}, Config: Config{SegmentBytes: 60_000, IndexInterval: 1000}}
	l, _ := open(t, o)
	if err := l.BecomeLeader(4); err != nil {
		t.Fatal(err)
	}
	seq := int32(0)
	for i := range 200 {
		b := codecs.NewBuilder()
		b.Codec = record.Codec(i % 5)
		if i%3 == 1 {
			b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 1, 0, seq, true
			seq += 10
		}
		for j := range 10 {
			b.Add(t0.UnixMilli()+int64(i*100+j), []byte("key"), make([]byte, 100), nil)
		}
		mustAppend(t, l, b.Bytes(), AppendOptions{LeaderEpoch: 4})
		if i%30 == 4 {
			mustAppend(t, l, marker(1, 0, record.Abort, 7), AppendOptions{LeaderEpoch: 4, Origin: Coordinator})
		}
		if i%30 == 19 {
			mustAppend(t, l, marker(1, 0, record.Commit, 7), AppendOptions{LeaderEpoch: 4, Origin: Coordinator})
		}
	}
	mustAppend(t, l, idempotent(2, 3, 0, 4, false), AppendOptions{LeaderEpoch: 4})
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	return dir
}
