// Package record reads, checks, builds and compresses record batches of format version 2 (magic 2, Kafka
// 0.11 and later): the unit that a producer sends, a log segment stores and a consumer receives. The bytes are
// the same on the wire and on the disk, so a batch is a []byte here and nothing is decoded that nobody asks for.
//
// # The batch
//
// All integers are big-endian.
//
//	byte  0        8       12      16  17      21      23
//	      +--------+-------+-------+---+-------+-------+
//	      | base   | length| leader|mag| CRC   | attri-|
//	      | offset |       | epoch |ic | 32C   | butes |
//	      +--------+-------+-------+---+-------+-------+
//	byte 23       27              35              43              51  53      57      61
//	      +-------+---------------+---------------+---------------+---+-------+-------+----------
//	      | last  | base          | max           | producer      |pro| base  | record| records,
//	      | offset| timestamp     | timestamp     | id            |duc| se-   | count | compressed
//	      | delta |               |               |               |ep.| quence|       | or not
//	      +-------+---------------+---------------+---------------+---+-------+-------+----------
//
// The fields:
//
//   - length counts the bytes that follow it: the whole batch has length + 12 bytes (LogOverhead).
//   - leader epoch and base offset are the leader's: they are written when the batch is appended, and stand
//     before the CRC's reach for that reason.
//   - CRC is CRC-32C (Castagnoli) of everything from the attributes (byte 21) to the end.
//   - attributes: bits 0-2 codec (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd), bit 3 timestamp type (1 =
//     LogAppendTime), bit 4 transactional, bit 5 control batch, bit 6 the base timestamp is the delete horizon.
//   - last offset delta: last offset minus base offset, also of the sequence numbers. It survives compaction,
//     so the record count may be smaller, even 0, in a log; a producer's batch has count = delta + 1.
//   - max timestamp: the largest of the records (CreateTime), or the time of the append (LogAppendTime), which
//     then is the timestamp of every record.
//   - producer id, epoch and base sequence are -1 without idempotence. Sequences wrap from 2^31-1 to 0.
//
// # The record
//
// Lengths and deltas are zigzag varints (varint: up to 5 bytes; varlong: up to 10), a length of -1 is null.
//
//	+--------+-----+-----------+--------+-----+-----+-------+-------+---------+---------
//	| length | att | timestamp | offset | key | key | value | value | header  | headers
//	| varint | i8  | delta     | delta  | len |     | len   |       | count   |
//	|        |     | varlong   | varint | v.  |     | v.    |       | varint  |
//	+--------+-----+-----------+--------+-----+-----+-------+-------+---------+---------
//
// length counts the bytes after itself. A header is key length (varint, never null), key, value length (-1 =
// null), value. Deltas are to the batch's base timestamp and base offset. The attributes are unused.
//
// In a control batch the only record's key is version (int16) and type (int16); see control.go.
//
// # Compression
//
// A compressed batch holds, in place of its records, one compressed stream of all of them, in the framing
// that Kafka's clients agreed on: a gzip member, an LZ4 frame, a zstd frame, and for snappy the block stream of
// xerial's snappy-java (written by Java's clients and kafka-python) or one bare snappy block (written by librdkafka
// and franz-go).
// Of each framing this package writes what every client reads, and reads what every client writes.
//
// # Trust
//
// Everything read here may come from a hostile client or a torn disk: no function panics on any bytes that
// Next accepted, and no length found in the bytes is allocated before it is checked against what is there or
// against a limit of the caller.
//
// # Purity
//
// The package does no I/O and knows no clock. It has one exception from the rules of pure packages:
// codecs.go imports sync, because Codecs pools compressors and buffers between the goroutines that share it.
// Nothing of what a function returns depends on the pools' content.
package record
