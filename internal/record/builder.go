package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxBatch is the largest batch that a length field can tell.
const maxBatch = math.MaxInt32

// Builder makes batches: set the fields, Add records, take Bytes. It may be used again after Reset. It belongs
// to one goroutine.
type Builder struct {
	BaseOffset    int64
	LeaderEpoch   int32
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool
	TimestampType TimestampType // with LogAppendTime, MaxTimestamp is what all records get
	Codec         Codec         // None, or how Bytes compresses
	Level         int           // of the codec, 0 for its default

	// DeleteHorizon, if it is not NoTimestamp, becomes the base timestamp (KIP-534).
	DeleteHorizon int64
	// LastOffset, if it is not -1, is kept as the last offset though the last record may be before it: what the
	// cleaner leaves of a batch covers the same offsets.
	LastOffset int64
	// MaxTimestamp, if it is not NoTimestamp, is written instead of the records' largest timestamp.
	MaxTimestamp int64

	codecs  *Codecs
	buf     []byte // header and records
	count   int32
	base    int64 // timestamp that deltas count from
	largest int64
	last    int32 // offset delta of the last record
}

// NewBuilder gives a builder for a batch at offset 0 of no producer, uncompressed, with the records' own times.
func (c *Codecs) NewBuilder() *Builder {
	b := &Builder{codecs: c}
	b.Reset()
	return b
}

// Reset empties the builder and sets the fields to what NewBuilder gives. What Bytes gave before stays as it is.
func (b *Builder) Reset() {
	*b = Builder{
		LeaderEpoch: NoLeaderEpoch, ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence,
		DeleteHorizon: NoTimestamp, LastOffset: -1, MaxTimestamp: NoTimestamp,
		codecs: b.codecs, buf: b.buf[:0], largest: NoTimestamp, last: -1,
	}
}

// Add appends a record at the next offset. Nil slices are null; a header's key is written as empty then.
func (b *Builder) Add(timestamp int64, key, value []byte, headers []Header) {
	b.AddAt(b.BaseOffset+int64(b.last)+1, timestamp, key, value, headers)
}

// AddAt appends a record at an offset, which must be above those before it and not below BaseOffset; it is for
// those who copy records that keep their offsets.
func (b *Builder) AddAt(offset, timestamp int64, key, value []byte, headers []Header) {
	delta := b.begin(offset, timestamp)
	raw := 0
	for _, h := range headers {
		raw += sizeBytes(h.Key, true) + sizeBytes(h.Value, false)
	}
	b.body(delta, timestamp, key, value, int32(len(headers)), raw)
	for _, h := range headers {
		b.buf = appendVarint(b.buf, int32(len(h.Key)))
		b.buf = append(b.buf, h.Key...)
		b.buf = appendNullable(b.buf, h.Value)
	}
}

// Copy appends a record that a Reader gave, with its offset, timestamp and headers.
func (b *Builder) Copy(r *Record) {
	delta := b.begin(r.Offset, r.Timestamp)
	b.body(delta, r.Timestamp, r.Key, r.Value, r.HeaderCount, len(r.RawHeaders))
	b.buf = append(b.buf, r.RawHeaders...)
}

// begin counts a record and gives its offset delta. The first record's timestamp becomes the base.
func (b *Builder) begin(offset, timestamp int64) int32 {
	delta := offset - b.BaseOffset
	if delta <= int64(b.last) || delta > math.MaxInt32 {
		panic(fmt.Sprintf("record: offset %d does not follow delta %d at base offset %d", offset, b.last, b.BaseOffset))
	}
	if len(b.buf) == 0 {
		b.buf = append(b.buf, make([]byte, HeaderLen)...)
		b.base = timestamp
		if b.DeleteHorizon != NoTimestamp {
			b.base = b.DeleteHorizon
		}
	}
	b.count++
	b.last = int32(delta)
	b.largest = max(b.largest, timestamp)
	return b.last
}

// body appends a record up to its headers, which follow as raw bytes.
func (b *Builder) body(delta int32, timestamp int64, key, value []byte, headers int32, raw int) {
	ts := timestamp - b.base
	n := 1 + sizeVarlong(ts) + sizeVarlong(int64(delta)) + sizeBytes(key, false) + sizeBytes(value, false) +
		sizeVarlong(int64(headers)) + raw
	b.buf = appendVarlong(b.buf, int64(n))
	b.buf = append(b.buf, 0)
	b.buf = appendVarlong(b.buf, ts)
	b.buf = appendVarint(b.buf, delta)
	b.buf = appendNullable(b.buf, key)
	b.buf = appendNullable(b.buf, value)
	b.buf = appendVarint(b.buf, headers)
}

func sizeBytes(p []byte, notNull bool) int {
	if p == nil && !notNull {
		return 1
	}
	return sizeVarlong(int64(len(p))) + len(p)
}

func appendNullable(b, p []byte) []byte {
	if p == nil {
		return append(b, 1) // -1
	}
	b = appendVarint(b, int32(len(p)))
	return append(b, p...)
}

// Count is the number of records added.
func (b *Builder) Count() int32 { return b.count }

// Size is the length of the batch if it were not compressed.
func (b *Builder) Size() int { return max(len(b.buf), HeaderLen) }

// SizeWith bounds what Size would be after adding a record.
func (b *Builder) SizeWith(key, value []byte, headers []Header) int {
	n := b.Size() + 1 + 4*5 + 10 + 5 + len(key) + len(value)
	for _, h := range headers {
		n += 2*5 + len(h.Key) + len(h.Value)
	}
	return n
}

// Bytes gives the batch in a slice of its own. A builder without records gives an empty batch, such as the
// cleaner leaves to keep a producer's last sequence; it covers one offset unless LastOffset says more.
func (b *Builder) Bytes() Batch {
	records := b.buf[min(len(b.buf), HeaderLen):]
	codec := b.Codec
	out := output{max: maxBatch}
	if b.count == 0 {
		codec = None
	}
	if codec == None {
		out.b = make([]byte, HeaderLen, HeaderLen+len(records))
		out.b = append(out.b, records...)
	} else {
		out.b = make([]byte, HeaderLen, HeaderLen+len(records)/2+64)
		if err := b.codecs.compress(codec, b.Level, records, &out); err != nil {
			panic("record: compressing into memory failed: " + err.Error())
		}
	}
	batch := Batch(out.b)
	b.header(batch, codec)
	return batch
}

func (b *Builder) header(h Batch, codec Codec) {
	attributes := uint16(codec)
	base, largest, last := b.base, b.largest, max(b.last, 0)
	if b.count == 0 {
		base = NoTimestamp
	}
	if b.DeleteHorizon != NoTimestamp {
		base = b.DeleteHorizon
		attributes |= attrDeleteHorizon
	}
	if b.MaxTimestamp != NoTimestamp {
		largest = b.MaxTimestamp
	}
	if b.LastOffset >= 0 {
		last = int32(b.LastOffset - b.BaseOffset)
	}
	if b.TimestampType == LogAppendTime {
		attributes |= attrLogAppendTime
	}
	if b.Transactional {
		attributes |= attrTransactional
	}
	if b.Control {
		attributes |= attrControl
	}
	be := binary.BigEndian
	be.PutUint64(h[posBaseOffset:], uint64(b.BaseOffset))
	be.PutUint32(h[posLength:], uint32(len(h)-LogOverhead))
	be.PutUint32(h[posLeaderEpoch:], uint32(b.LeaderEpoch))
	h[posMagic] = Magic
	be.PutUint16(h[posAttributes:], attributes)
	be.PutUint32(h[posLastOffsetDelta:], uint32(last))
	be.PutUint64(h[posBaseTimestamp:], uint64(base))
	be.PutUint64(h[posMaxTimestamp:], uint64(largest))
	be.PutUint64(h[posProducerID:], uint64(b.ProducerID))
	be.PutUint16(h[posProducerEpoch:], uint16(b.ProducerEpoch))
	be.PutUint32(h[posBaseSequence:], uint32(b.BaseSequence))
	be.PutUint32(h[posCount:], uint32(b.count))
	h.SetCRC()
}
