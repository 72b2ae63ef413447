package schema

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes of a log's side files.
const (
	producerSnapshotVersion = 1
	producerSnapshotHeader  = 2 + 4 + 4
	ProducerEntrySize       = 46

	AbortedTxnSize = 34 // an entry of a .txnindex file
)

// AppendProducerSnapshot appends the whole of a .snapshot file:
//
//	int16 version (1) | uint32 CRC-32C of what follows | int32 count | count entries of ProducerEntrySize
func AppendProducerSnapshot(dst []byte, entries []ProducerEntry) []byte {
	start := len(dst)
	dst = appendInt16(dst, producerSnapshotVersion)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendInt32(dst, int32(len(entries)))
	for i := range entries {
		dst = entries[i].AppendTo(dst, producerSnapshotVersion)
	}
	binary.BigEndian.PutUint32(dst[start+2:], castagnoli(dst[start+6:]))
	return dst
}

// DecodeProducerSnapshot reads a whole .snapshot file. The CRC covers everything behind it, bytes after the last
// entry included, as in Kafka.
func DecodeProducerSnapshot(b []byte) ([]ProducerEntry, error) {
	if len(b) < producerSnapshotHeader {
		return nil, fmt.Errorf("schema: producer snapshot of %d bytes: %w", len(b), ErrMalformed)
	}
	if v := int16(binary.BigEndian.Uint16(b)); v != producerSnapshotVersion {
		return nil, fmt.Errorf("schema: producer snapshot of version %d: %w", v, ErrUnknownVersion)
	}
	if stored, computed := binary.BigEndian.Uint32(b[2:]), castagnoli(b[6:]); stored != computed {
		return nil, fmt.Errorf("schema: producer snapshot's CRC is %d, its bytes have %d: %w", stored, computed, ErrMalformed)
	}
	n := int64(int32(binary.BigEndian.Uint32(b[6:])))
	b = b[producerSnapshotHeader:]
	if n < 0 || n*ProducerEntrySize > int64(len(b)) {
		return nil, fmt.Errorf("schema: producer snapshot of %d entries in %d bytes: %w", n, len(b), ErrMalformed)
	}
	entries := make([]ProducerEntry, n)
	for i := range entries {
		var err error
		if b, err = entries[i].ReadFrom(b, producerSnapshotVersion); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// DecodeAbortedTxn reads one entry of a .txnindex file, which AppendValue(dst, entry, 0) writes:
//
//	int16 version (0) | int64 producer id | int64 first offset | int64 last offset | int64 last stable offset
func DecodeAbortedTxn(b []byte) (AbortedTxn, error) {
	var t AbortedTxn
	version, b, err := prefix(b, "AbortedTxn")
	if err == nil {
		_, err = t.ReadFrom(b, version)
	}
	return t, err
}

// QuorumState is the quorum-state file of a metadata log: what a voter must not forget. Ids are -1 for none.
// Version 0 belongs to kraft.version 0 (static voters), version 1 to kraft.version 1 (KIP-853).
type QuorumState struct {
	Version          int16
	LeaderID         int32
	LeaderEpoch      int32
	VotedID          int32
	VotedDirectoryID UUID    // version 1
	CurrentVoters    []int32 // version 0
}

// quorumStateJSON has pointers so that a missing field is seen; the order of the fields is Apache's.
type quorumStateJSON struct {
	ClusterID        *string             `json:"clusterId,omitempty"`
	LeaderID         *int32              `json:"leaderId"`
	LeaderEpoch      *int32              `json:"leaderEpoch"`
	VotedID          *int32              `json:"votedId"`
	VotedDirectoryID *string             `json:"votedDirectoryId,omitempty"`
	AppliedOffset    *int64              `json:"appliedOffset,omitempty"`
	CurrentVoters    *[]quorumStateVoter `json:"currentVoters,omitempty"`
	Version          *int16              `json:"data_version"`
}

type quorumStateVoter struct {
	VoterID int32 `json:"voterId"`
}

// AppendTo appends the file's one line, which has no newline, byte for byte as Apache writes it.
func (q *QuorumState) AppendTo(dst []byte) ([]byte, error) {
	j := quorumStateJSON{LeaderID: &q.LeaderID, LeaderEpoch: &q.LeaderEpoch, VotedID: &q.VotedID, Version: &q.Version}
	switch q.Version {
	case 0:
		var cluster string // Apache leaves both empty
		var applied int64
		voters := make([]quorumStateVoter, len(q.CurrentVoters))
		for i, id := range q.CurrentVoters {
			voters[i].VoterID = id
		}
		j.ClusterID, j.AppliedOffset, j.CurrentVoters = &cluster, &applied, &voters
	case 1:
		directory := q.VotedDirectoryID.String()
		j.VotedDirectoryID = &directory
	default:
		return dst, fmt.Errorf("schema: quorum-state to write as version %d: %w", q.Version, ErrUnknownVersion)
	}
	line, err := json.Marshal(j)
	if err != nil {
		return dst, fmt.Errorf("schema: quorum-state: %w", err)
	}
	return append(dst, line...), nil
}

// DecodeQuorumState reads a quorum-state file.
func DecodeQuorumState(b []byte) (QuorumState, error) {
	var j quorumStateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return QuorumState{}, fmt.Errorf("schema: quorum-state: %w: %w", ErrMalformed, err)
	}
	if j.Version == nil || j.LeaderID == nil || j.LeaderEpoch == nil || j.VotedID == nil {
		return QuorumState{}, fmt.Errorf("schema: quorum-state lacks data_version, leaderId, leaderEpoch or votedId: %w", ErrMalformed)
	}
	q := QuorumState{Version: *j.Version, LeaderID: *j.LeaderID, LeaderEpoch: *j.LeaderEpoch, VotedID: *j.VotedID}
	switch q.Version {
	case 0:
		if j.CurrentVoters == nil {
			return QuorumState{}, fmt.Errorf("schema: quorum-state lacks currentVoters: %w", ErrMalformed)
		}
		for _, v := range *j.CurrentVoters {
			q.CurrentVoters = append(q.CurrentVoters, v.VoterID)
		}
		return q, nil
	case 1:
		if j.VotedDirectoryID == nil {
			return QuorumState{}, fmt.Errorf("schema: quorum-state lacks votedDirectoryId: %w", ErrMalformed)
		}
		var err error
		q.VotedDirectoryID, err = ParseUUID(*j.VotedDirectoryID)
		return q, err
	}
	return QuorumState{}, fmt.Errorf("schema: quorum-state of data_version %d (known: 0 and 1): %w", q.Version, ErrUnknownVersion)
}

type cleanShutdownJSON struct {
	Version     int    `json:"version"`
	BrokerEpoch *int64 `json:"brokerEpoch"`
}

// AppendCleanShutdown appends the text of a .kafka_cleanshutdown file (KIP-966): the broker epoch with which the
// broker shut down cleanly.
func AppendCleanShutdown(dst []byte, brokerEpoch int64) []byte {
	return fmt.Appendf(dst, `{"version":0,"brokerEpoch":%d}`, brokerEpoch)
}

// DecodeCleanShutdown reads a .kafka_cleanshutdown file. Any error means that the shutdown counts as unclean:
// releases before 3.8 left the file empty.
func DecodeCleanShutdown(b []byte) (brokerEpoch int64, err error) {
	var j cleanShutdownJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return 0, fmt.Errorf("schema: .kafka_cleanshutdown: %w: %w", ErrMalformed, err)
	}
	if j.BrokerEpoch == nil {
		return 0, errors.New("schema: .kafka_cleanshutdown without brokerEpoch")
	}
	return *j.BrokerEpoch, nil
}
