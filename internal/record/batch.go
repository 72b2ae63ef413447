package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Sizes of the fixed parts of a batch.
const (
	HeaderLen   = 61 // bytes before the records
	LogOverhead = 12 // bytes that the length field does not count: base offset and itself
)

// Magic is the only batch version that is served.
const Magic = 2

// Values that stand for "none" in a batch's header.
const (
	NoTimestamp     int64 = -1
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
	NoLeaderEpoch   int32 = -1
)

// Positions of the header's fields.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57
)

// Bits of the attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

// TimestampType says what a batch's timestamps are (message.timestamp.type).
type TimestampType int8

// The timestamp types, by their ids in the protocol.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// String gives the name that message.timestamp.type and Kafka's tools use.
func (t TimestampType) String() string {
	if t == LogAppendTime {
		return "LogAppendTime"
	}
	return "CreateTime"
}

// ErrTruncated says that the bytes end before the batch does: more may come, or the rest was never written.
var ErrTruncated = errors.New("record batch is truncated")

// Corrupt says that bytes are not a batch, or not one that is whole.
type Corrupt struct {
	Reason string
}

func (e *Corrupt) Error() string { return "corrupt record batch: " + e.Reason }

func corruptf(format string, args ...any) error {
	return &Corrupt{Reason: fmt.Sprintf(format, args...)}
}

// Batch is one whole batch as on wire and disk. The accessors read its bytes; they are safe on what Next
// returned and on what a Builder made, that is on at least HeaderLen bytes.
type Batch []byte

// Next cuts the first batch off b. The error is ErrTruncated if b ends before the batch does (also when b is
// empty), or *Corrupt. Length and magic are checked, the CRC is not.
func Next(b []byte) (batch Batch, rest []byte, err error) {
	n, err := Peek(b)
	if err != nil {
		return nil, nil, err
	}
	if n > len(b) {
		return nil, nil, ErrTruncated
	}
	return Batch(b[:n:n]), b[n:], nil
}

// Peek gives the length of the batch that starts at b from its first 17 bytes alone, for those who read a file
// piece by piece. The errors are Next's, but a batch longer than b is none.
func Peek(b []byte) (int, error) {
	if len(b) >= LogOverhead {
		if n := int32(binary.BigEndian.Uint32(b[posLength:])); n < HeaderLen-LogOverhead || n > math.MaxInt32-LogOverhead {
			return 0, corruptf("length field %d is outside [%d, %d]", n, HeaderLen-LogOverhead, math.MaxInt32-LogOverhead)
		}
	}
	if len(b) <= posMagic {
		return 0, ErrTruncated
	}
	if m := int8(b[posMagic]); m != Magic {
		return 0, corruptf("magic %d where %d is expected", m, Magic)
	}
	return int(binary.BigEndian.Uint32(b[posLength:])) + LogOverhead, nil
}

// BaseOffset is the offset of the first record that the batch ever had.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[posBaseOffset:])) }

// Len is the size of the whole batch by its length field; len(b) is the same on any batch of Next or Builder.
func (b Batch) Len() int { return int(int32(binary.BigEndian.Uint32(b[posLength:]))) + LogOverhead }

// LeaderEpoch is the epoch of the leader that appended the batch; -1 on the way from a producer.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[posLeaderEpoch:])) }

// Magic is the format version.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the stored checksum.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes are the flags as they stand in the header.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[posAttributes:])) }

// Codec is the compression of the records; it may be none that exists, see Codec.Valid.
func (b Batch) Codec() Codec { return Codec(b[posAttributes+1] & attrCodec) }

// TimestampType says whose time the timestamps are.
func (b Batch) TimestampType() TimestampType {
	if b[posAttributes+1]&attrLogAppendTime != 0 {
		return LogAppendTime
	}
	return CreateTime
}

// Transactional says that the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b[posAttributes+1]&attrTransactional != 0 }

// Control says that the batch holds a control record, which consumers never see.
func (b Batch) Control() bool { return b[posAttributes+1]&attrControl != 0 }

// HasDeleteHorizon says that the base timestamp is the time from which the cleaner may drop the tombstones and
// markers of this batch (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b[posAttributes+1]&attrDeleteHorizon != 0 }

// DeleteHorizon is the time that HasDeleteHorizon speaks of.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	if !b.HasDeleteHorizon() {
		return 0, false
	}
	return b.BaseTimestamp(), true
}

// LastOffsetDelta is the last offset minus the base offset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:])) }

// LastOffset is the offset of the last record that the batch ever had.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// BaseTimestamp is what the records' timestamp deltas count from.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posBaseTimestamp:])) }

// MaxTimestamp is the largest timestamp of the records, or the append's time with LogAppendTime.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posMaxTimestamp:])) }

// ProducerID is -1 without idempotence.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[posProducerID:])) }

// HasProducerID says that sequences count.
func (b Batch) HasProducerID() bool { return b.ProducerID() > NoProducerID }

// ProducerEpoch is -1 without idempotence.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[posProducerEpoch:])) }

// BaseSequence is the first record's sequence number, -1 if it has none.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[posBaseSequence:])) }

// LastSequence is the last record's sequence number: it wraps at 2^31-1; -1 if there is none.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base == NoSequence {
		return NoSequence
	}
	return IncrementSequence(base, b.LastOffsetDelta())
}

// Count is the number of records that are there now; a cleaned batch has fewer than it had.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[posCount:])) }

// Payload is what follows the header: the records, compressed as Codec says. It aliases the batch.
func (b Batch) Payload() []byte { return b[HeaderLen:] }

// IncrementSequence adds to a sequence number, which goes from 2^31-1 to 0.
func IncrementSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// DecrementSequence takes n from a sequence number, which goes from 0 to 2^31-1.
func DecrementSequence(seq, n int32) int32 {
	return int32((int64(seq) - int64(n)) & math.MaxInt32)
}

// SetBaseOffset moves the batch. It stands outside the CRC.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(offset))
}

// SetLeaderEpoch stands outside the CRC, too.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime gives the batch and so all its records the time of the append. The timestamp type, the max
// timestamp and the CRC are rewritten; the records, also compressed ones, stay as they are.
func (b Batch) SetLogAppendTime(ms int64) { b.setTime(LogAppendTime, ms) }

// SetMaxTimestamp corrects the largest timestamp of a CreateTime batch, and the CRC if that changed anything.
func (b Batch) SetMaxTimestamp(ms int64) { b.setTime(CreateTime, ms) }

func (b Batch) setTime(t TimestampType, ms int64) {
	if b.TimestampType() == t && b.MaxTimestamp() == ms {
		return
	}
	b[posAttributes+1] &^= attrLogAppendTime
	if t == LogAppendTime {
		b[posAttributes+1] |= attrLogAppendTime
	}
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.SetCRC()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ComputeCRC computes the checksum of what the batch holds now.
func (b Batch) ComputeCRC() uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

// SetCRC stores the checksum of what the batch holds now.
func (b Batch) SetCRC() { binary.BigEndian.PutUint32(b[posCRC:], b.ComputeCRC()) }

// CheckCRC compares the stored checksum with the content; the error is *Corrupt.
func (b Batch) CheckCRC() error {
	if stored, computed := b.CRC(), b.ComputeCRC(); stored != computed {
		return corruptf("stored CRC %d, computed CRC %d", stored, computed)
	}
	return nil
}

// String shows the header as Kafka's own error messages do.
func (b Batch) String() string {
	return fmt.Sprintf("RecordBatch(magic=%d, offsets=[%d, %d], sequence=[%d, %d], partitionLeaderEpoch=%d, "+
		"isTransactional=%t, isControlBatch=%t, compression=%s, timestampType=%s, crc=%d)",
		b.Magic(), b.BaseOffset(), b.LastOffset(), b.BaseSequence(), b.LastSequence(), b.LeaderEpoch(),
		b.Transactional(), b.Control(), b.Codec(), b.TimestampType(), b.CRC())
}
