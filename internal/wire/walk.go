package wire

import (
	"encoding/binary"
	"fmt"
)

// What decoding costs beyond the elements themselves, in bytes, measured with kmsg on Go's allocator and rounded up.
const (
	costObject = 16  // an allocation of its own is rounded up to a size class
	costTags   = 512 // the first unknown tag of a structure: a map with one group of slots
	costTag    = 96  // each further one, the growing of the map included
)

// stringMax is the longest string that Kafka reads, also where a compact length could announce more. So no string of a
// request is too long for the records that it may come to stand in.
const stringMax = 1<<15 - 1

// walker goes through a body along its shape. It allocates nothing; after the first error it stands still.
type walker struct {
	src  []byte
	flex bool
	cost int64
	err  error
}

func (w *walker) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	w.src = nil
}

func (w *walker) take(n int) []byte {
	if n < 0 || n > len(w.src) {
		w.fail("%d bytes announced, %d left", n, len(w.src))
		return nil
	}
	b := w.src[:n:n]
	w.src = w.src[n:]
	return b
}

// fixed reads a big-endian integer of 1, 2 or 4 bytes without its sign.
func (w *walker) fixed(n int) uint32 {
	b := w.take(n)
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.BigEndian.Uint16(b))
	case 4:
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// uvarint reads at most five bytes, as Kafka's lengths are.
func (w *walker) uvarint() uint32 {
	v, n := binary.Uvarint(w.src[:min(len(w.src), 5)])
	if n <= 0 || v > 1<<32-1 {
		w.fail("bad variable-length integer")
		return 0
	}
	w.src = w.src[n:]
	return uint32(v)
}

// length reads the length of a string, bytes or array, -1 for null; size is the width of the classic encoding.
func (w *walker) length(size int) int {
	if w.flex {
		return int(w.uvarint()) - 1
	}
	if size == 2 {
		return int(int16(w.fixed(2)))
	}
	return int(int32(w.fixed(4)))
}

// null deals with a negative length and reports whether the field is null.
func (w *walker) null(f *field, n int, version int16) bool {
	if n >= 0 {
		return false
	}
	if n < -1 || !f.null || version < f.nullMin {
		w.fail("%s has length %d", f.name, n)
	}
	return true
}

// structure walks the fields of a structure and its tagged fields.
func (w *walker) structure(fields []field, version int16) {
	for i := range fields {
		f := &fields[i]
		if w.err != nil {
			return
		}
		if f.tag == 0 && f.in(version) {
			w.value(f, f.kind, version)
		}
	}
	if w.flex {
		w.tags(fields, version)
	}
}

func (w *walker) value(f *field, k kind, version int16) {
	switch k {
	case str:
		if n := w.length(2); !w.null(f, n, version) {
			if n > stringMax {
				w.fail("%s has %d bytes", f.name, n)
			}
			w.take(n)
			w.cost += int64(n) + 2*costObject
		}
	case byt:
		if n := w.length(4); !w.null(f, n, version) {
			w.take(n)
		}
	case group:
		if f.null && version >= f.nullMin {
			if int8(w.fixed(1)) < 0 {
				return
			}
		}
		w.cost += size(f.fields) + costObject
		w.structure(f.fields, version)
	case array:
		w.array(f, version)
	default:
		w.take(int(k))
	}
}

func (w *walker) array(f *field, version int16) {
	n := w.length(4)
	if w.null(f, n, version) || w.err != nil {
		return
	}
	least := w.least(f.elem, f.fields, version)
	if int64(n)*int64(least) > int64(len(w.src)) {
		w.fail("%s: %d elements announced, %d bytes left", f.name, n, len(w.src))
		return
	}
	elem := field{kind: f.elem, fields: f.fields}
	bytes := int64(n) * memory(&elem)
	w.cost += bytes + bytes/8 + costObject // size classes waste up to an eighth
	if f.elem <= b16 {
		w.take(n * int(f.elem))
		return
	}
	elem.name = f.name
	for range n {
		if w.err != nil {
			return
		}
		if f.elem == group {
			w.structure(f.fields, version)
		} else {
			w.value(&elem, f.elem, version)
		}
	}
}

// least is how few bytes a value can take on the wire; never zero, so a count is always bounded by the bytes left.
func (w *walker) least(k kind, fields []field, version int16) int {
	switch k {
	case str:
		if w.flex {
			return 1
		}
		return 2
	case byt, array:
		if w.flex {
			return 1
		}
		return 4
	case group:
		n := 0
		for i := range fields {
			f := &fields[i]
			if f.tag != 0 || !f.in(version) {
				continue
			}
			if f.kind == group && f.null {
				n++
				continue
			}
			n += w.least(f.kind, f.fields, version)
		}
		if w.flex {
			n++
		}
		return max(n, 1)
	}
	return int(k)
}

// tags walks tagged fields: those of the shape by their own, unknown ones by what kmsg's map of them costs.
func (w *walker) tags(fields []field, version int16) {
	n := int(w.uvarint())
	if n == 0 {
		return
	}
	if n*2 > len(w.src) {
		w.fail("%d tagged fields announced, %d bytes left", n, len(w.src))
		return
	}
	unknown := 0
	for range n {
		tag, length := w.uvarint(), int(w.uvarint())
		sub := w.take(length)
		if w.err != nil {
			return
		}
		f := tagged(fields, tag)
		if f == nil {
			unknown++
			continue
		}
		rest := w.src
		w.src = sub
		w.value(f, f.kind, version)
		if w.err != nil {
			return
		}
		w.src = rest
	}
	if unknown > 0 {
		w.cost += costTags + int64(unknown)*costTag
	}
}

// tagged finds a tagged field in any version: kmsg decodes a tag that it knows even where the version does not have it.
func tagged(fields []field, tag uint32) *field {
	for i := range fields {
		if f := &fields[i]; f.tag != 0 && uint32(f.tag)-1 == tag {
			return f
		}
	}
	return nil
}

// memory is what a value takes inside kmsg's structure, not counting what it points to.
func memory(f *field) int64 {
	switch f.kind {
	case str:
		return 16
	case byt, array:
		return 24
	case group:
		return size(f.fields)
	case b16:
		return 16
	}
	return 8 // kmsg's own are up to 8; padding is not worth a finer figure
}

// size is what a structure takes: its fields in all versions, for kmsg has one type for all of them, a few fields of
// versions that Apache dropped, and the pointer to unknown tags.
func size(fields []field) int64 {
	n := int64(8 + 16)
	for i := range fields {
		n += memory(&fields[i])
	}
	return n
}
