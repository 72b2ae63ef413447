package schema

import (
	"encoding/binary"
	"fmt"
)

// ControlType is what a control record's key says.
type ControlType int16

// Control record types. Readers ignore unknown ones.
const (
	ControlAbort          ControlType = 0
	ControlCommit         ControlType = 1
	ControlLeaderChange   ControlType = 2
	ControlSnapshotHeader ControlType = 3
	ControlSnapshotFooter ControlType = 4
	ControlKRaftVersion   ControlType = 5
	ControlKRaftVoters    ControlType = 6
)

// AppendControlKey appends a control record's key: int16 version 0, int16 type.
func AppendControlKey(dst []byte, t ControlType) []byte {
	return appendInt16(appendInt16(dst, 0), int16(t))
}

// DecodeControlKey reads a control record's key. A version above 0 is read as version 0, as Kafka does.
func DecodeControlKey(b []byte) (ControlType, error) {
	if len(b) < 4 {
		return 0, fmt.Errorf("schema: control record key of %d bytes: %w", len(b), ErrMalformed)
	}
	if v := int16(binary.BigEndian.Uint16(b)); v < 0 {
		return 0, fmt.Errorf("schema: control record key of version %d: %w", v, ErrUnknownVersion)
	}
	return ControlType(binary.BigEndian.Uint16(b[2:])), nil
}

// DecodeControl reads the value of a raft control record (types 2 to 6). Such values have no version before them;
// their own Version field, which comes first, tells it. Apache 4.3 reads all of them as version 0, where what a
// higher version brought counts as bytes behind the record; we read LeaderChange version 1 whole.
func DecodeControl(t ControlType, b []byte) (Record, error) {
	r := control(int16(t))
	if r == nil {
		return nil, fmt.Errorf("schema: control record of type %d: %w", t, ErrUnknownType)
	}
	version, _, err := prefix(b, r.RecordName())
	if err != nil {
		return nil, err
	}
	if version < 0 {
		return nil, fmt.Errorf("schema: %s of version %d: %w", r.RecordName(), version, ErrUnknownVersion)
	}
	_, highest := r.Versions()
	if _, err := r.ReadFrom(b, min(version, highest)); err != nil {
		return nil, err
	}
	return r, nil
}

// DecodeEndTxnMarker reads the value of a transaction marker: int16 version, int32 coordinator epoch. A version
// above 0 is read as version 0, as Kafka does.
func DecodeEndTxnMarker(b []byte) (*EndTxnMarker, error) {
	version, b, err := prefix(b, "EndTxnMarker")
	if err == nil && version < 0 {
		err = fmt.Errorf("schema: EndTxnMarker of version %d: %w", version, ErrUnknownVersion)
	}
	if err != nil {
		return nil, err
	}
	m := new(EndTxnMarker)
	if _, err := m.ReadFrom(b, 0); err != nil {
		return nil, err
	}
	return m, nil
}
