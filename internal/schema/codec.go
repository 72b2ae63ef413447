package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Errors that a reader may branch on; they come wrapped with the record's name and the place.
var (
	ErrMalformed      = errors.New("malformed record")
	ErrUnknownType    = errors.New("unknown record type")
	ErrUnknownVersion = errors.New("unknown record version")
)

// MaxString is the longest string that Kafka reads or writes, in bytes.
const MaxString = math.MaxInt16

// Message is one generated codec.
type Message interface {
	// RecordName is the name of Apache's definition, e.g. RegisterBrokerRecord.
	RecordName() string
	// Versions are the versions that the codec knows.
	Versions() (lowest, highest int16)
	// AppendTo appends the fields of that version. Fields that the version lacks are left out silently.
	AppendTo(dst []byte, version int16) []byte
	// ReadFrom sets every field, absent ones to their defaults, and gives the bytes behind the record.
	ReadFrom(b []byte, version int16) ([]byte, error)
}

// Record is a Message that is stored under a number: metadata record type, control record type, or key type.
type Record interface {
	Message
	Type() int16
}

// assertVersion guards AppendTo: to write a version that does not exist is a bug.
func assertVersion(name string, version, lowest, highest int16) {
	if version < lowest || version > highest {
		panic(fmt.Sprintf("schema: %s has no version %d to write (%d to %d)", name, version, lowest, highest))
	}
}

func checkVersion(name string, version, lowest, highest int16) error {
	if version < lowest || version > highest {
		return fmt.Errorf("schema: %s version %d (known: %d to %d): %w", name, version, lowest, highest, ErrUnknownVersion)
	}
	return nil
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendInt8(dst []byte, v int8) []byte   { return append(dst, byte(v)) }
func appendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}

func appendUvarint(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// appendLength appends the length of an array or of bytes.
func appendLength(dst []byte, n int, flexible bool) []byte {
	if flexible {
		return appendUvarint(dst, uint32(n)+1)
	}
	return appendInt32(dst, int32(n))
}

func appendNullableLength(dst []byte, n int, null, flexible bool) []byte {
	if !null {
		return appendLength(dst, n, flexible)
	}
	if flexible {
		return append(dst, 0)
	}
	return appendInt32(dst, -1)
}

// appendString asserts Kafka's limit instead of writing what no reader takes: names and ids are checked where they
// come in.
func appendString(dst []byte, s string, flexible bool) []byte {
	if len(s) > MaxString {
		panic(fmt.Sprintf("schema: string of %d bytes, Kafka's limit is %d", len(s), MaxString))
	}
	if flexible {
		dst = appendUvarint(dst, uint32(len(s))+1)
	} else {
		dst = appendInt16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

func appendNullableString(dst []byte, s *string, flexible bool) []byte {
	switch {
	case s != nil:
		return appendString(dst, *s, flexible)
	case flexible:
		return append(dst, 0)
	}
	return appendInt16(dst, -1)
}

func appendBytes(dst, b []byte, flexible bool) []byte {
	return append(appendLength(dst, len(b), flexible), b...)
}

func appendInt16s(dst []byte, s []int16, flexible bool) []byte {
	dst = appendLength(dst, len(s), flexible)
	for _, v := range s {
		dst = appendInt16(dst, v)
	}
	return dst
}

func appendInt32s(dst []byte, s []int32, flexible bool) []byte {
	dst = appendLength(dst, len(s), flexible)
	for _, v := range s {
		dst = appendInt32(dst, v)
	}
	return dst
}

func appendNullableInt32s(dst []byte, s []int32, flexible bool) []byte {
	if s == nil {
		return appendNullableLength(dst, 0, true, flexible)
	}
	return appendInt32s(dst, s, flexible)
}

func appendUUIDs(dst []byte, s []UUID, flexible bool) []byte {
	dst = appendLength(dst, len(s), flexible)
	for i := range s {
		dst = append(dst, s[i][:]...)
	}
	return dst
}

func appendNullableUUIDs(dst []byte, s []UUID, flexible bool) []byte {
	if s == nil {
		return appendNullableLength(dst, 0, true, flexible)
	}
	return appendUUIDs(dst, s, flexible)
}

func appendStrings(dst []byte, s []string, flexible bool) []byte {
	dst = appendLength(dst, len(s), flexible)
	for _, v := range s {
		dst = appendString(dst, v, flexible)
	}
	return dst
}

// sealTag puts tag and size before the tagged field that was appended from start on.
func sealTag(dst []byte, start int, tag uint32) []byte {
	size := len(dst) - start
	var head [10]byte
	h := appendUvarint(appendUvarint(head[:0], tag), uint32(size))
	dst = append(dst, h...)
	copy(dst[start+len(h):], dst[start:start+size])
	copy(dst[start:], h)
	return dst
}
