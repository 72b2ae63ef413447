package record

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What real clients sent to Apache Kafka is read, passes validation unchanged, and survives every recompression;
// testdata/batches/README.md says where it comes from.
func TestClientBatches(t *testing.T) {
	c := NewCodecs()
	files, err := filepath.Glob("testdata/batches/*.log")
	if err != nil || len(files) != 4*len(allCodecs) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			rest, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []flat
			for len(rest) > 0 {
				var b Batch
				if b, rest, err = Next(rest); err != nil {
					t.Fatal(err)
				}
				if err := b.CheckCRC(); err != nil || b.BaseOffset() != int64(len(got)) {
					t.Fatalf("%v: %v", b, err)
				}
				if !strings.HasSuffix(name, "-"+b.Codec().String()+".log") {
					t.Fatalf("codec %v", b.Codec())
				}
				records := flatten(t, c, b)
				got = append(got, records...)
				checkClientBatch(t, c, b)
			}
			first, header := 1, ""
			if strings.Contains(name, "franz-go") || strings.Contains(name, "kafka-python") {
				first = 0
			}
			if strings.Contains(name, "kafka-python") {
				header = "h='x';"
			}
			for i := range 60 {
				n := first + i
				want = append(want, flat{int64(i), got[min(i, len(got)-1)].Timestamp, fmt.Sprintf("'key-%d'", n),
					fmt.Sprintf(`'{"id":%d,"text":"sample text number %d of the producer"}'`, n, n), header})
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		})
	}
}

// checkClientBatch validates a batch as if its client had just sent it.
func checkClientBatch(t *testing.T, c *Codecs, b Batch) {
	t.Helper()
	sent := append(Batch(nil), b...)
	sent.SetBaseOffset(0)
	rules := Rules{Partition: "t-0", Now: b.MaxTimestamp(), Before: math.MaxInt64, After: 3_600_000, FromClient: true,
		ProduceVersion: 12, Compacted: true, MaxBytes: 1 << 20}
	before := append(Batch(nil), sent...)
	checked, err := c.Validate(sent, rules)
	if err != nil || checked.Rewritten || cmp.Diff(before, checked.Batch) != "" {
		t.Fatalf("%v: %v, rewritten %v", b, err, checked.Rewritten)
	}
	want := flatten(t, c, before)
	for _, to := range allCodecs {
		rules.Recompress, rules.Codec = true, to
		again, err := c.Validate(append(Batch(nil), before...), rules)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, flatten(t, c, again.Batch)); d != "" {
			t.Fatalf("to %v: %s", to, d)
		}
	}
}
