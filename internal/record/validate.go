package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Single takes the one batch out of a partition's records in a Produce request of version 3 and up. What follows
// it and is too short for another batch is dropped, as Kafka does. The error is *Invalid.
func Single(records []byte, version int16) (Batch, error) {
	b, rest, err := Next(records)
	if err != nil {
		return nil, notABatch(records, version, err)
	}
	if _, _, err := Next(rest); errors.Is(err, ErrTruncated) {
		return b, nil
	} else if err != nil {
		return nil, notABatch(rest, version, err)
	}
	return nil, invalidf(InvalidRecord,
		"Produce requests with version %d are only allowed to contain exactly one record batch per partition", version)
}

func notABatch(b []byte, version int16, err error) error {
	if errors.Is(err, ErrTruncated) {
		return invalidf(InvalidRecord, "Produce requests with version %d must have at least one record batch per partition", version)
	}
	// The shortest message of format 0 had 14 bytes after its length.
	if n := int32(binary.BigEndian.Uint32(b[posLength:])); n < 14 {
		return invalidf(CorruptMessage, "Record size %d is less than the minimum record overhead (14)", n)
	}
	if len(b) > posMagic {
		switch m := int8(b[posMagic]); m {
		case 0, 1:
			return invalidf(InvalidRecord,
				"Produce requests with version %d are only allowed to contain record batches with magic version 2", version)
		case Magic:
		default:
			return invalidf(CorruptMessage, "Invalid magic found in record: %d", m)
		}
	}
	return &Invalid{Kind: CorruptMessage, Message: err.Error()}
}

func invalidf(kind InvalidKind, format string, args ...any) error {
	return &Invalid{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Validate checks a batch before it is appended, and corrects what the broker is to correct: the max timestamp,
// LogAppendTime, the codec where the topic asks for another, offsets within the batch that have gaps. The
// header of b is changed in place; where records must change, Checked holds a new batch. Base offset and leader
// epoch are the log's to set. The error is *Invalid. Validate a batch once: the result need not be valid input.
//
// A compressed batch is decompressed through a window, and without an allocation per record.
func (c *Codecs) Validate(b Batch, r Rules) (Checked, error) {
	if err := checkHeader(b, &r); err != nil {
		return Checked{}, err
	}
	w, err := c.walk(b, &r)
	if err != nil {
		return Checked{}, err
	}
	out := Checked{Batch: b, Count: b.Count(), MaxTimestamp: w.max, MaxTimestampDelta: w.maxDelta, AppendTime: NoTimestamp}
	if target, needed := w.target(b, &r); needed {
		if out.Batch, err = c.rewrite(b, &r, target, w.gaps); err != nil {
			return Checked{}, err
		}
		out.Rewritten = true
	}
	if r.TimestampType == LogAppendTime {
		out.Batch.SetLogAppendTime(r.Now)
		out.MaxTimestamp, out.MaxTimestampDelta, out.AppendTime = r.Now, 0, r.Now
	} else {
		out.Batch.SetMaxTimestamp(w.max)
	}
	return out, nil
}

// checkHeader is what can be said without the records.
func checkHeader(b Batch, r *Rules) error {
	if len(b) < HeaderLen || b.Len() != len(b) || b.Magic() != Magic {
		return invalidf(CorruptMessage, "Record batch is corrupt (%d bytes) in topic partition %s.", len(b), r.Partition)
	}
	codec := b.Codec()
	if codec == Zstd && r.ProduceVersion > 0 && r.ProduceVersion < 7 {
		return invalidf(UnsupportedCompression, "Produce requests with version %d are not allowed to use ZStandard compression", r.ProduceVersion)
	}
	if r.FromClient && b.BaseOffset() != 0 {
		return invalidf(InvalidRecord, "The baseOffset of the record batch in the append to %s should be 0, but it is %d", r.Partition, b.BaseOffset())
	}
	if r.MaxBytes > 0 && len(b) > r.MaxBytes {
		return tooLarge(len(b), r)
	}
	if b.CheckCRC() != nil {
		return invalidf(CorruptMessage, "Record is corrupt (stored crc = %d) in topic partition %s.", b.CRC(), r.Partition)
	}
	if !codec.Valid() {
		return invalidf(UnsupportedCompression, "Unknown compression type id: %d", int8(codec))
	}
	if r.FromClient {
		return checkClient(b, r)
	}
	return nil
}

// tooLarge says it as Kafka does, with the bracket that opens nowhere: programs look for these texts.
func tooLarge(n int, r *Rules) error {
	return invalidf(MessageTooLarge, "The record batch size in the append to %s is %d bytes which exceeds the maximum configured value of %d).",
		r.Partition, n, r.MaxBytes)
}

// checkClient is what producers must keep to.
func checkClient(b Batch, r *Rules) error {
	count, span := int64(b.Count()), int64(b.LastOffsetDelta())+1
	switch {
	case span <= 0:
		return invalidf(InvalidRecord, "Batch has an invalid offset range: [%d, %d] in topic partition %s", b.BaseOffset(), b.LastOffset(), r.Partition)
	case count <= 0:
		return invalidf(InvalidRecord, "Invalid reported count for record batch: %d in topic partition %s", count, r.Partition)
	case count != span:
		return invalidf(InvalidRecord, "Inconsistent batch offset range [%d, %d] and count of records %d in topic partition %s",
			b.BaseOffset(), b.LastOffset(), count, r.Partition)
	case b.Control():
		return invalidf(InvalidRecord, "Clients are not allowed to write control records in topic partition %s", r.Partition)
	case b.HasProducerID() && b.BaseSequence() < 0:
		return invalidf(InvalidRecord, "Invalid sequence number %d in record batch with producerId %d in topic partition %s",
			b.BaseSequence(), b.ProducerID(), r.Partition)
	}
	return nil
}

// walked is what the walk over the records found.
type walked struct {
	max      int64
	maxDelta int32
	gaps     bool // offset deltas are not 0, 1, 2, ...
	badTimes bool
	bad      int // records with errors, of which errors holds the first
	errors   []RecordError
}

// walk checks the records one by one.
func (c *Codecs) walk(b Batch, r *Rules) (walked, error) {
	if r.HeaderOnly && !r.Compacted {
		return walkHeader(b, r)
	}
	if b.Count() == 0 {
		return walked{max: b.MaxTimestamp()}, nil
	}
	w := walked{max: NoTimestamp}
	reader, err := c.reader(b, r.MaxDecompressed)
	if err != nil {
		return w, invalidRecords(err, r)
	}
	defer reader.Close()
	var rec Record
	// What the records would have as timestamps after a LogAppendTime bit is cleared, not that header's time.
	reader.hasAppendTime = false
	oldest, newest := bounds(r)
	wrongType := b.TimestampType() == LogAppendTime
	for i := int32(0); ; i++ {
		ok, err := reader.skip(&rec)
		if err != nil {
			return w, invalidRecords(err, r)
		}
		if !ok {
			break
		}
		switch {
		case rec.Key == nil && r.Compacted:
			if w.more() {
				w.add(i, "Compacted topic cannot accept message without key in topic partition "+r.Partition)
			}
		case r.TimestampType == CreateTime && rec.Timestamp != NoTimestamp:
			if rec.Timestamp < oldest || rec.Timestamp > newest {
				w.badTimes = true
				if w.more() {
					w.add(i, outOfBounds(&rec, r))
				}
			}
		case wrongType:
			w.badTimes = true
			if w.more() {
				w.add(i, wrongTimestampType(&rec))
			}
		}
		if rec.Timestamp > w.max {
			w.max, w.maxDelta = rec.Timestamp, i
		}
		if rec.OffsetDelta != i {
			w.gaps = true
		}
	}
	// A control batch, or what the cleaner left, may well have gaps; only producers must not.
	w.gaps = w.gaps && r.FromClient
	return w, w.err(r)
}

// walkHeader stands for the walk with HeaderOnly.
func walkHeader(b Batch, r *Rules) (walked, error) {
	w := walked{max: b.MaxTimestamp(), maxDelta: max(b.LastOffsetDelta(), 0)}
	oldest, newest := bounds(r)
	switch {
	case r.TimestampType == CreateTime && w.max != NoTimestamp && (w.max < oldest || w.max > newest):
		return w, invalidf(InvalidTimestamp, "Timestamp %d of the record batch is out of range. The timestamp should be within [%d, %d]",
			w.max, r.Now-r.Before, r.Now+r.After)
	case b.TimestampType() == LogAppendTime:
		return w, invalidf(InvalidTimestamp, "Invalid timestamp type in %v. Producer should not set timestamp type to LogAppendTime.", b)
	}
	return w, nil
}

// bounds gives the first and the last time that a record may have.
func bounds(r *Rules) (oldest, newest int64) {
	oldest, newest = math.MinInt64, math.MaxInt64
	if r.Before < math.MaxInt64 {
		oldest = r.Now - r.Before
	}
	if r.After < math.MaxInt64-r.Now {
		newest = r.Now + r.After
	}
	return oldest, newest
}

func outOfBounds(rec *Record, r *Rules) string {
	return fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
		rec.Timestamp, rec.Offset, r.Now-r.Before, r.Now+r.After)
}

func wrongTimestampType(rec *Record) string {
	return fmt.Sprintf("Invalid timestamp type in message DefaultRecord(offset=%d, timestamp=%d, key=%d bytes, value=%d bytes). "+
		"Producer should not set timestamp type to LogAppendTime.", rec.Offset, rec.Timestamp, len(rec.Key), len(rec.Value))
}

// more counts a record that is wrong and says whether it is to be named.
func (w *walked) more() bool {
	w.bad++
	return len(w.errors) < maxRecordErrors
}

func (w *walked) add(i int32, message string) {
	w.errors = append(w.errors, RecordError{i, message})
}

func (w *walked) err(r *Rules) error {
	if w.bad == 0 {
		return nil
	}
	if w.badTimes {
		return &Invalid{Kind: InvalidTimestamp, Message: "One or more records have been rejected due to invalid timestamp", Records: w.errors}
	}
	var first []string
	for _, e := range w.errors[:min(3, len(w.errors))] {
		first = append(first, e.String())
	}
	return &Invalid{Kind: InvalidRecord, Records: w.errors, Message: fmt.Sprintf("One or more records have been rejected due to %d record errors "+
		"in total, and only showing the first three errors at most: [%s]", w.bad, strings.Join(first, ", "))}
}

// invalidRecords turns a Reader's error into one for the client. The CRC was right, so sending the batch again
// would not help: InvalidRecord is not retried, CorruptMessage would be.
func invalidRecords(err error, r *Rules) error {
	var corrupt *Corrupt
	switch {
	case errors.Is(err, ErrTooLarge):
		return invalidf(MessageTooLarge, "The record batch in the append to %s decompresses to more than is allowed", r.Partition)
	case errors.As(err, &corrupt):
		return invalidf(InvalidRecord, "Invalid record batch in the append to %s: %s", r.Partition, corrupt.Reason)
	}
	return invalidf(InvalidRecord, "Invalid record batch in the append to %s: %v", r.Partition, err)
}

// target says which codec the batch is to have, and whether that takes a rewrite.
func (w *walked) target(b Batch, r *Rules) (Codec, bool) {
	have := b.Codec()
	want := have
	if r.Recompress && b.Count() > 0 && !(b.Control() && have == None) {
		want = r.Codec
	}
	linked := have == LZ4 && lz4Linked(b.Payload()) // which Java's consumers could not read
	return want, want != have || w.gaps || linked
}

// Limits for renumbering, which holds the records in memory. Only very old clients need it.
const (
	renumberBytes     = 16 << 20
	renumberExpansion = 4
)

// rewrite makes a new batch with another codec, or with its offsets made dense. The max timestamp is left to
// the caller.
func (c *Codecs) rewrite(b Batch, r *Rules, target Codec, gaps bool) (Batch, error) {
	out := output{b: append(make([]byte, 0, len(b)+len(b)/8), b[:HeaderLen]...), max: maxBatch}
	if r.MaxBytes > 0 {
		out.max = r.MaxBytes
	}
	level := 0
	if r.Recompress && target == r.Codec {
		level = r.Level
	}
	from, payload := b.Codec(), b.Payload()
	if gaps {
		var err error
		if payload, err = c.renumber(b); err != nil {
			return nil, invalidRecords(err, r)
		}
		from = None
	}
	if err := c.transcode(from, payload, target, level, &out, r.MaxDecompressed); errors.Is(err, ErrTooLarge) {
		return nil, invalidf(MessageTooLarge, "Message batch size after compression with %s is more than %d bytes in append to partition %s, "+
			"the maximum configured size.", target, r.MaxBytes, r.Partition)
	} else if err != nil {
		return nil, invalidRecords(err, r)
	}
	n := Batch(out.b)
	binary.BigEndian.PutUint32(n[posLength:], uint32(len(n)-LogOverhead))
	n[posAttributes+1] = n[posAttributes+1]&^attrCodec | byte(target)
	n.SetCRC()
	return n, nil
}

// renumber gives the uncompressed records with the offset deltas 0, 1, 2, ...
func (c *Codecs) renumber(b Batch) ([]byte, error) {
	r, err := c.reader(b, max(renumberBytes, renumberExpansion*int64(len(b))))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	n := Builder{base: b.BaseTimestamp(), last: -1, buf: make([]byte, 0, len(b))}
	var rec Record
	for i := int32(0); ; i++ {
		ok, err := r.Next(&rec)
		if err != nil {
			return nil, err
		}
		if !ok {
			return n.buf, nil
		}
		n.body(i, n.base+rec.TimestampDelta, rec.Key, rec.Value, rec.HeaderCount, len(rec.RawHeaders))
		n.buf = append(n.buf, rec.RawHeaders...)
	}
}
