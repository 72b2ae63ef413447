// Package schema holds the codecs of what Kafka stores on disks and kmsg lacks: metadata records (Encode, Decode),
// raft control records (DecodeControl), the coordinators' records (AppendKey, AppendValue, DecodeKey, DecodeValue),
// and small files (producer snapshot, transaction index entry, quorum-state, .kafka_cleanshutdown). The record
// codecs are generated from the definitions in defs; see gen for their syntax.
//
// Encoding: integers are big-endian, a uuid is its 16 bytes, a float64 its IEEE bits. In a flexible version lengths
// of strings, bytes and arrays are uvarints of length+1 with 0 for null, and every struct ends with its tagged fields:
//
//	uvarint count | count times: uvarint tag, uvarint size, size bytes    (by tag, only fields that differ from default)
//
// In other versions a string has an int16 length, bytes and arrays an int32 one, with -1 for null, and there are no
// tags. A nullable struct has one byte before it: 1, or -1 for null (0 if it is a tagged field).
//
// Go values: a nullable string or struct is a pointer; a nullable array is nil for null and not nil (maybe empty) for
// an array, which differ on the wire; where null is not allowed nil and empty are the same, and decoding gives nil.
// Records with defaults other than zero have a New function: use it, since a zero PartitionChange, for one, says that
// the leader is now broker 0. Tagged fields that are unknown are skipped. Decoded values never alias their input.
package schema

//go:generate go run ./gen

import (
	"encoding/base64"
	"fmt"
)

// UUID is Kafka's 16-byte id of topics, directories, incarnations and clusters, written as URL-safe base64
// without padding (22 characters) wherever people see it.
type UUID [16]byte

// Reserved ids (org.apache.kafka.common.Uuid, DirectoryId).
var (
	ZeroUUID      = UUID{}
	MetadataTopic = UUID{15: 1} // topic id of __cluster_metadata
)

// String gives the 22 characters that Kafka prints.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// ParseUUID reads what String gives.
func ParseUUID(s string) (UUID, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 16 {
		return UUID{}, fmt.Errorf("schema: %q is not a base64 UUID of 16 bytes", s)
	}
	return UUID(b), nil
}
