package record

import (
	"encoding/binary"
	"fmt"
)

// Control records. Each stands alone in a batch with the control bit, but for the metadata log's snapshots and
// bootstrap batches, which may hold several.
//
//	key:    version int16 (0), type int16
//	value:  of ABORT and COMMIT: version int16 (0), coordinator epoch int32
//	        of the others: a message of the metadata log in its own encoding, without a version before it
//
// Readers take a higher version as the highest they know.

// ControlType says what a control record is.
type ControlType int16

// The types of control records.
const (
	Abort          ControlType = 0
	Commit         ControlType = 1
	LeaderChange   ControlType = 2
	SnapshotHeader ControlType = 3
	SnapshotFooter ControlType = 4
	KRaftVersion   ControlType = 5
	KRaftVoters    ControlType = 6
)

// String gives the name that kafka-dump-log prints.
func (t ControlType) String() string {
	names := [...]string{"ABORT", "COMMIT", "LEADER_CHANGE", "SNAPSHOT_HEADER", "SNAPSHOT_FOOTER", "KRAFT_VERSION", "KRAFT_VOTERS"}
	if t < 0 || int(t) >= len(names) {
		return fmt.Sprintf("UNKNOWN(%d)", int16(t))
	}
	return names[t]
}

// ControlKey is the key of a control record.
func ControlKey(t ControlType) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(t))
}

// ParseControlKey reads a control record's key. Types that this package does not know are no error.
func ParseControlKey(key []byte) (ControlType, error) {
	if len(key) < 4 {
		return 0, corruptf("control record key of %d bytes, at least 4 are expected", len(key))
	}
	if v := int16(binary.BigEndian.Uint16(key)); v < 0 {
		return 0, corruptf("control record key version %d", v)
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// EndTxnMarker ends a producer's transaction on a partition.
type EndTxnMarker struct {
	Type             ControlType // Commit or Abort
	CoordinatorEpoch int32
}

// Value is the marker's record value.
func (m EndTxnMarker) Value() []byte {
	return binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
}

// ParseEndTxnMarker reads a marker's key and value.
func ParseEndTxnMarker(key, value []byte) (EndTxnMarker, error) {
	t, err := ParseControlKey(key)
	if err != nil {
		return EndTxnMarker{}, err
	}
	if t != Commit && t != Abort {
		return EndTxnMarker{}, corruptf("control record %v is no end of a transaction", t)
	}
	if len(value) < 6 {
		return EndTxnMarker{}, corruptf("end transaction marker of %d bytes, at least 6 are expected", len(value))
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 {
		return EndTxnMarker{}, corruptf("end transaction marker version %d", v)
	}
	return EndTxnMarker{Type: t, CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[2:]))}, nil
}

// EndTxn builds the batch of a marker, at offset 0.
func (c *Codecs) EndTxn(m EndTxnMarker, timestamp int64, producerID int64, producerEpoch int16) Batch {
	b := c.NewBuilder()
	b.ProducerID, b.ProducerEpoch = producerID, producerEpoch
	b.Transactional, b.Control = true, true
	b.Add(timestamp, ControlKey(m.Type), m.Value(), nil)
	return b.Bytes()
}

// EndTxnOf reads the marker of a control batch; false without an error says that the batch is none: it is
// empty, or its record is of another type.
func (c *Codecs) EndTxnOf(b Batch) (EndTxnMarker, bool, error) {
	if !b.Control() || b.Count() == 0 {
		return EndTxnMarker{}, false, nil
	}
	r, err := c.Records(b)
	if err != nil {
		return EndTxnMarker{}, false, err
	}
	defer r.Close()
	var rec Record
	if ok, err := r.Next(&rec); !ok {
		return EndTxnMarker{}, false, err
	}
	t, err := ParseControlKey(rec.Key)
	if err != nil || t != Commit && t != Abort {
		return EndTxnMarker{}, false, err
	}
	m, err := ParseEndTxnMarker(rec.Key, rec.Value)
	return m, err == nil, err
}
