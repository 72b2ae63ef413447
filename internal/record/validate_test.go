package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pierrec/lz4/v4"
)

var client = Rules{Partition: "t-0", Now: 1_000_000, Before: math.MaxInt64, After: 3_600_000, FromClient: true, ProduceVersion: 12}

// patch changes bytes of a copy and makes its CRC right again.
func patch(b Batch, change func(Batch)) Batch {
	n := append(Batch(nil), b...)
	change(n)
	n.SetCRC()
	return n
}

func put32(pos int, v int32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[pos:], uint32(v)) }
}

func simple(c *Codecs, codec Codec, times ...int64) Batch {
	b := c.NewBuilder()
	b.Codec = codec
	for i, ts := range times {
		b.Add(ts, fmt.Appendf(nil, "k%d", i), []byte("value"), nil)
	}
	return b.Bytes()
}

// DETAILS 3: count = lastOffsetDelta+1; no control batch; zstd only from Produce v7; and the rest of what the
// broker refuses, with Kafka's messages.
func TestValidateRefuses(t *testing.T) {
	c := NewCodecs()
	good := simple(c, None, 1000, 1001, 1002)
	for name, tc := range map[string]struct {
		batch Batch
		rules func(*Rules)
		kind  InvalidKind
		want  string
	}{
		"base offset": {patch(good, func(b Batch) { b.SetBaseOffset(3) }), nil, InvalidRecord,
			"The baseOffset of the record batch in the append to t-0 should be 0, but it is 3"},
		"crc": {append(append(Batch(nil), good[:len(good)-1]...), 7), nil, CorruptMessage,
			fmt.Sprintf("Record is corrupt (stored crc = %d) in topic partition t-0.", good.CRC())},
		"size": {good, func(r *Rules) { r.MaxBytes = 60 }, MessageTooLarge,
			fmt.Sprintf("The record batch size in the append to t-0 is %d bytes which exceeds the maximum configured value of 60).", len(good))},
		"negative span": {patch(good, put32(posLastOffsetDelta, -5)), nil, InvalidRecord,
			"Batch has an invalid offset range: [0, -5] in topic partition t-0"},
		"span overflows": {patch(good, put32(posLastOffsetDelta, math.MaxInt32)), nil, InvalidRecord,
			"Inconsistent batch offset range [0, 2147483647] and count of records 3 in topic partition t-0"},
		"no records": {patch(good, put32(posCount, 0)), nil, InvalidRecord,
			"Invalid reported count for record batch: 0 in topic partition t-0"},
		"negative count": {patch(good, put32(posCount, -3)), nil, InvalidRecord,
			"Invalid reported count for record batch: -3 in topic partition t-0"},
		"count and span": {patch(good, put32(posCount, 2)), nil, InvalidRecord,
			"Inconsistent batch offset range [0, 2] and count of records 2 in topic partition t-0"},
		"more announced than there": {patch(patch(good, put32(posCount, 4)), put32(posLastOffsetDelta, 3)), nil, InvalidRecord,
			"Invalid record batch in the append to t-0: the records end within record 3 of 4"},
		"fewer announced than there": {patch(patch(good, put32(posCount, 2)), put32(posLastOffsetDelta, 1)), nil, InvalidRecord,
			"Invalid record batch in the append to t-0: bytes remain after 2 records"},
		"control": {patch(good, func(b Batch) { b[posAttributes+1] |= attrControl }), nil, InvalidRecord,
			"Clients are not allowed to write control records in topic partition t-0"},
		"sequence": {patch(good, func(b Batch) { binary.BigEndian.PutUint64(b[posProducerID:], 9) }), nil, InvalidRecord,
			"Invalid sequence number -1 in record batch with producerId 9 in topic partition t-0"},
		"zstd before 7": {simple(c, Zstd, 1), func(r *Rules) { r.ProduceVersion = 6 }, UnsupportedCompression,
			"Produce requests with version 6 are not allowed to use ZStandard compression"},
		"codec 5": {patch(good, func(b Batch) { b[posAttributes+1] |= 5 }), nil, UnsupportedCompression, "Unknown compression type id: 5"},
		"not gzip": {patch(good, func(b Batch) { b[posAttributes+1] |= 1 }), nil, InvalidRecord,
			"Invalid record batch in the append to t-0: gzip stream of 3 records: gzip: invalid header"},
		"append time from a producer": {patch(good, func(b Batch) { b[posAttributes+1] |= attrLogAppendTime }),
			func(r *Rules) { r.TimestampType = LogAppendTime }, InvalidTimestamp,
			"One or more records have been rejected due to invalid timestamp"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := client
			if tc.rules != nil {
				tc.rules(&rules)
			}
			_, err := c.Validate(tc.batch, rules)
			var invalid *Invalid
			if !errors.As(err, &invalid) || invalid.Kind != tc.kind || invalid.Message != tc.want {
				t.Fatalf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

// DETAILS 3: one batch per partition, of magic 2.
func TestSingle(t *testing.T) {
	b := simple(NewCodecs(), None, 1)
	old := append([]byte(nil), b...)
	old[posMagic] = 1
	future := append([]byte(nil), b...)
	future[posMagic] = 3
	for name, tc := range map[string]struct {
		in   []byte
		kind InvalidKind
		want string
	}{
		"one":            {b, 0, ""},
		"one and a bit":  {append(append([]byte(nil), b...), b[:20]...), 0, ""},
		"none":           {nil, InvalidRecord, "Produce requests with version 9 must have at least one record batch per partition"},
		"part of one":    {b[:len(b)-1], InvalidRecord, "Produce requests with version 9 must have at least one record batch per partition"},
		"two":            {append(append([]byte(nil), b...), b...), InvalidRecord, "Produce requests with version 9 are only allowed to contain exactly one record batch per partition"},
		"magic 1":        {old, InvalidRecord, "Produce requests with version 9 are only allowed to contain record batches with magic version 2"},
		"magic 3":        {future, CorruptMessage, "Invalid magic found in record: 3"},
		"no size":        {make([]byte, 100), CorruptMessage, "Record size 0 is less than the minimum record overhead (14)"},
		"one and zeros":  {append(append([]byte(nil), b...), make([]byte, 70)...), CorruptMessage, "Record size 0 is less than the minimum record overhead (14)"},
		"size too small": {append(append([]byte(nil), b[:8]...), 0, 0, 0, 40, 0, 0, 0, 0, 2), CorruptMessage, "corrupt record batch: length field 40 is outside [49, 2147483635]"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Single(tc.in, 9)
			if tc.want == "" {
				if err != nil || len(got) != len(b) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				return
			}
			var invalid *Invalid
			if !errors.As(err, &invalid) || invalid.Kind != tc.kind || invalid.Message != tc.want {
				t.Fatalf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

// DETAILS 4: a null key on a compacted topic names the record; timestamps more than an hour ahead are refused.
func TestValidateRecordErrors(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		b := c.NewBuilder()
		b.Codec = codec
		b.Add(1000, []byte("k"), nil, nil)
		b.Add(1000, nil, []byte("v"), nil)
		b.Add(1000, []byte{}, []byte("v"), nil)
		b.Add(1000, nil, nil, nil)
		batch := b.Bytes()
		rules := client
		rules.Compacted = true
		rules.HeaderOnly = true // has no effect on compacted topics
		want := &Invalid{Kind: InvalidRecord, Records: []RecordError{
			{1, "Compacted topic cannot accept message without key in topic partition t-0"},
			{3, "Compacted topic cannot accept message without key in topic partition t-0"},
		}, Message: "One or more records have been rejected due to 2 record errors in total, and only showing the first three errors at most: " +
			"[RecordError(batchIndex=1, message='Compacted topic cannot accept message without key in topic partition t-0'), " +
			"RecordError(batchIndex=3, message='Compacted topic cannot accept message without key in topic partition t-0')]"}
		_, err := c.Validate(batch, rules)
		if d := cmp.Diff(error(want), err); d != "" {
			t.Fatalf("%v: %s", codec, d)
		}
		rules.Compacted = false
		if _, err := c.Validate(batch, rules); err != nil {
			t.Fatal(err)
		}

		times := simple(c, codec, -1, 1_000_000, 4_600_000, 4_600_001, 500_000, 499_999)
		rules = client
		rules.Before = 500_000
		_, err = c.Validate(times, rules)
		want = &Invalid{Kind: InvalidTimestamp, Message: "One or more records have been rejected due to invalid timestamp", Records: []RecordError{
			{3, "Timestamp 4600001 of message with offset 3 is out of range. The timestamp should be within [500000, 4600000]"},
			{5, "Timestamp 499999 of message with offset 5 is out of range. The timestamp should be within [500000, 4600000]"},
		}}
		if d := cmp.Diff(error(want), err); d != "" {
			t.Fatalf("%v: %s", codec, d)
		}
		// On a LogAppendTime topic the producer's times do not matter.
		rules.TimestampType = LogAppendTime
		if _, err := c.Validate(times, rules); err != nil {
			t.Fatal(err)
		}
	}
}

// However many records are wrong, the answer stays small.
func TestValidateRecordErrorsLimited(t *testing.T) {
	c := NewCodecs()
	b := c.NewBuilder()
	b.Codec = Zstd
	for range 50_000 {
		b.Add(1, nil, nil, nil)
	}
	rules := client
	rules.Compacted = true
	_, err := c.Validate(b.Bytes(), rules)
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Records) != maxRecordErrors || !strings.Contains(invalid.Message, "due to 50000 record errors") {
		t.Fatalf("got %.200v", err)
	}
}

// The largest timestamp is the records', whatever the header says.
func TestValidateMaxTimestamp(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		b := simple(c, codec, 1000, 3000, 2000, 3000)
		lie := patch(b, func(b Batch) { binary.BigEndian.PutUint64(b[posMaxTimestamp:], 99) })
		got, err := c.Validate(lie, client)
		if err != nil {
			t.Fatal(err)
		}
		if got.MaxTimestamp != 3000 || got.MaxTimestampDelta != 1 || got.Count != 4 || got.Rewritten || got.AppendTime != -1 {
			t.Fatalf("%v: %+v", codec, got)
		}
		if d := cmp.Diff(b, got.Batch); d != "" {
			t.Fatalf("%v: not what an honest producer sends: %s", codec, d)
		}
		none := simple(c, codec, -1, -1)
		if got, err := c.Validate(none, client); err != nil || got.MaxTimestamp != NoTimestamp || got.Batch.MaxTimestamp() != NoTimestamp {
			t.Fatalf("%v: without timestamps: %+v %v", codec, got, err)
		}
		rules := client
		rules.HeaderOnly = true
		if got, err := c.Validate(append(Batch(nil), lie...), rules); err != nil || got.MaxTimestamp != 3000 {
			// lie was corrected in place above
			t.Fatalf("%v: header only: %+v %v", codec, got, err)
		}
	}
}

// DETAILS 12: LogAppendTime sets the bit and the time; the records stay as they are.
func TestValidateLogAppendTime(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		b := simple(c, codec, 1000, 3000)
		payload := string(b.Payload())
		rules := client
		rules.TimestampType = LogAppendTime
		got, err := c.Validate(b, rules)
		if err != nil {
			t.Fatal(err)
		}
		if got.AppendTime != rules.Now || got.MaxTimestamp != rules.Now || got.MaxTimestampDelta != 0 || got.Rewritten {
			t.Fatalf("%v: %+v", codec, got)
		}
		if got.Batch.TimestampType() != LogAppendTime || got.Batch.MaxTimestamp() != rules.Now || got.Batch.BaseTimestamp() != 1000 ||
			got.Batch.CheckCRC() != nil || string(got.Batch.Payload()) != payload {
			t.Fatalf("%v: %v", codec, got.Batch)
		}
		for _, f := range flatten(t, c, got.Batch) {
			if f.Timestamp != rules.Now {
				t.Fatalf("%v: record %+v", codec, f)
			}
		}
		// A CreateTime topic takes such a batch by the records' own times.
		got, err = c.Validate(got.Batch, client)
		if err != nil || got.Batch.TimestampType() != CreateTime || got.MaxTimestamp != 3000 {
			t.Fatalf("%v: back: %+v %v", codec, got, err)
		}
	}
}

// compression.type other than producer: every codec into every other one; the same codec is left alone.
func TestValidateRecompresses(t *testing.T) {
	c := NewCodecs()
	for _, from := range allCodecs {
		for _, to := range allCodecs {
			b := c.NewBuilder()
			b.Codec, b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = from, 5, 1, 40, true
			for i := range 300 {
				b.Add(int64(1000+i), nil, text(700, i), []Header{{Key: []byte("h")}})
			}
			batch := b.Bytes()
			want := flatten(t, c, batch)
			rules := client
			rules.Recompress, rules.Codec = true, to
			got, err := c.Validate(batch, rules)
			if err != nil {
				t.Fatal(err)
			}
			if got.Rewritten != (from != to) || got.Batch.Codec() != to || got.Batch.CheckCRC() != nil || got.Batch.Len() != len(got.Batch) {
				t.Fatalf("%v to %v: %+v", from, to, got.Batch)
			}
			if d := cmp.Diff(want, flatten(t, c, got.Batch)); d != "" {
				t.Fatalf("%v to %v: %.300s", from, to, d)
			}
			if s := got.Batch.String(); !strings.Contains(s, "sequence=[40, 339]") || !strings.Contains(s, "isTransactional=true") {
				t.Fatal(s)
			}
			rules.MaxBytes = len(batch)
			_, err = c.Validate(batch, rules)
			var invalid *Invalid
			if to == None && from != None && (!errors.As(err, &invalid) || invalid.Kind != MessageTooLarge) {
				t.Fatalf("%v to %v over max.message.bytes: %v", from, to, err)
			}
		}
	}
}

// Some old clients number the records of a batch wrongly; the broker repairs them.
func TestValidateRenumbers(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		b := c.NewBuilder()
		b.Codec = codec
		b.AddAt(3, 1000, []byte("a"), nil, []Header{{Key: []byte("h"), Value: []byte("x")}})
		b.AddAt(7, 900, []byte("b"), text(100, 0), nil)
		batch := patch(b.Bytes(), put32(posLastOffsetDelta, 1))
		got, err := c.Validate(batch, client)
		if err != nil {
			t.Fatal(err)
		}
		want := []flat{{0, 1000, "'a'", "null", "h='x';"}, {1, 900, "'b'", null(text(100, 0)), ""}}
		if d := cmp.Diff(want, flatten(t, c, got.Batch)); d != "" {
			t.Fatal(d)
		}
		if !got.Rewritten || got.Batch.Codec() != codec || got.Batch.CheckCRC() != nil || got.MaxTimestamp != 1000 {
			t.Fatalf("%+v", got)
		}
		// The cleaner's and coordinators' batches may have gaps.
		internal := client
		internal.FromClient = false
		if got, err := c.Validate(batch, internal); err != nil || got.Rewritten {
			t.Fatalf("not from a client: %v, rewritten %v", err, got.Rewritten)
		}
	}
}

// Java's reader refuses frames whose blocks refer to each other: such a batch is written anew.
func TestValidateLinkedLZ4(t *testing.T) {
	c := NewCodecs()
	b := c.NewBuilder()
	for i := range 300 {
		b.Add(1000, nil, text(700, i), nil)
	}
	plain := b.Bytes()
	frame := linkedFrame(t, plain.Payload())
	batch := append(append(Batch(nil), plain[:HeaderLen]...), frame...)
	batch = patch(batch, func(b Batch) {
		put32(posLength, int32(len(b)-LogOverhead))(b)
		b[posAttributes+1] |= byte(LZ4)
	})
	want := flatten(t, c, plain)
	if d := cmp.Diff(want, flatten(t, c, batch)); d != "" {
		t.Fatalf("reading linked blocks: %.300s", d)
	}
	got, err := c.Validate(batch, client)
	if err != nil || !got.Rewritten || lz4Linked(got.Batch.Payload()) {
		t.Fatalf("%v, rewritten %v", err, got.Rewritten)
	}
	if d := cmp.Diff(want, flatten(t, c, got.Batch)); d != "" {
		t.Fatalf("rewritten: %.300s", d)
	}
}

// linkedFrame writes a frame that announces links, with a content checksum, which is not looked at.
func linkedFrame(t *testing.T, p []byte) []byte {
	f := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	f = append(f, flgVersion|flgContentSum, bdBlock64K)
	f = append(f, byte(xxHash32(f[4:])>>8))
	for i := 0; i < len(p); i += lz4Block {
		part := p[i:min(i+lz4Block, len(p))]
		out := make([]byte, lz4.CompressBlockBound(len(part)))
		n, err := lz4.CompressBlock(part, out, nil)
		if err != nil || n == 0 {
			t.Fatalf("compress: %d %v", n, err)
		}
		f = binary.LittleEndian.AppendUint32(f, uint32(n))
		f = append(f, out[:n]...)
	}
	return append(f, 0, 0, 0, 0, 1, 2, 3, 4)
}

// bombMemory is what a walk over one record of 40 MiB may allocate. Zstd keeps its window, 8 MiB at our level.
var bombMemory = map[Codec]uint64{Gzip: 1 << 20, Snappy: 1 << 20, LZ4: 1 << 20, Zstd: 12 << 20}

// A bomb costs time and a window, not memory, and ends at the limit.
func TestValidateBomb(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs[1:] {
		b := c.NewBuilder()
		b.Codec = codec
		b.Add(1000, nil, make([]byte, 40<<20), nil)
		batch := b.Bytes()
		rules := client
		rules.MaxDecompressed = 20 << 20
		_, err := c.Validate(batch, rules)
		var invalid *Invalid
		if !errors.As(err, &invalid) || invalid.Kind != MessageTooLarge {
			t.Fatalf("%v: %v", codec, err)
		}
		rules.MaxDecompressed = 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := c.Validate(batch, rules); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > bombMemory[codec] {
			t.Errorf("%v: 40 MiB in %d bytes took %d bytes of memory", codec, len(batch), took)
		}
		if _, err := c.Decompress(codec, batch.Payload(), 1<<20); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: Decompress: %v", codec, err)
		}
	}
}

// Validation allocates per batch, not per record. The bound leaves room for pools that are emptied meanwhile, as
// the garbage collector does now and then and the race detector often.
func TestValidateAllocations(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		few, many := usual(c, codec, 10, 90), usual(c, codec, 3000, 90)
		allocs := func(b Batch) float64 {
			return testing.AllocsPerRun(50, func() {
				if _, err := c.Validate(b, client); err != nil {
					t.Fatal(err)
				}
			})
		}
		if a, b := allocs(few), allocs(many); b > a+50 {
			t.Errorf("%v: %v allocations for 10 records, %v for 3000", codec, a, b)
		}
	}
}
