package storage

import (
	"encoding/binary"

	"github.com/klamm-io/klamm/internal/record"
)

// Places in a batch's header that the cleaner changes; package record has the whole.
const (
	headerLength        = 8
	headerAttributes    = 21
	headerBaseTimestamp = 27
	headerMaxTimestamp  = 35
	headerCount         = 57

	bitOfAppended = 0x08 // LogAppendTime
	bitOfTxn      = 0x10
	bitOfControl  = 0x20
	bitOfHorizon  = 0x40
)

// filtered is what filtering found in a batch. The records that stay are in Cleaner.kept, unless all do.
type filtered struct {
	count        int32
	maxTimestamp int64 // of those that stay
	dropped      bool  // some do not
	tombstones   bool  // some of those that stay delete their keys
}

// filter adds what stays of a batch of records to the buffer, and gives its largest timestamp.
func (x *cleaning) filter(b record.Batch, expired, keep bool) (int64, error) {
	f, err := x.pick(b, expired)
	if err != nil {
		return 0, err
	}
	x.stats.RecordsKept += int64(f.count)
	_, hasHorizon := b.DeleteHorizon()
	switch {
	case f.count == 0:
		if keep {
			x.empty(b)
		}
		return b.MaxTimestamp(), nil
	case f.tombstones && !hasHorizon:
		if !f.dropped && b.Codec() == record.None {
			x.c.kept = append(x.c.kept[:0], b.Payload()...)
		}
		return x.rebuild(b, f, x.horizon())
	case f.dropped:
		return x.rebuild(b, f, record.NoTimestamp)
	}
	x.c.out = append(x.c.out, b...)
	return b.MaxTimestamp(), nil
}

// horizon is when what is found now for the first time may go.
func (x *cleaning) horizon() int64 { return max(x.now+x.cfg.DeleteRetention.Milliseconds(), 0) }

// pick decides about each record. Those that stay are collected as they would stand in the batch without compression:
// also the batch's base timestamp stays, so no delta changes. Of a batch that is not compressed they are copied in
// runs, when the first one is dropped.
func (x *cleaning) pick(b record.Batch, expired bool) (filtered, error) {
	f := filtered{maxTimestamp: record.NoTimestamp}
	r, err := x.l.codecs.Records(b)
	if err != nil {
		return f, err
	}
	defer r.Close()
	payload, plain := b.Payload(), b.Codec() == record.None
	x.c.kept = x.c.kept[:0]
	var rec record.Record
	run, at := 0, 0 // of payload, if it is plain: what is to be copied begins at run
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			return f, err
		}
		if !ok {
			break
		}
		x.stats.RecordsRead++
		at += rec.Size
		if !x.keeps(&rec, expired) {
			f.dropped = true
			if plain {
				x.c.kept = append(x.c.kept, payload[run:at-rec.Size]...)
				run = at
			}
			continue
		}
		f.count++
		f.maxTimestamp = max(f.maxTimestamp, rec.Timestamp)
		f.tombstones = f.tombstones || rec.Value == nil
		if !plain {
			x.c.kept = appendRecord(x.c.kept, &rec)
		}
	}
	if plain && f.dropped {
		x.c.kept = append(x.c.kept, payload[run:at]...)
	}
	return f, nil
}

// keeps says whether a record stays: nothing later is known of its key, and if it deletes the key, that is not over yet.
func (x *cleaning) keeps(r *record.Record, expired bool) bool {
	m := &x.c.offsets
	switch {
	case r.Offset > m.last:
		return true
	case r.Key == nil:
		x.stats.RecordsInvalid++
		return false
	case r.Value == nil && expired:
		return false
	}
	return r.Offset >= m.get(r.Key)
}

// marker adds a transaction's end to the buffer: as it is, or with the time from when it may go.
func (x *cleaning) marker(b record.Batch, age, keep bool) (int64, error) {
	n := b.Count()
	x.stats.RecordsRead += int64(n)
	switch {
	case n == 0:
		if keep {
			x.empty(b)
		}
		return b.MaxTimestamp(), nil
	case !age:
		x.stats.RecordsKept += int64(n)
		x.c.out = append(x.c.out, b...)
		return b.MaxTimestamp(), nil
	}
	f, err := x.pickAll(b)
	if err != nil {
		return 0, err
	}
	x.stats.RecordsKept += int64(n)
	return x.rebuild(b, f, x.horizon())
}

// pickAll is pick of a batch that stays as it is.
func (x *cleaning) pickAll(b record.Batch) (filtered, error) {
	f := filtered{count: b.Count(), maxTimestamp: b.MaxTimestamp()}
	r, err := x.l.codecs.Records(b)
	if err != nil {
		return f, err
	}
	defer r.Close()
	x.c.kept = x.c.kept[:0]
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if !ok {
			return f, err
		}
		x.c.kept = appendRecord(x.c.kept, &rec)
	}
}

// rebuild adds a batch to the buffer that has the collected records. A horizon becomes the base timestamp, to which all
// deltas are moved.
func (x *cleaning) rebuild(b record.Batch, f filtered, horizon int64) (int64, error) {
	records := x.c.kept
	if horizon != record.NoTimestamp {
		x.c.shifted = shift(x.c.shifted[:0], records, b.BaseTimestamp()-horizon)
		records = x.c.shifted
	}
	if codec := b.Codec(); codec != record.None {
		records = x.l.codecs.Compress(codec, 0, records)
	}
	at := len(x.c.out)
	x.c.out = append(append(x.c.out, b[:record.HeaderLen]...), records...)
	n := record.Batch(x.c.out[at:])
	binary.BigEndian.PutUint32(n[headerLength:], uint32(len(n)-record.LogOverhead))
	binary.BigEndian.PutUint32(n[headerCount:], uint32(f.count))
	if horizon != record.NoTimestamp {
		n[headerAttributes+1] |= bitOfHorizon
		binary.BigEndian.PutUint64(n[headerBaseTimestamp:], uint64(horizon))
	}
	if b.TimestampType() == record.CreateTime {
		binary.BigEndian.PutUint64(n[headerMaxTimestamp:], uint64(f.maxTimestamp))
	}
	n.SetCRC()
	return n.MaxTimestamp(), nil
}

// empty adds a batch's header to the buffer: it tells of offsets, sequences and epoch, and has no records.
func (x *cleaning) empty(b record.Batch) {
	at := len(x.c.out)
	x.c.out = append(x.c.out, b[:record.HeaderLen]...)
	n := record.Batch(x.c.out[at:])
	binary.BigEndian.PutUint32(n[headerLength:], record.HeaderLen-record.LogOverhead)
	binary.BigEndian.PutUint32(n[headerCount:], 0)
	binary.BigEndian.PutUint16(n[headerAttributes:], uint16(b.Attributes())&(bitOfAppended|bitOfTxn|bitOfControl))
	noTime := record.NoTimestamp
	binary.BigEndian.PutUint64(n[headerBaseTimestamp:], uint64(noTime))
	n.SetCRC()
}

// appendRecord encodes a record as it stood in its batch.
func appendRecord(dst []byte, r *record.Record) []byte {
	n := 1 + varintLen(r.TimestampDelta) + varintLen(int64(r.OffsetDelta)) + fieldLen(r.Key) + fieldLen(r.Value) +
		varintLen(int64(r.HeaderCount)) + len(r.RawHeaders)
	dst = binary.AppendVarint(dst, int64(n))
	dst = append(dst, byte(r.Attributes))
	dst = binary.AppendVarint(dst, r.TimestampDelta)
	dst = binary.AppendVarint(dst, int64(r.OffsetDelta))
	dst = appendField(dst, r.Key)
	dst = appendField(dst, r.Value)
	dst = binary.AppendVarint(dst, int64(r.HeaderCount))
	return append(dst, r.RawHeaders...)
}

func appendField(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func fieldLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// varintLen is how many bytes a number has as a zigzag varint.
func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// shift copies records whose timestamp deltas all grow by the same. The records were read before, so they are whole.
func shift(dst, records []byte, by int64) []byte {
	for len(records) > 0 {
		size, i := binary.Varint(records)
		body := records[i : i+int(size)]
		records = records[i+int(size):]
		delta, n := binary.Varint(body[1:])
		rest := body[1+n:]
		dst = binary.AppendVarint(dst, int64(1+varintLen(delta+by)+len(rest)))
		dst = append(dst, body[0])
		dst = binary.AppendVarint(dst, delta+by)
		dst = append(dst, rest...)
	}
	return dst
}
