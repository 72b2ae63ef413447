package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of ParseRequestHeader and Decode; Apache closes the connection on each of them.
var (
	ErrMalformed          = errors.New("malformed request")
	ErrUnknownAPI         = errors.New("unknown API key")
	ErrUnsupportedVersion = errors.New("unsupported version")
	ErrTooLarge           = errors.New("request too large")
)

// RequestHeader is what stands before every request's body.
type RequestHeader struct {
	Key, Version  int16
	CorrelationID int32
	ClientID      *string // nil: null, or a header without one
}

// API gives the header's line of the table.
func (h RequestHeader) API() API { a, _ := Lookup(h.Key); return a }

// ParseRequestHeader splits a frame (without its length) into header and body; body aliases the frame, the header
// does not.
//
// A key that does not exist is ErrUnknownAPI. A version that does not exist is ErrUnsupportedVersion, except for
// ApiVersions: its header is read in any version, so that it can be answered (KIP-511).
func ParseRequestHeader(frame []byte) (h RequestHeader, body []byte, err error) {
	if len(frame) < 8 {
		return h, nil, fmt.Errorf("%w: header of %d bytes", ErrMalformed, len(frame))
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	a, ok := Lookup(h.Key)
	if !ok {
		return h, nil, fmt.Errorf("%w %d", ErrUnknownAPI, h.Key)
	}
	if !a.Accepts(h.Version) && h.Key != KeyApiVersions {
		return h, nil, fmt.Errorf("%w %d of %s (%d to %d)", ErrUnsupportedVersion, h.Version, a.Name, a.Min, a.Max)
	}
	w := walker{src: frame[8:]}
	if h.Key == KeyControlledShutdown && h.Version == 0 {
		return h, w.src, nil
	}
	if n := int(int16(w.fixed(2))); n >= 0 {
		id := string(w.take(n))
		h.ClientID = &id
	} else if n != -1 {
		w.fail("client id of %d bytes", n)
	}
	if a.flexible(h.Version) {
		w.tags(nil, h.Version)
	}
	if w.err != nil {
		return h, nil, fmt.Errorf("header of %s version %d: %w", a.Name, h.Version, w.err)
	}
	return h, w.src, nil
}

// AppendRequestHeader appends the header that ParseRequestHeader reads, without the frame's length.
func AppendRequestHeader(dst []byte, h RequestHeader) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if h.Key == KeyControlledShutdown && h.Version == 0 {
		return dst
	}
	if h.ClientID == nil {
		dst = append(dst, 0xff, 0xff)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(*h.ClientID)))
		dst = append(dst, *h.ClientID...)
	}
	if h.API().flexible(h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// AppendResponseHeader appends correlation id and, where the version is flexible, empty tagged fields.
func AppendResponseHeader(dst []byte, key, version int16, correlation int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if a, _ := Lookup(key); key != KeyApiVersions && a.flexible(version) {
		dst = append(dst, 0)
	}
	return dst
}
