package schema

import (
	"encoding/binary"
	"fmt"
	"math"
)

// frameVersion is the only frame that Kafka has ever released for metadata records.
const frameVersion = 1

// Encode appends a metadata record as __cluster_metadata and its snapshots hold it:
//
//	uvarint frame version (1) | uvarint record type | uvarint record version | fields
func Encode(dst []byte, r Record, version int16) []byte {
	dst = appendUvarint(dst, frameVersion)
	dst = appendUvarint(dst, uint32(r.Type()))
	dst = appendUvarint(dst, uint32(version))
	return r.AppendTo(dst, version)
}

// Decode reads what Encode appends; bytes left over are an error. The record does not alias b.
func Decode(b []byte) (Record, int16, error) {
	var head [3]int16
	for i, what := range [3]string{"frame version", "type", "version"} {
		v, n := binary.Uvarint(b[:min(len(b), 5)])
		if n <= 0 || v > math.MaxInt16 {
			return nil, 0, fmt.Errorf("schema: metadata record's %s: %w", what, ErrMalformed)
		}
		head[i], b = int16(v), b[n:]
	}
	if head[0] != frameVersion {
		return nil, 0, fmt.Errorf("schema: metadata record with frame version %d: %w", head[0], ErrUnknownVersion)
	}
	r := metadata(head[1])
	if r == nil {
		return nil, 0, fmt.Errorf("schema: metadata record of type %d: %w", head[1], ErrUnknownType)
	}
	if err := readWhole(r, b, head[2]); err != nil {
		return nil, 0, err
	}
	return r, head[2], nil
}

// readWhole reads a record that must fill b.
func readWhole(m Message, b []byte, version int16) error {
	rest, err := m.ReadFrom(b, version)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("schema: %s version %d: %d bytes behind it: %w", m.RecordName(), version, len(rest), ErrMalformed)
	}
	return nil
}

// Log names an internal topic whose keys number its record types.
type Log int8

// The coordinators' logs.
const (
	GroupLog       Log = iota // __consumer_offsets
	TransactionLog            // __transaction_state
	ShareLog                  // __share_group_state
)

func (l Log) record(number int16, key bool) Record {
	switch {
	case l == GroupLog && key:
		return groupKey(number)
	case l == GroupLog:
		return groupValue(number)
	case l == TransactionLog && key:
		return transactionKey(number)
	case l == TransactionLog:
		return transactionValue(number)
	case l == ShareLog && key:
		return shareKey(number)
	case l == ShareLog:
		return shareValue(number)
	}
	return nil
}

// AppendKey appends a coordinator record's key: int16 key type, fields.
func AppendKey(dst []byte, key Record) []byte {
	return key.AppendTo(appendInt16(dst, key.Type()), 0)
}

// AppendValue appends a coordinator record's value, or a transaction marker: int16 version, fields.
func AppendValue(dst []byte, value Message, version int16) []byte {
	return value.AppendTo(appendInt16(dst, version), version)
}

// DecodeKey reads a key of the log, e.g. *OffsetCommitKey. Loaders skip records whose key type a newer release has
// written: errors.Is(err, ErrUnknownType).
func DecodeKey(log Log, b []byte) (Record, error) {
	number, b, err := prefix(b, "record key")
	if err != nil {
		return nil, err
	}
	key := log.record(number, true)
	if key == nil {
		return nil, fmt.Errorf("schema: record key of type %d: %w", number, ErrUnknownType)
	}
	if err := readPrefix(key, b, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// DecodeValue reads the value of a record whose key has keyType, e.g. *OffsetCommitValue. A null value (tombstone)
// is the caller's: it has nothing to decode. Bytes behind the fields are ignored, as Apache's coordinators do.
func DecodeValue(log Log, keyType int16, b []byte) (value Record, version int16, err error) {
	version, b, err = prefix(b, "record value")
	if err != nil {
		return nil, 0, err
	}
	value = log.record(keyType, false)
	if value == nil {
		return nil, 0, fmt.Errorf("schema: record value under key type %d: %w", keyType, ErrUnknownType)
	}
	if err := readPrefix(value, b, version); err != nil {
		return nil, 0, err
	}
	return value, version, nil
}

func readPrefix(m Message, b []byte, version int16) error {
	_, err := m.ReadFrom(b, version)
	return err
}

func prefix(b []byte, what string) (int16, []byte, error) {
	if len(b) < 2 {
		return 0, nil, fmt.Errorf("schema: %s of %d bytes: %w", what, len(b), ErrMalformed)
	}
	return int16(binary.BigEndian.Uint16(b)), b[2:], nil
}
