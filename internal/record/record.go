package record

import "iter"

// minRecordLen is the shortest record: seven fields of one byte each.
const minRecordLen = 7

// Record is one record as a Reader shows it. Its slices alias the reader's buffer: they are valid until the
// reader's next Next or Close, and must not be changed.
type Record struct {
	Attributes     int8
	TimestampDelta int64
	OffsetDelta    int32
	Offset         int64 // the batch's base offset + OffsetDelta
	Timestamp      int64 // the batch's time with LogAppendTime, otherwise its base timestamp + TimestampDelta
	Key, Value     []byte
	HeaderCount    int32
	RawHeaders     []byte // as they stand in the record, without the count
	Size           int    // bytes of the record in the (uncompressed) batch
}

// Header is a record's header. A nil value is null; the key never is.
type Header struct {
	Key   []byte
	Value []byte
}

// Headers walks over the headers; a Reader has checked that they are whole.
func (r *Record) Headers() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		b, i := r.RawHeaders, 0
		for range r.HeaderCount {
			var h Header
			h.Key, i = bytesAt(b, i)
			h.Value, i = bytesAt(b, i)
			if i < 0 || !yield(h) {
				return
			}
		}
	}
}

// bytesAt reads a length and as many bytes at b[i]; any negative length is null. See varint for the index.
func bytesAt(b []byte, i int) ([]byte, int) {
	n, i := varint(b, i)
	if n < 0 || i < 0 {
		return nil, i
	}
	if int(n) > len(b)-i {
		return nil, -1
	}
	return b[i : i+int(n) : i+int(n)], i + int(n)
}

// parse reads a record's body, the bytes that its length field counts. False says that they are not one record
// exactly. It reads the numbers that are mostly one byte in place: this is the walk's innermost loop.
func (r *Record) parse(b []byte) bool {
	if len(b) < minRecordLen-1 {
		return false
	}
	r.Attributes = int8(b[0])
	i := 2
	if c := b[1]; c < 0x80 {
		r.TimestampDelta = int64(c>>1) ^ -int64(c&1)
	} else {
		r.TimestampDelta, i = varlong(b, 1)
	}
	r.OffsetDelta, i = varint(b, i)
	if uint(i) < uint(len(b)) && b[i] == 1 {
		r.Key = nil
		i++
	} else {
		r.Key, i = bytesAt(b, i)
	}
	r.Value, i = bytesAt(b, i)
	if i == len(b)-1 && b[i] == 0 {
		r.HeaderCount, r.RawHeaders = 0, nil
		return true
	}
	return r.parseHeaders(b, i)
}

func (r *Record) parseHeaders(b []byte, i int) bool {
	r.HeaderCount, i = varint(b, i)
	if i < 0 || r.HeaderCount < 0 || int(r.HeaderCount) > len(b)-i {
		return false
	}
	r.RawHeaders = b[i:]
	for range r.HeaderCount {
		var n int32
		if n, i = varint(b, i); i < 0 || n < 0 || int(n) > len(b)-i {
			return false
		}
		if _, i = bytesAt(b, i+int(n)); i < 0 {
			return false
		}
	}
	return i == len(b)
}
