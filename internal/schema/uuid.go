// Package schema holds the codecs of records that Kafka stores but kmsg lacks: metadata records, raft control
// records, snapshots, producer state, quorum state. They are generated from short definitions (see gen).
package schema

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
