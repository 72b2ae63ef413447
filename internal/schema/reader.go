package schema

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader takes values off b. The first error sticks and empties b, so that everything after it ends at once; nothing
// is allocated for an announced length that the bytes left cannot hold. Values never alias b.
type reader struct {
	b   []byte
	at  int // bytes left when the error happened
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		// Tagged fields are read from a shortened b, but all its slices end at the same capacity.
		r.at, r.err = cap(r.b), fmt.Errorf(format, args...)
	}
	r.b = nil
}

// finish gives what is left of whole, or the error with the place where it happened.
func (r *reader) finish(name string, whole []byte, version int16) ([]byte, error) {
	if r.err != nil {
		return whole, fmt.Errorf("schema: %s version %d, byte %d of %d: %w: %w",
			name, version, cap(whole)-r.at, len(whole), ErrMalformed, r.err)
	}
	return r.b, nil
}

// take gives the next n bytes, or nil after an error.
func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail("%d bytes needed, %d left", n, len(r.b))
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) bool() bool { return r.int8() != 0 }

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) int16() int16 { return int16(r.uint16()) }

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) float64() float64 { return math.Float64frombits(uint64(r.int64())) }

func (r *reader) uuid() (u UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// uvarint reads at most five bytes and 32 bits, as Kafka does.
func (r *reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.b[:min(len(r.b), 5)])
	if r.err != nil || n <= 0 || v > math.MaxUint32 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// nullableLength reads the length of an array whose elements take least bytes or more; -1 is null.
func (r *reader) nullableLength(flexible bool, least int) int {
	var n int64
	if flexible {
		n = int64(r.uvarint()) - 1
	} else {
		n = int64(r.int32())
	}
	if r.err != nil || n < 0 {
		if n < -1 {
			r.fail("negative length %d", n)
		}
		return -1
	}
	if n*int64(least) > int64(len(r.b)) {
		r.fail("array of %d announced, %d bytes left", n, len(r.b))
		return -1
	}
	return int(n)
}

// length is nullableLength for what must not be null.
func (r *reader) length(flexible bool, least int) int {
	n := r.nullableLength(flexible, least)
	if n < 0 {
		r.fail("null where a value must be")
		return 0
	}
	return n
}

// stringLength reads the length of a string; -1 is null.
func (r *reader) stringLength(flexible bool) int {
	var n int
	if flexible {
		n = int(r.uvarint()) - 1
	} else {
		n = int(r.int16())
	}
	if n < -1 || n > MaxString {
		r.fail("string of length %d", n)
	}
	if r.err != nil {
		return -1
	}
	return n
}

func (r *reader) string(flexible bool) string {
	n := r.stringLength(flexible)
	if n < 0 {
		r.fail("null where a string must be")
		return ""
	}
	return string(r.take(n))
}

func (r *reader) nullableString(flexible bool) *string {
	n := r.stringLength(flexible)
	if n < 0 {
		return nil
	}
	s := string(r.take(n))
	return &s
}

func (r *reader) bytes(flexible bool) []byte {
	n := r.length(flexible, 1)
	if n == 0 {
		return nil
	}
	return append([]byte(nil), r.take(n)...)
}

func (r *reader) int16s(flexible bool) []int16 {
	n := r.length(flexible, 2)
	if n == 0 {
		return nil
	}
	s := make([]int16, n)
	for i := range s {
		s[i] = r.int16()
	}
	return s
}

func (r *reader) int32s(flexible bool) []int32 {
	n := r.length(flexible, 4)
	if n == 0 {
		return nil
	}
	return r.int32sOf(n)
}

func (r *reader) nullableInt32s(flexible bool) []int32 {
	n := r.nullableLength(flexible, 4)
	if n < 0 {
		return nil
	}
	return r.int32sOf(n)
}

func (r *reader) int32sOf(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = r.int32()
	}
	return s
}

func (r *reader) uuids(flexible bool) []UUID {
	n := r.length(flexible, 16)
	if n == 0 {
		return nil
	}
	return r.uuidsOf(n)
}

func (r *reader) nullableUUIDs(flexible bool) []UUID {
	n := r.nullableLength(flexible, 16)
	if n < 0 {
		return nil
	}
	return r.uuidsOf(n)
}

func (r *reader) uuidsOf(n int) []UUID {
	s := make([]UUID, n)
	for i := range s {
		s[i] = r.uuid()
	}
	return s
}

func (r *reader) strings(flexible bool) []string {
	n := r.length(flexible, 1)
	if n == 0 {
		return nil
	}
	s := make([]string, n)
	for i := range s {
		s[i] = r.string(flexible)
	}
	return s
}

// tagCount reads how many tagged fields follow; each takes two bytes or more.
func (r *reader) tagCount() int {
	n := r.uvarint()
	if int64(n)*2 > int64(len(r.b)) {
		r.fail("%d tagged fields announced, %d bytes left", n, len(r.b))
		return 0
	}
	return int(n)
}

// openTag narrows the reader to the next tagged field; closeTag widens it to rest again.
func (r *reader) openTag() (tag uint32, rest []byte) {
	tag = r.uvarint()
	size := r.uvarint()
	if r.err != nil || int64(size) > int64(len(r.b)) {
		r.fail("tagged field %d of %d bytes, %d left", tag, size, len(r.b))
		return tag, nil
	}
	rest = r.b[size:]
	r.b = r.b[:size]
	return tag, rest
}

func (r *reader) closeTag(rest []byte) {
	if len(r.b) != 0 {
		r.fail("%d bytes behind a tagged field", len(r.b))
	}
	if r.err == nil {
		r.b = rest
	}
}

func (r *reader) skipTags() {
	for n := r.tagCount(); n > 0; n-- {
		_, rest := r.openTag()
		r.b = nil
		r.closeTag(rest)
	}
}
