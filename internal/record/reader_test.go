package record

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type flat struct {
	Offset, Timestamp int64
	Key, Value        string
	Headers           string
}

func null(b []byte) string {
	if b == nil {
		return "null"
	}
	return "'" + string(b) + "'"
}

// flatten reads a batch, so that it can be compared.
func flatten(t testing.TB, c *Codecs, b Batch) []flat {
	t.Helper()
	r, err := c.Records(b)
	if err != nil {
		t.Fatalf("Records: %v", err)
	}
	defer r.Close()
	var out []flat
	var rec Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatalf("Next after %d records: %v", len(out), err)
		}
		if !ok {
			return out
		}
		f := flat{Offset: rec.Offset, Timestamp: rec.Timestamp, Key: null(rec.Key), Value: null(rec.Value)}
		for h := range rec.Headers() {
			f.Headers += fmt.Sprintf("%s=%s;", h.Key, null(h.Value))
		}
		out = append(out, f)
	}
}

var allCodecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// text gives n bytes that compress about as JSON does.
func text(n, seed int) []byte {
	var b []byte
	for i := seed; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"id":%d,"name":"user-%x","amount":%d}`, i, i*2654435761%(1<<30), i*i%9973)
	}
	return b[:n]
}

func TestBuildAndRead(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		t.Run(codec.String(), func(t *testing.T) {
			b := c.NewBuilder()
			b.BaseOffset, b.ProducerID, b.ProducerEpoch, b.BaseSequence = 100, 7, 3, 1<<31-2
			b.Transactional, b.Codec = true, codec
			b.Add(1000, []byte("k"), []byte("v"), nil)
			b.Add(900, nil, []byte{}, []Header{{Key: []byte("h"), Value: nil}, {Key: []byte("i"), Value: []byte("x")}})
			b.Add(2000, []byte{}, nil, nil)
			batch := b.Bytes()
			if err := batch.CheckCRC(); err != nil {
				t.Fatal(err)
			}
			got, rest, err := Next(append(append([]byte{}, batch...), 1, 2))
			if err != nil || len(rest) != 2 || !bytes.Equal(got, batch) {
				t.Fatalf("Next: %d bytes, rest %d, %v", len(got), len(rest), err)
			}
			want := []flat{
				{100, 1000, "'k'", "'v'", ""},
				{101, 900, "null", "''", "h=null;i='x';"},
				{102, 2000, "''", "null", ""},
			}
			if d := cmp.Diff(want, flatten(t, c, batch)); d != "" {
				t.Fatal(d)
			}
			header := fmt.Sprint(got, got.MaxTimestamp(), got.BaseTimestamp(), got.ProducerEpoch(), got.Count())
			if d := cmp.Diff(fmt.Sprintf("RecordBatch(magic=2, offsets=[100, 102], sequence=[2147483646, 0], partitionLeaderEpoch=-1, "+
				"isTransactional=true, isControlBatch=false, compression=%s, timestampType=CreateTime, crc=%d) 2000 1000 3 3", codec, got.CRC()), header); d != "" {
				t.Fatal(d)
			}
		})
	}
}

// Batches longer than a window, than a block of each codec, with records longer than a window.
func TestReadLong(t *testing.T) {
	c := NewCodecs()
	for _, codec := range allCodecs {
		for _, size := range []int{10, 3000, 100_000, 3_000_000} {
			t.Run(fmt.Sprint(codec, size), func(t *testing.T) {
				b := c.NewBuilder()
				b.Codec = codec
				var want []flat
				for i := range 7_000_000 / size {
					if i == 3000 {
						break
					}
					v := text(size, i)
					b.Add(int64(i), nil, v, nil)
					want = append(want, flat{int64(i), int64(i), "null", null(v), ""})
				}
				batch := b.Bytes()
				if codec != None && len(batch) > b.Size() {
					t.Fatalf("compressed to %d of %d", len(batch), b.Size())
				}
				if d := cmp.Diff(want, flatten(t, c, batch)); d != "" {
					t.Fatal(d[:min(len(d), 500)])
				}
				r, err := c.Records(batch)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				var rec Record
				n := 0
				for {
					ok, err := r.skip(&rec)
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					if rec.Offset != int64(n) || rec.Timestamp != int64(n) || rec.Key != nil || rec.Value == nil {
						t.Fatalf("record %d skipped as %+v", n, rec)
					}
					n++
				}
				if n != len(want) {
					t.Fatalf("skipped %d of %d", n, len(want))
				}
				if codec != None && cap(r.buf) > bufferKept {
					t.Fatalf("walking held %d bytes", cap(r.buf))
				}
			})
		}
	}
}

func TestNextErrors(t *testing.T) {
	c := NewCodecs()
	b := c.NewBuilder()
	b.Add(1, nil, []byte("v"), nil)
	good := b.Bytes()
	change := func(pos int, with ...byte) []byte {
		p := append([]byte(nil), good...)
		copy(p[pos:], with)
		return p
	}
	for name, tc := range map[string]struct {
		in        []byte
		truncated bool
		reason    string
	}{
		"empty":              {nil, true, ""},
		"half a header":      {good[:30], true, ""},
		"one byte missing":   {good[:len(good)-1], true, ""},
		"length below":       {change(posLength, 0, 0, 0, 48), false, "length field 48 is outside [49, 2147483635]"},
		"length zero":        {make([]byte, 100), false, "length field 0 is outside [49, 2147483635]"},
		"length negative":    {change(posLength, 255, 255, 255, 255), false, "length field -1 is outside [49, 2147483635]"},
		"length overflowing": {change(posLength, 0x7f, 255, 255, 255), false, "length field 2147483647 is outside [49, 2147483635]"},
		"length too much":    {change(posLength, 0x70, 0, 0, 0), true, ""},
		"magic 1":            {change(posMagic, 1), false, "magic 1 where 2 is expected"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Next(tc.in)
			var corrupt *Corrupt
			switch {
			case tc.truncated && !errors.Is(err, ErrTruncated):
				t.Fatalf("got %v, want ErrTruncated", err)
			case !tc.truncated && (!errors.As(err, &corrupt) || corrupt.Reason != tc.reason):
				t.Fatalf("got %v, want %q", err, tc.reason)
			}
		})
	}
	if err := Batch(change(len(good)-1, 'w')).CheckCRC(); err == nil {
		t.Fatal("a changed byte passed the CRC")
	}
}

// DETAILS 6: sequences wrap at 2^31-1.
func TestSequenceWrap(t *testing.T) {
	for _, tc := range []struct{ seq, n, want int32 }{
		{0, 0, 0}, {5, 3, 8}, {1<<31 - 1, 0, 1<<31 - 1}, {1<<31 - 1, 1, 0}, {1<<31 - 2, 5, 3},
	} {
		if got := IncrementSequence(tc.seq, tc.n); got != tc.want {
			t.Errorf("%d+%d = %d, want %d", tc.seq, tc.n, got, tc.want)
		}
		if got := DecrementSequence(tc.want, tc.n); got != tc.seq {
			t.Errorf("%d-%d = %d, want %d", tc.want, tc.n, got, tc.seq)
		}
	}
}

func TestControl(t *testing.T) {
	c := NewCodecs()
	b := c.EndTxn(EndTxnMarker{Type: Commit, CoordinatorEpoch: 9}, 1234, 42, 5)
	if !b.Control() || !b.Transactional() || b.ProducerID() != 42 || b.ProducerEpoch() != 5 || b.BaseSequence() != -1 || b.LastSequence() != -1 {
		t.Fatalf("header: %v", b)
	}
	m, ok, err := c.EndTxnOf(b)
	if err != nil || !ok || m != (EndTxnMarker{Commit, 9}) {
		t.Fatalf("got %+v %v %v", m, ok, err)
	}
	want := []flat{{0, 1234, "'\x00\x00\x00\x01'", "'\x00\x00\x00\x00\x00\x09'", ""}}
	if d := cmp.Diff(want, flatten(t, c, b)); d != "" {
		t.Fatal(d)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0}, {255, 255, 0, 1}} {
		if _, err := ParseControlKey(bad); err == nil {
			t.Errorf("key %v was accepted", bad)
		}
	}
	if typ, err := ParseControlKey([]byte{0, 3, 0, 77}); err != nil || typ.String() != "UNKNOWN(77)" {
		t.Errorf("a key of the future: %v %v", typ, err)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0, 0, 0}, {255, 255, 0, 0, 0, 1}} {
		if _, err := ParseEndTxnMarker(ControlKey(Abort), bad); err == nil {
			t.Errorf("value %v was accepted", bad)
		}
	}
	if _, err := ParseEndTxnMarker(ControlKey(LeaderChange), []byte{0, 0, 0, 0, 0, 1}); err == nil {
		t.Error("a leader change was taken for a marker")
	}
}

// What the cleaner leaves: an emptied batch, and one that keeps its last offset and has a delete horizon.
func TestBuildCleaned(t *testing.T) {
	c := NewCodecs()
	b := c.NewBuilder()
	b.BaseOffset, b.LastOffset, b.BaseSequence, b.ProducerID, b.MaxTimestamp, b.Codec = 10, 14, 4, 1, 77, Gzip
	e := b.Bytes()
	if len(e) != HeaderLen || e.LastOffset() != 14 || e.LastSequence() != 8 || e.Count() != 0 || e.MaxTimestamp() != 77 ||
		e.BaseTimestamp() != NoTimestamp || e.Codec() != None || e.CheckCRC() != nil {
		t.Fatalf("emptied batch: %v", e)
	}
	if got := flatten(t, c, e); len(got) != 0 {
		t.Fatalf("records of an empty batch: %v", got)
	}
	b.Reset()
	b.BaseOffset, b.LastOffset, b.DeleteHorizon = 10, 14, 5000
	b.AddAt(12, 100, []byte("k"), nil, []Header{{Key: []byte("h")}})
	k := b.Bytes()
	if ms, ok := k.DeleteHorizon(); !ok || ms != 5000 || k.LastOffset() != 14 || k.MaxTimestamp() != 100 {
		t.Fatalf("kept batch: %v", k)
	}
	if d := cmp.Diff([]flat{{12, 100, "'k'", "null", "h=null;"}}, flatten(t, c, k)); d != "" {
		t.Fatal(d)
	}
	// Copy keeps a record as it is.
	r, err := c.Records(k)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var rec Record
	if ok, err := r.Next(&rec); !ok {
		t.Fatal(err)
	}
	b.Reset()
	b.BaseOffset, b.LastOffset, b.DeleteHorizon = 10, 14, 5000
	b.Copy(&rec)
	if d := cmp.Diff(k, b.Bytes()); d != "" {
		t.Fatal(d)
	}
}

func TestReaderCorrupt(t *testing.T) {
	c := NewCodecs()
	build := func(payload []byte, count int32) Batch {
		b := c.NewBuilder()
		out := append(b.Bytes(), payload...)
		out[posLength+3] = byte(len(out) - LogOverhead)
		out[posCount+3] = byte(count)
		return out
	}
	one := []byte{12, 0, 0, 0, 1, 1, 0} // null key, null value, no headers
	for name, tc := range map[string]struct {
		payload []byte
		count   int32
		want    string
	}{
		"no records":      {nil, 1, "the records end within record 0 of 1"},
		"one missing":     {one, 2, "the records end within record 1 of 2"},
		"one too many":    {append(append([]byte{}, one...), one...), 1, "bytes remain after 1 records"},
		"negative length": {[]byte{1}, 1, "record 0 of 1 has an invalid length"},
		"endless length":  {[]byte{255, 255, 255, 255, 255, 255}, 1, "record 0 of 1 has an invalid length"},
		"length lies":     {[]byte{200, 1, 0}, 1, "the records end within record 0 of 1"},
		"shorter fields":  {[]byte{14, 0, 0, 0, 1, 1, 0, 0}, 1, "record 0 of 1 has an invalid structure"},
		"longer key":      {[]byte{12, 0, 0, 0, 40, 1, 0}, 1, "record 0 of 1 has an invalid structure"},
		"many headers":    {[]byte{12, 0, 0, 0, 1, 1, 120}, 1, "record 0 of 1 has an invalid structure"},
		"null header key": {[]byte{16, 0, 0, 0, 1, 1, 2, 1, 1}, 1, "record 0 of 1 has an invalid structure"},
		"empty body":      {[]byte{0}, 1, "record 0 of 1 has an invalid structure"},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(tc.payload, tc.count)
			r, err := c.Records(b)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var rec Record
			ok := true
			for ok && err == nil {
				ok, err = r.Next(&rec)
			}
			var corrupt *Corrupt
			if !errors.As(err, &corrupt) || corrupt.Reason != tc.want {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
}
